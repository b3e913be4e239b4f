"""The sweeps reach every point at which something can be interrupted."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.models.room import Room
from roomkit.store.memory import InMemoryStore
from roomkit.testing import FaultStore, Outcome, make_event, sweep_cancel, sweep_faults


class TestCancelSweep:
    """Each run is cancelled one turn later; the last one ends by itself."""

    async def test_every_point_is_reached(self) -> None:
        """A coroutine of three waits is cancelled in each of them, then completes."""
        reached: list[int] = []
        seen: list[tuple[bool, bool]] = []

        async def work() -> str:
            reached.append(0)
            for step in (1, 2, 3):
                await asyncio.sleep(0)
                reached[-1] = step
            return "done"

        async def check(turn: int, outcome: Outcome) -> None:
            seen.append((outcome.interrupted, outcome.cancelled))
            if not outcome.interrupted:
                assert outcome.result == "done"

        runs = await sweep_cancel(work, check)
        assert runs == len(seen)
        assert reached[0] == 0
        assert set(reached) == {0, 1, 2, 3}
        assert seen == [(True, True)] * (runs - 1) + [(False, False)]

    async def test_a_swallowed_cancellation_is_an_error(self) -> None:
        """Unless the coroutine may do so."""

        async def work() -> None:
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return

        async def check(turn: int, outcome: Outcome) -> None:
            assert outcome.error is None

        with pytest.raises(AssertionError, match="returned normally"):
            await sweep_cancel(work, check)
        assert await sweep_cancel(work, check, may_swallow=True) > 1

    async def test_a_coroutine_that_never_ends_is_an_error(self) -> None:
        """The number of runs is bounded."""

        async def check(turn: int, outcome: Outcome) -> None:
            assert outcome.cancelled

        async def work() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(AssertionError, match="20 turns"):
            await sweep_cancel(work, check, limit=20)

    async def test_half_done_work_is_seen(self) -> None:
        """What a coroutine leaves behind when cancelled in the middle meets the check."""
        debit: list[int] = []
        credit: list[int] = []

        async def transfer() -> None:
            debit.append(1)
            await asyncio.sleep(0)
            credit.append(1)

        async def check(turn: int, outcome: Outcome) -> None:
            assert len(debit) == len(credit), "half a transfer"

        with pytest.raises(AssertionError, match="half a transfer"):
            await sweep_cancel(transfer, check)


class TestFaultSweep:
    """Each run fails one call later, in every way asked for."""

    async def test_every_call_fails_once_each_way(self) -> None:
        """Before and after its effect; then one run without a fault."""
        seen: list[tuple[int, str, int]] = []

        async def scenario(store: FaultStore) -> None:
            await store.create_room(Room(id="room-1"))
            await store.add_event(make_event())

        async def check(number: int, outcome: Outcome, store: FaultStore) -> None:
            error = type(outcome.error).__name__
            seen.append((number, error, await store.inner.get_event_count("room-1")))

        runs = await sweep_faults(InMemoryStore, scenario, check, faults=[ConnectionError])
        ending = (3, "NoneType", 1)
        before = [(1, "ConnectionError", 0), (2, "ConnectionError", 0), ending]
        after = [(1, "ConnectionError", 0), (2, "ConnectionError", 1), ending]
        assert seen == before + after
        assert runs == 6

    async def test_a_cancelled_scenario_ends_with_its_cancellation(self) -> None:
        """``cancel`` is one of the faults; the store may come from a coroutine."""
        cancelled: list[bool] = []

        async def make() -> InMemoryStore:
            return InMemoryStore()

        async def scenario(store: FaultStore) -> None:
            await store.add_event(make_event())

        async def check(number: int, outcome: Outcome, store: FaultStore) -> None:
            cancelled.append(outcome.cancelled)

        await sweep_faults(make, scenario, check, faults=["cancel"], when=["after"])
        assert cancelled == [True, False]

    async def test_the_number_of_runs_is_bounded(self) -> None:
        """A scenario that repeats for ever is an error."""

        async def scenario(store: FaultStore) -> None:
            for _ in range(10):
                await store.get_room("r")

        async def check(number: int, outcome: Outcome, store: FaultStore) -> None:
            assert outcome.interrupted

        with pytest.raises(AssertionError, match="5 failed calls"):
            await sweep_faults(InMemoryStore, scenario, check, limit=5)
