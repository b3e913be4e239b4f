"""A transport without a wire: a test speaks into it and looks at what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import (
        AudioChunk,
        BargeInCallback,
        PartialTranscriptionCallback,
        SpeechEndCallback,
        SpeechStartCallback,
        VADAudioLevelCallback,
        VADSilenceCallback,
    )


@dataclass
class MockVoiceCall:
    """A call the backend got.

    Attributes:
        method: Its name.
        args: What it was given.
    """

    method: str
    args: dict[str, Any] = field(default_factory=dict)


class MockVoiceBackend(VoiceBackend):
    """Records what it is asked to do; ``simulate_...`` does what a caller would do.

    Args:
        capabilities: What it says it can do.

    Attributes:
        calls: Every call, in order; registrations of the ``on_speech_...``, ``on_vad_...`` and
            ``on_partial_transcription`` callbacks are not among them.
        sent_audio: ``(session id, audio)`` of every playback; a stream is one entry.
        sent_transcriptions: ``(session id, text, role)``.
    """

    def __init__(self, *, capabilities: VoiceCapability = VoiceCapability.NONE) -> None:
        self._capabilities = capabilities
        self.calls: list[MockVoiceCall] = []
        self.sent_audio: list[tuple[str, bytes]] = []
        self.sent_transcriptions: list[tuple[str, str, str]] = []
        self._sessions: dict[str, VoiceSession] = {}
        self._playing_sessions: set[str] = set()
        self._audio_received_callbacks: list[AudioReceivedCallback] = []
        self._barge_in_callbacks: list[BargeInCallback] = []
        self._speech_start_callbacks: list[SpeechStartCallback] = []
        self._speech_end_callbacks: list[SpeechEndCallback] = []
        self._partial_transcription_callbacks: list[PartialTranscriptionCallback] = []
        self._vad_silence_callbacks: list[VADSilenceCallback] = []
        self._vad_audio_level_callbacks: list[VADAudioLevelCallback] = []

    @property
    def name(self) -> str:
        """``MockVoiceBackend``."""
        return "MockVoiceBackend"

    @property
    def capabilities(self) -> VoiceCapability:
        """What it was made with."""
        return self._capabilities

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Return a new ACTIVE session, with the given metadata itself where there is any."""
        self._note(
            "connect",
            room_id=room_id,
            participant_id=participant_id,
            channel_id=channel_id,
            metadata=metadata,
        )
        session = VoiceSession(
            id=uuid4().hex,
            room_id=room_id,
            participant_id=participant_id,
            channel_id=channel_id,
            state=VoiceSessionState.ACTIVE,
            metadata=metadata or {},
        )
        self._sessions[session.id] = session
        return session

    async def disconnect(self, session: VoiceSession) -> None:
        """Keep an ENDED copy of the session in its place; the given object stays as it is."""
        self._note("disconnect", session_id=session.id)
        self._playing_sessions.discard(session.id)
        if session.id in self._sessions:
            self._sessions[session.id] = replace(session, state=VoiceSessionState.ENDED)

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session, also one that has ended."""
        return self._sessions.get(session_id)

    def list_sessions(self, room_id: str) -> list[VoiceSession]:
        """Return the sessions of a room, also those that have ended."""
        return [session for session in self._sessions.values() if session.room_id == room_id]

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Keep the audio in ``sent_audio``; playing is only what ``start_playing`` says."""
        if not isinstance(audio, bytes):
            audio = b"".join([chunk.data async for chunk in audio])
        self.sent_audio.append((session.id, audio))
        self._note("send_audio", session_id=session.id)

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Keep the text in ``sent_transcriptions``."""
        self.sent_transcriptions.append((session.id, text, role))
        self._note("send_transcription", session_id=session.id, text=text, role=role)

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Return whether the session was playing; it is not any more."""
        was_playing = session.id in self._playing_sessions
        self._playing_sessions.discard(session.id)
        self._note("cancel_audio", session_id=session.id, was_playing=was_playing)
        return was_playing

    def is_playing(self, session: VoiceSession) -> bool:
        """Return whether the session is marked as playing."""
        return session.id in self._playing_sessions

    async def close(self) -> None:
        """Forget all sessions."""
        self._note("close")
        self._sessions.clear()
        self._playing_sessions.clear()

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Call ``callback`` in ``simulate_audio_received``."""
        self._note("on_audio_received")
        self._audio_received_callbacks.append(callback)

    def on_barge_in(self, callback: BargeInCallback) -> None:
        """Call ``callback`` in ``simulate_barge_in``."""
        self._note("on_barge_in")
        self._barge_in_callbacks.append(callback)

    def on_speech_start(self, callback: SpeechStartCallback) -> None:
        """Call ``callback`` in ``simulate_speech_start``."""
        self._speech_start_callbacks.append(callback)

    def on_speech_end(self, callback: SpeechEndCallback) -> None:
        """Call ``callback`` in ``simulate_speech_end``."""
        self._speech_end_callbacks.append(callback)

    def on_partial_transcription(self, callback: PartialTranscriptionCallback) -> None:
        """Call ``callback`` in ``simulate_partial_transcription``."""
        self._partial_transcription_callbacks.append(callback)

    def on_vad_silence(self, callback: VADSilenceCallback) -> None:
        """Call ``callback`` in ``simulate_vad_silence``."""
        self._vad_silence_callbacks.append(callback)

    def on_vad_audio_level(self, callback: VADAudioLevelCallback) -> None:
        """Call ``callback`` in ``simulate_vad_audio_level``."""
        self._vad_audio_level_callbacks.append(callback)

    def start_playing(self, session: VoiceSession) -> None:
        """Mark a session as playing."""
        self._playing_sessions.add(session.id)

    def stop_playing(self, session: VoiceSession) -> None:
        """Mark a session as silent."""
        self._playing_sessions.discard(session.id)

    async def simulate_audio_received(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Let a frame come in; each callback in order, awaited where it can be."""
        await _call(self._audio_received_callbacks, session, frame)

    async def simulate_barge_in(self, session: VoiceSession) -> None:
        """Let somebody speak over the playback."""
        await _call(self._barge_in_callbacks, session)

    async def simulate_speech_start(self, session: VoiceSession) -> None:
        """Let somebody begin to speak."""
        await _call(self._speech_start_callbacks, session)

    async def simulate_speech_end(self, session: VoiceSession, audio: bytes) -> None:
        """Let somebody have spoken."""
        await _call(self._speech_end_callbacks, session, audio)

    async def simulate_partial_transcription(
        self,
        session: VoiceSession,
        text: str,
        confidence: float = 0.8,
        is_stable: bool = False,
    ) -> None:
        """Let the transport recognise speech so far."""
        await _call(self._partial_transcription_callbacks, session, text, confidence, is_stable)

    async def simulate_vad_silence(self, session: VoiceSession, silence_duration_ms: int) -> None:
        """Let it be silent."""
        await _call(self._vad_silence_callbacks, session, silence_duration_ms)

    async def simulate_vad_audio_level(
        self, session: VoiceSession, level_db: float, is_speech: bool = True
    ) -> None:
        """Let it be loud."""
        await _call(self._vad_audio_level_callbacks, session, level_db, is_speech)

    def _note(self, method: str, **args: Any) -> None:
        self.calls.append(MockVoiceCall(method, args))


async def _call(callbacks: Iterable[Callable[..., Any]], *args: object) -> None:
    for callback in list(callbacks):
        result = callback(*args)
        if result is not None and isawaitable(result):
            await result
