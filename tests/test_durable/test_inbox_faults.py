"""The inbox when stores fail, workers stall and kits close: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import HookResult, HookTrigger
from roomkit.exceptions import StoreUnavailableError
from tests.support.kits import ROOM, inbound
from tests.test_durable._kits import Doorway, comes, idle, looked, said, until, watched

if TYPE_CHECKING:
    from roomkit import RoomContext, RoomEvent, RoomKit
    from tests.test_durable._kits import World


class TestTakeOver:
    """A worker that stalls loses its rows, and what it does then does not count."""

    async def test_a_row_taken_over_is_not_doubled(self, world: World) -> None:
        """The first worker had it in hand when its beats stopped; the second brings it in."""
        slow, quick = Doorway(), Doorway()
        go_on = slow.hold("one")
        first = world.kit(slow)
        await world.room(first, "a")
        await first.start()
        await first.accept(inbound("one"), room_id=ROOM)
        await first.accept(inbound("two"), room_id=ROOM)
        await until(lambda: slow.arrived)
        second = world.kit(quick)
        await second.start()
        await looked(second)
        assert quick.arrived == []
        watched(first).deaf = True
        await world.forward(6)
        await comes(second, "one", "two")
        go_on.set()
        await until(lambda: watched(first).done.get("finish_inbox"))
        assert await said(second) == ["one", "two"]
        assert quick.arrived == ["one", "two"]
        assert slow.arrived == ["one"]
        watched(first).deaf = False
        await world.forward(2)
        await first.accept(inbound("three"), room_id=ROOM)
        await comes(second, "one", "two", "three")
        assert (await first.stats()).counters["lapsed"] == 1

    async def test_the_one_that_lost_its_row_cannot_commit_it(self, world: World) -> None:
        """Both have it in hand; the late one is done first, and its commit is refused."""
        slow, quick = Doorway(), Doorway()
        slow_on, quick_on = slow.hold("one"), quick.hold("one")
        first = world.kit(slow)
        await world.room(first, "a")
        await first.start()
        await first.accept(inbound("one"), room_id=ROOM)
        await until(lambda: slow.arrived)
        second = world.kit(quick)
        await second.start()
        watched(first).deaf = True
        await world.forward(6)
        await until(lambda: quick.arrived)
        commits = watched(first).done.get("commit", 0)
        slow_on.set()
        await until(lambda: watched(first).done.get("commit", 0) > commits)
        await until(lambda: watched(first).done.get("finish_inbox"))
        assert await said(second) == []
        quick_on.set()
        await comes(second, "one")
        await idle(second)
        assert (await first.stats()).counters.get("taken_in", 0) == 0

    async def test_a_worker_that_is_gone_for_good(self, world: World) -> None:
        """After four seconds without a beat its rows are somebody else's."""
        stuck = Doorway()
        stuck.hold("one")
        first = world.kit(stuck)
        await world.room(first, "a")
        await first.start()
        await first.accept(inbound("one"), room_id=ROOM)
        await until(lambda: stuck.arrived)
        second = world.kit(Doorway())
        await second.start()
        watched(first).deaf = True
        await world.forward(3)
        await looked(second)
        assert await said(second) == []
        await world.forward(2)
        await comes(second, "one")
        stuck.hold("one").set()
        await idle(second)


class TestFirstContact:
    """A stranger's room is opened before the message is in it; a crash may come in between."""

    async def test_the_room_of_a_dead_process_is_used(self, world: World) -> None:
        """Who takes the message over finds the room that was opened for it."""
        slow = Doorway()
        go_on = slow.hold("one")
        first = world.kit(slow)
        await first.start()
        await first.accept(inbound("one"))
        await until(lambda: slow.arrived)
        [room] = await first.store.list_rooms()
        watched(first).deaf = True
        async with world.kit(Doorway()) as second:
            await world.forward(6)
            await comes(second, "one", room_id=room.id)
            go_on.set()
            await idle(second)
            assert [found.id for found in await second.store.list_rooms()] == [room.id]
            assert await said(second, room.id) == ["one"]


class TestClose:
    """Closing in the middle of it leaves the rest to others."""

    async def test_the_row_in_hand_ends_the_others_stay(self, world: World) -> None:
        """Each message gets in once, in order, over two kits."""
        door = Doorway()
        go_on = door.hold("0")
        first = world.kit(door)
        await world.room(first, "a")
        bodies = [str(number) for number in range(6)]
        for body in bodies:
            await first.accept(inbound(body), room_id=ROOM)
        await first.start()
        await until(lambda: door.arrived)
        closing = asyncio.create_task(first.close())
        rounds = watched(first).counts["claim_inbox"]
        await asyncio.sleep(0)
        assert not closing.done()
        go_on.set()
        await closing
        assert watched(first).counts["claim_inbox"] <= rounds + 1
        assert door.arrived == ["0"]
        async with world.kit(Doorway()) as second:
            await comes(second, *bodies)
            await idle(second)

    async def test_rows_of_a_closed_kit_are_free_at_once(self, world: World) -> None:
        """Nobody has to wait until it is taken for dead: the clock stands still here."""
        door = Doorway()
        go_on = door.hold("one")
        first = world.kit(door)
        await world.room(first, "a")
        await first.start()
        for body in ("one", "two"):
            await first.accept(inbound(body), room_id=ROOM)
        await until(lambda: door.arrived)
        go_on.set()
        await first.close()
        async with world.kit(Doorway()) as second:
            await comes(second, "one", "two")


class TestUnknownCommits:
    """A commit that does not answer is found out about; its message is in the room once."""

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_a_commit_that_hangs(self, world: World, when: str) -> None:
        """Whether it had its effect or not, the row and the event agree in the end."""
        door = Doorway()
        async with world.kit(door, commit_timeout=0.05) as kit:
            await world.room(kit, "a")
            watched(kit).fail_next("commit", "hang", when)  # type: ignore[arg-type]
            await kit.accept(inbound("one", external_id="1"), room_id=ROOM)
            await kit.accept(inbound("two", external_id="2"), room_id=ROOM)
            await self.lapsed(kit)
            await world.forward(3)
            await comes(kit, "one", "two")
            await idle(kit)
            assert await kit.list_dead_letters() == []

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_a_commit_that_fails(self, world: World, when: str) -> None:
        """An error says nothing about the effect; the engine looks it up."""
        door = Doorway()
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            watched(kit).fail_next("commit", ConnectionError("cut"), when)  # type: ignore[arg-type]
            await kit.accept(inbound("one"), room_id=ROOM)
            await kit.accept(inbound("two"), room_id=ROOM)
            await until(lambda: watched(kit).fired)
            await world.forward(3)
            await comes(kit, "one", "two")
            await idle(kit)

    async def test_a_commit_that_cannot_even_be_looked_up(self, world: World) -> None:
        """The answer was lost and so is the next question: the row tells what happened."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            watched(kit).fail_next("commit", ConnectionError("cut"), "after")
            watched(kit).fail_next("get_event", ConnectionError("cut"))
            await kit.accept(inbound("one"), room_id=ROOM)
            await until(lambda: len(watched(kit).fired) == 2)
            await self.lapsed(kit)
            await world.forward(3)
            await comes(kit, "one")
            await idle(kit)

    @staticmethod
    async def lapsed(kit: RoomKit) -> None:
        """Wait until the kit has given its id up, not knowing what was stored for it."""

        async def lapsed() -> bool:
            return (await kit.stats()).counters.get("lapsed", 0) > 0

        await until(lapsed)


class TestFailingStore:
    """Any one call of the store fails; the message gets in all the same."""

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("method", ["claim_inbox", "look", "load_context", "commit"])
    async def test_one_call_fails(self, world: World, method: str, when: str) -> None:
        """Also when the call had its effect and only its answer was lost."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            store = watched(kit)
            store.fail_next(method, StoreUnavailableError("away"), when)  # type: ignore[arg-type]
            await kit.accept(inbound("one"), room_id=ROOM)
            await kit.accept(inbound("two"), room_id=ROOM)
            await world.forward(5)
            await comes(kit, "one", "two")
            await idle(kit)
            if method in ("claim_inbox", "commit"):
                assert store.fired

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_the_end_of_a_row_is_not_answered(self, world: World, when: str) -> None:
        """A refused message's row ends in the end, and holds nobody up."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            message = inbound("one", idempotency_key="k")
            await kit.process_inbound(message, room_id=ROOM)
            error = StoreUnavailableError("away")
            watched(kit).fail_next("finish_inbox", error, when)  # type: ignore[arg-type]
            await kit.accept(message, room_id=ROOM)
            await kit.accept(inbound("two"), room_id=ROOM)
            await until(lambda: watched(kit).fired)
            await world.forward(5)
            await comes(kit, "one", "two")
            await idle(kit)

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_putting_off_is_not_answered(self, world: World, when: str) -> None:
        """The store goes away while a message fails: both come back."""
        door = Doorway()
        door.fail("one", [LookupError()])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            error = StoreUnavailableError("away")
            watched(kit).fail_next("finish_inbox", error, when)  # type: ignore[arg-type]
            await kit.accept(inbound("one"), room_id=ROOM)
            await kit.accept(inbound("two"), room_id=ROOM)
            await until(lambda: watched(kit).fired)
            await world.forward(5)
            await comes(kit, "one", "two")

    async def test_an_accept_whose_answer_was_lost(self, world: World) -> None:
        """The webhook fails and is repeated: one message."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            watched(kit).fail_next("accept", StoreUnavailableError("away"), "after")
            message = inbound("one", external_id="1")
            with pytest.raises(StoreUnavailableError):
                await kit.accept(message, room_id=ROOM)
            again = await kit.accept(message, room_id=ROOM)
            assert again.duplicate
            await comes(kit, "one")
            await idle(kit)

    async def test_an_accept_that_failed_kept_nothing(self, world: World) -> None:
        """The error is true: the repeat is a new message."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            watched(kit).fail_next("accept", StoreUnavailableError("away"))
            message = inbound("one", external_id="1")
            with pytest.raises(StoreUnavailableError):
                await kit.accept(message, room_id=ROOM)
            assert not (await kit.accept(message, room_id=ROOM)).duplicate
            await comes(kit, "one")


class TestGates:
    """The row ends with the commit: foreign code that runs twice leaves one event."""

    async def test_a_gate_runs_again_after_a_lost_commit(self, world: World) -> None:
        """Gates may see a message twice; the room does not."""
        seen: list[str] = []
        async with world.kit(Doorway(), commit_timeout=0.05) as kit:
            await world.room(kit, "a")

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                seen.append(event.id)
                return HookResult.allow()

            watched(kit).fail_next("commit", "hang", "before")
            await kit.accept(inbound("one"), room_id=ROOM)
            await TestUnknownCommits.lapsed(kit)
            await world.forward(3)
            await comes(kit, "one")
            assert len(seen) == 2
