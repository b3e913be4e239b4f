"""Clients of ``roomkit.v1`` without a network: the ASGI side of a WebSocket, and a kit."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from roomkit.asgi._ws import WebSocketEndpoint
from roomkit.asgi.principal import Principal
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.framework import RoomKit
from roomkit.testing import SimpleChannel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from roomkit.asgi._types import Scope

ROOM = "r"
PATIENCE = 10.0
"""Real seconds any wait may take; far more than one ever does."""

Frame = dict[str, Any]


def by_name(scope: Scope) -> Principal | None:
    """Let everybody in as who they say they are: ``Authorization: Bearer <name>``."""
    for key, value in scope["headers"]:
        if key == b"authorization":
            name = value.decode().removeprefix("Bearer ")
            return None if name == "nobody" else Principal(name, [ROOM, "other"])
    return None


class Client:
    """One WebSocket, as an ASGI server would drive it.

    Args:
        endpoint: Who serves it.
        name: Sent as bearer token; empty: no token.
        channel_id: The channel asked for.
        headers: Besides host and token.
        query: The URL's query.
        subprotocols: What the client offers.

    Attributes:
        frames: What came, in order.
        accepted: The accept message.
        code: The close code, once the server closed.
    """

    def __init__(
        self,
        endpoint: WebSocketEndpoint,
        name: str = "ana",
        *,
        channel_id: str = "web",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        query: bytes = b"",
        subprotocols: tuple[str, ...] = (),
    ) -> None:
        token = ((b"authorization", f"Bearer {name}".encode()),) if name else ()
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": f"/ws/{channel_id}",
            "query_string": query,
            "headers": [(b"host", b"chat.test"), *token, *headers],
            "subprotocols": list(subprotocols),
        }
        self.frames: list[Frame] = []
        self.accepted: dict[str, Any] | None = None
        self.code: int | None = None
        self.reason = ""
        self.sending = asyncio.Event()
        self._endpoint = endpoint
        self._channel_id = channel_id
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None
        self._taken: set[int] = set()

    async def __aenter__(self) -> Self:
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(
            self._endpoint(self.scope, self._inbox.get, self._send, self._channel_id)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Go without a word, and wait until the server is done."""
        self.let_go()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        assert self._task is not None
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def cancel(self) -> None:
        """Have the server cancel its side."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))
        assert self._task.cancelled()

    # -- talking -------------------------------------------------------------------------

    def say(self, kind: str, /, **values: Any) -> None:
        """Send a frame."""
        self.raw(json.dumps({"type": kind, **values}))

    def raw(self, text: str) -> None:
        """Send any text."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def data(self, data: bytes) -> None:
        """Send a binary frame."""
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    async def join(self, room_id: str = ROOM, **values: Any) -> Frame:
        """Enter a room; return the frame that ends the replay."""
        self.say("join", room_id=room_id, **values)
        return await self.next("ready", room_id=room_id)

    async def write(self, body: str, ref: str, room_id: str = ROOM) -> Frame:
        """Say something; return the acknowledgement."""
        self.say("message", room_id=room_id, ref=ref, content={"type": "text", "body": body})
        return await self.next("ack", ref=ref)

    # -- hearing -------------------------------------------------------------------------

    def stall(self) -> None:
        """Take nothing any more."""
        self._free.clear()

    def let_go(self) -> None:
        """Take what is sent again."""
        self._free.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; looked at whenever something came."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def next(self, kind: str, /, **values: Any) -> Frame:
        """Return the first frame of a type with these values that was not returned before."""
        wanted = {"type": kind, **values}
        found: list[int] = []

        def there() -> bool:
            for place, frame in enumerate(self.frames):
                if place not in self._taken and wanted.items() <= frame.items():
                    found.append(place)
                    return True
            return False

        await self.until(there)
        self._taken.add(found[0])
        return self.frames[found[0]]

    async def closed(self) -> int:
        """Return the code the server closes with."""
        await self.until(lambda: self.code is not None)
        assert self.code is not None
        return self.code

    async def heard(self, *bodies: str) -> None:
        """Wait until exactly these texts came as events, in this order."""
        await self.until(lambda: len(self.texts()) >= len(bodies))
        assert self.texts() == list(bodies)

    def events(self) -> list[Frame]:
        """Return the events that came."""
        return [frame for frame in self.frames if frame["type"] == "event"]

    def texts(self) -> list[str]:
        """Return the texts of the events that came."""
        return [frame["event"]["content"].get("body", "") for frame in self.events()]

    def indexes(self) -> list[int]:
        """Return the indexes of the events that came."""
        return [frame["index"] for frame in self.events()]

    async def in_step(self) -> None:
        """Wait until everything the server had for this client so far has come."""
        self.say("ping")
        await self.next("pong")

    async def _send(self, message: Any) -> None:
        self.sending.set()
        await self._free.wait()
        if self.code is not None:
            raise RuntimeError("sent after the close")
        if message["type"] == "websocket.accept":
            self.accepted = dict(message)
        elif message["type"] == "websocket.send":
            self.frames.append(json.loads(message["text"]))
        else:
            self.code, self.reason = message["code"], message.get("reason", "")
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": self.code})
        self._news.set()


async def furnish(kit: RoomKit, *rooms: str) -> None:
    """Register the channels ``web`` and ``phone`` and attach both to rooms."""
    kit.register_channel(WebSocketChannel("web"))
    kit.register_channel(SimpleChannel("phone"))
    for room_id in rooms or (ROOM,):
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "web")
        await kit.attach_channel(room_id, "phone")


@asynccontextmanager
async def serving(
    kit: RoomKit | None = None, **options: Any
) -> AsyncIterator[tuple[RoomKit, WebSocketEndpoint]]:
    """Yield a kit with the room ``r`` and an endpoint; both end afterwards."""
    options.setdefault("authenticate", by_name)
    async with kit or RoomKit() as running:
        await furnish(running)
        endpoint = WebSocketEndpoint(running, **options)
        try:
            yield running, endpoint
        finally:
            await endpoint.close()
