"""What clients in a room see: each other, the other channels, what they missed, nothing hidden."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from roomkit._clock import ManualClock
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.framework import RoomKit
from roomkit.models.channel import RateLimit
from roomkit.models.content import EditContent, TextContent
from roomkit.models.enums import Access, EventType, HookTrigger
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.testing import SimpleChannel, StoreWrapper
from tests.support.kits import inbound
from tests.support.ws_clients import ROOM, Client, serving


async def say(kit: RoomKit, body: str, channel_id: str = "phone", **fields: Any) -> RoomEvent:
    """Say something by a channel, from outside."""
    result = await kit.process_inbound(inbound(body, channel_id, **fields), room_id=ROOM)
    assert result.event is not None
    return result.event


class TestConversation:
    """People on one channel hear each other, and everybody else in the room."""

    async def test_two_people_on_one_channel_hear_each_other(self) -> None:
        """The engine never gives a message back to its channel; the protocol does."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            ack = await ana.write("hello", "1")
            await bob.heard("hello")
            await bob.write("hi", "1")
            await ana.heard("hello", "hi")
            await bob.heard("hello", "hi")
            assert ana.events()[0]["event"]["id"] == ack["event_id"]
            assert ana.events()[0]["index"] == ack["index"]
            assert bob.events()[0]["event"]["source"]["participant_id"] == "ana"

    async def test_other_channels_are_heard_and_hear(self) -> None:
        """A message by phone comes as an event, and a client's message reaches the phone."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await say(kit, "by phone")
            await ana.heard("by phone")
            await ana.write("by web", "1")
            await kit.drain(5)
            phone = kit.get_channel("phone")
            assert [e.content.body for e in phone.delivered] == ["by web"]

    async def test_neighbours_do_not_wait_for_slow_channels(self) -> None:
        """What one writes is shown, and acknowledged, while a vendor still takes its time."""
        asked, answered = asyncio.Event(), asyncio.Event()

        async def slowly(*_: Any) -> None:
            asked.set()
            await answered.wait()

        async with (
            serving(poll=1e6) as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            kit.register_channel(SimpleChannel("slow", deliver_script=slowly))
            await kit.attach_channel(ROOM, "slow")
            await ana.join()
            await bob.join()
            assert "event_id" in await ana.write("hello", "1")
            await bob.heard("hello")
            assert asked.is_set()
            answered.set()

    async def test_what_the_application_says_through_the_channel_is_heard(self) -> None:
        """``send_event`` by the clients' own channel reaches them too."""
        async with serving(poll=1e6) as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await kit.send_event(ROOM, "web", TextContent(body="from the app"))
            await ana.heard("from the app")

    async def test_an_event_names_nothing_of_the_server(self) -> None:
        """Keys, delivery results, vendors' payloads and private metadata stay inside."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            await say(kit, "x", metadata={"internal_note": "n", "edited": False})
            await ana.heard("x")
            event = ana.events()[0]["event"]
            assert RoomEvent.model_validate(event).content == TextContent(body="x")
            assert event["metadata"] == {"edited": False}
            assert set(event) == {
                "id",
                "room_id",
                "type",
                "source",
                "content",
                "index",
                "parent_event_id",
                "correlation_id",
                "created_at",
                "metadata",
            }

    async def test_edits_and_deletes_come_as_events(self) -> None:
        """A client edits and takes back its own; nobody else's."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            said = await ana.write("helo", "1")
            edit = {
                "type": "edit",
                "target_event_id": said["event_id"],
                "new_content": {"type": "text", "body": "hello"},
            }
            bob.say("message", room_id=ROOM, ref="b1", content=edit)
            assert (await bob.next("ack", ref="b1"))["reason"] == "not_original_author"
            ana.say("message", room_id=ROOM, ref="2", content=edit)
            await ana.next("ack", ref="2")
            gone = {"type": "delete", "target_event_id": said["event_id"]}
            ana.say("message", room_id=ROOM, ref="3", content=gone)
            await ana.next("ack", ref="3")
            await bob.until(lambda: len(bob.events()) == 3)
            assert [e["event"]["type"] for e in bob.events()] == ["message", "edit", "delete"]

    async def test_a_left_room_is_silent(self) -> None:
        """After ``leave`` nothing of the room comes, and nothing can be said in it."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            ana.say("leave", room_id=ROOM)
            await ana.in_step()
            await say(kit, "unheard")
            ana.say("message", room_id=ROOM, ref="1", content={"type": "text", "body": "x"})
            assert (await ana.next("error"))["code"] == "not_joined"
            assert ana.events() == []
            assert endpoint.stats.rooms == 0


class TestAcknowledgements:
    """A ref stands for one message, however often it is sent."""

    async def test_a_repeated_ref_gives_the_same_ack(self) -> None:
        """Also after a reconnect; the message is stored once."""
        async with serving() as (_kit, endpoint):
            async with Client(endpoint) as ana:
                await ana.join()
                first = await ana.write("once", "7")
                assert await ana.write("once", "7") == first
            async with Client(endpoint) as again:
                await again.join(after=-1)
                assert await again.write("once", "7") == first
                assert again.texts() == ["once"]

    async def test_refs_of_two_people_do_not_collide(self) -> None:
        """Each has refs of their own."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            first, second = await ana.write("a", "1"), await bob.write("b", "1")
            assert first["event_id"] != second["event_id"]

    async def test_a_refused_message_says_why_each_time(self) -> None:
        """A gate's reason comes in the ack, and in that of the repeat; nobody sees the rest."""
        async with serving() as (kit, endpoint):

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: Any) -> HookResult:
                return HookResult.block("no such words")

            async with Client(endpoint, "ana") as ana, Client(endpoint, "bob") as bob:
                await ana.join()
                await bob.join()
                first = await ana.write("bad", "1")
                assert first == {"type": "ack", "ref": "1", "reason": "no such words"}
                assert await ana.write("bad", "1") == first
                await bob.in_step()
                assert ana.events() == bob.events() == []

    async def test_a_closed_room_refuses(self) -> None:
        """It can be read, and says ``room_closed`` to whoever speaks."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await say(kit, "before")
            await kit.close_room(ROOM)
            await ana.join(after=-1)
            assert (await ana.write("late", "1"))["reason"] == "room_closed"
            assert ana.texts() == ["before"]


class TestReplay:
    """What a client missed comes first, then what happens, without a hole or a repeat."""

    async def test_a_join_without_after_begins_now(self) -> None:
        """``ready`` tells the index it begins at."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            old = await say(kit, "old")
            assert (await ana.join())["index"] == old.index
            await say(kit, "new")
            await ana.heard("new")

    async def test_a_reconnect_gets_what_it_missed(self) -> None:
        """``after`` is the last index the client has."""
        async with serving() as (kit, endpoint):
            async with Client(endpoint) as ana:
                await ana.join()
                await say(kit, "one")
                await ana.heard("one")
                last = ana.indexes()[-1]
            await say(kit, "two")
            await say(kit, "three")
            async with Client(endpoint) as ana:
                assert (await ana.join(after=last))["index"] == last + 2
                await say(kit, "four")
                await ana.heard("two", "three", "four")

    async def test_of_600_missed_events_the_newest_500_come(self) -> None:
        """A gap names the indexes left out, before the events."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            for number in range(600):
                await say(kit, str(number))
            first = len(await kit.get_timeline(ROOM, limit=1000)) - 600
            await ana.join(after=first - 1)
            assert ana.texts() == [str(number) for number in range(100, 600)]
            gaps = [frame for frame in ana.frames if frame["type"] == "gap"]
            assert gaps == [{"type": "gap", "room_id": ROOM, "from": first, "to": first + 99}]
            assert ana.frames.index(gaps[0]) < ana.frames.index(ana.events()[0])

    async def test_exactly_as_many_as_are_shown_leave_no_gap(self) -> None:
        """Hidden events do not count, and what lies before ``after`` neither."""
        async with serving(max_replay=3) as (kit, endpoint), Client(endpoint) as ana:
            await say(kit, "seen before")
            after = (await say(kit, "seen too")).index
            for number in range(3):
                await say(kit, str(number))
                await kit.mute(ROOM, "phone")
                await kit.unmute(ROOM, "phone")
            await ana.join(after=after)
            assert ana.texts() == ["0", "1", "2"]
            assert not [frame for frame in ana.frames if frame["type"] == "gap"]

    async def test_only_so_many_events_are_looked_at(self) -> None:
        """What lies further back is a gap, whether or not there is something to see."""
        async with serving(max_scan=2) as (kit, endpoint), Client(endpoint) as ana:
            events = [await say(kit, str(number)) for number in range(4)]
            await ana.join(after=-1)
            assert ana.texts() == ["2", "3"]
            gap = next(frame for frame in ana.frames if frame["type"] == "gap")
            assert (gap["from"], gap["to"]) == (0, events[1].index)

    async def test_an_after_from_the_future_is_now(self) -> None:
        """A client that knows more than the room (it was restored) begins at its end."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            last = await say(kit, "last")
            assert (await ana.join(after=10_000))["index"] == last.index

    async def test_joining_again_begins_anew(self) -> None:
        """A client that lost track may ask once more on the same connection."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            event = await say(kit, "x")
            await ana.heard("x")
            await ana.join(after=event.index - 1)
            await say(kit, "y")
            await ana.heard("x", "x", "y")


class Turnstile(StoreWrapper):
    """A store whose answers about a room's events wait for the test."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.reached = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def list_events(self, *args: Any, **options: Any) -> list[RoomEvent]:
        self.reached.set()
        await self.free.wait()
        return await super().list_events(*args, **options)


class Ahead(StoreWrapper):
    """A store that keeps one look at a room waiting, and answers the later ones."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.held = asyncio.Event()
        self.free = asyncio.Event()
        self._hold = False

    def hold(self) -> None:
        """Keep the next look waiting."""
        self._hold = True

    async def reload_context(self, *args: Any, **options: Any) -> Any:
        if self._hold:
            self._hold = False
            self.held.set()
            await self.free.wait()
        return await super().reload_context(*args, **options)


class TestRaces:
    """Whatever comes in between, each event comes once and in order."""

    @pytest.mark.parametrize("by", ["phone", "web"])
    async def test_a_commit_between_replay_and_live(self, by: str) -> None:
        """It is neither lost nor doubled, whichever way it came."""
        store = Turnstile(RoomKit().store)
        async with (
            serving(RoomKit(store=store)) as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await bob.join()
            await say(kit, "one")
            store.free.clear()
            store.reached.clear()
            ana.say("join", room_id=ROOM, after=-1)
            await store.reached.wait()
            said = asyncio.create_task(say(kit, "two", by))
            await asyncio.sleep(0)
            store.free.set()
            await said
            await ana.next("ready", room_id=ROOM)
            await say(kit, "three")
            await ana.heard("one", "two", "three")
            await bob.heard("one", "two", "three")

    async def test_a_client_that_joins_ahead_of_its_neighbours(self) -> None:
        """It has read further than those who were there; it gets nothing twice."""
        store = Ahead(RoomKit().store)
        async with (
            serving(RoomKit(store=store), poll=1e6) as (kit, endpoint),
            Client(endpoint, "bob") as bob,
            Client(endpoint, "ana") as ana,
        ):
            await bob.join()
            await bob.in_step()
            store.hold()
            await say(kit, "one")
            await store.held.wait()
            await ana.join(after=-1)
            await ana.heard("one")
            assert bob.events() == []
            store.free.set()
            await bob.heard("one")
            await say(kit, "two")
            await ana.heard("one", "two")
            await bob.heard("one", "two")

    async def test_many_writers_and_joiners_at_once(self) -> None:
        """Every client that joined from the start has the whole timeline, in order."""
        async with serving(max_per_participant=100) as (kit, endpoint):
            clients = [Client(endpoint, f"p{n}", channel_id="web") for n in range(8)]

            async def talk(client: Client, number: int) -> None:
                for turn in range(number):
                    await asyncio.sleep(0)
                    await say(kit, f"{number}:{turn}")
                await client.join(after=-1)
                for turn in range(5):
                    await client.write(f"web {number}:{turn}", str(turn))

            for client in clients:
                await client.__aenter__()
            await asyncio.gather(*(talk(client, n) for n, client in enumerate(clients)))
            expected = 5 * 8 + sum(range(8))
            for client in clients:
                await client.until(lambda client=client: len(client.events()) >= expected)
                assert client.indexes() == sorted(set(client.indexes()))
                assert len(client.events()) == expected
                await client.leave()
            assert endpoint.stats.connections == endpoint.stats.rooms == 0


class TestAgainstTheEngine:
    """Clients see what the engine delivers to a channel beside theirs, live and on replay."""

    @pytest.mark.parametrize("seed", range(12))
    async def test_any_sequence_of_changes(self, seed: int) -> None:
        """Mutes, accesses, visibilities, attaching anew: what reached the desk is shown."""
        chance = random.Random(seed)
        async with (
            serving(frames_per_second=1e6) as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            desk = SimpleChannel("desk")
            kit.register_channel(desk)
            await kit.attach_channel(ROOM, "desk")
            await ana.join()
            attached = True
            for number in range(150):
                act = chance.randrange(8)
                if act == 0 and attached:
                    await chance.choice([kit.mute, kit.unmute])(ROOM, "phone")
                elif act == 1 and attached:
                    await kit.set_access(ROOM, "phone", chance.choice(list(Access)))
                elif act == 2 and attached:
                    seen = chance.choice(["all", "transport", "phone", "web,desk", "none"])
                    await kit.set_visibility(ROOM, "phone", seen)
                elif act == 3 and attached and chance.random() < 0.3:
                    attached = not await kit.detach_channel(ROOM, "phone")
                elif act == 4 and chance.random() < 0.5:
                    access = chance.choice([Access.READ_WRITE, Access.READ_ONLY])
                    await kit.attach_channel(ROOM, "phone", access=access)
                    attached = True
                else:
                    await say(kit, str(number))
                    # In step, as clients are: a state is looked at when something is shown.
                    await ana.in_step()
            reached = [event.content.body for event in desk.delivered]
            assert reached
            await ana.heard(*reached)
            await bob.join(after=-1)
            assert bob.texts() == reached


class TestHidden:
    """What a client must not see leaves no frame behind."""

    async def _nothing_but(self, client: Client, *bodies: str) -> None:
        await client.in_step()
        await client.heard(*bodies)
        text = str(client.frames)
        assert "secret" not in text

    @pytest.mark.parametrize("visibility", ["none", "internal", "phone", "intelligence"])
    async def test_events_for_others(self, visibility: str) -> None:
        """Neither live nor on replay."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await kit.send_event(ROOM, "phone", TextContent(body="secret"), visibility=visibility)
            await say(kit, "open")
            await self._nothing_but(ana, "open")
            await bob.join(after=-1)
            await self._nothing_but(bob, "open")

    async def test_what_the_channel_says_for_others(self) -> None:
        """Its author sees it, the other people on the channel do not."""
        async with serving() as (kit, endpoint):
            await kit.set_visibility(ROOM, "web", "phone")
            async with Client(endpoint, "ana") as ana, Client(endpoint, "bob") as bob:
                await ana.join()
                await bob.join()
                await ana.write("secret", "1")
                await ana.heard("secret")
                await say(kit, "open")
                await self._nothing_but(bob, "open")

    async def test_a_muted_source_reaches_nobody(self) -> None:
        """It is stored as any other message, and stays unseen after the unmute as well."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await say(kit, "before")
            await kit.mute(ROOM, "phone")
            await say(kit, "secret")
            await kit.unmute(ROOM, "phone")
            await say(kit, "after")
            await self._nothing_but(ana, "before", "after")
            await bob.join(after=-1)
            await self._nothing_but(bob, "before", "after")

    @pytest.mark.parametrize("access", [Access.READ_ONLY, Access.NONE])
    async def test_a_source_without_access_reaches_nobody(self, access: Access) -> None:
        """Likewise, and what it said before stays visible."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await say(kit, "before")
            await kit.set_access(ROOM, "phone", access)
            await say(kit, "secret")
            await self._nothing_but(ana, "before")
            await bob.join(after=-1)
            await self._nothing_but(bob, "before")

    async def test_the_muted_channel_itself(self) -> None:
        """Who writes by a muted channel sees their own words, the neighbour does not."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            await kit.mute(ROOM, "web")
            assert "event_id" in await ana.write("secret", "1")
            await ana.heard("secret")
            await say(kit, "open")
            await self._nothing_but(bob, "open")

    async def test_a_channel_alone_in_its_room(self) -> None:
        """Its people's words reach no other channel; their history is there all the same."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await kit.detach_channel(ROOM, "phone")
            await ana.join()
            await ana.write("before", "1")
            await kit.attach_channel(ROOM, "web")
            await ana.write("anew", "2")
            await kit.mute(ROOM, "web")
            await ana.write("secret", "3")
            await kit.unmute(ROOM, "web")
            await ana.write("after", "4")
            await ana.heard("before", "anew", "secret", "after")
            await bob.join(after=-1)
            await self._nothing_but(bob, "before", "anew", "after")

    async def test_an_edit_of_a_hidden_event(self) -> None:
        """It would give the event's new words away."""
        async with serving() as (kit, endpoint), Client(endpoint) as ana:
            await ana.join()
            hidden = await kit.send_event(
                ROOM,
                "phone",
                TextContent(body="secret"),
                visibility="phone",
                participant_id="alice",
            )
            edit = EditContent(target_event_id=hidden.id, new_content=TextContent(body="secret 2"))
            result = await kit.process_inbound(
                inbound(edit, "phone", event_type=EventType.EDIT), room_id=ROOM
            )
            assert not result.blocked
            await say(kit, "open")
            await self._nothing_but(ana, "open")

    async def test_a_deleted_event_on_replay(self) -> None:
        """Its words are gone; that something was taken back is told."""
        async with (
            serving() as (_, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            await ana.join()
            said = await ana.write("secret", "1")
            gone = {"type": "delete", "target_event_id": said["event_id"]}
            ana.say("message", room_id=ROOM, ref="2", content=gone)
            await ana.next("ack", ref="2")
            await bob.join(after=-1)
            await self._nothing_but(bob, "")
            assert bob.events()[0]["event"]["content"]["target_event_id"] == said["event_id"]

    async def test_an_injected_event_reaches_whom_it_names(self) -> None:
        """A hook's word to the phone is not shown here; one to this channel is."""
        async with serving() as (kit, endpoint):
            source = EventSource.of_framework("greeter")

            def word(body: str, target: str) -> InjectedEvent:
                event = RoomEvent(room_id=ROOM, source=source, content=TextContent(body=body))
                return InjectedEvent(event=event, target_channel_ids=[target])

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def greet(event: RoomEvent, context: Any) -> HookResult:
                return HookResult.allow(injected=[word("secret", "phone"), word("welcome", "web")])

            async with Client(endpoint, "ana") as ana, Client(endpoint, "bob") as bob:
                await ana.join()
                await say(kit, "hello")
                await self._nothing_but(ana, "hello", "welcome")
                await bob.join(after=-1)
                await self._nothing_but(bob, "hello", "welcome")

    async def test_an_injected_event_that_is_delivered_late(self) -> None:
        """It is shown once it is delivered, after what was said meanwhile, and once."""
        clock = ManualClock()
        async with (
            serving(RoomKit(clock=clock)) as (kit, endpoint),
            Client(endpoint, "ana") as ana,
            Client(endpoint, "bob") as bob,
        ):
            pace = RateLimit(max_per_second=1)
            await kit.attach_channel(ROOM, "web", rate_limit=pace)
            source = EventSource.of_framework("greeter")
            word = RoomEvent(room_id=ROOM, source=source, content=TextContent(body="welcome"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_ids={"phone"})
            async def greet(event: RoomEvent, context: Any) -> HookResult:
                return HookResult.allow(
                    injected=[InjectedEvent(event=word, target_channel_ids=["web"])]
                )

            await ana.join()
            await kit.process_inbound(inbound("hello", "phone"), room_id=ROOM, wait=False)
            await ana.write("hi", "1")
            await ana.heard("hello", "hi")
            await clock.advance(1.1)
            await ana.heard("hello", "hi", "welcome")
            await kit.drain(5)
            await bob.join(after=-1)
            assert bob.texts() == ["hello", "welcome", "hi"]
            assert len(ana.events()) == 3

    async def test_a_channel_that_may_not_read(self) -> None:
        """A write-only channel's clients hear nothing, not even typing."""
        async with (
            serving() as (kit, endpoint),
            Client(endpoint) as ana,
            Client(endpoint, channel_id="desk") as desk,
        ):
            kit.register_channel(WebSocketChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            await kit.set_access(ROOM, "web", Access.WRITE_ONLY)
            await ana.join(after=-1)
            await desk.join()
            await say(kit, "secret")
            await kit.publish_typing(ROOM, "secret person")
            # The desk entered later, so it is told later: then Ana's side is through.
            await desk.heard("secret")
            await desk.next("ephemeral")
            await kit.set_access(ROOM, "web", Access.READ_WRITE)
            await say(kit, "open")
            await self._nothing_but(ana, "open")
