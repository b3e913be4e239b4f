"""Samples, widths, channels, levels."""

from __future__ import annotations

from array import array

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio import (
    SampleCarry,
    level_dbfs,
    mix_channels,
    mono_pcm16,
    peak_pcm16,
    read_samples,
    require_format,
    rms_pcm16,
    write_samples,
)
from tests.test_voice._signals import silence, tone


class TestWidths:
    @pytest.mark.parametrize("width", [2, 3, 4])
    def test_wider_is_exact(self, width: int) -> None:
        """16-bit samples survive every width from 16 bits up."""
        values = array("h", [-32768, -257, -1, 0, 1, 256, 32767])
        assert read_samples(write_samples(values, width), width) == values

    def test_eight_bits(self) -> None:
        """8-bit samples are unsigned: 128 is silence."""
        assert write_samples([0, -32768, 32767], 1) == b"\x80\x00\xff"
        assert read_samples(b"\x80\x00\xff", 1).tolist() == [0, -32768, 127 << 8]

    def test_torn_sample(self) -> None:
        """Half a sample at the end is left out."""
        assert read_samples(b"\x01\x00\x02").tolist() == [1]

    def test_refused(self) -> None:
        """Widths nobody has, and samples beyond 16 bits, are refused with the reason."""
        with pytest.raises(InvalidInputError, match="sample_width=5"):
            read_samples(b"", 5)
        with pytest.raises(InvalidInputError, match="sample_width=0"):
            write_samples([0], 0)
        with pytest.raises(InvalidInputError, match="outside"):
            write_samples([40000])

    @pytest.mark.parametrize(
        ("form", "field"),
        [((0, 1, 2), "sample_rate"), ((8000, 0, 2), "channels"), ((8000, 1, 9), "sample_width")],
    )
    def test_formats(self, form: tuple[int, int, int], field: str) -> None:
        """A format that describes no audio is refused by the name of its field."""
        with pytest.raises(InvalidInputError, match=field):
            require_format(*form)


class TestChannels:
    def test_down_and_up(self) -> None:
        """Fewer channels are the mean, more are copies, an incomplete group is left out."""
        stereo = array("h", [100, 300, -100, -300, 7])
        assert mix_channels(stereo, 2, 1).tolist() == [200, -200]
        assert mix_channels(array("h", [1, 2]), 1, 3).tolist() == [1, 1, 1, 2, 2, 2]
        assert mix_channels(array("h", [3, 6, 9]), 3, 2).tolist() == [6, 6]
        assert mix_channels(stereo, 2, 2) is stereo

    def test_mono(self) -> None:
        """Stereo of 24 bits becomes 16-bit mono."""
        data = write_samples([1000, 3000], 3)
        assert read_samples(mono_pcm16(data, 2, 3)).tolist() == [2000]
        assert mono_pcm16(b"\x01\x00\x05") == b"\x01\x00"


class TestCarry:
    def test_pieces(self) -> None:
        """Pieces cut anywhere give the same bytes, whole samples at a time."""
        data = bytes(range(100))
        carry = SampleCarry(4)
        out = b""
        for start in range(0, 100, 7):
            piece = carry.push(data[start : start + 7])
            assert len(piece) % 4 == 0
            out += piece
        assert out == data
        assert carry.pending == 0

    def test_reset_and_refusal(self) -> None:
        """A reset forgets the torn sample; a size of nothing is refused."""
        carry = SampleCarry(2)
        assert carry.push(b"\x01") == b""
        assert carry.pending == 1
        carry.reset()
        assert carry.push(b"\x02\x03") == b"\x02\x03"
        with pytest.raises(InvalidInputError):
            SampleCarry(0)


class TestLevels:
    def test_levels(self) -> None:
        """A sine of half scale is 9 dB below full scale; silence is the bottom."""
        pcm = tone(1000, 100, amplitude=16384)
        assert level_dbfs(pcm) == pytest.approx(-9.03, abs=0.05)
        assert rms_pcm16(pcm) == pytest.approx(16384 / 2**0.5, rel=0.01)
        assert peak_pcm16(pcm) == 16384
        assert level_dbfs(silence(10)) == level_dbfs(b"") == -96.0
        assert peak_pcm16(b"") == 0
