"""The store for one machine: a single file, durable, fast and safe with several processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from roomkit.store._sql import codec, lite_commit, lite_find, lite_rooms, lite_rows
from roomkit.store._sql.lite_bulk import LiteBulk, event_of, room_of, text_of
from roomkit.store._sql.window import Change

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task


class SQLiteStore(LiteBulk):
    """Conversations and the work still to be done, in one SQLite file.

    All writes that wait at a moment share one transaction (and one ``fsync``); each is told
    once it is committed, and one that fails harms no other. Reads see all that was told. Every
    read gives objects of its own. Several processes of one machine may use the file at once;
    many machines need ``PostgresStore``.

    Ids are used once: creating a room, event, identity, task or observation under an id that
    is taken raises StoreError. What belongs to a room needs the room. ``update_*`` of what is
    not there does nothing.

    Args:
        path: The file, made when it is missing; its folder exists. ``":memory:"`` keeps
            everything in this process until ``close``.
        synchronous: When SQLite waits for the disk. ``FULL``: what was told survives a loss of
            power. ``NORMAL``: only a crash of the process; faster. ``OFF`` risks the file.
        busy_timeout: Seconds to wait for another process that holds the file.
        clock: Where the time of claims, retries and dead letters comes from.

    Raises:
        ConfigurationError: An argument cannot be used.
        RuntimeError: (by every call) The store is not open.
    """

    async def __aenter__(self) -> Self:
        """Open the store."""
        await self.open()
        return self

    # -- rooms ---------------------------------------------------------------------------

    async def create_room(self, room: Room) -> Room:
        """Store a new room and return it."""
        await self._write(lite_rooms.create_room, lite_rows.room_row(room))
        return room

    async def get_room(self, room_id: str) -> Room | None:
        """Return a room, or None."""
        row = await self._read(lite_find.room, room_id)
        return None if row is None else room_of(row)

    async def update_room(self, room: Room) -> Room:
        """Store a changed room but for its counters; nothing happens when it is unknown."""
        await self._change(room.id, lite_rooms.update_room, lite_rows.room_row(room))
        return room

    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; identities stay. False if unknown."""
        try:
            return await self._write(lite_rooms.delete_room, room_id)
        finally:
            self._windows.forget(room_id)

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Return a page of rooms, in the order they were created."""
        page = (max(0, limit), max(0, offset))
        return [room_of(row) for row in await self._many(lite_find.LIST_ROOMS, *page)]

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        """Return the rooms that match all given filters, in the order they were created."""
        rows = await self._read(lite_find.find_rooms, organization_id, text_of(status))
        rooms = [room_of(row) for row in rows]
        if not metadata_filter:
            return rooms
        wanted = metadata_filter.items()
        return [
            room
            for room in rooms
            if all(key in room.metadata and room.metadata[key] == value for key, value in wanted)
        ]

    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        """Return the newest room a person takes part in, or None."""
        row = await self._read(
            lite_find.latest_room, participant_id, text_of(channel_type), text_of(status)
        )
        return None if row is None else room_of(row)

    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        """Return the oldest room a channel is attached to, or None."""
        return await self._read(lite_find.room_of_channel, channel_id, text_of(status))

    # -- events --------------------------------------------------------------------------

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        """Append an event under the next index of its room and return it as stored."""
        row = lite_rows.event_row(event)
        index, version = await self._write(lite_commit.add_event, event.room_id, row)
        stored = event.numbered(index)
        self._windows.take(event.room_id, Change(version, (stored,)))
        return stored

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event, or None."""
        row = await self._read(lite_find.event, event_id)
        return None if row is None else event_of(row)

    async def update_event(self, event: RoomEvent) -> RoomEvent:
        """Store a changed event at its place, under the key it came with."""
        row = lite_rows.event_row(event)
        try:
            moved = await self._write(lite_commit.update_event, row)
        except asyncio.CancelledError:
            self._windows.forget(event.room_id)
            raise
        if moved is not None:
            self._windows.stale(*moved)
        return event

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Return a page of a timeline in index order."""
        page = (max(0, offset), max(0, limit))
        rows = await self._read(lite_find.events, room_id, *page, visibility_filter)
        return [codec.load_event(*row) for row in rows]

    async def check_idempotency(self, room_id: str, key: str) -> bool:
        """Return whether the room has an event of this key."""
        return await self._one(lite_find.BY_KEY, room_id, key) is not None

    async def get_event_count(self, room_id: str) -> int:
        """Return how many events the room's timeline holds."""
        row = await self._read(lite_find.room, room_id)
        return 0 if row is None else row[2]

    # -- bindings and participants -------------------------------------------------------

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a binding, replacing one of the same room and channel at its place."""
        row = lite_rows.binding_row(binding)
        await self._change(binding.room_id, lite_rooms.add_binding, row)
        return binding

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a binding, or None."""
        row = await self._one(lite_find.BINDING, room_id, channel_id)
        return None if row is None else codec.load_binding(row[0])

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a changed binding; nothing happens when it is unknown."""
        row = lite_rows.binding_row(binding)
        await self._change(binding.room_id, lite_rooms.update_binding, row)
        return binding

    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Remove a binding; False if there was none."""
        moved = await self._change(room_id, lite_rooms.remove_binding, room_id, channel_id)
        return moved is not None

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return a room's bindings in the order they were attached."""
        return [
            codec.load_binding(doc) for (doc,) in await self._many(lite_find.BINDINGS, room_id)
        ]

    async def add_participant(self, participant: Participant) -> Participant:
        """Store a participant, replacing one of the same room and id at their place."""
        row = lite_rows.participant_row(participant)
        await self._change(participant.room_id, lite_rooms.add_participant, row)
        return participant

    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a participant, or None."""
        row = await self._one(lite_find.PARTICIPANT, room_id, participant_id)
        return None if row is None else codec.load_participant(row[0])

    async def update_participant(self, participant: Participant) -> Participant:
        """Store a changed participant; nothing happens when they are unknown."""
        row = lite_rows.participant_row(participant)
        await self._change(participant.room_id, lite_rooms.update_participant, row)
        return participant

    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return a room's participants in the order they joined."""
        rows = await self._many(lite_find.PARTICIPANTS, room_id)
        return [codec.load_participant(doc) for (doc,) in rows]

    # -- identities ----------------------------------------------------------------------

    async def create_identity(self, identity: Identity) -> Identity:
        """Store a new identity; its ``channel_addresses`` resolve to it from now on."""
        addresses = [
            (str(kind), address)
            for kind, known in identity.channel_addresses.items()
            for address in known
        ]
        doc = codec.dump(identity)
        await self._write(lite_rooms.create_identity, identity.id, addresses, doc)
        return identity

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity, or None."""
        row = await self._one(lite_find.IDENTITY, identity_id)
        return None if row is None else codec.load_identity(row[0])

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return whom an address belongs to, or None."""
        row = await self._one(lite_find.RESOLVE, str(channel_type), address)
        return None if row is None else codec.load_identity(row[0])

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Give an identity an address; nothing happens when it is unknown."""
        await self._write(lite_rooms.link_address, identity_id, str(channel_type), address)

    # -- tasks and observations ----------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        """Store a new task."""
        await self._write(lite_rooms.add_task, lite_rows.task_row(task))
        return task

    async def get_task(self, task_id: str) -> Task | None:
        """Return a task, or None."""
        row = await self._one(lite_find.TASK, task_id)
        return None if row is None else codec.load_task(row[0])

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Return a room's tasks, oldest first, all or of one status."""
        if status is None:
            rows = await self._many(lite_find.ALL_TASKS, room_id)
        else:
            rows = await self._many(lite_find.TASKS_OF_STATUS, room_id, str(status))
        return [codec.load_task(doc) for (doc,) in rows]

    async def update_task(self, task: Task) -> Task:
        """Store a changed task; nothing happens when it is unknown."""
        await self._write(lite_rooms.update_task, lite_rows.task_row(task))
        return task

    async def add_observation(self, observation: Observation) -> Observation:
        """Store a new observation."""
        await self._write(lite_rooms.add_observation, lite_rows.observation_row(observation))
        return observation

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return a room's observations, oldest first."""
        rows = await self._many(lite_find.OBSERVATIONS, room_id)
        return [codec.load_observation(doc) for (doc,) in rows]

    # -- read tracking -------------------------------------------------------------------

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read; an unknown one: it has read none."""
        await self._write(lite_rooms.mark_read, room_id, channel_id, event_id)

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read all; nothing happens in an empty room."""
        await self._write(lite_rooms.mark_all_read, room_id, channel_id)

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many events follow the last one read; all when none was."""
        row = await self._one(lite_find.UNREAD, channel_id, room_id)
        return 0 if row is None else row[0]
