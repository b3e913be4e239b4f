"""One holder a room: the lock that keeps gates and commits of a room in one line.

Not for telling writers of other processes apart: the store's transaction is the fence
there. Re-entrancy and the bound of the wait are the engine's, not the lock manager's.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

DEFAULT_MAX_LOCKS = 1024
"""How many idle locks the in-memory manager keeps for reuse."""


class RoomLockManager(ABC):
    """Hands out the lock of each room. Implement it to share locks between processes."""

    @abstractmethod
    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds the room's lock while entered.

        Entering waits until the lock is free, in order of arrival where the manager can
        tell. Leaving frees it, also after an error or a cancellation; a cancelled wait
        leaves nothing behind. Holds of different rooms do not touch each other. The lock is
        not re-entrant, and each call gives a context manager for one use.
        """

    def lost(self, room_id: str) -> bool:
        """Return whether the present holder's lease is known to have ended early.

        The engine asks before it commits and admits the message once more when so. The
        default is for locks that cannot be lost: always False.
        """
        return False


class _RoomLock:
    """The lock of one room.

    It is handed over directly: while anybody waits it never becomes free, so it is idle
    exactly when nobody holds or wants it. Unlike ``asyncio.Lock`` it is tied to no event
    loop and is taken without a coroutine of its own.
    """

    __slots__ = ("_idle", "_room_id", "_turns", "held")

    def __init__(self, room_id: str, idle: dict[str, _RoomLock]) -> None:
        self.held = False
        self._room_id = room_id
        self._idle = idle
        self._turns: deque[asyncio.Future[None]] | None = None
        idle[room_id] = self

    def take(self) -> None:
        """Take the lock; only when it is not held."""
        self.held = True
        del self._idle[self._room_id]

    async def wait(self) -> None:
        """Return as the holder, after everybody who came before."""
        turns = self._turns
        if turns is None:
            turns = self._turns = deque()
        turn = asyncio.get_running_loop().create_future()
        turns.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The lock had been handed over before the cancellation came.
                self.release()
            else:
                with suppress(ValueError):  # a release may have skipped and dropped it
                    turns.remove(turn)
            raise

    def release(self) -> None:
        """Hand the lock to the next in line, or free it."""
        turns = self._turns
        while turns:
            turn = turns.popleft()
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)
                return
        self._turns = None
        self.held = False
        self._idle[self._room_id] = self


class _Hold:
    """One use of a room's lock."""

    __slots__ = ("_find", "_lock", "_room_id")
    _lock: _RoomLock

    def __init__(self, find: Callable[[str], _RoomLock], room_id: str) -> None:
        self._find = find
        self._room_id = room_id

    async def __aenter__(self) -> None:
        # Looked up here and not earlier: between finding and taking nothing may be evicted.
        lock = self._lock = self._find(self._room_id)
        if lock.held:
            await lock.wait()
        else:
            lock.take()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


class InMemoryLockManager(RoomLockManager):
    """Locks for one process: first come, first served, nothing to configure.

    A free lock is taken without suspending. Use it from one event loop at a time; several
    loops one after the other are fine.

    Args:
        max_locks: How many rooms' locks are kept. A new one evicts those idle for longest;
            a lock that is held or waited for is never evicted, so the table outgrows the
            number while more rooms than that are busy.
    """

    def __init__(self, max_locks: int = DEFAULT_MAX_LOCKS) -> None:
        self._max_locks = max_locks
        self._locks: dict[str, _RoomLock] = {}
        self._idle: dict[str, _RoomLock] = {}

    @property
    def size(self) -> int:
        """How many locks are in the table, idle ones included."""
        return len(self._locks)

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds the room's lock while entered."""
        return _Hold(self._get_lock, room_id)

    def _get_lock(self, room_id: str) -> _RoomLock:
        lock = self._locks.get(room_id)
        if lock is None:
            lock = self._locks[room_id] = _RoomLock(room_id, self._idle)
            if len(self._locks) > self._max_locks:
                self._evict()
        return lock

    def _evict(self) -> None:
        """Drop the longest idle locks, but not the one just asked for: idle too, and last."""
        surplus = min(len(self._locks) - self._max_locks, len(self._idle) - 1)
        for room_id in list(islice(self._idle, surplus)):
            del self._idle[room_id], self._locks[room_id]
