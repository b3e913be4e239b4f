"""Bindings, participants, identities, tasks, observations and read markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from roomkit.store._sql.codec import (
    dump,
    dump_json,
    load_binding,
    load_identity,
    load_observation,
    load_participant,
    load_task,
)
from roomkit.store._sql.pg_base import PostgresPart, no_room
from roomkit.store._sql.pg_rows import binding_json, joined, listed, participant_json

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.task import Observation, Task

_CHANGE: Final = "SELECT roomkit_change_members($1, $2, $3, $4)"

_CREATE_IDENTITY: Final = """\
WITH made AS (INSERT INTO identities (id, doc) VALUES ($1, $2) RETURNING id)
INSERT INTO identity_addresses (channel_type, address, identity_id)
SELECT a.kind, a.address, made.id
FROM made, (SELECT DISTINCT * FROM unnest($3::text[], $4::text[])) AS a(kind, address)
ORDER BY a.kind, a.address
ON CONFLICT (channel_type, address) DO UPDATE SET identity_id = excluded.identity_id"""
_RESOLVE: Final = """\
SELECT i.doc FROM identity_addresses AS a JOIN identities AS i ON i.id = a.identity_id
WHERE a.channel_type = $1 AND a.address = $2"""
_LINK: Final = """\
WITH given AS (
    UPDATE identities SET doc = CASE
        WHEN doc -> 'channel_addresses' -> $2 @> to_jsonb($3::text) THEN doc
        ELSE jsonb_set(doc, ARRAY['channel_addresses', $2],
            coalesce(doc -> 'channel_addresses' -> $2, '[]') || to_jsonb($3::text)) END
    WHERE id = $1 RETURNING id
)
INSERT INTO identity_addresses (channel_type, address, identity_id)
SELECT $2, $3, given.id FROM given
ON CONFLICT (channel_type, address) DO UPDATE SET identity_id = excluded.identity_id"""

# An unknown event means that nothing was read.
_MARK_READ: Final = """\
WITH e AS (SELECT index FROM events WHERE id = $3 AND room_id = $1), gone AS (
    DELETE FROM read_markers
    WHERE room_id = $1 AND channel_id = $2 AND NOT EXISTS (SELECT 1 FROM e)
)
INSERT INTO read_markers (room_id, channel_id, index) SELECT $1, $2, e.index FROM e
ON CONFLICT (room_id, channel_id) DO UPDATE SET index = excluded.index"""
_MARK_ALL_READ: Final = """\
INSERT INTO read_markers (room_id, channel_id, index)
SELECT id, $2, event_count - 1 FROM rooms WHERE id = $1 AND event_count > 0
ON CONFLICT (room_id, channel_id) DO UPDATE SET index = excluded.index"""
_UNREAD: Final = """\
SELECT r.event_count - 1 - coalesce(m.index, -1) FROM rooms AS r
LEFT JOIN read_markers AS m ON m.room_id = r.id AND m.channel_id = $2 WHERE r.id = $1"""


class MembersPart(PostgresPart):
    """Who and what belongs to rooms, and who people are across them."""

    # -- bindings ------------------------------------------------------------------------

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a binding, replacing one of the same room and channel.

        Raises:
            StoreError: Its room does not exist.
        """
        rows = joined([("bindings", listed([binding_json(binding)]))])
        if not await self._change(binding.room_id, _CHANGE, None, None, rows):
            raise no_room(binding.room_id)
        return binding

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a binding, or None."""
        sql = "SELECT doc FROM bindings WHERE room_id = $1 AND channel_id = $2"
        doc = await self._db.read("fetchval", sql, (room_id, channel_id))
        return None if doc is None else load_binding(doc)

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a changed binding; nothing happens when there is none."""
        rows = joined([("bindings", listed([binding_json(binding)]))])
        await self._change(binding.room_id, _CHANGE, "binding", binding.channel_id, rows)
        return binding

    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Remove a binding; False if there was none."""
        rows = {"removed": [channel_id]}
        return await self._change(room_id, _CHANGE, "binding", channel_id, dump_json(rows))

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return a room's bindings in the order they were attached."""
        sql = "SELECT doc FROM bindings WHERE room_id = $1 ORDER BY seq"
        return [load_binding(row[0]) for row in await self._db.read("fetch", sql, (room_id,))]

    # -- participants --------------------------------------------------------------------

    async def add_participant(self, participant: Participant) -> Participant:
        """Store a participant, replacing one of the same room and id.

        Raises:
            StoreError: Its room does not exist.
        """
        rows = joined([("participants", listed([participant_json(participant)]))])
        if not await self._change(participant.room_id, _CHANGE, None, None, rows):
            raise no_room(participant.room_id)
        return participant

    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a participant, or None."""
        sql = "SELECT doc FROM participants WHERE room_id = $1 AND id = $2"
        doc = await self._db.read("fetchval", sql, (room_id, participant_id))
        return None if doc is None else load_participant(doc)

    async def update_participant(self, participant: Participant) -> Participant:
        """Store a changed participant; nothing happens when it is unknown."""
        rows = joined([("participants", listed([participant_json(participant)]))])
        await self._change(participant.room_id, _CHANGE, "participant", participant.id, rows)
        return participant

    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return a room's participants in the order they joined."""
        sql = "SELECT doc FROM participants WHERE room_id = $1 ORDER BY seq"
        return [load_participant(row[0]) for row in await self._db.read("fetch", sql, (room_id,))]

    # -- identities ----------------------------------------------------------------------

    async def create_identity(self, identity: Identity) -> Identity:
        """Store an identity; its ``channel_addresses`` resolve to it from now on.

        Raises:
            StoreError: Its id is taken.
        """
        pairs = [
            (str(kind), address)
            for kind, addresses in identity.channel_addresses.items()
            for address in addresses
        ]
        kinds, addresses = [kind for kind, _ in pairs], [address for _, address in pairs]
        what = f"identity {identity.id!r}"
        await self._insert(what, _CREATE_IDENTITY, identity.id, dump(identity), kinds, addresses)
        return identity

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity, or None."""
        sql = "SELECT doc FROM identities WHERE id = $1"
        doc = await self._db.read("fetchval", sql, (identity_id,))
        return None if doc is None else load_identity(doc)

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return whom an address belongs to, or None."""
        doc = await self._db.read("fetchval", _RESOLVE, (str(channel_type), address))
        return None if doc is None else load_identity(doc)

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Give an identity an address; a no-op for an unknown identity."""
        await self._db.write("fetchval", _LINK, (identity_id, str(channel_type), address))

    # -- tasks and observations ----------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        """Store a task.

        Raises:
            StoreError: Its room does not exist, or its id is taken.
        """
        sql = "INSERT INTO tasks (id, room_id, status, doc) VALUES ($1, $2, $3, $4)"
        what = f"task {task.id!r}"
        await self._insert(what, sql, task.id, task.room_id, str(task.status), dump(task))
        return task

    async def get_task(self, task_id: str) -> Task | None:
        """Return a task, or None."""
        doc = await self._db.read("fetchval", "SELECT doc FROM tasks WHERE id = $1", (task_id,))
        return None if doc is None else load_task(doc)

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Return a room's tasks, oldest first, all or of one status."""
        sql = """\
SELECT doc FROM tasks WHERE room_id = $1 AND ($2::text IS NULL OR status = $2) ORDER BY seq"""
        state = None if status is None else str(status)
        return [load_task(row[0]) for row in await self._db.read("fetch", sql, (room_id, state))]

    async def update_task(self, task: Task) -> Task:
        """Store a changed task; nothing happens when it is unknown."""
        sql = "UPDATE tasks SET status = $2, doc = $3 WHERE id = $1"
        await self._db.write("fetchval", sql, (task.id, str(task.status), dump(task)))
        return task

    async def add_observation(self, observation: Observation) -> Observation:
        """Store an observation.

        Raises:
            StoreError: Its room does not exist, or its id is taken.
        """
        sql = "INSERT INTO observations (id, room_id, doc) VALUES ($1, $2, $3)"
        what = f"observation {observation.id!r}"
        await self._insert(what, sql, observation.id, observation.room_id, dump(observation))
        return observation

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return a room's observations, oldest first."""
        sql = "SELECT doc FROM observations WHERE room_id = $1 ORDER BY seq"
        return [load_observation(row[0]) for row in await self._db.read("fetch", sql, (room_id,))]

    # -- read tracking -------------------------------------------------------------------

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read; an unknown one: it has read none."""
        await self._db.write("fetchval", _MARK_READ, (room_id, channel_id, event_id))

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read all; a no-op for an empty room."""
        await self._db.write("fetchval", _MARK_ALL_READ, (room_id, channel_id))

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many events follow the last one read; all when none was."""
        count: int | None = await self._db.read("fetchval", _UNREAD, (room_id, channel_id))
        return count or 0
