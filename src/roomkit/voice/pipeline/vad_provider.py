"""What every voice activity detector is: it says when somebody speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame


@unique
class VADEventType(StrEnum):
    """What a detector reports.

    Attributes:
        SPEECH_START: Somebody began to speak.
        SPEECH_END: Somebody stopped; the event carries the utterance.
        SILENCE: Nobody has spoken for a while.
        AUDIO_LEVEL: How loud it is.
    """

    SPEECH_START = "speech_start"
    SPEECH_END = "speech_end"
    SILENCE = "silence"
    AUDIO_LEVEL = "audio_level"


@dataclass
class VADEvent:
    """What a detector found in a frame.

    Attributes:
        type: What happened.
        audio_bytes: With SPEECH_END, the utterance as PCM of the frames' own format. None:
            there is nothing to be recognised, since what was heard was too short for speech
            or the detector keeps no audio.
        confidence: 0 to 1; with AUDIO_LEVEL, how likely it is speech.
        duration_ms: With SPEECH_END how long was spoken, without the silence after it; with
            SILENCE how long that lasts.
        level_db: With AUDIO_LEVEL, dBFS, about -60 to 0.
    """

    type: VADEventType
    audio_bytes: bytes | None = field(default=None, repr=False)
    confidence: float | None = None
    duration_ms: float | None = None
    level_db: float | None = None


@dataclass
class VADConfig:
    """How a detector cuts utterances.

    Attributes:
        silence_threshold_ms: Silence that ends an utterance, in milliseconds.
        speech_pad_ms: Audio kept from before the first loud frame, in milliseconds.
        min_speech_duration_ms: Shorter speech is taken for a noise, in milliseconds; its
            SPEECH_END has no audio.
        extra: Settings only one detector knows.
    """

    silence_threshold_ms: int = 500
    speech_pad_ms: int = 300
    min_speech_duration_ms: int = 250
    extra: dict[str, object] = field(default_factory=dict)


class VADProvider(ABC):
    """Says when somebody speaks.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. A detector that remembers anything between frames overrides ``for_session``, so
    that two callers never share what it remembers. One that also has
    ``configure(config: VADConfig)`` is told the ``vad_config`` of its pipeline.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Return what happened in the next frame: at most one event, mostly None.

        A frame without audio is nothing. Each speech start is followed by one speech end,
        also where what was heard turns out to be a noise: that end has no audio.
        """

    @property
    def speech_ms(self) -> float | None:
        """How long has been spoken in the utterance that goes on, in milliseconds of audio.

        It reaches to the last frame that was speech: the silence that will end the utterance
        is not in it. None while nobody speaks, and from a detector that does not know, which
        is the default; the time since the speech start is taken then, silence and all.
        """
        return None

    def for_session(self) -> Self:
        """Return a detector for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was heard; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""
