"""Raw samples: whole ones out of torn pieces, other widths, other channel counts.

Everything inside RoomKit is signed 16-bit little-endian PCM; these helpers bring other things
there and back. Not for other sample rates (``resample``) nor for files (``wav``).
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS = (1, 2, 3, 4)
"""Bytes a sample that are understood; 8-bit samples are unsigned, as in WAV files."""

MIN_RATE = 8000
"""Hertz of the slowest audio that is carried live."""

MAX_RATE = 48000
"""Hertz of the fastest."""

_SWAP = sys.byteorder == "big"


def require_format(sample_rate: int, channels: int, sample_width: int) -> None:
    """Check that three numbers describe audio.

    Raises:
        InvalidInputError: A rate outside 1 to 768,000 Hz, a channel count outside 1 to 64, or
            a width other than 1, 2, 3 or 4 bytes; the text names it.
    """
    if not 0 < sample_rate <= 768_000:
        raise InvalidInputError(f"sample_rate={sample_rate!r} must be 1 to 768000 Hz")
    if not 0 < channels <= 64:
        raise InvalidInputError(f"channels={channels!r} must be 1 to 64")
    if sample_width not in WIDTHS:
        raise InvalidInputError(f"sample_width={sample_width!r} must be 1, 2, 3 or 4 bytes")


def read_samples(data: bytes, sample_width: int = 2) -> array[int]:
    """Return the samples of PCM bytes, scaled to 16 bits.

    A torn sample at the end is left out; ``SampleCarry`` keeps it instead.

    Args:
        data: Little-endian PCM; signed, but unsigned when 8-bit.
        sample_width: Bytes a sample.

    Raises:
        InvalidInputError: The width is not 1, 2, 3 or 4.
    """
    if sample_width not in WIDTHS:
        raise InvalidInputError(f"sample_width={sample_width!r} must be 1, 2, 3 or 4 bytes")
    whole = len(data) - len(data) % sample_width
    if sample_width == 1:
        return array("h", [(value - 128) << 8 for value in data])
    if sample_width > 2:
        # The two upper bytes of each sample are its 16-bit value, rounded down.
        high = bytearray(whole // sample_width * 2)
        high[0::2] = data[sample_width - 2 : whole : sample_width]
        high[1::2] = data[sample_width - 1 : whole : sample_width]
        data, whole = bytes(high), len(high)
    samples = array("h")
    samples.frombytes(data[:whole])
    if _SWAP:
        samples.byteswap()
    return samples


def write_samples(samples: Sequence[int], sample_width: int = 2) -> bytes:
    """Return 16-bit samples as PCM bytes of a width; the inverse of ``read_samples``.

    Args:
        samples: Each within -32768 to 32767.
        sample_width: Bytes a sample; 8-bit comes out unsigned.

    Raises:
        InvalidInputError: The width is not 1, 2, 3 or 4, or a sample is out of range.
    """
    try:
        words = samples if isinstance(samples, array) else array("h", samples)
    except OverflowError as exc:
        raise InvalidInputError("a sample is outside -32768 to 32767") from exc
    if _SWAP:
        words = array("h", words)
        words.byteswap()
    data = words.tobytes()
    if sample_width == 2:
        return data
    if sample_width == 1:
        return bytes([value ^ 0x80 for value in data[1::2]])
    if sample_width not in WIDTHS:
        raise InvalidInputError(f"sample_width={sample_width!r} must be 1, 2, 3 or 4 bytes")
    wide = bytearray(len(words) * sample_width)
    wide[sample_width - 2 :: sample_width] = data[0::2]
    wide[sample_width - 1 :: sample_width] = data[1::2]
    return bytes(wide)


def mix_channels(samples: array[int], channels: int, target: int) -> array[int]:
    """Return interleaved samples with another number of channels.

    Fewer channels are the mean of all given ones; a mono signal goes to every channel. Between
    two counts above one the sound becomes mono first. An incomplete group at the end is left
    out.
    """
    if channels == target:
        return samples
    if channels > 1:
        whole = len(samples) - len(samples) % channels
        if channels == 2:
            pairs = zip(samples[0:whole:2], samples[1:whole:2], strict=True)
            samples = array("h", [(left + right) >> 1 for left, right in pairs])
        else:
            lanes = [samples[lane:whole:channels] for lane in range(channels)]
            groups = zip(*lanes, strict=True)
            samples = array("h", [sum(group) // channels for group in groups])
    if target == 1:
        return samples
    spread = array("h", bytes(2 * len(samples) * target))
    for lane in range(target):
        spread[lane::target] = samples
    return spread


def mono_pcm16(data: bytes, channels: int = 1, sample_width: int = 2) -> bytes:
    """Return PCM of any width and channel count as 16-bit mono at the same rate."""
    if channels == 1 and sample_width == 2:
        return data if len(data) % 2 == 0 else data[:-1]
    return write_samples(mix_channels(read_samples(data, sample_width), channels, 1))


class SampleCarry:
    """Makes whole samples out of pieces that were cut anywhere.

    What a network hands over may end in the middle of a sample; without the carry every later
    byte would be read one off, which sounds like loud noise.

    Args:
        size: Bytes that belong together: sample width times channels.

    Raises:
        InvalidInputError: ``size`` is not positive.
    """

    def __init__(self, size: int = 2) -> None:
        if size < 1:
            raise InvalidInputError(f"size={size!r} must be at least 1 byte")
        self._size = size
        self._rest = b""

    @property
    def pending(self) -> int:
        """How many bytes wait for the rest of their sample."""
        return len(self._rest)

    def push(self, data: bytes) -> bytes:
        """Return all whole samples there are now, and keep what is left over."""
        if self._rest:
            data = self._rest + data
        left = len(data) % self._size
        if not left:
            self._rest = b""
            return data
        self._rest = data[-left:]
        return data[:-left]

    def reset(self) -> None:
        """Forget the torn sample."""
        self._rest = b""
