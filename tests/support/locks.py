"""What the tests of locks that a server keeps have in common."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support import lock_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.core.locks import RoomLockManager

ROOM = lock_worker.ROOM
PATIENCE = 15.0
"""Seconds a test waits for what must come."""


async def eventually(true: Callable[[], bool | Awaitable[bool]], within: float = PATIENCE) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: It did not within so many seconds.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        holds = true()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert loop.time() < end, f"not within {within} s"
        await asyncio.sleep(0.01)


async def no_tasks(within: float = 1.0) -> None:
    """Return when the test's own task is the only one."""
    await eventually(lambda: len(asyncio.all_tasks()) == 1, within)


async def enter(locks: RoomLockManager, room_id: str = ROOM) -> None:
    """Enter and leave a room once, within the patience of a test."""
    async with asyncio.timeout(PATIENCE), locks.locked(room_id):
        pass


class Held:
    """A room held by a task of this process until told to leave."""

    def __init__(self, locks: RoomLockManager, room_id: str = ROOM) -> None:
        self._locks = locks
        self._room_id = room_id
        self._inside = asyncio.Event()
        self._leave = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._hold())
        inside = asyncio.create_task(self._inside.wait())
        await asyncio.wait((self._task, inside), return_when=asyncio.FIRST_COMPLETED)
        inside.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._leave.set()
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def _hold(self) -> None:
        async with self._locks.locked(self._room_id):
            self._inside.set()
            await self._leave.wait()


class Worker:
    """A process of its own that locks the room ``ROOM``.

    Args:
        mode: ``hold`` or ``count``; see ``tests.support.lock_worker``.
        server: The URL or DSN.
        lease: Seconds.
        times: How often ``count`` enters.
        folder: Where the number lies.
    """

    def __init__(
        self, mode: str, server: str, *, lease: float = 5.0, times: int = 0, folder: Path = Path()
    ) -> None:
        self._args = [mode, server, str(lease), str(times), str(folder)]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            lock_worker.__name__,
            *self._args,
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        await self._process.communicate()

    async def hears(self, word: str) -> None:
        """Wait until the worker says a word."""
        assert self._process.stdout is not None
        async with asyncio.timeout(2 * PATIENCE):
            line = await self._process.stdout.readline()
        assert line.decode().strip() == word

    def say(self, word: str) -> None:
        """Tell the worker something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def stop(self) -> None:
        """Freeze it, as a machine without memory or time would."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
