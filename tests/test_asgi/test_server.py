"""The app behind a real server on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roomkit import RoomKit, WebSocketChannel
from roomkit.asgi import AccessLogFilter, Principal, create_app
from roomkit.store.sqlite import SQLiteStore
from tests.test_asgi._vendor import VendorChannel, callback, message, sign
from tests.test_asgi.test_webhooks import said
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.asgi import App


@asynccontextmanager
async def serving(app: App, **options: object) -> AsyncIterator[int]:
    """Serve an app with uvicorn; give its port."""
    config = uvicorn.Config(app, port=0, log_config=None, proxy_headers=False, **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def raw(port: int, *parts: bytes, leave: bool = False) -> bytes:
    """Write to a socket, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if leave:
            return b""
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def request_line(target: str = "/webhooks/sms", *headers: str) -> bytes:
    """Return the head of a POST."""
    lines = [f"POST {target} HTTP/1.1", "Host: hooks.test", *headers, "", ""]
    return "\r\n".join(lines).encode()


class TestUvicorn:
    """One kit behind uvicorn."""

    async def test_the_whole_way(self, kit: RoomKit) -> None:
        """A signed webhook over a socket, health, a challenge, and an end in order."""
        async with serving(create_app(kit)) as port, httpx.AsyncClient() as client:
            base = f"http://127.0.0.1:{port}"
            body = callback(message("over the wire"))
            headers = {"x-signature": sign(f"{base}/webhooks/sms", body)}
            answered = await client.post(f"{base}/webhooks/sms", content=body, headers=headers)
            assert answered.status_code == 200
            assert (await client.get(f"{base}/health/ready")).json() == {"status": "ready"}
            assert (await client.head(f"{base}/health/live")).status_code == 200
            challenge = await client.get(f"{base}/webhooks/sms?challenge=77&verify=me")
            assert challenge.text == "77"
            assert await said(kit) == ["over the wire"]
        with pytest.raises(Exception, match="closed"):
            await kit.stats()

    async def test_statuses_without_a_body_keep_the_connection(self, kit: RoomKit) -> None:
        """204 and what follows it on the same connection are told apart."""
        async with serving(create_app(kit)) as port, httpx.AsyncClient() as client:
            base = f"http://127.0.0.1:{port}"
            body = json.dumps([{"is": "status", "id": "m1", "status": "sent"}]).encode()
            headers = {"x-signature": sign(f"{base}/webhooks/sms", body)}
            for _ in range(3):
                answered = await client.post(f"{base}/webhooks/sms", content=body, headers=headers)
                assert (answered.status_code, answered.content) == (204, b"")

    async def test_a_client_that_sends_too_much_reads_why(self, kit: RoomKit) -> None:
        """413 comes through, declared or in chunks, and the next request too."""
        app = create_app(kit, max_body=100_000)
        async with serving(app) as port, httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{port}/webhooks/sms"

            async def chunks(count: int) -> AsyncIterator[bytes]:
                for _ in range(count):
                    yield b"x" * 10_000

            assert (await client.post(url, content=b"x" * 150_000)).status_code == 413
            assert (await client.post(url, content=chunks(15))).status_code == 413
            assert (await client.post(url, content=b"x")).status_code == 401

    async def test_a_declared_monster_is_refused_without_being_sent(self, kit: RoomKit) -> None:
        """A client that asks first never sends it."""
        async with serving(create_app(kit)) as port:
            head = request_line(
                "/webhooks/sms", "Content-Length: 999999999", "Expect: 100-continue"
            )
            answered = await raw(port, head)
        assert answered.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in answered

    async def test_a_slow_client_is_told_408_and_let_go(self, kit: RoomKit) -> None:
        """The connection is closed: the rest of the body would be read as a request."""
        async with serving(create_app(kit, body_timeout=0.1)) as port:
            answered = await raw(port, request_line("/webhooks/sms", "Content-Length: 9"), b"x")
        assert answered.startswith(b"HTTP/1.1 408 ")

    async def test_a_client_that_leaves_is_a_log_line(
        self, kit: RoomKit, caplog: pytest.LogCaptureFixture
    ) -> None:
        """And no message."""
        caplog.set_level(logging.INFO, "roomkit")
        async with serving(create_app(kit)) as port:
            head = request_line("/webhooks/sms", "Content-Length: 9")
            await raw(port, head, b"half", leave=True)
            await until(lambda: "a client left" in caplog.text)
        assert "half" not in caplog.text

    async def test_uvicorns_log_shows_no_query(
        self, kit: RoomKit, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With our filter on its loggers, WebSockets included."""
        caplog.set_level(logging.INFO)
        cleaner = AccessLogFilter()
        loggers = [logging.getLogger(name) for name in ("uvicorn.access", "uvicorn.error")]
        for logger in loggers:
            logger.addFilter(cleaner)
        try:
            async with serving(create_app(kit)) as port:
                await raw(port, request_line("/webhooks/sms/k?token=hidden", "Connection: close"))
                upgrade = request_line(
                    "/elsewhere?token=hidden",
                    "Connection: Upgrade",
                    "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                ).replace(b"POST", b"GET")
                assert b" 403 " in await raw(port, upgrade)
        finally:
            for logger in loggers:
                logger.removeFilter(cleaner)
        assert "POST /webhooks/sms/... HTTP/1.1" in caplog.text
        assert 'WebSocket /elsewhere" 403' in caplog.text
        assert "hidden" not in caplog.text
        assert "127.0.0.1:" not in "".join(
            record.getMessage() for record in caplog.records if "HTTP/" in record.getMessage()
        )

    async def test_many_at_once_are_each_taken_once(self, tmp_path: Path) -> None:
        """Over a durable store, every one sent twice."""
        kit = RoomKit(SQLiteStore(tmp_path / "kit.db", synchronous="NORMAL"))
        kit.register_channel(VendorChannel("sms"))
        async with serving(create_app(kit, close_kit=False)) as port:
            url = f"http://127.0.0.1:{port}/webhooks/sms"
            limits = httpx.Limits(max_connections=20)
            async with httpx.AsyncClient(limits=limits) as client:

                async def call(number: int) -> int:
                    body = callback(message(f"number {number}", id=f"m{number}"))
                    headers = {"x-signature": sign(url, body)}
                    answered = await client.post(url, content=body, headers=headers)
                    return answered.status_code

                numbers = [*range(100)] * 2
                assert set(await asyncio.gather(*map(call, numbers))) == {200}
            await until(lambda: _taken(kit, 100))
        assert sorted(await said(kit)) == sorted(f"number {n}" for n in range(100))
        await kit.close()


class TestWebSockets:
    """Live connections behind the same server."""

    async def test_a_client_hears_what_a_webhook_brings_until_the_server_ends(
        self, kit: RoomKit
    ) -> None:
        """The end does not wait for clients: they are told and come back elsewhere."""
        kit.register_channel(WebSocketChannel("web"))
        await kit.create_room("r")
        for channel_id in ("sms", "web"):
            await kit.attach_channel("r", channel_id)

        def know(scope: Any) -> Principal | None:
            known = (b"authorization", b"Bearer of-ana") in scope["headers"]
            return Principal("ana", room_ids=["r"]) if known else None

        app = create_app(kit, authenticate=know)
        headers = {"Authorization": "Bearer of-ana"}
        async with serving(app) as port:
            url = f"ws://127.0.0.1:{port}/ws/web"
            client = await connect(url, additional_headers=headers, subprotocols=["roomkit.v1"])
            await client.send(json.dumps({"type": "join", "room_id": "r"}))
            await _frame(client, "ready")
            async with httpx.AsyncClient() as vendor:
                target = f"http://127.0.0.1:{port}/webhooks/sms"
                body = callback(message("from the phone"))
                signed = {"x-signature": sign(target, body)}
                await vendor.post(target, content=body, headers=signed)
            event = (await _frame(client, "event"))["event"]
            assert event["content"]["body"] == "from the phone"
        await client.wait_closed()
        assert client.close_code in {1001, 1012}
        assert app.draining

    async def test_the_app_closes_them_where_the_server_does_not(self, kit: RoomKit) -> None:
        """As when it is mounted and ends before its server."""
        kit.register_channel(WebSocketChannel("web"))
        app = create_app(kit, authenticate=lambda scope: Principal("ana", room_ids=["r"]))
        async with serving(app) as port:
            url = f"ws://127.0.0.1:{port}/ws/web"
            client = await connect(url, subprotocols=["roomkit.v1"])
            await _frame(client, "ready")
            await app.shutdown()
            await client.wait_closed()
            assert client.close_code in {1001, 1012}
            with pytest.raises(InvalidStatus):
                await connect(url, subprotocols=["roomkit.v1"])


async def _frame(client: Any, kind: str) -> dict[str, Any]:
    """Return the next frame of a kind."""
    async with asyncio.timeout(20):
        while True:
            frame: dict[str, Any] = json.loads(await client.recv())
            if frame["type"] == kind:
                return frame


async def _taken(kit: RoomKit, count: int) -> bool:
    return len(await said(kit)) == count
