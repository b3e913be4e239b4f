"""Delivery records: lanes, claims and ends. Runs in the writer's thread.

A lane is the pending records of one room and channel in the order of their numbers. Its first
record bears ``head``, so that what is due and nobody's is found without a look at what waits
behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from roomkit.store._sql.codec import dump_json, load_json
from roomkit.store.commit import DeliveryKind, RecordStatus
from roomkit.store.durable import DEAD_AFTER, DeliveryRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from roomkit.store._sql.lite_rows import FinishRow
    from roomkit.store._sql.lite_threads import Db
    from roomkit.store.commit import DeliveryPlan
    from roomkit.store.durable import LaneKey

type Lane = tuple[int, str]
"""A room's number and a channel id."""

RESULTS_STEP: Final = 4096
"""How many characters results may grow by until what was replaced in them is thrown out."""

_LAST_OWNER: Final = (
    "SELECT owner FROM deliveries INDEXED BY deliveries_lane"
    " WHERE room = ? AND status = 'pending' AND channel_id = ?"
    " ORDER BY seq DESC LIMIT 1"
)
_FIRST: Final = (
    "SELECT seq, owner, due_at, head FROM deliveries INDEXED BY deliveries_lane"
    " WHERE room = ? AND status = 'pending' AND channel_id = ? ORDER BY seq LIMIT 1"
)
_INSERT: Final = (
    "INSERT INTO deliveries (id, room, event_id, channel_id, kind, direct, head, owner, due_at,"
    " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_HELD: Final = "SELECT 1 FROM deliveries WHERE id = ? AND status = 'pending' AND owner = ?"
_PLACE: Final = "SELECT room, channel_id FROM deliveries WHERE id = ?"
_END: Final = (
    "UPDATE deliveries SET status = ?, attempts = max(attempts, ?), error = ?, finished_at = ?,"
    " message_id = ?, owner = NULL, head = 0 WHERE id = ? AND status = 'pending' AND owner = ?"
    " RETURNING room, channel_id"
)
_POSTPONE: Final = (
    "UPDATE deliveries SET attempts = ?, error = ?, due_at = ?, owner = NULL"
    " WHERE id = ? AND status = 'pending' AND owner = ? RETURNING room, channel_id"
)
_GIVE_BACK: Final = (
    "UPDATE deliveries INDEXED BY deliveries_lane SET owner = NULL"
    " WHERE room = ? AND status = 'pending' AND channel_id = ? AND owner = ?"
)
_SET_HEAD: Final = "UPDATE deliveries SET head = 1 WHERE seq = ?"
# A later value of a name counts, so that an end need not read what is there.
_ADD_RESULTS: Final = (
    "UPDATE events SET version = ?, results ="
    " CASE WHEN results IS NULL THEN '{' ELSE substr(results, 1, length(results) - 1) || ',' END"
    " || ? || '}' WHERE id = ? RETURNING length(results)"
)
_RESULTS: Final = "SELECT results FROM events WHERE id = ?"
_SET_RESULTS: Final = "UPDATE events SET results = ? WHERE id = ?"
_ROOM_MOVED: Final = "UPDATE rooms SET version = version + 1 WHERE seq = ? RETURNING id, version"
_SENT: Final = (
    "INSERT INTO sent_messages (provider_message_id, event_id, channel_id, room)"
    " SELECT :message_id, :event_id, :channel_id, :room WHERE NOT EXISTS (SELECT 1"
    " FROM deliveries INDEXED BY deliveries_message WHERE message_id = :message_id"
    " AND event_id = :event_id AND channel_id = :channel_id)"
    " ON CONFLICT (provider_message_id) DO UPDATE SET event_id = excluded.event_id,"
    " channel_id = excluded.channel_id, room = excluded.room"
)
_READY: Final = (
    "SELECT seq, room, channel_id FROM deliveries INDEXED BY deliveries_ready"
    " WHERE head = 1 AND owner IS NULL AND due_at <= ?"
    " AND channel_id IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_ABANDONED: Final = (
    "SELECT seq, room, channel_id FROM deliveries INDEXED BY deliveries_open"
    " WHERE status = 'pending' AND owner = ? AND head = 1 AND due_at <= ?"
    " AND channel_id IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_LANE_RECORDS: Final = (
    "SELECT seq, owner, due_at, id, event_id, kind, direct, attempts FROM deliveries"
    " INDEXED BY deliveries_lane"
    " WHERE room = ? AND status = 'pending' AND channel_id = ? ORDER BY seq LIMIT ?"
)
_NEXT_OWNER: Final = (
    "SELECT owner FROM deliveries INDEXED BY deliveries_open"
    " WHERE status = 'pending' AND owner > ? ORDER BY owner LIMIT 1"
)
_CLAIM: Final = "UPDATE deliveries SET owner = ? WHERE seq = ?"
_KNOWN_ROOM: Final = "SELECT seq FROM rooms WHERE id = ?"


@dataclass(slots=True)
class FinishedRoom:
    """What finishes did to a room.

    Attributes:
        version: Its version after them.
        results: Event id to what was added to its delivery results.
    """

    version: int
    results: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Finished:
    """What finishes did: to rooms, by id, and the lanes that wait for somebody."""

    rooms: dict[str, FinishedRoom]
    lanes: set[LaneKey]


# -- written by a commit -------------------------------------------------------------------


def add(db: Db, room: int, plans: Iterable[DeliveryPlan], owner: str | None) -> frozenset[str]:
    """Write the records of a batch; return the ids its owner did not get."""
    now = db.now()
    left: list[str] = []
    for plan in plans:
        last = db.execute(_LAST_OWNER, (room, plan.channel_id)).fetchone()
        free = last is None or (
            owner is not None
            and last[0] == owner
            and db.execute(_FIRST, (room, plan.channel_id)).fetchone()[1] == owner
        )
        holder = owner if free and plan.claim else None
        if holder is None:
            left.append(plan.id)
        db.execute(
            _INSERT,
            (
                plan.id,
                room,
                plan.event_id,
                plan.channel_id,
                str(plan.kind),
                plan.direct,
                last is None,
                holder,
                now,
                now,
            ),
        )
    return frozenset(left)


def holds(db: Db, finishes: Iterable[FinishRow]) -> bool:
    """Return whether every fenced finish is of a record its owner still holds."""
    return all(
        finish.owner is None or db.execute(_HELD, (finish.id, finish.owner)).fetchone() is not None
        for finish in finishes
    )


# -- ends ----------------------------------------------------------------------------------


def finish(db: Db, finishes: Sequence[FinishRow]) -> Finished:
    """End deliveries, or put them off, and keep their results."""
    now = db.now()
    lanes: dict[Lane, None] = {}
    results: dict[str, list[FinishRow]] = {}
    rooms: dict[str, int | None] = {}
    for row in finishes:
        place, counts = _end(db, row, now)
        if place is not None:
            lanes[place] = None
            rooms[row.event_id] = place[0]
        if counts and row.result is not None:
            results.setdefault(row.event_id, []).append(row)
    moved = _keep(db, results, rooms)
    waiting = set()
    for lane in lanes:
        if advance(db, lane, now):
            room_id = db.execute("SELECT id FROM rooms WHERE seq = ?", (lane[0],)).fetchone()[0]
            waiting.add((room_id, lane[1]))
    return Finished(moved, waiting)


def _end(db: Db, row: FinishRow, now: float) -> tuple[Lane | None, bool]:
    """Return the lane of an end, if known, and whether its result counts."""
    if row.owner is None:
        return None, True
    if row.status != RecordStatus.PENDING:
        values = (row.status, row.attempts, row.error, now, row.message_id, row.id, row.owner)
        ended: Lane | None = db.execute(_END, values).fetchone()
    else:
        due = now + max(0.0, row.retry_in or 0.0)
        postponed = (row.attempts, row.error, due, row.id, row.owner)
        ended = db.execute(_POSTPONE, postponed).fetchone()
        if ended is not None:
            db.execute(_GIVE_BACK, (*ended, row.owner))
    if ended is not None:
        return ended, True
    known: Lane | None = db.execute(_PLACE, (row.id,)).fetchone()
    return known, False


def _keep(
    db: Db, results: Mapping[str, list[FinishRow]], rooms: Mapping[str, int | None]
) -> dict[str, FinishedRoom]:
    """Add results to their events and move the versions of their rooms."""
    by_room: dict[int, list[str]] = {}
    for event_id in results:
        room = rooms.get(event_id)
        if room is None:
            found = db.execute("SELECT room FROM events WHERE id = ?", (event_id,)).fetchone()
            if found is None:
                continue  # the event is gone, and its results with it
            room = found[0]
        by_room.setdefault(room, []).append(event_id)
    moved: dict[str, FinishedRoom] = {}
    for room, event_ids in by_room.items():
        room_id, version = db.execute(_ROOM_MOVED, (room,)).fetchone()
        told = moved[room_id] = FinishedRoom(version)
        for event_id in event_ids:
            rows = results[event_id]
            text = ",".join([row.result for row in rows if row.result is not None])
            _append(db, event_id, version, text)
            told.results[event_id] = {row.channel_id: row.given for row in rows}
            for row in rows:
                if row.message_id is not None and not _in_record(row):
                    db.execute(
                        _SENT,
                        {
                            "message_id": row.message_id,
                            "event_id": event_id,
                            "channel_id": row.channel_id,
                            "room": room,
                        },
                    )
    return moved


def _append(db: Db, event_id: str, version: int, text: str) -> None:
    """Add results to an event; now and then throw out those that were replaced since."""
    row = db.execute(_ADD_RESULTS, (version, text, event_id)).fetchone()
    if row is None:
        return
    size: int = row[0]
    if size // RESULTS_STEP > max(0, size - len(text) - 1) // RESULTS_STEP:
        results = db.execute(_RESULTS, (event_id,)).fetchone()[0]
        db.execute(_SET_RESULTS, (dump_json(load_json(results)), event_id))


def _in_record(row: FinishRow) -> bool:
    """Return whether the vendor's id of the message is kept in the delivery's own record."""
    return row.owner is not None and row.status != RecordStatus.PENDING


def advance(db: Db, lane: Lane, now: float) -> bool:
    """Mark the first record of a lane; return whether it is due and unclaimed."""
    first = db.execute(_FIRST, lane).fetchone()
    if first is None:
        return False
    seq, owner, due_at, head = first
    if not head:
        db.execute(_SET_HEAD, (seq,))
    return owner is None and due_at <= now


# -- claims --------------------------------------------------------------------------------


def alive(db: Db) -> set[str]:
    """Return the workers that have beaten lately."""
    since = db.now() - DEAD_AFTER
    return {row[0] for row in db.execute("SELECT owner FROM workers WHERE beat_at > ?", (since,))}


def _owners(db: Db, next_owner: str) -> Iterable[str]:
    """Yield who holds records, one step of the index each."""
    owner = ""
    while (row := db.execute(next_owner, (owner,)).fetchone()) is not None:
        owner = row[0]
        yield owner


def lost_owners(db: Db, next_owner: str = _NEXT_OWNER) -> list[str]:
    """Return the workers that hold work and are dead or forgotten."""
    living = alive(db)
    return [owner for owner in _owners(db, next_owner) if owner not in living]


def claim(
    db: Db,
    owner: str,
    channels: Collection[str],
    lanes: Collection[LaneKey] | None,
    limit: int,
    per_lane: int,
) -> list[DeliveryRecord]:
    """Claim the records of lanes whose first one is due and nobody's."""
    now = db.now()
    lost = lost_owners(db)
    if lanes is None:
        heads = _heads(db, dump_json(list(channels)), lost, now, limit)
    else:
        heads = _heads_of(db, set(channels), lanes, lost, now)[:limit]
    records: list[DeliveryRecord] = []
    for _, room, channel_id in heads:
        records += _take(db, owner, (room, channel_id), lost, now, per_lane)
    return records


def _heads(
    db: Db, channels: str, lost: list[str], now: float, limit: int
) -> list[tuple[int, int, str]]:
    """Return the first records of lanes anybody may take, oldest first."""
    found = db.execute(_READY, (now, channels, limit)).fetchall()
    for dead in lost:
        found += db.execute(_ABANDONED, (dead, now, channels, limit)).fetchall()
    found.sort(key=_by_seq)
    return found[:limit]


def _heads_of(
    db: Db, channels: set[str], lanes: Collection[LaneKey], lost: list[str], now: float
) -> list[tuple[int, int, str]]:
    """Return the first records of the given lanes that anybody may take, oldest first."""
    found: list[tuple[int, int, str]] = []
    for room_id, channel_id in dict.fromkeys(lanes):
        room = db.execute(_KNOWN_ROOM, (room_id,)).fetchone()
        if room is None or channel_id not in channels:
            continue
        first = db.execute(_FIRST, (room[0], channel_id)).fetchone()
        if first is None:
            continue
        seq, owner, due_at, _ = first
        if due_at <= now and (owner is None or owner in lost):
            found.append((seq, room[0], channel_id))
    found.sort(key=_by_seq)
    return found


def _by_seq(head: tuple[int, int, str]) -> int:
    return head[0]


def _take(
    db: Db, owner: str, lane: Lane, lost: list[str], now: float, per_lane: int
) -> list[DeliveryRecord]:
    """Claim a lane from its first record on."""
    room, channel_id = lane
    room_id = db.execute("SELECT id FROM rooms WHERE seq = ?", (room,)).fetchone()[0]
    taken: list[DeliveryRecord] = []
    for row in db.execute(_LANE_RECORDS, (*lane, per_lane)).fetchall():
        seq, holder, due_at, record_id, event_id, kind, direct, attempts = row
        if due_at > now or (holder is not None and holder not in lost):
            break
        db.execute(_CLAIM, (owner, seq))
        taken.append(
            DeliveryRecord(
                record_id,
                room_id,
                event_id,
                channel_id,
                DeliveryKind(kind),
                bool(direct),
                attempts,
            )
        )
    # What else a dead worker held of it comes after ours and must not look taken.
    for dead in lost:
        if dead != owner:
            db.execute(_GIVE_BACK, (*lane, dead))
    return taken


def release(db: Db, owner: str, known: Collection[str], older_than: float) -> int:
    """Make unclaimed what a worker holds without knowing of it; return how many."""
    return db.execute(
        "UPDATE deliveries SET owner = NULL WHERE status = 'pending' AND owner = ?"
        " AND created_at <= ? AND id NOT IN (SELECT value FROM json_each(?))",
        (owner, db.now() - older_than, dump_json(list(known))),
    ).rowcount
