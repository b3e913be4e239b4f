"""The life of an app: started, asked to leave, drained, closed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet, close_all
from roomkit._logging import brief, log_failure
from roomkit.exceptions import ConfigurationError, RoomKitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from roomkit.asgi._types import Receive, Send
    from roomkit.core.framework import RoomKit

logger = logging.getLogger("roomkit.asgi")


class Phase(IntEnum):
    """Where in its life an app is; it only ever moves on."""

    NEW = 0
    SERVING = 1
    LEAVING = 2
    """Not ready for load balancers any more, yet everything is still served."""
    DRAINING = 3
    """Nothing new is taken; what is in hand ends."""
    CLOSED = 4


class Life:
    """Moves an app through its phases.

    Args:
        kit: Started and, in the end, drained.
        drain_timeout: Seconds the work in hand may take, and then again the kit's deliveries.
        close_kit: Whether the kit is closed too.

    Attributes:
        tasks: What goes on after answers.
        phase: Where it is.
    """

    def __init__(self, kit: RoomKit, *, drain_timeout: float, close_kit: bool) -> None:
        self._kit = kit
        self.tasks: TaskSet = TaskSet("roomkit-asgi")
        self._drain_timeout = drain_timeout
        self._close_kit = close_kit
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lock = asyncio.Lock()
        self.phase: Phase = Phase.NEW

    @contextmanager
    def hand(self) -> Iterator[None]:
        """Count a request until it has been answered."""
        self._in_hand += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()

    def move_to(self, phase: Phase) -> None:
        """Move on; an earlier phase does not come back."""
        self.phase = max(self.phase, phase)

    async def start(self) -> None:
        """Start the kit, once.

        Raises:
            ConfigurationError: The app was shut down before.
            StoreError: The store cannot be opened.
        """
        async with self._lock:
            if self.phase > Phase.SERVING:
                raise ConfigurationError("this app was shut down; make a new one")
            if self.phase is Phase.NEW:
                await self._kit.start()
                self.move_to(Phase.SERVING)

    async def end(
        self, close_sockets: Callable[[], Awaitable[None]], drain_timeout: float | None = None
    ) -> None:
        """Take nothing new, let what is in hand end, drain the kit; once.

        A cancelled end goes on when it is called again.

        Args:
            close_sockets: Ends live connections.
            drain_timeout: Another figure than the usual one.
        """
        seconds = self._drain_timeout if drain_timeout is None else drain_timeout
        self.move_to(Phase.DRAINING)
        async with self._lock:
            if self.phase is Phase.CLOSED:
                return
            await close_all(
                [
                    close_sockets,
                    lambda: self._end_requests(seconds),
                    lambda: self._end_kit(seconds),
                ]
            )
            self.move_to(Phase.CLOSED)

    async def _end_requests(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                await self.tasks.wait()
        except TimeoutError:
            logger.warning(
                "%d requests did not end in time; they are refused and come again", self._in_hand
            )
            await self.tasks.cancel(timeout=seconds)

    async def _end_kit(self, seconds: float) -> None:
        if self._close_kit:
            await self._kit.close(drain_timeout=seconds)
        else:
            await self._kit.drain(seconds)


async def speak_lifespan(
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> None:
    """Answer a server that speaks the lifespan protocol.

    What fails is told by its text only where it is one of ours; others may quote secrets.
    """
    for event, act in (("startup", start), ("shutdown", end)):
        await receive()
        try:
            await act()
        except Exception as exc:  # noqa: BLE001 - the server is told, and ends
            log_failure(logger, exc, "%s failed", event)
            told = brief(exc) if isinstance(exc, RoomKitError) else type(exc).__name__
            await send({"type": f"lifespan.{event}.failed", "message": told})
            return
        await send({"type": f"lifespan.{event}.complete"})
