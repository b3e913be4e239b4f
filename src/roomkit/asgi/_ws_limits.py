"""The bounds of ``roomkit.v1``, its close codes, and time as the injected clock tells it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit._clock import Clock


class Close(IntEnum):
    """Why the server ends a connection; see ``docs/websocket-protocol.md``."""

    GOING_AWAY = 1001
    PROTOCOL = 1002
    POLICY = 1008
    TOO_BIG = 1009
    FAILED = 1011
    TOO_SLOW = 1013
    NOT_AUTHENTICATED = 4401
    FORBIDDEN = 4403


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of anything a client, or all of them together, may use.

    Attributes:
        max_connections: Clients at once; one more is closed with 1013.
        max_per_participant: Clients of one participant at once, likewise.
        max_rooms: Rooms one client may be in.
        max_frame: Bytes of one frame from a client; a longer one closes with 1009.
        frames_per_second: Frames a client may send over time; more are read later.
        burst: Frames that may come at once.
        queue_frames: Frames that may wait for a slow client; one more closes it with 1013.
        queue_bytes: Bytes of them, likewise. A lone frame may be longer.
        send_timeout: Seconds the server may take to accept one frame for a client.
        auth_timeout: Seconds for the first frame, and for the ``authenticate`` callback.
        max_replay: Events shown after a ``join``; older ones are left to a ``gap``.
        max_scan: Events looked at to find those.
        max_bad_frames: Malformed frames of one client; then it is closed with 1008.
        poll: Seconds after which a room is looked at though nobody told of anything.

    Raises:
        InvalidInputError: One of them is not above 0.
    """

    max_connections: int = 10_000
    max_per_participant: int = 50
    max_rooms: int = 50
    max_frame: int = 64 * 1024
    frames_per_second: float = 20.0
    burst: int = 40
    queue_frames: int = 1000
    queue_bytes: int = 1024 * 1024
    send_timeout: float = 10.0
    auth_timeout: float = 10.0
    max_replay: int = 500
    max_scan: int = 10_000
    max_bad_frames: int = 10
    poll: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise InvalidInputError(f"{field.name} must be above 0")


class Pace:
    """A token bucket, kept as the moment at which it will be full again.

    Args:
        rate: Tokens a second.
        burst: How many it holds.
        clock: Whose time counts.
    """

    __slots__ = ("_clock", "_full_at", "_interval", "_tolerance")

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._interval = 1.0 / rate
        self._tolerance = self._interval * (burst - 1)
        self._clock = clock
        self._full_at = clock.monotonic()

    def take(self) -> float:
        """Take a token; return the seconds until it is there, 0.0 when it is."""
        now = self._clock.monotonic()
        early = self._full_at - now - self._tolerance
        self._full_at = max(self._full_at, now) + self._interval
        return max(0.0, early)


async def within[T](clock: Clock, seconds: float, awaitable: Awaitable[T]) -> T:
    """Await something for at most ``seconds`` of the clock's time.

    Raises:
        TimeoutError: The time ran out; what was awaited is cancelled.
    """
    if isinstance(clock, SystemClock):
        async with asyncio.timeout(seconds):
            return await awaitable
    async with asyncio.timeout(None) as limit:
        alarm = TaskSet("roomkit-ws-alarm").start(_ring(clock, seconds, limit))
        try:
            return await awaitable
        finally:
            alarm.cancel()


async def _ring(clock: Clock, seconds: float, limit: asyncio.Timeout) -> None:
    await clock.sleep(seconds)
    limit.reschedule(asyncio.get_running_loop().time())
