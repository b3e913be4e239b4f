"""Language models in rooms: answers, chains, tools, and answers shown while being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    AIToolCall,
    ChannelType,
    HookResult,
    HookTrigger,
    MockAIProvider,
    RoomContext,
    RoomEvent,
    RoomKit,
    StreamDelta,
    StreamEnd,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, assert_invariants
from tests.support.kits import ROOM, Ears, inbound, messages, open_room, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestAssistant:
    """An AI answers in the room, with the room's own settings."""

    async def test_an_answer_and_its_history(self) -> None:
        provider = MockAIProvider(["Hello!", "Fine."])
        async with RoomKit() as kit:
            customer = SimpleChannel("a")
            await open_room(kit, customer, AIChannel("ai", provider, "Be kind."))
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.process_inbound(inbound("how are you?"), room_id=ROOM)
            assert texts(customer.delivered) == ["Hello!", "Fine."]
            assert [(m.role, m.content) for m in provider.calls[1].messages] == [
                ("user", "hi"),
                ("assistant", "Hello!"),
                ("user", "how are you?"),
            ]
            assert provider.calls[0].system_prompt == "Be kind."

    async def test_a_rooms_own_settings(self) -> None:
        provider = MockAIProvider(["x"])
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            kit.register_channel(AIChannel("ai", provider, "Be kind."))
            settings = {"system_prompt": "Be brief.", "temperature": 0.1, "max_tokens": 9}
            await kit.attach_channel(ROOM, "ai", metadata=settings)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            asked = provider.calls[0]
            assert (asked.system_prompt, asked.temperature, asked.max_tokens) == (
                "Be brief.",
                0.1,
                9,
            )


class TestChain:
    """Two assistants that answer each other are stopped at the depth limit."""

    @pytest.mark.parametrize("limit", [5, 3])
    async def test_it_stops(self, limit: int) -> None:
        kit = RoomKit() if limit == 5 else RoomKit(max_chain_depth=limit)
        async with kit:
            ears = Ears(kit)
            person = SimpleChannel("a")
            await open_room(kit, person)
            left = AIChannel("left", MockAIProvider(["l"]))
            kit.register_channel(left)
            await kit.attach_channel(ROOM, "left")
            right = AIChannel("right", MockAIProvider(["r"]))
            kit.register_channel(right)
            await kit.attach_channel(ROOM, "right", visibility="left")
            await kit.process_inbound(inbound("go"), room_id=ROOM)
            said = await messages(kit)
            depths = [e.chain_depth for e in said if e.status == "delivered"]
            assert max(depths) == limit - 1
            blocked = [e for e in said if e.status == "blocked"]
            assert blocked
            assert {e.chain_depth for e in blocked} == {limit}
            assert {e.blocked_by for e in blocked} == {"event_chain_depth_limit"}
            assert len(ears.of("chain_depth_exceeded")) == len(blocked)
            assert set(texts(person.delivered)) == {"l"}
            await assert_invariants(kit.store)


class TestTools:
    """The model calls a tool, gets the result, and answers with it."""

    async def test_a_round_trip(self) -> None:
        call = AIToolCall(id="c-1", name="weather", arguments={"city": "Oslo"})
        provider = MockAIProvider(["It is cold."], tool_calls=[call])
        asked: list[tuple[str, Mapping[str, Any]]] = []

        async def tools(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            asked.append((name, arguments))
            return {"celsius": -3}

        offered = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
        async with RoomKit() as kit:
            person = SimpleChannel("a")
            await open_room(kit, person)
            kit.register_channel(AIChannel("ai", provider, tool_handler=tools))
            await kit.attach_channel(ROOM, "ai", metadata={"tools": [offered]})
            await kit.process_inbound(inbound("weather in Oslo?"), room_id=ROOM)
            assert asked == [("weather", {"city": "Oslo"})]
            assert texts(person.delivered) == ["It is cold."]
            answer = (await messages(kit))[-1]
            assert len(answer.metadata["tool_rounds"]) == 1
            assert len(provider.calls) == 2
            assert "-3" in str(provider.calls[1].messages[-1].content)

    async def test_without_a_handler_the_calls_are_left_to_the_program(self) -> None:
        call = AIToolCall(id="c-1", name="weather", arguments={})
        async with RoomKit() as kit:
            ai = AIChannel("ai", MockAIProvider(tool_calls=[call]))
            await open_room(kit, SimpleChannel("a"), ai)
            await kit.process_inbound(inbound("weather?"), room_id=ROOM)
            answer = (await messages(kit))[-1]
            assert [c["name"] for c in answer.metadata["tool_calls"]] == ["weather"]


class Screen:
    """A live socket that shows pieces and whole events, in the order they come."""

    def __init__(self) -> None:
        self.shown: list[RoomEvent | StreamDelta | StreamEnd] = []

    async def send(self, connection_id: str, event: RoomEvent) -> None:
        self.shown.append(event)

    async def stream(self, connection_id: str, piece: StreamDelta | StreamEnd) -> None:
        self.shown.append(piece)

    @property
    def pieces(self) -> str:
        """The pieces put together."""
        return "".join(p.text for p in self.shown if isinstance(p, StreamDelta))

    @property
    def ends(self) -> list[StreamEnd]:
        """The ends of streams."""
        return [p for p in self.shown if isinstance(p, StreamEnd)]

    @property
    def whole(self) -> list[str]:
        """The texts of whole events."""
        return texts(e for e in self.shown if isinstance(e, RoomEvent))


async def _screened(kit: RoomKit, **options: Any) -> Screen:
    screen = Screen()
    provider = MockAIProvider(["one two three"], streaming=True)
    ai = AIChannel("ai", provider, **options)
    await open_room(kit, SimpleChannel("a"), WebSocketChannel("ws"), ai)
    await kit.connect_websocket("ws", "tab", screen.send, stream_fn=screen.stream)
    return screen


def _refuse(kit: RoomKit) -> None:
    @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_types={ChannelType.AI})
    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        return HookResult.block("no")


class TestStreaming:
    """An answer is shown in pieces where nothing can stop it any more."""

    async def test_pieces_then_the_whole(self) -> None:
        async with RoomKit() as kit:
            screen = await _screened(kit)
            await kit.process_inbound(inbound("count"), room_id=ROOM)
            await kit.drain()
            assert screen.pieces == "one two three"
            assert screen.whole == ["count", "one two three"]
            answer = (await messages(kit))[-1]
            [end] = screen.ends
            assert (end.event_id, end.retracted) == (answer.id, False)
            assert answer.metadata["stream_id"] == end.stream_id
            deltas = [p for p in screen.shown if isinstance(p, StreamDelta)]
            assert [d.seq for d in deltas] == list(range(len(deltas)))
            assert len(deltas) > 1
            assert (
                texts([e for e in screen.shown[-1:] if isinstance(e, RoomEvent)])
                == screen.whole[1:]
            )

    async def test_a_gate_holds_the_pieces_back(self) -> None:
        async with RoomKit() as kit:
            screen = await _screened(kit)
            _refuse(kit)
            await kit.process_inbound(inbound("count"), room_id=ROOM)
            await kit.drain()
            assert (screen.pieces, screen.whole, screen.ends) == ("", ["count"], [])
            assert (await messages(kit))[-1].status == "blocked"

    async def test_a_gate_for_others_does_not(self) -> None:
        async with RoomKit() as kit:
            screen = await _screened(kit)

            @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_ids={"a"})
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.allow()

            await kit.process_inbound(inbound("count"), room_id=ROOM)
            await kit.drain()
            assert screen.pieces == "one two three"

    async def test_a_late_refusal_takes_the_pieces_back(self) -> None:
        async with RoomKit() as kit:
            screen = await _screened(kit, stream_before_gates=True)
            _refuse(kit)
            await kit.process_inbound(inbound("count"), room_id=ROOM)
            await kit.drain()
            assert screen.pieces == "one two three"
            [end] = screen.ends
            assert (end.event_id, end.retracted) == (None, True)
            assert screen.whole == ["count"]
            blocked = (await messages(kit))[-1]
            assert (blocked.status, text(blocked)) == ("blocked", "one two three")
