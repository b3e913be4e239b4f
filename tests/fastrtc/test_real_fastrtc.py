"""The FastRTC backend against the real FastRTC, over real sockets.

``scripts/fastrtc.sh`` (``make test-fastrtc``) runs this in an environment of its own, since
FastRTC holds back packages that the other tests want new; elsewhere it is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from roomkit.simulators import served
from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from roomkit.voice.base import VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.audio_frame import AudioFrame

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("fastrtc") is None,
        reason="FastRTC has an environment of its own: make test-fastrtc",
    ),
    pytest.mark.filterwarnings("ignore"),
]


class Page:
    """A page that speaks FastRTC's WebSocket protocol.

    Attributes:
        said: What it was sent, but for the pings.
        closed: Whether the server has closed it.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.said: list[dict[str, Any]] = []
        self.closed = False
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                self.said.append(json.loads(await self._socket.recv()))
        except ConnectionClosed:
            self.closed = True

    async def send(self, event: str, **fields: Any) -> None:
        """Send an event."""
        await self._socket.send(json.dumps({"event": event, **fields}))

    async def speak(self, pcm: bytes) -> None:
        """Send audio."""
        payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
        await self.send("media", media={"payload": payload})

    def heard(self) -> bytes:
        """Return the audio it was sent, decoded."""
        payloads = [each["media"]["payload"] for each in self.said if "media" in each]
        return b"".join(mulaw_to_pcm16(base64.b64decode(each)) for each in payloads)

    def drop(self) -> None:
        """Break the connection."""
        self._socket.transport.abort()


class Desk:
    """A served backend."""

    def __init__(self, url: str, backend: FastRTCVoiceBackend) -> None:
        self.url = f"ws{url[4:]}/fastrtc"
        self.backend = backend
        self.heard: list[AudioFrame] = []
        self.ended: list[VoiceSession] = []
        backend.on_audio_received(lambda _, frame: self.heard.append(frame))
        backend.on_session_ended(self.ended.append)

    @asynccontextmanager
    async def page(self, name: str, route: str = "websocket/offer") -> AsyncIterator[Page]:
        """Connect a page, or a telephone by ``telephone/handler``."""
        async with connect(f"{self.url}/{route}") as socket:
            page = Page(socket)
            await page.send("start", websocket_id=name, streamSid=name)
            yield page
        await page.reader


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A backend mounted on a FastAPI app, served by uvicorn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi import FastAPI

        backend = FastRTCVoiceBackend(input_sample_rate=16000, output_sample_rate=16000)
        app = FastAPI()

        async def session(websocket_id: str) -> VoiceSession:
            return await backend.connect(websocket_id, "ana", "voice")

        mount_fastrtc_voice(app, backend, session_factory=session)
    async with served(app) as url:
        yield Desk(url, backend)
        await backend.close()


async def session_of(desk: Desk, page: Page, name: str) -> VoiceSession:
    """Let a page speak until it has a session."""
    await page.speak(bytes(640))
    await until(lambda: desk.backend.list_sessions(name))
    return desk.backend.list_sessions(name)[0]


class TestPages:
    """WebSocket clients."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """At the backend's rates, as G.711; text beside it; the loop goes on meanwhile."""
        async with desk.page("w1") as page:
            session = await session_of(desk, page, "w1")
            sound = tone(440, 20)
            await page.speak(sound)
            await until(lambda: len(desk.heard) == 2)
            frame = desk.heard[1]
            assert (frame.sample_rate, len(frame.data)) == (16000, len(sound))
            # FastRTC decodes with CPython's tables, whose negative codes are a step off ours.
            ours = memoryview(mulaw_to_pcm16(pcm16_to_mulaw(sound))).cast("h")
            theirs = memoryview(frame.data).cast("h")
            assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 512
            await desk.backend.send_audio(session, sound)
            await desk.backend.send_transcription(session, "Hello")
            await until(lambda: len(page.said) == 2)
            assert page.heard() == mulaw_to_pcm16(pcm16_to_mulaw(sound))
            assert page.said[1]["data"] == {"text": "Hello", "role": "user"}
            await desk.backend.send_audio(session, tone(440, 30_000))
            assert await desk.backend.cancel_audio(session)
            await until(lambda: page.said[-1] == {"event": "clear"})

    @pytest.mark.parametrize("how", ["stop", "drop"])
    async def test_who_leaves_is_noticed(self, desk: Desk, how: str) -> None:
        """Although FastRTC does not say so; the other page stays."""
        async with desk.page("w1") as one, desk.page("w2") as two:
            first = await session_of(desk, one, "w1")
            second = await session_of(desk, two, "w2")
            if how == "stop":
                await one.send("stop")
            else:
                one.drop()
            await until(lambda: desk.ended)
            assert desk.ended == [first]
            assert second.state is VoiceSessionState.ACTIVE
            await desk.backend.send_audio(second, tone(440, 20))
            await until(two.heard)

    async def test_we_end_it(self, desk: Desk) -> None:
        """The page is closed, the server goes on."""
        async with desk.page("w1") as page:
            session = await session_of(desk, page, "w1")
            await desk.backend.disconnect(session)
            await until(lambda: page.closed)
        assert desk.ended == []
        async with desk.page("w2") as page:
            await session_of(desk, page, "w2")


class TestTelephones:
    """Calls by ``telephone/handler``, which FastRTC itself sends to from ``emit``."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """At 8 kHz, whatever the backend's rates, with the name of the stream."""
        async with desk.page("MZ1", "telephone/handler") as page:
            session = await session_of(desk, page, "MZ1")
            assert desk.heard[0].sample_rate == 16000
            await desk.backend.send_audio(session, tone(440, 200))
            await until(lambda: len(page.heard()) >= 3200)
            assert page.said[0]["streamSid"] == "MZ1"
            assert len(page.heard()) == 3200
            await page.send("stop")
            await until(lambda: desk.ended == [session])


class Browser:
    """A WebRTC client: it sends silence and counts the loud samples it hears.

    Attributes:
        loud: Samples that are no silence.
    """

    def __init__(self) -> None:
        from aiortc import RTCPeerConnection
        from aiortc.mediastreams import AudioStreamTrack

        self.loud = 0
        self._connection = RTCPeerConnection()
        self._connection.addTrack(AudioStreamTrack())
        self._connection.createDataChannel("text")
        self._connection.on("track", self._on_track)
        self._reader: asyncio.Task[None] | None = None

    def _on_track(self, track: Any) -> None:
        self._reader = asyncio.create_task(self._read(track))

    async def _read(self, track: Any) -> None:
        from aiortc.mediastreams import MediaStreamError

        try:
            while True:
                frame = await track.recv()
                self.loud += int((abs(frame.to_ndarray().astype("int32")) > 1000).sum())
        except MediaStreamError:
            return

    async def connect(self, url: str, name: str) -> None:
        """Offer a connection and take the answer."""
        import httpx
        from aiortc import RTCSessionDescription

        await self._connection.setLocalDescription(await self._connection.createOffer())
        offer = self._connection.localDescription
        body = {"sdp": offer.sdp, "type": offer.type, "webrtc_id": name}
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = (await http.post(f"http{url[2:]}/webrtc/offer", json=body)).json()
        await self._connection.setRemoteDescription(
            RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
        )

    async def close(self) -> None:
        """Hang up."""
        await self._connection.close()
        if self._reader is not None:
            await self._reader


class TestBrowsers:
    """WebRTC clients, which the reference could never answer."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """It is heard, hears the answer, and its leaving is noticed."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        await until(lambda: desk.heard)
        session = desk.backend.list_sessions("b1")[0]
        assert desk.heard[0].channels == 1
        await desk.backend.send_audio(session, tone(440, 1000))
        await until(lambda: browser.loud > 1000)
        assert desk.backend.is_playing(session)
        assert await desk.backend.cancel_audio(session)
        await browser.close()
        await until(lambda: desk.ended == [session])
