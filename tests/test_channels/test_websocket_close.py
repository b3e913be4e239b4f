"""WebSocketChannel: closing it, and the whole of it over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.channels.websocket import WebSocketChannel
from roomkit.models.content import TextContent
from roomkit.models.event import RoomEvent
from tests.test_channels._sockets import BINDING, CONTEXT, Socket, event, say


class TestClose:
    """Closing ends every connection and every task, and may be repeated."""

    async def test_everything_ends(self) -> None:
        before = asyncio.all_tasks()
        channel = WebSocketChannel("ws", slow_after=0)
        slow, idle = Socket(stalled=True), Socket()
        channel.register_connection("slow", slow.send, on_close=slow.on_close)
        channel.register_connection("idle", idle.send, on_close=idle.on_close)
        await say(channel, 0, 1)
        await channel.close()
        await channel.close()
        assert channel.connection_count == 0
        assert (slow.closed, idle.closed) == ([("slow", "closed")], [("idle", "closed")])
        assert slow.cancelled == 1
        assert asyncio.all_tasks() == before
        await say(channel, 2)
        assert idle.indexes == [0, 1]

    async def test_waits_for_on_close(self) -> None:
        channel, done = WebSocketChannel("ws"), []

        async def goodbye(connection_id: str, reason: str) -> None:
            await asyncio.sleep(0)
            done.append(reason)

        channel.register_connection("a", Socket().send, on_close=goodbye)
        await channel.close()
        assert done == ["closed"]

    async def test_from_within_a_send(self) -> None:
        channel, done = WebSocketChannel("ws", slow_after=0), asyncio.Event()

        async def closing(connection_id: str, payload: RoomEvent) -> None:
            await asyncio.sleep(0)
            await channel.close()
            done.set()

        channel.register_connection("a", closing)
        await say(channel, 0)
        await asyncio.wait_for(done.wait(), 5)
        assert channel.connection_count == 0

    async def test_a_send_that_refuses_to_end_is_left_behind(self, caplog) -> None:
        channel, release, done = WebSocketChannel("ws", slow_after=0), asyncio.Event(), []

        async def stubborn(connection_id: str, payload: RoomEvent) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    done.append("refused")

        channel.register_connection("a", stubborn)
        await say(channel, 0)
        await asyncio.wait_for(channel.close(), 10)
        assert done
        assert "some tasks do not end when cancelled" in caplog.text
        release.set()


class TestRealSockets:
    """Over real sockets: everybody gets everything in order; one that never reads goes."""

    async def test_websockets_server(self) -> None:
        websockets = pytest.importorskip("websockets.asyncio.server")
        client = pytest.importorskip("websockets.asyncio.client")
        channel = WebSocketChannel("ws", send_timeout=1.5, slow_after=0.01)
        reasons: dict[str, str] = {}
        gone, joined = asyncio.Event(), asyncio.Event()

        async def serve(connection: Any) -> None:
            name = connection.request.path.removeprefix("/")

            async def send(connection_id: str, payload: RoomEvent) -> None:
                await connection.send(payload.model_dump_json())

            async def on_close(connection_id: str, reason: str) -> None:
                reasons[connection_id] = reason
                gone.set()
                connection.transport.abort()

            channel.register_connection(name, send, room_ids="r1", on_close=on_close)
            if channel.connection_count == 3:
                joined.set()
            try:
                await connection.wait_closed()
            finally:
                channel.unregister_connection(name)

        async with websockets.serve(
            serve, "127.0.0.1", 0, ping_interval=None, compression=None
        ) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with (
                client.connect(f"{url}/a") as first,
                client.connect(f"{url}/b") as second,
                client.connect(f"{url}/deaf", max_queue=1) as deaf,
            ):
                await asyncio.wait_for(joined.wait(), 5)
                big = "x" * 200_000

                async def read(socket: Any) -> list[int]:
                    return [
                        RoomEvent.model_validate_json(await socket.recv()).index
                        for _ in range(100)
                    ]

                reading = asyncio.gather(read(first), read(second))
                for index in range(100):
                    sent = event(index).saying(TextContent(body=big))
                    await channel.deliver(sent, BINDING, CONTEXT)
                assert await asyncio.wait_for(reading, 20) == [list(range(100))] * 2
                await asyncio.wait_for(gone.wait(), 15)
                assert reasons == {"deaf": "send_timeout"}
                assert channel.connection_count == 2
                deaf.transport.abort()
                await channel.close()
