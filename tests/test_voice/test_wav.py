"""WAV files as they are found."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio import (
    load_wav,
    parse_wav,
    pcm16_to_alaw,
    pcm16_to_mulaw,
    read_samples,
    wav_bytes,
    write_samples,
)
from roomkit.voice.audio.g711 import alaw_to_pcm16, mulaw_to_pcm16
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from pathlib import Path

PCM = tone(440, 20, rate=8000)


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data


def fmt(encoding: int, bits: int, *, channels: int = 1, rate: int = 8000, block: int = 0) -> bytes:
    block = block or channels * ((bits + 7) // 8)
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate, rate * block, block, bits)
    )


def riff(*chunks: bytes, name: bytes = b"RIFF", size: int = 0xFFFFFFFF) -> bytes:
    return name + struct.pack("<I", size) + b"WAVE" + b"".join(chunks)


class TestEncodings:
    @pytest.mark.parametrize("width", [2, 3, 4])
    def test_pcm(self, width: int) -> None:
        """PCM of every width from 16 bits comes out as the same samples."""
        data = write_samples(read_samples(PCM), width)
        got = parse_wav(riff(fmt(1, 8 * width), chunk(b"data", data)))
        assert (got.data, got.sample_rate, got.channels) == (PCM, 8000, 1)
        assert got.duration_ms == 20

    def test_eight_bits(self) -> None:
        """8-bit PCM is unsigned."""
        assert parse_wav(riff(fmt(1, 8), chunk(b"data", b"\x80\xff\x00\x80"))).data == (
            write_samples([0, 127 << 8, -32768, 0])
        )

    @pytest.mark.parametrize("bits", [32, 64])
    def test_floats(self, bits: int) -> None:
        """Floats are scaled, cut at full scale, and no number is silence."""
        values = [0.0, 0.5, -2.0, 2.0, float("nan"), float("inf")]
        data = struct.pack(f"<6{'f' if bits == 32 else 'd'}", *values)
        got = read_samples(parse_wav(riff(fmt(3, bits), chunk(b"data", data))).data)
        assert got.tolist() == [0, 16384, -32767, 32767, 0, 32767]

    def test_laws(self) -> None:
        """Mu-law and A-law files are decoded."""
        mulaw, alaw = pcm16_to_mulaw(PCM), pcm16_to_alaw(PCM)
        assert parse_wav(riff(fmt(7, 8), chunk(b"data", mulaw))).data == mulaw_to_pcm16(mulaw)
        assert parse_wav(riff(fmt(6, 8), chunk(b"data", alaw))).data == alaw_to_pcm16(alaw)

    def test_extensible(self) -> None:
        """WAVE_FORMAT_EXTENSIBLE names its encoding further on."""
        guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
        head = struct.pack("<HHIIHH", 0xFFFE, 1, 8000, 16000, 2, 16)
        layout = chunk(b"fmt ", head + struct.pack("<HHI", 22, 16, 4) + guid)
        assert parse_wav(riff(layout, chunk(b"data", PCM))).data == PCM

    def test_rf64(self) -> None:
        """RF64 keeps its sizes elsewhere."""
        sizes = chunk(b"ds64", struct.pack("<QQQ", 0, len(PCM), 0))
        body = chunk(b"data", PCM, 0xFFFFFFFF) + chunk(b"LIST", b"abcd")
        assert parse_wav(riff(sizes, fmt(1, 16), body, name=b"RF64")).data == PCM

    @pytest.mark.parametrize(("encoding", "bits"), [(2, 4), (0x55, 0), (3, 16), (1, 64)])
    def test_not_understood(self, encoding: int, bits: int) -> None:
        """Other encodings are refused with the cure."""
        with pytest.raises(InvalidInputError, match="convert it to PCM"):
            parse_wav(riff(fmt(encoding, bits), chunk(b"data", PCM)))


class TestLies:
    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, len(PCM) + 1])
    def test_size_of_the_sound(self, size: int) -> None:
        """A header that says too much, nothing or "unknown" gives what is there."""
        assert parse_wav(riff(fmt(1, 16), chunk(b"data", PCM, size))).data == PCM

    def test_really_empty(self) -> None:
        """No sound followed by a tag is no sound."""
        file = riff(fmt(1, 16), chunk(b"data", b""), chunk(b"LIST", b"abcd"))
        assert parse_wav(file).data == b""

    def test_odd_bytes(self) -> None:
        """Half a sample at the end is left out, half a group of channels too."""
        assert parse_wav(riff(fmt(1, 16), chunk(b"data", PCM + b"\x01"))).data == PCM
        got = parse_wav(riff(fmt(1, 16, channels=2), chunk(b"data", PCM[:6])))
        assert got.data == PCM[:4]

    @pytest.mark.parametrize("pad", [b"", b"\x00"])
    def test_odd_chunks(self, pad: bytes) -> None:
        """An odd chunk before the sound, padded or not, is passed over."""
        file = riff(fmt(1, 16), chunk(b"LIST", b"abc") + pad, chunk(b"data", PCM))
        assert parse_wav(file).data == PCM

    @pytest.mark.parametrize(
        "file",
        [
            b"",
            b"RIFF",
            b"OggS" + bytes(20),
            riff(),
            riff(fmt(1, 16)),
            riff(chunk(b"data", PCM)),
            riff(chunk(b"fmt ", b"\x01\x00")),
            riff(fmt(1, 16, channels=0, block=2), chunk(b"data", PCM)),
            riff(fmt(1, 16, rate=0), chunk(b"data", PCM)),
        ],
    )
    def test_no_wav_file(self, file: bytes) -> None:
        """What is no sound file is refused as such."""
        with pytest.raises(InvalidInputError):
            parse_wav(file)

    @given(st.binary(max_size=80), st.integers(0, 60))
    @settings(max_examples=150, deadline=None)
    def test_fuzz(self, noise: bytes, at: int) -> None:
        """Whatever bytes come: sound, or the one error."""
        good = riff(fmt(1, 16), chunk(b"data", PCM[:20]))
        try:
            parse_wav(good[:at] + noise + good[at + len(noise) :])
        except InvalidInputError:
            return


class TestWriting:
    @pytest.mark.parametrize("width", [1, 2, 3])
    def test_others_can_read_it(self, width: int) -> None:
        """Python's own reader agrees, and nothing torn is written."""
        data = write_samples(read_samples(PCM), width)
        with wave.open(io.BytesIO(wav_bytes(data, 8000, sample_width=width))) as file:
            assert file.getparams()[:4] == (1, width, 8000, len(PCM) // 2)
            assert file.readframes(10_000) == data
        assert parse_wav(wav_bytes(PCM + b"\x01", 8000)).data == PCM

    def test_refused(self) -> None:
        """A format that describes no audio is refused."""
        with pytest.raises(InvalidInputError, match="channels"):
            wav_bytes(PCM, 8000, 0)


class TestLoading:
    async def test_file(self, tmp_path: Path) -> None:
        """A file is read in a thread; one too large is refused, a missing one is an OSError."""
        path = tmp_path / "a.wav"
        path.write_bytes(wav_bytes(PCM, 8000))
        assert (await load_wav(path)).data == PCM
        with pytest.raises(InvalidInputError, match="larger than 50"):
            await load_wav(path, max_bytes=50)
        with pytest.raises(FileNotFoundError):
            await load_wav(tmp_path / "none.wav")
