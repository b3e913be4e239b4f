"""What the tests of cloud speech share: sources of chunks, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import serve

from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

RATE = 16000
FRAME = 640
"""Bytes of 20 ms."""


def sound(milliseconds: int, rate: int = RATE, channels: int = 1) -> list[AudioChunk]:
    """Return chunks of 20 ms, each with a sample of its own number."""
    size = rate * channels // 50
    return [
        AudioChunk(number.to_bytes(2, "little") * size, rate, channels)
        for number in range(1, milliseconds // 20 + 1)
    ]


async def stream(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield what is given, at once."""
    for chunk in chunks:
        yield chunk


async def halting(
    before: Iterable[Any], go: asyncio.Event, after: Iterable[Any] = ()
) -> AsyncIterator[Any]:
    """Yield some, wait to be told to go on, yield the rest."""
    for chunk in before:
        yield chunk
    await go.wait()
    for chunk in after:
        yield chunk


@contextlib.asynccontextmanager
async def server(talk: Callable[[Any], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    """Run a WebSocket server of the websockets library; give its ``api_base``."""
    async with serve(talk, "127.0.0.1", 0, **options) as running:
        yield f"http://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}"


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """Run a server that accepts connections and never says a word."""
    open_ones: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        await reader.read()

    running = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    finally:
        running.close()
        for writer in open_ones:
            writer.transport.abort()
        await asyncio.sleep(0)
