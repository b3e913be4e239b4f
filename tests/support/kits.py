"""What tests of the whole kit share: messages, rooms with channels, and open ears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from roomkit.models.content import SystemContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookExecution
from roomkit.models.framework_event import FrameworkEventType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.channels.base import Channel
    from roomkit.core.framework import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import HookTrigger
    from roomkit.models.event import EventContent, RoomEvent
    from roomkit.models.framework_event import FrameworkEvent

ROOM = "r"


def inbound(
    body: str | EventContent = "hello", channel_id: str = "a", sender: str = "alice", **fields: Any
) -> InboundMessage:
    """Return a message from outside."""
    content = TextContent(body=body) if isinstance(body, str) else body
    return InboundMessage(channel_id=channel_id, sender_id=sender, content=content, **fields)


def text(event: RoomEvent | None) -> str:
    """Return what a text event says."""
    assert event is not None
    assert isinstance(event.content, TextContent)
    return event.content.body


def texts(events: Iterable[RoomEvent]) -> list[str]:
    """Return what the text events among these say, in order."""
    return [e.content.body for e in events if isinstance(e.content, TextContent)]


def system(event: RoomEvent) -> tuple[str | None, dict[str, Any]]:
    """Return the code and the data of a system event."""
    assert isinstance(event.content, SystemContent)
    return event.content.code, event.content.data


async def open_room(kit: RoomKit, *channels: Channel, room_id: str = ROOM, **options: Any) -> None:
    """Create a room with these channels, registered and attached in their order."""
    await kit.create_room(room_id)
    for channel in channels:
        kit.register_channel(channel)
        await kit.attach_channel(room_id, channel.channel_id, **options)


async def messages(kit: RoomKit, room_id: str = ROOM) -> list[RoomEvent]:
    """Return a room's events that are no system events, in order."""
    timeline = await kit.get_timeline(room_id, limit=1000)
    return [event for event in timeline if not isinstance(event.content, SystemContent)]


class Told(NamedTuple):
    """One call of an observer."""

    event: RoomEvent
    context: RoomContext


def observe(kit: RoomKit, trigger: HookTrigger) -> list[Told]:
    """Watch a trigger; the list grows with each call."""
    told: list[Told] = []

    @kit.hook(trigger, HookExecution.ASYNC)
    async def watch(event: RoomEvent, context: RoomContext) -> None:
        told.append(Told(event, context))

    return told


class Ears:
    """Hears every framework event of a kit.

    Attributes:
        heard: All of them, in order.
    """

    def __init__(self, kit: RoomKit) -> None:
        self.heard: list[FrameworkEvent] = []
        for event_type in FrameworkEventType:
            kit.on(event_type)(self._hear)

    async def _hear(self, event: FrameworkEvent) -> None:
        self.heard.append(event)

    def of(self, event_type: str) -> list[FrameworkEvent]:
        """Return those of one type."""
        return [event for event in self.heard if event.type == event_type]

    @property
    def types(self) -> list[str]:
        """The types heard so far."""
        return [event.type for event in self.heard]

    def clear(self) -> None:
        """Forget what was heard."""
        self.heard.clear()
