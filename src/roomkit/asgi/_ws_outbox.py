"""What waits to be sent to one client: bounded, in order, each frame within its time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from roomkit.asgi._ws_limits import Close, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock
    from roomkit.asgi._types import Send
    from roomkit.asgi._ws_frames import Frame
    from roomkit.asgi._ws_limits import Bounds

logger = logging.getLogger("roomkit.asgi.ws")


class Outbox:
    """The frames of one client on their way out.

    Args:
        send: The server's, for this connection.
        bounds: How much may wait, and how long one frame may take.
        clock: Whose time counts.
        broken: Called once when the client cannot be sent to any more: with a close code, or
            None when it has left.
    """

    def __init__(
        self, send: Send, bounds: Bounds, clock: Clock, broken: Callable[[Close | None], None]
    ) -> None:
        self._send = send
        self._bounds = bounds
        self._clock = clock
        self._broken = broken
        self._waiting: deque[Frame] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = False
        self.dropped = 0

    @property
    def _crowded(self) -> bool:
        """Whether so much waits that what can be spared, or can wait, is not added."""
        bounds = self._bounds
        return (
            len(self._waiting) * 2 >= bounds.queue_frames or self._bytes * 2 >= bounds.queue_bytes
        )

    def push(self, frame: Frame) -> bool:
        """Queue a frame; one too many ends the connection. False when it is over."""
        if self._over:
            return False
        bounds = self._bounds
        full = len(self._waiting) >= bounds.queue_frames or (
            self._waiting and self._bytes + frame.size > bounds.queue_bytes
        )
        if full:
            self._break(Close.TOO_SLOW)
            return False
        self._waiting.append(frame)
        self._bytes += frame.size
        if self._crowded:
            self._space.clear()
        self._idle.clear()
        self._news.set()
        return True

    def push_spare(self, frame: Frame) -> bool:
        """Queue a frame a slow client can do without; False when it was dropped."""
        if self._crowded:
            self.dropped += 1
            return False
        return self.push(frame)

    async def offer(self, frame: Frame) -> None:
        """Queue a frame once there is plenty of room."""
        await self._space.wait()
        self.push(frame)

    async def flushed(self) -> None:
        """Return once everything was sent."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send what is queued, for as long as the client takes it."""
        while True:
            self._news.clear()
            while self._waiting:
                frame = self._waiting.popleft()
                self._bytes -= frame.size
                if not self._crowded:
                    self._space.set()
                if not await self._sent(frame):
                    return
            self._idle.set()
            await self._news.wait()

    async def _sent(self, frame: Frame) -> bool:
        message = {"type": "websocket.send", "text": frame.text}
        try:
            await within(self._clock, self._bounds.send_timeout, self._send(message))
        except TimeoutError:
            self._break(Close.TOO_SLOW)
            return False
        except Exception as exc:  # noqa: BLE001 - each server has its own error for a lost client
            logger.debug("a client could not be sent to: %s", type(exc).__name__)
            self._break(None)
            return False
        return True

    def _break(self, code: Close | None) -> None:
        """Take nothing more and let go of what waits."""
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        self._bytes = 0
        self._space.set()
        self._broken(code)
