"""What is not stored: typing, receipts, reactions, and answers while they are made."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit._clock import ManualClock
from roomkit.asgi._ws_wire import wire_topic
from roomkit.channels.ai import AIChannel
from roomkit.core.framework import RoomKit
from roomkit.exceptions import StoreUnavailableError
from roomkit.models.content import TextContent
from roomkit.models.enums import Access, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.providers.ai.mock import MockAIProvider
from roomkit.realtime.base import EphemeralEvent, EphemeralEventType
from roomkit.store.memory import InMemoryStore
from roomkit.testing import FaultStore, SimpleChannel
from tests.support.kits import inbound
from tests.support.ws_clients import ROOM, Client, serving


class TestEphemeral:
    """Everybody in the room hears, but who it comes from."""

    async def test_typing(self) -> None:
        """Begin and end, with the participant."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            ana.say("typing", room_id=ROOM)
            frame = await bob.next("ephemeral")
            assert (frame["kind"], frame["participant_id"]) == ("typing_start", "ana")
            assert frame["room_id"] == ROOM
            ana.say("typing", room_id=ROOM, typing=False)
            assert (await bob.next("ephemeral"))["kind"] == "typing_stop"
            bob.say("typing", room_id=ROOM)
            # What came for Ana first is Bob's: nothing of her own.
            assert (await ana.next("ephemeral"))["participant_id"] == "bob"

    async def test_read_receipts(self) -> None:
        """They are told, and move the channel's mark on, never back."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            first = await ana.write("one", "1")
            second = await ana.write("two", "2")
            await bob.heard("one", "two")
            for said in (second, first):
                bob.say("read", event_id=said["event_id"])
                frame = await ana.next("ephemeral")
                assert (frame["kind"], frame["participant_id"]) == ("read_receipt", "bob")
                assert frame["data"] == {"event_id": said["event_id"]}
            assert await kit.store.get_unread_count(ROOM, "web") == 0

    @pytest.mark.parametrize("hidden", [False, True])
    async def test_reading_what_is_not_there(self, hidden: bool) -> None:
        """An event that is hidden is answered as one that does not exist."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            event_id = "nothing"
            if hidden:
                body = TextContent(body="x")
                event_id = (await kit.send_event(ROOM, "phone", body, visibility="phone")).id
            ana.say("read", event_id=event_id)
            assert (await ana.next("error"))["code"] == "not_found"

    async def test_what_names_a_hidden_event_is_hidden(self) -> None:
        """A reaction to it, or that somebody read it, would tell that it is there."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            body = TextContent(body="x")
            hidden = await kit.send_event(ROOM, "phone", body, visibility="phone")
            shown = await kit.send_event(ROOM, "phone", body)
            for event in (hidden, shown):
                await kit.publish_reaction(ROOM, "bob", event.id, "!")
                await kit.publish_read_receipt(ROOM, "bob", event.id)
            for kind, key in (("reaction", "target_event_id"), ("read_receipt", "event_id")):
                assert (await ana.next("ephemeral", kind=kind))["data"][key] == shown.id

    async def test_what_json_cannot_carry_is_left_out(self) -> None:
        """One odd event of the application does not end the room."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.publish_typing(ROOM, "bob", data={"x": object()})
            await kit.publish_typing(ROOM, "eve", data={"x": float("nan"), "y": "\ud800"})
            frame = await ana.next("ephemeral")
            assert (frame["participant_id"], frame["data"]) == ("eve", {"x": None, "y": "?"})

    async def test_custom_events_of_the_application(self) -> None:
        """They pass; those of endpoints among themselves reach nobody else."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            heard: list[EphemeralEvent] = []

            async def listen(event: EphemeralEvent) -> None:
                heard.append(event)

            await kit.subscribe_room(ROOM, listen)
            await ana.join()
            await kit.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await ana.heard("x")
            await kit.publish_presence(ROOM, "bob", "on holiday")
            frame = await ana.next("ephemeral")
            assert (frame["kind"], frame["data"]) == ("custom", {"status": "on holiday"})
            assert len([f for f in ana.frames if f["type"] == "ephemeral"]) == 1
            assert [event.data for event in heard] == [{"status": "on holiday"}]

    @pytest.mark.parametrize("access", [Access.READ_ONLY, Access.NONE])
    async def test_a_channel_that_may_not_speak(self, access: Access) -> None:
        """It cannot type either, and its messages are refused at the door."""
        clock = ManualClock()
        async with serving(clock=clock) as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.set_access(ROOM, "web", access)
            await clock.advance(1.5)
            ana.say("typing", room_id=ROOM)
            assert (await ana.next("error"))["code"] == "no_access"
            assert await ana.write("x", "1") == {
                "type": "ack",
                "ref": "1",
                "reason": "no_access",
            }
            assert not [e for e in await kit.get_timeline(ROOM) if e.source.channel_id == "web"]


class Answers:
    """A room with a model in it that streams."""

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit

    async def add(self, **options: Any) -> None:
        """Attach the model."""
        model = MockAIProvider(["We open at nine."], streaming=True)
        self.kit.register_channel(AIChannel("assistant", model, **options))
        await self.kit.attach_channel(ROOM, "assistant")


def pieces(client: Client) -> list[str]:
    """Return the pieces that came."""
    return [frame["text"] for frame in client.frames if frame["type"] == "delta"]


class TestDeltas:
    """An answer is shown while it is made, and then whole."""

    async def test_pieces_then_the_whole(self) -> None:
        """Numbered, of one stream, ended with the event that is the whole."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await Answers(kit).add()
            await ana.join()
            await ana.write("When?", "1")
            await ana.heard("When?", "We open at nine.")
            end = await ana.next("delta_end")
            deltas = [f for f in ana.frames if f["type"] == "delta"]
            assert "".join(pieces(ana)) == "We open at nine."
            assert [f["seq"] for f in deltas] == list(range(len(deltas)))
            assert {f["stream_id"] for f in deltas} == {end["stream_id"]}
            whole = ana.events()[-1]["event"]
            assert (end["event_id"], end["retracted"]) == (whole["id"], False)
            assert whole["metadata"]["stream_id"] == end["stream_id"]

    async def test_a_refused_answer_is_taken_back(self) -> None:
        """``delta_end`` says so, and no event follows."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await Answers(kit).add(stream_before_gates=True)

            @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_ids={"assistant"})
            async def gate(event: Any, context: Any) -> HookResult:
                return HookResult.block("no")

            await ana.join()
            await ana.write("When?", "1")
            end = await ana.next("delta_end")
            assert (end["event_id"], end["retracted"]) == (None, True)
            await ana.in_step()
            assert ana.texts() == ["When?"]

    @pytest.mark.parametrize("visibility", ["phone", "none"])
    async def test_a_hidden_answer_shows_no_pieces(self, visibility: str) -> None:
        """Nor its end."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await Answers(kit).add()
            await kit.set_visibility(ROOM, "assistant", visibility)
            await ana.join()
            await ana.write("When?", "1")
            await kit.drain(5)
            await ana.in_step()
            assert {f["type"] for f in ana.frames} == {"ready", "ack", "event", "pong"}
            assert ana.texts() == ["When?"]

    async def test_access_lost_meanwhile(self) -> None:
        """Pieces stop within a second of the clock."""
        clock = ManualClock()
        async with serving(clock=clock, poll=1e6) as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            web = kit.get_channel("web")
            binding = await kit.get_binding(ROOM, "web")
            await web.deliver_delta(StreamDelta(ROOM, "ai", "s", 0, "one"), binding)
            await ana.next("delta")
            await kit.set_access(ROOM, "web", Access.NONE)
            await clock.advance(1.5)
            await web.deliver_delta(StreamDelta(ROOM, "ai", "s", 1, "two"), binding)
            await web.deliver_delta(StreamEnd(ROOM, "ai", "s", None), binding)
            await ana.in_step()
            assert pieces(ana) == ["one"]


class TestWake:
    """Hubs of other processes are told over the realtime backend, and poll besides."""

    async def test_what_nobody_told_of_is_found_by_the_poll(self) -> None:
        """A process without an endpoint stored it."""
        clock = ManualClock()
        async with serving(clock=clock, poll=5) as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            async with RoomKit(store=kit.store) as other:
                other.register_channel(SimpleChannel("phone"))
                await other.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await clock.advance(4)
            assert ana.events() == []
            await clock.advance(2)
            await ana.heard("x")

    async def test_a_store_that_fails_for_a_while(self) -> None:
        """What was stored meanwhile comes once it answers again."""
        clock = ManualClock()
        inner = InMemoryStore()
        store = FaultStore(inner)
        kit = RoomKit(store=store)
        async with serving(kit, clock=clock, poll=5) as (_, endpoint), Client(endpoint) as ana:
            await ana.join()
            async with RoomKit(store=inner) as other:
                other.register_channel(SimpleChannel("phone"))
                await other.process_inbound(inbound("x", "phone"), room_id=ROOM)
            store.reset()
            store.fail_at(1, StoreUnavailableError("away"), method="reload_context")
            await clock.advance(5.5)
            assert len(store.fired) == 1
            assert ana.events() == []
            await clock.advance(1.5)
            await ana.heard("x")

    @pytest.mark.parametrize(
        "data",
        [
            {"roomkit.v1": None},
            {"roomkit.v1": {}},
            {"roomkit.v1": {"origin": "o", "channel_id": "web", "delta": [1]}},
            {"roomkit.v1": {"origin": "o", "channel_id": "web", "events": [["e"]]}},
        ],
    )
    async def test_odd_news_harm_nobody(self, data: dict[str, Any]) -> None:
        """Whoever publishes them: the room goes on."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            event = EphemeralEvent(ROOM, EphemeralEventType.CUSTOM, "x", data=data)
            await kit.realtime.publish(wire_topic(ROOM), event)
            await kit.realtime.publish_to_room(ROOM, event)
            await kit.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await ana.heard("x")

    async def test_a_message_the_store_does_not_take(self) -> None:
        """The client is told to try again, and its ref is good for that."""
        store = FaultStore(InMemoryStore())
        async with serving(RoomKit(store=store)) as (_, endpoint), Client(endpoint) as ana:
            await ana.join()
            store.reset()
            store.fail_at(1, StoreUnavailableError("away"), method="commit")
            text = {"type": "text", "body": "x"}
            ana.say("message", room_id=ROOM, ref="1", content=text)
            assert (await ana.next("error"))["code"] == "unavailable"
            assert "event_id" in await ana.write("x", "1")
            await ana.heard("x")

    async def test_a_room_that_is_deleted(self) -> None:
        """Who is in it is put out."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.store.delete_room(ROOM)
            ana.say("message", room_id=ROOM, ref="1", content={"type": "text", "body": "x"})
            assert (await ana.next("error"))["code"] == "not_found"

    async def test_a_join_the_store_does_not_answer(self) -> None:
        """It is as if it had not been tried."""
        store = FaultStore(InMemoryStore())
        async with serving(RoomKit(store=store)) as (_, endpoint), Client(endpoint) as ana:
            await ana.next("ready")
            store.reset()
            store.fail_at(2, StoreUnavailableError("away"), method="load_context")
            ana.say("join", room_id=ROOM, after=-1)
            assert (await ana.next("error"))["code"] == "unavailable"
            assert endpoint.stats.rooms == 0
            await ana.join()

    async def test_a_backend_that_fails(self) -> None:
        """Clients of this process hear all the same."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()

            async def fail(channel: str, event: EphemeralEvent) -> None:
                raise ConnectionError("gone")

            kit.realtime.publish = fail
            for number in range(5):
                await kit.process_inbound(inbound(str(number), "phone"), room_id=ROOM)
            await ana.write("mine", "1")
            await ana.heard("0", "1", "2", "3", "4", "mine")
