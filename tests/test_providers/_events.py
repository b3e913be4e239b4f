"""Events to send, for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent, TextContent

if TYPE_CHECKING:
    from roomkit.models.event import EventContent


def an_event(content: EventContent | None = None) -> RoomEvent:
    """Return an event as a provider gets it."""
    return RoomEvent(
        room_id="room-1",
        source=EventSource(channel_id="web", channel_type=ChannelType.WEBSOCKET),
        content=content or TextContent(body="Hello"),
    )
