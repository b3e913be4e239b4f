"""Stages that do what a test tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
from roomkit.voice.pipeline.diarization_provider import DiarizationProvider, DiarizationResult
from roomkit.voice.pipeline.vad_provider import VADEvent, VADProvider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.voice.audio_frame import AudioFrame


class MockVADProvider(VADProvider):
    """Reports the given events, one a frame, then nothing.

    One mock given to several sessions serves them all from its one sequence, in the order of
    the calls: ``for_session`` is the mock itself.

    Args:
        events: What to report for each frame; None means nothing.

    Attributes:
        frames: The frames it was given.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self, events: Sequence[VADEvent | None] | None = None) -> None:
        self._events = list(events or [])
        self._next = 0
        self.frames: list[AudioFrame] = []
        self.reset_count = 0
        self.closed = False

    @property
    def name(self) -> str:
        """``MockVADProvider``."""
        return "MockVADProvider"

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Return the next event."""
        self.frames.append(frame)
        if self._next >= len(self._events):
            return None
        self._next += 1
        return self._events[self._next - 1]

    def reset(self) -> None:
        """Begin the events anew."""
        self._next = 0
        self.reset_count += 1

    def close(self) -> None:
        """Set ``closed``."""
        self.closed = True


class MockDenoiserProvider(DenoiserProvider):
    """Hands every frame back as it is.

    Attributes:
        frames: The frames it was given.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.closed = False

    @property
    def name(self) -> str:
        """``MockDenoiserProvider``."""
        return "MockDenoiserProvider"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the same object."""
        self.frames.append(frame)
        return frame

    def close(self) -> None:
        """Set ``closed``."""
        self.closed = True


class MockDiarizationProvider(DiarizationProvider):
    """Reports the given results, one a frame, then nothing; shared like ``MockVADProvider``.

    Args:
        results: What to report for each frame; None means nothing.

    Attributes:
        frames: The frames it was given.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self, results: Sequence[DiarizationResult | None] | None = None) -> None:
        self._results = list(results or [])
        self._next = 0
        self.frames: list[AudioFrame] = []
        self.reset_count = 0
        self.closed = False

    @property
    def name(self) -> str:
        """``MockDiarizationProvider``."""
        return "MockDiarizationProvider"

    def process(self, frame: AudioFrame) -> DiarizationResult | None:
        """Return the next result."""
        self.frames.append(frame)
        if self._next >= len(self._results):
            return None
        self._next += 1
        return self._results[self._next - 1]

    def reset(self) -> None:
        """Begin the results anew."""
        self._next = 0
        self.reset_count += 1

    def close(self) -> None:
        """Set ``closed``."""
        self.closed = True
