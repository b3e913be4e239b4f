"""Many calls, one after the other and at once: afterwards everything is as before (T16).

Fifty sessions of each kind in a pull request, five hundred with ``-m soak``.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import RoomKit
from tests.reliability._calls import nothing_left, open_files, resident_bytes, until
from tests.reliability._speakers import repeated, spoken, written
from tests.reliability.test_voice_states import MINE, OTHER, House, dial, say, studio
from tests.test_voice._backend_clients import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

AT_ONCE = 10
MOST_TRACED = 1024 * 1024
MOST_RESIDENT = 32 * 1024 * 1024


@asynccontextmanager
async def house() -> AsyncIterator[tuple[House, str]]:
    """A kit with a voice channel at a real socket, and its URL."""
    async with nothing_left(), RoomKit() as kit:
        world = House(kit)
        await world.furnish()
        async with serve(
            world.backend.serve, "127.0.0.1", 0, compression=None, close_timeout=0.05
        ) as server:
            yield world, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            await kit.close()


async def voice_call(world: House, url: str, number: int) -> None:
    """Call, say something, hear the answer, and go; every third one without a good-bye."""
    client = Client(await connect(url, compression=None, close_timeout=0.05))
    await client.start(codec="pcm_s16le", sample_rate=16000, room=MINE if number % 2 else OTHER)
    value = number % 10_000 + 1
    await say(client, value)
    # Whoever is in a room hears all answers given there; one's own is among them.
    mine = spoken(repeated(written(value, 2)))
    await until(lambda: mine in b"".join(client.audio))
    if number % 3:
        await client.leave()
    else:
        client.drop()
    await client.reader


async def in_groups(call: Callable[[int], Awaitable[None]], first: int, count: int) -> None:
    """Make calls, a few at a time."""
    for start in range(first, first + count, AT_ONCE):
        await asyncio.gather(*(call(number) for number in range(start, start + AT_ONCE)))


async def unchanged(
    call: Callable[[int], Awaitable[None]], ended: Callable[[], int], count: int
) -> None:
    """Assert that calls leave no task, no socket and no memory, once all have ended."""
    first = AT_ONCE
    await in_groups(call, 0, first)
    await until(lambda: ended() == first)
    gc.collect()
    tasks, files, resident = len(asyncio.all_tasks()), len(open_files()), resident_bytes()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await in_groups(call, first, count)
        await until(lambda: ended() == first + count)
        await until(lambda: len(asyncio.all_tasks()) <= tasks and len(open_files()) <= files)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # What the rooms were told is kept by the store: some kilobytes a call.
    assert grown <= MOST_TRACED + 12 * 1024 * count
    assert resident_bytes() - resident <= MOST_RESIDENT


async def voice_calls(count: int) -> None:
    """Make voice calls; afterwards nothing of them is left but what was said."""
    async with house() as (world, url):
        await unchanged(
            lambda number: voice_call(world, url, number),
            lambda: world.ended(MINE) + world.ended(OTHER),
            count,
        )
        assert world.channel.sessions == []
        assert world.backend.list_sessions(MINE) + world.backend.list_sessions(OTHER) == []
        assert world.tts.open_streams == 0
        assert world.channel.dropped_frames == 0


async def live_calls(count: int) -> None:
    """Make calls to a realtime model; afterwards nothing of them is left."""
    async with studio("openai") as (world, url):
        sim = world.sim

        async def call(number: int) -> None:
            sim.answers("Hi")
            talker = await dial(url, f"{MINE}?{number}")
            # What is said before the model is there is not heard.
            await until(lambda: str(number) in world.sessions)
            del world.sessions[str(number)]
            await talker.speak()
            await until(lambda: talker.audio)
            if number % 3:
                await talker.socket.close()
            else:
                talker.socket.transport.abort()
            await talker.reader
            # The simulator remembers every event; that is not what is measured.
            sim.events.clear()
            sim.heard.clear()

        await unchanged(call, lambda: world.ended(MINE), count)
        await sim.connected(0)
        assert world.channel.sessions == []
        assert world.failed == []


async def test_voice_calls() -> None:
    """Fifty callers at sockets, each with an answer."""
    await voice_calls(50)


async def test_live_calls() -> None:
    """Fifty callers of a realtime model."""
    await live_calls(50)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_many_voice_calls() -> None:
    """Five hundred."""
    await voice_calls(500)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_many_live_calls() -> None:
    """Five hundred."""
    await live_calls(500)
