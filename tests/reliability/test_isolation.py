"""Many rooms of two tenants over shared channels, interleaved: nothing crosses a room's wall.

Every text carries its room's tag. A tag found anywhere but in its own room is a leak.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    AIResponse,
    AIToolCall,
    ChannelNotFoundError,
    HookExecution,
    HookResult,
    HookTrigger,
    InjectedEvent,
    InMemoryStore,
    MockAIProvider,
    MockSMSProvider,
    Observation,
    Reason,
    RoomKit,
    SMSChannel,
    StreamDelta,
    StreamEnd,
    Task,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import assert_invariants, make_event
from tests.support.kits import inbound
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from roomkit import AIContext, EphemeralEvent, RoomContext, RoomEvent

ORGANIZATIONS = ("red", "blue")
ROOMS = [f"{org}-{n:02}" for org in ORGANIZATIONS for n in range(20)]
ROUNDS = 3
_TAG = re.compile(r"<(\w+-\d+)>")


def tag(room_id: str) -> str:
    """Return the mark of a room's texts."""
    return f"<{room_id}>"


def tags(*values: Any) -> set[str]:
    """Return the rooms whose marks are in some values, however deep."""
    return {found for value in values for found in _TAG.findall(repr(value))}


def phone(room_id: str) -> str:
    """Return the number of the one person a room is for."""
    return f"+1555{ROOMS.index(room_id):07}"


class Crossing(MockAIProvider):
    """A model shared by all rooms; each answer takes a different time and calls a tool.

    Attributes:
        leaks: The contexts that held more than one room.
    """

    def __init__(self, chance: random.Random, **options: Any) -> None:
        super().__init__(**options)
        self.leaks: list[set[str]] = []
        self._chance = chance
        self._numbers = itertools.count()

    async def generate(self, context: AIContext) -> AIResponse:
        """Answer with the tag of what was asked."""
        await _some_turns(self._chance)
        room = self._room(context)
        if context.tools and context.messages[-1].role != "tool":
            call = AIToolCall(id="c", name="look", arguments={"of": tag(room)})
            return AIResponse(content="", tool_calls=[call])
        mark, number = tag(room), next(self._numbers)
        return AIResponse(
            content=f"answer {mark} for you",
            tasks=[Task(id=f"t{number}", room_id=room, title=f"task {mark}")],
            observations=[
                Observation(
                    id=f"o{number}", room_id=room, channel_id="ai", content=mark, category="x"
                )
            ],
        )

    async def generate_structured_stream(self, context: AIContext) -> Any:
        """The same in pieces, between which others have their turn."""
        for event in (await self.generate(context)).stream_events():
            await _some_turns(self._chance)
            yield event

    def _room(self, context: AIContext) -> str:
        seen = tags(*(message.content for message in context.messages), context.system_prompt)
        assert context.room is not None
        if seen != {context.room.room.id}:
            self.leaks.append(seen)
        return context.room.room.id


async def _some_turns(chance: random.Random) -> None:
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)


class Building:
    """All the rooms, and what was seen in each."""

    def __init__(self, *, streaming: bool, seed: int) -> None:
        self.inner = InMemoryStore()
        self.chance = random.Random(seed)
        self.kit = RoomKit(SuspendingStore(self.inner))
        self.model = Crossing(self.chance, streaming=streaming)
        self.sms = MockSMSProvider()
        self.sockets: dict[str, list[Any]] = {room_id: [] for room_id in ROOMS}
        self.ephemeral: dict[str, list[EphemeralEvent]] = {room_id: [] for room_id in ROOMS}
        self.told: list[tuple[str, set[str]]] = []
        self.tools: list[str] = []

    async def build(self) -> Building:
        kit = self.kit
        kit.register_channel(WebSocketChannel("ws"))
        kit.register_channel(SMSChannel("sms", provider=self.sms))
        kit.register_channel(
            AIChannel("ai", self.model, tool_handler=self._look, system_prompt=None)
        )
        for room_id in ROOMS:
            await self._furnish(room_id)
        self._watch()
        return self

    async def _furnish(self, room_id: str) -> None:
        kit = self.kit
        await kit.create_room(
            room_id, {"mark": tag(room_id)}, organization_id=room_id.split("-")[0]
        )
        await kit.attach_channel(room_id, "ws")
        await kit.attach_channel(room_id, "sms", metadata={"phone_number": phone(room_id)})
        tool = {"name": "look", "description": "looks", "parameters": {"type": "object"}}
        await kit.attach_channel(
            room_id,
            "ai",
            metadata={"system_prompt": f"You serve {tag(room_id)}.", "tools": [tool]},
        )

        async def hear(_: str, event: Any) -> None:
            await _some_turns(self.chance)
            self.sockets[room_id].append(event)

        async def feel(event: EphemeralEvent) -> None:
            self.ephemeral[room_id].append(event)

        await kit.connect_websocket("ws", room_id, hear, room_id=room_id, stream_fn=hear)
        await kit.subscribe_room(room_id, feel)

    async def _look(self, name: str, arguments: dict[str, Any]) -> str:
        await _some_turns(self.chance)
        self.tools.append(arguments["of"])
        return f"seen {arguments['of']}"

    def _watch(self) -> None:
        kit = self.kit

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            await _some_turns(self.chance)
            self.told.append((event.room_id, tags(event, context)))
            await kit.publish_typing(event.room_id, "bot", data={"text": tag(event.room_id)})

        for event_type in ("event_processed", "delivery_succeeded"):

            @kit.on(event_type)
            async def hear(event: Any) -> None:
                self.told.append((event.room_id, tags(event.data) | {event.room_id}))

    async def talk(self) -> None:
        """Let everybody say something by every way, all at once."""
        for turn in range(ROUNDS):
            async with asyncio.TaskGroup() as group:
                for room_id in self.chance.sample(ROOMS, len(ROOMS)):
                    body = f"say {turn} {tag(room_id)}"
                    group.create_task(self._later(inbound(body, "sms", phone(room_id)), None))
                    group.create_task(self._later(inbound(body, "ws"), room_id))
        assert await self.kit.drain(20)

    async def _later(self, message: Any, room_id: str | None) -> None:
        await _some_turns(self.chance)
        await self.kit.process_inbound(message, room_id=room_id)


@pytest.mark.parametrize(
    ("streaming", "gated"),
    [
        pytest.param(False, False, id="whole"),
        pytest.param(True, False, id="streaming"),
        pytest.param(True, True, id="gated"),
    ],
)
class TestWalls:
    """Two tenants, twenty rooms each, one WebSocket, one SMS and one AI channel for all."""

    async def test_no_tag_outside_its_room(
        self, streaming: bool, gated: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "roomkit")
        building = await Building(streaming=streaming, seed=7).build()
        if gated:
            self._gate(building.kit)
        await building.talk()
        for room_id in ROOMS:
            await self._check_room(building, room_id, gated=gated)
        assert building.model.leaks == []
        assert [told for told in building.told if told[1] - {told[0]}] == []
        assert len(building.told) > len(ROOMS)
        assert set(map(str, building.tools)) == set(map(tag, ROOMS))
        assert tags(*(record.getMessage() for record in caplog.records)) == set()
        await building.kit.close()
        await assert_invariants(building.inner)

    @staticmethod
    def _gate(kit: RoomKit) -> None:
        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await asyncio.sleep(0)
            assert tags(event, context) <= {event.room_id}
            note = make_event(event.room_id, f"note {tag(event.room_id)}", channel_id="ws")
            return HookResult.allow(
                injected=[InjectedEvent(event=note, target_channel_ids=["ws"])]
            )

    @staticmethod
    async def _check_room(building: Building, room_id: str, *, gated: bool) -> None:
        only = {room_id}
        events = [e for e in await building.inner.list_events(room_id, 0, 1000) if tags(e.content)]
        assert tags(events) == only
        said = [event for event in events if event.source.channel_id in ("ws", "sms")]
        asked = 2 * ROUNDS * (2 if gated else 1)
        answers = 2 * ROUNDS
        notes = answers if gated else 0
        assert len(said) == asked + notes
        assert len(events) - len(said) == answers
        heard = building.sockets[room_id]
        assert tags(heard) == only
        assert {getattr(item, "room_id", None) for item in heard} == only
        sent = [call for call in building.sms.sent if call["to"] == phone(room_id)]
        assert tags(sent) == only
        assert len(sent) == ROUNDS + answers
        assert {event.room_id for event in building.ephemeral[room_id]} == only
        assert tags(building.ephemeral[room_id]) == only
        assert tags(await building.kit.list_tasks(room_id)) == only
        assert tags(await building.kit.list_observations(room_id)) == only
        assert len(await building.kit.list_tasks(room_id)) == answers
        streams: dict[str, str] = {}
        for piece in heard:
            if isinstance(piece, StreamDelta):
                streams[piece.stream_id] = streams.get(piece.stream_id, "") + piece.text
        assert set(streams.values()) <= {f"answer {tag(room_id)} for you"}
        ends = [piece for piece in heard if isinstance(piece, StreamEnd)]
        assert {end.stream_id for end in ends} == set(streams)


class TestTenants:
    """A tenant's message never lands in another tenant's room."""

    async def test_one_address_at_two_tenants(self) -> None:
        kit = RoomKit()
        kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
        rooms: dict[str, set[str]] = {org: set() for org in ORGANIZATIONS}
        for _ in range(3):
            for org in ORGANIZATIONS:
                result = await kit.process_inbound(
                    inbound(f"to {org}", "sms", "+15550000001"), organization_id=org
                )
                assert result.event is not None
                rooms[org].add(result.event.room_id)
        red, blue = rooms["red"], rooms["blue"]
        assert (len(red), len(blue)) == (1, 1)
        assert red.isdisjoint(blue)
        for org in ORGANIZATIONS:
            (room_id,) = rooms[org]
            assert (await kit.get_room(room_id)).organization_id == org
        await kit.close()

    async def test_one_key_at_two_tenants(self) -> None:
        """Another tenant's message of the same key is no repeat, and nothing of it is told."""
        kit = RoomKit()
        kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
        for org in ORGANIZATIONS:
            message = inbound(f"to {org}", "sms", "+15550000001", idempotency_key="k")
            first = await kit.process_inbound(message, organization_id=org)
            assert not first.blocked
            again = await kit.process_inbound(message, organization_id=org)
            assert (again.blocked, again.reason) == (True, Reason.DUPLICATE)
            assert first.event is not None
            assert again.event is not None
            assert again.event.id == first.event.id
        await kit.close()

    async def test_a_send_names_a_channel_of_its_own_room(self) -> None:
        kit = RoomKit()
        kit.register_channel(WebSocketChannel("ws"))
        kit.register_channel(WebSocketChannel("other"))
        for room_id, channel_id in (("red", "ws"), ("blue", "other")):
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, channel_id)
        with pytest.raises(ChannelNotFoundError):
            await kit.send_event("red", "other", TextContent(body="x"))
        await kit.close()
