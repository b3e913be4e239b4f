"""Every public coroutine cancelled at every turn of the loop: nothing is left half done."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from roomkit import InboundResult, InMemoryStore, RoomEvent, RoomKit
from roomkit.testing import assert_invariants, sweep_cancel
from tests.reliability._world import CALLS, KEY, KEYED, World, make_world
from tests.support.kits import text
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from roomkit import ConversationStore
    from roomkit.testing import Outcome

    type Said = Counter[tuple[str, str, str]]


def plain(inner: InMemoryStore) -> ConversationStore:
    return inner


STORES = pytest.mark.parametrize(
    "wrap", [pytest.param(plain, id="memory"), pytest.param(SuspendingStore, id="suspending")]
)


async def said(world: World) -> Said:
    """Return everything said in all rooms, with its status, however the rooms are called."""
    found: Said = Counter()
    for room in await world.inner.list_rooms(0, 100):
        name = room.id if room.id in ("r", "side") else "new"
        for event in await world.messages(room.id):
            found[name, text(event), event.status] += 1
    return found


async def settled(world: World) -> None:
    """Let everything end, and see that the locks are free and the promises kept."""
    assert await world.kit.drain(5)
    assert world.locks.held == []
    await assert_invariants(world.inner)


async def closed(world: World, before: set[asyncio.Task[Any]]) -> None:
    """Close the kit and see that nothing of it goes on."""
    await world.kit.close()
    assert asyncio.all_tasks() - before == set()


class Sweep:
    """One call, run on a new world each time."""

    def __init__(self, name: str, wrap: Callable[[InMemoryStore], ConversationStore]) -> None:
        self.name = name
        self.wrap = wrap
        self.world: World
        self.before: set[asyncio.Task[Any]] = set()

    async def prepare(self) -> None:
        self.before = asyncio.all_tasks()
        self.world = await make_world(self.wrap)

    def make(self) -> Coroutine[Any, Any, Any]:
        return CALLS[self.name](self.world)

    async def run(self, check: Callable[[World, Outcome], Any]) -> int:
        async def checked(turn: int, outcome: Outcome) -> None:
            if outcome.error is not None and not outcome.cancelled:
                raise outcome.error
            await settled(self.world)
            await check(self.world, outcome)
            await closed(self.world, self.before)
            await self.prepare()

        await self.prepare()
        turns = await sweep_cancel(self.make, checked)
        await closed(self.world, self.before)
        return turns


@STORES
class TestKeyedCalls:
    """A cancelled message is stored whole or not at all; a repeat gives the one result."""

    @pytest.mark.parametrize("name", KEYED)
    async def test_a_repeat_completes_it(
        self, name: str, wrap: Callable[[InMemoryStore], ConversationStore]
    ) -> None:
        clean = await make_world(wrap)
        await CALLS[name](clean)
        await settled(clean)
        wanted, heard, sent = await said(clean), len(clean.heard), len(clean.sms.sent)
        await clean.kit.close()
        outcomes: Counter[bool] = Counter()

        async def check(world: World, outcome: Outcome) -> None:
            half = await said(world)
            # Stored with its injected event, delivered and answered; or not there at all.
            assert half in (Counter(), wanted)
            outcomes[bool(half)] += 1
            again = await CALLS[name](world)
            await settled(world)
            assert await said(world) == wanted
            assert (len(world.heard), len(world.sms.sent)) == (heard, sent)
            await assert_invariants(world.inner, [again])
            first = await _by_key(world)
            event = again.event if isinstance(again, InboundResult) else again
            assert isinstance(event, RoomEvent)
            assert event.id == first.id
            if isinstance(again, InboundResult):
                assert again.blocked == bool(half)

        turns = await Sweep(name, wrap).run(check)
        assert turns > 5
        # The sweep met both: cancelled before the commit and after.
        assert outcomes[True] >= 2
        if wrap is SuspendingStore:
            assert outcomes[False] >= 5


async def _by_key(world: World) -> RoomEvent:
    found = []
    for room in await world.inner.list_rooms(0, 100):
        event = await world.inner.find_event_by_key(room.id, KEY)
        if event is not None:
            found.append(event)
    assert len(found) == 1
    return found[0]


@STORES
class TestOtherCalls:
    """Whatever is cancelled, its room is free and whole, and the call can be made again."""

    @pytest.mark.parametrize("name", [name for name in CALLS if name not in KEYED])
    async def test_the_room_is_free_and_whole(
        self, name: str, wrap: Callable[[InMemoryStore], ConversationStore]
    ) -> None:
        async def check(world: World, outcome: Outcome) -> None:
            async with asyncio.timeout(5):
                await world.kit.update_room_metadata("r", {"free": True})
            if name in _REPEATABLE:
                await CALLS[name](world)
            await settled(world)

        assert await Sweep(name, wrap).run(check) >= 1


_REPEATABLE = frozenset(CALLS) - {"unregister_channel"}


@STORES
class TestClosing:
    """A close that is cancelled can be made again and then finishes what was left."""

    async def test_a_cancelled_close_is_completed_by_the_next(
        self, wrap: Callable[[InMemoryStore], ConversationStore]
    ) -> None:
        worlds: list[World] = []
        before = asyncio.all_tasks()

        async def busy() -> World:
            world = await make_world(wrap)
            caller = asyncio.ensure_future(CALLS["process_inbound"](world))
            for _ in range(8):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait((caller,))
            worlds.append(world)
            return world

        async def check(turn: int, outcome: Outcome) -> None:
            world = worlds[-1]
            assert outcome.cancelled or outcome.error is None
            await world.kit.close()
            assert asyncio.all_tasks() - before == set()
            assert world.locks.held == []
            assert world.sms.closed
            await assert_invariants(world.inner)
            await busy()

        await busy()
        assert await sweep_cancel(lambda: worlds[-1].kit.close(), check) > 1
        await worlds[-1].kit.close()

    async def test_opening_and_leaving(
        self, wrap: Callable[[InMemoryStore], ConversationStore]
    ) -> None:
        """``async with`` cancelled anywhere leaves no task and no lock."""
        before = asyncio.all_tasks()
        kits: list[RoomKit] = []

        async def session() -> None:
            async with RoomKit(wrap(InMemoryStore())) as kit:
                kits.append(kit)
                await kit.create_room("r")

        async def check(turn: int, outcome: Outcome) -> None:
            for kit in kits:
                await kit.close()
            kits.clear()
            assert asyncio.all_tasks() - before == set()

        assert await sweep_cancel(session, check) >= 1
