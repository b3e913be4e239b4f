"""Over real sockets, and over several processes' worth of kits on one database."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from roomkit.asgi import create_app
from roomkit.asgi._ws import WebSocketEndpoint
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.framework import RoomKit
from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.realtime.memory import InMemoryRealtime
from roomkit.realtime.redis import RedisRealtime
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import SimpleChannel
from tests.support.kits import inbound
from tests.support.ws_clients import ROOM, Client, by_name, furnish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

    from roomkit.realtime.base import RealtimeBackend

NEVER = 1e6


@asynccontextmanager
async def served(kit: RoomKit, **options: Any) -> AsyncIterator[str]:
    """Serve a kit with uvicorn on a free port; yield the WebSocket URL of its channel."""
    app = create_app(kit, authenticate=by_name, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}/ws/web"
        finally:
            server.should_exit = True
            async with asyncio.timeout(20):
                await task


async def talk(client: ClientConnection, **frame: Any) -> None:
    """Send a frame."""
    await client.send(json.dumps(frame))


async def hear(client: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next frame of a type."""
    async with asyncio.timeout(10):
        while True:
            frame: dict[str, Any] = json.loads(await client.recv())
            if frame["type"] == kind:
                return frame


def bearer(name: str) -> dict[str, str]:
    """Return the header of somebody."""
    return {"Authorization": f"Bearer {name}"}


class TestUvicorn:
    """A real server and a real client."""

    async def test_a_conversation_with_a_reconnect(self) -> None:
        """Two people talk; one loses the connection and misses nothing."""
        kit = RoomKit()
        await furnish(kit)
        async with served(kit) as url, connect(url, additional_headers=bearer("ana")) as ana:
            await talk(ana, type="join", room_id=ROOM)
            async with connect(url, subprotocols=["roomkit.v1"]) as bob:
                assert bob.subprotocol == "roomkit.v1"
                await talk(bob, type="auth", token="bob")
                await talk(bob, type="join", room_id=ROOM)
                while "room_id" not in await hear(bob, "ready"):
                    pass
                text = {"type": "text", "body": "Grüße 👋"}
                await talk(ana, type="message", room_id=ROOM, ref="1", content=text)
                event = await hear(bob, "event")
                assert event["event"]["content"]["body"] == "Grüße 👋"
            await talk(ana, type="message", room_id=ROOM, ref="2", content=text)
            ack = await hear(ana, "ack")
            while ack["ref"] != "2":
                ack = await hear(ana, "ack")
            async with connect(url, additional_headers=bearer("bob")) as bob:
                await talk(bob, type="join", room_id=ROOM, after=event["index"])
                missed = await hear(bob, "event")
                assert missed["event"]["id"] == ack["event_id"]

    @pytest.mark.parametrize(
        ("headers", "origin", "code"),
        [
            (bearer("nobody"), None, 4401),
            (bearer("ana"), "https://evil.test", 4403),
        ],
    )
    async def test_a_client_can_read_why_it_is_refused(
        self, headers: dict[str, str], origin: str | None, code: int
    ) -> None:
        """The code comes over the wire: the handshake was answered."""
        kit = RoomKit()
        await furnish(kit)
        async with (
            served(kit) as url,
            connect(url, additional_headers=headers, origin=origin) as client,
        ):
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == code

    async def test_a_shutdown_tells_the_clients(self) -> None:
        """They get 1001 or 1012 and can come back elsewhere."""
        kit = RoomKit()
        await furnish(kit)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(served(kit))
            client = await connect(url, additional_headers=bearer("ana"))
            await hear(client, "ready")
            await stack.aclose()
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code in (1001, 1012)


class Process:
    """What one process has: a kit on the shared database, and an endpoint."""

    def __init__(self, path: Path, realtime: RealtimeBackend) -> None:
        self.kit = RoomKit(store=SQLiteStore(path), realtime=realtime)
        self.endpoint = WebSocketEndpoint(self.kit, authenticate=by_name, poll=NEVER)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """Run it; the database's rooms are as others left them."""
        self.kit.register_channel(WebSocketChannel("web"))
        self.kit.register_channel(SimpleChannel("phone"))
        async with self.kit:
            await self.endpoint.start()
            try:
                yield self
            finally:
                await self.endpoint.close()


class TestProcesses:
    """Clients of several processes are in one room."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Where the database is."""
        return tmp_path / "rooms.db"

    async def _talk(self, path: Path, first: RealtimeBackend, second: RealtimeBackend) -> None:
        async with RoomKit(store=SQLiteStore(path)) as setup:
            await furnish(setup)
        async with (
            Process(path, first).running() as here,
            Process(path, second).running() as there,
            Client(here.endpoint, "ana") as ana,
            Client(there.endpoint, "bob") as bob,
        ):
            await ana.join()
            await bob.join()
            await ana.write("from here", "1")
            await bob.heard("from here")
            await bob.write("from there", "1")
            await ana.heard("from here", "from there")
            # Whichever process has the lane of the channel tells the other.
            for number, kit in enumerate((here.kit, there.kit)):
                await kit.process_inbound(inbound(f"phone {number}", "phone"), room_id=ROOM)
            everything = ("from here", "from there", "phone 0", "phone 1")
            await ana.heard(*everything)
            await bob.heard(*everything)
            ana.say("typing", room_id=ROOM)
            assert (await bob.next("ephemeral"))["participant_id"] == "ana"
            await self._stream(here.kit)
            for client in (ana, bob):
                end = await client.next("delta_end")
                deltas = [f for f in client.frames if f["type"] == "delta"]
                assert [(f["seq"], f["text"]) for f in deltas] == [(0, "one "), (1, "two")]
                assert {f["stream_id"] for f in deltas} == {end["stream_id"]}

    @staticmethod
    async def _stream(kit: RoomKit) -> None:
        web, binding = kit.get_channel("web"), await kit.get_binding(ROOM, "web")
        assert web is not None
        for seq, text in enumerate(("one ", "two")):
            await web.deliver_delta(StreamDelta(ROOM, "ai", "s", seq, text), binding)
        await web.deliver_delta(StreamEnd(ROOM, "ai", "s", None), binding)

    async def test_two_kits_on_one_database(self, path: Path) -> None:
        """What is stored in one is shown in the other, at once and once."""
        realtime = InMemoryRealtime()
        await self._talk(path, realtime, realtime)

    async def test_over_a_real_redis(self, path: Path, redis_url: str) -> None:
        """The same with what two machines would have between them."""
        async with RedisRealtime(redis_url) as first, RedisRealtime(redis_url) as second:
            await self._talk(path, first, second)

    async def test_a_process_without_clients_tells_the_others(self, path: Path) -> None:
        """Its endpoint has only been started."""
        realtime = InMemoryRealtime()
        async with RoomKit(store=SQLiteStore(path)) as setup:
            await furnish(setup)
        async with (
            Process(path, realtime).running() as worker,
            Process(path, realtime).running() as front,
            Client(front.endpoint, "ana") as ana,
        ):
            await ana.join()
            await worker.kit.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await ana.heard("x")
