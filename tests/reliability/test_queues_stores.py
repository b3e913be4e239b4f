"""The queues of a durable store against the plainest one: any calls, and the same answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from roomkit import ManualClock
from roomkit.models.room import Room
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
)
from roomkit.store.durable import InboxRow
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import make_event
from tests.reliability._machine import walks
from tests.support.durable_memory import DurableMemoryStore

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from roomkit.store.durable import DeliveryRecord, DurableStore

WORKERS = st.sampled_from(("w1", "w2", "w3"))
ROOMS = st.sampled_from(("r1", "r2"))
CHANNELS = st.sampled_from(("a", "b"))
SETS = st.sampled_from((("a",), ("b",), ("a", "b"), ()))
SENDERS = st.sampled_from(("ann", "bob"))
PICK = st.integers(0, 1000)
STATUS = st.sampled_from(
    (RecordStatus.DONE, RecordStatus.DONE, RecordStatus.DEAD, RecordStatus.PENDING)
)
# No sum of these is any of the delays below, nor the time after which a worker is dead.
TIMES = st.sampled_from((0.7, 3.1, 11.3))
DELAYS = st.sampled_from((0.0, 4.05, 9.97))
AGES = st.sampled_from((0.05, 4.05, 9.97))


class QueueMachine(RuleBasedStateMachine):
    """Workers come, claim, finish, fail, fall silent and come back; two stores are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.model = DurableMemoryStore(self.clock)
        self.store = self.make_store()
        self.count = 0
        self.work: list[tuple[str, str, str]] = []
        self.rows: list[str] = []
        self.run(self.begin())

    def make_store(self) -> DurableStore:
        """Return the store to compare."""
        return SQLiteStore(":memory:", clock=self.clock)

    async def begin(self) -> None:
        """Open both, with the same rooms."""
        for store in (self.store, self.model):
            await store.open()
            for room_id in ("r1", "r2"):
                await store.create_room(Room(id=room_id))

    def teardown(self) -> None:
        """Close."""
        self.run(self.store.close())
        self.runner.close()

    def run[T](self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine."""
        return self.runner.run(coro)

    def both(self, call: Any) -> tuple[Any, Any]:
        """Return what the store and the model answer."""
        return self.run(call(self.store)), self.run(call(self.model))

    def same(self, call: Any) -> Any:
        """Ask both; their answers must be equal."""
        told, expected = self.both(call)
        assert told == expected
        self.compare()
        return told

    def compare(self) -> None:
        """See that both tell the same figures and letters."""
        told, expected = self.both(lambda store: store.work_stats())
        assert _rounded(told) == _rounded(expected)
        told, expected = self.both(lambda store: store.list_dead_letters(limit=1000))
        assert _letters(told) == _letters(expected)

    def new_id(self) -> str:
        """Return the next id."""
        self.count += 1
        return f"{self.count:032x}"

    # -- workers -------------------------------------------------------------------------

    @rule(worker=WORKERS, channels=SETS)
    def beat(self, worker: str, channels: tuple[str, ...]) -> None:
        self.same(lambda store: store.beat(worker, channels))

    @rule(worker=WORKERS, former=WORKERS)
    def begin_anew(self, worker: str, former: str) -> None:
        if worker != former:
            self.same(lambda store: store.beat(worker, ("a", "b"), instead_of=former))
            # Ids are not used again in earnest: whether the claims of a forgotten one are
            # unclaimed at once or when somebody comes for them is left open.
            self.same(lambda store: store.retire(former))

    @rule(worker=WORKERS)
    def retire(self, worker: str) -> None:
        self.same(lambda store: store.retire(worker))

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))
        self.compare()

    # -- deliveries ----------------------------------------------------------------------

    @rule(
        worker=st.one_of(st.none(), WORKERS),
        room_id=ROOMS,
        channels=st.lists(CHANNELS, min_size=1, max_size=3),
        claim=st.sampled_from((True, True, True, False)),
    )
    def post(self, worker: str | None, room_id: str, channels: list[str], claim: bool) -> None:
        event = make_event(room_id, id=self.new_id())
        plans = tuple(
            DeliveryPlan(self.new_id(), event.id, channel, DeliveryKind.DELIVER, claim=claim)
            for channel in channels
        )
        batch = CommitBatch(room_id, (event,), deliveries=plans, owner=worker)
        self.work += [(plan.id, event.id, plan.channel_id) for plan in plans]
        self.same(lambda store: _left(store, batch))

    @rule(
        worker=WORKERS,
        channels=SETS,
        limit=st.sampled_from((1, 100)),
        per_lane=st.sampled_from((1, 2, 100)),
    )
    def claim(self, worker: str, channels: tuple[str, ...], limit: int, per_lane: int) -> None:
        told, expected = self.both(
            lambda store: store.claim_deliveries(worker, channels, limit=limit, per_lane=per_lane)
        )
        assert _lanes(told) == _lanes(expected)
        self.compare()

    def finish_of(
        self, pick: int, worker: str | None, status: RecordStatus, retry_in: float
    ) -> DeliveryFinish:
        """Return an end of one of the last deliveries."""
        recent = self.work[-8:]
        identifier, event_id, channel = recent[pick % len(recent)]
        return DeliveryFinish(
            identifier,
            event_id,
            channel,
            DeliveryKind.DELIVER,
            status,
            {"n": self.count},
            worker,
            attempts=1 + self.count % 3,
            retry_in=retry_in,
            error="busy",
        )

    @precondition(lambda self: self.work)
    @rule(pick=PICK, worker=st.one_of(st.none(), WORKERS), status=STATUS, retry_in=DELAYS)
    def finish(self, pick: int, worker: str | None, status: RecordStatus, retry_in: float) -> None:
        finish = self.finish_of(pick, worker, status, retry_in)
        told, expected = self.both(lambda store: store.finish_deliveries([finish]))
        # Whether a finish that came too late tells of its lane is left open.
        assert set(told) >= set(expected)
        self.same(lambda store: _results(store, finish.event_id))

    @precondition(lambda self: self.work)
    @rule(pick=PICK, worker=WORKERS, room_id=ROOMS)
    def answer(self, pick: int, worker: str, room_id: str) -> None:
        finish = self.finish_of(pick, worker, RecordStatus.DONE, 0.0)
        event = make_event(room_id, id=self.new_id())
        batch = CommitBatch(room_id, (event,), finishes=(finish,), owner=worker)
        self.same(lambda store: _left(store, batch))

    @rule(worker=WORKERS, known=st.integers(0, 8), older_than=AGES)
    def release(self, worker: str, known: int, older_than: float) -> None:
        # A worker knows what it took on first.
        ids = [identifier for identifier, _, _ in self.work[: -known or None]]
        self.same(lambda store: store.release_deliveries(worker, ids, older_than))

    @rule(older_than=AGES)
    def expire(self, older_than: float) -> None:
        told, expected = self.both(lambda store: store.expire_deliveries(older_than))
        assert _letters(told) == _letters(expected)
        self.compare()

    # -- the inbox -----------------------------------------------------------------------

    @rule(
        channel=CHANNELS,
        sender=SENDERS,
        key=st.integers(0, 30),
        delay=DELAYS,
        replace=st.booleans(),
    )
    def accept(self, channel: str, sender: str, key: int, delay: float, replace: bool) -> None:
        row = InboxRow(self.new_id(), channel, sender, str(key), str(self.count))
        told, new = self.same(lambda store: store.accept(row, delay=delay, replace=replace))
        if new:
            self.rows.append(told)

    @rule(
        worker=WORKERS,
        channels=SETS,
        limit=st.sampled_from((1, 100)),
        per_sender=st.sampled_from((1, 2, 100)),
    )
    def read(self, worker: str, channels: tuple[str, ...], limit: int, per_sender: int) -> None:
        told, expected = self.both(
            lambda store: store.claim_inbox(worker, channels, limit=limit, per_sender=per_sender)
        )
        assert _senders(told) == _senders(expected)
        self.compare()

    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS, status=STATUS, retry_in=DELAYS)
    def finish_row(self, pick: int, worker: str, status: RecordStatus, retry_in: float) -> None:
        recent = self.rows[-6:]
        row_id = recent[pick % len(recent)]
        self.same(
            lambda store: store.finish_inbox(
                worker, row_id, status, error="busy", retry_in=retry_in
            )
        )

    @precondition(lambda self: self.rows)
    @rule(pick=PICK, worker=WORKERS, room_id=ROOMS)
    def enter(self, pick: int, worker: str, room_id: str) -> None:
        recent = self.rows[-6:]
        event = make_event(room_id, id=self.new_id())
        batch = CommitBatch(room_id, (event,), inbox_id=recent[pick % len(recent)], owner=worker)
        self.same(lambda store: _left(store, batch))

    @rule(worker=WORKERS)
    def release_rows(self, worker: str) -> None:
        self.same(lambda store: store.release_inbox(worker))

    # -- dead letters --------------------------------------------------------------------

    @rule(pick=PICK, again=st.booleans())
    def settle(self, pick: int, again: bool) -> None:
        letters = sorted(letter.id for letter in self.run(self.model.list_dead_letters()))
        letter_id = letters[pick % len(letters)] if letters else "none"
        if again:
            self.same(lambda store: store.retry_dead_letter(letter_id))
        else:
            self.same(lambda store: store.discard_dead_letter(letter_id))


async def _left(store: DurableStore, batch: CommitBatch) -> tuple[Any, ...]:
    result = await store.commit(batch)
    return result.refused, result.left, [event.index for event in result.events]


async def _results(store: DurableStore, event_id: str) -> Any:
    event = await store.get_event(event_id)
    return None if event is None else event.delivery_results


def _lanes(records: Iterable[DeliveryRecord]) -> dict[tuple[str, str], list[Any]]:
    found: dict[tuple[str, str], list[Any]] = {}
    for record in records:
        lane = (record.room_id, record.channel_id)
        found.setdefault(lane, []).append((record.id, record.attempts))
    return found


def _senders(rows: Iterable[InboxRow]) -> dict[tuple[str, str], list[Any]]:
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        told = (row.id, row.key, row.payload, row.attempts)
        found.setdefault((row.channel_id, row.sender_id), []).append(told)
    return found


def _letters(letters: Iterable[Any]) -> list[Any]:
    return sorted((x.id, x.kind, x.attempts, x.error, round(_at(x), 3)) for x in letters)


def _at(letter: Any) -> float:
    moment: float = letter.died_at.timestamp()
    return moment


def _rounded(stats: Any) -> list[tuple[Any, ...]]:
    # Whether what waits behind something that is not due is itself due is left open.
    queues = [
        (one.depth, round(one.lag, 3), one.attempts, one.dead)
        for one in (stats.deliveries, stats.inbox)
    ]
    return [*queues, (stats.workers,)]


class LongQueueMachine(QueueMachine):
    """The same, in long walks for the night."""


TestQueues = QueueMachine.TestCase
TestQueues.settings = walks(100, 60)
TestLongQueues = pytest.mark.soak(pytest.mark.timeout(3600)(LongQueueMachine.TestCase))
TestLongQueues.settings = walks(2000, 200)
