"""Where time comes from: the system, or a test that turns the hands itself."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """What RoomKit asks about time. Inject one with ``RoomKit(clock=...)``."""

    def now(self) -> datetime:
        """Return the wall-clock time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock's time."""
        ...


class SystemClock:
    """The time of the machine. The default everywhere."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"


class ManualClock:
    """A clock that moves only when a test says so.

    ``sleep`` waits until ``advance`` has moved the clock past its end; sleepers wake in the
    order of their due times.

    Args:
        start: The first wall-clock time, timezone-aware. Default: 2026-01-01, UTC.

    Raises:
        ValueError: ``start`` has no timezone.
    """

    def __init__(self, start: datetime | None = None) -> None:
        start = start or datetime(2026, 1, 1, tzinfo=UTC)
        if start.tzinfo is None:
            raise ValueError("ManualClock(start=...) needs a timezone-aware datetime")
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """Return the start plus everything advanced so far."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed

    @property
    def sleepers(self) -> int:
        """How many tasks are waiting in ``sleep`` now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by ``seconds``; at once if not positive."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move the clock forward, waking each sleeper at its own due time.

        Between two sleepers the loop runs, so what one of them starts may itself fall due
        within the same call.

        Raises:
            ValueError: ``seconds`` is negative; a clock does not run backwards.
        """
        if seconds < 0:
            raise ValueError("a clock cannot be advanced by a negative time")
        end = self._elapsed + seconds
        await self._let_run()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not future.done():
                future.set_result(None)
            await self._let_run()
        self._elapsed = end

    @staticmethod
    async def _let_run() -> None:
        """Give woken tasks a few turns of the loop."""
        for _ in range(10):
            await asyncio.sleep(0)

    def __repr__(self) -> str:
        return f"ManualClock(now={self.now().isoformat()})"
