"""What carries the audio of voice sessions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import VoiceCapability, VoiceSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import (
        AudioChunk,
        BargeInCallback,
        PartialTranscriptionCallback,
        SpeechEndCallback,
        SpeechStartCallback,
        VADAudioLevelCallback,
        VADSilenceCallback,
    )

AudioReceivedCallback = Callable[[VoiceSession, AudioFrame], Any]
"""``(session, frame)``, plain or async."""


class VoiceBackend(ABC):
    """A transport of audio; understanding it is the pipeline's business.

    A backend queues what it is given to play and returns: it never paces in ``send_audio``.
    Frames of one session are handed over in order.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @property
    def capabilities(self) -> VoiceCapability:
        """What it can do by itself."""
        return VoiceCapability.NONE

    @abstractmethod
    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Return a new session, ready for audio."""

    @abstractmethod
    async def disconnect(self, session: VoiceSession) -> None:
        """End a session; again does nothing."""

    @abstractmethod
    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Queue audio for playback; returns when all of it is queued.

        Args:
            session: Whose; one that has ended gets nothing.
            audio: PCM at the session's output rate, or chunks that carry their own.
        """

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session that is known; the default knows none."""
        return None

    def list_sessions(self, room_id: str) -> list[VoiceSession]:
        """Return the sessions of a room; the default knows none."""
        return []

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Call ``callback`` with every frame that comes in."""

    def on_barge_in(self, callback: BargeInCallback) -> None:
        """Call ``callback`` when somebody speaks over the playback."""

    def on_speech_start(self, callback: SpeechStartCallback) -> None:
        """Call ``callback`` when somebody begins to speak, where the backend hears that."""

    def on_speech_end(self, callback: SpeechEndCallback) -> None:
        """Call ``callback`` when somebody has spoken, where the backend hears that."""

    def on_partial_transcription(self, callback: PartialTranscriptionCallback) -> None:
        """Call ``callback`` with speech so far, where the backend recognises it."""

    def on_vad_silence(self, callback: VADSilenceCallback) -> None:
        """Call ``callback`` with silences, where the backend measures them."""

    def on_vad_audio_level(self, callback: VADAudioLevelCallback) -> None:
        """Call ``callback`` with loudness, where the backend measures it."""

    def on_session_ended(self, callback: Callable[[VoiceSession], Any]) -> None:
        """Call ``callback`` when the other side ends a session, where the backend learns of it."""

    def on_dtmf(self, callback: Callable[[VoiceSession, str], Any]) -> None:
        """Call ``callback`` with telephone keys, where they are reported beside the audio."""

    def played_ms(self, session: VoiceSession) -> int | None:
        """Return how much of the playback was heard, in milliseconds; None when not known."""
        return None

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Drop what has not been played yet; whether anything was playing."""
        return False

    def is_playing(self, session: VoiceSession) -> bool:
        """Return whether audio is being played; the default does not know."""
        return False

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Show what was said, where the client can show text.

        Args:
            session: Whose.
            text: What was said.
            role: ``user`` or ``assistant``.
        """

    async def close(self) -> None:
        """End all sessions; again does nothing."""
