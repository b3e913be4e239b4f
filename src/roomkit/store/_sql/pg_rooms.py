"""Rooms, their events one by one, and finding both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.store._sql.codec import dump_json, load_binding
from roomkit.store._sql.pg_base import PostgresPart
from roomkit.store._sql.pg_rows import digest, event_of, index_key, room_json, room_of, utc
from roomkit.store.base import normalized_address
from roomkit.store.commit import DeliveryView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room

_STATUSES: Final = [str(status) for status in RoomStatus]
_TYPES: Final = [str(kind) for kind in ChannelType]

_GET_ROOM: Final = """\
SELECT doc, status, event_count, last_activity_at FROM rooms WHERE id = $1"""
_LIST_ROOMS: Final = """\
SELECT doc, status, event_count, last_activity_at FROM rooms
ORDER BY seq LIMIT $1 OFFSET $2"""
# Each filter is a statement of its own, so that each has the plan it needs. Containment is what
# an index can tell; what is asked for is that each key has exactly the value given.
_FIND_ROOMS: Final = {
    (False, False): """\
SELECT doc, status, event_count, last_activity_at FROM rooms
WHERE $1::text IS NULL AND $2::text IS NULL AND $3::jsonb IS NULL ORDER BY seq""",
    (True, False): """\
SELECT doc, status, event_count, last_activity_at FROM rooms
WHERE organization_id = $1 AND $2::text IS NULL AND ($3::jsonb IS NULL OR NOT EXISTS (
    SELECT 1 FROM jsonb_each($3) AS f
    WHERE doc -> 'metadata' -> f.key IS DISTINCT FROM f.value)) ORDER BY seq""",
    (False, True): """\
SELECT doc, status, event_count, last_activity_at FROM rooms
WHERE status = $2 AND $1::text IS NULL AND $3::jsonb IS NULL ORDER BY seq""",
    (True, True): """\
SELECT doc, status, event_count, last_activity_at FROM rooms
WHERE organization_id = $1 AND status = $2 AND ($3::jsonb IS NULL OR NOT EXISTS (
    SELECT 1 FROM jsonb_each($3) AS f
    WHERE doc -> 'metadata' -> f.key IS DISTINCT FROM f.value)) ORDER BY seq""",
}
_FIND_BY_METADATA: Final = """\
SELECT doc, status, event_count, last_activity_at FROM rooms
WHERE doc -> 'metadata' @> $3::jsonb AND NOT EXISTS (
    SELECT 1 FROM jsonb_each($3) AS f
    WHERE doc -> 'metadata' -> f.key IS DISTINCT FROM f.value)
    AND ($1::text IS NULL OR organization_id = $1)
    AND ($2::text IS NULL OR status = $2) ORDER BY seq"""
_LATEST_ROOM: Final = """\
SELECT r.doc, r.status, r.event_count, r.last_activity_at
FROM (
    SELECT room.* FROM unnest($2::text[]) AS s(status), LATERAL (
        SELECT p.room_id, p.room_created_at, p.room_seq FROM participants AS p
        WHERE p.id = $1 AND p.room_status = s.status
        ORDER BY p.room_created_at DESC, p.room_seq DESC LIMIT 1) AS room
    UNION ALL
    SELECT room.* FROM unnest($2::text[]) AS s(status), unnest($3::text[]) AS t(kind), LATERAL (
        SELECT b.room_id, b.room_created_at, b.room_seq FROM bindings AS b
        WHERE b.participant_id = $1 AND b.channel_type = t.kind AND b.room_status = s.status
        ORDER BY b.room_created_at DESC, b.room_seq DESC LIMIT 1) AS room
) AS found
JOIN rooms AS r ON r.id = found.room_id
ORDER BY found.room_created_at DESC, found.room_seq DESC LIMIT 1"""
_ROOM_BY_CHANNEL: Final = """\
SELECT room.room_id FROM unnest($2::text[]) AS s(status), LATERAL (
    SELECT b.room_id, b.room_seq FROM bindings AS b
    WHERE b.channel_id = $1 AND b.room_status = s.status
    ORDER BY b.room_seq LIMIT 1) AS room
ORDER BY room.room_seq LIMIT 1"""
# Whom a binding names is a digest of the normalised name; a name that is left over from a room
# that is gone points at no room of that sequence number.
_ROOM_NAMING: Final = """\
SELECT room.room_id FROM unnest($3::text[]) WITH ORDINALITY AS s(status, n), LATERAL (
    SELECT m.room_id FROM room_names AS m
    JOIN rooms AS r ON r.id = m.room_id AND r.seq = m.room_seq
    WHERE m.channel_id = $1 AND m.name = $2 AND m.room_status = s.status
        AND m.key = ANY ($4::text[])
    ORDER BY m.room_seq LIMIT 1) AS room
ORDER BY s.n LIMIT 1"""
# Hops from one kind of binding ("which metadata may name somebody") to the next: there are few.
_ROOM_OF_ANYBODY: Final = """\
SELECT room.room_id FROM unnest($2::text[]) WITH ORDINALITY AS s(status, n), LATERAL (
    WITH RECURSIVE shapes AS (
        (SELECT b.shape, b.named_by, b.room_id, b.room_seq FROM bindings AS b
         WHERE b.channel_id = $1 AND b.room_status = s.status AND b.shape IS NOT NULL
         ORDER BY b.shape, b.room_seq LIMIT 1)
        UNION ALL
        SELECT next.* FROM shapes, LATERAL (
            SELECT b.shape, b.named_by, b.room_id, b.room_seq FROM bindings AS b
            WHERE b.channel_id = $1 AND b.room_status = s.status AND b.shape > shapes.shape
            ORDER BY b.shape, b.room_seq LIMIT 1) AS next
    )
    SELECT shapes.room_id FROM shapes
    WHERE $3::text IS NULL OR NOT $3 = ANY (shapes.named_by)
    ORDER BY shapes.room_seq LIMIT 1) AS room
ORDER BY s.n LIMIT 1"""
# A room's due_at may be too early: activity moves what is due without touching the index.
_DUE_LATER: Final = """\
WITH early AS (
    SELECT id FROM rooms
    WHERE due_at < $1 AND last_activity_at + due_after * interval '1 second' >= $1
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE rooms AS r SET due_at = r.last_activity_at + r.due_after * interval '1 second'
FROM early WHERE r.id = early.id"""
_DUE: Final = """\
SELECT id FROM rooms
WHERE due_at < $1 AND last_activity_at + due_after * interval '1 second' < $1
ORDER BY seq"""

_LIST_EVENTS: Final = """\
SELECT index, doc, results FROM events
WHERE room_id = $1 AND index >= $2 AND index < $2 + $3 ORDER BY index"""
_LIST_VISIBLE: Final = """\
SELECT index, doc, results FROM events
WHERE room_id = $1 AND visibility = $4 ORDER BY index LIMIT $3 OFFSET $2"""
_LIST_VISIBLE_TO_SOME: Final = """\
SELECT index, doc, results FROM events
WHERE room_id = $1 AND visibility = $4 AND visibility <> 'all'
ORDER BY index LIMIT $3 OFFSET $2"""
_BY_KEY: Final = "SELECT index, doc, results FROM events WHERE room_id = $1 AND key = $2"
_BY_CHANNEL_KEY: Final = """\
SELECT e.index, e.doc, e.results FROM events AS e JOIN rooms AS r ON r.id = e.room_id
WHERE e.channel_id = $1 AND e.key = $2 ORDER BY r.seq LIMIT 1"""
_BY_MESSAGE_ID: Final = """\
SELECT e.index, e.doc, e.results, s.channel_id FROM sent_messages AS s
JOIN events AS e ON e.id = s.event_id WHERE s.message_id = $1"""
_DELIVERY: Final = """\
SELECT e.index, e.doc, e.results, b.doc AS binding FROM (SELECT 1) AS one
LEFT JOIN events AS e ON e.id = $1
LEFT JOIN bindings AS b ON b.room_id = $2 AND b.channel_id = $3"""

_LARGEST: Final = 2**62


class RoomsPart(PostgresPart):
    """Rooms and the reading of events."""

    async def create_room(self, room: Room) -> Room:
        """Store a room and return it.

        Raises:
            StoreError: Its id is taken.
        """
        sql = "SELECT roomkit_create_room($1, $2)"
        await self._insert(f"room {room.id!r}", sql, room.id, room_json(room))
        return room

    async def get_room(self, room_id: str) -> Room | None:
        """Return a room, or None."""
        row = await self._db.read("fetchrow", _GET_ROOM, (room_id,))
        return None if row is None else room_of(row)

    async def update_room(self, room: Room) -> Room:
        """Store a changed room, but for its counters; nothing happens when it is unknown."""
        await self._change(room.id, "SELECT roomkit_update_room($1, $2)", room_json(room))
        return room

    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; identities stay. False if unknown."""
        gone: bool = await self._db.write("fetchval", "SELECT roomkit_delete_room($1)", (room_id,))
        self._windows.forget(room_id)
        return gone

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Return a page of rooms, in the order they were created."""
        rows = await self._db.read("fetch", _LIST_ROOMS, (max(0, limit), max(0, offset)))
        return [room_of(row) for row in rows]

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        """Return the rooms that match all given filters; metadata by equal top-level keys."""
        wanted = dump_json(metadata_filter) if metadata_filter else None
        sql = _FIND_ROOMS[organization_id is not None, status is not None]
        if wanted is not None and organization_id is None:
            sql = _FIND_BY_METADATA
        state = None if status is None else str(status)
        rows = await self._db.read("fetch", sql, (organization_id, state, wanted))
        return [room_of(row) for row in rows]

    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        """Return the newest room a person takes part in, or None."""
        kinds = _TYPES if channel_type is None else [str(channel_type)]
        row = await self._db.read(
            "fetchrow", _LATEST_ROOM, (participant_id, _statuses(status), kinds)
        )
        return None if row is None else room_of(row)

    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        """Return the oldest room a channel is attached to, or None."""
        args = (channel_id, _statuses(status))
        found: str | None = await self._db.read("fetchval", _ROOM_BY_CHANNEL, args)
        return found

    async def find_room_for(
        self,
        channel_id: str,
        sender_id: str,
        *,
        recipient_key: str | None,
        statuses: Sequence[str],
    ) -> str | None:
        """Return the room an inbound message of a sender belongs to, or None."""
        states = [str(status) for status in statuses]
        found: str | None = None
        if sender_id:
            name = digest(normalized_address(sender_id))
            keys = ["", recipient_key] if recipient_key else [""]
            found = await self._db.read("fetchval", _ROOM_NAMING, (channel_id, name, states, keys))
        if found is None:
            found = await self._db.read(
                "fetchval", _ROOM_OF_ANYBODY, (channel_id, states, recipient_key or None)
            )
        return found

    async def find_due_rooms(self, now: datetime) -> list[str]:
        """Return the ids of open rooms whose timers have run out at ``now``, oldest first."""
        at = utc(now)
        await self._db.write("fetchval", _DUE_LATER, (at,))
        return [row["id"] for row in await self._db.read("fetch", _DUE, (at,))]

    # -- events --------------------------------------------------------------------------

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event, or None."""
        sql = "SELECT index, doc, results FROM events WHERE id = $1"
        row = await self._db.read("fetchrow", sql, (event_id,))
        return None if row is None else event_of(row)

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Return a page of a timeline in index order."""
        first, count = min(max(0, offset), _LARGEST), min(max(0, limit), _LARGEST)
        args: tuple[Any, ...] = (room_id, first, count)
        sql = _LIST_EVENTS
        if visibility_filter is not None:
            args = (*args, visibility_filter)
            sql = _LIST_VISIBLE if visibility_filter == "all" else _LIST_VISIBLE_TO_SOME
        return [event_of(row) for row in await self._db.read("fetch", sql, args)]

    async def check_idempotency(self, room_id: str, key: str) -> bool:
        """Return whether the room has an event of this key."""
        sql = "SELECT EXISTS (SELECT 1 FROM events WHERE room_id = $1 AND key = $2)"
        known: bool = await self._db.read("fetchval", sql, (room_id, index_key(key)))
        return known

    async def get_event_count(self, room_id: str) -> int:
        """Return how many events the room's timeline holds."""
        sql = "SELECT event_count FROM rooms WHERE id = $1"
        count: int | None = await self._db.read("fetchval", sql, (room_id,))
        return count or 0

    async def find_event_by_key(self, room_id: str, key: str) -> RoomEvent | None:
        """Return the event that holds an idempotency key of a room, or None."""
        row = await self._db.read("fetchrow", _BY_KEY, (room_id, index_key(key)))
        return None if row is None else event_of(row)

    async def find_event_by_channel_key(self, channel_id: str, key: str) -> RoomEvent | None:
        """Return the first event that entered by a channel under a key, whatever its room."""
        row = await self._db.read("fetchrow", _BY_CHANNEL_KEY, (channel_id, index_key(key)))
        return None if row is None else event_of(row)

    async def find_event_by_provider_message_id(
        self, provider_message_id: str
    ) -> tuple[RoomEvent, str] | None:
        """Return the event a vendor's message id belongs to, with the channel it was sent by."""
        row = await self._db.read("fetchrow", _BY_MESSAGE_ID, (index_key(provider_message_id),))
        return None if row is None else (event_of(row), row["channel_id"])

    async def load_delivery(self, room_id: str, event_id: str, channel_id: str) -> DeliveryView:
        """Return an event and a target's binding as they stand now."""
        row = await self._db.read("fetchrow", _DELIVERY, (event_id, room_id, channel_id))
        return DeliveryView(
            event=None if row["doc"] is None else event_of(row),
            binding=None if row["binding"] is None else load_binding(row["binding"]),
        )


def _statuses(status: str | None) -> list[str]:
    return _STATUSES if status is None else [str(status)]
