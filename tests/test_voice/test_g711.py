"""The two laws of telephony, against the standard's numbers."""

from __future__ import annotations

import struct
import warnings

import pytest

from roomkit.voice.audio import (
    alaw_to_pcm16,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)

EVERY = struct.pack("<65536h", *range(-32768, 32768))
CODES = bytes(range(256))


def samples(pcm: bytes) -> list[int]:
    return [value for (value,) in struct.iter_unpack("<h", pcm)]


def reference_mulaw(value: int) -> int:
    """Encode as G.711 table 2a tells it: magnitude, bias, segment, step."""
    magnitude = min(abs(value) >> 2, 8158) + 33
    segment = magnitude.bit_length() - 6
    step = (magnitude >> (segment + 1)) & 0x0F
    return (0xFF if value >= 0 else 0x7F) - (segment << 4 | step)


def reference_alaw(value: int) -> int:
    """Encode as G.711 table 1a tells it."""
    magnitude = (value if value >= 0 else -value - 1) >> 3
    segment = max(0, magnitude.bit_length() - 5)
    step = (magnitude >> max(1, segment)) & 0x0F
    return (segment << 4 | step) ^ (0xD5 if value >= 0 else 0x55)


class TestMuLaw:
    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (0, 0xFF),
            (4, 0xFE),
            (100, 0xF2),
            (1000, 0xCE),
            (8000, 0xA0),
            (32767, 0x80),
            (-1000, 0x4E),
            (-32768, 0x00),
            (-1, 0x7F),
        ],
    )
    def test_known_codes(self, value: int, code: int) -> None:
        """The worked values of the contract come out."""
        assert pcm16_to_mulaw(struct.pack("<h", value)) == bytes([code])

    def test_mulaw_is_not_12_db_too_quiet(self) -> None:
        """A sample of 1000 comes back as about 1000, not as 244."""
        assert samples(mulaw_to_pcm16(pcm16_to_mulaw(struct.pack("<h", 1000)))) == [988]

    def test_every_sample(self) -> None:
        """All 65,536 samples get the code the standard's rule gives them."""
        want = bytes(reference_mulaw(value) for value in range(-32768, 32768))
        assert pcm16_to_mulaw(EVERY) == want

    def test_sign_and_magnitude(self) -> None:
        """x and -x share seven bits; louder means a smaller code."""
        loud = [pcm16_to_mulaw(struct.pack("<h", value))[0] for value in range(0, 32768, 7)]
        quiet = [pcm16_to_mulaw(struct.pack("<h", -value))[0] for value in range(0, 32768, 7)]
        assert [code & 0x7F for code in loud] == [code & 0x7F for code in quiet]
        assert loud == sorted(loud, reverse=True)

    def test_decoding_inverts(self) -> None:
        """A decoded code encodes to itself; only the second zero folds into the first."""
        again = pcm16_to_mulaw(mulaw_to_pcm16(CODES))
        assert [code for code in CODES if again[code] != code] == [0x7F]
        assert samples(mulaw_to_pcm16(b"\x00\x80\xff\x7f")) == [-32124, 32124, 0, 0]


class TestALaw:
    @pytest.mark.parametrize(
        ("value", "code"),
        [(0, 0xD5), (-1, 0x55), (1000, 0xFA), (32767, 0xAA), (-32768, 0x2A), (16, 0xD4)],
    )
    def test_known_codes(self, value: int, code: int) -> None:
        """Ends, zero and neighbours come out as the table has them."""
        assert pcm16_to_alaw(struct.pack("<h", value)) == bytes([code])

    def test_every_sample(self) -> None:
        """All 65,536 samples get the code the standard's rule gives them."""
        want = bytes(reference_alaw(value) for value in range(-32768, 32768))
        assert pcm16_to_alaw(EVERY) == want

    def test_decoding_inverts(self) -> None:
        """Every code survives decoding and encoding."""
        assert pcm16_to_alaw(alaw_to_pcm16(CODES)) == CODES
        assert samples(alaw_to_pcm16(b"\xaa\x2a\xd5\x55")) == [32256, -32256, 8, -8]


class TestBoth:
    @pytest.mark.parametrize("encode", [pcm16_to_mulaw, pcm16_to_alaw])
    def test_odd_and_empty(self, encode) -> None:
        """A torn sample at the end is ignored; nothing gives nothing."""
        assert encode(b"") == b""
        assert len(encode(b"\x00\x00\x01")) == 1
        assert mulaw_to_pcm16(b"") == alaw_to_pcm16(b"") == b""

    def test_old_standard_library(self) -> None:
        """Where Python still has ``audioop`` it agrees (mu-law: for what is not negative)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            audioop = pytest.importorskip("audioop")
        assert pcm16_to_mulaw(EVERY[65536:]) == audioop.lin2ulaw(EVERY[65536:], 2)
        assert pcm16_to_alaw(EVERY) == audioop.lin2alaw(EVERY, 2)
        assert mulaw_to_pcm16(CODES) == audioop.ulaw2lin(CODES, 2)
        assert alaw_to_pcm16(CODES) == audioop.alaw2lin(CODES, 2)
