"""Callers whose line breaks (T15): at a WebSocket, on the telephone, with a realtime model.

Each test ends with the tasks and sockets it began with; whoever leaves, in whatever way, ends
only their own session, and once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit.exceptions import InvalidInputError
from roomkit.voice.backends.loopback import LoopbackVoiceBackend
from roomkit.voice.backends.twilio import TwilioMediaStream
from roomkit.voice.backends.websocket import WebSocketVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceSession, VoiceSessionState
from roomkit.voice.realtime import RealtimeSession
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport
from tests.reliability._calls import Relay, nothing_left, until
from tests.test_voice._backend_clients import anybody
from tests.test_voice.test_backend_twilio import started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

KINDS = ["plain", "telephone"]
CHUNK = AudioChunk(bytes(16000), 8000)


def backend_of(kind: str, **options: Any) -> WebSocketVoiceBackend:
    """Return a backend; it lets everybody in."""
    if kind == "plain":
        return WebSocketVoiceBackend(authenticate=anybody, **options)
    return TwilioMediaStream(auth_token=None, authenticate=anybody, **options)


def opening(kind: str) -> str:
    """Return what a client says first."""
    plain = {"type": "start", "codec": "pcm_s16le", "sample_rate": 8000}
    return json.dumps(plain if kind == "plain" else started())


class Calls:
    """A backend behind a relay, and who its sessions' clients said good-bye to.

    Attributes:
        ended: The sessions whose client has gone, in order.
    """

    def __init__(self, kind: str, backend: WebSocketVoiceBackend, relay: Relay) -> None:
        self.kind = kind
        self.backend = backend
        self.relay = relay
        self.ended: list[VoiceSession] = []
        self.clients: list[ClientConnection] = []
        backend.on_session_ended(self.ended.append)

    @property
    def sessions(self) -> list[VoiceSession]:
        """Those that have not ended, oldest first."""
        return self.backend.list_sessions("r")

    async def call(self) -> tuple[ClientConnection, VoiceSession]:
        """Call; return the client's end and the session."""
        known = {session.id for session in self.sessions}
        client = await connect(self.relay.base, compression=None, close_timeout=0.05)
        self.clients.append(client)
        await client.send(opening(self.kind))
        await until(lambda: [s for s in self.sessions if s.id not in known])
        return client, next(s for s in self.sessions if s.id not in known)


@asynccontextmanager
async def calls(kind: str, *, pings: float | None = None, **options: Any) -> AsyncIterator[Calls]:
    """Serve a backend behind a relay."""
    backend = backend_of(kind, **options)
    async with (
        nothing_left(),
        serve(
            backend.serve,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=pings,
            ping_timeout=pings,
            close_timeout=0.05,
        ) as server,
        Relay(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls") as relay,
    ):
        world = Calls(kind, backend, relay)
        yield world
        await backend.close()
        for client in world.clients:
            # One that reads nothing would not notice that it was closed.
            client.transport.abort()


async def endless() -> AsyncIterator[AudioChunk]:
    """Yield a second of audio, again and again."""
    while True:
        yield CHUNK
        await asyncio.sleep(0)


class Stalling:
    """A synthesiser that says nothing more after its first piece.

    Attributes:
        stalled: Set once it hangs.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.stalled = asyncio.Event()
        self.closed = False

    async def chunks(self) -> AsyncIterator[AudioChunk]:
        """Yield a second of audio, then wait for ever."""
        try:
            yield CHUNK
            self.stalled.set()
            await asyncio.Event().wait()
        finally:
            self.closed = True


@pytest.mark.parametrize("kind", KINDS)
class TestBackends:
    """WebSocketVoiceBackend and TwilioMediaStream."""

    async def test_a_line_that_breaks(self, kind: str) -> None:
        """It ends that session, once; ended is terminal, and the other one goes on."""
        async with calls(kind) as world:
            gone, session = await world.call()
            _, other = await world.call()
            gone.transport.abort()
            await until(lambda: world.ended)
            assert world.ended == [session]
            assert session.state is VoiceSessionState.ENDED
            assert other.state is VoiceSessionState.ACTIVE
            await world.backend.send_audio(session, bytes(640))
            assert not await world.backend.cancel_audio(session)
            await world.backend.disconnect(session)
            assert world.ended == [session]
            assert session.state is VoiceSessionState.ENDED

    async def test_a_caller_who_vanishes(self, kind: str) -> None:
        """Half-open: the server's keepalives find out."""
        async with calls(kind, pings=0.05) as world:
            _, session = await world.call()
            world.relay.swallow()
            await until(lambda: world.ended)
            assert world.ended == [session]
            assert world.sessions == []

    async def test_a_caller_who_takes_nothing(self, kind: str) -> None:
        """Audio that nobody takes ends the session; what was queued is within the bound."""
        async with calls(kind, send_timeout=0.1, max_queued_ms=5000, lead_ms=60_000_000) as world:
            _, session = await world.call()
            world.relay.stall()
            playing = asyncio.create_task(world.backend.send_audio(session, endless()))
            most = 0
            async with asyncio.timeout(20):
                while not world.ended:
                    stats = world.backend.stats(session)
                    most = max(most, stats.queued_ms if stats is not None else 0)
                    await asyncio.sleep(0.001)
            await asyncio.wait_for(playing, 5)
            assert most <= 6000
            assert world.ended == [session]
            assert not world.backend.is_playing(session)

    @pytest.mark.parametrize("how", ["leaves", "disconnected", "cancelled", "cleared"])
    async def test_a_source_that_says_nothing_more(self, kind: str, how: str) -> None:
        """``send_audio`` returns when playback is over, and closes a source that hangs."""
        source = Stalling()
        async with calls(kind) as world:
            client, session = await world.call()
            playing = asyncio.create_task(world.backend.send_audio(session, source.chunks()))
            await source.stalled.wait()
            assert world.backend.is_playing(session)
            if how == "leaves":
                client.transport.abort()
            elif how == "disconnected":
                await world.backend.disconnect(session)
            elif how == "cancelled" or kind == "telephone":
                assert await world.backend.cancel_audio(session)
            else:
                await client.send('{"type": "clear"}')
            await asyncio.wait_for(playing, 2)
            assert source.closed
            if how in ("cancelled", "cleared"):
                # What comes afterwards is not concerned.
                await world.backend.send_audio(session, bytes(640))
                assert world.backend.is_playing(session)

    @pytest.mark.parametrize("when", ["before", "handshake", "start", "authentication"])
    async def test_gone_before_there_is_a_session(self, kind: str, when: str) -> None:
        """Nothing was made, or it is ended again."""
        asked = asyncio.Event()

        async def slow(shake: Any) -> Any:
            asked.set()
            await asyncio.sleep(0.02)
            return anybody(shake)

        backend = backend_of(kind)
        if when == "authentication":
            backend = (
                WebSocketVoiceBackend(authenticate=slow)
                if kind == "plain"
                else TwilioMediaStream(auth_token=None, authenticate=slow)
            )
        ended: list[VoiceSession] = []
        backend.on_session_ended(ended.append)
        served = asyncio.Event()

        async def talk(ws: Any) -> None:
            try:
                await backend.serve(ws)
            finally:
                served.set()

        async with nothing_left(), serve(talk, "127.0.0.1", 0, close_timeout=0.05) as server:
            port = server.sockets[0].getsockname()[1]
            if when == "handshake":
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /calls HTTP/1.1\r\nHost: x\r\n")
                await writer.drain()
                writer.transport.abort()
            else:
                client = await connect(f"ws://127.0.0.1:{port}/calls", compression=None)
                if when != "before":
                    await client.send(opening(kind))
                if when == "authentication":
                    await asked.wait()
                client.transport.abort()
                await asyncio.wait_for(served.wait(), 5)
            assert backend.list_sessions("r") == []
            assert {session.state for session in ended} <= {VoiceSessionState.ENDED}
            await backend.close()

    async def test_it_flaps(self, kind: str) -> None:
        """Twenty short calls: each its own session, each ended once, none left."""
        async with calls(kind, max_sessions=1) as world:
            seen = []
            for number in range(20):
                client, session = await world.call()
                seen.append(session)
                if number % 2:
                    client.transport.abort()
                else:
                    await client.close()
                await until(lambda number=number: len(world.ended) == number + 1)
            assert world.ended == seen
            assert len({session.id for session in seen}) == 20
            assert world.sessions == []

    async def test_everybody_leaves_at_once(self, kind: str) -> None:
        """While audio is played to all of them."""
        async with calls(kind) as world:
            sessions = [(await world.call())[1] for _ in range(10)]
            playing = [
                asyncio.create_task(world.backend.send_audio(session, endless()))
                for session in sessions
            ]
            await until(lambda: all(map(world.backend.is_playing, sessions)))
            world.relay.cut()
            await until(lambda: len(world.ended) == 10)
            await asyncio.wait_for(asyncio.gather(*playing), 5)
            assert {session.id for session in world.ended} == {s.id for s in sessions}

    async def test_nonsense_is_logged_once(
        self, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A thousand messages nobody understands: one line, a count, and the call goes on."""
        frames: list[Any] = []
        async with calls(kind) as world:
            world.backend.on_audio_received(lambda _, frame: frames.append(frame))
            client, session = await world.call()
            for _ in range(500):
                await client.send("{")
                await client.send(opening(kind))
            await until(lambda: (stats := world.backend.stats(session)) is not None
                        and stats.malformed >= 500)  # fmt: skip
            lines = [r for r in caplog.records if r.levelno >= logging.WARNING]
            assert len(lines) == 1
            assert session.state is VoiceSessionState.ACTIVE
            await client.close()
            await until(lambda: world.ended)


class Lines:
    """Realtime sessions over sockets, behind a relay.

    Attributes:
        left: The sessions whose callers have left.
    """

    def __init__(self, transport: WebSocketRealtimeTransport, relay: Relay) -> None:
        self.transport = transport
        self.relay = relay
        self.accepted: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: list[tuple[str, bytes]] = []
        self.left: list[RealtimeSession] = []
        transport.on_audio_received(lambda session, audio: self.heard.append((session.id, audio)))
        transport.on_client_disconnected(self.left.append)

    async def call(self, name: str) -> tuple[ClientConnection, RealtimeSession]:
        """Connect a caller."""
        client = await connect(self.relay.base, compression=None, close_timeout=0.05)
        session = RealtimeSession(name, "r", "pat", "live")
        await self.transport.accept(session, await self.accepted.get())
        return client, session


@asynccontextmanager
async def lines(*, pings: float | None = None, **options: Any) -> AsyncIterator[Lines]:
    """A transport whose callers come through a relay."""
    world: Lines

    async def keep(ws: Any) -> None:
        world.accepted.put_nowait(ws)
        await ws.wait_closed()

    async with (
        nothing_left(),
        serve(
            keep,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=pings,
            ping_timeout=pings,
            close_timeout=0.05,
        ) as server,
        Relay(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/live") as relay,
    ):
        world = Lines(WebSocketRealtimeTransport(**options), relay)
        yield world
        await world.transport.close()


class TestRealtimeTransport:
    """WebSocketRealtimeTransport."""

    async def test_one_leaver(self) -> None:
        """Only his session is told of, once, and the other one is still heard."""
        async with lines() as world:
            gone, session = await world.call("a")
            stays, _ = await world.call("b")
            gone.transport.abort()
            await until(lambda: world.left)
            await world.transport.disconnect(session)
            await stays.send(b"ok")
            await until(lambda: world.heard)
            assert world.heard == [("b", b"ok")]
            assert world.left == [session]

    async def test_a_caller_who_vanishes(self) -> None:
        """Half-open: the server's keepalives find out."""
        async with lines(pings=0.05) as world:
            _, session = await world.call("a")
            world.relay.swallow()
            await until(lambda: world.left)
            assert world.left == [session]

    async def test_a_caller_who_takes_nothing(self) -> None:
        """They have left after ``send_timeout``, and their socket does not stay open."""
        async with lines(send_timeout=0.05) as world:
            _, session = await world.call("a")
            world.relay.stall()
            async with asyncio.timeout(4):
                while not world.left:
                    await world.transport.send_audio(session, bytes(1024 * 1024))
                    await asyncio.sleep(0)
            assert world.left == [session]

    async def test_it_flaps(self) -> None:
        """Twenty short calls under one name: each is told of once."""
        async with lines() as world:
            for number in range(20):
                client, _ = await world.call("a")
                client.transport.abort()
                await until(lambda number=number: len(world.left) == number + 1)

    async def test_a_name_that_is_taken(self) -> None:
        """A second connection of a session is refused, and the first one stays."""
        async with lines() as world:
            first, session = await world.call("a")
            with pytest.raises(InvalidInputError, match="already"):
                await world.call("a")
            await first.send(b"ok")
            await until(lambda: world.heard)
            assert world.left == []
            assert world.transport.malformed(session) == 0

    async def test_nonsense_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Counted, one line, and what comes afterwards is heard."""
        async with lines(max_frame=2000) as world:
            client, session = await world.call("a")
            for _ in range(100):
                await client.send("{")
                await client.send('{"type": "audio", "data": "%"}')
                await client.send(bytes(2001))
            await client.send(b"ok")
            await until(lambda: world.heard)
            assert world.transport.malformed(session) == 300
            assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1

    async def test_samples_cut_in_two(self) -> None:
        """Frames end anywhere; what is passed on is whole samples, and all of them."""
        said = bytes(range(256)) * 10
        async with lines() as world:
            client, _ = await world.call("a")
            for start in range(0, len(said), 777):
                await client.send(said[start : start + 777])
            await until(lambda: sum(len(audio) for _, audio in world.heard) == len(said))
            assert b"".join(audio for _, audio in world.heard) == said
            assert all(len(audio) % 2 == 0 for _, audio in world.heard)


@pytest.mark.parametrize("how", ["disconnected", "cancelled", "closed"])
async def test_loopback_and_a_source_that_says_nothing_more(how: str) -> None:
    """The backend without a network keeps the same promise."""
    source = Stalling()
    async with nothing_left():
        backend = LoopbackVoiceBackend()
        session = await backend.connect("r", "pat", "voice")
        playing = asyncio.create_task(backend.send_audio(session, source.chunks()))
        await source.stalled.wait()
        assert backend.is_playing(session)
        if how == "cancelled":
            assert await backend.cancel_audio(session)
        elif how == "disconnected":
            await backend.disconnect(session)
        else:
            await backend.close()
        await asyncio.wait_for(playing, 2)
        assert source.closed
        if how == "cancelled":
            await backend.send_audio(session, bytes(640))
            assert len(backend.playbacks(session)) == 2
        await backend.close()
