"""A room for an AI to answer in, without an engine around it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from roomkit._scope import Delivery, delivery_scope
from roomkit.channels.host import ChannelHost, DeltaStream
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelCategory, ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.enums import EventType, HookTrigger
    from roomkit.models.event import EventContent

ROOM = "room-1"


def said(what: str | EventContent, by: str = "sms", **fields: Any) -> RoomEvent:
    """Return an event of the room."""
    kind = ChannelType.AI if by == "ai" else ChannelType.SMS
    content = TextContent(body=what) if isinstance(what, str) else what
    source = EventSource(channel_id=by, channel_type=kind)
    return RoomEvent(room_id=ROOM, source=source, content=content, **fields)


def ai_binding(**metadata: Any) -> ChannelBinding:
    """Return the AI's place in the room."""
    return ChannelBinding(
        channel_id="ai",
        room_id=ROOM,
        channel_type=ChannelType.AI,
        category=ChannelCategory.INTELLIGENCE,
        metadata=metadata,
    )


def transport(channel_id: str, **fields: Any) -> ChannelBinding:
    """Return a transport's place in the room."""
    return ChannelBinding(
        channel_id=channel_id, room_id=ROOM, channel_type=ChannelType.SMS, **fields
    )


def room(*recent: RoomEvent, bindings: list[ChannelBinding] | None = None) -> RoomContext:
    """Return the room as the engine shows it."""
    return RoomContext(
        room=Room(id=ROOM), bindings=bindings or [ai_binding()], recent_events=list(recent)
    )


def tool_spec(name: str) -> dict[str, Any]:
    """Return a tool as a room's binding offers it."""
    return {"name": name, "description": f"does {name}", "parameters": {"type": "object"}}


@contextmanager
def delivering(delivery_id: str = "d-1") -> Iterator[None]:
    """Work as the engine does: inside a delivery."""
    token = delivery_scope.set(Delivery(delivery_id))
    try:
        yield
    finally:
        delivery_scope.reset(token)


class FakeStream(DeltaStream):
    """Keeps what it is shown.

    Attributes:
        shown: Set once there is something.
    """

    def __init__(self) -> None:
        self.stream_id = "stream-1"
        self.sent: list[str] = []
        self.shown = asyncio.Event()
        self.failed = 0

    async def send(self, text: str) -> None:
        self.sent.append(text)
        self.shown.set()

    async def fail(self) -> None:
        self.failed += 1


class FakeHost(ChannelHost):
    """A framework in which somebody watches answers being made, or nobody.

    Attributes:
        stream: What ``open_stream`` gives; None: nobody watches.
        opened: The event and ``before_gates`` of each call.
    """

    def __init__(self, *, watched: bool = True) -> None:
        self.stream = FakeStream() if watched else None
        self.opened: list[tuple[RoomEvent, bool]] = []

    def open_stream(
        self,
        cause: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        *,
        before_gates: bool = False,
    ) -> DeltaStream | None:
        self.opened.append((cause, before_gates))
        return self.stream

    async def process_inbound(
        self, message: InboundMessage, *, room_id: str | None = None
    ) -> InboundResult:
        raise AssertionError("an AI receives nothing from outside")

    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        event_type: EventType | None = None,
        **options: Any,
    ) -> RoomEvent:
        raise AssertionError("an AI answers by its output")

    async def run_gates(
        self, room_id: str, trigger: HookTrigger, payload: Any
    ) -> tuple[bool, Any]:
        raise AssertionError("the engine runs the gates")

    async def run_observers(self, room_id: str, trigger: HookTrigger, payload: Any) -> None:
        raise AssertionError("the engine runs the observers")

    async def emit(
        self,
        event_type: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        raise AssertionError("the engine emits")
