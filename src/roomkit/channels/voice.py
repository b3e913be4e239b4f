"""The channel of spoken conversations: speech becomes messages, and answers become speech."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet, cancel_and_wait, close_all
from roomkit._clock import SystemClock
from roomkit._logging import ids
from roomkit._scope import current_delivery
from roomkit.channels._voice_calls import Call, Calls
from roomkit.channels._voice_hearing import Hearing
from roomkit.channels._voice_hooks import contained
from roomkit.channels._voice_session import TTSPlaybackState, VoiceParts
from roomkit.channels._voice_speaking import Speaking
from roomkit.channels._voice_wiring import listen_to
from roomkit.channels.base import Channel
from roomkit.channels.transport import SenderCache
from roomkit.exceptions import (
    InvalidInputError,
    ProviderDeliveryError,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
)
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.reasons import Reason
from roomkit.voice.base import VoiceSessionState
from roomkit.voice.interruption import InterruptionConfig, InterruptionHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from roomkit._clock import Clock
    from roomkit.channels._voice_session import CancelReason
    from roomkit.channels.host import ChannelHost
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.streaming import StreamDelta, StreamEnd
    from roomkit.voice.backends.base import VoiceBackend
    from roomkit.voice.base import AudioChunk, VoiceSession
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.tts.base import TTSProvider
    from roomkit.voice.turn_detector import TurnDetector

__all__ = ["TTSPlaybackState", "VoiceChannel"]

logger: logging.Logger = logging.getLogger("roomkit.voice")

_CAPABILITIES = ChannelCapabilities(
    media_types=[ChannelMediaType.AUDIO, ChannelMediaType.TEXT],
    supports_audio=True,
    supported_audio_formats=["wav", "mp3", "ogg", "webm"],
    max_audio_duration_seconds=3600,
)
_HANDOVER_SECONDS = 5.0


class VoiceChannel(Channel):
    """Lets people speak with a room.

    What a caller says is transcribed and comes into the room as a message; text messages of
    the room are spoken to every session bound to it. Somebody who speaks over an answer stops
    it. Failures of recognisers, synthesisers and backends are logged and end nothing else.

    Args:
        channel_id: Unique within a kit.
        stt: Turns speech into text; None: speech only fires hooks.
        tts: Turns text into speech; None: nothing is said.
        backend: Carries the audio.
        pipeline: The stages audio passes; its VAD, if it has one, says when somebody speaks.
        streaming: Play speech while it is still being made; False makes each text's audio
            whole first.
        enable_barge_in: Whether speaking over an answer stops it.
        barge_in_threshold_ms: How much of an answer is heard in any case, in milliseconds.
        interruption: What it takes to interrupt; takes the place of the two before.
        stt_streaming: Recognise while somebody still speaks, where ``stt`` can.
        turn_detector: Joins utterances into turns; None: each is a message of its own.
        stt_timeout: Seconds an utterance may take to become text.
        tts_timeout: Seconds to the first audio of a text, and between two pieces of it.
        max_utterance_seconds: What is said longer without a pause is cut.
        silence_timeout: Seconds in which nobody says anything, on either side, after which
            ON_VAD_SILENCE is told, and again after each as many; None: never. The session goes
            on: whether to ask or to hang up is for a hook to say.
        clock: Where time comes from.

    The channel closes ``stt``, ``tts``, ``backend`` and the stages of ``pipeline``.

    Raises:
        InvalidInputError: A time is not positive.
    """

    channel_type = ChannelType.VOICE

    def __init__(
        self,
        channel_id: str,
        *,
        stt: STTProvider | None = None,
        tts: TTSProvider | None = None,
        backend: VoiceBackend | None = None,
        pipeline: AudioPipelineConfig | None = None,
        streaming: bool = True,
        enable_barge_in: bool = True,
        barge_in_threshold_ms: int = 200,
        interruption: InterruptionConfig | None = None,
        stt_streaming: bool = False,
        turn_detector: TurnDetector | None = None,
        stt_timeout: float = 30.0,
        tts_timeout: float = 10.0,
        max_utterance_seconds: float = 60.0,
        silence_timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(channel_id)
        quiet = 1.0 if silence_timeout is None else silence_timeout
        if not all(t > 0 for t in (stt_timeout, tts_timeout, max_utterance_seconds, quiet)):
            raise InvalidInputError(
                "stt_timeout, tts_timeout, max_utterance_seconds, silence_timeout: above 0"
            )
        self._stt = stt
        self._tts = tts
        self._backend = backend
        self._streaming = streaming
        self._pipeline = _pipeline(pipeline, backend, clock)
        self._parts = VoiceParts(channel_id, backend, self._pipeline, clock or SystemClock())
        config = interruption or InterruptionConfig.from_barge_in(
            enable_barge_in, barge_in_threshold_ms
        )
        self._hearing = Hearing(
            stt=stt,
            stt_timeout=stt_timeout,
            live=stt_streaming,
            handler=InterruptionHandler(config),
            turns=turn_detector,
            most_ms=max_utterance_seconds * 1000,
            silence_timeout=silence_timeout,
            vad=None if pipeline is None else pipeline.vad_config,
        )
        self._speaking = Speaking(self._parts, tts, whole=not streaming, timeout=tts_timeout)
        self.shows_deltas: bool = streaming and tts is not None and backend is not None
        self._calls = Calls(self._parts, self._hearing)
        self._session_bindings: dict[str, tuple[str, ChannelBinding]] = {}
        self._playing_sessions = self._parts.playing
        self._senders = SenderCache(channel_id)
        self._endings = TaskSet(f"{channel_id}:ending")
        self._closed = False
        if backend is not None:
            listen_to(self._calls, backend, self._pipeline, self._hung_up, self._hearing)

    # -- facts --------------------------------------------------------------------------------

    @property
    def backend(self) -> VoiceBackend | None:
        """What carries the audio."""
        return self._backend

    @property
    def info(self) -> dict[str, Any]:
        """The parts by name, and how they are used."""
        return {
            "stt": None if self._stt is None else self._stt.name,
            "tts": None if self._tts is None else self._tts.name,
            "backend": None if self._backend is None else self._backend.name,
            "streaming": self._streaming,
            "pipeline": self._pipeline is not None,
        }

    @property
    def sessions(self) -> list[VoiceSession]:
        """The sessions bound to a room, oldest first."""
        return [call.session for call in self._calls.bound.values()]

    @property
    def dropped_frames(self) -> int:
        """Frames not listened to: of sessions not bound or ended, or too many at once."""
        return self._calls.dropped + (
            0 if self._pipeline is None else self._pipeline.dropped_frames
        )

    @property
    def faults(self) -> Mapping[str, int]:
        """How often what went wrong in sessions, by its name, such as ``stt_timeout``.

        The first of a kind in a session is also in the log. None of them ends a session.
        Failures of the pipeline's stages are there as ``stage:`` and the stage's name.
        """
        found = dict(self._parts.faults)
        if self._pipeline is not None:
            found |= {f"stage:{name}": n for name, n in self._pipeline.failures.items()}
        return found

    def capabilities(self) -> ChannelCapabilities:
        """Return audio and text."""
        return _CAPABILITIES

    def playback(self, session: VoiceSession) -> TTSPlaybackState | None:
        """Return what is being said to a session; None when nothing is."""
        return self._playing_sessions.get(session.id)

    def set_framework(self, host: ChannelHost) -> None:
        """Remember the framework; called by ``register_channel``."""
        super().set_framework(host)
        self._parts.host = host

    # -- sessions -----------------------------------------------------------------------------

    def bind_session(self, session: VoiceSession, room_id: str, binding: ChannelBinding) -> None:
        """Let a session speak and hear in a room; again with the same room does nothing.

        Raises:
            InvalidInputError: It has ended, speaks in another room, or the channel is closed.
        """
        if self._closed or session.state is VoiceSessionState.ENDED:
            what = "the channel is closed" if self._closed else "the session has ended"
            raise InvalidInputError(f"{what}: connect a new session")
        known = self._calls.bound.get(session.id)
        if known is not None:
            if known.room_id != room_id:
                raise InvalidInputError("the session speaks in another room; unbind it first")
            known.listener.binding = binding
            self._session_bindings[session.id] = (room_id, binding)
            return
        self._calls.bind(session, room_id, binding)
        self._session_bindings[session.id] = (room_id, binding)
        if self._pipeline is not None:
            self._pipeline.on_session_active(session)
            self._calls.staged(session)

    def unbind_session(self, session: VoiceSession) -> None:
        """Take a session out of its room: its playback stops, what it said still arrives.

        A session that is not bound is left alone.
        """
        self._session_bindings.pop(session.id, None)
        call = self._calls.take(session.id)
        if call is None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # nothing of it can be running
        patience = self._hearing.stt_timeout
        self._endings.start(self._end(call, patience), name=f"voice_end:{session.id}")

    async def _end(self, call: Call, patience: float) -> None:
        if self._pipeline is not None:
            if call.session.id in self._playing_sessions:
                self._pipeline.cancel_outbound(call.session)
            self._pipeline.on_session_ended(call.session)
        await call.speaker.close("disconnect")
        await call.listener.close(patience)

    async def interrupt(self, session: VoiceSession, *, reason: CancelReason = "explicit") -> bool:
        """Stop what is being said to a session; returns whether anything was.

        The synthesis ends, what the backend has not played is dropped, and ON_TTS_CANCELLED is
        told. What waited to be said is forgotten.
        """
        call = self._calls.find(session.id)
        if call is not None:
            return await call.speaker.stop(reason)
        state = self._playing_sessions.pop(session.id, None)
        if state is None:
            return False
        if state.task is not None:
            await cancel_and_wait((state.task,), 2.0)
        await self._parts.hush(session)
        return True

    # -- saying things --------------------------------------------------------------------------

    async def say(self, session: VoiceSession, text: str, *, voice: str | None = None) -> None:
        """Say something to one session, without an event; returns when its audio is queued.

        BEFORE_TTS and AFTER_TTS are asked and told, and it can be interrupted.

        Args:
            session: A bound session.
            text: What.
            voice: Who says it; None: the synthesiser's own choice.

        Raises:
            VoiceNotConfiguredError: The channel has no ``tts``.
            VoiceBackendNotConfiguredError: It has no backend.
            InvalidInputError: The session is not bound.
        """
        if self._tts is None:
            raise VoiceNotConfiguredError("the channel cannot speak: VoiceChannel(tts=...)")
        call = self._require(session)
        await self._speaking.say(call.room_id, [call.pair], text, voice=voice)

    async def play(
        self,
        session: VoiceSession,
        audio: bytes | AsyncIterator[AudioChunk],
        *,
        text: str | None = None,
    ) -> None:
        """Play audio to one session; returns when it is queued. It can be interrupted.

        Args:
            session: A bound session.
            audio: PCM, mono, at the session's ``output_sample_rate`` (16 kHz if it has none),
                or chunks that carry their own.
            text: What it says: shown to the client; BEFORE_TTS may refuse it.

        Raises:
            VoiceBackendNotConfiguredError: The channel has no backend.
            InvalidInputError: The session is not bound.
        """
        call = self._require(session)
        await self._speaking.play(call.room_id, call.speaker, audio, text)

    def _require(self, session: VoiceSession) -> Call:
        if self._backend is None:
            raise VoiceBackendNotConfiguredError(
                "the channel carries no audio: VoiceChannel(backend=...)"
            )
        call = self._calls.bound.get(session.id)
        if call is None:
            raise InvalidInputError("the session is not bound to a room: kit.connect_voice(...)")
        return call

    # -- the room -------------------------------------------------------------------------------

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is."""
        source, data = self._senders.shared(message.sender_id, self.channel_type)
        if message.external_id is not None:
            source = EventSource(
                channel_id=self.channel_id,
                channel_type=self.channel_type,
                participant_id=message.sender_id,
                external_id=message.external_id,
            )
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=source,
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
            channel_data=data,
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Say a text to the room's sessions; returns when it is queued, or after five seconds.

        Raises:
            ProviderDeliveryError: A delivery of the engine's finds no session, or was begun
                before: it is skipped, not repeated. Failures of the audio are never raised.
        """
        text = self.extract_text(event)
        if not text.strip() or self._tts is None or self._backend is None or self._closed:
            return ChannelOutput.empty()
        calls = self._calls.in_room(event.room_id, binding)
        delivery = current_delivery()
        begun = delivery is not None and delivery.attempt > 1
        if self._parts.host is None or not calls or begun:
            if delivery is None or self._parts.host is None:
                return ChannelOutput.empty()
            # Nobody is there to hear it: no failure, and nothing to repeat.
            raise ProviderDeliveryError(Reason.NO_SESSION, provider="voice", retryable=False)
        targets = [call.pair for call in calls]
        work = self._speaking.event(event, text, targets)
        if not work.done():
            await asyncio.wait((work,), timeout=_HANDOVER_SECONDS)
        return ChannelOutput.empty()

    async def deliver_delta(self, delta: StreamDelta | StreamEnd, binding: ChannelBinding) -> None:
        """Speak an answer that is still being written, sentence by sentence."""
        if not self._closed and self._parts.host is not None:
            in_room = partial(self._calls.in_room, delta.room_id, binding)
            self._speaking.delta(delta, lambda: [call.pair for call in in_room()])

    # -- the end --------------------------------------------------------------------------------

    def _hung_up(self, session: VoiceSession) -> None:
        # Whoever connected the session tells the framework, with kit.disconnect_voice.
        self.unbind_session(session)

    async def close(self) -> None:
        """End all sessions here, then close recogniser, synthesiser, pipeline and backend.

        Raises:
            Exception: What one of them raises, after all have been closed.
        """
        if self._closed:
            return
        self._closed = True
        calls = self._calls.take_all()
        self._session_bindings.clear()
        for call in calls:
            await contained(self._end(call, 0.0), "ending a session", call.session)
        await self._speaking.close()
        await self._endings.cancel(but=(asyncio.current_task(),), timeout=5.0)
        self._playing_sessions.clear()
        if dropped := self.dropped_frames:
            extra = ids(channel_id=self.channel_id)
            logger.info("%d frames were dropped", dropped, extra=extra)
        owned = (self._stt, self._tts)
        closers = [part.close for part in owned if part is not None]
        if self._pipeline is not None:
            closers.append(self._pipeline.aclose)
        if self._backend is not None:
            closers.append(self._backend.close)
        await close_all(closers)


def _pipeline(
    config: AudioPipelineConfig | None, backend: VoiceBackend | None, clock: Clock | None
) -> AudioPipeline | None:
    if config is None:
        return None
    from roomkit.voice.base import VoiceCapability
    from roomkit.voice.pipeline.engine import AudioPipeline as Engine

    own = VoiceCapability.NONE if backend is None else backend.capabilities
    return Engine(config, capabilities=own, clock=clock)
