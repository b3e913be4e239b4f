"""Callers at a WebSocket: a real one, and one shaped like Starlette's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import RoomKit
from roomkit.exceptions import InvalidInputError
from roomkit.voice.realtime import RealtimeSession
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport
from tests.support.kits import ROOM, open_room
from tests.test_voice._realtime import Live, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Line:
    """A transport with one session over a real socket.

    Attributes:
        client: The caller's end.
        heard: What the transport passed on.
        left: The sessions whose callers left.
    """

    def __init__(self, transport: WebSocketRealtimeTransport, client: Any) -> None:
        self.transport = transport
        self.client = client
        self.session = RealtimeSession("s-1", ROOM, "pat", "live")
        self.heard: list[bytes] = []
        self.left: list[RealtimeSession] = []
        transport.on_audio_received(lambda _, audio: self.heard.append(audio))
        transport.on_client_disconnected(self.left.append)

    async def next(self) -> dict[str, Any]:
        """Return the next message the caller gets."""
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.client.recv(), 5))
        return message


@asynccontextmanager
async def line(**options: Any) -> AsyncIterator[Line]:
    """A caller and a transport that has accepted them."""
    accepted: asyncio.Queue[Any] = asyncio.Queue()

    async def keep(ws: Any) -> None:
        accepted.put_nowait(ws)
        await ws.wait_closed()

    async with serve(keep, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
            world = Line(WebSocketRealtimeTransport(**options), client)
            await world.transport.accept(world.session, await accepted.get())
            yield world
            await world.transport.close()


class StarletteLike:
    """A connection as Starlette and FastAPI give one."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[str] = []
        self.closed = 0

    async def receive(self) -> dict[str, Any]:
        return await self.inbox.get()

    async def send_text(self, text: str) -> None:
        self.sent.append(text)

    async def close(self) -> None:
        self.closed += 1


class TestProtocol:
    """Audio and messages, in both directions."""

    async def test_audio_comes_in_two_forms(self) -> None:
        """Binary frames and base64 in JSON, in their order."""
        async with line() as world:
            await world.client.send(b"\x01\x02")
            data = base64.b64encode(b"\x03\x04").decode()
            await world.client.send(json.dumps({"type": "audio", "data": data}))
            await world.client.send(b"\x05\x06")
            await until(lambda: len(world.heard) == 3)
            assert world.heard == [b"\x01\x02", b"\x03\x04", b"\x05\x06"]

    async def test_audio_and_messages_go_out_as_json(self) -> None:
        """Nobody is greeted: the first frame is ours."""
        async with line() as world:
            await world.transport.send_audio(world.session, b"\x01\x02")
            await world.transport.send_message(world.session, {"type": "clear_audio"})
            first = await world.next()
            assert first["type"] == "audio"
            assert base64.b64decode(first["data"]) == b"\x01\x02"
            assert await world.next() == {"type": "clear_audio"}

    @pytest.mark.parametrize(
        "frame",
        [
            "{",
            "[]",
            "7",
            '{"type": "audio"}',
            '{"type": "audio", "data": 7}',
            '{"type": "audio", "data": "%%%"}',
            '{"type": "hello"}',
            '{"type": "audio", "data": "\u20ac"}',
            "[" * 100_000,
            b"",
        ],
    )
    async def test_broken_frames_are_skipped(self, frame: str | bytes) -> None:
        """The next one is heard."""
        async with line() as world:
            await world.client.send(frame)
            await world.client.send(b"ok")
            await until(lambda: world.heard)
            assert world.heard == [b"ok"]
            assert world.left == []

    async def test_frames_too_large_are_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        """With a warning that gives the size only."""
        async with line(max_frame=100) as world:
            with caplog.at_level(logging.WARNING):
                await world.client.send(b"x" * 101)
                await world.client.send(b"ok")
                await until(lambda: world.heard)
            assert world.heard == [b"ok"]
            assert "101 bytes" in caplog.text

    async def test_a_failing_callback_does_not_end_the_line(self) -> None:
        """It is logged, the others are called."""
        async with line() as world:
            calls: list[bytes] = []

            async def fail(session: RealtimeSession, audio: bytes) -> None:
                raise OSError("no disk")

            world.transport.on_audio_received(fail)
            world.transport.on_audio_received(lambda _, audio: calls.append(audio))
            await world.client.send(b"one")
            await world.client.send(b"two")
            await until(lambda: len(calls) == 2)


class TestEnds:
    """Told once when the caller leaves, never when we end it."""

    async def test_a_caller_who_leaves_is_told_once(self) -> None:
        """However the socket ends."""
        async with line() as world:
            await world.client.close()
            await until(lambda: world.left)
            await world.transport.disconnect(world.session)
            assert world.left == [world.session]

    async def test_a_cut_socket_is_a_caller_who_left(self) -> None:
        """Without a closing handshake."""
        async with line() as world:
            world.client.transport.abort()
            await until(lambda: world.left)
            await world.transport.send_audio(world.session, b"ab")
            assert world.left == [world.session]

    async def test_our_own_disconnect_is_told_to_nobody(self) -> None:
        """The reference told it, and its channel ended the session twice."""
        async with line() as world:
            await world.transport.disconnect(world.session)
            await world.transport.disconnect(world.session)
            await asyncio.wait_for(world.client.wait_closed(), 5)
            assert world.left == []

    async def test_a_callback_may_disconnect(self) -> None:
        """Nothing waits for itself."""
        async with line() as world:
            done = asyncio.Event()

            async def hang_up(session: RealtimeSession, audio: bytes) -> None:
                await world.transport.disconnect(session)
                done.set()

            world.transport.on_audio_received(hang_up)
            await world.client.send(b"ab")
            await asyncio.wait_for(done.wait(), 5)
            assert world.left == []

    async def test_a_caller_who_takes_nothing_is_let_go(self) -> None:
        """After ``send_timeout``; the channel hears of it."""
        transport = WebSocketRealtimeTransport(send_timeout=0.01)
        connection = StarletteLike()
        left: list[RealtimeSession] = []
        transport.on_client_disconnected(left.append)

        async def never(text: str) -> None:
            await asyncio.Event().wait()

        connection.send_text = never  # type: ignore[method-assign]
        session = RealtimeSession("s", ROOM, "pat", "live")
        await transport.accept(session, connection)
        await transport.send_audio(session, b"ab")
        await until(lambda: left)
        assert left == [session]
        assert connection.closed == 1
        await transport.close()

    async def test_a_failing_send_is_contained(self) -> None:
        """It is logged without what was said."""
        transport = WebSocketRealtimeTransport()
        connection = StarletteLike()

        async def fail(text: str) -> None:
            raise OSError(text)

        connection.send_text = fail  # type: ignore[method-assign]
        session = RealtimeSession("s", ROOM, "pat", "live")
        await transport.accept(session, connection)
        await transport.send_message(session, {"type": "transcription", "text": "secret"})
        await transport.close()

    async def test_sessions_that_are_unknown(self) -> None:
        """Nothing happens, nothing is raised."""
        transport = WebSocketRealtimeTransport()
        session = RealtimeSession("s", ROOM, "pat", "live")
        await transport.send_audio(session, b"ab")
        await transport.send_message(session, {})
        await transport.disconnect(session)
        await transport.close()
        assert transport.name == "WebSocketRealtimeTransport"


class TestConnections:
    """What is taken for a connection."""

    async def test_starlettes_connections(self) -> None:
        """Bytes and text, until it disconnects."""
        transport = WebSocketRealtimeTransport()
        connection = StarletteLike()
        heard: list[bytes] = []
        left: list[RealtimeSession] = []
        transport.on_audio_received(lambda _, audio: heard.append(audio))
        transport.on_client_disconnected(left.append)
        session = RealtimeSession("s", ROOM, "pat", "live")
        await transport.accept(session, connection)
        data = base64.b64encode(b"cd").decode()
        connection.inbox.put_nowait({"type": "websocket.receive", "bytes": b"ab"})
        text = json.dumps({"type": "audio", "data": data})
        connection.inbox.put_nowait({"type": "websocket.receive", "bytes": None, "text": text})
        connection.inbox.put_nowait({"type": "websocket.receive"})
        await until(lambda: len(heard) == 2)
        await transport.send_audio(session, b"xy")
        assert json.loads(connection.sent[0])["type"] == "audio"
        connection.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await until(lambda: left)
        assert heard == [b"ab", b"cd"]

    async def test_anything_else_is_refused(self) -> None:
        """The error says what is wanted; nothing is registered."""
        transport = WebSocketRealtimeTransport()
        session = RealtimeSession("s", ROOM, "pat", "live")
        with pytest.raises(InvalidInputError, match="async-iterable"):
            await transport.accept(session, object())
        await transport.accept(session, StarletteLike())
        with pytest.raises(InvalidInputError, match="already"):
            await transport.accept(session, StarletteLike())
        await transport.close()

    def test_bounds_must_be_positive(self) -> None:
        """Nothing else makes sense."""
        with pytest.raises(InvalidInputError):
            WebSocketRealtimeTransport(max_frame=0)


class TestWithAChannel:
    """A whole call over a socket."""

    async def test_a_call_and_its_one_end(self) -> None:
        """Audio both ways; the caller hangs up; one ``voice_disconnected``."""
        sessions: list[RealtimeSession] = []
        async with RoomKit() as kit:
            world = Live(kit, transport=WebSocketRealtimeTransport())
            await open_room(kit, world.channel)

            async def take(ws: Any) -> None:
                sessions.append(await kit.connect_realtime_voice(ROOM, "pat", "live", ws))
                with contextlib.suppress(asyncio.CancelledError):
                    await ws.wait_closed()

            async with serve(take, "127.0.0.1", 0, compression=None) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                url = f"ws://127.0.0.1:{port}"
                async with connect(url, compression=None) as client:
                    await until(lambda: sessions)
                    await client.send(b"\x01\x02")
                    await until(lambda: world.provider.sent_audio)
                    await world.provider.simulate_speech_start(sessions[0])
                    first = json.loads(await asyncio.wait_for(client.recv(), 5))
                    assert first == {"type": "clear_audio"}
                await until(lambda: world.ears.of("voice_disconnected"))
        assert len(world.ears.of("voice_disconnected")) == 1
