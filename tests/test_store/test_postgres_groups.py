"""Commits that share a transaction: what is shared, and that nobody pays for the others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from roomkit._ids import new_id
from roomkit.exceptions import InvalidInputError, StoreError, StoreUnavailableError
from roomkit.models.enums import RoomStatus
from roomkit.models.room import Room
from roomkit.store.commit import (
    CommitBatch,
    CommitResult,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
)
from roomkit.store.postgres import PostgresStore
from roomkit.testing.builders import make_binding, make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM events"
_BLOCKED = """\
SELECT pid, query FROM pg_stat_activity
WHERE application_name = 'roomkit' AND state = 'active' AND wait_event_type = 'Lock'"""
_PATIENT = "ALTER FUNCTION roomkit_commit_group SET lock_timeout = '30s'"
_LOCK = "SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE"
_TOGETHER = """\
SELECT count(*) FROM deliveries AS d JOIN events AS e ON d.xmin::text = e.xmin::text
WHERE d.status = 'done' AND d.event_id <> e.id"""


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection beside the store's."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def blocked(watcher: asyncpg.Connection, count: int) -> list[asyncpg.Record]:
    """Return what waits for a lock, once there is so much of it."""
    async with asyncio.timeout(20):
        while len(rows := await watcher.fetch(_BLOCKED)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # there is no event for it
    return list(rows)


def batch(room_id: str, *channels: str, owner: str | None = None, key: str = "") -> CommitBatch:
    """Return the commit of a new event that is to be delivered to some channels."""
    event = make_event(room_id=room_id, idempotency_key=key or new_id())
    plans = tuple(
        DeliveryPlan(new_id(), event.id, channel_id, DeliveryKind.DELIVER)
        for channel_id in channels
    )
    return CommitBatch(room_id, (event,), True, deliveries=plans, owner=owner)


def ends(given: CommitBatch, owner: str) -> list[DeliveryFinish]:
    """Return the ends of all deliveries of a batch."""
    return [
        DeliveryFinish(
            plan.id,
            plan.event_id,
            plan.channel_id,
            plan.kind,
            RecordStatus.DONE,
            {"success": True},
            owner=owner,
            attempts=1,
            room_id=given.room_id,
        )
        for plan in given.deliveries
    ]


async def rooms(store: PostgresStore, count: int) -> list[str]:
    """Make some rooms and return their ids."""
    names = [f"r{n:03}" for n in range(count)]
    for name in names:
        await store.create_room(Room(id=name))
    return names


async def together(store: PostgresStore, *batches: CommitBatch) -> list[object]:
    """Commit batches in one group, behind one of a room of their own; return what came of them."""
    name = f"first-{new_id()}"
    await store.create_room(Room(id=name))
    first, *others = await asyncio.gather(
        *(store.commit(one) for one in (batch(name), *batches)), return_exceptions=True
    )
    assert isinstance(first, CommitResult)
    return others


class Log:
    """What two workers did: where events lie, and the order in which lanes were worked."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.worked: dict[str, list[str]] = {}

    async def say(self, store: PostgresStore, owner: str, room_id: str) -> None:
        """Write 20 messages to a room, and do the work that is ours."""
        for _ in range(20):
            given = batch(room_id, "a", owner=owner)
            result = await store.commit(given)
            self.places[result.events[0].id] = result.events[0].index
            if not result.left:
                await self._work(store, owner, ends(given, owner))

    async def _work(self, store: PostgresStore, owner: str, done: list[DeliveryFinish]) -> None:
        while done:
            for finish in done:
                self.worked.setdefault(finish.room_id, []).append(finish.event_id)
            lanes = await store.finish_deliveries(done)
            claimed = await store.claim_deliveries(owner, ["a"], lanes=lanes)
            done = [
                DeliveryFinish(
                    record.id,
                    record.event_id,
                    "a",
                    record.kind,
                    RecordStatus.DONE,
                    owner=owner,
                    room_id=record.room_id,
                )
                for record in claimed
            ]


class TestShared:
    """What goes together."""

    async def test_commits_of_many_rooms_share_transactions(self, postgres_dsn: str) -> None:
        """100 at once take four at most, and each room has its event."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as watcher:
            names = await rooms(store, 100)
            results = await asyncio.gather(*(store.commit(batch(name)) for name in names))
            assert [result.events[0].index for result in results] == [0] * 100
            assert await watcher.fetchval(_TRANSACTIONS) <= 4
            assert await watcher.fetchval("SELECT count(*) FROM events") == 100

    async def test_one_room_keeps_its_order_of_indexes(self, postgres_dsn: str) -> None:
        """Commits of one room at once are numbered in the order they came."""
        async with PostgresStore(postgres_dsn) as store:
            await store.create_room(Room(id="r"))
            results = await asyncio.gather(*(store.commit(batch("r")) for _ in range(30)))
            assert sorted(r.events[0].index for r in results) == list(range(30))

    async def test_what_it_leaves_is_known_without_a_question(self, postgres_dsn: str) -> None:
        """The window follows a commit of a group as it does one that went alone."""
        async with PostgresStore(postgres_dsn) as store:
            names = await rooms(store, 3)
            for name in names:
                await store.load_context(name)
            given = [batch(name, "a", owner="w") for name in names]
            await together(store, *given)
            for name in names:
                peeked = store.peek_context(name)
                assert peeked is not None
                assert peeked.room.event_count == 1
                assert await store.load_context(name) is peeked


class TestApart:
    """What is refused of one harms no other."""

    async def test_refused_ones(self, postgres_dsn: str) -> None:
        """A repeat, a closed room, old news and no room are told; the rest is written."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as watcher:
            names = await rooms(store, 6)
            first = (await store.commit(batch(names[0], key="k"))).events[0]
            await store.update_room(Room(id=names[1], status=RoomStatus.CLOSED))
            await store.load_context(names[2])
            known = store.peek_guarded(names[2])
            assert known is not None
            await store.add_binding(make_binding("new", room_id=names[2]))
            event = make_event(room_id=names[2])
            got = await together(
                store,
                batch(names[0], key="k"),
                batch(names[1]),
                CommitBatch(names[2], (event,), guard=known[1]),
                batch("nowhere"),
                CommitBatch("nothing", (make_event(room_id="nothing"),)),
                batch(names[4], key="k"),
                batch(names[5]),
            )
            repeated, closed, stale, gone, nothing, fine, also = got
            assert repeated == CommitResult(duplicate_of=first)
            assert closed == gone == CommitResult(refused="room_closed")
            assert stale == CommitResult(refused="stale_context")
            assert isinstance(nothing, StoreError)
            for result in (fine, also):
                assert isinstance(result, CommitResult)
                assert result.events[0].index == 0
            assert await watcher.fetchval(_TRANSACTIONS) == 3
            assert await store.get_event(event.id) is None

    @pytest.mark.parametrize("error", [StoreError, InvalidInputError])
    async def test_one_that_cannot_be_written(
        self, postgres_dsn: str, error: type[StoreError]
    ) -> None:
        """An id that is taken, or a value that cannot be kept, fails its own caller only."""
        async with PostgresStore(postgres_dsn) as store:
            names = await rooms(store, 5)
            taken = (await store.commit(batch(names[0]))).events[0]
            event = make_event(room_id=names[1], body="a\x00b")
            if error is StoreError:
                event = taken.in_room(names[1]).cleaned(idempotency_key=new_id())
            bad = CommitBatch(names[1], (event,))
            got = await together(store, bad, *(batch(name) for name in names[2:]))
            assert isinstance(got[0], error)
            assert [type(result) for result in got[1:]] == [CommitResult] * 3
            assert [await store.get_event_count(name) for name in names] == [1, 0, 1, 1, 1]

    async def test_a_room_that_stays_locked(self, postgres_dsn: str) -> None:
        """The others of its group are written while it waits."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as holder:
            names = await rooms(store, 20)
            async with holder.transaction():
                await holder.execute(_LOCK, names[7])
                commits = [
                    asyncio.create_task(store.commit(batch(name)), name=name)
                    for name in ("r000", *names[1:])
                ]
                async with asyncio.timeout(20):
                    await asyncio.gather(*(c for c in commits if c.get_name() != names[7]))
                assert not commits[7].done()
            assert (await commits[7]).events[0].index == 0


class TestLanes:
    """Whose deliveries are."""

    @pytest.mark.parametrize("grouped", [False, True], ids=["alone", "together"])
    async def test_lanes_are_claimed_by_the_same_rule(
        self, postgres_dsn: str, grouped: bool
    ) -> None:
        """Free lanes, own ones, another's, those not wanted, and those of nobody."""
        async with PostgresStore(postgres_dsn) as store:
            names = await rooms(store, 2)
            await store.commit(batch(names[0], "theirs", owner="other"))
            await store.commit(batch(names[0], "mine", owner="me"))
            event = make_event(room_id=names[0])
            channels = ["theirs", "mine", "free", "later", "later", "free"]
            plans = tuple(
                DeliveryPlan(
                    f"{n}-{channel_id}",
                    event.id,
                    channel_id,
                    DeliveryKind.DELIVER,
                    claim=n != 3,
                )
                for n, channel_id in enumerate(channels)
            )
            mine = CommitBatch(names[0], (event,), deliveries=plans, owner="me")
            nobodys = batch(names[1], "a")
            if grouped:
                got = await together(store, mine, nobodys)
            else:
                got = [await store.commit(mine), await store.commit(nobodys)]
            assert [result.left for result in got if isinstance(result, CommitResult)] == [
                {"0-theirs", "3-later", "4-later"},
                {nobodys.deliveries[0].id},
            ]
            await store.beat("me", ["theirs", "later", "a"])
            claimed = await store.claim_deliveries("me", ["later", "a"])
            assert sorted(record.id for record in claimed) == sorted(
                ["3-later", "4-later", nobodys.deliveries[0].id]
            )

    async def test_what_nobody_takes_on_wakes_the_others(self, postgres_dsn: str) -> None:
        """A delivery that a commit of a group leaves is told of."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            names = await rooms(one, 2)
            await two.wait_for_work(5.0)
            waiting = asyncio.create_task(two.wait_for_work(50.0))
            await together(one, batch(names[0], "a"), batch(names[1]))
            async with asyncio.timeout(10):
                await waiting

    async def test_two_stores_at_the_same_rooms(self, postgres_dsn: str) -> None:
        """600 commits with their ends: no deadlock, no gap, and each lane was one's at a time."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            names = await rooms(one, 15)
            log = Log()
            for owner, store in (("w1", one), ("w2", two)):
                await store.beat(owner, ["a"])
            async with asyncio.timeout(50), asyncio.TaskGroup() as group:
                for room_id in names:
                    for owner, store in (("w1", one), ("w2", two)):
                        group.create_task(log.say(store, owner, room_id))
            while rest := await one.claim_deliveries("w1", ["a"]):
                for record in rest:
                    log.worked.setdefault(record.room_id, []).append(record.event_id)
            for room_id in names:
                done = [log.places[event_id] for event_id in log.worked[room_id]]
                assert done == list(range(40))
                assert [e.index for e in await two.list_events(room_id)] == list(range(40))


class TestGivenUp:
    """Callers, connections and stores that end in the middle."""

    async def test_one_of_many_is_cancelled(self, postgres_dsn: str) -> None:
        """Its event is whole or absent, the others are written, and nothing is left over."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as holder:
            names = await rooms(store, 12)
            batches = [batch(name, "a", owner="w") for name in names]
            async with holder.transaction():
                await holder.execute(_LOCK, names[5])
                commits = [asyncio.create_task(store.commit(one)) for one in batches]
                async with connected(postgres_dsn) as watcher:
                    await blocked(watcher, 1)
                commits[5].cancel()
                commits[6].cancel()
            results = await asyncio.gather(*commits, return_exceptions=True)
            given_up = [n for n, r in enumerate(results) if isinstance(r, BaseException)]
            assert given_up == [5, 6]
            count = 0
            for one in batches:
                count += await store.get_event(one.events[0].id) is not None
            assert count >= 10
            assert (await store.work_stats()).deliveries.depth == count

    async def test_a_connection_is_lost(self, postgres_dsn: str) -> None:
        """All callers of the group hear of it, nothing was written, and they may try again."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as holder:
            names = await rooms(store, 10)
            await holder.execute(_PATIENT)
            batches = [batch(name) for name in names]
            async with holder.transaction():
                await holder.execute(_LOCK, names[3])
                commits = [asyncio.create_task(store.commit(one)) for one in batches]
                async with connected(postgres_dsn) as watcher:
                    (row,) = await blocked(watcher, 1)
                    assert "roomkit_commit_group" in row["query"]
                    await watcher.execute("SELECT pg_terminate_backend($1)", row["pid"])
                results = await asyncio.gather(*commits, return_exceptions=True)
            assert isinstance(results[0], CommitResult)
            assert [type(result) for result in results[1:]] == [StoreUnavailableError] * 9
            assert [await store.get_event_count(name) for name in names] == [1] + [0] * 9
            again = await asyncio.gather(*(store.commit(one) for one in batches[1:]))
            assert [result.events[0].index for result in again] == [0] * 9

    async def test_closing_with_commits_waiting(self, postgres_dsn: str) -> None:
        """Those that wait fail at once; those under way are finished."""
        store = PostgresStore(postgres_dsn)
        await store.open()
        async with connected(postgres_dsn) as holder:
            await holder.execute(_PATIENT)
            await store.create_room(Room(id="r"))
            async with holder.transaction():
                await holder.execute(_LOCK, "r")
                commits = [asyncio.create_task(store.commit(batch("r"))) for _ in range(20)]
                async with connected(postgres_dsn) as watcher:
                    await blocked(watcher, 3)
                closing = asyncio.create_task(store.close())
                async with asyncio.timeout(10):
                    await asyncio.wait(commits, return_when=asyncio.FIRST_COMPLETED)
            await closing
            results = await asyncio.gather(*commits, return_exceptions=True)
            done = [r for r in results if isinstance(r, CommitResult)]
            failed = [r for r in results if isinstance(r, StoreUnavailableError)]
            assert (len(done), len(failed)) == (3, 17)
            assert all("closed" in str(error) for error in failed)
            assert await holder.fetchval("SELECT count(*) FROM events") == 3


class TestEndsWithCommits:
    """Ends of deliveries that go along with the next commit of a busy room."""

    async def test_they_share_a_transaction(self, postgres_dsn: str) -> None:
        """One message after the other: results are those of the database, and were not alone."""
        async with PostgresStore(postgres_dsn) as store, connected(postgres_dsn) as watcher:
            await store.create_room(Room(id="r"))
            await store.load_context("r")
            finishing = []
            for _ in range(20):
                given = batch("r", "a", owner="w")
                assert (await store.commit(given)).left == frozenset()
                finishing.append(asyncio.create_task(store.finish_deliveries(ends(given, "w"))))
                await asyncio.sleep(0)
                await store.commit(batch("r"))
            assert [list(lanes) for lanes in await asyncio.gather(*finishing)] == [[]] * 20
            assert await watcher.fetchval(_TOGETHER) > 0
            context = store.peek_context("r")
            assert context is not None
            assert context.recent_events == await store.list_events("r")
            results = [event.delivery_results for event in context.recent_events]
            assert results == [{"a": {"success": True}}, {}] * 20
            assert (await store.work_stats()).deliveries.depth == 0

    @pytest.mark.parametrize("how", ["duplicate", "taken", "cancelled"])
    async def test_a_commit_that_fails_takes_none_down(self, postgres_dsn: str, how: str) -> None:
        """Ends that went along with it are written all the same."""
        async with PostgresStore(postgres_dsn) as store:
            await store.create_room(Room(id="r"))
            given = batch("r", "a", owner="w", key="k")
            first = (await store.commit(given)).events[0]
            finish = asyncio.create_task(store.finish_deliveries(ends(given, "w")))
            await asyncio.sleep(0)
            bad = batch("r", key="k")
            if how == "taken":
                bad = CommitBatch("r", (first.cleaned(idempotency_key=new_id()),))
            commit = asyncio.create_task(store.commit(bad))
            await asyncio.sleep(0)
            if how == "cancelled":
                commit.cancel()
            with suppress(StoreError, asyncio.CancelledError):
                await commit
            assert list(await finish) == []
            stored = await store.get_event(first.id)
            assert stored is not None
            assert stored.delivery_results == {"a": {"success": True}}
