"""Audio on its way out: queued within a bound, paced by what was heard.

A playout holds the audio of one session and hands it on in pieces of 20 ms, never further ahead
of the listener than ``lead_ms``: so the played position is known, and little has to be taken
back when somebody interrupts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from roomkit._aio import cancel_and_wait
from roomkit._logging import ids
from roomkit.voice.backends._shape import close_iterator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit._clock import Clock

logger = logging.getLogger("roomkit.voice.backends")

FRAME_MS = 20
"""Milliseconds of audio in one message."""
MARK_MS = 100
"""Milliseconds of audio between two marks."""
STALL_SECONDS = 2.0
"""How much longer than its audio a mark may take before the client is taken for deaf to marks."""


class Port(Protocol):
    """Where a playout hands its audio."""

    async def play(self, pcm: bytes, mark: str | None, stale: Callable[[], bool]) -> None:
        """Send audio, then the mark, if there is one; nothing when it is ``stale`` by then."""
        ...

    async def clear(self) -> None:
        """Have the client drop what it has not played."""
        ...


class Playout:
    """What one session is still to hear.

    Args:
        port: Where it goes.
        rate: Hertz of the PCM.
        clock: Measures how long a client takes to answer a mark.
        lead_ms: How far the audio may run ahead of what was heard.
        max_queued_ms: How much may wait here; ``put`` waits when there is more.
        session_id: Whose, for the log.

    Attributes:
        generation: Counts the cancellations: audio of an older one is not taken any more.
    """

    def __init__(
        self,
        port: Port,
        *,
        rate: int,
        clock: Clock,
        lead_ms: int,
        max_queued_ms: int,
        session_id: str,
    ) -> None:
        self._port = port
        self._clock = clock
        self._session_id = session_id
        self._per_ms = rate * 2 / 1000
        self._frame = rate * FRAME_MS // 1000 * 2
        self._lead = self._size(lead_ms)
        self._limit = self._size(max_queued_ms)
        self._queue = bytearray()
        self._marks: deque[tuple[str, int]] = deque()
        self._number = 0
        self._sent = self._played = self._marked = 0
        self._ended = True
        self._closed = False
        self._told = False
        self._wake = asyncio.Event()
        self._space = asyncio.Event()
        self._turn = asyncio.Lock()
        self.generation = 0

    def _size(self, milliseconds: int) -> int:
        return int(milliseconds * self._per_ms)

    @property
    def playing(self) -> bool:
        """Whether there is anything that was not heard yet."""
        return bool(self._queue) or self._played < self._sent

    @property
    def played_ms(self) -> int:
        """How much of the present or last playback was heard, in milliseconds."""
        return int(self._played / self._per_ms)

    @property
    def queued_ms(self) -> int:
        """How much waits here, in milliseconds."""
        return int(len(self._queue) / self._per_ms)

    async def say(self, pieces: AsyncIterator[bytes]) -> None:
        """Queue a whole stream behind what is queued; returns when all of it is.

        Two streams never mix. It returns early, and takes no more of its stream, when playback
        is cancelled or the session ends meanwhile.
        """
        generation = self.generation
        async with self._turn:
            if not self.playing:
                # Here and not at the first piece: who asks meanwhile must not hear of the last
                # playback.
                self._sent = self._played = self._marked = 0
            try:
                async for piece in pieces:
                    if not await self._put(piece, generation):
                        return
            finally:
                await close_iterator(pieces)
                self._ended = True
                self._wake.set()

    async def _put(self, pcm: bytes, generation: int) -> bool:
        while len(self._queue) >= self._limit and self._valid(generation):
            self._space.clear()
            await self._space.wait()
        if not self._valid(generation):
            return False
        self._ended = False
        self._queue += pcm
        self._wake.set()
        return True

    def _valid(self, generation: int) -> bool:
        return generation == self.generation and not self._closed

    def heard(self, mark: str) -> None:
        """Note that a mark came back: everything before it was heard. Unknown ones are fine."""
        if not any(name == mark for name, _ in self._marks):
            return
        while self._marks:
            name, self._played = self._marks.popleft()
            if name == mark:
                break
        self._wake.set()

    async def cancel(self) -> bool:
        """Drop what was not heard, here and at the client; whether there was anything.

        Raises:
            ConnectionLost: The client could not be told; here it is dropped all the same.
        """
        if not self.drop():
            return False
        await self._port.clear()
        return True

    def drop(self) -> bool:
        """Drop what was not heard, here only; whether there was anything."""
        was_playing = self.playing
        self.generation += 1
        self._queue.clear()
        self._marks.clear()
        self._sent = self._marked = self._played
        self._wake.set()
        self._space.set()
        return was_playing

    def close(self) -> None:
        """Drop everything and take nothing more; ``run`` returns."""
        self._closed = True
        self.drop()

    async def run(self) -> None:
        """Hand the audio on until the playout is closed.

        Raises:
            ConnectionLost: There is nobody to hand it to.
        """
        while not self._closed:
            self._wake.clear()
            size = self._next_size()
            if size:
                await self._hand_on(size)
            elif not self._wake.is_set():
                await self._rest()

    def _next_size(self) -> int:
        """Return how many bytes may go out now."""
        if self._sent - self._played >= self._lead:
            return 0
        if len(self._queue) >= self._frame:
            return self._frame
        # Less than a frame goes out only when nothing will come to fill it.
        return len(self._queue) if self._ended else 0

    async def _hand_on(self, size: int) -> None:
        generation = self.generation
        pcm = bytes(self._queue[:size])
        del self._queue[:size]
        self._sent += size
        self._space.set()
        mark = None
        if not self._queue or self._sent - self._marked >= self._size(MARK_MS):
            self._number += 1
            mark = f"{self.generation}.{self._number}"
            self._marked = self._sent
            # Before it is sent: the answer may be there before the send returns.
            self._marks.append((mark, self._sent))
        await self._port.play(pcm, mark, lambda: generation != self.generation)

    async def _rest(self) -> None:
        """Wait for audio, or for a mark to come back."""
        if not self._marks:
            await self._wake.wait()
            return
        ahead = (self._sent - self._played) / self._per_ms / 1000
        waits = {
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(self._clock.sleep(ahead + STALL_SECONDS)),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(waits)
        if not self._wake.is_set():
            self._assume_heard()

    def _assume_heard(self) -> None:
        """Go on without the marks of a client that does not send them back."""
        if not self._told:
            self._told = True
            logger.warning(
                "the client does not answer marks: the played position is an estimate",
                extra=ids(session_id=self._session_id),
            )
        self._marks.clear()
        self._played = self._sent
