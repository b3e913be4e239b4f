"""A durable store as plainly as possible: what survives is only the object, but by the rules.

It is what the suite of durable stores is tried on, what the real ones are compared with, and
what deliberately wrong ones are made of.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from roomkit.store.commit import CommitResult, RecordStatus
from roomkit.store.durable import (
    DEAD_AFTER,
    DeadLetter,
    DeliveryRecord,
    DurableStore,
    InboxRow,
    QueueStats,
    WorkStats,
)
from tests.support.table_memory import TableMemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from roomkit._clock import Clock
    from roomkit.store.commit import CommitBatch, DeliveryFinish, DeliveryPlan
    from roomkit.store.durable import LaneKey

    type Lane = tuple[str, str]

PENDING, DEAD = RecordStatus.PENDING, RecordStatus.DEAD


@dataclass
class Work:
    """A delivery record or an inbox row; those of one queue and lane are done in order."""

    id: str
    kind: str
    lane: Lane
    written: datetime
    due: datetime
    what: Any
    status: RecordStatus = PENDING
    owner: str | None = None
    attempts: int = 0
    error: str | None = None
    ended: datetime | None = None

    def end(self, status: RecordStatus, error: str | None, now: datetime) -> None:
        """Take it out of its queue."""
        self.status, self.error, self.ended, self.owner = status, error, now, None

    def letter(self) -> DeadLetter:
        """Return it as a dead letter."""
        inbox = self.kind == "inbox"
        assert self.ended is not None
        return DeadLetter(
            self.id,
            self.kind,
            self.lane[0] if inbox else self.lane[1],
            None if inbox else self.lane[0],
            None if inbox else self.what.event_id,
            self.attempts,
            self.error,
            self.ended,
        )


@dataclass
class Queue:
    """Work by id, in the order it was written."""

    work: dict[str, Work] = field(default_factory=dict)

    def lanes(self) -> dict[Lane, list[Work]]:
        """Return the pending work of each lane, oldest lanes first."""
        found: dict[Lane, list[Work]] = {}
        for one in self.work.values():
            if one.status == PENDING:
                found.setdefault(one.lane, []).append(one)
        return found

    def claim(
        self,
        owner: str,
        wanted: Callable[[Lane], bool],
        free: Callable[[Work], bool],
        now: datetime,
        limits: tuple[int, int],
    ) -> list[Work]:
        """Give lanes to a worker, from their heads on, up to the first that is not due."""
        lanes, per_lane = limits
        found: list[Work] = []
        for lane, work in self.lanes().items():
            if lanes <= 0 or not wanted(lane) or work[0].due > now or not free(work[0]):
                continue
            lanes -= 1
            due = list(itertools.takewhile(lambda one: one.due <= now, work))[:per_lane]
            for one in work:
                one.owner = owner if one in due else None
            found += due
        return found

    def stats(self, now: datetime) -> QueueStats:
        """Return its figures."""
        waiting = [one for one in self.work.values() if one.status == PENDING]
        return QueueStats(
            len(waiting),
            sum(one.due <= now for one in waiting),
            max(((now - one.written).total_seconds() for one in waiting), default=0.0),
            sum(one.attempts for one in waiting),
            sum(one.status == DEAD for one in self.work.values()),
        )


class DurableMemoryStore(TableMemoryStore, DurableStore):
    """Lists and scans; every call is one step of the loop, and so one transaction.

    Args:
        clock: Its time.
    """

    durable = True

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.deliveries = Queue()
        self.inbox = Queue()
        self.is_open = False
        self.workers: dict[str, tuple[datetime, frozenset[str]]] = {}

    @property
    def immediate(self) -> bool:
        """Return False: the engine must ask it as it asks one behind a network."""
        return False

    async def open(self) -> bool:
        opened, self.is_open = not self.is_open, True
        return opened

    async def close(self) -> None:
        self.is_open = False

    def _living(self) -> set[str]:
        now = self.clock.now()
        return {w for w, (beat, _) in self.workers.items() if _age(beat, now) <= DEAD_AFTER}

    def _free(self) -> Callable[[Work], bool]:
        living = self._living()
        return lambda one: one.owner not in living

    # -- workers -------------------------------------------------------------------------

    async def beat(
        self, owner: str, channels: Collection[str] = (), *, instead_of: str | None = None
    ) -> None:
        self.workers[owner] = (self.clock.now(), frozenset(channels))
        if instead_of is not None:
            # Open to others, as a dead worker's claims are; until one comes they are its own.
            self.workers.pop(instead_of, None)

    async def retire(self, owner: str) -> None:
        self.workers.pop(owner, None)
        for queue in (self.deliveries, self.inbox):
            for one in queue.work.values():
                if one.owner == owner:
                    one.owner = None

    # -- commits -------------------------------------------------------------------------

    def holds(self, queue: Queue, identifier: str | None, owner: str | None) -> bool:
        """Return whether some work is pending and claimed by this worker."""
        one = queue.work.get(identifier or "")
        return one is not None and one.status == PENDING and one.owner == owner is not None

    def fits(self, batch: CommitBatch, finish: DeliveryFinish) -> bool:
        """Return whether a batch may end a delivery."""
        return finish.owner is None or self.holds(self.deliveries, finish.id, finish.owner)

    async def commit(self, batch: CommitBatch) -> CommitResult:
        await self.check(batch)
        lost = not all(self.fits(batch, finish) for finish in batch.finishes)
        if batch.inbox_id is not None:
            lost |= not self.holds(self.inbox, batch.inbox_id, batch.owner)
        if lost:
            return CommitResult(refused="lease_lost")
        result = await super().commit(dataclasses.replace(batch, finishes=()))
        if result.refused is not None or result.duplicate_of is not None:
            return result
        await self.finish_deliveries(batch.finishes)
        if batch.inbox_id is not None:
            row = self.inbox.work[batch.inbox_id]
            row.end(RecordStatus.DONE, None, self.clock.now())
        left = [plan.id for plan in batch.deliveries if not self.plan(batch, plan)]
        return CommitResult(result.events, left=frozenset(left))

    def plan(self, batch: CommitBatch, plan: DeliveryPlan) -> bool:
        """Write a delivery record; return whether the batch's owner got it."""
        lane, now = (batch.room_id, plan.channel_id), self.clock.now()
        ahead = self.deliveries.lanes().get(lane, [])
        mine = plan.claim and all(one.owner == batch.owner for one in ahead)
        one = Work(plan.id, plan.kind.value, lane, now, now, plan)
        one.owner = batch.owner if mine else None
        self.deliveries.work[plan.id] = one
        return one.owner is not None

    # -- deliveries ----------------------------------------------------------------------

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        lanes = set()
        for finish in finishes:
            if not self.fits_alone(finish):
                continue
            await super().finish_deliveries([finish])
            one = self.deliveries.work.get(finish.id)
            if finish.owner is None or one is None:
                continue
            lanes.add(one.lane)
            one.attempts = finish.attempts
            if finish.status == PENDING:
                self._put_off(self.deliveries, one, finish.retry_in, finish.error)
            else:
                one.end(finish.status, finish.error, self.clock.now())
        heads = {lane: work[0] for lane, work in self.deliveries.lanes().items()}
        now = self.clock.now()
        return {
            lane
            for lane in lanes & heads.keys()
            if heads[lane].owner is None and heads[lane].due <= now
        }

    def fits_alone(self, finish: DeliveryFinish) -> bool:
        """Return whether a finish outside of a batch counts."""
        return finish.owner is None or self.holds(self.deliveries, finish.id, finish.owner)

    def _put_off(self, queue: Queue, one: Work, retry_in: float | None, error: str | None) -> None:
        one.due, one.error = self._after(retry_in or 0.0), error
        owner = one.owner
        for other in queue.lanes()[one.lane]:
            if other.owner == owner:
                other.owner = None

    def _after(self, seconds: float) -> datetime:
        return self.clock.now() + timedelta(seconds=seconds)

    async def claim_deliveries(
        self,
        owner: str,
        channels: Collection[str],
        *,
        lanes: Collection[LaneKey] | None = None,
        limit: int = 100,
        per_lane: int = 100,
    ) -> list[DeliveryRecord]:
        def wanted(lane: Lane) -> bool:
            return lane[1] in channels and (lanes is None or lane in lanes)

        limits, now = (limit, per_lane), self.clock.now()
        work = self.deliveries.claim(owner, wanted, self._free(), now, limits)
        return [
            DeliveryRecord(
                one.id,
                one.lane[0],
                one.what.event_id,
                one.lane[1],
                one.what.kind,
                one.what.direct,
                one.attempts,
            )
            for one in work
        ]

    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        now, count = self.clock.now(), 0
        for one in self.deliveries.work.values():
            if one.owner == owner and one.id not in known and _age(one.written, now) >= older_than:
                one.owner = None
                count += 1
        return count

    async def expire_deliveries(self, older_than: float) -> list[DeadLetter]:
        now, living = self.clock.now(), self._living()
        registered = {c for worker in living for c in self.workers[worker][1]}
        found = []
        for one in self.deliveries.work.values():
            old = one.status == PENDING and _age(one.written, now) >= older_than
            nobodys = one.owner is None or one.owner not in living
            if old and nobodys and one.lane[1] not in registered:
                one.end(DEAD, "channel_not_registered", now)
                found.append(one.letter())
        return found[:1000]

    # -- the inbox -----------------------------------------------------------------------

    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        for one in self.inbox.work.values():
            if (one.what.channel_id, one.what.key) == (row.channel_id, row.key):
                fresh = one.status == PENDING and one.owner is None and not one.attempts
                if replace and fresh:
                    one.what = InboxRow(one.id, *one.lane, row.key, row.payload)
                    one.due = self._after(delay)
                return one.id, replace and fresh
        lane = (row.channel_id, row.sender_id)
        one = Work(row.id, "inbox", lane, self.clock.now(), self._after(delay), row)
        self.inbox.work[row.id] = one
        return row.id, True

    async def claim_inbox(
        self, owner: str, channels: Collection[str], *, limit: int = 100, per_sender: int = 20
    ) -> list[InboxRow]:
        limits, now = (limit, per_sender), self.clock.now()
        work = self.inbox.claim(owner, lambda lane: lane[0] in channels, self._free(), now, limits)
        return [
            InboxRow(one.id, *one.lane, one.what.key, one.what.payload, one.attempts)
            for one in work
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
        if not self.holds(self.inbox, row_id, owner):
            return False
        one = self.inbox.work[row_id]
        one.attempts += status in (PENDING, DEAD)
        if status == PENDING:
            self._put_off(self.inbox, one, retry_in, error)
        else:
            one.end(status, error, self.clock.now())
        return True

    async def release_inbox(self, owner: str) -> None:
        for one in self.inbox.work.values():
            if one.owner == owner:
                one.owner = None

    # -- dead letters and figures ----------------------------------------------------------

    def _letters(self) -> Iterable[Work]:
        for queue in (self.deliveries, self.inbox):
            yield from (one for one in queue.work.values() if one.status == DEAD)

    async def list_dead_letters(
        self,
        *,
        kind: str | None = None,
        room_id: str | None = None,
        channel_id: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        letters = sorted(
            (one.letter() for one in self._letters()), key=lambda one: one.died_at, reverse=True
        )
        found = [
            letter
            for letter in letters
            if kind in (None, letter.kind)
            and room_id in (None, letter.room_id)
            and channel_id in (None, letter.channel_id)
        ]
        return found[offset : offset + limit]

    async def retry_dead_letter(self, letter_id: str) -> bool:
        for queue in (self.deliveries, self.inbox):
            one = queue.work.get(letter_id)
            if one is not None and one.status == DEAD:
                # It goes to the end of its lane: whoever works on that keeps its claims.
                del queue.work[letter_id]
                one.status, one.ended, one.error = PENDING, None, None
                one.attempts, one.due = 0, self.clock.now()
                queue.work[letter_id] = one
                return True
        return False

    async def discard_dead_letter(self, letter_id: str) -> bool:
        for one in self._letters():
            if one.id == letter_id:
                one.status = RecordStatus.SKIPPED
                return True
        return False

    async def work_stats(self) -> WorkStats:
        now = self.clock.now()
        return WorkStats(self.deliveries.stats(now), self.inbox.stats(now), len(self._living()))

    async def purge(self, before: datetime) -> int:
        count = 0
        for queue in (self.deliveries, self.inbox):
            for one in list(queue.work.values()):
                if one.ended is not None and one.status != DEAD and one.ended < before:
                    del queue.work[one.id]
                    count += 1
        return count

    async def delete_room(self, room_id: str) -> bool:
        work = self.deliveries.work
        self.deliveries.work = {k: one for k, one in work.items() if one.lane[0] != room_id}
        return await super().delete_room(room_id)


def _age(moment: datetime, now: datetime) -> float:
    return (now - moment).total_seconds()
