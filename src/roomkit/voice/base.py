"""What every part of the voice layer speaks of: sessions, chunks, transcriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Flag, StrEnum, unique
from typing import Any


@unique
class VoiceSessionState(StrEnum):
    """Where a session is; ENDED is terminal.

    Attributes:
        CONNECTING: Not connected yet.
        ACTIVE: Audio flows.
        PAUSED: On hold.
        ENDED: Over, for good.
    """

    CONNECTING = "connecting"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class VoiceCapability(Flag):
    """What a backend can do by itself."""

    NONE = 0
    """Only audio, both ways."""
    INTERRUPTION = 1
    """``cancel_audio`` stops the sound."""
    BARGE_IN = 2
    """It reports that somebody speaks over the playback."""
    NATIVE_AEC = 4
    """It takes the echo out of what it hears."""
    NATIVE_AGC = 8
    """It levels the loudness."""
    DTMF_INBAND = 16
    """Telephone keys are tones in the audio."""
    DTMF_SIGNALING = 32
    """Telephone keys are reported beside the audio."""
    PARTIAL_STT = 256
    """It reports speech so far."""
    VAD_SILENCE = 512
    """It reports silence."""
    VAD_AUDIO_LEVEL = 1024
    """It reports loudness."""


@dataclass
class AudioChunk:
    """Audio on its way out, or into a streaming recogniser.

    Attributes:
        data: The audio.
        sample_rate: Hertz.
        channels: Interleaved channels.
        format: ``pcm_s16le`` (what may be played), or a compressed format.
        timestamp_ms: When it begins, in milliseconds of its stream.
        is_final: Whether nothing comes after it.
    """

    data: bytes = field(repr=False)
    sample_rate: int = 16000
    channels: int = 1
    format: str = "pcm_s16le"
    timestamp_ms: int | None = None
    is_final: bool = False


@dataclass
class VoiceSession:
    """One person's live audio link.

    Attributes:
        id: The session.
        room_id: The room it speaks in.
        participant_id: Who speaks.
        channel_id: The voice channel.
        state: Where it is.
        created_at: Since when, timezone-aware.
        metadata: Such as ``input_sample_rate`` and ``output_sample_rate`` (hertz).
    """

    id: str
    room_id: str
    participant_id: str
    channel_id: str
    state: VoiceSessionState = VoiceSessionState.CONNECTING
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class TranscriptionResult:
    """What was said.

    Attributes:
        text: The words.
        is_final: Whether they will not change any more.
        confidence: 0 to 1, when the recogniser says.
        language: Such as ``en``, when it says.
        words: One mapping a word: ``word``, ``start`` and ``end`` (seconds), ``confidence``.
    """

    text: str
    is_final: bool = True
    confidence: float | None = None
    language: str | None = None
    words: list[dict[str, Any]] = field(default_factory=list)


BargeInCallback = Callable[[VoiceSession], Any]
"""``(session)``: somebody speaks over the playback."""

SpeechStartCallback = Callable[[VoiceSession], Any]
"""``(session)``: somebody begins to speak."""

SpeechEndCallback = Callable[[VoiceSession, bytes], Any]
"""``(session, audio)``: somebody has spoken; what they said as PCM."""

PartialTranscriptionCallback = Callable[[VoiceSession, str, float, bool], Any]
"""``(session, text, confidence, is_stable)``: speech so far."""

VADSilenceCallback = Callable[[VoiceSession, int], Any]
"""``(session, silence_duration_ms)``."""

VADAudioLevelCallback = Callable[[VoiceSession, float, bool], Any]
"""``(session, level_db, is_speech)``; dBFS, about -60 to 0."""
