"""Stages that do what a test tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
from roomkit.voice.pipeline.diarization_provider import DiarizationProvider, DiarizationResult
from roomkit.voice.pipeline.vad_provider import VADEvent, VADProvider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.voice.audio_frame import AudioFrame


class _Scripted[R]:
    """Answers frames from a list, and remembers what it was asked."""

    def __init__(self, answers: Sequence[R | None] | None) -> None:
        self._answers = list(answers or [])
        self._next = 0
        self.frames: list[AudioFrame] = []
        self.reset_count: int = 0
        self.closed: bool = False

    def process(self, frame: AudioFrame) -> R | None:
        """Return the next answer."""
        self.frames.append(frame)
        if self._next >= len(self._answers):
            return None
        self._next += 1
        return self._answers[self._next - 1]

    def reset(self) -> None:
        """Begin the answers anew."""
        self._next = 0
        self.reset_count += 1

    def close(self) -> None:
        """Set ``closed``."""
        self.closed = True


class MockVADProvider(_Scripted[VADEvent], VADProvider):
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
        super().__init__(events)

    @property
    def name(self) -> str:
        """``MockVADProvider``."""
        return "MockVADProvider"


class MockDenoiserProvider(DenoiserProvider):
    """Hands every frame back as it is.

    Attributes:
        frames: The frames it was given.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.closed: bool = False

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


class MockDiarizationProvider(_Scripted[DiarizationResult], DiarizationProvider):
    """Reports the given results, one a frame, then nothing; shared like ``MockVADProvider``.

    Args:
        results: What to report for each frame; None means nothing.

    Attributes:
        frames: The frames it was given.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self, results: Sequence[DiarizationResult | None] | None = None) -> None:
        super().__init__(results)

    @property
    def name(self) -> str:
        """``MockDiarizationProvider``."""
        return "MockDiarizationProvider"
