"""WebSocketSource against a real server on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit._clock import ManualClock
from roomkit.exceptions import MissingDependencyError
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.sources import SourceStatus, WebSocketSource
from roomkit.sources import websocket as module
from roomkit.sources.websocket import default_json_parser
from tests.support.sources import Collector, Held, Stopper, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def frame(text: str) -> str:
    return json.dumps({"sender_id": "ann", "text": text})


class Server:
    """Sends each client what it is told, and remembers who came and what they said."""

    def __init__(self) -> None:
        self.url = ""
        self.clients = asyncio.Queue[ServerConnection]()
        self.heard = asyncio.Queue[str | bytes]()

    async def handle(self, client: ServerConnection) -> None:
        self.clients.put_nowait(client)
        async for message in client:
            self.heard.put_nowait(message)

    async def client(self) -> ServerConnection:
        async with asyncio.timeout(5):
            return await self.clients.get()

    async def flood(self) -> ServerConnection:
        """Send a client more than the library buffers: it pauses reading meanwhile."""
        client = await self.client()
        for n in range(200):
            await client.send(frame(str(n)))
        return client


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    server = Server()
    async with serve(server.handle, "127.0.0.1", 0, **options) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/feed"
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


class TestMessages:
    """What the server sends becomes messages, in order; what is none is skipped."""

    async def test_frames_arrive_in_order(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        async with running(source, emit):
            client = await server.client()
            for n in range(50):
                await client.send(frame(str(n)))
            await client.send(frame("bytes").encode())
            assert await emit.texts(51) == [*map(str, range(50)), "bytes"]
            assert source.status is SourceStatus.CONNECTED
            assert (await source.healthcheck()).messages_received >= 50
        assert {message.channel_id for message in emit.messages} == {"ch"}
        assert {message.sender_id for message in emit.messages} == {"ann"}

    async def test_what_is_no_message_is_skipped_and_counted(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        async with running(source, emit):
            client = await server.client()
            for junk in ("hello", "[1]", "{}", b"\xff"):
                await client.send(junk)
            await client.send(frame("1"))
            assert await emit.texts(1) == ["1"]
            assert (await source.healthcheck()).metadata == {"skipped": "4"}

    async def test_a_parser_of_ones_own(self, server: Server) -> None:
        def parse(data: str | bytes) -> InboundMessage | None:
            assert isinstance(data, str)
            sender, _, text = data.partition(":")
            return InboundMessage(
                channel_id="ch", sender_id=sender, content=TextContent(body=text)
            )

        source, emit = WebSocketSource(server.url, "ch", parser=parse), Collector()
        async with running(source, emit):
            await (await server.client()).send("bob:hi")
            assert await emit.texts(1) == ["hi"]
        assert emit.messages[0].sender_id == "bob"

    async def test_a_failing_parser_costs_its_frame_only(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        parse_json = default_json_parser("ch")

        def parse(data: str | bytes) -> InboundMessage | None:
            if data == "bad":
                raise KeyError("the secret text")
            return parse_json(data)

        source, emit = WebSocketSource(server.url, "ch", parser=parse), Collector()
        with caplog.at_level(logging.WARNING, "roomkit.sources.websocket"):
            async with running(source, emit):
                client = await server.client()
                await client.send("bad")
                await client.send(frame("1"))
                assert await emit.texts(1) == ["1"]
                assert (await source.healthcheck()).metadata == {"parse_errors": "1"}
        (record,) = [r for r in caplog.records if r.name.startswith("roomkit")]
        assert record.__dict__["channel_id"] == "ch"
        assert "secret" not in caplog.text

    async def test_a_refused_message_does_not_end_the_connection(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector(refused="bad")
        async with running(source, emit):
            client = await server.client()
            await client.send(frame("bad"))
            await client.send(frame("1"))
            assert await emit.texts(1) == ["1"]
            assert (await source.healthcheck()).metadata == {"emit_errors": "1"}

    async def test_the_next_frame_waits_for_the_one_before(self, server: Server) -> None:
        emit = Held()
        async with running(WebSocketSource(server.url, "ch"), emit):
            client = await server.client()
            await client.send(frame("1"))
            await client.send(frame("2"))
            async with asyncio.timeout(5):
                await emit.entered.wait()
                # A round trip later the second frame has arrived too.
                await (await client.ping())
                assert len(emit.messages) == 1
                emit.entered.clear()
                emit.released.set()
                await emit.entered.wait()
            assert len(emit.messages) == 2

    async def test_times_are_the_clocks(self, server: Server) -> None:
        clock = ManualClock()
        source, emit = WebSocketSource(server.url, "ch", clock=clock), Collector()
        async with running(source, emit):
            client = await server.client()
            await client.send(frame("1"))
            await emit.texts(1)
            assert (await source.healthcheck()).connected_at == clock.now()


class TestHandshake:
    """The options reach the server; what was not given is left to the library."""

    async def test_headers_origin_and_subprotocol_are_sent(self) -> None:
        async with serving(subprotocols=["chat.v1"], origins=["https://example.org"]) as server:
            source = WebSocketSource(
                server.url,
                "ch",
                headers={"Authorization": "Bearer t"},
                subprotocols=["chat.v1"],
                origin="https://example.org",
            )
            async with running(source, Collector()):
                client = await server.client()
                assert client.request is not None
                assert client.request.headers["Authorization"] == "Bearer t"
                assert client.subprotocol == "chat.v1"

    async def test_connect_gets_what_was_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []

        class FakeLibrary:
            @staticmethod
            @asynccontextmanager
            async def connect(**options: Any) -> AsyncIterator[None]:
                calls.append(options)
                raise ConnectionRefusedError("nobody there")
                yield

        monkeypatch.setattr(module, "websockets", FakeLibrary)
        for source in (
            WebSocketSource("ws://a", "ch"),
            WebSocketSource(
                "ws://b",
                "ch",
                headers={"X": "y"},
                subprotocols=["p"],
                ping_interval=None,
                ping_timeout=None,
                close_timeout=3.0,
                max_size=7,
                origin="http://o",
            ),
        ):
            with pytest.raises(ConnectionRefusedError):
                await source.start(Collector())
        assert calls == [
            {
                "uri": "ws://a",
                "ping_interval": 20.0,
                "ping_timeout": 20.0,
                "close_timeout": 10.0,
                "max_size": 2**20,
            },
            {
                "uri": "ws://b",
                "additional_headers": {"X": "y"},
                "subprotocols": ["p"],
                "close_timeout": 3.0,
                "max_size": 7,
                "origin": "http://o",
            },
        ]

    async def test_a_missing_package_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HAS_WEBSOCKETS", False)
        with pytest.raises(ImportError, match="websockets is required") as caught:
            await WebSocketSource("ws://a", "ch").start(Collector())
        assert isinstance(caught.value, MissingDependencyError)
        assert "roomkit[websocket]" in str(caught.value)

    def test_the_name_tells_the_url(self) -> None:
        assert WebSocketSource("ws://a/feed", "ch").name == "websocket:ws://a/feed"


class TestLoss:
    """A connection that fails or ends is raised: whoever runs the source starts it again."""

    async def test_a_refused_connection(self, unused_port: int) -> None:
        source = WebSocketSource(f"ws://127.0.0.1:{unused_port}", "ch")
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await source.start(Collector())
        assert source.status is SourceStatus.ERROR
        assert (await source.healthcheck()).error

    async def test_a_rejected_handshake(self) -> None:
        async with serving(process_request=lambda c, r: c.respond(401, "who?")) as server:
            source = WebSocketSource(server.url, "ch")
            with pytest.raises(InvalidStatus):
                await source.start(Collector())
            assert source.status is SourceStatus.ERROR

    @pytest.mark.parametrize("code", [1000, 1011])
    async def test_a_close_by_the_server(self, server: Server, code: int) -> None:
        source = WebSocketSource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        await (await server.client()).close(code)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await task
        assert source.status is SourceStatus.ERROR

    async def test_a_connection_cut_off(self, server: Server) -> None:
        source = WebSocketSource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        (await server.client()).transport.abort()
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await task

    async def test_a_message_beyond_max_size(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch", max_size=1_000), Collector()
        task = asyncio.create_task(source.start(emit))
        await (await server.client()).send(frame("x" * 2_000))
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await task
        assert emit.messages == []

    async def test_it_connects_again_when_started_again(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        task = asyncio.create_task(source.start(emit))
        client = await server.client()
        await client.send(frame("1"))
        assert await emit.texts(1) == ["1"]
        await client.close()
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await task
        async with running(source, emit):
            await (await server.client()).send(frame("2"))
            assert await emit.texts(1) == ["2"]
            assert (await source.healthcheck()).error is None


class TestStopping:
    """``stop`` ends the source wherever it is, and its connection with it."""

    async def test_while_nothing_is_sent(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        task = asyncio.create_task(source.start(emit))
        client = await server.client()
        await client.send(frame("1"))
        await emit.texts(1)
        async with asyncio.timeout(1):
            await source.stop()
            await task
            await client.wait_closed()
        assert source.status is SourceStatus.STOPPED
        assert client.protocol.close_code == 1000

    async def test_from_inside_emit(self, server: Server) -> None:
        source = WebSocketSource(server.url, "ch")
        emit = Stopper(source)
        task = asyncio.create_task(source.start(emit))
        client = await server.flood()
        async with asyncio.timeout(5):
            await task
            await client.wait_closed()
        assert emit.taken == 1
        assert client.protocol.close_code == 1000
        assert source.status is SourceStatus.STOPPED

    async def test_while_a_message_is_being_processed(self, server: Server) -> None:
        """Also with frames waiting: nothing hangs until the closing handshake times out."""
        source, emit = WebSocketSource(server.url, "ch"), Held()
        task = asyncio.create_task(source.start(emit))
        client = await server.flood()
        async with asyncio.timeout(5):
            await emit.entered.wait()
            await source.stop()
            await client.wait_closed()
            emit.released.set()
            await task
        assert client.protocol.close_code == 1000
        assert (await source.healthcheck()).messages_received == 1

    async def test_a_cancellation_does_not_wait_for_a_full_buffer(self, server: Server) -> None:
        emit = Held()
        task = asyncio.create_task(WebSocketSource(server.url, "ch").start(emit))
        await server.flood()
        async with asyncio.timeout(5):
            await emit.entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_while_it_is_connecting(self) -> None:
        connected = asyncio.Event()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            source = WebSocketSource(f"ws://127.0.0.1:{port}", "ch")
            task = asyncio.create_task(source.start(Collector()))
            async with asyncio.timeout(5):
                await connected.wait()
                assert source.status is SourceStatus.CONNECTING
                await source.stop()
                await task
        assert (await source.healthcheck()).status is SourceStatus.STOPPED

    async def test_when_it_is_cancelled(self, server: Server) -> None:
        source = WebSocketSource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        client = await server.client()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await client.wait_closed()
        assert source.status is SourceStatus.STOPPED
        with pytest.raises(RuntimeError, match="not connected"):
            await source.send("x")

    async def test_twice_and_before_any_start(self) -> None:
        source = WebSocketSource("ws://a", "ch")
        await source.stop()
        await source.stop()
        assert source.status is SourceStatus.STOPPED

    @pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd")])
    async def test_an_error_of_closing_is_swallowed(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """And a connection with a receive timeout of its own is asked again."""
        attempts = 0
        asked = asyncio.Event()

        class FakeConnection:
            async def recv(self) -> str:
                nonlocal attempts
                attempts += 1
                if attempts == 3:
                    asked.set()
                raise TimeoutError

            async def close(self) -> None:
                raise error

        monkeypatch.setattr(module, "websockets", fake_library(FakeConnection()))
        source = WebSocketSource("ws://a", "ch")
        task = asyncio.create_task(source.start(Collector()))
        async with asyncio.timeout(5):
            await asked.wait()
            await source.stop()
            await task
        assert source.status is SourceStatus.STOPPED


class TestSending:
    """Frames can be sent the other way while connected."""

    async def test_text_and_bytes(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        async with running(source, emit):
            client = await server.client()
            await client.send(frame("ready"))
            await emit.texts(1)
            await source.send("hello")
            await source.send(b"\x00\x01")
            async with asyncio.timeout(5):
                assert await server.heard.get() == "hello"
                assert await server.heard.get() == b"\x00\x01"

    async def test_not_without_a_connection(self, server: Server) -> None:
        source, emit = WebSocketSource(server.url, "ch"), Collector()
        with pytest.raises(RuntimeError, match="not connected"):
            await source.send("x")
        async with running(source, emit):
            await server.client()
        with pytest.raises(RuntimeError, match="not connected"):
            await source.send("x")


def fake_library(connection: Any) -> Any:
    """Stand in for the library, with a connection of one's own."""

    class FakeLibrary:
        @staticmethod
        @asynccontextmanager
        async def connect(**options: Any) -> AsyncIterator[Any]:
            yield connection

    return FakeLibrary


@pytest.fixture
async def unused_port() -> int:
    async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(nobody, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
    return port
