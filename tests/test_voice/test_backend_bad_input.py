"""What nobody should send to a backend: nonsense from clients, odd audio from our side."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.backends.twilio import TwilioMediaStream
from roomkit.voice.backends.websocket import WebSocketVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import Client, anybody, client_of, endless, line_to, until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from roomkit.voice.audio_frame import AudioFrame

pytestmark = pytest.mark.timeout(30)

KINDS = ["websocket", "mulaw", "twilio"]
SEED = 20261122


class Call:
    """A call, and what both ends got.

    Attributes:
        rate: Hertz, both ways.
    """

    def __init__(
        self, kind: str, backend: WebSocketVoiceBackend, client: Client, heard: list[AudioFrame]
    ) -> None:
        self.kind = kind
        self.rate = 16000 if kind == "websocket" else 8000
        self.backend = backend
        self.client = client
        self.heard = heard

    @property
    def session(self) -> VoiceSession:
        """Its session."""
        return self.backend.list_sessions("r")[0]

    async def speak(self, pcm: bytes) -> None:
        """Send a client's audio."""
        sound = pcm if self.kind == "websocket" else pcm16_to_mulaw(pcm)
        if self.kind == "twilio":
            payload = base64.b64encode(sound).decode()
            media = {"track": "inbound", "payload": payload}
            await self.client.send(json.dumps({"event": "media", "media": media}))
        else:
            await self.client.send(sound)

    def pcm(self) -> bytes:
        """Return the audio the client got."""
        if self.kind == "twilio":
            sounds = [
                base64.b64decode(each["media"]["payload"])
                for each in self.client.said
                if each["event"] == "media"
            ]
        else:
            sounds = self.client.audio
        whole = b"".join(sounds)
        return whole if self.kind == "websocket" else mulaw_to_pcm16(whole)

    async def played(self, audio: bytes | AsyncIterator[AudioChunk]) -> bytes:
        """Send audio; return what the client had got when all of it was heard."""
        await self.backend.send_audio(self.session, audio)
        await until(lambda: not self.backend.is_playing(self.session))
        return self.pcm()

    def malformed(self) -> int:
        """Return how many messages could not be used."""
        stats = self.backend.stats(self.session)
        assert stats is not None
        return stats.malformed

    def lasting(self, ms: float, spare: float = 4) -> Callable[[bytes], bool]:
        """Return what tells whether audio has about such a length."""
        size = 2 * self.rate / 1000
        return lambda pcm: (ms - spare) * size <= len(pcm) <= (ms + spare) * size

    async def alive(self) -> None:
        """Check that the call goes on: the client is heard, and hears."""
        before = len(self.heard)
        await self.speak(tone(440, 20, rate=self.rate))
        await until(lambda: len(self.heard) > before)
        assert self.session.state is VoiceSessionState.ACTIVE
        assert await self.played(tone(440, 20, rate=self.rate))


@asynccontextmanager
async def called(kind: str, **options: Any) -> AsyncIterator[Call]:
    """Make a call."""
    backend: WebSocketVoiceBackend = WebSocketVoiceBackend(authenticate=anybody, **options)
    if kind == "twilio":
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody, **options)
    heard: list[AudioFrame] = []
    backend.on_audio_received(lambda _, frame: heard.append(frame))
    async with line_to(backend) as url, client_of(url) as client:
        if kind == "twilio":
            start = {"streamSid": "MZ1", "callSid": "CA1", "customParameters": {"room": "r"}}
            await client.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
        else:
            codec = "mulaw" if kind == "mulaw" else "pcm_s16le"
            await client.start(codec=codec, room="r")
        await until(lambda: backend.list_sessions("r"))
        yield Call(kind, backend, client, heard)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., AbstractAsyncContextManager[Call]]:
    """Makes calls of one kind."""
    return lambda **options: called(request.param, **options)


async def chunks(*parts: AudioChunk) -> AsyncIterator[AudioChunk]:
    """Yield chunks."""
    for part in parts:
        yield part


class TestClients:
    """What clients send."""

    @pytest.mark.parametrize(
        "nonsense",
        [
            "",
            "\0",
            "null",
            "[" * 5000,
            '{"a":' * 3000 + "1" + "}" * 3000,
            "9" * 6000,
            '{"type": NaN, "event": Infinity}',
            '{"type": {"start": 1}, "event": ["media"]}',
            '{"type": "mark", "name": 7, "event": "mark", "mark": "x"}',
            '{"type": "mark", "name": "' + "n" * 5000 + '"}',
            '{"type": "start", "codec": "opus", "event": "media", "media": []}',
            '{"type": "\\ud800", "event": "\\ud800"}',
        ],
    )
    async def test_nonsense(self, make: Any, nonsense: str) -> None:
        """The call goes on."""
        async with make() as call:
            await call.client.send(nonsense)
            await call.alive()

    async def test_a_flood_of_nonsense(self, make: Any, caplog: pytest.LogCaptureFixture) -> None:
        """Counted, logged once without its text; then the call goes on."""
        dice = random.Random(SEED)
        words = ['{"', "event", '":', '"media"', "type", "start", "}", "[", "s3cret", "\\u0000"]
        async with make() as call:
            for _ in range(500):
                await call.client.send("".join(dice.choices(words, k=dice.randrange(1, 12))))
            await until(lambda: call.malformed() > 400)
            await call.alive()
        assert caplog.text.count("cannot be used") == 1
        assert "s3cret" not in caplog.text

    async def test_random_bytes(self, make: Any) -> None:
        """Any bytes are sound, or are counted; none ends the call."""
        dice = random.Random(SEED)
        async with make() as call:
            for _ in range(100):
                await call.client.send(dice.randbytes(dice.randrange(0, 700)))
            await call.alive()

    async def test_another_start_changes_no_rate(self, make: Any) -> None:
        """What was agreed holds to the end of the call."""
        async with make() as call:
            again = {"type": "start", "codec": "pcm_s16le", "sample_rate": 48000}
            start = {"streamSid": "MZ2", "mediaFormat": {"encoding": "audio/x-mulaw"}}
            await call.client.send(json.dumps({**again, "event": "start", "start": start}))
            await call.alive()
            assert call.malformed() == 1
            assert {frame.sample_rate for frame in call.heard} == {call.rate}
            assert len(call.backend.list_sessions("r")) == 1

    async def test_empty_audio(self, make: Any) -> None:
        """Is no frame."""
        async with make() as call:
            for _ in range(10):
                await call.speak(b"")
            await call.alive()
            assert len(call.heard) == 1

    async def test_endless_audio(self, make: Any) -> None:
        """Faster than anybody listens: the newest is kept, and no more than the bound."""
        gate = asyncio.Event()
        async with make(queue_frames=5) as call:
            late: list[AudioFrame] = []

            async def listen(_: VoiceSession, frame: AudioFrame) -> None:
                await gate.wait()
                late.append(frame)

            call.backend.on_audio_received(listen)

            def dropped() -> int:
                stats = call.backend.stats(call.session)
                assert stats is not None
                return stats.dropped_frames

            for _ in range(300):
                await call.speak(bytes(640))
            await until(lambda: dropped() == 294)
            gate.set()
            await until(lambda: len(late) == 6)


class TestAudio:
    """What our side sends."""

    async def test_nothing(self, make: Any) -> None:
        """No bytes, no chunks and empty chunks make no sound, and end at once."""
        async with make() as call:
            for nothing in (
                b"",
                chunks(),
                chunks(AudioChunk(b""), AudioChunk(b"", is_final=True)),
            ):
                assert await call.played(nothing) == b""

    async def test_half_a_sample(self, make: Any) -> None:
        """Alone it is no sound."""
        async with make() as call:
            assert await call.played(b"\1") == b""
            assert await call.played(chunks(AudioChunk(b"\1", call.rate))) == b""

    async def test_odd_byte_counts(self, make: Any) -> None:
        """Chunks cut anywhere join without a seam; the next stream begins anew."""
        async with make() as call:
            sound = tone(440, 100, rate=call.rate)
            parts = [AudioChunk(sound[at : at + 33], call.rate) for at in range(0, len(sound), 33)]
            whole = sound if call.kind == "websocket" else mulaw_to_pcm16(pcm16_to_mulaw(sound))
            assert await call.played(chunks(*parts, AudioChunk(b"\1", call.rate))) == whole
            assert await call.played(sound) == whole * 2

    async def test_a_rate_that_changes(self, make: Any) -> None:
        """Within one stream: each part is as long as it should be, no part is another's rate."""
        async with make() as call:
            parts = [
                AudioChunk(tone(440, 100, rate=rate), rate)
                for rate in (16000, 24000, 8000, 48000, 22050, 16000)
            ]
            assert call.lasting(600, spare=15)(await call.played(chunks(*parts)))

    async def test_channels_that_change(self, make: Any) -> None:
        """Stereo within a mono stream, half a sample between them."""
        async with make() as call:
            mono = tone(440, 100, rate=call.rate)
            pairs = [mono[at : at + 2] * 2 for at in range(0, len(mono), 2)]
            parts = [
                AudioChunk(mono + b"\1", call.rate),
                AudioChunk(b"".join(pairs) + b"\1\2\3", call.rate, channels=2),
                AudioChunk(mono, call.rate),
            ]
            assert call.lasting(300, spare=5)(await call.played(chunks(*parts)))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"sample_rate": 0},
            {"sample_rate": -16000},
            {"sample_rate": 10**9},
            {"channels": 0},
            {"channels": -1},
            {"channels": 1000},
            {"format": "mp3"},
            {"sample_rate": 16000.0},
            {"sample_rate": None},
            {"format": "opus"},
            {"format": ""},
        ],
    )
    async def test_what_cannot_be_played(
        self, make: Any, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is dropped with one error for the stream; what can be played is."""
        async with make() as call:
            good = AudioChunk(tone(440, 40, rate=call.rate), call.rate)
            bad = AudioChunk(**{"data": b"ID3s3cret", "sample_rate": call.rate, **wrong})
            assert call.lasting(40, spare=0.5)(await call.played(chunks(bad, good, bad)))
        assert caplog.text.count("cannot be played") == 1
        assert "s3cret" not in caplog.text

    async def test_endless_audio(self, make: Any) -> None:
        """It waits at the bound, and is closed when the client leaves."""
        gone = asyncio.Event()
        async with make(max_queued_ms=400) as call:
            session = call.session
            call.client.answers = False
            chunk = AudioChunk(bytes(2 * call.rate // 10), call.rate)
            sending = asyncio.create_task(call.backend.send_audio(session, endless(gone, chunk)))

            def queued() -> int:
                stats = call.backend.stats(session)
                return 0 if stats is None else stats.queued_ms

            await until(lambda: queued() >= 400)
            assert queued() <= 500
            assert not gone.is_set()
            await call.client.leave()
            async with asyncio.timeout(10):
                await sending
            assert gone.is_set()
            await until(lambda: session.state is VoiceSessionState.ENDED)

    async def test_one_huge_chunk(self, make: Any) -> None:
        """Ten minutes at once leave others their turn, and can be cancelled."""
        async with make() as call:
            huge = AudioChunk(bytes(2 * 24000 * 600), 24000)
            sending = asyncio.create_task(call.backend.send_audio(call.session, chunks(huge)))
            await until(call.pcm)
            await call.speak(bytes(640))
            await until(lambda: call.heard)
            assert await call.backend.cancel_audio(call.session)
            async with asyncio.timeout(10):
                await sending
            await call.alive()
