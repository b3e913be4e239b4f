"""What hooks of the voice layer are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from roomkit.voice.base import VoiceSession


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class BargeInEvent:
    """Somebody spoke over the playback.

    Attributes:
        session: Whose.
        interrupted_text: What was being said.
        audio_position_ms: How much of it had been played, in milliseconds.
        timestamp: When.
    """

    session: VoiceSession
    interrupted_text: str = field(repr=False)
    audio_position_ms: int
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class TTSCancelledEvent:
    """A playback was stopped.

    Attributes:
        session: Whose.
        reason: Why.
        text: What was being said.
        audio_position_ms: How much of it had been played, in milliseconds.
        timestamp: When.
    """

    session: VoiceSession
    reason: Literal["barge_in", "explicit", "disconnect", "error"]
    text: str = field(repr=False)
    audio_position_ms: int
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class PartialTranscriptionEvent:
    """Speech so far.

    Attributes:
        session: Whose.
        text: The words; later ones may differ unless ``is_stable``.
        confidence: 0 to 1.
        is_stable: Whether they will not change any more.
        timestamp: When.
    """

    session: VoiceSession
    text: str = field(repr=False)
    confidence: float
    is_stable: bool
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class VADSilenceEvent:
    """Nobody has spoken for a while.

    Attributes:
        session: Whose.
        silence_duration_ms: How long, in milliseconds.
        timestamp: When.
    """

    session: VoiceSession
    silence_duration_ms: int
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class VADAudioLevelEvent:
    """How loud it is.

    Attributes:
        session: Whose.
        level_db: dBFS, about -60 to 0.
        is_speech: Whether it sounds like speech.
        timestamp: When.
    """

    session: VoiceSession
    level_db: float
    is_speech: bool
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class SpeakerChangeEvent:
    """Another person speaks.

    Attributes:
        session: Whose.
        speaker_id: Who, as the diarization numbers them.
        confidence: 0 to 1.
        is_new_speaker: Whether they were not heard before.
        timestamp: When.
    """

    session: VoiceSession
    speaker_id: str
    confidence: float
    is_new_speaker: bool
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class TurnCompleteEvent:
    """Somebody has finished what they wanted to say.

    Attributes:
        session: Whose.
        text: The whole turn.
        confidence: 0 to 1, how sure the turn detector is.
        reason: Why it is over, in a word; None where the detector gave none.
        timestamp: When.
    """

    session: VoiceSession
    text: str = field(repr=False)
    confidence: float = 1.0
    reason: str | None = None
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class TurnIncompleteEvent:
    """Somebody paused; what they say next belongs to it.

    Attributes:
        session: Whose.
        text: The turn so far.
        confidence: 0 to 1, how sure the turn detector is.
        reason: Why it is not over, in a word; None where the detector gave none.
        wait_ms: After how much silence it is over all the same, in milliseconds; None where
            the detector left that open.
        timestamp: When.
    """

    session: VoiceSession
    text: str = field(repr=False)
    confidence: float = 1.0
    reason: str | None = None
    wait_ms: float | None = None
    timestamp: datetime = field(default_factory=_now)
