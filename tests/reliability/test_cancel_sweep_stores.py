"""Calls on durable stores cancelled at many moments: nothing is left half done, or left open."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import InboundResult, RoomEvent
from roomkit.testing import assert_invariants
from tests.reliability._places import Files, Server
from tests.reliability._world import CALLS, KEY, eventually
from tests.support.kits import inbound, text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.reliability._places import Place
    from tests.reliability._world import World

    type Call = Callable[[World], Awaitable[Any]]

PATIENCE = 15.0
"""Seconds a cancelled call may take to end."""


def _accept(world: World) -> Awaitable[Any]:
    return world.kit.accept(inbound(idempotency_key=KEY), room_id="r")


KEYED: dict[str, Call] = {
    "process_inbound": CALLS["process_inbound"],
    "first_contact": CALLS["process_inbound_first_contact"],
    "send_event": CALLS["send_event"],
    "accept": _accept,
}


def moments(density: int) -> Iterator[int]:
    """Yield after how many turns of the loop to cancel: all the first, then ever fewer."""
    turns = 0
    while True:
        yield turns
        turns += max(1, turns // density)


async def said(world: World) -> Counter[tuple[str, str, str]]:
    """Return everything said in all rooms, with its status, however the rooms are called."""
    found: Counter[tuple[str, str, str]] = Counter()
    for room in await world.inner.list_rooms(0, 100):
        name = room.id if room.id in ("r", "side") else "new"
        for event in await world.messages(room.id):
            found[name, text(event), event.status] += 1
    return found


async def by_key(world: World) -> list[RoomEvent]:
    """Return the events that hold the key, of all rooms."""
    found = []
    for room in await world.inner.list_rooms(0, 100):
        event = await world.inner.find_event_by_key(room.id, KEY)
        if event is not None:
            found.append(event)
    return found


async def cancelled_after(turns: int, call: Awaitable[Any]) -> asyncio.Task[Any]:
    """Return a call's task, cancelled after so many turns of the loop, once it has ended."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    interrupted = task.cancel()
    await asyncio.wait((task,), timeout=PATIENCE)
    assert task.done(), f"cancelled after {turns} turns, it did not end"
    assert task.cancelled() == interrupted, "a cancellation was swallowed"
    return task


class _CancelSweep:
    """The sweep over one kind of store."""

    density = 4
    """The more, the more moments are tried."""

    @pytest.fixture
    def place(self) -> Place:
        """Where the worlds are."""
        raise NotImplementedError

    @pytest.mark.timeout(240)
    @pytest.mark.parametrize("name", KEYED)
    async def test_a_repeat_completes_it(self, name: str, place: Place) -> None:
        """A cancelled message is stored whole or not at all; a repeat gives the one result."""
        before = asyncio.all_tasks()
        wanted = await self._clean(name, place)
        outcomes: Counter[bool] = Counter()
        for turns in moments(self.density):
            world = await place.begin()
            await world.kit.start()
            task = await cancelled_after(turns, KEYED[name](world))
            outcomes[await self._check(name, world, place, wanted)] += 1
            await place.end()
            left = asyncio.all_tasks() - before - {asyncio.current_task()}
            assert not left, f"left running: {[task.get_name() for task in left]}"
            if not task.cancelled():
                break
        assert outcomes[False] >= 2, "never cancelled before the commit"
        assert outcomes[True] >= 1, "never reached the commit"

    async def _clean(self, name: str, place: Place) -> Counter[tuple[str, str, str]]:
        """Return what is said when nothing is cancelled."""
        world = await place.begin()
        await world.kit.start()
        await KEYED[name](world)
        await self._settled(world, place)
        wanted = await said(world)
        await place.end()
        return wanted

    async def _check(
        self, name: str, world: World, place: Place, wanted: Counter[tuple[str, str, str]]
    ) -> bool:
        """See that all is whole, repeat the call, and return whether it was stored before."""
        await self._settled(world, place)
        stored = await by_key(world)
        await assert_invariants(world.inner)
        assert await said(world) == (wanted if stored else Counter())
        again = await KEYED[name](world)
        await self._settled(world, place)
        assert await said(world) == wanted
        (first,) = await by_key(world)
        assert not stored or first.id == stored[0].id
        if isinstance(again, InboundResult):
            assert again.blocked == bool(stored)
            assert again.event is not None
            assert again.event.id == first.id
        await assert_invariants(world.inner, [again] if isinstance(again, InboundResult) else ())
        return bool(stored)

    async def _settled(self, world: World, place: Place) -> None:
        """Wait until nothing is left to do, and see that nothing is held."""

        async def done() -> bool:
            stats = await place.reader.work_stats()
            return stats.inbox.depth == stats.deliveries.depth == 0

        async def idle() -> bool:
            return await place.busy() == 0

        await eventually(done)
        assert await world.kit.drain(PATIENCE)
        assert world.locks.held == []
        await eventually(idle)


class TestSQLite(_CancelSweep):
    """On SQLite files."""

    density = 10

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """Files of the test's own."""
        return Files(tmp_path)


class TestPostgres(_CancelSweep):
    """On a PostgreSQL server; each moment costs a database, so there are fewer."""

    density = 2

    @pytest.fixture
    def place(self, postgres_dsn: str) -> Place:
        """A database of the test's own."""
        return Server(postgres_dsn)
