"""Telling other processes that there is work, and hearing of it: LISTEN and NOTIFY.

Both only shorten a wait: whoever misses a word finds the work at its next poll.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import RoomKitError
from roomkit.store._sql.pg_errors import caught

if TYPE_CHECKING:
    from roomkit.store._sql.pg_pool import Database

logger = logging.getLogger("roomkit.store.postgres")

_CHANNEL: Final = "roomkit_work"
_RING: Final = "SELECT pg_notify('roomkit_work', '')"
_PAUSE: Final = (0.2, 5.0)
"""Seconds before listening again: the first pause and the longest."""

_CLOSING: Final = 2.0


class Bell:
    """One listening connection of its own, opened when somebody first waits."""

    def __init__(self, database: Database) -> None:
        """Ring and listen at a database; nothing is opened yet."""
        self._db = database
        self._listener: asyncio.Task[None] | None = None
        self._ringer: asyncio.Task[None] | None = None
        self._again = False
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake those who wait, here and elsewhere, soon; many calls at once become one word.

        It is sent outside the transaction it tells of: a transaction that notifies makes all
        others that do wait for its write to the disk.
        """
        self._rung.set()
        if self._ringer is None or self._ringer.done():
            self._ringer = asyncio.create_task(self._send())
        else:
            self._again = True

    async def _send(self) -> None:
        while True:
            self._again = False
            try:
                await self._db.read("fetchval", _RING, ())
            except (RoomKitError, RuntimeError) as error:  # they will look by themselves
                logger.debug("could not tell of new work: %s", error)
            if not self._again:
                return

    async def wait(self, timeout: float) -> None:
        """Return at a ring, when listening began or broke, or after ``timeout`` seconds."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), timeout)
            self._rung.clear()

    async def _listen(self) -> None:
        """Listen until cancelled, again and again; nothing to do without a connection of ours."""
        pause = _PAUSE[0]
        expected: tuple[type[BaseException], ...] = (*caught(), RoomKitError)
        while True:
            try:
                connection = await self._db.connect()
                if connection is None:
                    await asyncio.Event().wait()
                pause = _PAUSE[0]
                await self._hear(connection)
            except expected as error:
                logger.debug("stopped listening for work: %s", type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE[1])

    async def _hear(self, connection: Any) -> None:
        """Wake at every word until the connection is lost; then close it."""
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener(_CHANNEL, lambda *_: self._rung.set())
            self._rung.set()  # what was said before is not repeated
            await lost.wait()
        finally:
            self._rung.set()
            try:
                await connection.close(timeout=_CLOSING)
            finally:
                connection.terminate()

    async def close(self) -> None:
        """Stop listening and wait for the last word to be sent. Idempotent."""
        ringer, listener = self._ringer, self._listener
        self._ringer = self._listener = None
        if listener is not None:
            listener.cancel()
        tasks = [task for task in (ringer, listener) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CLOSING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CLOSING)
        self._rung.set()
