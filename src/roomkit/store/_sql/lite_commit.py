"""Writing timelines: batches, single events and first contacts. Runs in the writer's thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import StoreError
from roomkit.models.enums import RoomStatus
from roomkit.models.reasons import Reason
from roomkit.models.room import OPEN_STATUSES
from roomkit.store._sql import lite_inbox, lite_rooms, lite_work
from roomkit.store._sql.lite_rows import due_after

if TYPE_CHECKING:
    from roomkit.store._sql.lite_rows import BatchRows, BindingRow, EventRow, RoomRow
    from roomkit.store._sql.lite_threads import Db
    from roomkit.store._sql.lite_work import FinishedRoom
    from roomkit.store.commit import RoomClaim

type StoredEvent = tuple[str, int, str | None]
"""An event's document, index and delivery results."""

_ROOM: Final = (
    "SELECT seq, status, created_at, event_count, version, last_activity_at, inactive_after,"
    " closed_after, members_version FROM rooms WHERE id = ?"
)
_BY_KEY: Final = "SELECT doc, idx, results FROM events WHERE room = ? AND key = ?"
_INSERT_EVENT: Final = (
    "INSERT INTO events (id, room, idx, version, channel_id, key, visibility, results, doc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_EDIT_EVENT: Final = (
    "UPDATE events SET visibility = ?, doc = ?, version = ? WHERE id = ? AND room = ?"
)
_UPDATE_EVENT: Final = (
    "UPDATE events SET visibility = ?, doc = ?, results = ?, version = ? WHERE id = ?"
)
_COUNT: Final = "UPDATE rooms SET version = ?, event_count = ? WHERE seq = ?"
_COUNT_ACTIVE: Final = (
    "UPDATE rooms SET version = ?, event_count = ?, last_activity_at = ?, due_at = ? WHERE seq = ?"
)
_MEMBERS_MOVED: Final = "UPDATE rooms SET members_version = ? WHERE seq = ?"
_EDITS_MOVED: Final = "UPDATE rooms SET edits_version = ? WHERE seq = ?"


@dataclass(slots=True)
class Committed:
    """What became of a batch.

    Attributes:
        version: The room's version after it (its finishes aside); None when nothing of the
            room was written.
        start: The index of its first event.
        duplicate: The stored event that holds one of its keys.
        twin: The place in the batch of an event whose key comes again in it.
        refused: Why nothing was written.
        left: Delivery ids its owner did not get.
        finished: What its finishes did, by room id.
    """

    version: int | None = None
    start: int = 0
    duplicate: StoredEvent | None = None
    twin: int | None = None
    refused: Reason | None = None
    left: frozenset[str] = frozenset()
    finished: dict[str, FinishedRoom] = field(default_factory=dict)


class _Room:
    """A room's row while a batch is being written."""

    __slots__ = (
        "closed_after",
        "count",
        "created",
        "inactive_after",
        "last_activity_at",
        "members_version",
        "seq",
        "status",
        "version",
    )

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.seq,
            self.status,
            self.created,
            self.count,
            self.version,
            self.last_activity_at,
            self.inactive_after,
            self.closed_after,
            self.members_version,
        ) = row

    def is_later(self, at: tuple[float, str]) -> bool:
        """Return whether a message is later than the room's last."""
        last = self.last_activity_at
        return last is None or at[0] > datetime.fromisoformat(last).timestamp()


def commit(db: Db, rows: BatchRows) -> Committed:
    """Carry out a batch, or say why not; then nothing was written."""
    batch = rows.batch
    row = db.execute(_ROOM, (batch.room_id,)).fetchone()
    room = None if row is None else _Room(row)
    refused = _refusal(db, rows, room)
    if refused is not None:
        return refused
    done = Committed()
    if room is not None and rows.touches_room:
        _write(db, rows, room, done)
    elif room is None and rows.touches_room and not _only_says_so(rows):
        raise lite_rooms.unknown_room(batch.room_id)
    if rows.finishes:
        done.finished = lite_work.finish(db, rows.finishes).rooms
    if batch.inbox_id is not None:
        lite_inbox.end(db, batch.inbox_id)
    return done


def _only_says_so(rows: BatchRows) -> bool:
    """Return whether a batch only takes away from, or touches, a room that is not there."""
    return not (
        rows.events or rows.bindings or rows.participants or rows.tasks or rows.observations
    )


def _refusal(db: Db, rows: BatchRows, room: _Room | None) -> Committed | None:
    """Return why a batch must not be written, or None.

    In this order: a known key, the room's status, news since the batch was made, a lost lease.
    """
    keys: dict[str, int] | None = None
    for place, event in enumerate(rows.events):
        if event.key is None:
            continue
        if room is not None:
            found = db.execute(_BY_KEY, (room.seq, event.key)).fetchone()
            if found is not None:
                return Committed(duplicate=found)
        if keys is None:
            keys = {}
        if event.key in keys:
            return Committed(twin=keys[event.key])
        keys[event.key] = place
    if rows.must_be_open and (room is None or room.status not in OPEN_STATUSES):
        return Committed(refused=Reason.ROOM_CLOSED)
    batch = rows.batch
    if batch.guard is not None and (room is None or room.members_version != batch.guard):
        return Committed(refused=Reason.STALE)
    return _lost_lease(db, rows)


def _lost_lease(db: Db, rows: BatchRows) -> Committed | None:
    """Return the refusal of a batch that ends what is not its owner's any more, or None."""
    batch = rows.batch
    if rows.finishes and not lite_work.holds(db, rows.finishes):
        return Committed(refused=Reason.LEASE_LOST)
    if batch.inbox_id is not None and not lite_inbox.holds(db, batch.owner, batch.inbox_id):
        return Committed(refused=Reason.LEASE_LOST)
    return None


def _write(db: Db, rows: BatchRows, room: _Room, done: Committed) -> None:
    batch = rows.batch
    done.version = version = room.version + 1
    done.start = start = room.count
    for offset, event in enumerate(rows.events):
        insert_event(db, room.seq, start + offset, version, event)
    if rows.target is not None:
        target = rows.target
        values = (target.visibility, target.doc, version, target.id, room.seq)
        if db.execute(_EDIT_EVENT, values).rowcount:
            db.execute(_EDITS_MOVED, (version, room.seq))
    if rows.members:
        _write_members(db, rows, room, version)
    count = start + len(rows.events)
    at = rows.activity_at
    if at is not None and room.is_later(at):
        moment = datetime.fromisoformat(at[1])
        due = due_after(room.status, room.inactive_after, room.closed_after, moment)
        db.execute(_COUNT_ACTIVE, (version, count, at[1], due, room.seq))
    else:
        db.execute(_COUNT, (version, count, room.seq))
    for task in rows.tasks:
        lite_rooms.add_task(db, task)
    for observation in rows.observations:
        lite_rooms.add_observation(db, observation)
    if batch.deliveries:
        done.left = lite_work.add(db, room.seq, batch.deliveries, batch.owner)


def _write_members(db: Db, rows: BatchRows, room: _Room, version: int) -> None:
    changed = rows.room
    if changed is not None:
        lite_rooms.write_room(db, changed)
        room.status, room.created = changed.status, changed.created_at
        room.last_activity_at = changed.last_activity_at
        room.inactive_after, room.closed_after = changed.inactive_after, changed.closed_after
    keys = (room.seq, room.status, room.created)
    for participant in rows.participants:
        lite_rooms.put_participant(db, keys, participant)
    for binding in rows.bindings:
        lite_rooms.put_binding(db, keys, binding)
    for channel_id in rows.batch.removed_bindings:
        lite_rooms.drop_binding(db, room.seq, channel_id)
    db.execute(_MEMBERS_MOVED, (version, room.seq))


def insert_event(db: Db, seq: int, index: int, version: int, event: EventRow) -> None:
    """Write a new event at its place.

    Raises:
        StoreError: Its id is taken, or its key in this room.
    """
    event_id, channel_id, key, visibility, results, doc = event
    values = (event_id, seq, index, version, channel_id, key, visibility, results, doc)
    lite_rooms.insert(db, _INSERT_EVENT, values, f"the event {event_id!r} or its idempotency key")


def add_event(db: Db, room_id: str, event: EventRow) -> tuple[int, int]:
    """Append an event; return its index and the room's version."""
    row = db.execute(_ROOM, (room_id,)).fetchone()
    if row is None:
        raise lite_rooms.unknown_room(room_id)
    room = _Room(row)
    version = room.version + 1
    insert_event(db, room.seq, room.count, version, event)
    db.execute(_COUNT, (version, room.count + 1, room.seq))
    return room.count, version


def update_event(db: Db, event: EventRow) -> tuple[str, int] | None:
    """Store a changed event at its place; return its room's id and version, None if unknown."""
    found = db.execute(
        "SELECT rooms.seq, rooms.id, rooms.version FROM events"
        " JOIN rooms ON rooms.seq = events.room WHERE events.id = ?",
        (event.id,),
    ).fetchone()
    if found is None:
        return None
    seq, room_id, version = found
    version += 1
    db.execute(_UPDATE_EVENT, (event.visibility, event.doc, event.results, version, event.id))
    db.execute(
        "UPDATE rooms SET version = ?, edits_version = ? WHERE seq = ?", (version, version, seq)
    )
    return room_id, version


def open_room(
    db: Db, claim: RoomClaim, row: RoomRow, binding: BindingRow, events: tuple[EventRow, ...]
) -> tuple[str, bool]:
    """Create a room with its binding and events unless the claim has an ACTIVE one.

    Returns:
        The room's id and whether it is new.
    """
    key = (
        "" if claim.organization_id is None else f"={claim.organization_id}",
        claim.channel_id,
        claim.sender_id,
    )
    known = db.execute(
        "SELECT rooms.id, rooms.status FROM room_claims JOIN rooms ON rooms.seq = room_claims.room"
        " WHERE organization = ? AND channel_id = ? AND sender_id = ?",
        key,
    ).fetchone()
    if known is not None and known[1] == RoomStatus.ACTIVE:
        return known[0], False
    if binding.room_id != row.id:
        raise StoreError(f"the first binding of room {row.id!r} belongs to another room")
    seq = lite_rooms.create_room(db, row)
    db.execute(
        "INSERT INTO room_claims (organization, channel_id, sender_id, room) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (organization, channel_id, sender_id) DO UPDATE SET room = excluded.room",
        (*key, seq),
    )
    lite_rooms.put_binding(db, (seq, row.status, row.created_at), binding)
    version = (seq << lite_rooms.VERSION_SHIFT) + 1
    for index, event in enumerate(events):
        insert_event(db, seq, index, version, event)
    db.execute(
        "UPDATE rooms SET version = ?, members_version = ?, event_count = ? WHERE seq = ?",
        (version, version, len(events), seq),
    )
    return row.id, True
