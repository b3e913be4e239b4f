"""What every lock manager must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.testing.sweep import sweep_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.core.locks import RoomLockManager
    from roomkit.testing.sweep import Outcome


class LockManagerConformance(Suite, ABC):
    """One holder a room, whatever happens to it. Implement ``make_locks``."""

    @abstractmethod
    async def make_locks(self) -> RoomLockManager:
        """Return a new lock manager, ready for use."""

    async def close_locks(self, locks: RoomLockManager) -> None:
        """Let go of what ``make_locks`` opened; the default has nothing to do."""
        return

    @pytest_asyncio.fixture
    async def locks(self) -> AsyncIterator[RoomLockManager]:
        """A lock manager of the test's own."""
        locks = await self.make_locks()
        yield locks
        await self.close_locks(locks)

    async def test_one_holder_at_a_time(self, locks: RoomLockManager) -> None:
        """However many want a room's lock, no two are inside together, and all get in."""
        inside = most = entered = 0

        async def enter() -> None:
            nonlocal inside, most, entered
            async with locks.locked("room"):
                inside += 1
                entered += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(enter() for _ in range(20)))
        assert (most, entered) == (1, 20)

    async def test_rooms_do_not_wait_for_each_other(self, locks: RoomLockManager) -> None:
        """The lock of one room is free while another's is held."""
        async with asyncio.timeout(PATIENCE), locks.locked("one"), locks.locked("two"):
            pass

    async def test_a_held_lock_makes_others_wait(self, locks: RoomLockManager) -> None:
        """Nobody enters before the holder has left."""
        log: list[str] = []

        async def second() -> None:
            async with locks.locked("room"):
                log.append("second")

        async with asyncio.TaskGroup() as tasks, locks.locked("room"):
            tasks.create_task(second())
            for _ in range(20):
                await asyncio.sleep(0)
            log.append("first")
        assert log == ["first", "second"]

    async def test_an_error_frees_the_lock(self, locks: RoomLockManager) -> None:
        """The error passes through, and the lock is free again."""
        with pytest.raises(LookupError):
            async with locks.locked("room"):
                raise LookupError
        await self._is_free(locks)

    async def test_a_cancelled_holder_frees_the_lock(self, locks: RoomLockManager) -> None:
        """A task cancelled inside leaves the lock free."""
        entered = asyncio.Event()

        async def hold() -> None:
            async with locks.locked("room"):
                entered.set()
                await asyncio.get_running_loop().create_future()

        async with asyncio.TaskGroup() as tasks:
            holder = tasks.create_task(hold())
            await entered.wait()
            holder.cancel()
        await self._is_free(locks)

    async def test_a_cancelled_wait_leaves_nothing(self, locks: RoomLockManager) -> None:
        """Wherever a waiter is cancelled, the lock goes on to those behind it."""

        async def hold_briefly() -> None:
            async with locks.locked("room"):
                for _ in range(3):
                    await asyncio.sleep(0)

        async def contend() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hold_briefly())
                await asyncio.sleep(0)
                async with locks.locked("room"):
                    await asyncio.sleep(0)

        async def check(turn: int, outcome: Outcome) -> None:
            assert outcome.cancelled or not outcome.interrupted
            await self._is_free(locks)

        await sweep_cancel(contend, check)

    async def test_a_cancelled_wait_frees_nothing(self, locks: RoomLockManager) -> None:
        """Who gives up waiting does not let others in beside the holder."""
        held, leave = asyncio.Event(), asyncio.Event()
        entered: list[int] = []

        async def hold() -> None:
            async with locks.locked("room"):
                held.set()
                await leave.wait()

        async def wait(number: int) -> None:
            async with locks.locked("room"):
                entered.append(number)

        async with asyncio.timeout(PATIENCE):
            holder = asyncio.ensure_future(hold())
            await held.wait()
            waiters = [asyncio.ensure_future(wait(number)) for number in range(4)]
            for turns, waiter in enumerate(waiters[:2], 1):
                for _ in range(10 * turns):
                    await asyncio.sleep(0)
                waiter.cancel()
                await asyncio.wait((waiter,))
            for _ in range(20):
                await asyncio.sleep(0)
            assert entered == []
            leave.set()
            await asyncio.wait((holder, *waiters))
        assert sorted(entered) == [2, 3]
        await self._is_free(locks)

    async def test_many_rooms(self, locks: RoomLockManager) -> None:
        """A held lock stays held while thousands of other rooms come and go."""
        log: list[str] = []

        async def second() -> None:
            async with locks.locked("held"):
                log.append("second")

        async with asyncio.TaskGroup() as tasks, locks.locked("held"):
            tasks.create_task(second())
            for n in range(self.many_rooms):
                async with locks.locked(f"room-{n}"):
                    pass
            log.append("first")
        assert log == ["first", "second"]

    many_rooms = 2000
    """How many rooms the last test uses; less for locks that cost a round trip."""

    async def _is_free(self, locks: RoomLockManager) -> None:
        async with asyncio.timeout(PATIENCE), locks.locked("room"):
            pass
