"""Memory: what an event, a room and a socket keep, and what is left of a deleted room."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.floors import MessageFloor
from benchmarks.measure import bytes_of
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room, message
from roomkit import RoomKit
from roomkit.channels.websocket import WebSocketChannel

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

COUNT = 5000


@scenario("bytes_event", "bytes per stored event", target=1700.0, unit="B", scale="none")
async def bytes_event() -> Figure:
    """Events that came in as messages and had nobody to go to."""
    room = await Room.make()
    floor = MessageFloor()

    async def say(count: int) -> Room:
        for _ in range(count):
            await room.say()
        return room

    async def bare(count: int) -> MessageFloor:
        for _ in range(count):
            await floor()
        return floor

    spent, without = await bytes_of(say, COUNT), await bytes_of(bare, COUNT)
    await room.verify()
    return Figure(spent, without)


@scenario(
    "bytes_room", "bytes per idle room with a binding", target=5000.0, unit="B", scale="none"
)
async def bytes_room() -> Figure:
    """Rooms in which nobody has said anything yet."""
    kit, names = (await Room.make()).kit, itertools.count()

    async def open_rooms(count: int) -> RoomKit:
        for _ in range(count):
            room_id = f"idle-{next(names)}"
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "ws")
        return kit

    spent = await bytes_of(open_rooms, 2000)
    check(len(await kit.store.list_rooms(limit=10_000)) == next(names) + 1, "rooms were lost")
    return Figure(spent)


@scenario("bytes_socket", "bytes per socket", target=200.0, unit="B", scale="none")
async def bytes_socket() -> Figure:
    """Connections of one channel that hear one room each; their ids are the application's."""
    channel, names = WebSocketChannel("sockets"), [f"c{number}" for number in range(COUNT + 16)]
    rooms = [f"room-{number}" for number in range(COUNT + 16)]
    place = itertools.count()

    async def send(_: str, event: RoomEvent) -> None:
        """Take an event."""

    async def connect(count: int) -> WebSocketChannel:
        for number in itertools.islice(place, count):
            channel.register_connection(names[number], send, room_ids=rooms[number])
        return channel

    spent = await bytes_of(connect, COUNT)
    check(channel.connection_count == COUNT + 16, "connections were lost")
    return Figure(spent)


@scenario("left_over", "left of a closed and deleted room", target=100.0, unit="B", scale="none")
async def left_over() -> Figure:
    """Rooms that were opened, spoken in, closed and deleted; no task may stay either."""
    kit, names = RoomKit(), itertools.count()
    kit.register_channel(WebSocketChannel("ws"))
    before = len(asyncio.all_tasks())

    async def come_and_go(count: int) -> None:
        for _ in range(count):
            room_id = f"room-{next(names)}"
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "ws")
            result = await kit.process_inbound(message(), room_id=room_id)
            check(result.event is not None and result.event.room_id == room_id, "wrong room")
            await kit.close_room(room_id)
            await kit.store.delete_room(room_id)

    # Tables of bounded size (such as idle locks) are full after this.
    await come_and_go(3000)
    gc.collect()
    tracemalloc.start()
    first, _ = tracemalloc.get_traced_memory()
    await come_and_go(3000)
    await kit.drain(5.0)
    gc.collect()
    second, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    check(len(asyncio.all_tasks()) == before, "tasks were left")
    check(await kit.store.list_rooms() == [], "rooms were left")
    return Figure(max(0.0, (second - first) / 3000))
