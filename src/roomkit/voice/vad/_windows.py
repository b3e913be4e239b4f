"""Frames of any size and rate, cut into the windows a detector wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.voice.audio.resample import SincResamplerProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.voice.audio_frame import AudioFrame


class Windows:
    """Yields whole windows of 16-bit mono PCM at one rate.

    Args:
        sample_rate: Hertz of the windows.
        samples: How many samples each has.
    """

    def __init__(self, sample_rate: int, samples: int) -> None:
        self._rate = sample_rate
        self._size = 2 * samples
        self._resampler = SincResamplerProvider()
        self._rest = b""

    def push(self, frame: AudioFrame) -> Iterator[bytes]:
        """Yield the windows that are complete with this frame; the rest waits for the next."""
        data = self._rest + self._resampler.resample(frame, self._rate, 1, 2).data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        for start in range(0, whole, self._size):
            yield data[start : start + self._size]

    def reset(self) -> None:
        """Forget what waits."""
        self._resampler.reset()
        self._rest = b""
