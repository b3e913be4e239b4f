"""The queues of work of an SQLite store, as its callers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.store._sql import lite_inbox, lite_letters, lite_work
from roomkit.store._sql.lite_base import LiteBase

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from roomkit.store.commit import RecordStatus
    from roomkit.store.durable import (
        DeadLetter,
        DeliveryRecord,
        InboxRow,
        LaneKey,
        WorkStats,
    )


class LiteWork(LiteBase):
    """The part of ``SQLiteStore`` that keeps the queues of work."""

    # -- workers -------------------------------------------------------------------------

    async def beat(
        self, owner: str, channels: Collection[str] = (), *, instead_of: str | None = None
    ) -> None:
        """Say that a worker lives, and which channels it has."""
        await self._write(lite_inbox.beat, owner, tuple(channels), instead_of)

    async def retire(self, owner: str) -> None:
        """Forget a worker: its claims become unclaimed."""
        await self._write(lite_inbox.retire, owner)

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
        wanted = None if lanes is None else tuple(lanes)
        most, per = max(0, limit), max(0, per_lane)
        return await self._write(lite_work.claim, owner, tuple(channels), wanted, most, per)

    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        """Make unclaimed what a worker holds without knowing of it; return how many."""
        return await self._write(lite_work.release, owner, tuple(known), older_than)

    async def expire_deliveries(self, older_than: float) -> list[DeadLetter]:
        """Let records die that wait for a channel no living worker has; at most 1,000."""
        return await self._write(lite_letters.expire, older_than)

    # -- the inbox -----------------------------------------------------------------------

    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        """Keep a message that is to enter a room, once per (channel, key)."""
        return await self._write(lite_inbox.accept, row, delay, replace)

    async def claim_inbox(
        self, owner: str, channels: Collection[str], *, limit: int = 100, per_sender: int = 20
    ) -> list[InboxRow]:
        """Claim rows of senders whose first pending row is due and nobody's."""
        most, per = max(0, limit), max(0, per_sender)
        return await self._write(lite_inbox.claim, owner, tuple(channels), most, per)

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
        return await self._write(lite_inbox.finish, owner, row_id, status, error, retry_in)

    async def release_inbox(self, owner: str) -> None:
        """Make all inbox rows of a worker unclaimed."""
        await self._write(lite_inbox.release, owner)

    # -- dead letters and figures ----------------------------------------------------------

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
        return await self._read(lite_letters.letters, kind, room_id, channel_id, offset, limit)

    async def retry_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter pending, due and untried; False if there is none of this id."""
        return await self._write(lite_letters.retry, letter_id)

    async def discard_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter SKIPPED; False if there is none of this id."""
        return await self._write(lite_letters.discard, letter_id)

    async def work_stats(self) -> WorkStats:
        """Return figures of both queues."""
        return await self._read(lite_letters.stats)

    async def purge(self, before: datetime) -> int:
        """Remove delivery records and inbox rows that ended before a time; return how many.

        Done in small steps, so that others write in between.
        """
        removed = 0
        while step := await self._write(lite_letters.purge, before.timestamp()):
            removed += step
        return removed
