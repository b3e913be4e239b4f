"""One client of FastRTC: what it is still to hear, and by which way it hears it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancel_and_wait
from roomkit.voice.audio.g711 import pcm16_to_mulaw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._clock import Clock

FRAME_MS = 20
LEAD_SECONDS = 0.2
"""How far a track runs ahead of what is heard: more could not be taken back."""
IDLE_SECONDS = 20.0
"""FastRTC gives up an ``emit`` that takes a minute; an idle one returns before."""


class Meter:
    """Estimates by the clock what was heard of what was sent to a client without marks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin = self._end = clock.monotonic()

    @property
    def ahead(self) -> float:
        """Seconds that were sent and not heard yet."""
        return max(0.0, self._end - self._clock.monotonic())

    @property
    def played_ms(self) -> int:
        """How much of the present or last playback was heard."""
        return round((min(self._clock.monotonic(), self._end) - self._begin) * 1000)

    def add(self, seconds: float) -> None:
        """Note that so much more was sent."""
        now = self._clock.monotonic()
        if now >= self._end:
            self._begin = self._end = now
        self._end += seconds

    def cancel(self) -> None:
        """Note that what was not heard was dropped."""
        self._end = min(self._end, self._clock.monotonic())


class Track:
    """Audio that FastRTC fetches with ``emit``: bounded, paced, never busy.

    Args:
        rate: Hertz.
        clock: What it is paced by.
        max_queued_ms: How much may wait; then ``put`` waits.

    Attributes:
        closed: Whether the client is to be closed.
    """

    def __init__(self, rate: int, clock: Clock, max_queued_ms: int) -> None:
        self._rate = rate
        self._clock = clock
        self._frame = 2 * (rate * FRAME_MS // 1000)
        self._limit = 2 * rate * max_queued_ms // 1000
        self._queue = bytearray()
        self._wake = asyncio.Event()
        self._space = asyncio.Event()
        self._generation = 0
        self.meter = Meter(clock)
        self.closed = False

    @property
    def playing(self) -> bool:
        """Whether there is anything not heard yet."""
        return bool(self._queue) or self.meter.ahead > 0

    async def put(self, pcm: bytes) -> None:
        """Queue audio; waits while more than the bound is queued, unless it is cancelled."""
        generation = self._generation
        while len(self._queue) >= self._limit and generation == self._generation:
            self._space.clear()
            await self._space.wait()
        if generation == self._generation and not self.closed:
            self._queue += pcm
            self._wake.set()

    def cancel(self) -> None:
        """Drop what was not heard."""
        self._generation += 1
        self._queue.clear()
        self.meter.cancel()
        self._wake.set()
        self._space.set()

    def close(self) -> None:
        """Drop everything and have ``next`` return at once."""
        self.closed = True
        self.cancel()

    async def next(self) -> bytes:
        """Return the next 20 ms when they are due; empty: closed, or nothing for a while."""
        while not self.closed:
            early = self.meter.ahead - LEAD_SECONDS
            if early > 0.001:  # less is rounding, and no clock sleeps for it
                await self._wait(early)
            elif self._queue:
                pcm = bytes(self._queue[: self._frame])
                del self._queue[: self._frame]
                self._space.set()
                self.meter.add(len(pcm) / 2 / self._rate)
                return pcm
            elif not await self._wait(IDLE_SECONDS):
                break
        return b""

    async def _wait(self, seconds: float) -> bool:
        """Wait for news or so long; whether there was news."""
        self._wake.clear()
        waits = {
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(waits)
        return self._wake.is_set()


class Peer:
    """One client, from its first word to its last.

    Args:
        track: Its audio, for clients FastRTC itself sends to.

    Attributes:
        id: FastRTC's name for the client; empty until it has started.
        websocket: Its socket; None for a WebRTC client.
        phone: Whether it is a telephone call, which FastRTC itself sends to.
        refused: Whether it was given no session: it is not asked for again.
        text: Sends a text over its data channel.
        clear_queue: Empties what FastRTC has queued for it.
    """

    def __init__(
        self,
        track: Track,
        text: Callable[[str], Awaitable[Any]],
        clear_queue: Callable[[], Any],
    ) -> None:
        self.track = track
        self.text = text
        self.clear_queue = clear_queue
        self.id = ""
        self.websocket: Any = None
        self.phone = False
        self.refused = False

    @property
    def direct(self) -> bool:
        """Whether we send to its socket ourselves."""
        return self.websocket is not None and not self.phone


def media_message(pcm: bytes) -> dict[str, Any]:
    """Return the message that carries audio to a WebSocket client."""
    payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
    return {"event": "media", "media": {"payload": payload}}


def text_message(text: str, role: str) -> dict[str, Any]:
    """Return the message that shows a client what was said."""
    return {"type": "transcription", "data": {"text": text, "role": role}}
