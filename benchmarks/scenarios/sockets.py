"""Typing signals, and a socket that keeps everybody waiting."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room
from roomkit import RoomKit
from roomkit.channels.websocket import WebSocketChannel

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.realtime.base import EphemeralEvent

SUBSCRIBERS = 1000


@scenario("typing", "typing to 1,000 subscribers, per callback", target=2.5)
async def typing() -> Figure:
    """A signal until everybody has had it."""
    kit, got = RoomKit(), 0
    everybody = asyncio.Event()

    async def callback(event: EphemeralEvent) -> None:
        nonlocal got
        got += 1
        if got % SUBSCRIBERS == 0:
            everybody.set()

    for _ in range(SUBSCRIBERS):
        await kit.subscribe_room("room", callback)
    published = 0

    async def signal() -> None:
        nonlocal published
        published += 1
        everybody.clear()
        await kit.publish_typing("room", "user")
        await everybody.wait()

    (spent,) = await race(20, signal)
    check(got == published * SUBSCRIBERS, f"{got} callbacks for {published} signals")
    await kit.close()
    return Figure(spent / SUBSCRIBERS)


@scenario("slow_socket", "one slow socket of 10: others hear after", target=0.3, unit="ms")
async def slow_socket() -> Figure:
    """The time from the message to the last of nine sockets that keep up."""
    channel, heard = WebSocketChannel("sockets"), list[float]()

    async def send(_: str, event: RoomEvent) -> None:
        heard.append(time.perf_counter())

    async def slow(_: str, event: RoomEvent) -> None:
        await asyncio.sleep(0.02)

    room = await Room.make(targets=(channel,))
    channel.register_connection("slow", slow)
    for number in range(9):
        channel.register_connection(f"c{number}", send)
    best = float("inf")
    for _ in range(12):
        heard.clear()
        began = time.perf_counter()
        await room.say()
        check(len(heard) == 9, f"{len(heard)} of 9 heard")
        best = min(best, heard[-1] - began)
    await room.verify()
    return Figure(best * 1000)
