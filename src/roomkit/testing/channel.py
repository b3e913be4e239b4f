"""A channel that records what it is given and does what a test tells it to."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from roomkit._clock import SystemClock
from roomkit.channels.base import Channel
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelCategory, ChannelType
from roomkit.models.event import ChannelData, EventSource, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from roomkit._clock import Clock
    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage

type Step = ChannelOutput | BaseException | type[BaseException] | str | Callable[..., Any] | None
"""One answer of a script.

An output; an error (or its class) to raise; a text to reply with; a function of (event,
binding, context), plain or async, that gives one of these; None: nothing to say.
"""


class Delivered(NamedTuple):
    """One call of ``deliver`` or ``on_event``.

    Attributes:
        event: What was delivered.
        binding: To whom.
        context: The room as it was.
    """

    event: RoomEvent
    binding: ChannelBinding
    context: RoomContext


def reply(event: RoomEvent, binding: ChannelBinding, text: str) -> ChannelOutput:
    """Return the output of a channel that answers ``event`` with a text."""
    answer = RoomEvent(
        room_id=event.room_id,
        source=EventSource(channel_id=binding.channel_id, channel_type=binding.channel_type),
        content=TextContent(body=text),
    )
    return ChannelOutput(responded=True, response_events=[answer])


class SimpleChannel(Channel):
    """A channel for tests.

    It records; it answers only what it is told to. A call is recorded before its answer, so
    failed deliveries are there too.

    Args:
        channel_id: Unique within a kit.
        channel_type: What it pretends to speak.
        category: TRANSPORT unless given.
        capabilities: What it can carry; plain text by default.
        recipient_key: See ``Channel.recipient_key``.
        deliver_script: Answers to the calls of ``deliver``, in order; after them nothing is
            said. A function instead of a list answers every call.
        react_script: The same for ``on_event``. Without it (and not an INTELLIGENCE channel) the
            channel does not react at all.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time; the system's by default.

    Attributes:
        inbound: The messages of ``handle_inbound``.
        delivered: The events of ``deliver``.
        received: The events of ``on_event``.
        deliveries: ``delivered`` with bindings and contexts.
        reactions: ``received`` with bindings and contexts.
        closed: Whether ``close`` was called.
    """

    def __init__(
        self,
        channel_id: str = "simple",
        channel_type: ChannelType = ChannelType.WEBSOCKET,
        *,
        category: ChannelCategory = ChannelCategory.TRANSPORT,
        capabilities: ChannelCapabilities | None = None,
        recipient_key: str | None = None,
        deliver_script: Iterable[Step] | Callable[..., Any] = (),
        react_script: Iterable[Step] | Callable[..., Any] | None = None,
        delay: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(channel_id)
        self.channel_type = channel_type
        self.category = category
        self.recipient_key = recipient_key
        self.inbound: list[InboundMessage] = []
        self.delivered: list[RoomEvent] = []
        self.received: list[RoomEvent] = []
        self.deliveries: list[Delivered] = []
        self.reactions: list[Delivered] = []
        self.closed: bool = False
        self._capabilities = capabilities
        self._reacts = react_script is not None or category == ChannelCategory.INTELLIGENCE
        self._deliver_script = _script(deliver_script)
        self._react_script = _script(react_script or ())
        self._delay = delay
        self._clock: Clock = clock or SystemClock()

    @property
    def reacts(self) -> bool:
        """Whether it was given a ``react_script``, or is an INTELLIGENCE channel."""
        return self._reacts

    def capabilities(self) -> ChannelCapabilities:
        """Return what it was said to carry."""
        return self._capabilities if self._capabilities is not None else super().capabilities()

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is, the way transports do."""
        self.inbound.append(message)
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=EventSource(
                channel_id=self.channel_id,
                channel_type=self.channel_type,
                participant_id=message.sender_id or None,
                external_id=message.external_id,
            ),
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
            channel_data=ChannelData(external_id=message.external_id, thread_id=message.thread_id),
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Record the event and give the next scripted answer."""
        self.delivered.append(event)
        call = Delivered(event, binding, context)
        self.deliveries.append(call)
        return await self._answer(self._deliver_script, call)

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Record the event and give the next scripted reaction."""
        self.received.append(event)
        call = Delivered(event, binding, context)
        self.reactions.append(call)
        return await self._answer(self._react_script, call)

    async def _answer(self, script: Iterator[Step], call: Delivered) -> ChannelOutput:
        # Taken before anything waits: answers belong to calls in the order of the calls.
        step = next(script, None)
        if self._delay > 0:
            await self._clock.sleep(self._delay)
        if callable(step) and not isinstance(step, type):
            step = step(*call)
            if isawaitable(step):
                step = await step
        if isinstance(step, (BaseException, type)):
            raise step
        if isinstance(step, str):
            return reply(call.event, call.binding, step)
        return step if isinstance(step, ChannelOutput) else ChannelOutput.empty()

    async def close(self) -> None:
        """Set ``closed``."""
        self.closed = True
        await super().close()


def _script(steps: Iterable[Step] | Callable[..., Any]) -> Iterator[Step]:
    """Return the answers one by one; a function is the answer to every call."""
    if callable(steps):
        return iter(lambda: steps, _END)
    return iter(steps)


_END = object()
