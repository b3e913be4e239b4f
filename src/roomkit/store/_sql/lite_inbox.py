"""Inbox rows and workers. Runs in the writer's thread.

The rows of one channel and sender are a queue of their own; its first pending row bears
``head``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from roomkit.store._sql.codec import dump_json
from roomkit.store._sql.lite_work import lost_owners
from roomkit.store.commit import RecordStatus
from roomkit.store.durable import InboxRow

if TYPE_CHECKING:
    from collections.abc import Collection

    from roomkit.store._sql.lite_threads import Db

FORGET_AFTER: Final = 3600.0
"""Seconds after which a worker that is dead is forgotten; both leave its claims to others."""

_BY_KEY: Final = (
    "SELECT seq, id, status, owner, attempts FROM inbox WHERE channel_id = ? AND key = ?"
)
_FIRST: Final = (
    "SELECT seq, head FROM inbox INDEXED BY inbox_lane"
    " WHERE status = 'pending' AND channel_id = ? AND sender_id = ? ORDER BY seq LIMIT 1"
)
_INSERT: Final = (
    "INSERT INTO inbox (id, channel_id, sender_id, key, head, due_at, created_at, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_HELD: Final = "SELECT 1 FROM inbox WHERE id = ? AND status = 'pending' AND owner = ?"
_SENDER: Final = "SELECT channel_id, sender_id FROM inbox WHERE id = ?"
_END: Final = (
    "UPDATE inbox SET status = ?, attempts = attempts + ?, error = ?, finished_at = ?,"
    " owner = NULL, head = 0 WHERE id = ?"
)
_POSTPONE: Final = (
    "UPDATE inbox SET attempts = attempts + 1, error = ?, due_at = ?, owner = NULL WHERE id = ?"
)
_GIVE_BACK: Final = (
    "UPDATE inbox SET owner = NULL"
    " WHERE status = 'pending' AND channel_id = ? AND sender_id = ? AND owner = ?"
)
_READY: Final = (
    "SELECT seq, channel_id, sender_id FROM inbox INDEXED BY inbox_ready"
    " WHERE head = 1 AND owner IS NULL AND due_at <= ?"
    " AND channel_id IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_ABANDONED: Final = (
    "SELECT seq, channel_id, sender_id FROM inbox INDEXED BY inbox_open"
    " WHERE status = 'pending' AND owner = ? AND head = 1 AND due_at <= ?"
    " AND channel_id IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_NEXT_OWNER: Final = (
    "SELECT owner FROM inbox INDEXED BY inbox_open"
    " WHERE status = 'pending' AND owner > ? ORDER BY owner LIMIT 1"
)
_ROWS: Final = (
    "SELECT seq, owner, due_at, id, key, payload, attempts FROM inbox INDEXED BY inbox_lane"
    " WHERE status = 'pending' AND channel_id = ? AND sender_id = ? ORDER BY seq LIMIT ?"
)


# -- workers -------------------------------------------------------------------------------


def beat(db: Db, owner: str, channels: Collection[str] | None, instead_of: str | None) -> None:
    """Say that a worker lives, with its channels."""
    now = db.now()
    if instead_of is not None and instead_of != owner:
        db.execute("DELETE FROM workers WHERE owner = ?", (instead_of,))
    db.execute(
        "INSERT INTO workers (owner, channels, beat_at) VALUES (?, ?, ?)"
        " ON CONFLICT (owner) DO UPDATE SET channels = excluded.channels,"
        " beat_at = excluded.beat_at",
        (owner, dump_json(sorted(channels or ())), now),
    )
    db.execute("DELETE FROM workers WHERE beat_at < ?", (now - FORGET_AFTER,))


def retire(db: Db, owner: str) -> None:
    """Forget a worker and make its claims unclaimed."""
    db.execute("DELETE FROM workers WHERE owner = ?", (owner,))
    db.execute(
        "UPDATE deliveries SET owner = NULL WHERE status = 'pending' AND owner = ?", (owner,)
    )
    release(db, owner)


# -- rows ----------------------------------------------------------------------------------


def accept(db: Db, row: InboxRow, delay: float, replace: bool) -> tuple[str, bool]:
    """Keep a message once per channel and key; return its row's id and whether it is new."""
    now = db.now()
    due = now + max(0.0, delay)
    known = db.execute(_BY_KEY, (row.channel_id, row.key)).fetchone()
    if known is None:
        first = db.execute(_FIRST, (row.channel_id, row.sender_id)).fetchone() is None
        db.execute(
            _INSERT,
            (row.id, row.channel_id, row.sender_id, row.key, first, due, now, row.payload),
        )
        return row.id, True
    seq, row_id, status, owner, attempts = known
    if not replace or status != RecordStatus.PENDING or owner is not None or attempts:
        return row_id, False
    db.execute("UPDATE inbox SET payload = ?, due_at = ? WHERE seq = ?", (row.payload, due, seq))
    return row_id, True


def claim(
    db: Db, owner: str, channels: Collection[str], limit: int, per_sender: int
) -> list[InboxRow]:
    """Claim the rows of senders whose first one is due and nobody's."""
    now = db.now()
    wanted = dump_json(list(channels))
    lost = lost_owners(db, _NEXT_OWNER)
    heads = db.execute(_READY, (now, wanted, limit)).fetchall()
    for dead in lost:
        heads += db.execute(_ABANDONED, (dead, now, wanted, limit)).fetchall()
    rows: list[InboxRow] = []
    for _, channel_id, sender_id in sorted(heads)[:limit]:
        rows += _take(db, owner, channel_id, sender_id, lost, now, per_sender)
    return rows


def _take(
    db: Db,
    owner: str,
    channel_id: str,
    sender_id: str,
    lost: list[str],
    now: float,
    per_sender: int,
) -> list[InboxRow]:
    """Claim a sender's rows from the first on, up to the first that is not due."""
    taken: list[InboxRow] = []
    for row in db.execute(_ROWS, (channel_id, sender_id, per_sender)).fetchall():
        seq, holder, due_at, row_id, key, payload, attempts = row
        if due_at > now or (holder is not None and holder not in lost):
            break
        db.execute("UPDATE inbox SET owner = ? WHERE seq = ?", (owner, seq))
        taken.append(InboxRow(row_id, channel_id, sender_id, key, payload, attempts))
    for dead in lost:
        if dead != owner:
            db.execute(_GIVE_BACK, (channel_id, sender_id, dead))
    return taken


def holds(db: Db, owner: str | None, row_id: str) -> bool:
    """Return whether a row is pending and claimed by a worker."""
    return db.execute(_HELD, (row_id, owner)).fetchone() is not None


def end(db: Db, row_id: str) -> None:
    """End a row whose message has entered its room."""
    _finish(db, row_id, RecordStatus.DONE, None)


def finish(
    db: Db,
    owner: str,
    row_id: str,
    status: RecordStatus,
    error: str | None,
    retry_in: float | None,
) -> bool:
    """End a claimed row, or put it off; False when it is not the worker's any more."""
    if not holds(db, owner, row_id):
        return False
    if status != RecordStatus.PENDING:
        _finish(db, row_id, status, error)
        return True
    due = db.now() + max(0.0, retry_in or 0.0)
    db.execute(_POSTPONE, (error, due, row_id))
    sender = db.execute(_SENDER, (row_id,)).fetchone()
    db.execute(_GIVE_BACK, (*sender, owner))
    return True


def _finish(db: Db, row_id: str, status: RecordStatus, error: str | None) -> None:
    counted = status == RecordStatus.DEAD
    db.execute(_END, (str(status), counted, error, db.now(), row_id))
    advance(db, db.execute(_SENDER, (row_id,)).fetchone())


def advance(db: Db, sender: tuple[str, str]) -> None:
    """Mark the first row of a sender (channel and sender id)."""
    first = db.execute(_FIRST, sender).fetchone()
    if first is not None and not first[1]:
        db.execute("UPDATE inbox SET head = 1 WHERE seq = ?", (first[0],))


def release(db: Db, owner: str) -> None:
    """Make all rows of a worker unclaimed."""
    db.execute("UPDATE inbox SET owner = NULL WHERE status = 'pending' AND owner = ?", (owner,))
