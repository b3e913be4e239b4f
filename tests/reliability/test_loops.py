"""Everything that may set itself off again: each loop ends, within a bound one can name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    AIResponse,
    AIToolCall,
    ChannelCategory,
    ChannelOutput,
    EventRefusedError,
    EventStatus,
    HookExecution,
    HookResult,
    HookTrigger,
    InjectedEvent,
    MockAIProvider,
    Reason,
    RoomKit,
    TextContent,
)
from roomkit.testing import SimpleChannel, make_event
from tests.support.kits import inbound, messages, open_room, texts
from tests.support.warp import run_warped

if TYPE_CHECKING:
    from roomkit import ChannelBinding, RoomContext, RoomEvent
    from tests.reliability.conftest import MakeKit

DEPTH = 5
"""``max_chain_depth`` as it comes."""
CAP = 10 * DEPTH
"""Events one message may set off."""
ASYNC = HookExecution.ASYNC


async def settle(kit: RoomKit, **fields: Any) -> list[RoomEvent]:
    """Send one message and return everything that is in the room in the end."""
    async with asyncio.timeout(20):
        await kit.process_inbound(inbound(**fields), room_id="r")
        assert await kit.drain(15)
    return await messages(kit)


def accepted(events: list[RoomEvent]) -> list[RoomEvent]:
    return [event for event in events if event.status == EventStatus.DELIVERED]


def say(kit: RoomKit, body: str = "again", channel_id: str = "a") -> Any:
    return kit.send_event("r", channel_id, TextContent(body=body))


class TestAnswers:
    """Channels that answer each other stop at the depth limit, or at the cap."""

    async def test_two_models(self, make_kit: MakeKit) -> None:
        models = [MockAIProvider([f"I am {name}"]) for name in ("x", "y")]
        kit = await make_kit(
            SimpleChannel("a"), AIChannel("x", models[0]), AIChannel("y", models[1])
        )
        events = await settle(kit)
        # Two answers, each answered by the other one, down to the limit.
        assert [e.chain_depth for e in accepted(events)] == [0, 1, 1, 2, 2, 3, 3, 4, 4]
        stopped = [event for event in events if event.status == EventStatus.BLOCKED]
        assert {event.blocked_by for event in stopped} == {Reason.CHAIN_DEPTH}
        assert [event.chain_depth for event in stopped] == [DEPTH, DEPTH]
        assert len(models[0].calls) + len(models[1].calls) == 10

    async def test_many_models(self, make_kit: MakeKit) -> None:
        names = [f"m{n}" for n in range(8)]
        models = {name: MockAIProvider([name]) for name in names}
        kit = await make_kit(
            SimpleChannel("a"), *(AIChannel(name, model) for name, model in models.items())
        )
        events = await settle(kit)
        assert len(accepted(events)) == 1 + CAP
        assert len(events) <= 1 + 2 * CAP
        assert sum(len(model.calls) for model in models.values()) <= (1 + CAP) * len(names)

    async def test_a_channel_with_very_many_answers(self, make_kit: MakeKit) -> None:
        def flood(event: RoomEvent, binding: ChannelBinding, context: Any) -> ChannelOutput:
            made = [make_event("r", f"{n}", channel_id="bot") for n in range(500)]
            return ChannelOutput(responded=True, response_events=made)

        bot = SimpleChannel("bot", category=ChannelCategory.INTELLIGENCE, react_script=flood)
        b = SimpleChannel("b")
        kit = await make_kit(SimpleChannel("a"), bot, b)
        events = await settle(kit)
        assert len(accepted(events)) == 1 + CAP
        assert len(b.delivered) == 1 + CAP
        assert len(events) <= 1 + 2 * CAP

    async def test_the_next_message_starts_anew(self, make_kit: MakeKit) -> None:
        kit = await make_kit(
            SimpleChannel("a"), *(AIChannel(f"m{n}", MockAIProvider(["x"])) for n in range(8))
        )
        first = len(accepted(await settle(kit)))
        assert len(accepted(await settle(kit))) == 2 * first


class TestHooks:
    """Hooks that send because something was sent."""

    @pytest.mark.parametrize("width", [1, 3])
    async def test_an_observer_that_sends_on_every_event(
        self, make_kit: MakeKit, width: int
    ) -> None:
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))

        @kit.hook(HookTrigger.AFTER_BROADCAST, ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            for _ in range(width):
                await say(kit)

        events = await settle(kit)
        depths = [event.chain_depth for event in accepted(events)]
        assert max(depths) == DEPTH - 1
        assert len(depths) == (DEPTH if width == 1 else 1 + CAP)
        assert len(events) <= 1 + 2 * CAP

    async def test_a_gate_that_sends_on_every_event(self, make_kit: MakeKit) -> None:
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            for _ in range(3):
                await say(kit)
            return HookResult.allow()

        events = await settle(kit)
        assert len(accepted(events)) <= 1 + CAP
        assert len(events) <= 1 + 2 * CAP

    async def test_a_gate_that_injects_on_every_event(self, make_kit: MakeKit) -> None:
        b = SimpleChannel("b", react_script=lambda *_: "I heard that")
        kit = await make_kit(SimpleChannel("a"), b)

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            note = make_event("r", "note", channel_id="a")
            return HookResult.allow(injected=[InjectedEvent(event=note, target_channel_ids=["b"])])

        events = await settle(kit)
        # An injected event passes no gates and is not answered: one for each said one.
        assert texts(events).count("note") == texts(events).count("I heard that") + 1
        assert len(events) <= 2 * (1 + CAP)

    async def test_a_gate_that_injects_into_the_other_room(self, make_kit: MakeKit) -> None:
        kit = await make_kit(SimpleChannel("a"), SimpleChannel("b"))
        await kit.create_room("s")

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            other = "s" if event.room_id == "r" else "r"
            return HookResult.allow(injected=[InjectedEvent(event=make_event(other, "note"))])

        assert texts(await settle(kit)) == ["hello"]
        assert texts(await messages(kit, "s")) == ["note"]

    async def test_on_error_sends_to_the_channel_that_fails(self, make_kit: MakeKit) -> None:
        b = SimpleChannel("b", deliver_script=_broken)
        kit = await make_kit(SimpleChannel("a"), b)
        told: list[RoomEvent] = []

        @kit.hook(HookTrigger.ON_ERROR, ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            told.append(event)
            await say(kit, "sorry")

        events = await settle(kit)
        assert len(accepted(events)) == DEPTH
        assert len(told) == DEPTH
        assert len(b.delivered) == DEPTH

    async def test_on_error_repeats_what_cannot_be_parsed(self, make_kit: MakeKit) -> None:
        kit = await make_kit(_Broken("x"), SimpleChannel("b"))
        told: list[RoomEvent] = []

        @kit.hook(HookTrigger.ON_ERROR, ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            told.append(event)
            await kit.process_inbound(inbound(channel_id="x"), room_id="r")

        with pytest.raises(ValueError, match="cannot parse"):
            await kit.process_inbound(inbound(channel_id="x"), room_id="r")
        assert await kit.drain(5)
        assert 1 <= len(told) <= DEPTH + 1

    def test_on_error_sends_into_a_room_whose_gate_hangs(self) -> None:
        async def scenario() -> None:
            kit = RoomKit(process_timeout=1.0)
            await open_room(kit, SimpleChannel("a"))
            tries = 0

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                await asyncio.Event().wait()
                return HookResult.allow()

            @kit.on("process_timeout")
            async def told(event: Any) -> None:
                nonlocal tries
                tries += 1
                await kit.process_inbound(inbound("sorry"), room_id="r")

            @kit.hook(HookTrigger.ON_ERROR, ASYNC)
            async def watch(event: RoomEvent, context: RoomContext) -> None:
                nonlocal tries
                tries += 1
                await kit.process_inbound(inbound("sorry"), room_id="r")

            result = await kit.process_inbound(inbound(), room_id="r")
            assert result.reason == Reason.PROCESS_TIMEOUT
            assert await kit.drain(1000)
            assert 1 <= tries <= 2 ** (DEPTH + 1)
            await kit.close()

        run_warped(scenario())


class TestHandlers:
    """Handlers of framework events that send because of them."""

    @pytest.mark.parametrize(
        "event_type",
        ["event_processed", "delivery_succeeded", "delivery_failed", "chain_depth_exceeded"],
    )
    async def test_one_that_sends(self, make_kit: MakeKit, event_type: str) -> None:
        failing = SimpleChannel("b", deliver_script=_broken)
        kit = await make_kit(SimpleChannel("a"), failing, SimpleChannel("c"))

        @kit.on(event_type)
        async def told(event: Any) -> None:
            await say(kit)

        events = await settle(kit)
        assert len(accepted(events)) <= 1 + CAP
        assert len(events) <= 1 + 2 * CAP

    @pytest.mark.parametrize("width", [1, 4])
    async def test_one_that_sends_because_an_event_was_blocked(
        self, make_kit: MakeKit, width: int
    ) -> None:
        """The answer to a block is blocked as well: it must not go on for ever."""
        kit = await make_kit(SimpleChannel("a"))
        refused: list[str] = []

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.block("never")

        @kit.on("event_blocked")
        async def told(event: Any) -> None:
            for _ in range(width):
                try:
                    await say(kit)
                except EventRefusedError as exc:
                    refused.append(exc.reason)

        events = await settle(kit)
        assert DEPTH <= len(events) <= 1 + 2 * CAP
        assert refused
        assert set(refused) <= {Reason.CHAIN_DEPTH, Reason.LOOP_CAP}

    async def test_one_that_repeats_what_failed(self, make_kit: MakeKit) -> None:
        kit = await make_kit(_Broken("x"))
        tries = 0

        @kit.on("inbound_failed")
        async def told(event: Any) -> None:
            nonlocal tries
            tries += 1
            await kit.process_inbound(inbound(channel_id="x"), room_id="r")

        with pytest.raises(ValueError, match="cannot parse"):
            await kit.process_inbound(inbound(channel_id="x"), room_id="r")
        assert await kit.drain(5)
        assert 1 <= tries <= DEPTH + 1


class TestEchoes:
    """What comes back from where it was sent to."""

    async def test_a_channel_that_hears_itself(self, make_kit: MakeKit) -> None:
        kits: list[RoomKit] = []

        async def echo(event: RoomEvent, binding: Any, context: Any) -> None:
            await kits[0].process_inbound(inbound("echo", channel_id="b"), room_id="r")

        kits.append(await make_kit(SimpleChannel("a"), SimpleChannel("b", deliver_script=echo)))
        # The echo comes by the channel itself and so is not delivered to it again.
        assert texts(await settle(kits[0])) == ["hello", "echo"]

    async def test_two_channels_that_hear_each_other(self, make_kit: MakeKit) -> None:
        kits: list[RoomKit] = []

        async def echo(event: RoomEvent, binding: ChannelBinding, context: Any) -> None:
            by = binding.channel_id
            await kits[0].process_inbound(inbound("echo", channel_id=by), room_id="r")

        kits.append(
            await make_kit(
                SimpleChannel("a", deliver_script=echo), SimpleChannel("b", deliver_script=echo)
            )
        )
        events = await settle(kits[0])
        assert [event.chain_depth for event in accepted(events)] == list(range(DEPTH))
        assert len(events) <= DEPTH + 1


class TestTools:
    """A model that calls tools without end."""

    async def test_a_million_calls_at_once(self, make_kit: MakeKit) -> None:
        ran = 0

        async def run(name: str, arguments: dict[str, Any]) -> str:
            nonlocal ran
            ran += 1
            return "ok"

        call = AIToolCall(id="c", name="look", arguments={})
        script: list[AIResponse | str] = [
            AIResponse(content="", tool_calls=[call] * 1_000_000),
            "done",
        ]
        events = await self._ask(make_kit, MockAIProvider(script=script), run)
        assert texts(events) == ["hello", "done"]
        assert ran == 64

    async def test_calls_round_after_round(self, make_kit: MakeKit) -> None:
        ran = 0

        async def run(name: str, arguments: dict[str, Any]) -> str:
            nonlocal ran
            ran += 1
            return "ok"

        call = AIToolCall(id="c", name="look", arguments={})
        model = MockAIProvider(script=[AIResponse(content="", tool_calls=[call])] * 1000)
        await self._ask(make_kit, model, run)
        assert (ran, len(model.calls)) == (8, 9)

    async def test_a_tool_that_sends_into_its_room(self, make_kit: MakeKit) -> None:
        kits: list[RoomKit] = []

        async def run(name: str, arguments: dict[str, Any]) -> str:
            await say(kits[0], "from a tool")
            return "ok"

        call = AIToolCall(id="c", name="look", arguments={})

        def endless() -> Any:
            while True:
                yield AIResponse(content="", tool_calls=[call])
                yield "done"

        events = await self._ask(make_kit, MockAIProvider(script=endless()), run, kits)
        assert len(accepted(events)) <= 1 + CAP
        assert len(events) <= 1 + 2 * CAP

    @staticmethod
    async def _ask(
        make_kit: MakeKit, model: MockAIProvider, run: Any, kits: list[RoomKit] | None = None
    ) -> list[RoomEvent]:
        tool = {"name": "look", "description": "looks", "parameters": {"type": "object"}}
        kit = await make_kit(SimpleChannel("a"))
        if kits is not None:
            kits.append(kit)
        kit.register_channel(AIChannel("ai", model, tool_handler=run))
        await kit.attach_channel("r", "ai", metadata={"tools": [tool]})
        return await settle(kit)


async def _broken(*_: Any) -> None:
    raise ConnectionError("gone")


class _Broken(SimpleChannel):
    async def handle_inbound(self, message: Any, context: Any) -> RoomEvent:
        raise ValueError("cannot parse")
