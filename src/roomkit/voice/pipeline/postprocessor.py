"""What every postprocessor is: it changes audio on its way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame


class AudioPostProcessor(ABC):
    """Changes outbound audio, such as its loudness, before it is recorded and played.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. One that remembers anything between frames overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the audio to play: the same object or another."""

    def for_session(self) -> Self:
        """Return one for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was played; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""
