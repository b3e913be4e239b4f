"""How the kit is: asked now and then, remembered in between."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit._logging import log_failure
from roomkit.store.durable import DurableStore

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.core.framework import RoomKit
    from roomkit.core.pipeline.desk import KitStats

logger = logging.getLogger("roomkit.asgi")

FRESH = 1.0
"""Seconds an answer is good for."""

WAIT = 2.0
"""Seconds the kit may take to say how it is."""


class Pulse:
    """The figures of a kit, never asked for more than once at a time.

    Args:
        kit: The kit.
        tasks: Owns what asks in the background.
        clock: Tells how old an answer is.
    """

    def __init__(self, kit: RoomKit, tasks: TaskSet, clock: Clock) -> None:
        self._kit = kit
        self._tasks = tasks
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked = False
        self._at = 0.0
        self._stats: KitStats | None = None
        self._told = False

    @property
    def durable(self) -> bool:
        """Whether accepted messages outlive the process."""
        return isinstance(self._kit.store, DurableStore)

    async def look(self) -> KitStats:
        """Return figures of this second.

        Raises:
            RoomKitError: The kit cannot say.
            TimeoutError: It did not in time.
        """
        async with self._lock:
            if self._stats is None or self._stale():
                self._stats = await bounded(self._kit.stats(), WAIT)
                self._at = self._clock.monotonic()
            return self._stats

    def backlog(self) -> int:
        """Return how many accepted messages wait, as was last known; at once."""
        if not self.durable:
            return 0
        if not self._asked and (self._stats is None or self._stale()):
            self._asked = True
            self._tasks.start(self._refresh(), name="roomkit-asgi-pulse")
        return 0 if self._stats is None else self._stats.inbox.due

    def _stale(self) -> bool:
        return self._clock.monotonic() - self._at >= FRESH

    async def _refresh(self) -> None:
        try:
            stats = await self.look()
        except Exception as exc:  # noqa: BLE001 - the requests themselves will meet the trouble
            logger.debug("the kit does not say how it is: %s", type(exc).__name__)
            return
        finally:
            self._asked = False
        if not stats.started and not self._told:
            self._told = True
            logger.warning(
                "webhooks are accepted but the kit was not started, so their messages wait: "
                "await app.startup(), or use the app with a server that speaks lifespan"
            )


def log_unready(error: BaseException) -> None:
    """Log why the kit is not ready, by kind."""
    log_failure(logger, error, "the kit is not ready")
