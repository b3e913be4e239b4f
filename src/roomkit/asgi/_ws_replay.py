"""What a client missed: the newest events it may see after an index, and what was left out."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkit.asgi._ws_view import NOBODY, Speakers, audience, target_of, withdrawn
from roomkit.core.services.store_calls import answered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from roomkit.asgi._ws_view import Audience
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore

PAGE = 100
"""Events read from the store at once."""


@dataclass(slots=True)
class Missed:
    """What to show a client that comes back.

    Attributes:
        indexes: Of the events to show, in order.
        gap: First and last index of what was left out because there was too much of it.
    """

    indexes: deque[int] = field(default_factory=deque)
    gap: tuple[int, int] | None = None


class Archive:
    """Reads a room's timeline as the clients of one channel may see it.

    Args:
        store: Where it is kept.
        channel_id: The channel.
    """

    def __init__(self, store: ConversationStore, channel_id: str) -> None:
        self._store = store
        self._channel_id = channel_id

    async def audience(
        self, event: RoomEvent, context: RoomContext, *, speaks: bool, told: bool = False
    ) -> Audience:
        """Return whom an event is shown to; an edit only to those who may see its target."""
        binding = context.get_binding(self._channel_id)
        found = audience(event, binding, speaks=speaks, told=told)
        target_id = target_of(event)
        if not found or target_id is None:
            return found
        target = await answered(self._store.get_event(target_id))
        if target is None or target.room_id != event.room_id:
            return NOBODY
        if withdrawn(target):
            # A taken-back event is shown to nobody, the news that it was to those who saw it.
            target = target.with_metadata(deleted=False)
        return found.within(audience(target, binding, speaks=True))

    async def missed(
        self, context: RoomContext, participant_id: str, after: int, limit: int, scan: int
    ) -> Missed:
        """Find what a participant may see of the events after an index.

        Args:
            context: The room as it stands; later events are not looked at.
            participant_id: Who comes back.
            after: The last index the client has.
            limit: How many events to show, the newest.
            scan: How many to look at.
        """
        missed = Missed()
        speakers = Speakers(context, self._channel_id)
        looked = 0
        async with aclosing(self._backwards(context, after + 1)) as events:
            async for event in events:
                if looked == scan:
                    missed.gap = (after + 1, event.index)
                    break
                looked += 1
                speaks = speakers.can_speak(event)
                found = await self.audience(event, context, speaks=speaks)
                if found.includes(participant_id):
                    if len(missed.indexes) == limit:
                        missed.gap = (after + 1, missed.indexes[0] - 1)
                        break
                    missed.indexes.appendleft(event.index)
                speakers.rewind(event)
        return missed

    async def events(self, room_id: str, indexes: deque[int]) -> AsyncGenerator[RoomEvent]:
        """Yield the events of these indexes in order, but for those taken back meanwhile."""
        while indexes:
            page = await answered(self._store.list_events(room_id, indexes[0], PAGE))
            if not page:
                return
            for event in page:
                if indexes and event.index == indexes[0]:
                    indexes.popleft()
                    if not withdrawn(event):
                        yield event

    async def page(self, context: RoomContext, start: int) -> list[RoomEvent]:
        """Return events from an index on, in order, up to where ``context`` ends."""
        recent, count = context.recent_events, context.room.event_count
        if recent and recent[0].index <= start:
            return recent[start - recent[0].index :]
        room_id = context.room.id
        return await answered(self._store.list_events(room_id, start, min(PAGE, count - start)))

    async def _backwards(self, context: RoomContext, first: int) -> AsyncGenerator[RoomEvent]:
        """Yield the events before the end of ``context``, the newest first."""
        end = context.room.event_count
        page = context.recent_events
        while end > first:
            if not page:
                start = max(first, end - PAGE)
                page = await answered(self._store.list_events(context.room.id, start, end - start))
                if not page:
                    return
            for event in reversed(page):
                if event.index < first:
                    return
                yield event
            end, page = page[0].index, []
