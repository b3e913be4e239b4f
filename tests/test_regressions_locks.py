"""Defects around the room lock; each test is named after the one it rules out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    Access,
    HookExecution,
    HookResult,
    HookTrigger,
    InMemoryLockManager,
    RoomEvent,
    RoomKit,
    TextContent,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, Ears, inbound, messages, open_room, texts

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext


class TestLocks:
    """One holder a room, and nobody waits for themselves."""

    async def test_the_lock_table_evicted_a_lock_in_use(self) -> None:
        locks = InMemoryLockManager(max_locks=1)
        inside = 0
        free = asyncio.Event()

        async def hold() -> int:
            nonlocal inside
            async with locks.locked("a"):
                inside += 1
                most = inside
                await free.wait()
                inside -= 1
                return most

        first = asyncio.create_task(hold())
        await asyncio.sleep(0)
        async with locks.locked("b"), locks.locked("c"):
            second = asyncio.create_task(hold())
            await asyncio.sleep(0)
            free.set()
        assert [await first, await second] == [1, 1]

    @pytest.mark.parametrize(
        "action", ["send", "mute", "detach", "close", "metadata", "attach", "timers"]
    )
    async def test_a_gate_calling_the_kit_for_its_own_room_deadlocked(self, action: str) -> None:
        async with RoomKit(process_timeout=5) as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            kit.register_channel(SimpleChannel("c"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if event.chain_depth == 0:
                    await _call(kit, action)
                return HookResult.allow()

            async with asyncio.timeout(3):
                result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            if action == "close":
                assert result.reason == "room_closed"
            else:
                assert not result.blocked

    async def test_an_observer_calling_the_kit_for_its_own_room_deadlocked(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
            async def observer(event: RoomEvent, context: RoomContext) -> None:
                await kit.mute(ROOM, "a")

            async with asyncio.timeout(3):
                await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (await kit.get_binding(ROOM, "a")).muted

    async def test_a_channel_calling_the_kit_for_its_own_room_deadlocked(self) -> None:
        async with RoomKit() as kit:

            async def answer(
                event: RoomEvent, binding: ChannelBinding, context: RoomContext
            ) -> None:
                await kit.set_access(ROOM, "a", Access.READ_ONLY)

            await open_room(kit, SimpleChannel("a"), SimpleChannel("b", deliver_script=[answer]))
            async with asyncio.timeout(3):
                await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (await kit.get_binding(ROOM, "a")).access == Access.READ_ONLY

    async def test_a_committed_event_was_reported_process_timeout(self) -> None:
        async with RoomKit(process_timeout=0.05) as kit:
            ears = Ears(kit)
            slow = SimpleChannel("b", delay=0.2)
            await open_room(kit, SimpleChannel("a"), slow)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (result.blocked, result.reason) == (False, None)
            assert texts(slow.delivered) == ["hi"]
            assert not ears.of("process_timeout")

    async def test_a_process_timeout_left_half_an_event(self) -> None:
        async with RoomKit(process_timeout=0.02) as kit:
            ears = Ears(kit)
            await open_room(kit, SimpleChannel("a"))
            stuck = True

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if stuck:
                    await asyncio.Event().wait()
                return HookResult.allow()

            result = await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            assert (result.event, result.blocked, result.reason) == (None, True, "process_timeout")
            assert await messages(kit) == []
            [told] = ears.of("process_timeout")
            assert told.room_id == ROOM
            assert told.event_id
            assert told.data == {"timeout": 0.02}
            stuck = False
            again = await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            assert not again.blocked


async def _call(kit: RoomKit, action: str) -> None:
    match action:
        case "send":
            await kit.send_event(ROOM, "b", TextContent(body="from the gate"))
        case "mute":
            await kit.mute(ROOM, "b")
        case "detach":
            await kit.detach_channel(ROOM, "b")
        case "close":
            await kit.close_room(ROOM)
        case "metadata":
            await kit.update_room_metadata(ROOM, {"seen": True})
        case "attach":
            await kit.attach_channel(ROOM, "c")
        case "timers":
            await kit.check_room_timers(ROOM)
