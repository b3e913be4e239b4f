"""Telephone keys, heard as pairs of tones.

Source of the numbers: ITU-T Q.23 (the frequencies) and Q.24 (what a receiver must accept: tones
of 40 ms and more, 1.5 % off, the two up to 8 dB apart; never a tone below 23 ms).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.pcm import mix_channels, read_samples, require_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

_ROWS = (697.0, 770.0, 852.0, 941.0)
_COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
_KEYS = ("123A", "456B", "789C", "*0#D")
_WINDOW_MS, _HOP_MS = 20, 10
_SHARE = 0.5
_TWIST = 10.0
_LEAD = 3.0
_HITS, _MISSES = 2, 2
_LONGEST_MS = 2000.0


@dataclass
class DTMFEvent:
    """A key was pressed.

    Attributes:
        digit: ``0`` to ``9``, ``*``, ``#`` or ``A`` to ``D``.
        duration_ms: How long, in milliseconds.
        confidence: 0 to 1.
    """

    digit: str = field(repr=False)
    duration_ms: float
    confidence: float = 1.0


@dataclass(frozen=True)
class DTMFDetectedEvent:
    """What hooks are told about a key; keys may be card numbers and stay out of its repr.

    Attributes:
        session: Whose.
        digit: ``0`` to ``9``, ``*``, ``#`` or ``A`` to ``D``.
        duration_ms: How long, in milliseconds.
        confidence: 0 to 1.
        timestamp: When.
    """

    session: VoiceSession
    digit: str = field(repr=False)
    duration_ms: float
    confidence: float = 1.0
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


class DTMFDetector(ABC):
    """Hears keys in inbound audio, before anything that would take tones for noise.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. A detector that remembers anything between frames overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> DTMFEvent | None:
        """Return the key that ended in the next frame: at most one, mostly None."""

    def for_session(self) -> Self:
        """Return a detector for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was heard; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


class GoertzelDTMFDetector(DTMFDetector):
    """Measures the eight frequencies in windows of 20 ms, every 10 ms. No dependency.

    A key is reported once, when it is released or after two seconds.

    Args:
        min_level_dbfs: What is quieter is no key.
        min_duration_ms: Shorter tones are no key.

    Raises:
        InvalidInputError: A value is out of range.
    """

    def __init__(self, *, min_level_dbfs: float = -45.0, min_duration_ms: float = 30.0) -> None:
        if not -90.0 <= min_level_dbfs <= 0.0:
            raise InvalidInputError(f"min_level_dbfs={min_level_dbfs!r} must be -90 to 0")
        if not 20.0 <= min_duration_ms <= 1000.0:
            raise InvalidInputError(f"min_duration_ms={min_duration_ms!r} must be 20 to 1000")
        self._min_level, self._min_ms = min_level_dbfs, min_duration_ms
        # The mean square of a sine pair of this level.
        self._least = (32768.0 * 10 ** (min_level_dbfs / 20)) ** 2
        self.reset()

    @property
    def name(self) -> str:
        """``goertzel``."""
        return "goertzel"

    def for_session(self) -> Self:
        """Return a fresh detector with the same settings."""
        return type(self)(min_level_dbfs=self._min_level, min_duration_ms=self._min_ms)

    def reset(self) -> None:
        """Forget what was heard; a key that is still held is not reported."""
        self._rate = 0
        self._samples: list[int] = []
        self._left = array("h")
        self._digit, self._hits, self._misses, self._span = "", 0, 0, 0
        self._shares = 0.0
        self._told = False
        self._found: deque[DTMFEvent] = deque(maxlen=16)

    def process(self, frame: AudioFrame) -> DTMFEvent | None:
        """Return the key that ended in the next frame.

        Of several in one long frame the others follow with the next frames.

        Raises:
            InvalidInputError: The frame's numbers describe no audio, or its rate is below
                4,000 Hz, which cannot carry the tones.
        """
        if not frame.data:
            return self._found.popleft() if self._found else None
        if frame.sample_rate != self._rate:
            require_format(frame.sample_rate, frame.channels, frame.sample_width)
            if frame.sample_rate < 4000:
                raise InvalidInputError(f"{frame.sample_rate} Hz cannot carry telephone keys")
            waiting = self._found
            self.reset()
            self._rate, self._found = frame.sample_rate, waiting
        mono = mix_channels(read_samples(frame.data, frame.sample_width), frame.channels, 1)
        self._samples += self._thinned(mono)
        rate = self._rate / self._factor
        window, hop = round(rate * _WINDOW_MS / 1000), round(rate * _HOP_MS / 1000)
        start = 0
        while start + window <= len(self._samples):
            self._take(*self._listen(self._samples[start : start + window], rate))
            start += hop
        del self._samples[:start]
        return self._found.popleft() if self._found else None

    @property
    def _factor(self) -> int:
        """By how much the rate is lowered: 8,000 Hz are enough for tones below 1,700."""
        return max(1, self._rate // 8000)

    def _thinned(self, samples: array[int]) -> list[int]:
        factor = self._factor
        if factor == 1:
            return samples.tolist()
        samples = self._left + samples
        whole = len(samples) - len(samples) % factor
        self._left = samples[whole:]
        lanes = [samples[lane:whole:factor] for lane in range(factor)]
        return [sum(group) // factor for group in zip(*lanes, strict=True)]

    def _listen(self, samples: list[int], rate: float) -> tuple[str, float]:
        """Return the key in a window, or "", and how much of the sound its tones are."""
        count = len(samples)
        energy = math.sumprod(samples, samples) / count
        if energy < self._least:
            return "", 0.0
        # Per frequency the mean square of its sine, as a share of the whole.
        shares = [
            2 * (math.sumprod(c, samples) ** 2 + math.sumprod(s, samples) ** 2) / count**2 / energy
            for c, s in _waves(rate, count)
        ]
        row, column = _loudest(shares[:4]), _loudest(shares[4:])
        if row is None or column is None:
            return "", 0.0
        low, high = shares[row], shares[4 + column]
        if low + high < _SHARE or not 1 / _TWIST <= low / high <= _TWIST:
            return "", 0.0
        return _KEYS[row][column], min(1.0, low + high)

    def _take(self, digit: str, share: float) -> None:
        """Count windows with a key and without: one alone decides nothing."""
        if self._digit and digit == self._digit:
            self._hits += 1
            self._shares += share
            self._span += 1 + self._misses
            self._misses = 0
            if self._length >= _LONGEST_MS:
                self._tell()
            return
        if self._digit:
            self._misses += 1
            if self._misses < _MISSES and not (digit and self._hits < _HITS):
                return
            self._tell()
        self._digit, self._hits, self._misses = digit, int(bool(digit)), 0
        self._span, self._shares, self._told = int(bool(digit)), share, False

    @property
    def _length(self) -> float:
        # A window half filled counts too, at both ends.
        return float(self._span * _HOP_MS)

    def _tell(self) -> None:
        if not self._told and self._hits >= _HITS and self._length >= self._min_ms:
            self._told = True
            confidence = min(1.0, self._shares / self._hits)
            self._found.append(DTMFEvent(self._digit, self._length, confidence))


def _loudest(shares: Sequence[float]) -> int | None:
    """Return the place of a tone that stands out in its group, if one does."""
    best = max(range(len(shares)), key=shares.__getitem__)
    second = max(share for place, share in enumerate(shares) if place != best)
    return best if shares[best] > 0 and shares[best] >= _LEAD * second else None


@lru_cache(maxsize=16)
def _waves(rate: float, count: int) -> tuple[tuple[list[float], list[float]], ...]:
    """Return a cosine and a sine of each frequency, one window long."""
    return tuple(
        (
            [math.cos(math.tau * hertz * i / rate) for i in range(count)],
            [math.sin(math.tau * hertz * i / rate) for i in range(count)],
        )
        for hertz in (*_ROWS, *_COLUMNS)
    )


class MockDTMFDetector(DTMFDetector):
    """Reports a script, one entry a frame.

    Attributes:
        frames: What it was given.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self, events: list[DTMFEvent | None] | None = None) -> None:
        self._events = list(events or [])
        self._next = 0
        self.frames: list[AudioFrame] = []
        self.reset_count: int = 0
        self.closed: bool = False

    @property
    def name(self) -> str:
        """The class's name."""
        return "MockDTMFDetector"

    def process(self, frame: AudioFrame) -> DTMFEvent | None:
        """Return the next entry of the script, then None for ever."""
        self.frames.append(frame)
        event = self._events[self._next] if self._next < len(self._events) else None
        self._next += 1
        return event

    def reset(self) -> None:
        """Begin the script again."""
        self._next = 0
        self.reset_count += 1

    def close(self) -> None:
        """Remember it."""
        self.closed = True
