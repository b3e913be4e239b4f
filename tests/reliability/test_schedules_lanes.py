"""Deliveries: what a lane does with a room that changes while it works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    Access,
    ChannelCapabilities,
    ChannelCategory,
    DeleteContent,
    DeliveryMode,
    EditContent,
    EventRefusedError,
    EventType,
    HookExecution,
    HookTrigger,
    Reason,
    RoomKit,
    TextContent,
)
from roomkit.testing import SimpleChannel
from tests.reliability._steps import HeldChannel, ended, idle, indexes, start
from tests.support.kits import Ears, inbound, messages, open_room, text, texts
from tests.support.warp import elapsed, run_warped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit import RoomContext, RoomEvent
    from tests.reliability.conftest import MakeKit

    type Change = Callable[[RoomKit], Awaitable[Any]]

THINKER = ChannelCategory.INTELLIGENCE


class TestPendingDeliveries:
    """A delivery is made as the room stands at its turn, and only ever to fewer targets."""

    async def test_an_edit_shows_and_a_delete_skips(self, make_kit: MakeKit) -> None:
        a, b = SimpleChannel("a"), HeldChannel("b")
        kit = await make_kit(a, b)
        waiting = await start(kit, "first", "old text", "to go")
        first, edited, deleted = await messages(kit)
        for content, kind in (
            (
                EditContent(target_event_id=edited.id, new_content=TextContent(body="new text")),
                EventType.EDIT,
            ),
            (DeleteContent(target_event_id=deleted.id), EventType.DELETE),
        ):
            message = inbound(content, event_type=kind)
            waiting.append(asyncio.ensure_future(kit.process_inbound(message, room_id="r")))
        await idle()
        b.release()
        results = await ended(waiting)
        assert texts(b.arrived)[:2] == ["first", "new text"]
        assert [event.id for event in b.arrived[:2]] == [first.id, edited.id]
        assert deleted.id not in {event.id for event in b.arrived}
        assert indexes(b.arrived) == sorted(indexes(b.arrived))
        skipped = results[2].delivery_results["b"]
        assert (skipped["status"], skipped["error"]) == ("skipped", Reason.EVENT_DELETED)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            pytest.param(lambda kit: kit.detach_channel("r", "b"), Reason.DETACHED, id="detached"),
            pytest.param(
                lambda kit: kit.set_access("r", "b", Access.WRITE_ONLY),
                Reason.NO_ACCESS,
                id="write-only",
            ),
            pytest.param(
                lambda kit: kit.set_access("r", "b", Access.NONE), Reason.NO_ACCESS, id="no-access"
            ),
            pytest.param(
                lambda kit: kit.unregister_channel("b"), Reason.NOT_REGISTERED, id="unregistered"
            ),
        ],
    )
    async def test_a_target_that_leaves_gets_no_more(
        self, make_kit: MakeKit, change: Change, reason: Reason
    ) -> None:
        b, c = HeldChannel("b"), HeldChannel("c", held=False)
        kit = await make_kit(SimpleChannel("a"), b, c)
        ears = Ears(kit)
        waiting = await start(kit, "under way", "one", "two")
        await change(kit)
        b.release()
        results = await ended(waiting)
        assert texts(b.arrived) == ["under way"]
        assert texts(c.arrived) == ["under way", "one", "two"]
        assert [event.delivery_results["b"]["status"] for event in results] == [
            "sent",
            "skipped",
            "skipped",
        ]
        assert {event.delivery_results["b"].get("error") for event in results[1:]} == {reason}
        assert [e.data["reason"] for e in ears.of("delivery_skipped")] == [reason, reason]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda kit: kit.mute("r", "b"), id="muted"),
            pytest.param(lambda kit: kit.close_room("r"), id="closed"),
            pytest.param(lambda kit: kit.set_visibility("r", "b", "none"), id="own-visibility"),
            pytest.param(lambda kit: kit.mute("r", "a"), id="source-muted"),
            pytest.param(lambda kit: kit.detach_channel("r", "a"), id="source-detached"),
        ],
    )
    async def test_what_else_changes_stops_no_delivery(
        self, make_kit: MakeKit, change: Change
    ) -> None:
        b = HeldChannel("b")
        kit = await make_kit(SimpleChannel("a"), b)
        waiting = await start(kit, "one", "two")
        await change(kit)
        b.release()
        await ended(waiting)
        assert texts(b.arrived) == ["one", "two"]

    async def test_a_delivery_uses_the_address_of_its_turn(self, make_kit: MakeKit) -> None:
        b = HeldChannel("b")
        kit = await make_kit(SimpleChannel("a"), b)
        waiting = await start(kit, "one", "two")
        await kit.update_binding_metadata("r", "b", {"phone_number": "new"})
        b.release()
        await ended(waiting)
        assert [d.binding.metadata.get("phone_number") for d in b.deliveries] == [None, "new"]

    async def test_a_channel_that_comes_late_gets_nothing_earlier(self, make_kit: MakeKit) -> None:
        b, late = HeldChannel("b"), HeldChannel("late", held=False)
        kit = await make_kit(SimpleChannel("a"), b)
        waiting = await start(kit, "one")
        kit.register_channel(late)
        await kit.attach_channel("r", "late")
        waiting += await start(kit, "two")
        b.release()
        await ended(waiting)
        assert (texts(b.arrived), texts(late.arrived)) == (["one", "two"], ["two"])

    async def test_a_channel_that_cancels_itself_harms_nobody(self, make_kit: MakeKit) -> None:
        """A channel with a stray cancellation fails that delivery, not its lane."""
        calls: list[str] = []

        async def stray(event: RoomEvent, binding: Any, context: Any) -> None:
            calls.append(text(event))
            task = asyncio.current_task()
            if len(calls) == 1 and task is not None:
                task.cancel()
            await asyncio.sleep(0)

        b, c = SimpleChannel("b", deliver_script=stray), HeldChannel("c", held=False)
        kit = await make_kit(SimpleChannel("a"), b, c)
        async with asyncio.timeout(5):
            for body in ("one", "two", "three"):
                await kit.process_inbound(inbound(body), room_id="r")
        assert calls == ["one", "two", "three"]
        assert texts(c.arrived) == ["one", "two", "three"]


class TestTargets:
    """Each delivery mode picks its targets in the commit, by rules anybody can recompute."""

    @staticmethod
    def _member(channel_id: str, mode: DeliveryMode) -> SimpleChannel:
        capabilities = ChannelCapabilities(delivery_mode=mode)
        return SimpleChannel(channel_id, capabilities=capabilities)

    async def test_round_robin_takes_turns_by_index(self, make_kit: MakeKit) -> None:
        ring = [self._member(name, DeliveryMode.ROUND_ROBIN) for name in ("x", "y", "z")]
        everybody = SimpleChannel("b")
        kit = await make_kit(SimpleChannel("a"), *ring, everybody)
        results = [await kit.process_inbound(inbound(f"m{n}"), room_id="r") for n in range(9)]
        for result in results:
            event = result.event
            assert event is not None
            served = [c.channel_id for c in ring if event.id in {d.id for d in c.delivered}]
            assert served == [ring[event.index % 3].channel_id]
        assert len(everybody.delivered) == 9

    async def test_direct_targets_are_named_or_answered(self, make_kit: MakeKit) -> None:
        x, y = (self._member(name, DeliveryMode.DIRECT) for name in ("x", "y"))
        kit = await make_kit(SimpleChannel("a"), x, y)
        await kit.process_inbound(inbound("to nobody"), room_id="r")
        named = inbound("to x", metadata={"target_channel_ids": ["x"]})
        await kit.process_inbound(named, room_id="r")
        from_y = await kit.process_inbound(inbound("from y", channel_id="y"), room_id="r")
        assert from_y.event is not None
        await kit.send_event("r", "a", TextContent(body="re: y"), parent_event_id=from_y.event.id)
        assert await kit.drain(5)
        assert (texts(x.delivered), texts(y.delivered)) == (["to x"], ["re: y"])


class TestOverload:
    """A lane that is full holds new messages back, then refuses them before they are stored."""

    def test_it_waits_then_refuses(self) -> None:
        async def scenario() -> None:
            b = HeldChannel("b")
            kit = RoomKit(lane_limit=3, settle_timeout=7.0, delivery_timeout=1e6)
            await open_room(kit, SimpleChannel("a"), b)
            waiting = await start(kit, "m0", "m1", "m2")
            began = elapsed()
            result = await kit.process_inbound(inbound("m3"), room_id="r")
            assert (result.blocked, result.reason) == (True, Reason.OVERLOADED)
            assert elapsed() - began == pytest.approx(7.0)
            with pytest.raises(EventRefusedError, match="overloaded"):
                await kit.send_event("r", "a", TextContent(body="m4"))
            assert texts(await messages(kit)) == ["m0", "m1", "m2"]
            late = asyncio.ensure_future(kit.process_inbound(inbound("m5"), room_id="r"))
            await idle()
            b.release()
            assert not (await late).blocked
            await ended(waiting)
            assert texts(b.arrived) == ["m0", "m1", "m2", "m5"]
            await kit.close()

        run_warped(scenario())

    async def test_a_crowd_does_not_pass_the_limit(self, make_kit: MakeKit) -> None:
        """However many come at once: what waits in a lane stays within its bound."""
        b = HeldChannel("b")
        kit = await make_kit(SimpleChannel("a"), b, lane_limit=5)
        crowd = [
            asyncio.ensure_future(kit.process_inbound(inbound(f"m{n}"), room_id="r"))
            for n in range(40)
        ]
        await idle(500)
        assert len(await messages(kit)) == 5
        b.release()
        results = await ended(crowd)
        assert len(results) == 40
        assert indexes(b.arrived) == sorted(indexes(b.arrived))
        assert len(b.arrived) == 40

    async def test_other_rooms_go_on(self, make_kit: MakeKit) -> None:
        b = HeldChannel("b")
        kit = await make_kit(SimpleChannel("a"), b, lane_limit=1)
        await kit.create_room("s")
        await kit.attach_channel("s", "a")
        waiting = await start(kit, "full")
        async with asyncio.timeout(5):
            result = await kit.process_inbound(inbound("elsewhere"), room_id="s")
        assert not result.blocked
        b.release()
        await ended(waiting)


class TestObservers:
    """Observers run after everything and hold up nobody."""

    async def test_one_that_waits_does_not_hold_up_the_next_message(
        self, make_kit: MakeKit
    ) -> None:
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))
        go = asyncio.Event()
        seen: list[str] = []

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            await go.wait()
            seen.append(text(event))

        waiting = await start(kit, "one", "two", "three")
        assert len(await messages(kit)) == 3
        assert seen == []
        go.set()
        await ended(waiting)
        assert sorted(seen) == ["one", "three", "two"]

    async def test_what_it_sends_is_one_deeper(self, make_kit: MakeKit) -> None:
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            if event.chain_depth < 2:
                await kit.send_event("r", "a", TextContent(body="echo"))

        await kit.process_inbound(inbound("one"), room_id="r")
        assert await kit.drain(5)
        assert [event.chain_depth for event in await messages(kit)] == [0, 1, 2]
