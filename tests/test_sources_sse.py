"""SSESource against a real HTTP server on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from roomkit.exceptions import MissingDependencyError, ProviderError
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.sources import SourceStatus, SSESource
from roomkit.sources import sse as module
from roomkit.sources.sse import default_json_parser
from tests.support.sources import Collector, Held, Stopper, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def event(text: str, *, id: str | None = None, name: str | None = None) -> str:
    lines = [f"data: {json.dumps({'sender_id': 'ann', 'text': text})}"]
    if name is not None:
        lines.insert(0, f"event: {name}")
    if id is not None:
        lines.insert(0, f"id: {id}")
    return "\n".join(lines) + "\n\n"


@dataclass
class Request:
    """What a client asked for, and the connection it waits on."""

    target: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query)

    async def open(self, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def send(self, text: str) -> None:
        self.writer.write(text.encode())
        await self.writer.drain()

    def end(self) -> None:
        self.writer.close()


class Server:
    """Hands each request to the test, which answers it as it likes."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = asyncio.Queue[Request]()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        request = Request(head[0].split()[1], headers, writer)
        self.requests.put_nowait(request)
        with suppress(ConnectionError):
            await reader.read()
        request.closed.set()
        writer.close()

    async def request(self) -> Request:
        async with asyncio.timeout(5):
            return await self.requests.get()

    async def stream(self) -> Request:
        request = await self.request()
        await request.open()
        return request


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/feed"
        yield server


class TestMessages:
    """Each event's data becomes a message, in order; what is none is skipped."""

    async def test_events_arrive_in_order(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        async with running(source, emit):
            stream = await server.stream()
            await stream.send("".join(event(str(n)) for n in range(50)))
            assert await emit.texts(50) == [str(n) for n in range(50)]
            assert source.status is SourceStatus.CONNECTED
            assert stream.headers["accept"] == "text/event-stream"
        assert {m.channel_id for m in emit.messages} == {"ch"}
        assert (await source.healthcheck()).messages_received == 50

    async def test_an_event_may_come_in_pieces(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        async with running(source, emit):
            stream = await server.stream()
            text = event("1") + ": a comment\n\n" + event("2")
            for start in range(0, len(text), 7):
                await stream.send(text[start : start + 7])
            assert await emit.texts(2) == ["1", "2"]

    async def test_only_message_events_are_read(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        async with running(source, emit):
            stream = await server.stream()
            for name in ("message", "tick", "msg", "chat", None):
                await stream.send(event(str(name), name=name))
            await stream.send("data: not json\n\n")
            await stream.send(event("end"))
            assert await emit.texts(5) == ["message", "msg", "chat", "None", "end"]
            assert (await source.healthcheck()).metadata == {"skipped": "2"}

    async def test_the_events_id_is_the_external_id_unless_the_data_has_one(
        self, server: Server
    ) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        async with running(source, emit):
            stream = await server.stream()
            await stream.send(event("1", id="e1"))
            own = json.dumps({"sender_id": "ann", "text": "2", "external_id": "own"})
            await stream.send(f"id: e2\ndata: {own}\n\n")
            await emit.texts(2)
        assert [m.external_id for m in emit.messages] == ["e1", "own"]

    async def test_a_failing_parser_costs_its_event_only(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        def parse(name: str, data: str, event_id: str | None) -> InboundMessage | None:
            if name == "bad":
                raise KeyError("the secret text")
            return InboundMessage(
                channel_id="ch",
                sender_id="bob",
                content=TextContent(body=data),
                external_id=event_id,
            )

        source, emit = SSESource(server.url, "ch", parser=parse), Collector()
        with caplog.at_level(logging.WARNING, "roomkit.sources.sse"):
            async with running(source, emit):
                stream = await server.stream()
                await stream.send("event: bad\nid: e1\ndata: x\n\nevent: own\ndata: plain\n\n")
                assert await emit.texts(1) == ["plain"]
                assert (await source.healthcheck()).metadata == {"parse_errors": "1"}
        assert emit.messages[0].sender_id == "bob"
        assert "secret" not in caplog.text

    async def test_a_refused_message_does_not_end_the_stream(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector(refused="bad")
        async with running(source, emit):
            stream = await server.stream()
            await stream.send(event("bad", id="e1") + event("1"))
            assert await emit.texts(1) == ["1"]
            assert (await source.healthcheck()).metadata == {"emit_errors": "1"}
            assert source.last_event_id == "e1"

    def test_the_default_parser_takes_no_empty_id(self) -> None:
        message = default_json_parser("ch")("", '{"sender_id": "ann"}', "")
        assert message is not None
        assert message.external_id is None


class TestResuming:
    """The next connection begins where the last one broke off."""

    async def test_the_last_id_is_sent_with_the_next_request(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        task = asyncio.create_task(source.start(emit))
        first = await server.stream()
        assert "last-event-id" not in first.headers
        await first.send(event("1", id="e1") + event("2", id="e2") + event("3"))
        assert await emit.texts(3) == ["1", "2", "3"]
        first.end()
        async with asyncio.timeout(5):
            await task
        assert source.last_event_id == "e2"
        async with running(source, emit):
            second = await server.stream()
            assert second.headers["last-event-id"] == "e2"
            await second.send(event("4", id="e4"))
            assert await emit.texts(1) == ["4"]
        assert source.last_event_id == "e4"

    async def test_it_may_begin_anywhere(self, server: Server) -> None:
        source = SSESource(server.url, "ch", last_event_id="e9", headers={"X-Key": "k"})
        assert source.last_event_id == "e9"
        async with running(source, Collector()):
            stream = await server.stream()
            assert stream.headers["last-event-id"] == "e9"
            assert stream.headers["x-key"] == "k"

    async def test_an_event_cut_off_while_processed_comes_again(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch", last_event_id="e0"), Held()
        task = asyncio.create_task(source.start(emit))
        stream = await server.stream()
        await stream.send(event("1", id="e1"))
        async with asyncio.timeout(5):
            await emit.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.last_event_id == "e0"

    async def test_what_is_skipped_does_not_come_again(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        async with running(source, emit):
            stream = await server.stream()
            await stream.send(event("x", id="e1", name="tick") + event("1"))
            await emit.texts(1)
            assert source.last_event_id == "e1"


class TestRequest:
    """The request carries what was given."""

    async def test_params_join_the_query_of_the_url(self, server: Server) -> None:
        source = SSESource(f"{server.url}?room=a%20b", "ch", params={"topic": "x&y"})
        async with running(source, Collector()):
            stream = await server.stream()
            assert stream.query == [("room", "a b"), ("topic", "x&y")]

    async def test_params_alone(self, server: Server) -> None:
        source = SSESource(server.url, "ch", params={"topic": "x"})
        async with running(source, Collector()):
            assert (await server.stream()).query == [("topic", "x")]

    async def test_the_query_of_the_url_alone(self, server: Server) -> None:
        async with running(SSESource(f"{server.url}?room=a", "ch"), Collector()):
            assert (await server.stream()).query == [("room", "a")]

    async def test_the_given_headers_are_not_changed(self, server: Server) -> None:
        headers = {"X-Key": "k"}
        async with running(SSESource(server.url, "ch", headers=headers), Collector()):
            await server.stream()
        assert headers == {"X-Key": "k"}

    def test_the_name_tells_the_url(self) -> None:
        assert SSESource("http://a/feed", "ch").name == "sse:http://a/feed"

    async def test_a_missing_package_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HAS_SSE", False)
        with pytest.raises(ImportError, match="httpx and httpx-sse are required") as caught:
            await SSESource("http://a", "ch").start(Collector())
        assert isinstance(caught.value, MissingDependencyError)
        assert "roomkit[sse]" in str(caught.value)

    async def test_the_libraries_can_be_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[Any] = []

        class FakeStream:
            async def aiter_sse(self) -> AsyncIterator[Any]:
                yield type("Event", (), {"event": "message", "data": "{}", "id": "e1"})()

        @asynccontextmanager
        async def connect(client: Any, method: str, url: str, **options: Any) -> Any:
            calls.append((method, url, options))
            yield FakeStream()

        monkeypatch.setattr(module, "aconnect_sse", connect)
        source = SSESource("http://a", "ch", headers={"X": "y"}, last_event_id="e0")
        await source.start(Collector())
        headers = {"X": "y", "Last-Event-ID": "e0"}
        assert calls == [("GET", "http://a", {"headers": headers, "params": None})]
        assert source.last_event_id == "e1"


class TestEnding:
    """A finished stream is a clean end, a broken one is raised."""

    async def test_the_server_ends_the_stream(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        task = asyncio.create_task(source.start(emit))
        stream = await server.stream()
        await stream.send(event("1"))
        stream.end()
        async with asyncio.timeout(5):
            await task
        assert emit.taken == ["1"]
        assert source.status is SourceStatus.STOPPED

    async def test_no_content_means_there_is_nothing_more(self, server: Server) -> None:
        source = SSESource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        await (await server.request()).open("204 No Content")
        async with asyncio.timeout(5):
            await task
        assert source.status is SourceStatus.STOPPED
        assert (await source.healthcheck()).connected_at is None

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [
            ("302 Found", False),
            ("401 Unauthorized", False),
            ("429 Slow Down", True),
            ("503 Busy", True),
        ],
    )
    async def test_another_status_is_an_error(
        self, server: Server, status: str, retryable: bool
    ) -> None:
        source = SSESource(f"{server.url}?token=secret", "ch")
        task = asyncio.create_task(source.start(Collector()))
        await (await server.request()).open(status)
        async with asyncio.timeout(5):
            with pytest.raises(ProviderError) as caught:
                await task
        assert caught.value.status_code == int(status[:3])
        assert caught.value.retryable is retryable
        health = await source.healthcheck()
        assert health.status is SourceStatus.ERROR
        assert status[:3] in (health.error or "")
        assert "secret" not in (health.error or "")

    async def test_something_else_than_events_is_an_error(self, server: Server) -> None:
        source = SSESource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        await (await server.request()).open(kind="text/html")
        async with asyncio.timeout(5):
            with pytest.raises(httpx.TransportError, match="text/event-stream"):
                await task
        assert source.status is SourceStatus.ERROR

    async def test_a_silent_server_times_out(self, server: Server) -> None:
        source = SSESource(server.url, "ch", timeout=0.05)
        task = asyncio.create_task(source.start(Collector()))
        await server.stream()
        async with asyncio.timeout(5):
            with pytest.raises(httpx.ReadTimeout):
                await task
        assert (await source.healthcheck()).error == "ReadTimeout"

    async def test_a_refused_connection(self) -> None:
        async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(nobody, "127.0.0.1", 0) as closed:
            port = closed.sockets[0].getsockname()[1]
        source = SSESource(f"http://127.0.0.1:{port}", "ch")
        with pytest.raises(httpx.ConnectError):
            await source.start(Collector())
        assert source.status is SourceStatus.ERROR


class TestStopping:
    """``stop`` ends the source wherever it is, and its connection with it."""

    async def test_while_nothing_is_sent(self, server: Server) -> None:
        source, emit = SSESource(server.url, "ch"), Collector()
        task = asyncio.create_task(source.start(emit))
        stream = await server.stream()
        await stream.send(event("1"))
        await emit.texts(1)
        async with asyncio.timeout(5):
            await source.stop()
            await task
            await stream.closed.wait()
        assert source.status is SourceStatus.STOPPED

    async def test_before_the_server_answers(self, server: Server) -> None:
        source = SSESource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        request = await server.request()
        async with asyncio.timeout(5):
            await source.stop()
            await task
            await request.closed.wait()
        assert source.status is SourceStatus.STOPPED

    async def test_from_inside_emit(self, server: Server) -> None:
        source = SSESource(server.url, "ch")
        emit = Stopper(source)
        task = asyncio.create_task(source.start(emit))
        stream = await server.stream()
        await stream.send(event("1", id="e1") + event("2", id="e2"))
        async with asyncio.timeout(5):
            await task
        assert emit.taken == 1
        assert source.last_event_id == "e1"

    async def test_when_it_is_cancelled(self, server: Server) -> None:
        source = SSESource(server.url, "ch")
        task = asyncio.create_task(source.start(Collector()))
        stream = await server.stream()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await stream.closed.wait()
        assert source.status is SourceStatus.STOPPED
