"""Dead letters, figures and clearing away of both queues."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from roomkit.models.reasons import Reason
from roomkit.store._sql import lite_inbox, lite_work
from roomkit.store.durable import DeadLetter, QueueStats, WorkStats

if TYPE_CHECKING:
    from roomkit.store._sql.lite_threads import Db

EXPIRE_LIMIT: Final = 1000
PURGE_STEP: Final = 500
"""How many rows one transaction removes at most: others want to write too."""

_LETTERS: Final = (
    "SELECT * FROM ("
    "SELECT d.id, d.kind, d.channel_id, r.id AS room_id, d.event_id, d.attempts, d.error,"
    " d.finished_at, d.seq FROM deliveries d INDEXED BY deliveries_dead"
    " JOIN rooms r ON r.seq = d.room WHERE d.status = 'dead'"
    " UNION ALL SELECT id, 'inbox', channel_id, NULL, NULL, attempts, error, finished_at, seq"
    " FROM inbox INDEXED BY inbox_dead WHERE status = 'dead')"
    " WHERE (:kind IS NULL OR kind = :kind) AND (:room_id IS NULL OR room_id = :room_id)"
    " AND (:channel_id IS NULL OR channel_id = :channel_id)"
    " ORDER BY finished_at DESC, seq DESC LIMIT :limit OFFSET :offset"
)
# Numbers of their own, last of all: a retried one comes after what its lane holds already.
_RETRY_DELIVERY: Final = (
    "UPDATE deliveries SET seq = (SELECT max(seq) + 1 FROM deliveries), status = 'pending',"
    " attempts = 0, error = NULL, owner = NULL, due_at = ?, finished_at = NULL"
    " WHERE id = ? AND status = 'dead' RETURNING room, channel_id"
)
_RETRY_INBOX: Final = (
    "UPDATE inbox SET seq = (SELECT max(seq) + 1 FROM inbox), status = 'pending',"
    " attempts = 0, error = NULL, owner = NULL, due_at = ?, finished_at = NULL"
    " WHERE id = ? AND status = 'dead' RETURNING channel_id, sender_id"
)
_DISCARD: Final = (
    "UPDATE deliveries SET status = 'skipped' WHERE id = ? AND status = 'dead'",
    "UPDATE inbox SET status = 'skipped' WHERE id = ? AND status = 'dead'",
)
_DELIVERY_STATS: Final = (
    "SELECT count(*), coalesce(sum(due_at <= ?), 0), min(created_at), coalesce(sum(attempts), 0)"
    " FROM deliveries INDEXED BY deliveries_open WHERE status = 'pending'"
)
_INBOX_STATS: Final = (
    "SELECT count(*), coalesce(sum(due_at <= ?), 0), min(created_at), coalesce(sum(attempts), 0)"
    " FROM inbox INDEXED BY inbox_open WHERE status = 'pending'"
)
_DEAD_DELIVERIES: Final = (
    "SELECT count(*) FROM deliveries INDEXED BY deliveries_dead WHERE status = 'dead'"
)
_DEAD_INBOX: Final = "SELECT count(*) FROM inbox INDEXED BY inbox_dead WHERE status = 'dead'"
_KEEP_MESSAGE_IDS: Final = (
    "INSERT OR IGNORE INTO sent_messages (provider_message_id, event_id, channel_id, room)"
    " SELECT message_id, event_id, channel_id, room FROM deliveries WHERE seq IN"
    " (SELECT seq FROM deliveries INDEXED BY deliveries_ended"
    " WHERE finished_at < ? AND status IN ('done', 'skipped')"
    " ORDER BY finished_at, seq LIMIT ?)"
    " AND message_id IS NOT NULL"
)
_KEEP_MESSAGE_ID: Final = (
    "INSERT OR IGNORE INTO sent_messages (provider_message_id, event_id, channel_id, room)"
    " SELECT message_id, event_id, channel_id, room FROM deliveries"
    " WHERE id = ? AND status = 'dead' AND message_id IS NOT NULL"
)
_PURGE: Final = (
    "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries INDEXED BY deliveries_ended"
    " WHERE finished_at < ? AND status IN ('done', 'skipped')"
    " ORDER BY finished_at, seq LIMIT ?)",
    "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox INDEXED BY inbox_ended"
    " WHERE finished_at < ? AND status IN ('done', 'skipped')"
    " ORDER BY finished_at, seq LIMIT ?)",
)
_WAITING_LANES: Final = (
    "SELECT seq, room, channel_id FROM deliveries INDEXED BY deliveries_ready"
    " WHERE head = 1 AND owner IS NULL AND created_at <= ?"
    " AND channel_id NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_ABANDONED_LANES: Final = (
    "SELECT seq, room, channel_id FROM deliveries INDEXED BY deliveries_open"
    " WHERE status = 'pending' AND owner = ? AND head = 1 AND created_at <= ?"
    " AND channel_id NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_OLD_RECORDS: Final = (
    "SELECT seq, owner, id, kind, channel_id, event_id, attempts FROM deliveries"
    " INDEXED BY deliveries_lane"
    " WHERE room = ? AND status = 'pending' AND channel_id = ? AND created_at <= ?"
    " ORDER BY seq LIMIT ?"
)
_EXPIRE: Final = (
    "UPDATE deliveries SET status = 'dead', error = ?, finished_at = ?, owner = NULL, head = 0"
    " WHERE seq = ?"
)


def letters(
    db: Db,
    kind: str | None,
    room_id: str | None,
    channel_id: str | None,
    offset: int,
    limit: int,
) -> list[DeadLetter]:
    """Return work that was given up, latest first."""
    rows = db.execute(
        _LETTERS,
        {
            "kind": kind,
            "room_id": room_id,
            "channel_id": channel_id,
            "offset": max(0, offset),
            "limit": max(0, limit),
        },
    )
    return [
        DeadLetter(letter_id, what, channel, room, event, attempts, error, _moment(died))
        for letter_id, what, channel, room, event, attempts, error, died, _ in rows
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def retry(db: Db, letter_id: str) -> bool:
    """Make a dead letter pending, due and untried; False if there is none of this id."""
    now = db.now()
    # The next attempt may get another id from the vendor; word of this one may still come.
    db.execute(_KEEP_MESSAGE_ID, (letter_id,))
    lane = db.execute(_RETRY_DELIVERY, (now, letter_id)).fetchone()
    if lane is not None:
        lite_work.advance(db, lane, now)
        return True
    sender = db.execute(_RETRY_INBOX, (now, letter_id)).fetchone()
    if sender is not None:
        lite_inbox.advance(db, sender)
    return sender is not None


def discard(db: Db, letter_id: str) -> bool:
    """Make a dead letter SKIPPED; False if there is none of this id."""
    return any(db.execute(sql, (letter_id,)).rowcount for sql in _DISCARD)


def expire(db: Db, older_than: float) -> list[DeadLetter]:
    """Let records die that wait for a channel no living worker has."""
    now = db.now()
    living = lite_work.alive(db)
    served = {
        channel
        for owner, channels in db.execute("SELECT owner, channels FROM workers")
        if owner in living
        for channel in json.loads(channels)
    }
    wanted = json.dumps(sorted(served))
    before = now - older_than
    lanes = db.execute(_WAITING_LANES, (before, wanted, EXPIRE_LIMIT)).fetchall()
    lost = lite_work.lost_owners(db)
    for owner in lost:
        lanes += db.execute(_ABANDONED_LANES, (owner, before, wanted, EXPIRE_LIMIT)).fetchall()
    died: list[DeadLetter] = []
    for _, room, channel_id in sorted(lanes):
        if len(died) >= EXPIRE_LIMIT:
            break
        more = EXPIRE_LIMIT - len(died)
        died += _expire_lane(db, (room, channel_id), before, lost, now, more)
    return died


def _expire_lane(
    db: Db, lane: tuple[int, str], before: float, lost: list[str], now: float, limit: int
) -> list[DeadLetter]:
    room_id = db.execute("SELECT id FROM rooms WHERE seq = ?", (lane[0],)).fetchone()[0]
    died: list[DeadLetter] = []
    reason = Reason.NOT_REGISTERED.value
    for row in db.execute(_OLD_RECORDS, (*lane, before, limit)).fetchall():
        seq, owner, record_id, kind, channel_id, event_id, attempts = row
        if owner is not None and owner not in lost:
            continue
        db.execute(_EXPIRE, (reason, now, seq))
        died.append(
            DeadLetter(
                record_id, kind, channel_id, room_id, event_id, attempts, reason, _moment(now)
            )
        )
    lite_work.advance(db, lane, now)
    return died


def stats(db: Db) -> WorkStats:
    """Return figures of both queues."""
    now = db.now()
    return WorkStats(
        deliveries=_queue(db, _DELIVERY_STATS, _DEAD_DELIVERIES, now),
        inbox=_queue(db, _INBOX_STATS, _DEAD_INBOX, now),
        workers=len(lite_work.alive(db)),
    )


def _queue(db: Db, sql: str, dead: str, now: float) -> QueueStats:
    depth, due, oldest, attempts = db.execute(sql, (now,)).fetchone()
    return QueueStats(
        depth=depth,
        due=due,
        lag=0.0 if oldest is None else max(0.0, now - oldest),
        attempts=attempts,
        dead=db.execute(dead).fetchone()[0],
    )


def purge(db: Db, before: float) -> int:
    """Remove some rows that ended before a time; return how many, 0 when none is left.

    Dead letters stay until somebody has decided about them. What vendors call the messages is
    kept: they may speak of them for days.
    """
    db.execute(_KEEP_MESSAGE_IDS, (before, PURGE_STEP))
    return sum(db.execute(sql, (before, PURGE_STEP)).rowcount for sql in _PURGE)
