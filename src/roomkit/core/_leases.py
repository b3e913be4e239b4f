"""Locks kept by a server: what the Redis and the PostgreSQL lock managers have in common.

A room is first locked inside the process, first come, first served; only the winner asks the
server. So each process has at most one candidate a room, and the wait for other processes is
a poll with a growing, scattered pause. Whatever a server holds for us is a *lease*: it can end
without us. ``lost`` tells, from time passed and answers seen, at the moment of asking.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Self

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._ids import new_id
from roomkit._logging import ids, log_failure
from roomkit._pump import ServerDown
from roomkit.core.locks import InMemoryLockManager, RoomLockManager
from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    LockTimeoutError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from roomkit._clock import Clock

logger = logging.getLogger("roomkit.locks")

type OnDown = Literal["local", "refuse"]
"""What acquiring does while the server is down; see ``LeaseLockManager``."""

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.05
"""Seconds between two looks at a lock another process holds; half of it is chance."""

PROBE_PAUSE = 0.5
"""Seconds after a failure during which the server is taken to be down without asking."""

DRIFT = 0.01
"""How much slower than the server's our clock may run, as a share of the lease."""


class Lease:
    """One hold of one room, as far as the server is concerned.

    Attributes:
        room_id: The room.
        token: Proof that a lock on the server is this hold's.
        until: The moment (monotonic) from which on it cannot be trusted.
        gone: Whether it is known to have ended.
        asked: Whether the server may be holding it for us.
        session: What the server ties it to, where that is a connection.
    """

    __slots__ = ("asked", "gone", "room_id", "session", "token", "until")

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        self.token = new_id()
        self.until = 0.0
        self.gone = False
        self.asked = False
        self.session: Any = None


class _Hold:
    """One use of a room's lock: inside the process, then on the server."""

    __slots__ = ("_acquire", "_lease", "_local", "_release", "_room_id")
    _lease: Lease | None

    def __init__(
        self,
        room_id: str,
        local: AbstractAsyncContextManager[None],
        acquire: Callable[[str], Awaitable[Lease | None]],
        release: Callable[[Lease], Awaitable[None]],
    ) -> None:
        self._room_id = room_id
        self._local = local
        self._acquire = acquire
        self._release = release

    async def __aenter__(self) -> None:
        await self._local.__aenter__()
        try:
            self._lease = await self._acquire(self._room_id)
        except BaseException:
            await self._local.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._lease is not None:
                await self._release(self._lease)
        finally:
            await self._local.__aexit__(None, None, None)


class LeaseLockManager(RoomLockManager):
    """Room locks shared between processes through a server.

    Args:
        lease: Seconds a lease can be trusted after the server's last word on it.
        check_every: Seconds between two words.
        command_timeout: Seconds one question to the server may take.
        wait_timeout: Seconds to wait for a room another process holds.
        on_down: What acquiring does while the server is down: ``"local"`` goes on with the
            lock inside the process alone, ``"refuse"`` raises.
        clock: Where time comes from.

    Raises:
        InvalidInputError: A number is not positive, ``check_every`` is not below ``lease``,
            or ``on_down`` is neither of the two.
    """

    def __init__(
        self,
        *,
        lease: float,
        check_every: float,
        command_timeout: float,
        wait_timeout: float,
        on_down: OnDown,
        clock: Clock | None,
    ) -> None:
        if not 0 < check_every < lease:
            raise InvalidInputError("locks must be confirmed more often than they expire")
        if command_timeout <= 0 or wait_timeout <= 0:
            raise InvalidInputError("command_timeout and wait_timeout must be above 0")
        if on_down not in ("local", "refuse"):
            raise InvalidInputError("on_down must be 'local' or 'refuse'")
        self._lease = lease * (1 - DRIFT)
        self._check_every = check_every
        self._patience = command_timeout
        self._wait_timeout = wait_timeout
        self._on_down = on_down
        self._clock = clock or SystemClock()
        self._tasks = TaskSet("locks")
        self._local = InMemoryLockManager()
        self._leases: dict[str, Lease] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._down = False
        self._probe_at = 0.0
        self._closed = False
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(held={len(self._leases)}, down={self._down})"

    @property
    def down(self) -> bool:
        """Whether the server did not answer when last asked."""
        return self._down

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds the room's lock while entered.

        Raises:
            LockTimeoutError: (on entering) Another process held it for too long.
            StoreUnavailableError: (on entering) The server is down, and ``on_down`` is
                ``"refuse"``.
            ConfigurationError: (on entering) The server does not let us in, or the manager
                was closed.
        """
        local = self._local.locked(self._local_name(room_id))
        return _Hold(room_id, local, self._acquire, self._release)

    def lost(self, room_id: str) -> bool:
        """Return whether the present holder's lease is known, or must be feared, to be over.

        True as soon as the server said so, the connection it hung on broke, or too much time
        passed since the server's last word, also when this process was stopped meanwhile. Such
        a hold is over for the others as well.
        False for a room nobody of this process holds, and for holds taken without the server.
        """
        lease = self._leases.get(room_id)
        if lease is None:
            return False
        return lease.gone or self._clock.monotonic() >= lease.until

    async def close(self) -> None:
        """Give back what is held (its holders find it ``lost``) and disconnect. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._unwatch()
        for lease in self._leases.values():
            lease.gone = True
            self._tasks.start(self._free_for_certain(lease))
        try:
            await self._tasks.wait(self._patience)
        finally:
            self._over = True
            await self._tasks.cancel(timeout=self._patience)
            await self._disconnect()

    # What a kind of server adds.

    @abstractmethod
    async def _take(self, lease: Lease) -> bool:
        """Ask the server once for the room; False when somebody else has it.

        Safe to repeat with the same lease.

        Raises:
            ServerDown: The server did not say.
        """

    @abstractmethod
    async def _free(self, lease: Lease) -> None:
        """Have the server drop the lease if it is still this one's.

        Raises:
            ServerDown: The server did not say.
        """

    @abstractmethod
    async def _check(self, leases: list[Lease]) -> None:
        """Ask whether these are still ours; say so with ``_confirmed`` and ``_ended``.

        Raises:
            ServerDown: The server did not say.
        """

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go of what this manager opened."""

    def _local_name(self, room_id: str) -> str:
        """Return what to lock inside the process: rooms the server cannot tell apart share it."""
        return room_id

    # Acquiring and releasing.

    async def _acquire(self, room_id: str) -> Lease | None:
        """Return the lease, or None when going on without the server."""
        lease = Lease(room_id)
        try:
            taken = await self._wait(lease)
            self._refuse_closed()
        except BaseException:
            # The question may be on its way, or its answer: what it took must not stay.
            if lease.asked and not self._over:
                await self._drop(lease)
            raise
        if not taken:
            return None
        self._leases[room_id] = lease
        self._watch()
        return lease

    async def _wait(self, lease: Lease) -> bool:
        """Ask until the room is ours; False when the server is down and we go on without it."""
        end = self._clock.monotonic() + self._wait_timeout
        pause = FIRST_PAUSE
        while True:
            self._refuse_closed()
            if self._believed_down() or (taken := await self._ask(lease)) is None:
                return self._without(lease.room_id)
            if taken:
                return True
            left = end - self._clock.monotonic()
            if left <= 0:
                raise LockTimeoutError(
                    f"another process held room {lease.room_id!r} for {self._wait_timeout:g} s"
                )
            # Scattered, or the processes that wait would all come at the same moments.
            await self._clock.sleep(min(left, pause * random.uniform(0.5, 1)))  # nosec B311
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _ask(self, lease: Lease) -> bool | None:
        """Ask once; None when the server did not answer."""
        sent = self._clock.monotonic()
        lease.asked = True
        try:
            taken = await self._take(lease)
        except ServerDown as exc:
            self._went_down(exc)
            lease.asked = False
            if not self._over:
                # It may have heard us all the same, or still hear us once it goes on.
                self._tasks.start(self._free_for_certain(lease))
            return None
        except ConfigurationError:
            lease.asked = False
            raise
        self._came_back()
        lease.asked = taken
        lease.until = sent + self._lease
        return taken

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("this lock manager was closed; make a new one")

    def _without(self, room_id: str) -> bool:
        """Decide what to do without the server."""
        if self._on_down == "refuse":
            raise StoreUnavailableError(
                f"room {room_id!r} cannot be locked: the lock server is down; nothing was "
                "written, repeat the call later"
            )
        return False

    async def _release(self, lease: Lease) -> None:
        del self._leases[lease.room_id]
        if not self._leases:
            self._unwatch()
        if not self._closed:
            await self._drop(lease)

    async def _drop(self, lease: Lease) -> None:
        """Give a lease back, waiting a bounded time, also when the caller is cancelled."""
        task = self._tasks.start(self._free_for_certain(lease))
        await _time_boxed(task, self._patience)

    async def _free_for_certain(self, lease: Lease) -> None:
        """Ask the server to drop a lease until it answers or the lease has ended by itself."""
        end = self._clock.monotonic() + self._lease / (1 - DRIFT)
        pause = FIRST_PAUSE
        while True:
            try:
                await self._free(lease)
            except ServerDown as exc:
                self._went_down(exc)
            except ConfigurationError as exc:
                log_failure(logger, exc, "a room's lock was not given back")
                return
            else:
                self._came_back()
                return
            if self._clock.monotonic() + pause >= end:
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, PROBE_PAUSE)

    # Watching over leases.

    def _watch(self) -> None:
        """Have the leases checked soon; nothing runs while there are none."""
        if self._timer is None and self._leases and not self._closed:
            delay = min(self._check_every, PROBE_PAUSE) if self._down else self._check_every
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        # The timer stays set until the check is over, so that there is only ever one.
        self._tasks.start(self._check_all(), name="locks:check")

    async def _check_all(self) -> None:
        self._end_overdue()
        leases = [lease for lease in self._leases.values() if not lease.gone]
        try:
            if leases:
                await self._check(leases)
        except ServerDown as exc:
            self._went_down(exc)
        except ConfigurationError as exc:
            log_failure(logger, exc, "the locks of rooms cannot be confirmed")
        else:
            if leases:
                self._came_back()
        finally:
            self._timer = None
            self._watch()

    def _end_overdue(self) -> None:
        """Give up leases that were not confirmed in time: their holders may have been told so.

        From here on others may have the room, also if the server would still grant it to us.
        """
        now = self._clock.monotonic()
        for lease in self._leases.values():
            if not lease.gone and now >= lease.until:
                self._ended(lease)
                self._tasks.start(self._free_for_certain(lease))

    def _confirmed(self, lease: Lease, sent: float) -> None:
        """Note that the server, asked at ``sent``, still knows a lease."""
        lease.until = sent + self._lease

    def _ended(self, lease: Lease) -> None:
        """Note that a lease is over before its time."""
        if lease.gone or self._leases.get(lease.room_id) is not lease:
            return
        lease.gone = True
        logger.warning("the lock of a room was lost", extra=ids(room_id=lease.room_id))

    # Outages.

    def _believed_down(self) -> bool:
        """Whether not to ask now; while the server is down one caller at a time tries."""
        if not self._down:
            return False
        now = self._clock.monotonic()
        if now < self._probe_at:
            return True
        self._probe_at = now + self._patience + PROBE_PAUSE
        return False

    def _went_down(self, error: ServerDown) -> None:
        self._probe_at = self._clock.monotonic() + PROBE_PAUSE
        if not self._down and not self._closed:
            self._down = True
            meanwhile = "are locked in this process only"
            if self._on_down == "refuse":
                meanwhile = "cannot be locked"
            logger.warning("the lock server is down (%s): rooms %s", error.kind, meanwhile)

    def _came_back(self) -> None:
        if self._down:
            self._down = False
            logger.info("the lock server is back")


async def _time_boxed(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task's end, at most ``seconds``, and that also when cancelled meanwhile.

    The task goes on when the time runs out; the cancellation is raised again.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left := end - loop.time()) > 0:
        try:
            await asyncio.wait((task,), timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
