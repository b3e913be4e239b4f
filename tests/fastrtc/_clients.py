"""Clients of the real FastRTC: a page, a telephone, a browser."""

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

from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NEEDS_FASTRTC = [
    pytest.mark.skipif(
        importlib.util.find_spec("fastrtc") is None,
        reason="FastRTC has an environment of its own: make test-fastrtc",
    ),
    pytest.mark.filterwarnings("ignore"),
]


def make_app() -> Any:
    """Return an app FastRTC can be mounted on; importing FastRTC warns of things not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fastrtc  # noqa: F401
        from fastapi import FastAPI

        return FastAPI()


def media(pcm: bytes) -> dict[str, Any]:
    """Return the message that carries a client's audio."""
    payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
    return {"event": "media", "media": {"payload": payload}}


def spoken(messages: list[dict[str, Any]]) -> bytes:
    """Return the audio of the messages a client got, decoded."""
    payloads = [each["media"]["payload"] for each in messages if "media" in each]
    return b"".join(mulaw_to_pcm16(base64.b64decode(each)) for each in payloads)


def exact(pcm: bytes) -> bytes:
    """Return the nearest audio that mu-law carries as it is."""
    return mulaw_to_pcm16(pcm16_to_mulaw(pcm))


def close_to(ours: bytes, theirs: bytes) -> bool:
    """Whether audio is the same but for a step of mu-law.

    FastRTC goes by way of floats, and by CPython's tables, whose negative codes are a step off.
    """
    if len(ours) != len(theirs):
        return False
    pairs = zip(memoryview(ours).cast("h"), memoryview(theirs).cast("h"), strict=True)
    return max(abs(a - b) for a, b in pairs) <= 1024


class Page:
    """A page that speaks FastRTC's WebSocket protocol.

    Attributes:
        said: What it was sent.
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
        await self.tell({"event": event, **fields})

    async def tell(self, message: Any) -> None:
        """Send anything JSON can carry."""
        await self._socket.send(json.dumps(message))

    async def speak(self, pcm: bytes) -> None:
        """Send audio."""
        await self.tell(media(pcm))

    def heard(self) -> bytes:
        """Return the audio it was sent, decoded."""
        return spoken(self.said)

    def drop(self) -> None:
        """Break the connection."""
        self._socket.transport.abort()

    async def leave(self) -> None:
        """Close it."""
        await self._socket.close()


@asynccontextmanager
async def page_at(
    url: str, name: Any, route: str = "websocket/offer", *, start: bool = True
) -> AsyncIterator[Page]:
    """Connect a page, or a telephone by ``telephone/handler``."""
    async with connect(f"ws{url[4:]}/{route}", max_size=None) as socket:
        page = Page(socket)
        if start:
            await page.send("start", websocket_id=name, streamSid=name)
        yield page
    await page.reader


class Browser:
    """A WebRTC client: it sends silence and counts the loud samples it hears.

    Attributes:
        loud: Samples that are no silence.
        texts: What came over the data channel, FastRTC's own messages too.
    """

    def __init__(self) -> None:
        from aiortc import RTCPeerConnection
        from aiortc.mediastreams import AudioStreamTrack

        self.loud = 0
        self.texts: list[dict[str, Any]] = []
        self._connection = RTCPeerConnection()
        self._connection.addTrack(AudioStreamTrack())
        channel = self._connection.createDataChannel("text")
        channel.on("message", lambda text: self.texts.append(json.loads(text)))
        self._connection.on("track", self._on_track)
        self._reader: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """How the connection is."""
        return str(self._connection.connectionState)

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
            answer = (await http.post(f"{url}/webrtc/offer", json=body)).json()
        await self._connection.setRemoteDescription(
            RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
        )

    def vanish(self) -> None:
        """Lose the network: nothing is sent any more, and nothing arrives."""
        for protocol in _protocols_of(self._connection):
            protocol.transport.sendto = lambda *_: None
            protocol.datagram_received = lambda *_: None

    async def close(self) -> None:
        """Hang up."""
        await self._connection.close()
        if self._reader is not None:
            await self._reader


def _protocols_of(connection: Any) -> list[Any]:
    """Return what holds the UDP sockets of a connection, which aiortc keeps to itself."""
    ice = connection.sctp.transport.transport
    agent = next(each for name, each in vars(ice).items() if name.endswith("connection"))
    return list(vars(agent)["_protocols"])
