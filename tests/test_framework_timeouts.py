"""What took too long: where the time of a message is bounded, and what is told of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    CommitOutcomeUnknown,
    EventRefusedError,
    HookResult,
    HookTrigger,
    IdentityResolver,
    IdentityResult,
    InMemoryStore,
    LockTimeoutError,
    RoomEvent,
    RoomKit,
    TextContent,
)
from roomkit.testing import FaultStore, SimpleChannel
from tests.support.kits import ROOM, Ears, inbound, messages, observe, open_room, texts

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage


class TestTimeouts:
    """What took too long."""

    async def test_identity(self) -> None:
        class Asleep(IdentityResolver):
            async def resolve(
                self, message: InboundMessage, context: RoomContext
            ) -> IdentityResult:
                await asyncio.Event().wait()
                raise AssertionError("unreachable")

        async with RoomKit(identity_resolver=Asleep(), identity_timeout=0.01) as kit:
            await open_room(kit, SimpleChannel("a"))
            ears = Ears(kit)
            unknown = observe(kit, HookTrigger.ON_IDENTITY_UNKNOWN)
            assert not (await kit.process_inbound(inbound(), room_id=ROOM)).blocked
            [told] = ears.of("identity_timeout")
            assert (told.room_id, told.channel_id, told.event_id, told.data) == (
                ROOM,
                "a",
                None,
                {"timeout": 0.01},
            )
            assert len(unknown) == 1

    async def test_a_commit_that_hangs_is_no_process_timeout(self) -> None:
        store = FaultStore(InMemoryStore())
        async with RoomKit(store, commit_timeout=0.02) as kit:
            await open_room(kit, SimpleChannel("a"))
            ears = Ears(kit)
            store.fail_at(store.counts["commit"] + 1, "hang", method="commit")
            with pytest.raises(CommitOutcomeUnknown):
                await kit.process_inbound(inbound(), room_id=ROOM)
            assert not ears.of("process_timeout")

    async def test_a_commit_whose_answer_was_lost_is_no_error(self) -> None:
        store = FaultStore(InMemoryStore())
        async with RoomKit(store) as kit:
            await open_room(kit, SimpleChannel("a"))
            store.fail_at(store.counts["commit"] + 1, OSError("reset"), "after", method="commit")
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert not result.blocked
            assert texts(await messages(kit)) == ["hi"]

    async def test_a_busy_room(self) -> None:
        async with RoomKit(lock_timeout=0.02) as kit:
            await open_room(kit, SimpleChannel("a"))
            free, inside = asyncio.Event(), asyncio.Event()

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                inside.set()
                await free.wait()
                return HookResult.allow()

            first = asyncio.create_task(kit.process_inbound(inbound("one"), room_id=ROOM))
            await inside.wait()
            refused = await kit.process_inbound(inbound("two"), room_id=ROOM)
            assert (refused.event, refused.blocked) == (None, True)
            assert refused.reason == "lock_timeout"
            with pytest.raises(EventRefusedError) as caught:
                await kit.send_event(ROOM, "a", TextContent(body="three"))
            assert (caught.value.reason, caught.value.room_id) == ("lock_timeout", ROOM)
            with pytest.raises(LockTimeoutError):
                await kit.mute(ROOM, "a")
            free.set()
            await first
            assert texts(await messages(kit)) == ["one"]

    async def test_a_slow_delivery_fails_alone(self) -> None:
        async with RoomKit(delivery_timeout=0.02) as kit:

            async def forever(*call: object) -> None:
                await asyncio.Event().wait()

            slow = SimpleChannel("b", deliver_script=[forever])
            other = SimpleChannel("c")
            await open_room(kit, SimpleChannel("a"), slow, other)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert result.event is not None
            assert result.event.delivery_results["b"]["error"] == "timeout (0.02s)"
            assert texts(other.delivered) == ["hi"]

    async def test_a_slow_reaction_fails_alone(self) -> None:
        async with RoomKit(reaction_timeout=0.02) as kit:

            async def forever(*call: object) -> None:
                await asyncio.Event().wait()

            slow = SimpleChannel("b", react_script=[forever])
            await open_room(kit, SimpleChannel("a"), slow)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert result.event is not None
            assert result.event.delivery_results["b"]["error"] == "timeout (0.02s)"
            assert slow.delivered == []

    async def test_a_caller_does_not_wait_for_ever_for_deliveries(self) -> None:
        free = asyncio.Event()

        async def wait(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> None:
            await free.wait()

        async with RoomKit(settle_timeout=0.02) as kit:
            slow = SimpleChannel("b", deliver_script=[wait])
            ears = Ears(kit)
            await open_room(kit, SimpleChannel("a"), slow)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert not result.blocked
            assert not ears.of("event_processed")
            free.set()
            assert await kit.drain(5)
            assert len(ears.of("event_processed")) == 1

    async def test_a_room_with_too_much_waiting_refuses(self) -> None:
        free = asyncio.Event()

        async def wait(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> None:
            await free.wait()

        async with RoomKit(settle_timeout=0.02, lane_limit=2) as kit:
            slow = SimpleChannel("b", deliver_script=wait)
            await open_room(kit, SimpleChannel("a"), slow)
            results = [await kit.process_inbound(inbound(f"m{n}"), room_id=ROOM) for n in range(3)]
            assert [r.reason for r in results] == [None, None, "overloaded"]
            free.set()
            await kit.drain(5)
            assert not (await kit.process_inbound(inbound("m3"), room_id=ROOM)).blocked
            assert texts(await messages(kit)) == ["m0", "m1", "m3"]
