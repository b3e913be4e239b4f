"""What becomes of an accepted message that does not simply get in."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from roomkit import (
    EditContent,
    EventStatus,
    HookResult,
    HookTrigger,
    IdentificationStatus,
    IdentityHookResult,
    IdentityResolver,
    IdentityResult,
    TextContent,
)
from roomkit.exceptions import InvalidInputError, RoomNotFoundError
from roomkit.models.enums import EventType
from roomkit.store.durable import InboxRow
from tests.support.kits import ROOM, Ears, inbound, messages, observe, system, texts
from tests.test_durable._kits import Doorway, comes, dead, idle, looked, said, until, watched

if TYPE_CHECKING:
    import pytest

    from roomkit import InboundMessage, RoomContext, RoomEvent, RoomKit
    from tests.test_durable._kits import World

BACK_OFF = [1, 2, 4, 8, 16, 32, 60, 60]
"""Seconds between the attempts of a message that keeps failing."""


class Unknown(IdentityResolver):
    """Knows nobody."""

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        return IdentityResult(status=IdentificationStatus.UNKNOWN)


class TestEnded:
    """A message that was decided upon is done with, whatever was decided."""

    async def test_blocked_by_a_gate(self, world: World) -> None:
        """The blocked event is in the room, with its reason, and nothing is left to do."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("rude")

            await kit.accept(inbound("no"), room_id=ROOM)
            await idle(kit)
            [event] = await messages(kit)
            assert (event.status, event.blocked_by) == (EventStatus.BLOCKED, "gate")
            assert await kit.list_dead_letters() == []
            stats = (await kit.stats()).inbox
            assert (stats.depth, stats.dead, stats.attempts) == (0, 0, 0)

    async def test_a_sender_who_is_refused(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The refusal is the end of it: nothing stored, nothing tried again, one line of log."""
        caplog.set_level(logging.INFO, "roomkit.worker")
        async with world.kit(Doorway(), identity_resolver=Unknown()) as kit:
            await world.room(kit, "a")

            @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
            async def refuse(
                event: RoomEvent, context: RoomContext, found: IdentityResult
            ) -> IdentityHookResult:
                return IdentityHookResult.reject("not on the list")

            await kit.accept(inbound("knock", sender="+15550177"), room_id=ROOM)
            await idle(kit)
            assert await said(kit) == []
            assert await kit.list_dead_letters() == []
        lines = [r.getMessage() for r in caplog.records if r.name == "roomkit.worker"]
        assert any("not on the list" in line for line in lines)
        assert not any("+15550177" in line or "knock" in line for line in lines)

    async def test_a_repeat_of_what_came_another_way(self, world: World) -> None:
        """The key is the room's: ``process_inbound`` was first, so the row just ends."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            message = inbound("one", idempotency_key="k")
            await kit.process_inbound(message, room_id=ROOM)
            kept = await kit.accept(message, room_id=ROOM)
            assert not kept.duplicate
            await idle(kit)
            assert await said(kit) == ["one"]
            assert await kit.list_dead_letters() == []

    async def test_an_edit_of_nothing(self, world: World) -> None:
        """Its target will not come by waiting."""
        edit = EditContent(target_event_id="nowhere", new_content=TextContent(body="x"))
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound(edit, event_type=EventType.EDIT), room_id=ROOM)
            await idle(kit)
            assert await messages(kit) == []
            assert await kit.list_dead_letters() == []


class TestRooms:
    """Where the room is not there, or not open."""

    async def test_a_named_room_that_is_closed(self, world: World) -> None:
        """A dead letter at once; after reopening, a retry brings it in."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            ears = Ears(kit)
            await kit.close_room(ROOM)
            kept = await kit.accept(inbound("late"), room_id=ROOM)
            [letter] = await dead(kit)
            assert letter.id == kept.id
            assert (letter.kind, letter.channel_id) == ("inbox", "a")
            assert (letter.room_id, letter.event_id) == (None, None)
            assert (letter.attempts, letter.error) == (1, "room_closed")
            assert letter.died_at == world.clock.now()
            [told] = await until(lambda: ears.of("inbox_dead"))
            assert (told.room_id, told.channel_id, told.event_id) == (None, "a", None)
            assert told.data == {
                "id": kept.id,
                "kind": "inbox",
                "attempts": 1,
                "error": "room_closed",
            }
            assert (await kit.stats()).counters["dead"] == 1
            await kit.reopen_room(ROOM)
            assert await kit.retry_dead_letter(kept.id)
            await comes(kit, "late")
            assert await kit.list_dead_letters() == []
            assert not await kit.retry_dead_letter(kept.id)

    async def test_a_found_room_that_was_closed(self, world: World) -> None:
        """Without a named room the sender gets a new one, as with ``process_inbound``."""
        async with world.kit(Doorway()) as kit:
            await kit.accept(inbound("one"))
            await idle(kit)
            [old] = await kit.store.list_rooms()
            await kit.close_room(old.id)
            await kit.accept(inbound("two"))
            await idle(kit)
            rooms = await kit.store.list_rooms()
            assert sorted([await said(kit, room.id) for room in rooms]) == [["one"], ["two"]]

    async def test_a_named_room_that_does_not_exist(self, world: World) -> None:
        """It is kept among the dead letters until somebody makes the room."""
        async with world.kit(Doorway()) as kit:
            kept = await kit.accept(inbound("early"), room_id="soon")
            [letter] = await dead(kit)
            assert "soon" in str(letter.error)
            await world.room(kit, "a", room_id="soon")
            assert await kit.retry_dead_letter(kept.id)
            await comes(kit, "early", room_id="soon")


class TestRetries:
    """What failed for a passing reason is tried again, ever more patiently."""

    async def test_it_gets_in_when_the_trouble_is_over(self, world: World) -> None:
        """Two failures, two waits, one event; each failure is told."""
        door = Doorway()
        door.fail("one", [LookupError("a secret"), LookupError("a secret")])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            ears, errors = Ears(kit), observe(kit, HookTrigger.ON_ERROR)
            await kit.accept(inbound("one"), room_id=ROOM)
            await until(lambda: len(door.arrived) == 1)
            await self._waits(kit, 1)
            stats = (await kit.stats()).inbox
            assert (stats.depth, stats.due, stats.attempts) == (1, 0, 1)
            await world.forward(1)
            await until(lambda: len(door.arrived) == 2)
            await self._waits(kit, 2)
            await world.forward(1)
            await looked(kit)
            assert len(door.arrived) == 2
            await world.forward(1)
            await comes(kit, "one")
            assert len(ears.of("inbound_failed")) == 2
            await until(lambda: len(errors) == 2)
            assert [system(told.event)[1]["where"] for told in errors] == ["channel a"] * 2

    @staticmethod
    async def _waits(kit: RoomKit, attempts: int) -> None:
        async def noted() -> bool:
            return (await kit.stats()).inbox.attempts == attempts

        await until(noted)

    async def test_it_is_given_up_in_the_end(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nine attempts over three minutes, then a dead letter that says what failed."""
        door = Doorway()
        door.fail("one", [LookupError("a secret")] * 9)
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            ears = Ears(kit)
            await kit.accept(inbound("one"), room_id=ROOM)
            for number, wait in enumerate(BACK_OFF, start=1):
                await until(partial(door.knocked, number))
                await self._waits(kit, number)
                await world.forward(wait - 1)
                assert len(door.arrived) == number
                await world.forward(1)
            [letter] = await dead(kit)
            assert len(door.arrived) == 9
            assert (letter.attempts, letter.error) == (9, "LookupError")
            assert letter.died_at == world.clock.now()
            [told] = await until(lambda: ears.of("inbox_dead"))
            assert told.data["attempts"] == 9
            assert await said(kit) == []
        lines = [r for r in caplog.records if r.levelno > logging.DEBUG]
        assert not any("a secret" in record.getMessage() for record in lines)

    async def test_later_messages_of_the_sender_wait_meanwhile(self, world: World) -> None:
        """They follow when it got in; another sender does not notice."""
        door = Doorway()
        door.fail("one", [OSError()])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            for body in ("one", "two", "three"):
                await kit.accept(inbound(body), room_id=ROOM)
            await kit.accept(inbound("bob's", sender="bob"), room_id=ROOM)
            await comes(kit, "bob's")
            await self._waits(kit, 1)
            await looked(kit)
            assert sorted(door.arrived) == ["bob's", "one"]
            await world.forward(1)
            await comes(kit, "bob's", "one", "two", "three")

    async def test_and_go_on_after_it_was_given_up(self, world: World) -> None:
        """A dead letter blocks nobody."""
        door = Doorway()
        door.fail("one", [RoomNotFoundError("gone")])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            for body in ("one", "two"):
                await kit.accept(inbound(body), room_id=ROOM)
            await comes(kit, "two")
            [letter] = await dead(kit)
            assert letter.attempts == 1
            assert await kit.retry_dead_letter(letter.id)
            await comes(kit, "two", "one")

    async def test_a_gate_that_takes_too_long(self, world: World) -> None:
        """``process_timeout`` says nothing against the message: it is tried again."""
        async with world.kit(Doorway(), process_timeout=0.02) as kit:
            await world.room(kit, "a")
            calls: list[str] = []

            @kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=60)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                calls.append(event.id)
                if len(calls) == 1:
                    await asyncio.Event().wait()
                return HookResult.allow()

            await kit.accept(inbound("one"), room_id=ROOM)
            await self._waits(kit, 1)
            await world.forward(1)
            await comes(kit, "one")
            assert len(calls) == 2

    async def test_a_room_that_is_busy_too_long(self, world: World) -> None:
        """``lock_timeout`` too is a reason to come back, not to give up."""
        door = Doorway()
        async with world.kit(door, lock_timeout=0.02) as kit:
            await world.room(kit, "a")
            go_on = asyncio.Event()

            @kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=60)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if texts([event]) == ["first"]:
                    await go_on.wait()
                return HookResult.allow()

            first = asyncio.create_task(
                kit.process_inbound(inbound("first", sender="bob"), room_id=ROOM)
            )
            await until(lambda: door.arrived)
            await kit.accept(inbound("second"), room_id=ROOM)
            await self._waits(kit, 1)
            go_on.set()
            await first
            await world.forward(1)
            await comes(kit, "first", "second")


class TestChannels:
    """A channel this process has no more may live on in another."""

    async def test_a_channel_unregistered_meanwhile(self, world: World) -> None:
        """What this kit had claimed is left to whoever has the channel, not given up."""
        door = Doorway()
        go_on = door.hold("one")
        first = world.kit(door)
        await world.room(first, "a")
        for body in ("one", "two"):
            await first.accept(inbound(body), room_id=ROOM)
        await first.start()
        await until(lambda: door.arrived)
        await first.unregister_channel("a")
        go_on.set()
        async with world.kit(Doorway()) as second:

            async def one_is_in() -> bool:
                return await said(second) == ["one"]

            await until(one_is_in)
            await world.forward(3)
            await comes(second, "one", "two")
            assert await second.list_dead_letters() == []


class TestUnreadable:
    """A row that cannot be taken in as it is, by this release or ever."""

    async def test_a_payload_of_another_release(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It becomes a dead letter, and nobody reads the message in a log or an error."""
        async with world.kit(Doorway()) as kit:
            await world.room(kit, "a")
            ears = Ears(kit)
            payload = (
                '{"message": {"channel_id": "a", "sender_id": "+15550123", "content":'
                ' {"type": "hologram", "body": "my PIN is 1234"}}}'
            )
            row = InboxRow("0" * 32, "a", "alice", "k", payload)
            await watched(kit).accept(row)
            [letter] = await dead(kit)
            assert letter.id == "0" * 32
            [told] = await until(lambda: ears.of("inbox_dead"))
        lines = [r.getMessage() for r in caplog.records if r.levelno > logging.DEBUG]
        for said_to_others in (str(letter.error), str(told.data), *lines):
            assert "1234" not in said_to_others
            assert "+15550123" not in said_to_others

    async def test_an_event_that_cannot_be_stored(self, world: World) -> None:
        """What the channel made of it is refused at the door: no attempt would change that."""
        door = Doorway()
        door.fail("one", [InvalidInputError("metadata.k is not JSON")])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("one"), room_id=ROOM)
            [letter] = await dead(kit)
            assert (letter.attempts, letter.error) == (1, "metadata.k is not JSON")


class TestLate:
    """Retrying by hand, when other messages have come in between."""

    async def test_a_retried_letter_goes_behind_what_waits(self, world: World) -> None:
        """It takes its place at the end of its sender's queue, and is tried from the start."""
        door = Doorway()
        door.fail("one", [RoomNotFoundError("gone")])
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("one"), room_id=ROOM)
            [letter] = await dead(kit)
            due = world.clock.now() + timedelta(seconds=5)
            await kit.accept(inbound("two"), room_id=ROOM, not_before=due)
            assert await kit.retry_dead_letter(letter.id)
            await looked(kit)
            assert await said(kit) == []
            await world.forward(5)
            await comes(kit, "two", "one")
