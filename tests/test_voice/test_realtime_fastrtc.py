"""The FastRTC transport of live sessions, on a fake FastRTC: who comes and who goes.

What is heard and said is in test_realtime_fastrtc_sound.py; tests/fastrtc has the real one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import InvalidInputError, MissingDependencyError
from roomkit.testing import ManualClock
from roomkit.testing.conformance.realtime_transport import (
    RealtimeClient,
    RealtimeTransportConformance,
)
from roomkit.voice.realtime.fastrtc_transport import (
    FastRTCRealtimeTransport,
    mount_fastrtc_realtime,
)
from tests.test_voice._backend_clients import until
from tests.test_voice._fake_fastrtc import Client, CloseStream, packages, samples
from tests.test_voice._fastrtc_desk import (
    CLEAR,
    KINDS,
    MS,
    Desk,
    mounted,
    session_of,
    shown,
    turns,
)
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import RealtimeAudioTransport, RealtimeSession


@pytest.fixture
def clock() -> ManualClock:
    """Time of its own."""
    return ManualClock()


@pytest.fixture
async def desk(clock: ManualClock) -> AsyncIterator[Desk]:
    """A mounted transport."""
    desk = Desk(clock)
    yield desk
    await desk.close()


class TestWithoutFastRTC:
    """What works when it is not installed."""

    def test_the_module_and_the_class_do(self) -> None:
        """Importing loads neither FastRTC nor numpy; mounting says what is missing."""
        code = (
            "import sys; sys.modules['fastrtc'] = None\n"
            "from roomkit.voice.realtime import fastrtc_transport as f\n"
            "t = f.FastRTCRealtimeTransport()\n"
            "assert 'numpy' not in sys.modules\n"
            "try: f.mount_fastrtc_realtime(object(), t)\n"
            "except ImportError as e: print(type(e).__name__, e)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("MissingDependencyError fastrtc is required")
        assert "roomkit[fastrtc]" in done.stdout

    def test_numpy_is_needed_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is named when it alone is missing."""
        monkeypatch.setitem(sys.modules, "fastrtc", packages().fastrtc)
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(MissingDependencyError, match="numpy"):
            mount_fastrtc_realtime(object(), FastRTCRealtimeTransport())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"output_sample_rate": 22051},
            {"input_sample_rate": 0},
            {"queue_frames": 0},
            {"connect_timeout": 0},
        ],
    )
    def test_bounds(self, wrong: dict[str, int]) -> None:
        """Rates FastRTC cannot carry, and bounds that are none, are refused."""
        with pytest.raises(InvalidInputError):
            FastRTCRealtimeTransport(**wrong)

    def test_routes_rates_and_limit(self) -> None:
        """The transport's rates reach the handler, and more than one client may come."""
        transport = FastRTCRealtimeTransport()
        stream = mounted(transport)
        assert transport.name == "FastRTCRealtimeTransport"
        assert stream.mounted == [("app", "/rtc-realtime")]
        assert stream.limit == 100
        assert stream.handler.rates == (16000, 24000)
        assert stream.handler.copy() is not stream.handler


class TestComing:
    """From a client's start to its session."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_it_is_told_and_given_a_session(self, desk: Desk, kind: str) -> None:
        """Its id is the connection; what it says before is not heard."""
        client = await desk.client("b1", kind)
        await client.hear(samples(bytes(640)))
        assert desk.came == ["b1"]
        await desk.transport.accept(session_of("s-1"), "b1")
        sound = tone(440, 20)
        await client.hear(samples(sound))
        assert desk.heard == [("s-1", sound)]

    async def test_an_async_callback_starts_the_session(self, desk: Desk) -> None:
        """It runs beside FastRTC's own work; a second one replaces the first."""

        async def begin(webrtc_id: str) -> None:
            await asyncio.sleep(0)
            await desk.transport.accept(session_of("s-1"), webrtc_id)
            desk.came.append("begun")

        desk.transport.on_client_connected(begin)
        await desk.client("b1")
        await until(lambda: desk.came == ["begun"])

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_failing_callback_sends_the_client_away(
        self, desk: Desk, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It would wait in silence; nothing of the failure is in the log."""

        def refuse(webrtc_id: str) -> None:
            raise RuntimeError("s3cret of b1")

        desk.transport.on_client_connected(refuse)
        client = await desk.client("b1", kind)
        line = client.websocket or client.pc
        await until(lambda: line.closed)
        assert "s3cret" not in caplog.text

    async def test_a_failure_after_the_session_began(self, desk: Desk) -> None:
        """The session goes on."""

        async def stumble(webrtc_id: str) -> None:
            await desk.transport.accept(session_of("s-1"), webrtc_id)
            raise RuntimeError

        desk.transport.on_client_connected(stumble)
        client = await desk.client("b1")
        await turns()
        await client.hear(samples(bytes(640)))
        assert len(desk.heard) == 1

    async def test_a_client_that_was_accepted_before(self, desk: Desk) -> None:
        """It gets the session that names it; until then nothing is sent, and nothing fails."""
        session = session_of("s-1")
        await desk.transport.accept(session, "b1")
        await desk.transport.send_audio(session, bytes(960))
        await desk.transport.send_message(session, CLEAR)
        client = await desk.client("b1")
        await client.hear(samples(bytes(640)))
        assert len(desk.heard) == 1
        assert shown(client) == []

    async def test_one_that_never_comes(self, desk: Desk, clock: ManualClock) -> None:
        """Its session is told after a while that it left."""
        session = session_of("s-1")
        await desk.transport.accept(session, "b1")
        await clock.advance(29)
        assert desk.left == []
        await clock.advance(2)
        assert desk.left == [session]

    async def test_one_that_came_is_not_given_up(self, desk: Desk, clock: ManualClock) -> None:
        """The wait ends with its coming."""
        await desk.transport.accept(session_of("s-1"), "b1")
        await desk.client("b1")
        await clock.advance(60)
        assert desk.left == []

    async def test_what_is_no_connection(self, desk: Desk) -> None:
        """The text says what was expected; one client, one session."""
        _, session = await desk.call("b1")
        for wrong in (None, "", object()):
            with pytest.raises(InvalidInputError, match="webrtc_id"):
                await desk.transport.accept(session_of("s-2"), wrong)
        with pytest.raises(InvalidInputError, match="has a connection"):
            await desk.transport.accept(session, "b2")
        with pytest.raises(InvalidInputError, match="has a session"):
            await desk.transport.accept(session_of("s-2"), "b1")

    async def test_one_that_left_before_its_session_began(self, desk: Desk) -> None:
        """Accepting it says so, instead of waiting for somebody who was here."""
        come_back, told = asyncio.Event(), asyncio.Event()

        async def slow(webrtc_id: str) -> None:
            await come_back.wait()
            with pytest.raises(InvalidInputError, match="has left"):
                await desk.transport.accept(session_of("s-1"), webrtc_id)
            told.set()

        desk.transport.on_client_connected(slow)
        client = await desk.client("b1")
        await client.leave()
        await turns()
        come_back.set()
        await until(told.is_set)


class TestNames:
    """A client's name is its own choice, so nothing follows from it."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_name_that_is_in_use(self, desk: Desk, kind: str) -> None:
        """The second one is sent away; the first one is heard and hears, alone."""
        first, session = await desk.call("b1")
        second = await desk.client("b1", kind)
        line = second.websocket or second.pc
        await until(lambda: line.closed)
        await second.hear(samples(tone(300, 20)))
        await first.hear(samples(tone(500, 20)))
        assert [audio for _, audio in desk.heard] == [tone(500, 20)]
        await desk.transport.send_message(session, {"type": "speaking"})
        assert shown(first) == [{"type": "speaking"}]
        assert shown(second) == []
        await second.leave()
        await turns()
        assert desk.left == []
        assert desk.came == ["b1"]

    async def test_a_second_start(self, desk: Desk) -> None:
        """A client is who it said first."""
        client, _ = await desk.call("b1")
        client.start("b2")
        await client.hear(samples(bytes(640)))
        assert desk.came == ["b1"]
        assert desk.heard == [("s-b1", bytes(640))]

    @pytest.mark.parametrize("name", [None, 7, ["b1"], {"b": 1}, "", "b" * 257])
    async def test_what_is_no_name(self, desk: Desk, name: Any) -> None:
        """Nobody is told of it, and nothing it says is heard."""
        client = await desk.client(name)
        await client.hear(samples(bytes(640)))
        assert (desk.came, desk.heard) == ([], [])

    async def test_sound_before_the_start(self, desk: Desk) -> None:
        """It is dropped: nobody knows who speaks."""
        handler = desk.stream.handler.copy()
        await asyncio.create_task(handler.receive((16000, samples(bytes(640)))))
        assert (desk.came, desk.heard) == ([], [])

    @pytest.mark.parametrize("kind", KINDS)
    async def test_one_too_many(self, clock: ManualClock, kind: str) -> None:
        """It is sent away, telephones too, which FastRTC does not count."""
        desk = Desk(clock, limit=1)
        first, _ = await desk.call("b1")
        second = await desk.client("b2", kind)
        line = second.websocket or second.pc
        await until(lambda: line.closed)
        assert desk.came == ["b1"]
        await first.leave()
        await until(lambda: desk.left)
        await desk.client("b3", kind)
        assert desk.came == ["b1", "b3"]
        await desk.close()


class TestLeaving:
    """Who goes, and who stays."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_the_client_goes(self, desk: Desk, kind: str) -> None:
        """Told once; the other one stays; the name is free again."""
        one, first = await desk.call("b1", kind)
        two, second = await desk.call("b2", kind)
        await one.leave()
        await until(lambda: desk.left)
        assert desk.left == [first]
        await one.hear(samples(bytes(640)))
        await desk.transport.send_audio(first, bytes(960))
        await desk.transport.disconnect(first)
        await two.hear(samples(bytes(640)))
        assert desk.heard == [("s-b2", bytes(640))]
        assert desk.left == [first]
        assert "b1" not in desk.stream.connections
        again = await desk.client("b1", kind)
        await desk.transport.accept(first, "b1")
        await again.hear(samples(bytes(640)))
        assert desk.heard[-1][0] == "s-b1"
        await desk.transport.disconnect(second)

    async def test_a_lost_network(self, desk: Desk, clock: ManualClock) -> None:
        """FastRTC may drop a WebRTC client without a word: found in 20 s, and its task ended."""
        client, session = await desk.call(kind="webrtc")
        del desk.stream.pcs["w1"]
        await clock.advance(21)
        await until(lambda: desk.left == [session])
        await asyncio.wait([client.emitting], timeout=5)
        assert client.emitting.cancelled()

    @pytest.mark.parametrize("kind", KINDS)
    async def test_we_end_it(self, desk: Desk, kind: str) -> None:
        """The connection is closed, what was queued dropped, and nobody told."""
        client, session = await desk.call(kind=kind)
        await desk.transport.send_audio(session, bytes(2000 * MS))
        await turns()
        await desk.transport.disconnect(session)
        await desk.transport.disconnect(session)
        assert (client.websocket or client.pc).closed
        await turns()
        ends = [each for each in client.emitted if isinstance(each, CloseStream)]
        # FastRTC would close a socket a second time, and fail before it has cleaned up.
        assert len(ends) == (kind == "webrtc")
        await client.hear(samples(bytes(640)))
        await client.leave()
        await turns()
        assert (desk.left, desk.heard) == ([], [])

    async def test_what_was_said_before_is_not_heard_after(self, desk: Desk) -> None:
        """Frames that wait are dropped with their session."""
        go = asyncio.Event()
        late: list[bytes] = []

        async def listen(session: RealtimeSession, audio: bytes) -> None:
            await go.wait()
            late.append(audio)

        desk.transport.on_audio_received(listen)
        client, session = await desk.call()
        await client.hear(*[samples(bytes(640))] * 5)
        await desk.transport.disconnect(session)
        go.set()
        await turns()
        assert len(late) == 1

    async def test_closing(self, desk: Desk, clock: ManualClock) -> None:
        """All are sent away, with or without a session; who comes later too; no task is left."""
        before = asyncio.all_tasks()
        with_session, _ = await desk.call("b1")
        without = await desk.client("b2", "webrtc")
        await desk.transport.accept(session_of("s-3"), "never")
        await desk.transport.close()
        await desk.transport.close()
        assert with_session.websocket is not None
        assert with_session.websocket.closed
        assert without.pc.closed
        late = await desk.client("b3")
        await until(lambda: late.websocket is not None and late.websocket.closed)
        assert desk.came == ["b1", "b2"]
        with pytest.raises(InvalidInputError, match="closed"):
            await desk.transport.accept(session_of("s-4"), "b3")
        await clock.advance(60)
        assert desk.left == []
        for client in desk.clients:
            await client.leave()
        await until(lambda: not asyncio.all_tasks() - before)


class FakeCaller(RealtimeClient):
    """A browser, driven as FastRTC drives its handler."""

    def __init__(self, client: Client) -> None:
        self.connection = client.name
        self.client = client

    async def say(self, audio: bytes) -> None:
        await self.client.hear(samples(audio))

    async def leave(self) -> None:
        await self.client.leave()

    def audio(self) -> bytes:
        return self.client.pcm()

    def messages(self) -> list[dict[str, Any]]:
        return shown(self.client)


class TestConformance(RealtimeTransportConformance):
    """It does what every transport must, for WebRTC clients."""

    kind = "webrtc"

    async def make_transport(self) -> RealtimeAudioTransport:
        """Return a transport, mounted."""
        transport = FastRTCRealtimeTransport()
        self.stream = mounted(transport)
        self.clients: list[Client] = []
        return transport

    async def make_client(self, transport: RealtimeAudioTransport) -> RealtimeClient:
        """Return a client that has come."""
        client = Client(self.stream, f"b{len(self.clients)}", kind=self.kind)
        self.clients.append(client)
        return FakeCaller(await client.started())

    @pytest.fixture(autouse=True)
    async def hung_up(self) -> AsyncIterator[None]:
        """Nobody stays on the line."""
        self.clients: list[Client] = []
        yield
        for client in self.clients:
            await client.leave()


class TestSocketConformance(TestConformance):
    """The same for WebSocket clients."""

    kind = "websocket"
