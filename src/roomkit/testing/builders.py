"""Events and bindings a test has nothing special to say about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent

if TYPE_CHECKING:
    from roomkit.models.event import EventContent


def make_event(
    room_id: str = "room-1",
    body: str = "hello",
    *,
    channel_id: str = "channel-1",
    channel_type: ChannelType = ChannelType.WEBSOCKET,
    participant_id: str | None = "user-1",
    content: EventContent | None = None,
    **fields: Any,
) -> RoomEvent:
    """Return an event of a room.

    Args:
        room_id: The room.
        body: Its text, unless ``content`` is given.
        channel_id: The channel it came by.
        channel_type: What that channel speaks.
        participant_id: Who said it.
        content: What it says instead of ``body``.
        fields: Any other field of RoomEvent, such as ``idempotency_key``.
    """
    source = EventSource(
        channel_id=channel_id, channel_type=channel_type, participant_id=participant_id
    )
    content = TextContent(body=body) if content is None else content
    return RoomEvent(**{"room_id": room_id, "source": source, "content": content, **fields})


def make_binding(
    channel_id: str = "channel-1",
    room_id: str = "room-1",
    *,
    channel_type: ChannelType = ChannelType.WEBSOCKET,
    **fields: Any,
) -> ChannelBinding:
    """Return a binding of a channel to a room.

    Args:
        channel_id: The channel.
        room_id: The room.
        channel_type: What the channel speaks.
        fields: Any other field of ChannelBinding.
    """
    return ChannelBinding(
        channel_id=channel_id, room_id=room_id, channel_type=channel_type, **fields
    )
