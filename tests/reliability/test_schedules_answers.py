"""Answers: they belong to their moment, and what is shown of them early ends with the whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIResponse,
    ChannelCategory,
    ChannelOutput,
    EventStatus,
    HookTrigger,
    MockAIProvider,
    Observation,
    Reason,
    RoomKit,
    StreamDelta,
    StreamEnd,
    Task,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, make_event
from tests.reliability._steps import HeldAI, ai, ended, idle, start, until
from tests.support.kits import Ears, inbound, messages, observe, text, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit import AIContext, ChannelBinding, RoomEvent
    from tests.reliability.conftest import MakeKit

    type Change = Callable[[RoomKit], Awaitable[Any]]

THINKER = ChannelCategory.INTELLIGENCE


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


def _with_effects(body: str) -> AIResponse:
    return AIResponse(
        content=body,
        tasks=[Task(id="t1", room_id="r", title="call back")],
        observations=[
            Observation(id="o1", room_id="r", channel_id="ai", content="calm", category="mood")
        ],
    )
