"""One client of FastRTC: what it is still to hear, and by which way it hears it."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancel_and_wait
from roomkit.voice.audio.g711 import pcm16_to_mulaw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from roomkit._clock import Clock

logger = logging.getLogger("roomkit.voice.fastrtc")

FRAME_MS = 20
"""Milliseconds of one piece of audio."""
SOCKET_FRAME_MS = 60
"""The same for a WebSocket: FastRTC pauses 20 ms after each piece, whatever its length, so that
shorter ones would come late."""
LEAD_SECONDS = 0.2
"""How far a track runs ahead of what is heard: more could not be taken back."""
TAIL_SECONDS = 0.04
"""How near the end of the sound a piece that is not full waits for the rest of it."""
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
        frame_ms: Milliseconds of one piece, a multiple of 20.
        closed: Whether the client is to be closed.
    """

    def __init__(self, rate: int, clock: Clock, max_queued_ms: int) -> None:
        self._rate = rate
        self._clock = clock
        self._unit = 2 * (rate * FRAME_MS // 1000)
        self._limit = 2 * rate * max_queued_ms // 1000
        self._queue = bytearray()
        self._wake = asyncio.Event()
        self._space = asyncio.Event()
        self._generation = 0
        self.meter = Meter(clock)
        self.frame_ms = FRAME_MS
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
        """Return the next piece when it is due; empty: closed, or nothing for a while.

        The last piece of a sound is filled up with silence to 20 ms: FastRTC hands on no less.
        """
        while not self.closed:
            early = self._early()
            if early <= 0.001:  # less is rounding, and no clock sleeps for it
                return self._take()
            if not await self._wait(early) and not self._queue:
                break
        return b""

    def _early(self) -> float:
        """Return in how many seconds the next piece is due."""
        if not self._queue:
            return IDLE_SECONDS
        full = len(self._queue) >= self._unit * (self.frame_ms // FRAME_MS)
        return self.meter.ahead - (LEAD_SECONDS if full else TAIL_SECONDS)

    def _take(self) -> bytes:
        size = self._unit * (self.frame_ms // FRAME_MS)
        pcm = bytes(self._queue[:size])
        del self._queue[:size]
        self._space.set()
        pcm += bytes(-len(pcm) % self._unit)
        self.meter.add(len(pcm) / 2 / self._rate)
        return pcm

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
        text: Sends a text over its data channel.
        clear_queue: Empties what FastRTC has queued for it.
        hang_up: Ends its connection.

    Attributes:
        id: FastRTC's name for the client; empty until it has started.
        websocket: Its socket; None for a WebRTC client.
        phone: Whether it is a telephone call, which FastRTC itself sends to.
        refused: Whether it was given no session: it is not asked for again.
        gone: Set once it has left.
        text: See above.
        clear_queue: See above.
        hang_up: See above.
    """

    def __init__(
        self,
        track: Track,
        text: Callable[[str], Awaitable[Any]],
        clear_queue: Callable[[], Any],
        hang_up: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.track = track
        self.text = text
        self.clear_queue = clear_queue
        self.hang_up = hang_up
        self.id = ""
        self.websocket: Any = None
        self.phone = False
        self.refused = False
        self.gone = asyncio.Event()

    @property
    def direct(self) -> bool:
        """Whether messages are sent to its socket."""
        return self.websocket is not None and not self.phone

    def clear(self) -> None:
        """Drop what it has not heard, here and in FastRTC."""
        self.track.cancel()
        self.clear_queue()


async def close_line(line: Any, seconds: float) -> None:
    """Close a client's socket or connection; one that fails or takes longer is gone anyway."""
    try:
        async with asyncio.timeout(seconds):
            await line.close()
    except Exception as exc:  # noqa: BLE001 - it is gone, which is what was wanted
        logger.debug("closing a client failed: %s", type(exc).__name__)


def pcm16_of(audio: Any) -> bytes:
    """Return what FastRTC hands over as 16-bit PCM.

    Args:
        audio: A numpy array: 16-bit, or floats from -1 to 1.
    """
    if audio.ndim > 1:
        audio = audio.flatten()
    if audio.dtype != "int16":
        # Beyond full scale a plain cast would turn the loudest into its opposite.
        audio = (audio.clip(-1.0, 1.0) * 32767).astype("int16")
    data: bytes = audio.astype("<i2").tobytes()
    return data


def clear_message(peer: Peer) -> dict[str, Any]:
    """Return what has a WebSocket client or a telephone drop what it has not played."""
    return {"event": "clear", **({"streamSid": peer.id} if peer.phone else {})}


def media_message(pcm: bytes) -> dict[str, Any]:
    """Return the message that carries audio to a WebSocket client."""
    payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
    return {"event": "media", "media": {"payload": payload}}


def text_message(text: str, role: str) -> dict[str, Any]:
    """Return the message that shows a client what was said."""
    return {"type": "transcription", "data": {"text": text, "role": role}}
