"""A process of its own that locks a room; started by ``tests.support.locks.Worker``.

``count``: enters the room so many times, each time adding one to a number in a file in two
steps, and says ``done``. ``hold``: enters once, says ``held``, answers ``lost?`` and leaves on
``leave``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roomkit.core.postgres_locks import PostgresLockManager
from roomkit.core.redis_locks import RedisLockManager

if TYPE_CHECKING:
    from roomkit.core.locks import RoomLockManager

ROOM = "shared"


def make_locks(server: str, lease: float) -> RedisLockManager | PostgresLockManager:
    """Return a manager for a URL or a DSN that never goes on without its server."""
    if server.startswith("redis"):
        return RedisLockManager(server, ttl=lease, on_down="refuse")
    return PostgresLockManager(server, silence=lease, check_every=lease / 3, on_down="refuse")


def say(word: object) -> None:
    """Tell the test something."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def count(locks: RoomLockManager, times: int, folder: Path) -> None:
    """Add to the number, noticing anybody else who is inside."""
    number, inside = folder / "number", folder / "inside"
    for _ in range(times):
        async with locks.locked(ROOM):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails beside another holder
            before = int(number.read_text())
            await asyncio.sleep(0)
            number.write_text(str(before + 1))
            inside.unlink()
    say("done")


async def hold(locks: RoomLockManager) -> None:
    """Hold the room and do as told."""
    async with locks.locked(ROOM):
        say("held")
        while (word := await asyncio.to_thread(sys.stdin.readline)).strip() == "lost?":
            say(locks.lost(ROOM))
        assert word.strip() in ("leave", "")
    say("left")


async def main() -> None:
    """Run what the command line says: mode, server, lease, times, folder."""
    mode, server, lease, times, folder = sys.argv[1:]
    async with make_locks(server, float(lease)) as locks:
        if mode == "count":
            await count(locks, int(times), Path(folder))
        else:
            await hold(locks)


if __name__ == "__main__":
    asyncio.run(main())
