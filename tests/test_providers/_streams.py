"""A server whose stream never ends by itself: it notices when its reader leaves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class EndlessStream:
    """What a client sees of it.

    Attributes:
        api_base: Where it listens.
        left: Set once the reader has closed the connection.
    """

    def __init__(self, events: bytes) -> None:
        self.api_base = ""
        self.left = asyncio.Event()
        self._events = events

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send the events to one client, and wait until it leaves."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD + b"%x\r\n%s\r\n" % (len(self._events), self._events))
        await writer.drain()
        while await reader.read(65536):
            pass
        self.left.set()
        writer.close()


@asynccontextmanager
async def endless_stream(events: bytes) -> AsyncIterator[EndlessStream]:
    """Serve a stream that begins with ``events`` and then says nothing more."""
    stream = EndlessStream(events)
    server = await asyncio.start_server(stream.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    stream.api_base = f"http://{host}:{port}"
    async with server:
        yield stream
