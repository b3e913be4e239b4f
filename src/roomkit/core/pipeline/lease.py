"""The lease: what lets this kit work on deliveries that others could also do.

A kit with a durable store is a worker under an id of its own. It beats once a second; the
store takes a worker for dead when it has not beaten for four. So that nothing is ever sent by
two, a kit stops sending three seconds after its last confirmed beat, and comes back under a
new id: what it held then belongs to whoever claims it first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet, bounded
from roomkit._ids import new_id
from roomkit._logging import log_failure
from roomkit.store.durable import DEAD_AFTER, DurableStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from roomkit._clock import Clock
    from roomkit.store.base import ConversationStore

logger: logging.Logger = logging.getLogger("roomkit.worker")

BEAT = 1.0
"""Seconds between two beats."""

HELD_FOR = DEAD_AFTER - BEAT
"""Seconds after the last confirmed beat in which deliveries may still begin."""


class Lease:
    """This kit's life as a worker; without a durable store there is nothing to hold.

    Args:
        store: The kit's store.
        clock: Times the beats.
        channels: Which channels the kit has.

    Attributes:
        queue: The store, when it keeps queues of work.
        owner: The present id; None without a queue.
        lapsed: Called when the id was given up.
        confirmed: Called after every confirmed beat.
    """

    def __init__(
        self, store: ConversationStore, clock: Clock, channels: Callable[[], Collection[str]]
    ) -> None:
        self.queue: DurableStore | None = store if isinstance(store, DurableStore) else None
        self.owner = new_id() if self.queue is not None else None
        self.lapsed: Callable[[], None] = _nothing
        self.confirmed: Callable[[], None] = _nothing
        self._clock = clock
        self._channels = channels
        self._tasks = TaskSet("roomkit-lease")
        self._until = float("-inf")
        self._former: str | None = None
        self._failing = False
        self._beating: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether a delivery may begin now."""
        return self.queue is None or self._clock.monotonic() < self._until

    async def begin(self) -> None:
        """Become a worker, and stay one until ``end``; nothing happens when it is one.

        Raises:
            StoreError: The store does not take the first beat.
        """
        if self.queue is None or (self._beating is not None and not self._beating.done()):
            return
        if self._beating is not None:
            self.renew()
        await self._beat()
        self._beating = self._tasks.start(self._keep(), name="roomkit-beat")

    def renew(self) -> None:
        """Give the present id up and go on under a new one, from the next beat on.

        For when it is not known what the store has claimed for the old one.
        """
        if self.queue is None or (self._former is not None and not self.held):
            return  # nothing can have been claimed for an id the store has not heard of yet
        if self._former is None:
            self._former = self.owner
        self.owner = new_id()
        self._until = float("-inf")
        self.lapsed()
        if self._beating is not None and not self._beating.done():
            self._tasks.start(self._try(), name="roomkit-beat")

    async def end(self) -> None:
        """Stop beating, and give back what is still claimed."""
        await self._tasks.cancel(timeout=BEAT)
        self._until = float("-inf")
        if self.queue is None or self._beating is None or self.owner is None:
            return
        self._beating = None
        try:
            for owner in (self._former, self.owner):
                if owner is not None:
                    await bounded(self.queue.retire(owner), HELD_FOR)
        except Exception as exc:  # noqa: BLE001 - it is taken for dead in a moment
            log_failure(logger, exc, "the store was not told that this worker ends")

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(BEAT)
            if not self.held and self._former is None:
                logger.warning("the lease of this worker ran out; it goes on under a new id")
                self.renew()
            await self._try()

    async def _try(self) -> None:
        try:
            await self._beat()
        except Exception as exc:  # noqa: BLE001 - the store may come back
            if not self._failing:
                self._failing = True
                log_failure(logger, exc, "the store does not take the worker's beat")
        else:
            self._failing = False

    async def _beat(self) -> None:
        if self.queue is None or self.owner is None:
            return
        began, owner, former = self._clock.monotonic(), self.owner, self._former
        beat = self.queue.beat(owner, tuple(self._channels()), instead_of=former)
        await bounded(beat, HELD_FOR)
        if owner != self.owner:
            return  # renewed meanwhile: the next beat is for the new id
        self._former = None
        self._until = began + HELD_FOR
        self.confirmed()


def _nothing() -> None:
    """Do nothing."""
