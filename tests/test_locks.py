"""The room lock: one holder a room, fair, and gone without a trace when nobody needs it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.core.locks import InMemoryLockManager, RoomLockManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def turns(count: int = 5) -> None:
    """Let every task that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Visits:
    """Enters rooms and notices when two are in one room at once."""

    def __init__(self, locks: RoomLockManager) -> None:
        self.locks = locks
        self.inside: dict[str, int] = {}
        self.most = 0
        self.order: list[object] = []

    async def visit(self, room_id: str, tag: object, stay: asyncio.Event | int = 1) -> None:
        async with self.locks.locked(room_id):
            self.inside[room_id] = self.inside.get(room_id, 0) + 1
            self.most = max(self.most, self.inside[room_id])
            self.order.append(tag)
            try:
                if isinstance(stay, int):
                    await turns(stay)
                else:
                    await stay.wait()
            finally:
                self.inside[room_id] -= 1


class TestExclusion:
    """At most one holder a room, first come first served; rooms do not touch each other."""

    async def test_one_holder_a_room_in_order_of_arrival(self) -> None:
        visits = Visits(InMemoryLockManager())
        await asyncio.gather(*(visits.visit("r", n) for n in range(50)))
        assert visits.most == 1
        assert visits.order == list(range(50))

    async def test_another_room_is_not_held_up(self) -> None:
        locks = InMemoryLockManager()
        async with locks.locked("a"):
            await asyncio.wait_for(Visits(locks).visit("b", "b"), 1)

    async def test_a_newcomer_does_not_overtake_the_line(self) -> None:
        """Between the release and the next one's first step the lock is not free."""
        visits = Visits(InMemoryLockManager())
        leave = asyncio.Event()
        first = asyncio.create_task(visits.visit("r", "first", leave))
        await turns()
        second = asyncio.create_task(visits.visit("r", "second"))
        await turns()
        leave.set()
        await first
        await visits.visit("r", "third")
        await second
        assert visits.order == ["first", "second", "third"]

    async def test_an_error_inside_frees_the_lock(self) -> None:
        locks = InMemoryLockManager()
        with pytest.raises(LookupError):
            async with locks.locked("r"):
                raise LookupError
        await asyncio.wait_for(Visits(locks).visit("r", 0), 1)

    def test_a_free_lock_is_taken_without_suspending(self) -> None:
        """No loop is needed, and none runs: entering and leaving end in their first step."""
        hold = InMemoryLockManager().locked("r")
        with pytest.raises(StopIteration):
            hold.__aenter__().__await__().__next__()
        with pytest.raises(StopIteration):
            hold.__aexit__(None, None, None).__await__().__next__()


class TestCancellation:
    """A cancelled wait leaves nothing behind and loses nobody's turn."""

    async def test_a_cancelled_waiter_is_passed_over(self) -> None:
        visits = Visits(InMemoryLockManager())
        leave = asyncio.Event()
        holder = asyncio.create_task(visits.visit("r", "holder", leave))
        await turns()
        gone = asyncio.create_task(visits.visit("r", "gone"))
        last = asyncio.create_task(visits.visit("r", "last"))
        await turns()
        gone.cancel()
        leave.set()
        await asyncio.gather(holder, last)
        assert visits.order == ["holder", "last"]
        assert gone.cancelled()

    async def test_a_turn_that_came_with_the_cancellation_goes_to_the_next(self) -> None:
        """The lock is handed over and its taker is cancelled before it runs."""
        locks = InMemoryLockManager()
        visits = Visits(locks)
        hold = locks.locked("r")
        await hold.__aenter__()
        gone = asyncio.create_task(visits.visit("r", "gone"))
        last = asyncio.create_task(visits.visit("r", "last"))
        await turns()
        await hold.__aexit__(None, None, None)
        gone.cancel()
        await asyncio.wait_for(last, 1)
        assert visits.order == ["last"]
        assert gone.cancelled()

    async def test_a_wait_cancelled_before_the_release_ran_is_not_counted_twice(self) -> None:
        """The release skips the cancelled wait while that has not yet cleaned up."""
        locks = InMemoryLockManager(max_locks=1)
        hold = locks.locked("r")
        await hold.__aenter__()
        gone = asyncio.create_task(Visits(locks).visit("r", "gone"))
        await turns()
        gone.cancel()
        await hold.__aexit__(None, None, None)
        with pytest.raises(asyncio.CancelledError):
            await gone
        await asyncio.wait_for(Visits(locks).visit("r", "next"), 1)

    @given(st.lists(st.integers(min_value=0, max_value=11), min_size=1, max_size=12), st.data())
    @settings(max_examples=80, deadline=None)
    def test_any_cancellations_keep_one_holder_and_leave_the_lock_free(
        self, victims: list[int], data: st.DataObject
    ) -> None:
        """Property: whoever is cancelled whenever, the rest get through one at a time."""
        pauses = [data.draw(st.integers(min_value=0, max_value=3)) for _ in victims]

        async def scenario() -> None:
            locks = InMemoryLockManager(max_locks=1)
            visits = Visits(locks)
            tasks = [asyncio.create_task(visits.visit("r", n)) for n in range(12)]
            for victim, pause in zip(victims, pauses, strict=True):
                await turns(pause)
                tasks[victim].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert visits.most <= 1
            for n, result in enumerate(results):
                if n not in victims:
                    assert result is None
                    assert n in visits.order
            await asyncio.wait_for(visits.visit("r", "after"), 1)
            async with locks.locked("another"):
                assert locks.size == 1

        asyncio.run(scenario())


class TestTable:
    """The table keeps ``max_locks`` idle locks and never drops one in use."""

    async def test_the_longest_idle_goes_first(self) -> None:
        locks = InMemoryLockManager(max_locks=2)
        for room_id in ("r1", "r2", "r1", "r3"):
            async with locks.locked(room_id):
                pass
        assert locks.size == 2
        async with locks.locked("r1"):  # still known, so nothing is added
            assert locks.size == 2

    async def test_a_lock_in_use_is_never_evicted(self) -> None:
        """Regression: a full table of held locks gave a room a second holder."""
        locks = InMemoryLockManager(max_locks=2)
        visits = Visits(locks)
        leave = asyncio.Event()
        rooms = [f"r{n}" for n in range(6)]
        holders = [asyncio.create_task(visits.visit(r, ("holder", r), leave)) for r in rooms]
        await turns()
        assert locks.size == 6
        others = [asyncio.create_task(visits.visit(r, ("other", r))) for r in rooms]
        await turns()
        assert visits.order == [("holder", r) for r in rooms]
        leave.set()
        await asyncio.gather(*holders, *others)
        assert visits.most == 1
        async with locks.locked("new"):
            assert locks.size == 2

    async def test_the_requested_lock_is_not_the_one_evicted(self) -> None:
        """Regression: with all others held, the new entry itself was thrown out."""
        locks = InMemoryLockManager(max_locks=1)
        visits = Visits(locks)
        async with locks.locked("held"):
            await asyncio.gather(*(visits.visit("new", n) for n in range(5)))
        assert visits.most == 1

    async def test_a_hold_made_long_before_its_use_is_still_the_rooms_lock(self) -> None:
        locks = InMemoryLockManager(max_locks=1)
        early = locks.locked("r")
        async with locks.locked("other"):
            pass
        async with early:
            late = asyncio.create_task(Visits(locks).visit("r", "late"))
            await turns()
            assert not late.done()
        await late

    async def test_many_rooms_leave_no_more_than_the_bound(self) -> None:
        locks = InMemoryLockManager(max_locks=8)
        for n in range(500):
            async with locks.locked(f"r{n}"):
                pass
        assert locks.size == 8

    def test_default_bound_and_empty_start(self) -> None:
        assert InMemoryLockManager().size == 0


class TestLoops:
    """A manager outlives an event loop, also one that ended while somebody waited."""

    def test_contention_on_one_loop_after_another(self) -> None:
        locks = InMemoryLockManager()

        async def contend() -> None:
            visits = Visits(locks)
            await asyncio.gather(*(visits.visit("r", n) for n in range(5)))
            assert visits.most == 1

        for _ in range(3):
            asyncio.run(contend())

    def test_a_loop_that_ends_amid_a_hold_leaves_the_lock_free(self) -> None:
        locks = InMemoryLockManager()
        visits = Visits(locks)

        async def abandon() -> None:
            tasks = [asyncio.create_task(visits.visit("r", n, asyncio.Event())) for n in range(3)]
            await turns()
            assert not any(task.done() for task in tasks)

        asyncio.run(abandon())
        asyncio.run(asyncio.wait_for(visits.visit("r", "later"), 1))
        assert visits.order[-1] == "later"

    def test_a_waiter_of_a_closed_loop_is_passed_over(self) -> None:
        """The loop was closed with the waiter still in line: the lock must not go to it."""
        locks = InMemoryLockManager()
        visits = Visits(locks)
        hold = locks.locked("r")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(hold.__aenter__())
        dead = loop.create_task(visits.visit("r", "dead"))
        loop.run_until_complete(turns())
        loop.close()
        asyncio.run(hold.__aexit__(None, None, None))
        asyncio.run(asyncio.wait_for(visits.visit("r", "later"), 1))
        assert visits.order == ["later"]
        assert not dead.done()


class TestInterface:
    """A lock manager of one's own needs ``locked`` and nothing else."""

    async def test_a_manager_knows_of_no_lost_lease_by_default(self) -> None:
        class Unlocked(RoomLockManager):
            @asynccontextmanager
            async def locked(self, room_id: str) -> AsyncIterator[None]:
                yield

        locks = Unlocked()
        async with locks.locked("r"):
            assert locks.lost("r") is False

    def test_the_base_cannot_be_used_alone(self) -> None:
        with pytest.raises(TypeError):
            RoomLockManager()  # type: ignore[abstract]
