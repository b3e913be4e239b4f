"""The queues of work: claims, the inbox, dead letters and figures; all by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from roomkit.store._sql.pg_base import PostgresPart
from roomkit.store._sql.pg_rows import index_key, utc
from roomkit.store.commit import DeliveryKind
from roomkit.store.durable import (
    DEAD_AFTER,
    DeadLetter,
    DeliveryRecord,
    InboxRow,
    QueueStats,
    WorkStats,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from roomkit.store.commit import RecordStatus
    from roomkit.store.durable import LaneKey

_BEAT: Final = """\
INSERT INTO workers (owner, beat_at, channels) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (owner) DO UPDATE SET beat_at = excluded.beat_at, channels = excluded.channels"""
_RETIRE: Final = "SELECT roomkit_retire($1)"
# Nothing of long dead workers has to be remembered: the forgotten hold nothing either.
_FORGET: Final = "DELETE FROM workers WHERE beat_at < clock_timestamp() - interval '1 hour'"

_CLAIM: Final = "SELECT * FROM roomkit_claim_deliveries($1, $2, $3, $4, $5, $6)"
_RELEASE: Final = "SELECT roomkit_release_deliveries($1, $2, $3)"
_EXPIRE: Final = "SELECT * FROM roomkit_expire_deliveries($1)"

_ACCEPT: Final = "SELECT * FROM roomkit_accept($1, $2, $3, $4, $5, $6, $7)"
_CLAIM_INBOX: Final = "SELECT * FROM roomkit_claim_inbox($1, $2, $3, $4)"
_FINISH_INBOX: Final = "SELECT roomkit_finish_inbox($1, $2, $3, $4, $5)"
_RELEASE_INBOX: Final = "SELECT roomkit_release_inbox($1)"

_LETTERS: Final = """\
SELECT * FROM (
    SELECT id, kind, channel_id, room_id, event_id, attempts, error, ended_at, seq
    FROM deliveries
    WHERE status = 'dead' AND ($1::text IS NULL OR kind = $1)
        AND ($2::text IS NULL OR room_id = $2) AND ($3::text IS NULL OR channel_id = $3)
    UNION ALL
    SELECT id, 'inbox', channel_id, NULL, NULL, attempts, error, ended_at, seq
    FROM inbox
    WHERE status = 'dead' AND ($1::text IS NULL OR $1 = 'inbox')
        AND $2::text IS NULL AND ($3::text IS NULL OR channel_id = $3)
) AS letters
ORDER BY ended_at DESC, seq DESC LIMIT $5 OFFSET $4"""
# It goes to the end of its lane: what others have begun meanwhile stays in one piece.
_RETRY: Final = """\
WITH delivery AS (
    UPDATE deliveries SET status = 'pending', attempts = 0, error = NULL, owner = NULL,
        ended_at = NULL, next_at = clock_timestamp(), seq = DEFAULT
    WHERE id = $1 AND status = 'dead' RETURNING id
), message AS (
    UPDATE inbox SET status = 'pending', attempts = 0, error = NULL, owner = NULL,
        ended_at = NULL, next_at = clock_timestamp(), seq = DEFAULT
    WHERE id = $1 AND status = 'dead' RETURNING id
)
SELECT EXISTS (SELECT 1 FROM delivery) OR EXISTS (SELECT 1 FROM message)"""
_DISCARD: Final = """\
WITH delivery AS (
    UPDATE deliveries SET status = 'skipped' WHERE id = $1 AND status = 'dead' RETURNING id
), message AS (
    UPDATE inbox SET status = 'skipped' WHERE id = $1 AND status = 'dead' RETURNING id
)
SELECT EXISTS (SELECT 1 FROM delivery) OR EXISTS (SELECT 1 FROM message)"""
# Due is what nothing but a worker keeps waiting: not what stands behind a retry.
_STATS: Final = """\
SELECT d.depth, d.due, d.lag, d.attempts,
    (SELECT count(*) FROM deliveries WHERE status = 'dead') AS dead,
    i.depth AS inbox_depth, i.due AS inbox_due, i.lag AS inbox_lag,
    i.attempts AS inbox_attempts,
    (SELECT count(*) FROM inbox WHERE status = 'dead') AS inbox_dead,
    (SELECT count(*) FROM workers
     WHERE beat_at > clock_timestamp() - $1::double precision * interval '1 second') AS workers
FROM (
    SELECT count(*) AS depth, count(*) FILTER (WHERE free) AS due,
        coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8 AS lag,
        coalesce(sum(attempts), 0)::bigint AS attempts
    FROM (
        SELECT written_at, attempts, bool_and(next_at <= clock_timestamp())
            OVER (PARTITION BY room_id, channel_id ORDER BY seq) AS free
        FROM deliveries WHERE status = 'pending'
    ) AS p
) AS d, (
    SELECT count(*) AS depth, count(*) FILTER (WHERE free) AS due,
        coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8 AS lag,
        coalesce(sum(attempts), 0)::bigint AS attempts
    FROM (
        SELECT written_at, attempts, bool_and(next_at <= clock_timestamp())
            OVER (PARTITION BY channel_id, sender_id ORDER BY seq) AS free
        FROM inbox WHERE status = 'pending'
    ) AS p
) AS i"""
# Some at a time: a long delete would keep its rows' versions alive for everybody else.
_PURGE_DELIVERIES: Final = "SELECT roomkit_purge_deliveries($1)"
_PURGE_INBOX: Final = "SELECT roomkit_purge_inbox($1)"

_MOST: Final = 2**31 - 1


class WorkPart(PostgresPart):
    """Delivery records, inbox rows and the workers that hold them."""

    # -- workers -------------------------------------------------------------------------

    async def beat(
        self, owner: str, channels: Collection[str] = (), *, instead_of: str | None = None
    ) -> None:
        """Say that a worker lives, and which channels it has."""
        await self._db.write("fetchval", _BEAT, (owner, list(channels)))
        if instead_of is not None and instead_of != owner:
            await self._db.write("fetchval", _RETIRE, (instead_of,))
            await self._db.write("fetchval", _FORGET, ())

    async def retire(self, owner: str) -> None:
        """Forget a worker: its claims become unclaimed."""
        await self._db.write("fetchval", _RETIRE, (owner,))
        self._bell.ring()

    # -- deliveries ----------------------------------------------------------------------

    async def claim_deliveries(
        self,
        owner: str,
        channels: Collection[str],
        *,
        lanes: Collection[LaneKey] | None = None,
        limit: int = 100,
        per_lane: int = 100,
    ) -> list[DeliveryRecord]:
        """Claim the records of lanes whose first pending one is due and nobody's."""
        if not channels or limit <= 0 or per_lane <= 0 or (lanes is not None and not lanes):
            return []
        rooms = None if lanes is None else [room_id for room_id, _ in lanes]
        targets = None if lanes is None else [channel_id for _, channel_id in lanes]
        bounds = (min(limit, _MOST), min(per_lane, _MOST))
        rows = await self._db.write(
            "fetch", _CLAIM, (owner, list(channels), rooms, targets, *bounds)
        )
        return [
            DeliveryRecord(
                row["id"],
                row["room_id"],
                row["event_id"],
                row["channel_id"],
                DeliveryKind(row["kind"]),
                direct=row["direct"],
                attempts=row["attempts"],
            )
            for row in rows
        ]

    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        """Make unclaimed what a worker holds without knowing of it; return how many."""
        count: int = await self._db.write(
            "fetchval", _RELEASE, (owner, list(known), float(older_than))
        )
        return count

    async def expire_deliveries(self, older_than: float) -> list[DeadLetter]:
        """Let records die that wait for a channel no living worker has."""
        rows = await self._db.write("fetch", _EXPIRE, (float(older_than),))
        return [_letter(row) for row in rows]

    # -- the inbox -----------------------------------------------------------------------

    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        """Keep a message that is to enter a room, once per (channel, key)."""
        key = index_key(row.key)
        args = (row.id, row.channel_id, row.sender_id, key, row.payload, float(delay), replace)
        kept = await self._db.write("fetchrow", _ACCEPT, args)
        if kept["is_new"]:
            self._bell.ring()
        return kept["row_id"], kept["is_new"]

    async def claim_inbox(
        self, owner: str, channels: Collection[str], *, limit: int = 100, per_sender: int = 20
    ) -> list[InboxRow]:
        """Claim rows of senders whose first pending row is due and nobody's."""
        if not channels or limit <= 0 or per_sender <= 0:
            return []
        args = (owner, list(channels), min(limit, _MOST), min(per_sender, _MOST))
        rows = await self._db.write("fetch", _CLAIM_INBOX, args)
        return [
            InboxRow(
                row["id"],
                row["channel_id"],
                row["sender_id"],
                row["key"],
                row["payload"],
                attempts=row["attempts"],
            )
            for row in rows
        ]

    async def finish_inbox(
        self,
        owner: str,
        row_id: str,
        status: RecordStatus,
        *,
        error: str | None = None,
        retry_in: float | None = None,
    ) -> bool:
        """End a claimed row without a commit, or (PENDING) try it again later."""
        args = (owner, row_id, str(status), error, float(retry_in or 0.0))
        mine: bool = await self._db.write("fetchval", _FINISH_INBOX, args)
        return mine

    async def release_inbox(self, owner: str) -> None:
        """Make all inbox rows of a worker unclaimed."""
        await self._db.write("fetchval", _RELEASE_INBOX, (owner,))

    # -- dead letters and figures --------------------------------------------------------

    async def list_dead_letters(
        self,
        *,
        kind: str | None = None,
        room_id: str | None = None,
        channel_id: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Return work that was given up, latest first."""
        wanted = None if kind is None else str(kind)
        args = (wanted, room_id, channel_id, max(0, offset), max(0, limit))
        return [_letter(row) for row in await self._db.read("fetch", _LETTERS, args)]

    async def retry_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter pending, due and untried; False if there is none of this id."""
        found: bool = await self._db.write("fetchval", _RETRY, (letter_id,))
        if found:
            self._bell.ring()
        return found

    async def discard_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter SKIPPED; False if there is none of this id."""
        found: bool = await self._db.write("fetchval", _DISCARD, (letter_id,))
        return found

    async def work_stats(self) -> WorkStats:
        """Return figures of both queues."""
        row = await self._db.read("fetchrow", _STATS, (DEAD_AFTER,))
        return WorkStats(
            QueueStats(row["depth"], row["due"], row["lag"], row["attempts"], row["dead"]),
            QueueStats(
                row["inbox_depth"],
                row["inbox_due"],
                row["inbox_lag"],
                row["inbox_attempts"],
                row["inbox_dead"],
            ),
            row["workers"],
        )

    async def purge(self, before: datetime) -> int:
        """Remove delivery records and inbox rows that ended before a time; return how many."""
        removed = 0
        for sql in (_PURGE_DELIVERIES, _PURGE_INBOX):
            while count := await self._db.write("fetchval", sql, (utc(before),)):
                removed += count
        return removed

    async def wait_for_work(self, timeout: float) -> None:
        """Return when another process may have left work, or after ``timeout`` seconds."""
        await self._bell.wait(timeout)


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row["id"],
        kind=row["kind"],
        channel_id=row["channel_id"],
        room_id=row["room_id"],
        event_id=row["event_id"],
        attempts=row["attempts"],
        error=row["error"],
        died_at=row["ended_at"],
    )
