"""The connections of a PostgresStore: opened, borrowed for one statement, mended, closed.

Every call is one statement, so there is no transaction to be left open and no connection held
while anything else is awaited.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from roomkit.exceptions import ConfigurationError
from roomkit.store._sql.migrate_postgres import apply_postgres
from roomkit.store._sql.pg_errors import Fault, caught, cause, driver, explain, fault

if TYPE_CHECKING:
    from collections.abc import Sequence

Verb = Literal["fetch", "fetchrow", "fetchval"]

_PAUSE: Final = (0.05, 0.5)
"""Seconds before connecting again: the first pause and the longest."""

_TRIES: Final = 4
"""How often a statement is begun that the database undid in favour of another."""

_CLOSING: Final = 5.0
"""Seconds ``close`` waits for statements under way."""


@cache
def connection_class() -> type[Any]:
    """Return asyncpg's connection without the questions it asks when it is given back.

    Our statements leave nothing behind: no settings, locks, cursors or listeners.
    """

    class Connection(driver().Connection):  # type: ignore[misc]
        """A connection that is given back without a round trip."""

        __slots__ = ()

        def get_reset_query(self) -> str:
            """Return nothing to run."""
            return ""

    return Connection


class Database:
    """A pool of connections to a migrated database.

    Attributes:
        dsn: As given; never shown.
        pool: The pool; None before ``open`` and after ``close``.
    """

    def __init__(
        self,
        dsn: str | None,
        pool: Any,
        *,
        connect_timeout: float,
        acquire_timeout: float,
        command_timeout: float,
        reconnect_for: float,
    ) -> None:
        """Take what ``PostgresStore`` was given; times are seconds."""
        self.dsn = dsn
        self.pool: Any = None
        self._given = pool
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._command_timeout = command_timeout
        self._reconnect_for = reconnect_for
        self._caught = caught()
        self._opening = asyncio.Lock()

    # -- life ----------------------------------------------------------------------------

    async def open(self, min_size: int, max_size: int) -> bool:
        """Connect and migrate, once; a second call waits for the first and returns False."""
        async with self._opening:
            if self.pool is not None:
                return False
            pool = self._given
            if pool is None:
                pool = await self._make_pool(min_size, max_size)
            try:
                await self._migrate(pool)
            except BaseException:
                if pool is not self._given:
                    pool.terminate()
                raise
            self.pool = pool
            return True

    async def _make_pool(self, min_size: int, max_size: int) -> Any:
        asyncpg = driver()
        try:
            return await asyncpg.create_pool(
                self.dsn,
                min_size=min_size,
                max_size=max_size,
                connection_class=connection_class(),
                timeout=self._connect_timeout,
                command_timeout=self._command_timeout,
                server_settings={"application_name": "roomkit"},
            )
        except self._caught as error:
            if isinstance(error, asyncpg.InterfaceError):
                raise _bad_dsn() from None
            kind = fault(error, begun=False)
            raise explain(error, kind) from cause(error)
        except ValueError:  # its text may quote the DSN
            raise _bad_dsn() from None

    async def _migrate(self, pool: Any) -> None:
        try:
            async with pool.acquire(timeout=self._acquire_timeout) as connection:
                await apply_postgres(connection)
        except self._caught as error:
            raise explain(error, fault(error, begun=False)) from cause(error)

    async def connect(self) -> Any:
        """Return a connection outside the pool, to be closed by the caller; None without a DSN.

        Raises:
            StoreUnavailableError: There was none to be had.
        """
        if self._given is not None:
            return None
        try:
            return await driver().connect(
                self.dsn,
                timeout=self._connect_timeout,
                server_settings={"application_name": "roomkit"},
            )
        except self._caught as error:
            raise explain(error, fault(error, begun=False)) from cause(error)

    async def close(self) -> None:
        """Close the pool, if it is ours; what takes too long is broken off."""
        pool, self.pool = self.pool, None
        if pool is None or pool is self._given:
            return
        try:
            await asyncio.wait_for(pool.close(), _CLOSING)
        except TimeoutError:
            pool.terminate()
        except BaseException:
            pool.terminate()
            raise

    # -- questions -----------------------------------------------------------------------

    async def read(self, verb: Verb, sql: str, args: Sequence[Any]) -> Any:
        """Run a statement that changes nothing; asked once more when the connection breaks."""
        return await self._run(verb, sql, args, again=True)

    async def write(self, verb: Verb, sql: str, args: Sequence[Any]) -> Any:
        """Run a statement that is its own transaction; repeated only if it was undone.

        Raises:
            StoreUnavailableError: Also when the connection broke while it ran: then it may
                have been carried out.
        """
        return await self._run(verb, sql, args, again=False)

    async def _run(self, verb: Verb, sql: str, args: Sequence[Any], *, again: bool) -> Any:
        undone = 0
        waited = 0.0
        pause = _PAUSE[0]
        while True:
            begun = False
            try:
                async with self._opened().acquire(timeout=self._acquire_timeout) as connection:
                    begun = True
                    return await getattr(connection, verb)(sql, *args)
            except self._caught as error:
                kind = fault(error, begun=begun)
                if kind is Fault.ROLLED_BACK and undone < _TRIES:
                    undone += 1
                elif kind is Fault.LOST and again:
                    again = False
                elif kind is not Fault.NO_ENTRY or waited >= self._reconnect_for:
                    raise explain(error, kind, begun=begun) from cause(error)
            await asyncio.sleep(pause)
            waited += pause
            pause = min(pause * 2, _PAUSE[1])

    def _opened(self) -> Any:
        if self.pool is None:
            raise RuntimeError(
                "the PostgresStore is not open: call init(), or use it as 'async with store:'"
            )
        return self.pool


def _bad_dsn() -> ConfigurationError:
    return ConfigurationError(
        "the DSN is not one PostgreSQL understands: use postgresql://user:password@host/database"
    )
