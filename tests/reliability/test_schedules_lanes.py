"""Deliveries and answers: what a lane does with a room that changes while it works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    Access,
    AIResponse,
    ChannelCapabilities,
    ChannelCategory,
    ChannelOutput,
    DeleteContent,
    DeliveryMode,
    EditContent,
    EventRefusedError,
    EventStatus,
    EventType,
    HookExecution,
    HookTrigger,
    MockAIProvider,
    Observation,
    Reason,
    RoomKit,
    StreamDelta,
    StreamEnd,
    Task,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, make_event
from tests.reliability._steps import TURNS, HeldAI, HeldChannel, ai, idle, indexes, until
from tests.support.kits import Ears, inbound, messages, observe, open_room, text, texts
from tests.support.warp import elapsed, run_warped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit import AIContext, ChannelBinding, RoomContext, RoomEvent
    from tests.reliability.conftest import MakeKit

    type Change = Callable[[RoomKit], Awaitable[Any]]

THINKER = ChannelCategory.INTELLIGENCE


async def start(kit: RoomKit, *bodies: str) -> list[asyncio.Task[Any]]:
    """Send messages that will wait for their deliveries; return once all are stored."""
    before = len(await messages(kit))
    tasks = []
    for number, body in enumerate(bodies, before + 1):
        message = inbound(body)
        tasks.append(asyncio.ensure_future(kit.process_inbound(message, room_id="r")))
        for _ in range(TURNS):
            if len(await messages(kit)) == number:
                break
            await asyncio.sleep(0)
    return tasks


async def ended(tasks: list[asyncio.Task[Any]]) -> list[RoomEvent]:
    """Return the events of messages that were accepted."""
    async with asyncio.timeout(5):
        return [result.event for result in await asyncio.gather(*tasks)]


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


class TestAnswers:
    """An answer belongs to its moment: it never knows the future, and may come too late."""

    async def test_a_slow_model_never_sees_the_future(self, make_kit: MakeKit) -> None:
        model = HeldAI([f"answer {n}" for n in range(4)])
        kit = await make_kit(SimpleChannel("a"), ai(model))
        waiting = await start(kit, "m0", "m1", "m2")
        model.release(3)
        await ended(waiting)
        assert await kit.drain(5)
        seen = [[message.content for message in call.messages] for call in model.calls]
        assert seen == [
            ["m0"],
            ["m0", "answer 0", "m1"],
            ["m0", "m1", "answer 0", "answer 1", "m2"],
        ]
        assert sorted(texts(await messages(kit))) == sorted(
            ["m0", "m1", "m2", "answer 0", "answer 1", "answer 2"]
        )

    async def test_two_models_of_different_speed(self, make_kit: MakeKit) -> None:
        """The quick one's answers to later messages are the future for the slow one."""
        slow, quick = HeldAI(["slow"]), MockAIProvider(["quick"])
        kit = await make_kit(SimpleChannel("a"), max_chain_depth=2)
        for channel_id, model in (("slow", slow), ("quick", quick)):
            kit.register_channel(ai(model, channel_id))
            await kit.attach_channel("r", channel_id, visibility="transport")
        waiting = await start(kit, "m0", "m1")
        await until(lambda: len(quick.calls) == 2)
        await idle()
        slow.release(2)
        await ended(waiting)
        histories = [[m.content for m in call.messages] for call in slow.calls]
        assert histories[0] == ["m0"]
        assert histories[1][-1] == "m1"
        assert "quick" not in histories[1]

    async def test_observers_hear_of_answers_before_their_cause(self, make_kit: MakeKit) -> None:
        model = HeldAI(["answer"])
        kit = await make_kit(SimpleChannel("a"), ai(model), SimpleChannel("b"))
        told = observe(kit, HookTrigger.AFTER_BROADCAST)
        processed = Ears(kit)
        waiting = await start(kit, "question")
        await until(lambda: model.begun == 1)
        assert told == []
        model.release()
        await ended(waiting)
        assert [text(event) for event, _ in told] == ["answer", "question"]
        question = (await messages(kit))[0]
        assert [e.event_id for e in processed.of("event_processed")] == [question.id]

    async def test_a_chain_of_answers_is_told_inside_out(self, make_kit: MakeKit) -> None:
        kit = await make_kit(
            SimpleChannel("a"),
            ai(MockAIProvider(["x"]), "x"),
            ai(MockAIProvider(["y"]), "y"),
            max_chain_depth=3,
        )
        told = observe(kit, HookTrigger.AFTER_BROADCAST)
        await kit.process_inbound(inbound("question"), room_id="r")
        depths = {event.id: event.chain_depth for event, _ in told}
        order = [event.id for event, _ in told]
        assert list(depths.values()).count(0) == 1
        assert depths[order[-1]] == 0
        for event, _ in told:
            if event.parent_event_id is not None:
                assert order.index(event.id) < order.index(event.parent_event_id)

    async def test_a_room_closed_while_it_thinks(self, make_kit: MakeKit) -> None:
        model, b = HeldAI(["too late"]), SimpleChannel("b")
        kit = await make_kit(SimpleChannel("a"), ai(model), b)
        waiting = await start(kit, "question")
        await until(lambda: model.begun == 1)
        await kit.close_room("r")
        model.release()
        await ended(waiting)
        question, answer = await messages(kit)
        assert (answer.status, answer.blocked_by) == (EventStatus.BLOCKED, Reason.ROOM_CLOSED)
        assert answer.parent_event_id == question.id
        assert texts(b.delivered) == ["question"]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda kit: kit.mute("r", "ai"), id="muted"),
            pytest.param(lambda kit: kit.detach_channel("r", "ai"), id="detached"),
        ],
    )
    async def test_it_is_silenced_while_it_thinks(self, make_kit: MakeKit, change: Change) -> None:
        """Its words are suppressed from that moment on; what it did besides is kept."""
        model, b = HeldAI(script=[_with_effects("unwanted")]), SimpleChannel("b")
        kit = await make_kit(SimpleChannel("a"), ai(model), b)
        waiting = await start(kit, "question")
        await until(lambda: model.begun == 1)
        await change(kit)
        model.release()
        await ended(waiting)
        assert texts(await messages(kit)) == texts(b.delivered) == ["question"]
        assert [task.id for task in await kit.list_tasks("r")] == ["t1"]

    async def test_a_muted_model_works_in_silence(self, make_kit: MakeKit) -> None:
        model, b = MockAIProvider(script=[_with_effects("unwanted")]), SimpleChannel("b")
        kit = await make_kit(SimpleChannel("a"), ai(model), b)
        await kit.mute("r", "ai")
        tasks = observe(kit, HookTrigger.ON_TASK_CREATED)
        await kit.process_inbound(inbound("question"), room_id="r")
        assert texts(await messages(kit)) == texts(b.delivered) == ["question"]
        assert [task.id for task in await kit.list_tasks("r")] == ["t1"]
        assert [seen.id for seen in await kit.list_observations("r")] == ["o1"]
        assert len(tasks) == 1

    async def test_a_repeated_key_costs_only_the_repeat(self, make_kit: MakeKit) -> None:
        """Answers of one reaction under one key: the first is kept, the others are not it."""

        def answers(event: RoomEvent, binding: ChannelBinding, context: Any) -> ChannelOutput:
            keys = ("k", "k", None)
            made = [
                make_event("r", f"answer {n}", channel_id="bot", idempotency_key=key)
                for n, key in enumerate(keys)
            ]
            return ChannelOutput(responded=True, response_events=made)

        bot = SimpleChannel("bot", category=THINKER, react_script=answers)
        kit = await make_kit(SimpleChannel("a"), bot)
        await kit.process_inbound(inbound("one"), room_id="r")
        await kit.process_inbound(inbound("two"), room_id="r")
        assert texts(await messages(kit)) == ["one", "answer 0", "answer 2", "two", "answer 2"]

    async def test_only_the_newest_is_answered_with_backlog_latest(
        self, make_kit: MakeKit
    ) -> None:
        model = HeldAI(["first", "last"])
        kit = await make_kit(SimpleChannel("a"), ai(model, backlog="latest"))
        waiting = await start(kit, "m0", "m1", "m2", "m3")
        model.release(4)
        results = await ended(waiting)
        assert texts(await messages(kit)) == ["m0", "m1", "m2", "m3", "first", "last"]
        errors = [event.delivery_results.get("ai", {}).get("error") for event in results]
        assert errors[1:3] == [Reason.SUPERSEDED] * 2
        assert [message.content for message in model.calls[-1].messages][-1] == "m3"


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


class TestStreaming:
    """What is shown while an answer is made ends with the whole, or is taken back."""

    @staticmethod
    async def _watch(kit: RoomKit) -> list[Any]:
        shown: list[Any] = []
        await kit.connect_websocket(
            "ws",
            "c1",
            lambda _, event: shown.append(event),
            room_id="r",
            stream_fn=lambda _, piece: shown.append(piece),
        )
        return shown

    async def test_pieces_then_the_end_then_the_whole(self, make_kit: MakeKit) -> None:
        model = MockAIProvider(["one two three"], streaming=True)
        kit = await make_kit(SimpleChannel("a"), WebSocketChannel("ws"), ai(model))
        shown = await self._watch(kit)
        await kit.process_inbound(inbound("question"), room_id="r")
        assert await kit.drain(5)
        answer = (await messages(kit))[-1]
        pieces = [piece for piece in shown if isinstance(piece, StreamDelta)]
        ends = [piece for piece in shown if isinstance(piece, StreamEnd)]
        assert "".join(piece.text for piece in pieces) == "one two three"
        assert [piece.seq for piece in pieces] == list(range(len(pieces)))
        assert [(end.event_id, end.retracted) for end in ends] == [(answer.id, False)]
        assert [type(piece).__name__ for piece in shown][-2:] == ["StreamEnd", "RoomEvent"]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda kit: kit.mute("r", "ai"), id="muted"),
            pytest.param(lambda kit: kit.detach_channel("r", "ai"), id="detached"),
            pytest.param(lambda kit: kit.close_room("r"), id="closed"),
        ],
    )
    async def test_an_answer_that_is_not_wanted_any_more_is_taken_back(
        self, make_kit: MakeKit, change: Change
    ) -> None:
        go = asyncio.Event()

        class Slow(MockAIProvider):
            async def generate_structured_stream(self, context: AIContext) -> Any:
                async for event in super().generate_structured_stream(context):
                    yield event
                await go.wait()

        model = Slow(["one two"], streaming=True)
        kit = await make_kit(SimpleChannel("a"), WebSocketChannel("ws"), ai(model))
        shown = await self._watch(kit)
        waiting = await start(kit, "question")
        await until(lambda: any(isinstance(piece, StreamDelta) for piece in shown))
        await change(kit)
        go.set()
        await ended(waiting)
        assert await kit.drain(5)
        ends = [piece for piece in shown if isinstance(piece, StreamEnd)]
        assert [(end.event_id, end.retracted) for end in ends] == [(None, True)]

    async def test_a_model_that_fails_in_the_middle(self, make_kit: MakeKit) -> None:
        model = MockAIProvider(script=[ConnectionError("gone")], streaming=True)
        kit = await make_kit(SimpleChannel("a"), WebSocketChannel("ws"), ai(model))
        shown = await self._watch(kit)
        ears = Ears(kit)
        await kit.process_inbound(inbound("question"), room_id="r")
        assert await kit.drain(5)
        ends = [piece for piece in shown if isinstance(piece, StreamEnd)]
        assert [(end.event_id, end.retracted) for end in ends] == [(None, False)]
        assert [e.channel_id for e in ears.of("delivery_failed")] == ["ai"]


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


def _with_effects(body: str) -> AIResponse:
    return AIResponse(
        content=body,
        tasks=[Task(id="t1", room_id="r", title="call back")],
        observations=[
            Observation(id="o1", room_id="r", channel_id="ai", content="calm", category="mood")
        ],
    )
