"""The AI in the room: a channel that answers with the words of a language model."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from roomkit._logging import ids, log_failure
from roomkit._scope import current_delivery
from roomkit.channels._ai_prompt import PromptDefaults, ShownEvents, build_context
from roomkit.channels._ai_tools import ToolPolicy, describe_calls, run_turn
from roomkit.channels.base import Channel
from roomkit.exceptions import ConfigurationError
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
)
from roomkit.models.event import EventSource, utc_now
from roomkit.providers.ai.base import StreamCollector, StreamDone, StreamTextDelta, close_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit._clock import Clock
    from roomkit.channels._ai_tools import AIToolHandler, Turn
    from roomkit.channels.host import DeltaStream
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.providers.ai.base import AIContext, AIProvider, AIResponse, StreamEvent

__all__ = ["AIChannel"]

logger: logging.Logger = logging.getLogger("roomkit.channels.ai")


class AIChannel(Channel):
    """Answers every event it is shown, of whatever type, except its own.

    A room changes the settings for itself in its binding's metadata: ``system_prompt``,
    ``temperature``, ``max_tokens`` and ``tools`` (a list of ``{"name", "description",
    "parameters"}``). One channel serves any number of rooms at once and keeps nothing of one
    for another.

    Args:
        channel_id: Unique within a kit.
        provider: The model; closed with the channel.
        system_prompt: Instructions for the model.
        temperature: How freely to choose words.
        max_tokens: The longest answer.
        max_context_events: How many earlier events the model gets to see; 0: only the
            present one.
        tool_handler: ``async (name, arguments)`` giving text or a dict; runs the tools the
            model calls. Only tools the room offers are run. A plain function works too; it
            runs on the event loop and must not block. What a handler raises is told to the
            model by its kind alone. Without a handler the calls are left in the answer's
            ``metadata["tool_calls"]`` for the application.
        max_tool_rounds: How often the model may call tools before it must answer.
        tool_timeout: Seconds one call may take; None: no bound.
        max_parallel_tools: How many calls of a round run at once.
        stream: Show the answer while it is made, where the provider can stream and a channel
            of the room shows pieces. While tools are on offer, text is shown once it is
            certain that no call follows it.
        stream_before_gates: Show it even though a BEFORE_BROADCAST gate may refuse it in the
            end.
        backlog: ``each``: answer every waiting event; ``latest``: when several wait, only
            the newest (the engine skips the others).
        clock: Dates the answers.

    Raises:
        ConfigurationError: A bound is out of range or ``backlog`` is neither word.
    """

    channel_type = ChannelType.AI
    category = ChannelCategory.INTELLIGENCE
    direction = ChannelDirection.BIDIRECTIONAL

    def __init__(
        self,
        channel_id: str,
        provider: AIProvider,
        system_prompt: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 1024,
        max_context_events: int = 50,
        *,
        tool_handler: AIToolHandler | None = None,
        max_tool_rounds: int = 8,
        tool_timeout: float | None = 30.0,
        max_parallel_tools: int = 8,
        stream: bool = True,
        stream_before_gates: bool = False,
        backlog: Literal["each", "latest"] = "each",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(channel_id)
        if max_tool_rounds < 0 or max_parallel_tools < 1:
            raise ConfigurationError(
                "max_tool_rounds must be at least 0 and max_parallel_tools at least 1"
            )
        if backlog not in ("each", "latest"):
            raise ConfigurationError("backlog must be 'each' or 'latest'")
        self._provider: AIProvider = provider
        self._defaults = PromptDefaults(
            channel_id, system_prompt, temperature, max_tokens, max_context_events
        )
        self._shown = ShownEvents(channel_id)
        self._tools: ToolPolicy | None = None
        if tool_handler is not None:
            self._tools = ToolPolicy(
                tool_handler, max_tool_rounds, tool_timeout, max_parallel_tools
            )
        self.stream = stream
        self.stream_before_gates = stream_before_gates
        self.backlog = backlog
        self._clock = clock
        self._source = EventSource(
            channel_id=channel_id,
            channel_type=ChannelType.AI,
            direction=ChannelDirection.OUTBOUND,
        )
        self._capabilities: ChannelCapabilities | None = None
        self._closed = False

    @property
    def info(self) -> dict[str, Any]:
        """The provider's class."""
        return {"provider": type(self._provider).__name__}

    def capabilities(self) -> ChannelCapabilities:
        """Return text and rich text, and media when the provider can see."""
        vision = bool(self._provider.supports_vision)
        known = self._capabilities
        if known is None or known.supports_media is not vision:
            media_types = [ChannelMediaType.TEXT, ChannelMediaType.RICH]
            if vision:
                media_types.append(ChannelMediaType.MEDIA)
            known = self._capabilities = ChannelCapabilities(
                media_types=media_types, supports_rich_text=True, supports_media=vision
            )
        return known

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Refuse: nothing comes from outside by this channel.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("an AIChannel takes no inbound messages")

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Do nothing: the model is asked in ``on_event``."""
        return ChannelOutput.empty()

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Return the model's answer as one event, with the tasks and observations it brings.

        What a machine wrote by itself (``metadata["auto_submitted"]``, such as an out-of-office
        mail) is not answered.

        The event's metadata holds ``ai_usage`` (tokens of the whole turn) and, where there
        is something to tell, ``tool_rounds`` (calls that were run), ``tool_calls`` (calls
        that were not) and ``stream_id``.

        Raises:
            Exception: What went wrong, while the engine delivers. Called directly, a failure
                is logged and the output is empty.
        """
        if event.source.channel_id == self.channel_id:
            return ChannelOutput.empty()
        if event.metadata.get("auto_submitted") is True:
            # Two machines that answer each other's mail would never stop.
            return ChannelOutput.empty()
        try:
            return await self._answer(event, binding, context)
        except Exception as exc:
            if current_delivery() is not None:
                raise
            self._log_failure(exc, event)
            return ChannelOutput.empty()

    async def close(self) -> None:
        """Close the provider, once."""
        if not self._closed:
            self._closed = True
            await self._provider.close()

    async def _answer(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        provider = self._provider
        vision = bool(provider.supports_vision)
        prompt = build_context(self._defaults, event, binding, context, self._shown, vision=vision)
        live = self._open_stream(event, binding, context, prompt)
        if live is None:
            return self._output(event, await run_turn(provider.generate, prompt, self._tools))
        try:
            turn = await run_turn(partial(self._generate_live, live), prompt, self._tools)
            return self._output(event, turn, live.stream_id)
        except BaseException:
            await live.fail()
            raise

    def _open_stream(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext, prompt: AIContext
    ) -> DeltaStream | None:
        """Return where to show the answer, when it can be had in pieces and shown at all."""
        if not self.stream or self._host is None or not self._streams(prompt):
            return None
        return self._host.open_stream(
            event, binding, context, before_gates=self.stream_before_gates
        )

    def _streams(self, prompt: AIContext) -> bool:
        if self._streams_events():
            return True
        # A stream of bare text would lose the calls of tools.
        return getattr(self._provider, "supports_streaming", False) is True and not prompt.tools

    def _streams_events(self) -> bool:
        return getattr(self._provider, "supports_structured_streaming", False) is True

    async def _generate_live(self, live: DeltaStream, prompt: AIContext) -> AIResponse:
        """Ask for one answer, showing its text as it comes; thoughts are never shown.

        Text before a tool call is no part of the final answer, so as long as calls would be
        run it is held back until the answer has ended without one.
        """
        hold = self._tools is not None and bool(prompt.tools)
        collector = StreamCollector()
        events = self._events(prompt)
        try:
            async for event in events:
                collector.add(event)
                if not hold and isinstance(event, StreamTextDelta) and event.text:
                    await live.send(event.text)
        finally:
            await close_stream(events)
        response = collector.response()
        if hold and response.content and not response.tool_calls:
            await live.send(response.content)
        return response

    def _events(self, prompt: AIContext) -> AsyncIterator[StreamEvent]:
        if self._streams_events():
            return self._provider.generate_structured_stream(prompt)
        return _as_events(self._provider.generate_stream(prompt))

    def _output(self, event: RoomEvent, turn: Turn, stream_id: str | None = None) -> ChannelOutput:
        response = turn.response
        metadata: dict[str, Any] = {"ai_usage": turn.usage}
        if response.tool_calls:
            metadata["tool_calls"] = describe_calls(response.tool_calls)
        if turn.rounds:
            metadata["tool_rounds"] = turn.rounds
        if stream_id is not None:
            metadata["stream_id"] = stream_id
        answer = event.reply(
            self._source,
            TextContent(body=response.content),
            metadata,
            utc_now() if self._clock is None else self._clock.now(),
        )
        return ChannelOutput.answer(answer, turn.tasks, turn.observations)

    def _log_failure(self, error: Exception, event: RoomEvent) -> None:
        """Log a failure by its kind: a vendor's text may quote the conversation."""
        extra = ids(
            room_id=event.room_id,
            channel_id=self.channel_id,
            event_id=event.id,
            provider=getattr(error, "provider", None),
            retryable=getattr(error, "retryable", None),
            status_code=getattr(error, "status_code", None),
        )
        log_failure(logger, error, "AI answer failed", extra=extra)


async def _as_events(texts: AsyncIterator[str]) -> AsyncIterator[StreamEvent]:
    """Yield a stream of bare text as a structured one."""
    try:
        async for text in texts:
            yield StreamTextDelta(text=text)
    finally:
        await close_stream(texts)
    yield StreamDone()
