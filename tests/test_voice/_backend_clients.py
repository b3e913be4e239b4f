"""Clients of voice backends, over real sockets on this machine."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from roomkit.voice.backends.websocket import VoiceCaller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websockets.asyncio.client import ClientConnection

    from roomkit.voice.backends.websocket import VoiceHandshake, WebSocketVoiceBackend

PATIENCE = 10.0
"""Real seconds any wait may take; far more than one ever does."""


def anybody(shake: VoiceHandshake) -> VoiceCaller:
    """Let everybody in."""
    return VoiceCaller("ana", shake.room or "r")


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if holds():
                return
            await asyncio.sleep(0.002)


async def endless(gone: asyncio.Event, chunk: Any) -> AsyncIterator[Any]:
    """Yield a chunk for ever; ``gone`` is set when somebody closed this."""
    try:
        while True:
            yield chunk
    finally:
        gone.set()


class Client:
    """Somebody at the other end. It reads all the time.

    Attributes:
        audio: The binary frames, or the decoded payloads of media messages, in order.
        said: The other messages.
        answers: Whether marks are sent back.
        code: The close code, once closed.
    """

    def __init__(self, socket: ClientConnection, *, answers: bool = True) -> None:
        self._socket = socket
        self.audio: list[bytes] = []
        self.said: list[dict[str, Any]] = []
        self.answers = answers
        self.code: int | None = None
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                await self._take(await self._socket.recv())
        except ConnectionClosed as exc:
            self.code = exc.rcvd.code if exc.rcvd is not None else 1006

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.audio.append(message)
            return
        found = json.loads(message)
        self.said.append(found)
        if self.answers and "mark" in (found.get("type"), found.get("event")):
            await self._socket.send(message)

    def kinds(self) -> list[str]:
        """Return the types of the messages so far."""
        return [each.get("type") or each["event"] for each in self.said]

    async def start(self, **fields: Any) -> dict[str, Any]:
        """Start, and return the answer."""
        await self.say("start", **fields)
        await until(lambda: "ready" in self.kinds())
        return self.said[0]

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def send(self, message: str | bytes) -> None:
        """Send anything."""
        await self._socket.send(message)

    async def closed(self) -> int:
        """Wait for the end; return its code."""
        await until(lambda: self.code is not None)
        assert self.code is not None
        return self.code

    async def leave(self) -> None:
        """Close properly."""
        await self._socket.close()

    def drop(self) -> None:
        """Break the connection."""
        self._socket.transport.abort()


@asynccontextmanager
async def line_to(backend: WebSocketVoiceBackend) -> AsyncIterator[str]:
    """Serve a backend; yield its URL. What it served has returned at the end."""
    async with serve(backend.serve, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/calls?secret=1"
        await backend.close()


@asynccontextmanager
async def client_of(
    url: str, *, answers: bool = True, headers: dict[str, str] | None = None
) -> AsyncIterator[Client]:
    """Connect; the client is gone at the end."""
    socket = await connect(url, compression=None, additional_headers=headers)
    client = Client(socket, answers=answers)
    try:
        yield client
    finally:
        await socket.close()
        await client.reader
