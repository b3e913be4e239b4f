"""Bringing frames to another sample rate, channel count and sample width.

The one to use is ``SincResamplerProvider``. ``LinearResamplerProvider`` is cheaper and lets
high tones fold back as false ones when it lowers the rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Self

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio._polyphase import RateStream, kernel
from roomkit.voice.audio.pcm import (
    SampleCarry,
    mix_channels,
    read_samples,
    require_format,
    write_samples,
)
from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from types import ModuleType

_PAST = 2048
"""Samples a channel kept of audio that passed unchanged, for a change of rate after it."""


class ResamplerProvider(ABC):
    """A stage that converts the format of frames, one stream per instance.

    Called on the event loop; it must return within the frame's own duration.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def resample(
        self,
        frame: AudioFrame,
        target_rate: int,
        target_channels: int = 1,
        target_width: int = 2,
    ) -> AudioFrame:
        """Return the frame in another format; the same object when nothing changes.

        Frames of one stream come in order. A changed frame carries ``original_sample_rate``
        and ``original_channels`` in its metadata.

        Args:
            frame: PCM; 8-bit is unsigned, wider is signed.
            target_rate: Hertz.
            target_channels: Interleaved channels; fewer are the mean, more are copies.
            target_width: Bytes a sample.

        Raises:
            InvalidInputError: Numbers that describe no audio, or rates more than 64 times
                apart.
        """

    def reset(self) -> None:
        """Forget the stream so far."""

    def close(self) -> None:
        """Give up resources; again does nothing."""

    def for_session(self) -> Self:
        """Return the instance one session uses; a stage with memory returns a new one."""
        return self


@dataclass(frozen=True, slots=True)
class _Format:
    rate: int
    channels: int
    width: int


def _relabelled(frame: AudioFrame, data: bytes, target: _Format) -> AudioFrame:
    metadata = {
        **frame.metadata,
        "original_sample_rate": frame.metadata.get("original_sample_rate", frame.sample_rate),
        "original_channels": frame.metadata.get("original_channels", frame.channels),
    }
    return AudioFrame(
        data, target.rate, target.channels, target.width, frame.timestamp_ms, metadata
    )


class _StreamingResampler(ResamplerProvider):
    """What both resamplers share: formats, torn samples, changes in mid-stream."""

    def __init__(self, zero_crossings: int, numpy: ModuleType | None) -> None:
        self._zero_crossings = zero_crossings
        self._numpy = numpy
        self.reset()

    def reset(self) -> None:
        """Forget the stream so far; the next frame starts a new one."""
        self._source: _Format | None = None
        self._target: _Format | None = None
        self._carry = SampleCarry()
        self._stream: RateStream | None = None
        self._past = array("h")

    def resample(
        self,
        frame: AudioFrame,
        target_rate: int,
        target_channels: int = 1,
        target_width: int = 2,
    ) -> AudioFrame:
        """Return the frame in another format; see ``ResamplerProvider``.

        From the first frame on each output lasts as long as its input, to the sample: after
        ``n`` samples a channel there have been ``ceil(n * target / source)``. The sound lies
        one filter length (about 2 ms at 8 kHz, 1 ms at 16 kHz) later. When the rate changes
        in mid-stream the sound goes on without a gap or a click.
        """
        source = _Format(frame.sample_rate, frame.channels, frame.sample_width)
        target = _Format(target_rate, target_channels, target_width)
        lead = array("h")
        samples: array[int] | None = None
        if (source, target) != (self._source, self._target):
            require_format(source.rate, source.channels, source.width)
            require_format(target.rate, target.channels, target.width)
            samples, lead = self._turn_to(source, target, frame.data)
        if source == target and self._stream is None and not lead and self._is_whole(frame):
            self._remember(frame.data)
            return frame
        if samples is None:
            samples = self._read(frame.data, source, target)
        if self._stream is not None:
            samples = self._stream.push(samples)
        elif len(samples):
            self._past = samples[-_PAST * self._lanes :]
        samples = lead + samples
        out = mix_channels(samples, self._lanes, target.channels)
        return _relabelled(frame, write_samples(out, target.width), target)

    def flush(self) -> bytes:
        """Return the end of the sound, still held back by the filter, and reset.

        It is in the last target's format: 1 to 2 ms, empty when nothing was converted.
        """
        target, lanes, stream = self._target, self._lanes, self._stream
        self.reset()
        if stream is None or target is None:
            return b""
        return write_samples(mix_channels(stream.finish(), lanes, target.channels), target.width)

    @property
    def _lanes(self) -> int:
        """How many channels are computed: the fewer of both sides."""
        if self._source is None or self._target is None:
            return 1
        if self._target.channels >= self._source.channels:
            return self._source.channels
        return self._target.channels if self._target.channels == 1 else self._source.channels

    def _is_whole(self, frame: AudioFrame) -> bool:
        return not self._carry.pending and not len(frame.data) % (
            frame.channels * frame.sample_width
        )

    def _remember(self, data: bytes) -> None:
        source = self._source
        if source is not None and data:
            size = source.width * source.channels * _PAST
            self._past = read_samples(data[-size:], source.width)

    def _read(self, data: bytes, source: _Format, target: _Format) -> array[int]:
        samples = read_samples(self._carry.push(data), source.width)
        return mix_channels(samples, source.channels, self._lanes)

    def _turn_to(
        self, source: _Format, target: _Format, data: bytes
    ) -> tuple[array[int], array[int]]:
        """Start a new conversion; return its first samples and the end of the one before.

        The new stream is given the old one's last samples as its past, and the old one the
        new samples as its future, both by straight lines: enough for a seam nobody hears.
        """
        weights = None
        if source.rate != target.rate:
            weights = kernel(source.rate, target.rate, self._zero_crossings)
        before, old, old_target = self._source, self._stream, self._target
        old_lanes, past = self._lanes, old.past if old is not None else self._past
        self._source, self._target = source, target
        self._carry = SampleCarry(source.width * source.channels)
        samples = self._read(data, source, target)
        lead, begin = array("h"), 0.0
        fits = before is not None and old_lanes == self._lanes
        if before is not None and old is not None and old_target is not None:
            tail = old.finish(
                _after(samples, source.rate, before.rate, old_lanes) if fits else None
            )
            if fits and old_target.rate == target.rate:
                lead, begin = tail, old.over / before.rate * source.rate
        self._stream = None
        if weights is not None:
            known = before is not None and fits and len(past) > 0
            if before is not None and known:
                past = _before(past, samples, before.rate, source.rate, old_lanes)
            self._stream = RateStream(
                weights,
                self._lanes,
                past=past if known else None,
                aligned=known,
                begin=begin,
                numpy=self._numpy,
            )
        return samples, lead


def _before(
    past: array[int], first: array[int], source: int, target: int, channels: int
) -> array[int]:
    """Return what came before a seam at the rate of what comes after it, by straight lines."""
    count = len(past) // channels
    if source == target:
        return past
    size = min(_PAST, count * target // source)
    out = array("h", bytes(2 * size * channels))
    for lane in range(channels):
        # The first sample after the seam lies where the old rate's next one would.
        line = past[lane::channels] + (first[lane : lane + 1] or past[-channels:][lane : lane + 1])
        for index in range(size):
            place = count - (size - index) * source / target
            out[index * channels + lane] = _between(line, place)
    return out


def _after(first: array[int], source: int, target: int, channels: int) -> array[int]:
    """Return what comes after a seam at the rate of what came before it, by straight lines."""
    first = first[: _PAST * channels]
    if source == target:
        return first
    size = len(first) // channels * target // source
    out = array("h", bytes(2 * size * channels))
    for lane in range(channels):
        line = first[lane::channels]
        for index in range(size):
            out[index * channels + lane] = _between(line, index * source / target)
    return out


def _between(line: array[int], place: float) -> int:
    low = max(0, min(int(place), len(line) - 1))
    high = min(low + 1, len(line) - 1)
    share = max(0.0, min(1.0, place - low))
    return round(line[low] * (1 - share) + line[high] * share)


class SincResamplerProvider(_StreamingResampler):
    """The good one: a windowed sinc, so that nothing folds back and nothing clicks.

    Args:
        zero_crossings: Half the filter's length in samples of the lower rate, 4 to 64. More
            is sharper, slower and later.
        accelerate: Use numpy when it is installed. The samples are the same without it.

    Raises:
        InvalidInputError: ``zero_crossings`` is out of range.
    """

    def __init__(self, *, zero_crossings: int = 16, accelerate: bool = True) -> None:
        if not 4 <= zero_crossings <= 64:
            raise InvalidInputError(f"zero_crossings={zero_crossings!r} must be 4 to 64")
        self._accelerate = accelerate
        super().__init__(zero_crossings, _numpy() if accelerate else None)

    @property
    def name(self) -> str:
        """``sinc``."""
        return "sinc"

    def for_session(self) -> Self:
        """Return a fresh one of the same quality."""
        return type(self)(zero_crossings=self._zero_crossings, accelerate=self._accelerate)


class LinearResamplerProvider(_StreamingResampler):
    """Straight lines between samples: no dependency, no filter, little work."""

    def __init__(self) -> None:
        super().__init__(0, None)

    @property
    def name(self) -> str:
        """``linear``."""
        return "linear"

    def for_session(self) -> Self:
        """Return a fresh one."""
        return type(self)()


@dataclass
class ResampleCall:
    """What a ``MockResamplerProvider`` was asked.

    Attributes:
        frame: The frame.
        target_rate: Hertz.
        target_channels: Interleaved channels.
        target_width: Bytes a sample.
    """

    frame: AudioFrame
    target_rate: int
    target_channels: int
    target_width: int


class MockResamplerProvider(ResamplerProvider):
    """Writes down what it is asked, and gives the same bytes the wanted label.

    Attributes:
        calls: What was asked, in order.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.calls: list[ResampleCall] = []
        self.reset_count: int = 0
        self.closed: bool = False

    @property
    def name(self) -> str:
        """The class's name."""
        return "MockResamplerProvider"

    def resample(
        self,
        frame: AudioFrame,
        target_rate: int,
        target_channels: int = 1,
        target_width: int = 2,
    ) -> AudioFrame:
        """Return the frame labelled with the wanted format, its bytes unchanged."""
        self.calls.append(ResampleCall(frame, target_rate, target_channels, target_width))
        target = _Format(target_rate, target_channels, target_width)
        if target == _Format(frame.sample_rate, frame.channels, frame.sample_width):
            return frame
        return _relabelled(frame, frame.data, target)

    def reset(self) -> None:
        """Count it."""
        self.reset_count += 1

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def resample_pcm16(pcm: bytes, source_rate: int, target_rate: int, *, channels: int = 1) -> bytes:
    """Return a whole clip of 16-bit PCM at another rate, in place and to the sample.

    It costs about 5 % of the clip's duration without numpy: call it in a thread for clips of
    more than a few seconds.

    Args:
        pcm: Signed 16-bit little-endian samples; a torn sample at the end is left out.
        source_rate: Hertz.
        target_rate: Hertz; ``ceil(samples * target_rate / source_rate)`` samples come out.
        channels: Interleaved channels.

    Raises:
        InvalidInputError: Numbers that describe no audio, or rates more than 64 times apart.
    """
    require_format(source_rate, channels, 2)
    require_format(target_rate, channels, 2)
    pcm = pcm[: len(pcm) - len(pcm) % (2 * channels)]
    if source_rate == target_rate or not pcm:
        return pcm
    stream = RateStream(
        kernel(source_rate, target_rate, 16), channels, aligned=True, numpy=_numpy()
    )
    return write_samples(stream.push(read_samples(pcm)) + stream.finish())


def _numpy() -> ModuleType | None:
    """Return numpy when it is installed; nothing here needs it."""
    try:
        return import_module("numpy")
    except ImportError:
        return None
