"""What every diarization is: it tells speakers apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame


@dataclass
class DiarizationResult:
    """Who speaks in a frame.

    Attributes:
        speaker_id: Who, as the diarization names them.
        confidence: 0 to 1.
        is_new_speaker: Whether they were not heard before.
    """

    speaker_id: str
    confidence: float
    is_new_speaker: bool


class DiarizationProvider(ABC):
    """Tells the speakers of one session apart.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. One that remembers voices overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> DiarizationResult | None:
        """Return who speaks in the next frame; None when that cannot be said (yet)."""

    def for_session(self) -> Self:
        """Return one for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget all voices; the default remembers none."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""
