"""The FastRTC backend, on a fake FastRTC; tests/fastrtc has the real one."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import ConflictError, InvalidInputError, MissingDependencyError
from roomkit.testing import ManualClock
from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSessionState
from tests.test_voice._backend_clients import endless, until
from tests.test_voice._fake_fastrtc import Client, Samples, packages, samples
from tests.test_voice._fastrtc_backend import MS, RATE, Desk, mount_on_fakes
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def clock() -> ManualClock:
    """Time of its own."""
    return ManualClock()


@pytest.fixture
async def desk(clock: ManualClock) -> AsyncIterator[Desk]:
    """A mounted backend."""
    desk = Desk(clock)
    yield desk
    await desk.close()


class TestWithoutFastRTC:
    """What works when it is not installed."""

    def test_the_module_and_the_class_do(self) -> None:
        """Importing loads neither FastRTC nor numpy; mounting says what is missing."""
        code = (
            "import sys; sys.modules['fastrtc'] = None\n"
            "from roomkit.voice.backends import fastrtc as f\n"
            "b = f.FastRTCVoiceBackend()\n"
            "assert 'numpy' not in sys.modules\n"
            "try: f.mount_fastrtc_voice(object(), b)\n"
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
            mount_fastrtc_voice(object(), FastRTCVoiceBackend())

    def test_the_g711_names(self) -> None:
        """The encoder under its old name is G.711, not 12 dB below."""
        encode = vars(import_module("roomkit.voice.backends.fastrtc"))["_pcm16_to_mulaw"]
        assert encode(b"\xe8\x03\x18\xfc\x00\x00") == b"\xce\x4e\xff"
        assert encode(b"\x01") == b""

    async def test_a_session(self) -> None:
        """Rates come first, the caller's metadata win; nothing is declared by default."""
        backend = FastRTCVoiceBackend()
        session = await backend.connect("r", "ana", "voice", metadata={"output_sample_rate": 1})
        assert session.metadata == {"input_sample_rate": 48000, "output_sample_rate": 1}
        assert session.state is VoiceSessionState.ACTIVE
        assert backend.get_session(session.id) is session
        assert backend.name == "FastRTC"
        assert backend.capabilities is VoiceCapability.NONE
        interruptible = FastRTCVoiceBackend(interruptible=True)
        assert interruptible.capabilities is VoiceCapability.INTERRUPTION
        await backend.disconnect(session)
        await backend.disconnect(session)
        assert session.state is VoiceSessionState.ENDED
        assert backend.list_sessions("r") == []
        await backend.send_audio(session, bytes(640))
        await backend.send_transcription(session, "Hello")
        assert not await backend.cancel_audio(session)
        assert not backend.is_playing(session)
        assert backend.played_ms(session) is None
        assert backend.dropped_frames(session) == 0

    async def test_without_a_client(self, caplog: pytest.LogCaptureFixture) -> None:
        """A warning, no error."""
        backend = FastRTCVoiceBackend()
        session = await backend.connect("r", "ana", "voice")
        await backend.send_audio(session, bytes(640))
        assert "no client" in caplog.text
        await backend.close()

    async def test_bounds(self) -> None:
        """Rates FastRTC cannot carry, and too many sessions, are refused."""
        for wrong in (
            {"output_sample_rate": 22051},
            {"input_sample_rate": 0},
            {"max_sessions": 0},
        ):
            with pytest.raises(InvalidInputError):
                FastRTCVoiceBackend(**wrong)
        backend = FastRTCVoiceBackend(max_sessions=1)
        await backend.connect("r", "ana", "voice")
        with pytest.raises(ConflictError, match="1 sessions"):
            await backend.connect("r", "bob", "voice")
        await backend.close()


class TestMount:
    """What FastRTC is given."""

    def test_routes_rates_and_limit(self, desk: Desk) -> None:
        """The backend's rates reach the handler, and more than one client may come."""
        assert desk.stream.mounted == [("app", "/voice")]
        assert desk.stream.limit == 100
        assert desk.stream.handler.rates == (48000, 24000)
        assert desk.stream.handler.copy() is not desk.stream.handler


class TestListening:
    """What clients say."""

    async def test_the_first_audio_makes_the_session(self, desk: Desk) -> None:
        """The factory is asked once; frames carry the rate FastRTC names."""
        client, session = await desk.call()
        await client.hear(samples(tone(440, 20)), rate=16000)
        assert desk.asked == ["w1"]
        assert session.metadata["websocket_id"] == "w1"
        assert [frame.sample_rate for frame in desk.heard] == [48000, 16000]
        assert desk.heard[1].data == tone(440, 20)

    async def test_floats_are_clipped(self, desk: Desk) -> None:
        """Louder than full scale stays loud instead of turning over; no samples, no frame."""
        client, _ = await desk.call()
        await client.hear(Samples([0.5, -0.5, 1.5, -1.5], "float32"), Samples([]))
        assert desk.heard[-1].data == Samples([16383, -16383, 32767, -32767]).tobytes()
        assert len(desk.heard) == 2

    @pytest.mark.parametrize("name", ["stranger", "broken"])
    async def test_who_gets_no_session(
        self, desk: Desk, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is asked for once, not for every frame, and nothing is heard."""
        client = Client(desk.stream, name)
        desk.clients.append(client)
        await client.hear(*[samples(bytes(960))] * 5)
        assert desk.asked == [name]
        assert desk.heard == []
        assert "s3cret" not in caplog.text

    async def test_two_clients(self, desk: Desk) -> None:
        """Each has its session and gets its own sound."""
        (one, first), (two, second) = await desk.call("w1"), await desk.call("w2")
        await desk.backend.send_audio(first, tone(300, 20, rate=RATE))
        await desk.backend.send_audio(second, tone(500, 20, rate=RATE))
        assert one.websocket is not None
        assert two.websocket is not None
        assert len(one.websocket.sent) == len(two.websocket.sent) == 1
        assert one.websocket.sent != two.websocket.sent
        await one.leave()
        await until(lambda: desk.ended)
        assert desk.ended == [first]
        assert desk.backend.list_sessions("r") == [second]


class TestNames:
    """A client's name is its own choice, so nothing follows from it."""

    async def test_a_second_start(self, desk: Desk) -> None:
        """A client is who it said first, and gets one session."""
        client, session = await desk.call()
        client.start("w2")
        await client.hear(samples(bytes(1920)))
        assert desk.asked == ["w1"]
        assert desk.backend.list_sessions("r") == [session]
        assert len(desk.heard) == 2

    async def test_a_name_that_is_in_use(self, desk: Desk) -> None:
        """The second client is not heard in the first one's session, and ends nothing."""
        first, _ = await desk.call()
        second = Client(desk.stream, "w1", kind="webrtc")
        desk.clients.append(second)
        await second.hear(samples(tone(300, 20)))
        await first.hear(samples(tone(500, 20)))
        assert desk.heard[-1].data == tone(500, 20)
        assert len(desk.heard) == 2
        await second.leave()
        assert desk.ended == []

    @pytest.mark.parametrize("name", [None, 7, ["w1"], "", "w" * 257])
    async def test_what_is_no_name(self, desk: Desk, name: Any) -> None:
        """No session is made for it."""
        client = Client(desk.stream, name)
        desk.clients.append(client)
        await client.hear(samples(bytes(960)))
        assert (desk.asked, desk.heard) == ([], [])

    async def test_a_telephone_too_many(self, clock: ManualClock) -> None:
        """It is sent away by us, as FastRTC does not count telephones."""
        desk = Desk(clock, concurrency_limit=1)
        await desk.call("MZ1", kind="phone")
        late = Client(desk.stream, "MZ2", kind="phone")
        desk.clients.append(late)
        await late.hear(samples(bytes(960)))
        await until(lambda: late.websocket is not None and late.websocket.closed)
        assert desk.asked == ["MZ1"]
        await desk.close()


class TestWebSocketClients:
    """They are sent to directly."""

    async def test_one_message_a_chunk(self, desk: Desk, clock: ManualClock) -> None:
        """Mu-law at the output rate; empty chunks are skipped, other rates converted."""

        async def stream() -> AsyncIterator[AudioChunk]:
            yield AudioChunk(tone(440, 200, rate=RATE), RATE)
            yield AudioChunk(b"", RATE)
            yield AudioChunk(tone(440, 20, rate=RATE), RATE)
            yield AudioChunk(b"ID3", format="mp3")

        client, session = await desk.call()
        await desk.backend.send_audio(session, stream())
        assert client.websocket is not None
        payloads = [
            base64.b64decode(each["media"]["payload"])
            for each in client.websocket.sent
            if each["event"] == "media"
        ]
        assert payloads == [pcm16_to_mulaw(tone(440, ms, rate=RATE)) for ms in (200, 20)]
        assert desk.backend.is_playing(session)
        await clock.advance(0.1)
        assert desk.backend.played_ms(session) == 100
        await clock.advance(1)
        assert not desk.backend.is_playing(session)
        assert desk.backend.played_ms(session) == 220
        await desk.backend.send_audio(session, _once(AudioChunk(tone(440, 100), 16000)))
        data = base64.b64decode(client.websocket.sent[2]["media"]["payload"])
        assert len(mulaw_to_pcm16(data)) == 100 * MS

    async def test_cancelled(self, desk: Desk, clock: ManualClock) -> None:
        """The stream is closed, FastRTC's queue emptied and the page told, once."""
        client, session = await desk.call()
        assert client.websocket is not None
        gone = asyncio.Event()
        stream = endless(gone, AudioChunk(bytes(100 * MS), RATE))
        sending = asyncio.create_task(desk.backend.send_audio(session, stream))
        socket = client.websocket
        await until(lambda: len(socket.sent) > 3)
        await clock.advance(0.25)
        assert await desk.backend.cancel_audio(session)
        await sending
        assert gone.is_set()
        assert not desk.backend.is_playing(session)
        assert desk.backend.played_ms(session) == 250
        assert client.cleared == 1
        assert client.websocket.sent[-1] == {"event": "clear"}
        assert not await desk.backend.cancel_audio(session)
        assert client.websocket.sent.count({"event": "clear"}) == 1

    async def test_text(self, desk: Desk) -> None:
        """What was said is shown."""
        client, session = await desk.call()
        await desk.backend.send_transcription(session, "Hello", "assistant")
        assert client.websocket is not None
        assert client.websocket.sent == [
            {"type": "transcription", "data": {"text": "Hello", "role": "assistant"}}
        ]

    async def test_an_idle_emit_waits(self, desk: Desk, clock: ManualClock) -> None:
        """It does not answer at once for ever, which would stop the event loop."""
        client, _ = await desk.call()
        for _ in range(100):
            await asyncio.sleep(0)
        assert client.emits == 0
        await clock.advance(21)
        await until(lambda: client.emits == 1)
        assert client.emitted == []

    async def test_the_client_goes(self, desk: Desk) -> None:
        """FastRTC only cancels ``emit``: that ends the session, told once."""
        client, session = await desk.call()
        await client.leave()
        await until(lambda: desk.ended)
        assert session.state is VoiceSessionState.ENDED
        assert desk.backend.get_session(session.id) is None
        await client.hear(samples(bytes(960)))
        assert len(desk.heard) == 1
        assert len(desk.ended) == 1
        assert desk.asked == ["w1"]

    @pytest.mark.parametrize("how", ["fails", "hangs"])
    async def test_a_failed_send_ends_the_session(
        self, clock: ManualClock, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is the other sign of a client that has gone; the log has no address."""
        desk = Desk(clock, send_timeout=0.05)
        client, session = await desk.call()
        setattr(client.websocket, how, True)
        await desk.backend.send_audio(session, bytes(100 * MS))
        assert desk.ended == [session]
        assert client.websocket is not None
        assert client.websocket.closed
        assert "203.0.113.7" not in caplog.text
        await desk.close()

    async def test_we_end_it(self, desk: Desk) -> None:
        """The socket is closed, once, and nobody told what they did."""
        client, session = await desk.call()
        await desk.backend.disconnect(session)
        assert client.websocket is not None
        assert client.websocket.closed
        for _ in range(100):
            await asyncio.sleep(0)
        # FastRTC would close the socket a second time, and fail before it has cleaned up.
        assert client.emitted == []
        assert desk.ended == []

    async def test_a_session_named_in_advance(self, clock: ManualClock) -> None:
        """Without a factory a client gets the session that names it; others are not heard."""
        desk = Desk(clock)
        backend = desk.backend
        mount_on_fakes(backend)
        stream: Any = vars(backend)["_stream"]
        session = await backend.connect("r", "ana", "voice", metadata={"websocket_id": "w7"})
        known, stranger = Client(stream, "w7"), Client(stream, "w8")
        desk.clients += [known, stranger]
        await backend.send_transcription(session, "Hello")
        assert known.websocket is not None
        assert len(known.websocket.sent) == 1
        await known.hear(samples(bytes(960)))
        await stranger.hear(samples(bytes(960)))
        assert len(desk.heard) == 1
        await desk.close()


async def _once(chunk: AudioChunk) -> AsyncIterator[AudioChunk]:
    yield chunk
