"""The end of a kit: what still runs is given time, then stopped, in the right order."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._aio import bounded
from roomkit._logging import log_failure
from roomkit.core.services.scope import own_task

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet
    from roomkit.core.services.lifecycle import Lifecycle
    from roomkit.core.services.sources import Sources

logger: logging.Logger = logging.getLogger("roomkit.framework")

CLOSE_TIMEOUT = 10.0
"""Seconds each channel, backend or store may take to close."""


class Drainable(Protocol):
    """The pipeline, which lives a floor above."""

    async def stop_working(self, *, but: asyncio.Task[object] | None) -> None:
        """Take on nothing more of what others left."""
        ...

    async def drain(self, timeout: float | None, *, but: asyncio.Task[object] | None) -> bool:
        """Wait until nothing is under way."""
        ...

    async def close(self, *, but: asyncio.Task[object] | None) -> None:
        """Stop what is."""
        ...


class Shutdown:
    """Ends a kit once."""

    def __init__(
        self, lifecycle: Lifecycle, sources: Sources, pipeline: Drainable, tasks: TaskSet
    ) -> None:
        self._lifecycle = lifecycle
        self._sources = sources
        self._pipeline = pipeline
        self._tasks = tasks
        self._begun = False

    def begin(self) -> bool:
        """Return True the first time."""
        if self._begun:
            return False
        self._begun = True
        return True

    def interrupted(self) -> None:
        """Let the next close go on where a cancelled one was stopped."""
        self._begun = False

    async def stop_work(self, drain_timeout: float) -> None:
        """Detach the sources, let deliveries finish for a while, stop the rest."""
        me = own_task()
        for channel_id in self._sources.attached():
            try:
                await self._sources.detach(channel_id)
            except Exception as exc:  # noqa: BLE001 - the others must be detached as well
                log_failure(logger, exc, "the source of %s was not detached", channel_id)
        await self._pipeline.stop_working(but=me)
        await self._pipeline.drain(drain_timeout, but=me)
        self._lifecycle.closed = True
        await self._pipeline.close(but=me)
        await self._tasks.cancel(but=(me,), timeout=CLOSE_TIMEOUT / 2)

    def timed(self, close: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
        """Return ``close`` with a bound on its time."""

        async def closing() -> None:
            await bounded(close(), CLOSE_TIMEOUT)

        return closing
