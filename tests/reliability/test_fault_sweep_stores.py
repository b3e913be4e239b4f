"""Every call of a durable store failing in turn, on SQLite, with and without its effect.

Before the commit a failure leaves nothing; after it the message is delivered all the same, if
need be by the worker; and a repeat gets the one result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    CommitOutcomeUnknown,
    InboundResult,
    RoomEvent,
    StoreUnavailableError,
)
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import assert_invariants, sweep_faults
from tests.reliability._places import copy_database
from tests.reliability._world import KEY, KEYED, World, eventually
from tests.reliability.test_fault_sweep import SCENARIOS, flattened

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.store.durable import DurableStore
    from roomkit.testing import FaultStore, Outcome
    from roomkit.testing.faults import When

NAMES = ("process_inbound", "process_inbound_first_contact", "send_event", "edit", "life")
LONG = ("process_inbound_routed", "crowd", "twins", "newcomers")


async def filled(path: Path) -> None:
    """Write a file whose rooms are there already: only the scenario's own calls fail."""
    store = SQLiteStore(path, synchronous="OFF")
    await store.open()
    await (await World(store, store).build()).kit.close()
    await store.close()


class Runs:
    """Worlds on copies of one file, each with a second look at what is stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = folder / "template.db"
        self.count = 0
        self.path = self.template
        self.world: World
        self.reader: DurableStore

    async def make(self) -> SQLiteStore:
        """Return a store on the next copy."""
        self.count += 1
        self.path = self.folder / f"{self.count}.db"
        copy_database(self.template, self.path)
        self.reader = SQLiteStore(self.path, synchronous="OFF")
        await self.reader.open()
        return SQLiteStore(self.path, synchronous="OFF")

    async def end(self) -> None:
        """Close everything and remove the copy."""
        await self.world.kit.close()
        await self.reader.close()
        for path in self.folder.glob(f"{self.count}.db*"):
            path.unlink()


class TestStoreFaults:
    """The k-th call of the store fails, for every k."""

    @pytest.mark.timeout(180)
    @pytest.mark.parametrize(
        "name", [*NAMES, *(pytest.param(name, marks=pytest.mark.soak) for name in LONG)]
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_nothing_is_half_done(self, name: str, when: When, tmp_path: Path) -> None:
        """With the error a store gives when it cannot be reached."""
        runs = Runs(tmp_path)
        await filled(runs.template)

        async def scenario(faulty: FaultStore) -> Any:
            runs.world = World(faulty, runs.reader).furnish()
            try:
                await runs.world.kit.start()
                return await SCENARIOS[name](runs.world)
            finally:
                assert await runs.world.kit.drain(10)

        async def check(number: int, outcome: Outcome, faulty: FaultStore) -> None:
            faulty.reset()  # the last run still waits for its fault
            world = runs.world
            await world.kit.start()
            await _settled(runs)
            assert world.locks.held == []
            results = flattened(outcome)
            told = [r for r in results if isinstance(r, InboundResult | RoomEvent)]
            await assert_invariants(world.inner, told)
            for error in results:
                if isinstance(error, BaseException):
                    assert type(error) in (StoreUnavailableError, CommitOutcomeUnknown), error
            if name in KEYED:
                await self._repeat(name, runs, results[0])
            await runs.end()

        fault = StoreUnavailableError
        assert await sweep_faults(runs.make, scenario, check, faults=[fault], when=[when]) > 4

    @staticmethod
    async def _repeat(name: str, runs: Runs, result: Any) -> None:
        """A repeat with the same key: one event in the end, delivered, and the same result."""
        world = runs.world
        stored = [
            event
            for room in await world.inner.list_rooms(0, 100)
            if (event := await world.inner.find_event_by_key(room.id, KEY)) is not None
        ]
        if not isinstance(result, BaseException):
            assert len(stored) == 1
        elif not isinstance(result, CommitOutcomeUnknown):
            # An error means that nothing was stored.
            assert stored == []
        for event in stored:
            assert _targets(event) <= set(event.delivery_results)
        again = await SCENARIOS[name](world)
        event = again.event if isinstance(again, InboundResult) else again
        assert event is not None
        if stored:
            assert event.id == stored[0].id
        if isinstance(again, InboundResult):
            assert again.blocked == bool(stored)
        await _settled(runs)
        known = await world.inner.get_event(event.id)
        assert known is not None
        assert _targets(known) <= set(known.delivery_results)
        await assert_invariants(world.inner, [again])


def _targets(event: RoomEvent) -> set[str]:
    """Return who must have an event, or a record of why not."""
    return {"ws"} if event.room_id == "r" else set()


async def _settled(runs: Runs) -> None:
    """Wait until nothing is left to do; a worker may need a turn of a second for it."""

    async def done() -> bool:
        return (await runs.reader.work_stats()).deliveries.depth == 0

    await eventually(done)
    assert await runs.world.kit.drain(10)
