"""What a channel that answers gets to know of the past.

The history of an event is what came before it, and the answers to what came before it, even
if those were stored later: so a slow AI sees its own earlier answers, and never the future.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core.services.store_calls import answered
from roomkit.core.visibility import visible_to
from roomkit.models.enums import EventStatus
from roomkit.store.base import RECENT_EVENTS

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore


_DELIVERED = EventStatus.DELIVERED


async def history_for(
    store: ConversationStore, context: RoomContext, event: RoomEvent, binding: ChannelBinding
) -> RoomContext:
    """Return the room as ``binding``'s channel may know it when it answers ``event``.

    Args:
        store: Where the timeline is.
        context: The room when the event was committed.
        event: The event, as the channel gets it.
        binding: The channel's place in the room now.
    """
    current = await answered(store.load_context(event.room_id)) or context
    recent = current.recent_events
    index = event.index
    earlier = recent
    if recent and recent[0].index > max(0, index - RECENT_EVENTS + 1):
        # So much was said meanwhile that the newest events no longer reach back far enough.
        offset = max(0, index - RECENT_EVENTS)
        earlier = await answered(
            store.list_events(event.room_id, offset=offset, limit=RECENT_EVENTS)
        )
    before = len(earlier)
    while before and earlier[before - 1].index >= index:
        before -= 1
    # Spelled out for the common event: one call an event would be most of the price.
    past = [
        known
        for known in earlier[:before]
        if (
            known.visibility == "all"
            and known.status is _DELIVERED
            and known.metadata.get("deleted") is not True
        )
        or _readable(known, binding)
    ]
    if recent and recent[-1].index > index:
        by_id = {known.id: known for known in (*earlier, *recent)}
        past += [
            known
            for known in recent
            if known.index > index
            and _leads_below(known, index, by_id)
            and _readable(known, binding)
        ]
    past.append(event)
    return current.with_recent(past[-RECENT_EVENTS:])


def _readable(event: RoomEvent, binding: ChannelBinding) -> bool:
    """Return whether an event is part of the history a channel may know."""
    if event.status == EventStatus.BLOCKED or event.metadata.get("deleted") is True:
        return False
    return (
        event.visibility == "all"
        or event.source.channel_id == binding.channel_id
        or visible_to(event.visibility, binding)
    )


def _leads_below(event: RoomEvent, index: int, by_id: dict[str, RoomEvent]) -> bool:
    """Return whether the chain of parents of an event starts before ``index``."""
    seen = 0
    while event.parent_event_id is not None and seen <= len(by_id):
        parent = by_id.get(event.parent_event_id)
        if parent is None or parent.index == index:
            # What cannot be shown to stem from the past might stem from the future.
            return False
        if parent.index < index:
            return True
        event = parent
        seen += 1
    return False
