"""What every denoiser is: it takes noise out of what comes in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame


class DenoiserProvider(ABC):
    """Takes noise out of inbound audio, frame by frame.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. A denoiser that remembers anything between frames overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs and in ``frame.metadata["denoiser"]``."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame without its noise: the same object or another of its format."""

    def for_session(self) -> Self:
        """Return a denoiser for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was heard; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""
