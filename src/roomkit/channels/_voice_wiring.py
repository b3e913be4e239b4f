"""Who tells a voice channel that somebody speaks: its pipeline's VAD, or the backend itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from roomkit.models.enums import HookTrigger
from roomkit.voice.backends.base import VoiceBackend
from roomkit.voice.base import VoiceCapability
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType
from roomkit.voice.recording import RecordingStartedEvent, RecordingStoppedEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.channels._voice_hearing import Hearing
    from roomkit.channels._voice_hooks import RoomHooks
    from roomkit.channels._voice_inbound import Listener
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.dtmf import DTMFEvent
    from roomkit.voice.pipeline.contract import AudioFormat
    from roomkit.voice.pipeline.diarization_provider import DiarizationResult
    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.recording import RecordingHandle, RecordingResult


class Switchboard(Protocol):
    """The sessions, as the callbacks see them."""

    def listener_of(self, session: VoiceSession) -> Listener | None:
        """Return who listens to a session."""
        ...

    def hooks_of(self, session: VoiceSession) -> RoomHooks | None:
        """Return the hooks of a session's room, also after its end."""
        ...

    def speech_format(self, session: VoiceSession) -> AudioFormat:
        """Return the format of a session's utterances."""
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
    hearing: Hearing,
) -> None:
    """Register what a channel wants to hear of; ``hung_up`` is told of callers who left.

    A VAD in the pipeline always drives speech; without one the backend does, if it can. So it
    is with telephone keys.

    Args:
        channel: The sessions.
        backend: Carries the audio.
        pipeline: What it passes.
        hung_up: Told of callers who left.
        hearing: How the channel listens.
    """
    calls = _Callbacks(channel)
    vad = None if pipeline is None else pipeline.config.vad
    if pipeline is not None:
        backend.on_audio_received(channel.on_frame)
        measured = vad is not None and hearing.by_duration
        _listen_to_pipeline(calls, pipeline, frames=hearing.streaming or measured)
    elif hearing.streaming:
        backend.on_audio_received(channel.on_frame)
    can = backend.capabilities
    if vad is None:
        _let_drive(backend, calls)
    if pipeline is None or pipeline.config.dtmf is None:
        reports_keys = getattr(backend, "on_dtmf", None)
        if callable(reports_keys):
            reports_keys(calls.reported_key)
    if VoiceCapability.BARGE_IN in can:
        backend.on_barge_in(calls.barge_in)
    if VoiceCapability.PARTIAL_STT in can:
        backend.on_partial_transcription(calls.partial)
    tells_of_ends = getattr(backend, "on_session_ended", None)
    if callable(tells_of_ends):

        def ended(session: VoiceSession, *_more: Any) -> None:
            channel.in_loop(hung_up, session)

        tells_of_ends(ended)


def _listen_to_pipeline(calls: _Callbacks, pipeline: AudioPipeline, *, frames: bool) -> None:
    if frames:
        pipeline.on_heard(calls.frame)
    pipeline.on_vad_event(calls.vad_event)
    pipeline.on_speaker_change(calls.speaker_change)
    pipeline.on_dtmf(calls.key)
    pipeline.on_recording_started(calls.recording_started)
    pipeline.on_recording_stopped(calls.recording_stopped)


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
    return getattr(type(backend), method, None) is not getattr(VoiceBackend, method)


class _Callbacks:
    """What is registered with backend and pipeline; each goes to the session's listener."""

    def __init__(self, channel: Switchboard) -> None:
        self._channel = channel

    def _to(self, session: VoiceSession, method: str, *args: Any) -> None:
        listener = self._channel.listener_of(session)
        if listener is not None:
            self._channel.in_loop(getattr(listener, method), *args)

    def frame(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Take a frame that is about to be judged."""
        listener = self._channel.listener_of(session)
        if listener is not None:
            listener.frame(frame)

    def vad_event(self, session: VoiceSession, event: VADEvent) -> None:
        """Take what the pipeline's VAD found."""
        if event.type == VADEventType.AUDIO_LEVEL:
            listener = self._channel.listener_of(session)
            if listener is not None and listener.wants_levels:
                likely = event.confidence is not None and event.confidence > 0.5
                self._to(session, "level", event.level_db or 0.0, likely)
        elif event.type == VADEventType.SPEECH_START:
            self._to(session, "started")
        elif event.type == VADEventType.SPEECH_END:
            form = self._channel.speech_format(session)
            self._to(session, "ended", event.audio_bytes, form, event.duration_ms)
        elif event.type == VADEventType.SILENCE:
            self._to(session, "silence", int(event.duration_ms or 0))

    def speech_start(self, session: VoiceSession) -> None:
        """Take the begin of speech."""
        self._to(session, "started")

    def speech_end(self, session: VoiceSession, audio: bytes) -> None:
        """Take an utterance."""
        self._to(session, "ended", audio, self._channel.speech_format(session))

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

    def key(self, session: VoiceSession, event: DTMFEvent) -> None:
        """Take a telephone key the pipeline heard."""
        self._to(session, "key", event.digit, event.duration_ms, event.confidence)

    def reported_key(self, session: VoiceSession, digit: str) -> None:
        """Take a telephone key the backend was told of; how long it was held is not known."""
        self._to(session, "key", digit, 0.0, 1.0)

    def recording_started(
        self, session: VoiceSession, handle: RecordingHandle
    ) -> Awaitable[None] | None:
        """Take the begin of a recording; returns what tells the hooks."""
        event = RecordingStartedEvent(session, handle.id)
        return self._told(session, HookTrigger.ON_RECORDING_STARTED, event)

    def recording_stopped(
        self, session: VoiceSession, result: RecordingResult
    ) -> Awaitable[None] | None:
        """Take a recording that is there whole; returns what tells the hooks."""
        event = RecordingStoppedEvent(session, result.id, result.urls, result.duration_seconds)
        return self._told(session, HookTrigger.ON_RECORDING_STOPPED, event)

    def _told(
        self, session: VoiceSession, trigger: HookTrigger, event: object
    ) -> Awaitable[None] | None:
        hooks = self._channel.hooks_of(session)
        if hooks is None or not hooks.watched(trigger):
            return None
        return hooks.tell(trigger, event)
