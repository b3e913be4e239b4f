"""Rooms as RoomKit's users handle them: their life, their people, what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core.services.store_calls import answered

if TYPE_CHECKING:
    from roomkit.core.services.participants import Participants
    from roomkit.core.services.rooms import Rooms
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Observation, Task
    from roomkit.store.base import ConversationStore


class RoomDesk:
    """Everything a user does with rooms."""

    def __init__(self, store: ConversationStore, rooms: Rooms, participants: Participants) -> None:
        self._store = store
        self.rooms = rooms
        self.participants = participants

    async def timeline(
        self, room_id: str, offset: int, limit: int, visibility_filter: str | None
    ) -> list[RoomEvent]:
        """Return a page of a room's events in index order."""
        await self.rooms.require(room_id)
        return await answered(self._store.list_events(room_id, offset, limit, visibility_filter))

    async def tasks(self, room_id: str, status: str | None) -> list[Task]:
        """Return a room's tasks, oldest first."""
        return await answered(self._store.list_tasks(room_id, status))

    async def observations(self, room_id: str) -> list[Observation]:
        """Return a room's observations, oldest first."""
        return await answered(self._store.list_observations(room_id))

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read."""
        await answered(self._store.mark_read(room_id, channel_id, event_id))

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read everything."""
        await answered(self._store.mark_all_read(room_id, channel_id))
