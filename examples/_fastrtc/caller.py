"""Somebody who calls over FastRTC's WebSocket: mu-law in JSON, both ways."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect

from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw, write_samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 20.0
"""Seconds a caller waits for anything."""


def hum(seconds: float, rate: int, hertz: float = 440) -> bytes:
    """Return somebody humming."""
    count = round(rate * seconds)
    return write_samples(
        [round(9000 * math.sin(math.tau * hertz * n / rate)) for n in range(count)]
    )


class Caller:
    """Hums instead of speaking, counts what is heard, and keeps what is told in writing.

    Attributes:
        heard: The PCM that came.
        told: The other messages.
    """

    def __init__(self, socket: Any, rate: int) -> None:
        self._socket = socket
        self._rate = rate
        self._news = asyncio.Condition()
        self.heard = bytearray()
        self.told: list[dict[str, Any]] = []

    async def listen(self) -> None:
        """Take what comes until the call ends."""
        async for frame in self._socket:
            message = json.loads(frame)
            if message.get("event") == "media":
                self.heard += mulaw_to_pcm16(base64.b64decode(message["media"]["payload"]))
            else:
                self.told.append(message)
            async with self._news:
                self._news.notify_all()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until what came says something."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: bool(holds()))

    def texts(self, role: str) -> list[str]:
        """Return what one side has said, in writing."""
        found = [
            each.get("data", each) for each in self.told if each.get("type") == "transcription"
        ]
        return [each["text"] for each in found if each["role"] == role]

    async def speak(self, seconds: float = 0.6) -> None:
        """Say something, then be quiet for a second: frames of 20 ms, as they come live."""
        sound = hum(seconds, self._rate) + bytes(2 * self._rate)
        step = self._rate // 50 * 2
        for start in range(0, len(sound), step):
            payload = base64.b64encode(pcm16_to_mulaw(sound[start : start + step])).decode()
            media = {"event": "media", "media": {"payload": payload}}
            await self._socket.send(json.dumps(media))
            await asyncio.sleep(0.01)


@asynccontextmanager
async def calling(url: str, name: str, rate: int) -> AsyncIterator[Caller]:
    """Call, and hang up at the end.

    Args:
        url: Of FastRTC's routes, beginning with ``http``.
        name: Who calls, as FastRTC will name it.
        rate: Hertz at which the server takes sound.
    """
    async with connect(f"ws{url[4:]}/websocket/offer", max_size=None) as socket:
        await socket.send(json.dumps({"event": "start", "websocket_id": name}))
        caller = Caller(socket, rate)
        listening = asyncio.create_task(caller.listen())
        try:
            yield caller
        finally:
            await socket.close()
            await listening
