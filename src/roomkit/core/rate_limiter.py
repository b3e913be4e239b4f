"""Pacing: how fast a channel may be sent to, in windows of a second, a minute, an hour.

Every window of a ``RateLimit`` is a token bucket of its own, kept as the one moment at which
it will be full again (the virtual scheduling form of the generic cell rate algorithm, ITU-T
I.371), so there are no tokens to count and nothing runs while nobody asks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.models.channel import RateLimit

MAX_BUCKETS = 10_000
"""How many channels are remembered; more only while none of the looked-at ones is full."""

_EVICTION_LOOKS = 8
_SLACK_SECONDS = 1e-7
"""Rounding of float time: a token this close counts as there. It does not add up."""

_SHORTEST_SLEEP = 1e-6
_WINDOW_SECONDS = (1.0, 60.0, 3600.0)

type _Window = tuple[int, float, float]
"""Slot, seconds from token to token, and how many seconds early a burst may be."""


@lru_cache(maxsize=1024)
def _windows(rates: tuple[float | None, ...], burst_seconds: float) -> tuple[_Window, ...]:
    """Return the windows that ``rates`` (a second, a minute, an hour) configure.

    The capacity ``max(1, rate * burst_seconds)`` is a tolerance of ``capacity - 1`` intervals.
    """
    windows = []
    for slot, (seconds, rate) in enumerate(zip(_WINDOW_SECONDS, rates, strict=True)):
        if rate is not None:
            interval = seconds / rate
            windows.append((slot, interval, max(0.0, burst_seconds - interval)))
    return tuple(windows)


class _Bucket:
    """The windows of one channel, and the line of those who wait for it."""

    __slots__ = ("full_at", "turn", "waiting")

    def __init__(self) -> None:
        self.full_at = [-math.inf, -math.inf, -math.inf]
        self.turn: asyncio.Lock | None = None
        self.waiting = 0

    def delay(self, windows: tuple[_Window, ...], now: float) -> float:
        """Return the seconds until every window has a token; 0.0: they have."""
        full_at = self.full_at
        ready = -math.inf
        for slot, _, tolerance in windows:
            ready = max(ready, full_at[slot] - tolerance)
        left = ready - now
        return left if left > _SLACK_SECONDS else 0.0

    def spend(self, windows: tuple[_Window, ...], now: float) -> None:
        """Take one token of every window."""
        full_at = self.full_at
        for slot, interval, _ in windows:
            full_at[slot] = max(full_at[slot], now) + interval

    def is_idle(self, now: float) -> bool:
        """Whether every window is full and nobody waits: forgetting it changes nothing."""
        return not self.waiting and max(self.full_at) <= now


class TokenBucketRateLimiter:
    """Paces what is sent, one bucket a channel id; every configured window must agree.

    Per window a bucket holds ``max(1, rate * burst_seconds)`` tokens, starts full and fills
    at ``rate``. So over any stretch of ``t`` seconds at most that many plus ``rate * t`` are
    granted, and rates below one a second work. The limit is given at each call: rooms that
    share a channel may differ in it, and each call obeys its own windows.

    Args:
        burst_seconds: How much of a pause may be made up for at once.
        clock: Whose time counts; the system's by default.
    """

    def __init__(self, burst_seconds: float = 1.0, *, clock: Clock | None = None) -> None:
        self._burst_seconds = burst_seconds
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    @property
    def size(self) -> int:
        """How many channels are remembered."""
        return len(self._buckets)

    def acquire(self, channel_id: str, rate_limit: RateLimit) -> bool:
        """Take a token without waiting; False when there is none.

        While others are in ``wait`` for the channel the next tokens are theirs.
        """
        windows = self._windows_of(rate_limit)
        return not windows or self._take(self._bucket(channel_id), windows)

    async def wait(self, channel_id: str, rate_limit: RateLimit) -> None:
        """Return with a token, in the order of the calls for this channel.

        Sleeps until the moment the next token is due and never polls. A cancelled wait
        takes no token. How many wait is bounded by the callers.
        """
        windows = self._windows_of(rate_limit)
        if not windows:
            return
        bucket = self._bucket(channel_id)
        if self._take(bucket, windows):
            return
        if bucket.turn is None:
            # Lives as long as the line does, so it never meets a second event loop.
            bucket.turn = asyncio.Lock()
        bucket.waiting += 1
        try:
            async with bucket.turn:
                while delay := bucket.delay(windows, self._now()):
                    await self._sleep(delay)
                bucket.spend(windows, self._now())
        finally:
            bucket.waiting -= 1
            if not bucket.waiting:
                bucket.turn = None

    def delay(self, channel_id: str, rate_limit: RateLimit) -> float:
        """Return the seconds until a token is due, 0.0 when there is one; takes nothing.

        Those already waiting come first, so a caller that comes then may have to wait longer.
        """
        bucket = self._buckets.get(channel_id)
        if bucket is None:
            return 0.0
        return bucket.delay(self._windows_of(rate_limit), self._now())

    def forget(self, channel_id: str) -> None:
        """Drop a channel's bucket, as if nothing had been sent; a no-op when unknown.

        Those who wait keep their places in the old bucket.
        """
        self._buckets.pop(channel_id, None)

    def _windows_of(self, limit: RateLimit) -> tuple[_Window, ...]:
        rates = (limit.max_per_second, limit.max_per_minute, limit.max_per_hour)
        return _windows(rates, self._burst_seconds)

    def _take(self, bucket: _Bucket, windows: tuple[_Window, ...]) -> bool:
        if bucket.waiting:
            return False
        now = self._now()
        if bucket.delay(windows, now):
            return False
        bucket.spend(windows, now)
        return True

    def _bucket(self, channel_id: str) -> _Bucket:
        bucket = self._buckets.get(channel_id)
        if bucket is not None:
            self._buckets.move_to_end(channel_id)
            return bucket
        if len(self._buckets) >= MAX_BUCKETS:
            self._evict()
        bucket = self._buckets[channel_id] = _Bucket()
        return bucket

    def _evict(self) -> None:
        """Drop full buckets among the least recently used; others move out of the way."""
        now = self._now()
        for _ in range(min(_EVICTION_LOOKS, len(self._buckets))):
            channel_id, bucket = self._buckets.popitem(last=False)
            if not bucket.is_idle(now):
                self._buckets[channel_id] = bucket

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock.monotonic()

    async def _sleep(self, seconds: float) -> None:
        # Less than this may be lost in the rounding of the clock's own sum, without end.
        seconds = max(seconds, _SHORTEST_SLEEP)
        if self._clock is None:
            await asyncio.sleep(seconds)
        else:
            await self._clock.sleep(seconds)
