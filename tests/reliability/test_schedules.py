"""Gates and the room lock: everything a gate may do to its own room or another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    EventStatus,
    HookExecution,
    HookResult,
    HookTrigger,
    InjectedEvent,
    InMemoryStore,
    LockCycleError,
    LockTimeoutError,
    Reason,
    RoomKit,
    RoomStatus,
    TextContent,
)
from roomkit.testing import SimpleChannel, assert_invariants, make_event
from tests.reliability._steps import idle, indexes
from tests.support.kits import inbound, messages, open_room, text, texts
from tests.support.warp import elapsed, run_warped

if TYPE_CHECKING:
    from roomkit import Channel, RoomContext, RoomEvent
    from tests.reliability.conftest import MakeKit

BEFORE, AFTER = HookTrigger.BEFORE_BROADCAST, HookTrigger.AFTER_BROADCAST


def pair() -> tuple[Channel, SimpleChannel]:
    return SimpleChannel("a"), SimpleChannel("b")


def say(kit: RoomKit, body: str, room_id: str = "r", channel_id: str = "a") -> Any:
    return kit.send_event(room_id, channel_id, TextContent(body=body))


class TestReentrancy:
    """A gate may use its own room as anybody: nothing deadlocks, nothing is lost or reordered."""

    async def test_a_gate_sends_many_at_once(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)
        waiting: list[int] = []

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if text(event) == "hello":
                sent = await asyncio.gather(*(say(kit, f"extra {n}") for n in range(5)))
                waiting.append(len(b.delivered))
                assert [event.chain_depth for event in sent] == [1] * 5
            return HookResult.allow()

        async with asyncio.timeout(5):
            result = await kit.process_inbound(inbound(), room_id="r")
            assert await kit.drain(5)
        assert not result.blocked
        # They are committed while the gate runs and delivered once the lock is free.
        assert waiting == [0]
        stored = await messages(kit)
        assert sorted(texts(stored)) == [*(f"extra {n}" for n in range(5)), "hello"]
        assert texts(stored)[-1] == "hello"
        assert [event.id for event in b.delivered] == [event.id for event in stored]

    async def test_gates_nest_until_the_chain_ends(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b, max_chain_depth=4)

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await say(kit, f"depth {event.chain_depth + 1}")
            return HookResult.allow()

        async with asyncio.timeout(5):
            await kit.process_inbound(inbound("depth 0"), room_id="r")
            assert await kit.drain(5)
        stored = await messages(kit)
        # The innermost is committed first; the one at the limit is stored and stopped.
        assert texts(stored) == [f"depth {n}" for n in (4, 3, 2, 1, 0)]
        assert [event.chain_depth for event in stored] == [4, 3, 2, 1, 0]
        assert stored[0].status == EventStatus.BLOCKED
        assert stored[0].blocked_by == Reason.CHAIN_DEPTH
        assert texts(b.delivered) == [f"depth {n}" for n in (3, 2, 1, 0)]

    async def test_a_task_a_gate_leaves_behind_waits_its_turn(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)
        go = asyncio.Event()
        left: list[asyncio.Task[RoomEvent]] = []

        async def later() -> RoomEvent:
            await go.wait()
            event: RoomEvent = await say(kit, "late")
            return event

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if not left:
                left.append(asyncio.ensure_future(later()))
            return HookResult.allow()

        async with asyncio.timeout(5):
            await kit.process_inbound(inbound(), room_id="r")
            go.set()
            # While the task wants the room, others use it as well.
            await asyncio.gather(
                *(kit.process_inbound(inbound(f"m{n}"), room_id="r") for n in range(3))
            )
            late = await left[0]
            assert await kit.drain(5)
        stored = await messages(kit)
        assert sorted(texts(stored)) == ["hello", "late", "m0", "m1", "m2"]
        assert late.status == EventStatus.DELIVERED
        assert indexes(b.delivered) == sorted(indexes(b.delivered))

    async def test_a_gate_that_ends_waits_for_what_nests_in_it(self, make_kit: MakeKit) -> None:
        """A gate that does not await its sends does not let them outlive the lock halfway."""
        a, b = pair()
        kit = await make_kit(a, b)
        sends: list[asyncio.Task[RoomEvent]] = []

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if text(event) == "hello":
                sends.append(asyncio.ensure_future(say(kit, "extra")))
                await asyncio.sleep(0)
            return HookResult.allow()

        async with asyncio.timeout(5):
            await kit.process_inbound(inbound(), room_id="r")
            await sends[0]
            assert await kit.drain(5)
        assert sorted(texts(await messages(kit))) == ["extra", "hello"]

    async def test_a_gate_may_change_its_room(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await kit.update_room_metadata("r", {"seen": text(event)})
            await kit.mute("r", "b")
            await kit.unmute("r", "b")
            await kit.update_binding_metadata("r", "b", {"n": 1})
            return HookResult.allow()

        async with asyncio.timeout(5):
            result = await kit.process_inbound(inbound(), room_id="r")
        assert not result.blocked
        assert (await kit.get_room("r")).metadata == {"seen": "hello"}
        assert texts(b.delivered) == ["hello"]

    async def test_a_gate_that_closes_its_room_ends_the_message(self, make_kit: MakeKit) -> None:
        kit = await make_kit(*pair())

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await kit.close_room("r")
            return HookResult.allow()

        async with asyncio.timeout(5):
            result = await kit.process_inbound(inbound(idempotency_key="k"), room_id="r")
        assert (result.blocked, result.reason) == (True, Reason.ROOM_CLOSED)
        assert (await kit.get_room("r")).status == RoomStatus.CLOSED
        assert await messages(kit) == []

    async def test_framework_handlers_wait_for_the_lock(self, make_kit: MakeKit) -> None:
        """Nothing foreign but gates runs under the lock, also when a gate sets it off."""
        kit = await make_kit(*pair())
        order: list[str] = []

        @kit.hook(HookTrigger.ON_CHANNEL_MUTED, HookExecution.ASYNC)
        async def muted(event: RoomEvent, context: RoomContext) -> None:
            order.append("observer")
            # It would wait for the gate's lock for ever if it ran under it.
            await kit.unmute("r", "b")

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await kit.mute("r", "b")
            order.append("gate")
            return HookResult.allow()

        async with asyncio.timeout(5):
            await kit.process_inbound(inbound(), room_id="r")
            assert await kit.drain(5)
        assert order == ["gate", "observer"]
        assert not (await kit.get_binding("r", "b")).muted


class TestTwoRooms:
    """Gates that reach into other rooms: no deadlock, a bounded wait, a typed error."""

    async def test_gates_that_want_each_others_room(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)
        await kit.create_room("s")
        await kit.attach_channel("s", "a")
        both = asyncio.Barrier(2)
        errors: list[BaseException] = []

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if event.chain_depth == 0:
                await both.wait()
                other = "s" if event.room_id == "r" else "r"
                try:
                    await say(kit, f"from {event.room_id}", other)
                except LockCycleError as exc:
                    errors.append(exc)
            return HookResult.allow()

        async with asyncio.timeout(5):
            results = await asyncio.gather(
                kit.process_inbound(inbound(), room_id="r"),
                kit.process_inbound(inbound(), room_id="s"),
            )
            assert await kit.drain(5)
        assert [result.blocked for result in results] == [False, False]
        assert len(errors) == 1
        across = texts(await messages(kit)) + texts(await messages(kit, "s"))
        assert sorted(across)[0].startswith("from ")
        assert len(across) == 3

    async def test_a_ring_of_three_rooms(self, make_kit: MakeKit) -> None:
        kit = await make_kit(*pair())
        following = {"r": "s", "s": "t", "t": "r"}
        for room_id in ("s", "t"):
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "a")
        all_in = asyncio.Barrier(3)
        errors: list[BaseException] = []

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if event.chain_depth == 0:
                await all_in.wait()
                try:
                    await say(kit, "across", following[event.room_id])
                except LockCycleError as exc:
                    errors.append(exc)
            return HookResult.allow()

        async with asyncio.timeout(5):
            results = await asyncio.gather(
                *(kit.process_inbound(inbound(), room_id=room_id) for room_id in following)
            )
            assert await kit.drain(5)
        assert not any(result.blocked for result in results)
        assert len(errors) == 1

    def test_a_busy_room_is_waited_for_only_so_long(self) -> None:
        async def scenario() -> None:
            store = InMemoryStore()
            kit = RoomKit(store, process_timeout=60.0)
            await open_room(kit, *pair())
            await kit.create_room("s")
            await kit.attach_channel("s", "a")
            free = asyncio.Event()
            waits: list[float] = []

            @kit.hook(BEFORE, timeout=60.0)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if event.room_id == "s":
                    await free.wait()
                elif event.chain_depth == 0:
                    began = elapsed()
                    with pytest.raises(LockTimeoutError):
                        await kit.mute("s", "a")
                    waits.append(elapsed() - began)
                return HookResult.allow()

            busy = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="s"))
            await idle()
            result = await kit.process_inbound(inbound(), room_id="r")
            assert not result.blocked
            assert waits == [pytest.approx(5.0)]
            free.set()
            await busy
            await kit.close()
            await assert_invariants(store)

        run_warped(scenario())

    def test_a_busy_inner_lock_is_waited_for_only_so_long(self) -> None:
        """What nests in one gate takes turns; a turn that does not come is a lock timeout."""

        async def scenario() -> None:
            kit = RoomKit(InMemoryStore(), process_timeout=60.0)
            await open_room(kit, *pair())
            free = asyncio.Event()

            @kit.hook(BEFORE, timeout=60.0)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if text(event) == "slow":
                    await free.wait()
                elif event.chain_depth == 0:
                    slow = asyncio.ensure_future(say(kit, "slow"))
                    await idle()
                    with pytest.raises(LockTimeoutError):
                        await kit.mute("r", "b")
                    result = await kit.process_inbound(inbound("second"), room_id="r")
                    assert result.reason == Reason.LOCK_TIMEOUT
                    free.set()
                    await slow
                return HookResult.allow()

            result = await kit.process_inbound(inbound(), room_id="r")
            assert not result.blocked
            assert texts(await messages(kit)) == ["slow", "hello"]
            await kit.close()

        run_warped(scenario())


class TestExpiry:
    """A gate that takes too long: refused in time, and no trace of the message."""

    def test_nothing_is_left_of_it(self) -> None:
        async def scenario() -> None:
            store = InMemoryStore()
            a, b = SimpleChannel("a"), SimpleChannel("b")
            kit = RoomKit(store, process_timeout=2.0)
            await open_room(kit, a, b)
            hanging = True

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if hanging:
                    await asyncio.Event().wait()
                return HookResult.allow()

            before = await kit.get_timeline("r")
            began = elapsed()
            result = await kit.process_inbound(inbound(idempotency_key="k"), room_id="r")
            assert (result.blocked, result.reason) == (True, Reason.PROCESS_TIMEOUT)
            assert elapsed() - began == pytest.approx(2.0)
            assert await kit.get_timeline("r") == before
            hanging = False
            # The key is not burnt.
            again = await kit.process_inbound(inbound(idempotency_key="k"), room_id="r")
            assert not again.blocked
            assert texts(b.delivered) == ["hello"]
            await kit.close()
            await assert_invariants(store, [result, again])

        run_warped(scenario())

    def test_what_a_gate_sent_before_stays(self) -> None:
        async def scenario() -> None:
            store = InMemoryStore()
            a, b = pair()
            kit = RoomKit(store, process_timeout=2.0)
            await open_room(kit, a, b)

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if event.chain_depth == 0:
                    await say(kit, "extra")
                    await asyncio.Event().wait()
                return HookResult.allow()

            result = await kit.process_inbound(inbound(), room_id="r")
            assert result.reason == Reason.PROCESS_TIMEOUT
            assert await kit.drain(5)
            assert texts(await messages(kit)) == ["extra"]
            assert texts(b.delivered) == ["extra"]
            await kit.close()
            await assert_invariants(store)

        run_warped(scenario())


class TestInjections:
    """What a gate injects follows its cause, for just whom it names, exactly once a key."""

    async def test_order_and_targets(self, make_kit: MakeKit) -> None:
        a, b, c = SimpleChannel("a"), SimpleChannel("b"), SimpleChannel("c")
        kit = await make_kit(a, b, c)
        await kit.mute("r", "a")
        await kit.unmute("r", "a")

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow(
                injected=[
                    InjectedEvent(event=make_event("r", "to a"), target_channel_ids=["a"]),
                    InjectedEvent(event=make_event("r", "to b c"), target_channel_ids=["c", "b"]),
                    InjectedEvent(event=make_event("r", "to nobody")),
                ]
            )

        for body in ("one", "two"):
            await kit.process_inbound(inbound(body), room_id="r")
        assert await kit.drain(5)
        assert texts(await messages(kit)) == [
            *("one", "to a", "to b c", "to nobody"),
            *("two", "to a", "to b c", "to nobody"),
        ]
        assert texts(a.delivered) == ["to a", "to a"]
        assert texts(b.delivered) == texts(c.delivered) == ["one", "to b c", "two", "to b c"]

    async def test_another_room_gets_a_commit_of_its_own(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)
        await kit.create_room("s")
        await kit.attach_channel("s", "b")

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            there = InjectedEvent(event=make_event("s", "there"), target_channel_ids=["b"])
            return HookResult.block("no", injected=[there])

        result = await kit.process_inbound(inbound(), room_id="r")
        assert result.reason == "no"
        assert await kit.drain(5)
        assert texts(await messages(kit, "s")) == ["there"]
        assert texts(b.delivered) == ["there"]
        assert [event.room_id for event in b.delivered] == ["s"]

    async def test_a_key_used_before_costs_nobody_their_message(self, make_kit: MakeKit) -> None:
        """A gate that greets once must not swallow the second message."""
        a, b = pair()
        kit = await make_kit(a, b)

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            welcome = make_event("r", "welcome", idempotency_key="welcome")
            return HookResult.allow(
                injected=[InjectedEvent(event=welcome, target_channel_ids=["b"])] * 2
            )

        results = [
            await kit.process_inbound(inbound(body, idempotency_key=body), room_id="r")
            for body in ("one", "two")
        ]
        assert await kit.drain(5)
        assert [result.blocked for result in results] == [False, False]
        assert texts(await messages(kit)) == ["one", "welcome", "two"]
        assert texts(b.delivered) == ["one", "welcome", "two"]

    async def test_a_key_used_in_another_room_before(self, make_kit: MakeKit) -> None:
        a, b = pair()
        kit = await make_kit(a, b)
        await kit.create_room("s")
        await kit.attach_channel("s", "b")

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            note = make_event("s", "note", idempotency_key="note")
            return HookResult.allow(injected=[InjectedEvent(event=note, target_channel_ids=["b"])])

        for body in ("one", "two"):
            await kit.process_inbound(inbound(body), room_id="r")
            assert await kit.drain(5)
        assert texts(await messages(kit, "s")) == ["note"]
        assert texts(b.delivered) == ["one", "note", "two"]

    async def test_a_cancelled_caller_does_not_take_them_along(self, make_kit: MakeKit) -> None:
        """Once the cause is stored, what goes to another room goes there."""
        kit = await make_kit(*pair())
        await kit.create_room("s")

        @kit.hook(BEFORE)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await asyncio.sleep(0)
            return HookResult.allow(injected=[InjectedEvent(event=make_event("s", "there"))])

        for turn in range(30):
            caller = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="r"))
            await idle(turn)
            caller.cancel()
            await asyncio.wait((caller,))
            assert await kit.drain(5)
            assert len(await messages(kit, "s")) == len(await messages(kit))
        assert caller.done()
        assert not caller.cancelled()
