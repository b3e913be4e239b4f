"""The room lock, as the engine uses it: bounded waits, re-entrancy for gates, no deadlocks.

Lock managers stay simple and not re-entrant. Here a hold is a token with an ``active`` flag
and an inner lock: what a gate does to its own room takes the inner lock while the gate runs,
and the ordinary lock after. What must not run under the lock (lanes, observers) is deferred
to the release of the outermost hold.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, bounded
from roomkit._logging import log_failure
from roomkit.core.services.scope import current_scope
from roomkit.exceptions import LockCycleError, LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from roomkit.core.locks import RoomLockManager

logger: logging.Logger = logging.getLogger("roomkit.framework")

NESTED_WAIT = 5.0
"""Seconds code holding one room may wait for another."""


class Hold:
    """One room's lock, held by the engine.

    Attributes:
        room_id: The room.
        active: Whether a gate is running under it: only then may others nest in it.
        outer: The hold of the gate that led here, of this room or another.
    """

    __slots__ = ("_after", "_inner", "active", "outer", "room_id")

    def __init__(self, room_id: str, outer: Hold | None) -> None:
        self.room_id: str = room_id
        self.active: bool = False
        self.outer: Hold | None = outer
        self._inner: asyncio.Lock | None = None
        self._after: list[Callable[[], Any]] | None = None

    def defer(self, work: Callable[[], Any]) -> None:
        """Call ``work`` right after the lock is free again, in the order of deferring."""
        if self._after is None:
            self._after = [work]
        else:
            self._after.append(work)

    @property
    def inner(self) -> asyncio.Lock:
        """The lock that serialises what nests in this hold."""
        if self._inner is None:
            self._inner = asyncio.Lock()
        return self._inner

    async def seal(self) -> None:
        """Let nobody nest any more, and wait for whoever still does.

        A cancellation meanwhile waits as well: what nests here must not outlive the lock.
        """
        inner = self._inner
        cancelled: asyncio.CancelledError | None = None
        while inner is not None:
            try:
                await inner.acquire()
            except asyncio.CancelledError as exc:
                cancelled = exc
            else:
                self.active = False
                inner.release()
                break
        self.active = False
        if cancelled is not None:
            raise cancelled

    def hand_over(self, outer: Hold) -> None:
        """Leave what was deferred to the hold this one was nested in."""
        for work in self._after or ():
            outer.defer(work)

    def released(self) -> None:
        """Do what was deferred; one failure does not stop the others."""
        after, self._after = self._after, None
        for work in after or ():
            try:
                work()
            except Exception as exc:  # noqa: BLE001 - the others must be done as well
                log_failure(logger, exc, "work deferred by a room failed")


def active_hold() -> Hold | None:
    """Return the hold the current task's gate runs under, if that gate is still running."""
    scope = current_scope()
    hold = scope.hold if scope is not None else None
    while hold is not None and not hold.active:
        hold = hold.outer
    return hold


class RoomGuard:
    """Takes room locks for the engine.

    Args:
        locks: The lock manager.
        timeout: Seconds to wait for a room.
    """

    def __init__(self, locks: RoomLockManager, timeout: float) -> None:
        self._locks = locks
        self._timeout = timeout
        self._waits: dict[str, list[str]] = {}

    def hold(self, room_id: str) -> _Holding:
        """Return the async context manager that holds a room.

        Raises:
            LockTimeoutError: The room was not free in time.
            LockCycleError: Waiting would never end: whoever holds the room waits for us.
        """
        return _Holding(self, room_id)

    def lost(self, room_id: str) -> bool:
        """Return whether the lock manager knows that it lost the room's lease."""
        return self._locks.lost(room_id)

    async def acquire(self, room_id: str) -> tuple[Hold, Any]:
        """Take the lock; return the hold and the manager's context to leave."""
        outer = active_hold()
        manager = self._locks.locked(room_id)
        if outer is None:
            await self._enter(manager, room_id, self._timeout)
        else:
            held = _rooms(outer)
            self._refuse_cycle(held, room_id)
            for room in held:
                self._waits.setdefault(room, []).append(room_id)
            try:
                await self._enter(manager, room_id, min(self._timeout, NESTED_WAIT))
            finally:
                for room in held:
                    self._waits[room].remove(room_id)
                    if not self._waits[room]:
                        del self._waits[room]
        return Hold(room_id, outer), manager

    @staticmethod
    async def _enter(manager: Any, room_id: str, timeout: float) -> None:
        try:
            await bounded(manager.__aenter__(), timeout)
        except DeadlineExceeded as exc:
            raise LockTimeoutError(f"room {room_id!r} was busy for {timeout:g} s") from exc

    async def release(self, hold: Hold, manager: Any) -> None:
        """Give the lock back, then do what was deferred, whatever happens.

        A lock server that fails now ends the lease by itself; what was done under the lock is
        done, and nobody is told otherwise.
        """
        try:
            await bounded(manager.__aexit__(None, None, None), self._timeout)
        except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
            log_failure(logger, exc, "the lock of a room was not given back")
        finally:
            hold.released()

    def _refuse_cycle(self, held: set[str], room_id: str) -> None:
        """Raise when the room's holder waits, over any number of others, for one of ours."""
        seen: set[str] = set()
        wanted = [room_id]
        while wanted:
            room = wanted.pop()
            if room in held:
                raise LockCycleError(
                    f"hooks of rooms {sorted(held)} wait for room {room_id!r}, "
                    "whose own hooks wait for them"
                )
            if room not in seen:
                seen.add(room)
                wanted.extend(self._waits.get(room, ()))


def _rooms(hold: Hold | None) -> set[str]:
    """Return every room held by the gates that led here."""
    rooms = set()
    while hold is not None:
        rooms.add(hold.room_id)
        hold = hold.outer
    return rooms


class _Holding:
    """``async with guard.hold(room_id) as hold``; a class, since it is on the hot path."""

    __slots__ = ("_guard", "_hold", "_manager", "_nested", "_room_id")

    def __init__(self, guard: RoomGuard, room_id: str) -> None:
        self._guard = guard
        self._room_id = room_id
        self._nested: Hold | None = None

    async def __aenter__(self) -> Hold:
        outer = self._nesting()
        while outer is not None:
            try:
                await bounded(outer.inner.acquire(), NESTED_WAIT)
            except DeadlineExceeded as exc:
                raise LockTimeoutError(
                    f"another hook of room {self._room_id!r} was busy for {NESTED_WAIT:g} s"
                ) from exc
            if outer.active:
                self._nested, self._hold = outer, Hold(self._room_id, outer)
                return self._hold
            # The gate ended while we waited: from here on we are like anybody else.
            outer.inner.release()
            outer = self._nesting()
        self._hold, self._manager = await self._guard.acquire(self._room_id)
        return self._hold

    def _nesting(self) -> Hold | None:
        hold = active_hold()
        while hold is not None and not (hold.active and hold.room_id == self._room_id):
            hold = hold.outer
        return hold

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._nested is not None:
            self._hold.hand_over(self._nested)
            self._nested.inner.release()
        else:
            await self._guard.release(self._hold, self._manager)
