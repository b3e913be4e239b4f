"""What a kit tells when it is asked: timelines, tasks, what was read, who is typing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    ChannelNotRegisteredError,
    EphemeralEvent,
    EphemeralEventType,
    HookResult,
    HookTrigger,
    ManualClock,
    Observation,
    RoomEvent,
    RoomKit,
    RoomNotFoundError,
    Task,
    TaskStatus,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound, open_room, text, texts

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext


class TestTimeline:
    """A page of a room's events, in index order."""

    async def test_pages(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            for number in range(5):
                await kit.process_inbound(inbound(f"m{number}"), room_id=ROOM)
            assert [e.index for e in await kit.get_timeline(ROOM)] == list(range(6))
            assert texts(await kit.get_timeline(ROOM, 2, 2)) == ["m1", "m2"]
            assert await kit.get_timeline(ROOM, offset=6) == []

    async def test_fifty_by_default(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            for number in range(60):
                await kit.process_inbound(inbound(f"m{number}"), room_id=ROOM)
            assert [e.index for e in await kit.get_timeline(ROOM)] == list(range(50))

    async def test_by_visibility_as_stamped_at_the_commit(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            await kit.set_visibility(ROOM, "a", "transport")
            await kit.process_inbound(inbound("stamped"), room_id=ROOM)
            await kit.send_event(ROOM, "b", TextContent(body="secret"), visibility="none")
            await kit.send_event(ROOM, "b", TextContent(body="open"))
            for visibility, expected in (
                ("transport", ["stamped"]),
                ("none", ["secret"]),
                ("all", ["open"]),
                ("intelligence", []),
            ):
                page = await kit.get_timeline(ROOM, visibility_filter=visibility)
                assert texts(page) == expected
            internal = await kit.get_timeline(ROOM, visibility_filter="internal")
            assert len(internal) == 3

    async def test_no_such_room(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.get_timeline("nowhere")

    async def test_blocked_events_are_part_of_it(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("no")

            await kit.process_inbound(inbound("x"), room_id=ROOM)
            event = (await kit.get_timeline(ROOM))[-1]
            assert (event.status, event.blocked_by, event.index) == ("blocked", "gate", 1)


class TestEffects:
    """Tasks and observations, oldest first."""

    async def test_tasks(self) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            for name in ("x", "y"):
                await kit.store.add_task(Task(id=name, room_id=ROOM, title=name))
            done = (await kit.list_tasks(ROOM))[0]
            done.status = TaskStatus.COMPLETED
            assert [t.status for t in await kit.list_tasks(ROOM)] == ["pending", "pending"]
            await kit.store.update_task(done)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["x", "y"]
            assert [t.id for t in await kit.list_tasks(ROOM, "completed")] == ["x"]
            assert [t.id for t in await kit.list_tasks(ROOM, status="pending")] == ["y"]
            assert await kit.list_tasks("nowhere") == []

    async def test_observations(self) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            for name in ("x", "y"):
                await kit.store.add_observation(
                    Observation(id=name, room_id=ROOM, channel_id="a", content=name)
                )
            assert [o.id for o in await kit.list_observations(ROOM)] == ["x", "y"]
            assert await kit.list_observations("nowhere") == []


class TestReadMarks:
    """The unread count follows what was read."""

    async def test_counts(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            events = [
                (await kit.process_inbound(inbound(f"m{n}"), room_id=ROOM)).event for n in range(3)
            ]
            first = events[0]
            assert first is not None
            await kit.mark_read(ROOM, "b", first.id)
            assert await kit.store.get_unread_count(ROOM, "b") == 2
            await kit.mark_all_read(ROOM, "b")
            assert await kit.store.get_unread_count(ROOM, "b") == 0
            await kit.process_inbound(inbound("m3"), room_id=ROOM)
            assert await kit.store.get_unread_count(ROOM, "b") == 1


class TestEphemeral:
    """Typing and the like reach subscribers and are never stored."""

    async def test_every_kind(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.create_room(ROOM)
            heard: list[EphemeralEvent] = []
            complete = asyncio.Event()

            async def listen(event: EphemeralEvent) -> None:
                heard.append(event)
                if len(heard) == 10:
                    complete.set()

            await kit.subscribe_room(ROOM, listen)
            await kit.publish_typing(ROOM, "u")
            await kit.publish_typing(ROOM, "u", False, {"k": 1})
            for status in ("online", "away", "offline", "lunch"):
                await kit.publish_presence(ROOM, "u", status)
            await kit.publish_read_receipt(ROOM, "u", "e-1")
            await kit.publish_reaction(ROOM, "u", "e-1", "+1")
            await kit.publish_reaction(ROOM, "u", "e-1", "+1", "remove")
            await kit.publish_typing("elsewhere", "u")
            await kit.publish_typing(ROOM, "v")
            async with asyncio.timeout(5):
                await complete.wait()
            kinds = EphemeralEventType
            reaction = {"target_event_id": "e-1", "emoji": "+1"}
            assert [(e.type, e.user_id, e.data) for e in heard] == [
                (kinds.TYPING_START, "u", {}),
                (kinds.TYPING_STOP, "u", {"k": 1}),
                (kinds.PRESENCE_ONLINE, "u", {}),
                (kinds.PRESENCE_AWAY, "u", {}),
                (kinds.PRESENCE_OFFLINE, "u", {}),
                (kinds.CUSTOM, "u", {"status": "lunch"}),
                (kinds.READ_RECEIPT, "u", {"event_id": "e-1"}),
                (kinds.REACTION, "u", {**reaction, "action": "add"}),
                (kinds.REACTION, "u", {**reaction, "action": "remove"}),
                (kinds.TYPING_START, "v", {}),
            ]
            assert {(e.room_id, e.timestamp) for e in heard} == {(ROOM, clock.now())}
            assert await kit.get_timeline(ROOM) == []

    async def test_unsubscribe(self) -> None:
        async with RoomKit() as kit:
            heard: asyncio.Queue[str] = asyncio.Queue()
            gone: list[str] = []

            async def leaving(event: EphemeralEvent) -> None:
                gone.append(event.user_id)

            async def staying(event: EphemeralEvent) -> None:
                heard.put_nowait(event.user_id)

            subscription = await kit.subscribe_room(ROOM, leaving)
            await kit.subscribe_room(ROOM, staying)
            assert await kit.unsubscribe_room(subscription)
            assert not await kit.unsubscribe_room(subscription)
            await kit.publish_typing(ROOM, "u")
            async with asyncio.timeout(5):
                assert await heard.get() == "u"
            assert gone == []


class TestConnections:
    """Every live connection of a room's WebSocket channel hears it."""

    async def test_fan_out(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), WebSocketChannel("ws"))
            got: list[tuple[str, str]] = []

            async def send(connection_id: str, event: RoomEvent) -> None:
                got.append((connection_id, text(event)))

            def plain(connection_id: str, event: RoomEvent) -> None:
                got.append((connection_id, text(event)))

            await kit.connect_websocket("ws", "one", send)
            await kit.connect_websocket("ws", "two", plain, room_id=ROOM)
            await kit.connect_websocket("ws", "three", send, room_id=["s", "t"])
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert sorted(got) == [("one", "hi"), ("two", "hi")]
            await kit.disconnect_websocket("ws", "one")
            await kit.process_inbound(inbound("ho"), room_id=ROOM)
            assert got[2:] == [("two", "ho")]

    async def test_only_a_websocket_channel(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("a"))
            for channel_id in ("a", "ghost"):
                with pytest.raises(ChannelNotRegisteredError, match=channel_id):
                    await kit.connect_websocket(channel_id, "c", print)
                await kit.disconnect_websocket(channel_id, "c")
