"""Reading: every question an SQLite store is asked. Runs in a reader's thread.

What is returned are rows; models are made of them where they are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from roomkit.models.enums import RoomStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.store._sql.lite_threads import Db

type Row = tuple[Any, ...]
type EventTuple = tuple[str, int, str | None]

NOT_FILED: Final = "not filed"
"""What ``room_for`` answers when nobody has asked for this channel and key before."""

_ROOM: Final = "SELECT doc, status, event_count, last_activity_at FROM rooms "
_GET_ROOM: Final = _ROOM + "WHERE id = ?"
LIST_ROOMS: Final = _ROOM + "ORDER BY seq LIMIT ? OFFSET ?"
_FIND_ROOMS: Final = {
    (False, False): _ROOM + "ORDER BY seq",
    (True, False): _ROOM + "WHERE organization_id = ? ORDER BY seq",
    (False, True): _ROOM + "WHERE status = ? ORDER BY seq",
    (True, True): _ROOM + "WHERE organization_id = ? AND status = ? ORDER BY seq",
}
_LATEST_MEMBER: Final = (
    "SELECT room_created, room FROM participants INDEXED BY participants_person"
    " WHERE id = ? AND room_status = ? ORDER BY room_created DESC, room DESC LIMIT 1"
)
_LATEST_BOUND: Final = (
    "SELECT room_created, room FROM bindings INDEXED BY bindings_person"
    " WHERE participant_id = ? AND room_status = ? ORDER BY room_created DESC, room DESC LIMIT 1"
)
_LATEST_BOUND_TYPE: Final = (
    "SELECT room_created, room FROM bindings INDEXED BY bindings_person_type"
    " WHERE participant_id = ? AND room_status = ? AND channel_type = ?"
    " ORDER BY room_created DESC, room DESC LIMIT 1"
)
_OLDEST_BOUND: Final = (
    "SELECT room FROM bindings INDEXED BY bindings_channel"
    " WHERE channel_id = ? AND room_status = ? ORDER BY room LIMIT 1"
)
_ROOM_ID: Final = "SELECT id FROM rooms WHERE seq = ?"
_FILED: Final = "SELECT 1 FROM route_keys WHERE channel_id = ? AND recipient_key = ?"
_NAMED: Final = (
    "SELECT room FROM room_names WHERE channel_id = ? AND recipient_key = ? AND name = ?"
    " AND room_status = ? ORDER BY room LIMIT 1"
)
_DUE: Final = "SELECT id FROM rooms INDEXED BY rooms_due WHERE due_at < ? ORDER BY seq"
_EVENT: Final = "SELECT doc, idx, results FROM events "
GET_EVENT: Final = _EVENT + "WHERE id = ?"
_PAGE: Final = (
    "SELECT doc, idx, results FROM events"
    " WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND idx >= ? AND idx < ? ORDER BY idx"
)
_VISIBLE_PAGE: Final = (
    "SELECT doc, idx, results FROM events INDEXED BY events_visibility"
    " WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND visibility = ?"
    " ORDER BY idx LIMIT ? OFFSET ?"
)
BY_KEY: Final = (
    "SELECT doc, idx, results FROM events"
    " WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND key = ?"
)
BY_CHANNEL_KEY: Final = _EVENT + (
    "INDEXED BY events_channel_key WHERE channel_id = ? AND key = ? ORDER BY seq LIMIT 1"
)
_BY_MESSAGE_ID: Final = (
    "SELECT e.doc, e.idx, e.results, s.channel_id FROM sent_messages s"
    " JOIN events e ON e.id = s.event_id WHERE s.provider_message_id = ?",
    "SELECT e.doc, e.idx, e.results, d.channel_id FROM deliveries d INDEXED BY deliveries_message"
    " JOIN events e ON e.id = d.event_id WHERE d.message_id = ? ORDER BY d.seq DESC LIMIT 1",
)
BINDINGS: Final = (
    "SELECT doc FROM bindings WHERE room = (SELECT seq FROM rooms WHERE id = ?) ORDER BY seq"
)
BINDING: Final = (
    "SELECT doc FROM bindings WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND channel_id = ?"
)
PARTICIPANTS: Final = (
    "SELECT doc FROM participants WHERE room = (SELECT seq FROM rooms WHERE id = ?) ORDER BY seq"
)
PARTICIPANT: Final = (
    "SELECT doc FROM participants WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND id = ?"
)
IDENTITY: Final = "SELECT doc FROM identities WHERE id = ?"
RESOLVE: Final = (
    "SELECT i.doc FROM identity_addresses a JOIN identities i ON i.id = a.identity_id"
    " WHERE a.channel_type = ? AND a.address = ?"
)
TASK: Final = "SELECT doc FROM tasks WHERE id = ?"
_TASKS: Final = "SELECT doc FROM tasks WHERE room = (SELECT seq FROM rooms WHERE id = ?)"
ALL_TASKS: Final = _TASKS + " ORDER BY seq"
TASKS_OF_STATUS: Final = _TASKS + " AND status = ? ORDER BY seq"
OBSERVATIONS: Final = (
    "SELECT doc FROM observations WHERE room = (SELECT seq FROM rooms WHERE id = ?) ORDER BY seq"
)
UNREAD: Final = (
    "SELECT r.event_count - 1 - coalesce(m.idx, -1) FROM rooms r"
    " LEFT JOIN read_markers m ON m.room = r.seq AND m.channel_id = ? WHERE r.id = ?"
)
_LOOK: Final = (
    "SELECT seq, version, members_version, edits_version, event_count, last_activity_at, status"
    " FROM rooms WHERE id = ?"
)
_ROOM_DOC: Final = "SELECT doc FROM rooms WHERE seq = ?"
_MEMBERS: Final = (
    "SELECT doc FROM bindings WHERE room = ? ORDER BY seq",
    "SELECT doc FROM participants WHERE room = ? ORDER BY seq",
)
_CHANGED: Final = _EVENT + "WHERE room = ? AND idx >= ? AND version > ? ORDER BY idx"
_KEY_OF: Final = _EVENT + "WHERE room = ? AND key = ?"


def one(db: Db, sql: str, values: tuple[Any, ...]) -> Row | None:
    """Return the first row of a question."""
    row: Row | None = db.execute(sql, values).fetchone()
    return row


def many(db: Db, sql: str, values: tuple[Any, ...]) -> list[Row]:
    """Return all rows of a question."""
    return db.execute(sql, values).fetchall()


def room(db: Db, room_id: str) -> Row | None:
    """Return a room."""
    return one(db, _GET_ROOM, (room_id,))


def find_rooms(db: Db, organization_id: str | None, status: str | None) -> list[Row]:
    """Return the rooms of a tenant, of a status, or both, oldest first."""
    given = tuple(value for value in (organization_id, status) if value is not None)
    return many(db, _FIND_ROOMS[organization_id is not None, status is not None], given)


def latest_room(
    db: Db, participant_id: str, channel_type: str | None, status: str | None
) -> Row | None:
    """Return the newest room a person takes part in."""
    best: Row | None = None
    for state in _statuses(status):
        found = [one(db, _LATEST_MEMBER, (participant_id, state))]
        if channel_type is None:
            found.append(one(db, _LATEST_BOUND, (participant_id, state)))
        else:
            found.append(one(db, _LATEST_BOUND_TYPE, (participant_id, state, channel_type)))
        for row in found:
            if row is not None and (best is None or row > best):
                best = row
    return None if best is None else one(db, _ROOM + "WHERE seq = ?", (best[1],))


def room_of_channel(db: Db, channel_id: str, status: str | None) -> str | None:
    """Return the id of the oldest room of a channel."""
    found = [one(db, _OLDEST_BOUND, (channel_id, state)) for state in _statuses(status)]
    return _room_id(db, min((row[0] for row in found if row is not None), default=None))


def room_for(
    db: Db, channel_id: str, key: str, names: Sequence[str], statuses: Sequence[str]
) -> str | None:
    """Return the id of the oldest room under the first name that has one.

    ``NOT_FILED`` when the names of this channel are not kept under the key yet.
    """
    if one(db, _FILED, (channel_id, key)) is None:
        return NOT_FILED
    for name in names:
        for status in statuses:
            row = one(db, _NAMED, (channel_id, key, name, status))
            if row is not None:
                return _room_id(db, row[0])
    return None


def _statuses(status: str | None) -> Sequence[str]:
    return _ALL_STATUSES if status is None else (status,)


_ALL_STATUSES: Final = tuple(status.value for status in RoomStatus)


def _room_id(db: Db, seq: int | None) -> str | None:
    row = None if seq is None else one(db, _ROOM_ID, (seq,))
    return None if row is None else row[0]


def due_rooms(db: Db, now: float) -> list[str]:
    """Return the ids of rooms whose timers have run out, oldest first."""
    return [row[0] for row in db.execute(_DUE, (now,))]


def event(db: Db, event_id: str) -> Row | None:
    """Return an event."""
    return one(db, GET_EVENT, (event_id,))


def by_message_id(db: Db, message_id: str) -> Row | None:
    """Return the event a vendor's message id belongs to, and the channel it was sent by."""
    found = (one(db, sql, (message_id,)) for sql in _BY_MESSAGE_ID)
    return next((row for row in found if row is not None), None)


def events(db: Db, room_id: str, offset: int, limit: int, visibility: str | None) -> list[Row]:
    """Return a page of a timeline; indexes have no gap, so that a page is a range of them."""
    if visibility is None:
        return many(db, _PAGE, (room_id, offset, offset + limit))
    return many(db, _VISIBLE_PAGE, (room_id, visibility, limit, offset))


def delivery(
    db: Db, room_id: str, event_id: str, channel_id: str
) -> tuple[Row | None, Row | None]:
    """Return an event and a binding."""
    return event(db, event_id), one(db, BINDING, (room_id, channel_id))


class Look(NamedTuple):
    """A room's row and what of it its asker does not know.

    Attributes:
        version: The room's version, like the next two.
        members_version: The version at the last change of its members.
        edits_version: The version at the last edit of an event.
        event_count: How many events it has.
        last_activity_at: When the last message was said, in ISO 8601.
        status: Its status.
        events: Recent events that changed.
        members: The room's, bindings' and participants' documents, if they changed.
        keyed: The event of the key asked for.
    """

    version: int
    members_version: int
    edits_version: int
    event_count: int
    last_activity_at: str | None
    status: str
    events: list[Row]
    members: tuple[str, list[Row], list[Row]] | None
    keyed: Row | None


def look(
    db: Db, room_id: str, known: tuple[int, int] | None, key: str | None, recent: int
) -> Look | None:
    """Return what moved in a room since a version and a version of its members."""
    row = one(db, _LOOK, (room_id,))
    if row is None:
        return None
    seq, version, members_version, edits_version, count, last_activity_at, status = row
    shown = (version, members_version, edits_version, count, last_activity_at, status)
    if key is not None:
        keyed = one(db, _KEY_OF, (seq, key))
        if keyed is not None:
            return Look(*shown, events=[], members=None, keyed=keyed)
    seen, seen_members = (-1, -1) if known is None else known
    changed: list[Row] = []
    if version != seen:
        changed = many(db, _CHANGED, (seq, max(0, count - recent), seen))
    members = None
    if members_version > seen_members:
        doc = db.execute(_ROOM_DOC, (seq,)).fetchone()[0]
        members = (doc, many(db, _MEMBERS[0], (seq,)), many(db, _MEMBERS[1], (seq,)))
    return Look(*shown, events=changed, members=members, keyed=None)
