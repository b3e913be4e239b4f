"""Room timers, checked by the worker: at their interval, once over all kits, or not at all."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from roomkit import HookTrigger, InMemoryStore, ManualClock, RoomKit, RoomTimers
from roomkit.core.locks import InMemoryLockManager
from roomkit.exceptions import StoreUnavailableError
from roomkit.testing import FaultStore, SimpleChannel
from tests.support.kits import ROOM, Ears, inbound, observe
from tests.test_durable._kits import looked, until, watched

if TYPE_CHECKING:
    from tests.support.kits import Told
    from tests.test_durable._kits import World

SILENCE = RoomTimers(inactive_after_seconds=10, closed_after_seconds=20)


async def spoken_in(world: World, kit: RoomKit, room_id: str = ROOM) -> None:
    """Open a room with timers, and let somebody say something in it: now they run."""
    await world.room(kit, "a", room_id=room_id, timers=SILENCE)
    await kit.process_inbound(inbound(), room_id=room_id)


async def becomes(world: World, kit: RoomKit, status: str, room_id: str = ROOM) -> None:
    """Let time pass until a room is of a status; a look under way may just have missed it."""
    for _ in range(5):
        if (await kit.get_room(room_id)).status == status:
            return
        await world.forward(1)
    assert (await kit.get_room(room_id)).status == status


def heard(told: list[Told], times: int) -> bool:
    """Return whether a hook was called so often."""
    return len(told) == times


class TestWorker:
    """A started kit with an interval sees to the timers of all rooms."""

    async def test_silence_pauses_and_then_closes(self, world: World) -> None:
        """With nobody calling ``check_all_timers``, and each step is told once."""
        async with world.kit(SimpleChannel("a"), timer_interval=1) as kit:
            await spoken_in(world, kit)
            ears, paused = Ears(kit), observe(kit, HookTrigger.ON_ROOM_PAUSED)
            await world.forward(8)
            assert (await kit.get_room(ROOM)).status == "active"
            await world.forward(3)
            await becomes(world, kit, "paused")
            await world.forward(10)
            await becomes(world, kit, "closed")
            await until(lambda: ears.of("room_closed"))
            assert len(ears.of("room_paused")) == len(ears.of("room_closed")) == len(paused) == 1
            assert paused[0].context.room.id == ROOM

    async def test_a_message_begins_the_silence_anew(self, world: World) -> None:
        """Only the time since the last message counts."""
        async with world.kit(SimpleChannel("a"), timer_interval=1) as kit:
            await spoken_in(world, kit)
            await world.forward(8)
            await kit.process_inbound(inbound("still here"), room_id=ROOM)
            await world.forward(8)
            assert watched(kit).done["find_due_rooms"] >= 5
            assert (await kit.get_room(ROOM)).status == "active"
            await world.forward(4)
            await becomes(world, kit, "paused")

    async def test_a_room_opened_again_falls_silent_again(self, world: World) -> None:
        """With nothing said in between, too: it is closed once more, and that is told."""
        async with world.kit(SimpleChannel("a"), timer_interval=1) as kit:
            await spoken_in(world, kit)
            closed = observe(kit, HookTrigger.ON_ROOM_CLOSED)
            for times in (1, 2):
                await world.forward(21)
                await becomes(world, kit, "closed")
                await until(partial(heard, closed, times))
                await kit.reopen_room(ROOM)

    async def test_rooms_of_other_processes_too(self, world: World) -> None:
        """Who opened the room is gone; the timers are the store's."""
        first = world.kit(SimpleChannel("a"))
        await spoken_in(world, first)
        await first.close()
        async with world.kit(SimpleChannel("b"), timer_interval=1) as kit:
            await world.forward(11)
            await becomes(world, kit, "paused")

    async def test_a_failing_look_is_not_the_last(self, world: World) -> None:
        """The store goes away for a moment; the next look finds the room."""
        async with world.kit(SimpleChannel("a"), timer_interval=1) as kit:
            await spoken_in(world, kit)
            watched(kit).fail_next("find_due_rooms", StoreUnavailableError("away"))
            await world.forward(12)
            await until(lambda: watched(kit).fired)
            await world.forward(2)
            await becomes(world, kit, "paused")


class TestWithout:
    """Nothing happens unasked."""

    async def test_no_interval_no_looks(self, world: World) -> None:
        """A started kit without an interval leaves timers to whoever calls."""
        async with world.kit(SimpleChannel("a")) as kit:
            await spoken_in(world, kit)
            await world.forward(30)
            await looked(kit)
            assert watched(kit).counts["find_due_rooms"] == 0
            assert (await kit.get_room(ROOM)).status == "active"
            await kit.check_all_timers()
            assert (await kit.get_room(ROOM)).status == "closed"

    async def test_not_before_the_start(self, world: World) -> None:
        """An interval is for the worker, and there is none before ``start``."""
        kit = world.kit(SimpleChannel("a"), timer_interval=1)
        await spoken_in(world, kit)
        await world.forward(12)
        assert watched(kit).counts["find_due_rooms"] == 0
        await kit.start()
        await becomes(world, kit, "paused")

    async def test_not_after_the_close(self, world: World) -> None:
        """A closed kit looks no more."""
        kit = world.kit(SimpleChannel("a"), timer_interval=1)
        await spoken_in(world, kit)
        await kit.start()
        await until(lambda: watched(kit).done.get("find_due_rooms"))
        await kit.close()
        looks = watched(kit).counts["find_due_rooms"]
        await world.clock.advance(12)
        assert watched(kit).counts["find_due_rooms"] == looks

    async def test_the_interval_is_kept(self, world: World) -> None:
        """Other work does not make the kit look at the timers more often than asked."""
        async with world.kit(SimpleChannel("a"), timer_interval=60) as kit:
            await spoken_in(world, kit)
            looks = watched(kit).counts
            await until(lambda: looks["find_due_rooms"])
            for body in ("one", "two"):
                await kit.accept(inbound(body), room_id=ROOM)
            await looked(kit, 20)
            assert looks["find_due_rooms"] == 1
            await world.forward(59)
            assert looks["find_due_rooms"] == 1
            await world.forward(1)
            await until(lambda: looks["find_due_rooms"] == 2)


class TestSeveral:
    """Timers of a room go off once, however many kits look."""

    @pytest.mark.parametrize("shared", [True, False], ids=["one lock", "a lock each"])
    async def test_hooks_fire_once(self, world: World, shared: bool) -> None:
        """Two kits find the same room at the same moment."""
        locks = InMemoryLockManager()
        kits = [
            world.kit(SimpleChannel("a"), lock_manager=locks if shared else InMemoryLockManager())
            for _ in range(2)
        ]
        rooms = [f"r{number}" for number in range(6)]
        for room_id in rooms:
            await spoken_in(world, kits[0], room_id)
        told = [observe(kit, HookTrigger.ON_ROOM_PAUSED) for kit in kits]
        await world.forward(11)
        await asyncio.gather(*(kit.check_all_timers() for kit in kits))
        for kit in kits:
            await kit.drain(5)
        paused = sorted(one.context.room.id for heard in told for one in heard)
        assert paused == rooms
        for room_id in rooms:
            timeline = await kits[0].get_timeline(room_id)
            codes = [getattr(event.content, "code", None) for event in timeline]
            assert codes.count("room_paused_by_timer") == 1

    async def test_two_workers(self, world: World) -> None:
        """The same by themselves, with one lock for both."""
        locks = InMemoryLockManager()
        kits = [
            world.kit(SimpleChannel("a"), lock_manager=locks, timer_interval=1) for _ in range(2)
        ]
        await spoken_in(world, kits[0])
        told = [observe(kit, HookTrigger.ON_ROOM_PAUSED) for kit in kits]
        for kit in kits:
            await kit.start()
        await world.forward(13)
        await becomes(world, kits[1], "paused")
        await world.forward(3)
        for kit in kits:
            await kit.drain(5)
        assert len(told[0]) + len(told[1]) == 1


class TestInMemory:
    """Timers need no durable store."""

    async def test_a_started_kit_checks_them(self) -> None:
        """``start`` and an interval are enough."""
        clock = ManualClock()
        async with RoomKit(InMemoryStore(), clock=clock, timer_interval=5) as kit:
            kit.register_channel(SimpleChannel("a"))
            await kit.create_room(ROOM, timers=SILENCE)
            await kit.attach_channel(ROOM, "a")
            await kit.process_inbound(inbound(), room_id=ROOM)
            await clock.advance(16)
            assert (await kit.get_room(ROOM)).status == "paused"
            await clock.advance(10)
            assert (await kit.get_room(ROOM)).status == "closed"

    async def test_at_the_interval_and_not_in_between(self) -> None:
        """One look at the start, then one for each interval."""
        clock = ManualClock()
        store = FaultStore(InMemoryStore())
        async with RoomKit(store, clock=clock, timer_interval=5):
            await clock.advance(4)
            assert store.counts["find_due_rooms"] == 1
            await clock.advance(16)
            assert store.counts["find_due_rooms"] == 5
