"""Work that is looked for again and again: soon when somebody says so, else every so often."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit._logging import log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock

logger: logging.Logger = logging.getLogger("roomkit.worker")

PAUSE = 0.25
"""Seconds between two rounds at least, while they fail."""


class Rounds:
    """One loop of rounds, in a task of its owner's.

    Args:
        name: Of the task.
        work: One round; returns whether there may be more to do at once.
        every: Seconds after which a round is made in any case.
        clock: Times the pauses.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[bool]], every: float, clock: Clock
    ) -> None:
        self._name = name
        self._work = work
        self._every = every
        self._clock = clock
        self._stirred = asyncio.Event()
        self._poked = False
        self._due: float | None = None

    def start(self, tasks: TaskSet) -> None:
        """Make rounds from now on, the first one at once."""
        self._stirred = asyncio.Event()
        tasks.start(self._run(), name=self._name)

    def poke(self) -> None:
        """Make a round now."""
        self._poked = True
        self._stirred.set()

    def poke_in(self, seconds: float) -> None:
        """Make a round in so many seconds; the earliest of several wishes counts."""
        due = self._clock.monotonic() + seconds
        if self._due is None or due < self._due:
            self._due = due
            self._stirred.set()

    async def _run(self) -> None:
        failing = False
        while True:
            self._poked = False
            if self._due is not None and self._due <= self._clock.monotonic():
                self._due = None
            again = False
            try:
                again = await self._work()
                failing = False
            except Exception as exc:  # noqa: BLE001 - what failed may work later
                if not failing:
                    log_failure(logger, exc, "%s: a round failed; it goes on", self._name)
                failing = True
            if failing:
                await self._clock.sleep(PAUSE)
            elif again:
                await asyncio.sleep(0)
                continue
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next round is due, or somebody pokes."""
        end = self._clock.monotonic() + self._every
        while not self._poked:
            now = self._clock.monotonic()
            left = (end if self._due is None else min(end, self._due)) - now
            if left <= 0:
                return
            self._stirred.clear()
            sleeping = asyncio.ensure_future(self._clock.sleep(left))
            stirred = asyncio.ensure_future(self._stirred.wait())
            try:
                await asyncio.wait((sleeping, stirred), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                stirred.cancel()
