"""Who tells a voice channel that somebody speaks: its pipeline's VAD, or the backend itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from roomkit.voice.base import VoiceCapability
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.channels._voice_inbound import Listener
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import VoiceBackend
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.pipeline.diarization_provider import DiarizationResult
    from roomkit.voice.pipeline.engine import AudioPipeline


class Switchboard(Protocol):
    """The sessions, as the callbacks see them."""

    def listener_of(self, session: VoiceSession) -> Listener | None:
        """Return who listens to a session."""
        ...

    def speech_rate(self, session: VoiceSession) -> int:
        """Return the hertz of a session's utterances."""
        ...

    def in_loop(self, work: Any, *args: Any) -> bool:
        """Call something in the event loop."""
        ...

    def on_frame(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Take a frame."""
        ...


def listen_to(
    channel: Switchboard,
    backend: VoiceBackend,
    pipeline: AudioPipeline | None,
    hung_up: Callable[[VoiceSession], None],
) -> None:
    """Register what a channel wants to hear of; ``hung_up`` is told of callers who left.

    A VAD in the pipeline always drives speech; without one the backend does, if it can.
    """
    calls = _Callbacks(channel)
    if pipeline is not None:
        backend.on_audio_received(channel.on_frame)
        pipeline.on_vad_event(calls.vad_event)
        pipeline.on_speech_end(calls.speech_end)
        pipeline.on_speaker_change(calls.speaker_change)
    can = backend.capabilities
    if pipeline is None or pipeline.config.vad is None:
        _let_drive(backend, calls)
    if VoiceCapability.BARGE_IN in can:
        backend.on_barge_in(calls.barge_in)
    if VoiceCapability.PARTIAL_STT in can:
        backend.on_partial_transcription(calls.partial)
    tells_of_ends = getattr(backend, "on_session_ended", None)
    if callable(tells_of_ends):

        def ended(session: VoiceSession, *_more: Any) -> None:
            channel.in_loop(hung_up, session)

        tells_of_ends(ended)


def _let_drive(backend: VoiceBackend, calls: _Callbacks) -> None:
    """Let the backend say when somebody speaks, as far as it can."""
    if _overrides(backend, "on_speech_start"):
        backend.on_speech_start(calls.speech_start)
    if _overrides(backend, "on_speech_end"):
        backend.on_speech_end(calls.speech_end)
    if VoiceCapability.VAD_SILENCE in backend.capabilities:
        backend.on_vad_silence(calls.silence)
    if VoiceCapability.VAD_AUDIO_LEVEL in backend.capabilities:
        backend.on_vad_audio_level(calls.level)


def _overrides(backend: VoiceBackend, method: str) -> bool:
    from roomkit.voice.backends.base import VoiceBackend as Base

    return getattr(type(backend), method, None) is not getattr(Base, method)


class _Callbacks:
    """What is registered with backend and pipeline; each goes to the session's listener."""

    def __init__(self, channel: Switchboard) -> None:
        self._channel = channel

    def _to(self, session: VoiceSession, method: str, *args: Any) -> None:
        listener = self._channel.listener_of(session)
        if listener is not None:
            self._channel.in_loop(getattr(listener, method), *args)

    def vad_event(self, session: VoiceSession, event: VADEvent) -> None:
        """Take what the pipeline's VAD found; an utterance with audio follows by itself."""
        if event.type == VADEventType.SPEECH_START:
            self._to(session, "started")
        elif event.type == VADEventType.SPEECH_END:
            if event.audio_bytes is None:
                self._to(session, "ended", None, 16000)
        elif event.type == VADEventType.SILENCE:
            self._to(session, "silence", int(event.duration_ms or 0))
        else:
            likely = event.confidence is not None and event.confidence > 0.5
            self._to(session, "level", event.level_db or 0.0, likely)

    def speech_start(self, session: VoiceSession) -> None:
        """Take the begin of speech."""
        self._to(session, "started")

    def speech_end(self, session: VoiceSession, audio: bytes) -> None:
        """Take an utterance."""
        self._to(session, "ended", audio, self._channel.speech_rate(session))

    def speaker_change(self, session: VoiceSession, result: DiarizationResult) -> None:
        """Take another speaker."""
        known = (result.speaker_id, result.confidence, result.is_new_speaker)
        self._to(session, "speaker_changed", *known)

    def silence(self, session: VoiceSession, milliseconds: int) -> None:
        """Take a silence."""
        self._to(session, "silence", milliseconds)

    def level(self, session: VoiceSession, level_db: float, is_speech: bool) -> None:
        """Take a loudness."""
        self._to(session, "level", level_db, is_speech)

    def partial(
        self, session: VoiceSession, text: str, confidence: float, is_stable: bool
    ) -> None:
        """Take speech so far."""
        self._to(session, "partial", text, confidence, is_stable)

    def barge_in(self, session: VoiceSession) -> None:
        """Take an interruption the backend noticed."""
        self._to(session, "barged_in")
