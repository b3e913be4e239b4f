"""The channel of live models: callers speak with one, and the room reads along."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from roomkit._aio import (
    DeadlineExceeded,
    TaskSet,
    bounded,
    cancelled_from_within,
    close_all,
    shielded,
)
from roomkit._ids import new_id
from roomkit._logging import ids, log_failure
from roomkit.channels._realtime_session import (
    MOST_MESSAGES,
    MOST_SECONDS,
    LiveSession,
    LiveStats,
    ask_hooks,
)
from roomkit.channels.base import Channel
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.enums import ChannelMediaType, ChannelType, HookTrigger
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.framework_event import FrameworkEventType
from roomkit.voice.events import SpeakerChangeEvent
from roomkit.voice.realtime._rates import cleaned, converter
from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState
from roomkit.voice.realtime.events import RealtimeToolCallEvent

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.voice.pipeline.config import AudioPipelineConfig
    from roomkit.voice.pipeline.diarization_provider import DiarizationResult
    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.realtime.provider import RealtimeVoiceProvider
    from roomkit.voice.realtime.transport import RealtimeAudioTransport

logger: logging.Logger = logging.getLogger("roomkit.channels.realtime_voice")

ToolHandler = Callable[[RealtimeSession, str, dict[str, Any]], Awaitable[dict[str, Any] | str]]
"""Runs a tool: ``async (session, name, arguments)`` giving text or a dict for the model."""

_CAPABILITIES = ChannelCapabilities(
    media_types=[ChannelMediaType.AUDIO, ChannelMediaType.TEXT],
    supports_audio=True,
    custom={"realtime": True, "server_vad": True},
)
_CONNECT_TIMEOUT = 30.0
_END_TIMEOUT = 5.0
_LONGEST_CODE = 64


class RealtimeVoiceChannel(Channel):
    """Joins callers with a model that hears and speaks, and tells the room what was said.

    Args:
        channel_id: Unique within a kit.
        provider: The model's side; closed with the channel.
        transport: The callers' side; closed with the channel.
        system_prompt: How the model behaves.
        voice: The vendor's name of a voice.
        tools: What the model may call: mappings with name, description and parameters.
        temperature: How freely the model chooses words.
        input_sample_rate: Hertz of what the provider is given.
        output_sample_rate: Hertz of what the provider gives.
        emit_transcription_events: Whether final transcripts become events of the room.
        tool_handler: Runs the tools; without one the hooks of ON_REALTIME_TOOL_CALL answer.
        transport_sample_rate: Hertz the callers speak and hear, where it differs from the
            provider's; None: callers use the provider's rates.
        tool_timeout: Seconds a tool may take; None: no bound.
        pipeline: Stages the callers' audio passes before the model hears it, such as a
            denoiser; closed with the channel. Who speaks when is the model's business: a VAD
            changes nothing.

    A session's metadata may hold ``system_prompt``, ``voice``, ``tools``, ``temperature``,
    which then count instead of the channel's, and ``provider_config``.

    Raises:
        InvalidInputError: A sample rate or the timeout is not positive.
    """

    channel_type = ChannelType.REALTIME_VOICE

    def __init__(
        self,
        channel_id: str,
        *,
        provider: RealtimeVoiceProvider,
        transport: RealtimeAudioTransport,
        system_prompt: str | None = None,
        voice: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        temperature: float | None = None,
        input_sample_rate: int = 16000,
        output_sample_rate: int = 24000,
        emit_transcription_events: bool = True,
        tool_handler: ToolHandler | None = None,
        transport_sample_rate: int | None = None,
        tool_timeout: float | None = 30.0,
        pipeline: AudioPipelineConfig | None = None,
    ) -> None:
        super().__init__(channel_id)
        rates = (input_sample_rate, output_sample_rate, transport_sample_rate or 1)
        if min(rates) < 1 or (tool_timeout is not None and tool_timeout <= 0):
            raise InvalidInputError("sample rates and tool_timeout must be positive")
        self._provider: RealtimeVoiceProvider = provider
        self._transport = transport
        self._defaults: dict[str, Any] = {
            "system_prompt": system_prompt,
            "voice": voice,
            "tools": tools,
            "temperature": temperature,
        }
        self._rates = (input_sample_rate, output_sample_rate)
        self._transport_rate = transport_sample_rate
        self._emit_transcripts = emit_transcription_events
        self._tool_handler = tool_handler
        self._tool_timeout = tool_timeout
        self._sessions: dict[str, LiveSession] = {}
        self._endings = TaskSet(f"{channel_id}:ending")
        self._closed = False
        self._pipeline = None if pipeline is None else self._make_pipeline(pipeline)
        self._listen()

    def _make_pipeline(self, config: AudioPipelineConfig) -> AudioPipeline:
        from roomkit.voice.pipeline.engine import AudioPipeline

        pipeline = AudioPipeline(config)
        pipeline.on_speaker_change(self._on_speaker_change)
        return pipeline

    def _listen(self) -> None:
        provider, transport = self._provider, self._transport
        provider.on_audio(self._on_model_audio)
        provider.on_transcription(self._on_transcription)
        provider.on_speech_start(self._on_speech_start)
        provider.on_speech_end(self._on_speech_end)
        provider.on_tool_call(self._on_tool_call)
        provider.on_response_start(self._on_response_start)
        provider.on_response_end(self._on_response_end)
        provider.on_error(self._on_error)
        transport.on_audio_received(self._on_caller_audio)
        transport.on_client_disconnected(self._on_caller_left)

    @property
    def info(self) -> dict[str, Any]:
        """Provider, transport and voice by name, and whether there is a system prompt."""
        return {
            "provider": self._provider.name,
            "transport": self._transport.name,
            "system_prompt": self._defaults["system_prompt"] is not None,
            "voice": self._defaults["voice"],
        }

    @property
    def sessions(self) -> list[RealtimeSession]:
        """The sessions that have not ended, oldest first."""
        return [live.session for live in self._sessions.values()]

    def capabilities(self) -> ChannelCapabilities:
        """Return audio and text."""
        return _CAPABILITIES

    def stats(self, session: RealtimeSession) -> LiveStats | None:
        """Return what a session had no room for; None when it has ended."""
        live = self._sessions.get(session.id)
        return None if live is None else live.stats

    # -- begin and end -------------------------------------------------------------------

    async def start_session(
        self,
        room_id: str,
        participant_id: str,
        connection: Any,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> RealtimeSession:
        """Join a caller with the model.

        Args:
            room_id: The room that reads along; the channel must be attached to it.
            participant_id: Who calls.
            connection: What the transport understands.
            metadata: Kept by the session, and settings of its own; see the class.

        Raises:
            InvalidInputError: The channel is closed, or the transport refuses the connection.
            ProviderError: The model could not be reached, or the caller left meanwhile.
                Nothing is left open after any failure.
        """
        if self._closed:
            raise InvalidInputError(f"channel {self.channel_id!r} is closed")
        session = RealtimeSession(
            id=new_id(),
            room_id=room_id,
            participant_id=participant_id,
            channel_id=self.channel_id,
            metadata={} if metadata is None else metadata,
        )
        # Registered first: a caller may speak before the model is there.
        live = self._sessions[session.id] = self._make(session)
        try:
            opened = await live.open(self._connect(live, connection))
            if not opened or live.over or session.state is RealtimeSessionState.ENDED:
                raise self._failed("ended while it was being connected")
        except BaseException:
            await shielded(self._end(live))
            raise
        session.state = RealtimeSessionState.ACTIVE
        live.announced = True
        await self._emit(
            FrameworkEventType.VOICE_CONNECTED, session, {"provider": self._provider.name}
        )
        return session

    def _make(self, session: RealtimeSession) -> LiveSession:
        heard, spoken = self._rates
        live = LiveSession(
            session,
            self._provider,
            self._transport,
            self._host,
            most_out=spoken * 2 * MOST_SECONDS,
            emit_transcripts=self._emit_transcripts,
        )
        rate = self._transport_rate
        if self._pipeline is not None:
            live.hear = cleaned(self._pipeline, session, rate or heard, heard)
        elif rate is not None and rate != heard:
            live.hear = converter(rate, heard)
        if rate is not None and rate != spoken:
            live.speak = converter(spoken, rate)
        return live

    async def _connect(self, live: LiveSession, connection: Any) -> None:
        session = live.session
        settings = {key: session.metadata.get(key, own) for key, own in self._defaults.items()}
        heard, spoken = self._rates
        try:
            await bounded(self._transport.accept(session, connection), _CONNECT_TIMEOUT)
            opening = self._provider.connect(
                session,
                **settings,
                input_sample_rate=heard,
                output_sample_rate=spoken,
                provider_config=session.metadata.get("provider_config"),
            )
            await bounded(opening, _CONNECT_TIMEOUT)
        except DeadlineExceeded as exc:
            raise self._failed("did not connect in time") from exc

    def _failed(self, what: str) -> ProviderError:
        return ProviderError(
            f"the session {what}; start another one",
            retryable=True,
            provider=self._provider.name,
        )

    async def end_session(self, session: RealtimeSession) -> None:
        """End a session; a session that has ended, or is unknown, is left alone.

        Returns when it has ended, ``voice_disconnected`` included.
        """
        live = self._sessions.get(session.id)
        if live is not None:
            await shielded(self._end(live))

    def _end(self, live: LiveSession, code: str | None = None) -> asyncio.Task[Any]:
        """Begin to end a session, once; return the task that does."""
        if live.ending is None:
            live.over = True
            work = self._finish(live, asyncio.current_task(), code)
            live.ending = self._endings.start(work, name=f"realtime_end:{live.session.id}")
        return live.ending

    async def _finish(
        self, live: LiveSession, caller: asyncio.Task[Any] | None, code: str | None
    ) -> None:
        session = live.session
        # The session shall know of its ending before anything is called that asks about it.
        await asyncio.sleep(0)
        try:
            await live.stop_opening(caller)
            if code is not None:
                await self._guarded(live.farewell(code), session)
            await self._guarded(self._provider.disconnect(session), session)
            await self._guarded(self._transport.disconnect(session), session)
            session.state = RealtimeSessionState.ENDED
            await live.stop(caller, _END_TIMEOUT)
        finally:
            session.state = RealtimeSessionState.ENDED
            self._sessions.pop(session.id, None)
            if self._pipeline is not None:
                self._pipeline.on_session_ended(cast("Any", session))
        if live.announced:
            told = {} if code is None else {"reason": code}
            await self._emit(FrameworkEventType.VOICE_DISCONNECTED, session, told)

    async def _guarded(self, step: Any, session: RealtimeSession) -> None:
        try:
            await bounded(step, _END_TIMEOUT)
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            log_failure(logger, exc, "ending a session", extra=ids(session_id=session.id))
        except Exception as exc:  # noqa: BLE001 - the next step must follow
            log_failure(logger, exc, "ending a session", extra=ids(session_id=session.id))

    async def _emit(
        self, event_type: FrameworkEventType, session: RealtimeSession, more: dict[str, Any]
    ) -> None:
        if self._host is not None:
            await self._host.emit(
                event_type,
                room_id=session.room_id,
                channel_id=self.channel_id,
                data={
                    "session_id": session.id,
                    "participant_id": session.participant_id,
                    **more,
                },
            )

    async def close(self) -> None:
        """End all sessions, then close provider and transport. Idempotent."""
        if self._closed:
            return
        self._closed = True
        endings = [self._end(live) for live in self._sessions.values()]
        if endings:
            await asyncio.wait(endings)
        closers = [self._provider.close, self._transport.close]
        if self._pipeline is not None:
            closers.append(self._pipeline.aclose)
        await close_all(closers)

    # -- what the caller does ------------------------------------------------------------

    def _on_caller_audio(self, session: RealtimeSession, audio: bytes) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.audio_in(audio)

    def _on_caller_left(self, session: RealtimeSession) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            self._end(live)

    def _on_speaker_change(self, session: Any, result: DiarizationResult) -> None:
        live = self._sessions.get(session.id)
        host = None if live is None else live.host
        if live is None or host is None:
            return
        event = SpeakerChangeEvent(
            session, result.speaker_id, result.confidence, result.is_new_speaker
        )
        room_id, trigger = live.session.room_id, HookTrigger.ON_SPEAKER_CHANGE
        live.later(lambda: host.run_observers(room_id, trigger, event), MOST_MESSAGES)

    # -- what the model does -------------------------------------------------------------

    def _on_model_audio(self, session: RealtimeSession, audio: bytes) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.audio_out(audio)

    def _on_transcription(
        self, session: RealtimeSession, text: str, role: str, is_final: bool
    ) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.transcription(text, role, is_final)

    def _on_speech_start(self, session: RealtimeSession) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            # Before any hook: what the caller talks over must stop at once.
            live.clear_audio()
            live.message({"type": "speaking", "speaking": True, "who": "user"})
            live.observers(HookTrigger.ON_SPEECH_START)

    def _on_speech_end(self, session: RealtimeSession) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.message({"type": "speaking", "speaking": False, "who": "user"})
            live.observers(HookTrigger.ON_SPEECH_END)

    def _on_response_start(self, session: RealtimeSession) -> None:
        self._responding(session, True)

    def _on_response_end(self, session: RealtimeSession) -> None:
        self._responding(session, False)

    def _responding(self, session: RealtimeSession, begins: bool) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.message({"type": "speaking", "speaking": begins, "who": "assistant"})
            live.typing(begins)

    def _on_error(self, session: RealtimeSession, code: str, message: str) -> None:
        live = self._sessions.get(session.id)
        if live is None:
            return
        # Codes come from outside: they are cut, and what is no word is not repeated.
        known = code[:_LONGEST_CODE] if code.isascii() and code.isprintable() else "unknown"
        extra = ids(session_id=session.id, room_id=session.room_id)
        logger.warning("the model's side reports %s", known, extra=extra)
        logger.debug("the model's side reports %s: %s", known, message, extra=extra)
        if session.state is RealtimeSessionState.ENDED:
            self._end(live, known)

    def _on_tool_call(
        self, session: RealtimeSession, call_id: str, name: str, arguments: dict[str, Any]
    ) -> None:
        live = self._sessions.get(session.id)
        if live is not None:
            live.tool_call(self._runner(live), call_id, name, arguments, self._tool_timeout)

    def _runner(self, live: LiveSession) -> Callable[..., Any]:
        handler, session = self._tool_handler, live.session

        async def handle(call_id: str, name: str, arguments: dict[str, Any]) -> Any:
            if handler is not None:
                return await handler(session, name, arguments)
            event = RealtimeToolCallEvent(session, call_id, name, arguments)
            return await ask_hooks(live, event)

        return handle

    # -- what the room does --------------------------------------------------------------

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Tell the model of each session of the room what was written; its own is left out."""
        text = self.extract_text(event)
        if event.source.channel_id == self.channel_id or not text.strip():
            return ChannelOutput.empty()
        role = str(event.metadata.get("inject_role", "system"))
        for live in tuple(self._sessions.values()):
            session = live.session
            # A provider that is connecting again keeps the text until it is back.
            if session.room_id == event.room_id and live.announced and not live.over:
                await self._inject(live, event, text, role)
        return ChannelOutput.empty()

    async def _inject(self, live: LiveSession, event: RoomEvent, text: str, role: str) -> None:
        session, host = live.session, self._host
        try:
            await bounded(self._provider.inject_text(session, text, role=role), _END_TIMEOUT)
            if host is not None:
                trigger = HookTrigger.ON_REALTIME_TEXT_INJECTED
                await host.run_observers(session.room_id, trigger, event)
        except Exception as exc:  # noqa: BLE001 - the other sessions are told all the same
            extra = ids(session_id=session.id, room_id=session.room_id)
            log_failure(logger, exc, "telling the model a text", extra=extra)

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Do nothing: ``on_event`` told the model."""
        return ChannelOutput.empty()

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is; callers themselves do not come this way."""
        source = EventSource(
            channel_id=self.channel_id,
            channel_type=self.channel_type,
            participant_id=message.sender_id,
        )
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=source,
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
        )
