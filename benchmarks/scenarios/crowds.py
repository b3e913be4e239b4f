"""Many messages at once, many rooms, many receivers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.floors import MessageFloor, calls
from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import SOURCE, CountingChannel, Room, message
from roomkit import RoomKit
from roomkit.channels.websocket import WebSocketChannel
from roomkit.models.content import TextContent
from roomkit.models.event import RoomEvent

if TYPE_CHECKING:
    from collections.abc import Callable

ROOMS = 1000
EACH = 10
WIDE = 100
RECEIVERS = 100


async def _many_rooms(rooms: int) -> RoomKit:
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("ws"))
    for number in range(rooms):
        await kit.create_room(f"room-{number}")
        await kit.attach_channel(f"room-{number}", "ws")
    return kit


async def _wide(count: int, one: Callable[[int], object]) -> None:
    for start in range(0, count, WIDE):
        await asyncio.gather(*(one(number) for number in range(start, start + WIDE)))  # type: ignore[call-overload]


@scenario("rooms", "1,000 rooms x 10, gathered 100 wide", target=65.0)
async def rooms() -> Figure:
    """Messages to many rooms at the same time."""
    kit, floor = await _many_rooms(ROOMS), MessageFloor()
    rounds = 0

    async def spread() -> None:
        nonlocal rounds
        rounds += 1
        await _wide(
            ROOMS * EACH,
            lambda number: kit.process_inbound(message(), room_id=f"room-{number % ROOMS}"),
        )

    spent, bare = await race(1, spread, lambda: _wide(ROOMS * EACH, lambda _: floor()), rounds=3)
    for number in range(ROOMS):
        room = await kit.get_room(f"room-{number}")
        check(room.event_count == 1 + rounds * EACH, f"room {number} has {room.event_count}")
    return Figure(spent / (ROOMS * EACH), bare / (ROOMS * EACH))


@scenario("concurrent", "1,000 at once on one room", target=75.0)
async def concurrent() -> Figure:
    """Messages that all wait for the same room."""
    room, floor = await Room.make(), MessageFloor()

    async def storm() -> None:
        await asyncio.gather(*(room.say() for _ in range(1000)))

    async def bare_storm() -> None:
        await asyncio.gather(*(floor() for _ in range(1000)))

    spent, bare = await race(1, storm, bare_storm)
    await room.verify()
    return Figure(spent / 1000, bare / 1000)


@scenario("fanout_sockets", "fan-out to 100 sockets, per delivery", target=1.7)
async def fanout_sockets() -> Figure:
    """What one more socket adds to a message."""
    channel, got = WebSocketChannel("sockets"), 0

    async def send(_: str, event: RoomEvent) -> None:
        nonlocal got
        got += 1

    empty = await Room.make(targets=(WebSocketChannel("sockets"),))
    room = await Room.make(targets=(channel,))
    for number in range(RECEIVERS):
        channel.register_connection(f"c{number}", send)
    event = RoomEvent(room_id="room", source=SOURCE, content=TextContent(body="hello"))
    spent, without, bare = await race(
        300, room.say, empty.say, calls(lambda event: _counted(event), RECEIVERS, event)
    )
    await room.verify()
    check(got == room.said * RECEIVERS, f"{got} of {room.said * RECEIVERS} sent")
    return Figure((spent - without) / RECEIVERS, bare / RECEIVERS)


async def _counted(event: RoomEvent) -> None:
    """Stand for a socket that takes an event."""


@scenario("fanout_channels", "fan-out to 100 channels, per delivery", target=5.0)
async def fanout_channels() -> Figure:
    """What one more channel adds to a message."""
    channels = tuple(CountingChannel(f"channel-{number}") for number in range(RECEIVERS))
    room, alone = await Room.make(targets=channels), await Room.make()
    floor, bare_floor = MessageFloor(RECEIVERS), MessageFloor()
    spent, without, bare, bare_one = await race(150, room.say, alone.say, floor, bare_floor)
    await room.verify()
    for channel in channels:
        check(channel.count == room.said, f"{channel!r} got {channel.count} of {room.said}")
        check(channel.out_of_order == 0, f"{channel!r} out of order")
    return Figure((spent - without) / RECEIVERS, (bare - bare_one) / RECEIVERS)


@scenario("stall", "100 busy rooms: longest stall of the loop", target=6.0, unit="ms")
async def stall() -> Figure:
    """How long somebody else on the same loop has to wait for a turn, at worst."""
    kit = await _many_rooms(WIDE)

    async def busy(number: int) -> None:
        for _ in range(40):
            await kit.process_inbound(message(), room_id=f"room-{number}")

    best = float("inf")
    for _ in range(5):
        best = min(best, await _longest_gap([busy(number) for number in range(WIDE)]))
    room = await kit.get_room("room-99")
    check(room.event_count == 1 + 5 * 40, "messages were lost")
    return Figure(best * 1000)


async def _longest_gap(work: list[object]) -> float:
    """Return the longest time between two turns of a task that only asks for turns."""
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    await asyncio.gather(*work)  # type: ignore[call-overload]
    done = True
    await watcher
    return longest
