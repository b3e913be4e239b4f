"""Room locks kept by PostgreSQL: for several processes that share its store anyway."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit._pump import Pump, ServerDown
from roomkit.core._leases import LeaseLockManager
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.core._leases import Lease, OnDown

_ASK, _TAKE, _FREE = 0, 1, 2

# One statement for whole batches; unnest gives its rows in the order of the arrays.
_RUN = """\
SELECT CASE op WHEN 1 THEN pg_try_advisory_lock(key)
               WHEN 2 THEN pg_advisory_unlock(key)
               ELSE true END
FROM unnest($1::int[], $2::bigint[]) AS calls(op, key)"""

type _Call = tuple[int, Lease | None]
"""What to do, and for which lease."""

_SETTINGS = {
    "application_name": "roomkit-locks",
    # A machine that vanished without a word loses its locks within some 15 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}


class PostgresLockManager(LeaseLockManager):
    """Locks rooms for all processes that use the same database and prefix.

    Locks are advisory locks of one connection this manager keeps, so they end with it: when
    the connection breaks every hold is ``lost`` and the next acquire connects anew. Inside
    one process rooms are handed over first come, first served; between processes nothing is
    promised about the order.

    Needs a connection to the server itself or through a proxy in session mode; a proxy that
    hands connections out by the transaction would lose the locks.

    Args:
        server: A DSN, or an asyncpg pool, which stays yours to close: one of its connections
            is kept for good.
        check_every: Seconds between two looks at whether the connection lives, while a room
            is locked.
        silence: Seconds after the server's last word from which on a hold counts as lost.
        prefix: What sets these locks apart from other users of the database.
        wait_timeout: Seconds to wait for a room another process holds.
        command_timeout: Seconds one statement may take, and connecting as well.
        on_down: What acquiring does while the server is down: ``"local"`` (default) goes on
            with the lock inside the process alone, the store's transaction being the fence;
            ``"refuse"`` raises StoreUnavailableError.
        clock: Where time comes from.

    One event loop at a time. Close it when its kit is closed, or use ``async with``.

    Raises:
        MissingDependencyError: The ``postgres`` extra is not installed.
        InvalidInputError: A number makes no sense.
    """

    def __init__(
        self,
        server: Any,
        *,
        check_every: float = 2.0,
        silence: float = 10.0,
        prefix: str = "roomkit:lock:",
        wait_timeout: float = 30.0,
        command_timeout: float = 0.8,
        on_down: OnDown = "local",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            lease=silence,
            check_every=check_every,
            command_timeout=command_timeout,
            wait_timeout=wait_timeout,
            on_down=on_down,
            clock=clock,
        )
        self._asyncpg = require("asyncpg", user="PostgresLockManager", extra="postgres")
        self._errors = errors = import_module("asyncpg.exceptions")
        # The client library's own errors count: it raises them, for one, when the server's
        # farewell arrives just as a statement is being sent.
        self._broken = (
            errors.PostgresError,
            errors.InterfaceError,
            errors.InternalClientError,
            OSError,
        )
        self._prefix = prefix
        self._dsn = server if isinstance(server, str) else None
        self._pool = None if isinstance(server, str) else server
        self._connection: Any = None
        self._pump = Pump(self._send, self._tasks)

    def _key(self, room_id: str) -> int:
        """Return the 64-bit number that stands for a room."""
        name = f"{self._prefix}{room_id}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)

    def _local_name(self, room_id: str) -> str:
        # The server lets one connection take the same lock twice: should two rooms ever have
        # the same number, they must exclude each other here.
        return str(self._key(room_id))

    async def _take(self, lease: Lease) -> bool:
        _, taken = await self._pump.call((_TAKE, lease), self._patience)
        return bool(taken)

    async def _free(self, lease: Lease) -> None:
        # Behind the call that may have taken it, and never taken back itself.
        await self._pump.submit((_FREE, lease))

    async def _check(self, leases: list[Lease]) -> None:
        sent = self._clock.monotonic()
        connection, _ = await self._pump.call((_ASK, None), self._patience)
        for lease in leases:
            if lease.session is connection:
                self._confirmed(lease, sent)
            else:
                self._ended(lease)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._broke)
            await self._give_back(connection)

    # The connection. Only the pump's task uses it.

    async def _send(self, calls: list[_Call]) -> list[tuple[Any, bool]]:
        """Run a batch; once more on a new connection when the old one proves broken."""
        fresh = self._connection is None
        while True:
            connection = await self._connected()
            ops, keys = self._written(calls, connection)
            try:
                rows = await connection.fetch(_RUN, ops, keys, timeout=self._patience)
            except self._broken as exc:
                # Includes TimeoutError. What it did is unknown, so its session must end.
                self._broke(connection)
                if fresh or isinstance(exc, TimeoutError):
                    raise ServerDown(type(exc).__name__) from exc
                fresh = True
            else:
                return [(connection, row[0]) for row in rows]

    def _written(self, calls: list[_Call], session: Any) -> tuple[list[int], list[int]]:
        """Return a batch as the statement wants it, noting in which session leases are taken.

        A lease of an earlier session ended with that, so there is nothing to free; by now its
        number may be another lease's.
        """
        ops, keys = [], []
        for op, lease in calls:
            if lease is not None and op == _TAKE:
                lease.session = session
            elif lease is not None and lease.session is session:
                lease.session = None
            else:
                op = _ASK
            ops.append(op)
            keys.append(0 if lease is None else self._key(lease.room_id))
        return ops, keys

    async def _connected(self) -> Any:
        if self._connection is None:
            connection = await self._connect()
            connection.add_termination_listener(self._broke)
            self._connection = connection
        return self._connection

    async def _connect(self) -> Any:
        errors = self._errors
        try:
            if self._pool is not None:
                return await self._pool.acquire(timeout=self._patience)
            return await self._asyncpg.connect(
                self._dsn, timeout=self._patience, server_settings=_SETTINGS
            )
        except (
            errors.InvalidAuthorizationSpecificationError,
            errors.InvalidCatalogNameError,
        ) as exc:
            raise ConfigurationError(
                f"PostgreSQL refuses PostgresLockManager ({type(exc).__name__}): "
                "check the user, the password and the database"
            ) from exc
        except (errors.PostgresError, errors.InternalClientError, OSError) as exc:
            raise ServerDown(type(exc).__name__) from exc
        except (errors.InterfaceError, ValueError):
            # Not chained: the text may quote the DSN, and that may hold a password.
            raise ConfigurationError(
                "PostgresLockManager cannot use what it was given: pass "
                "postgresql://user@host:port/database (special characters in the password "
                "%-encoded), or an open asyncpg pool"
            ) from None

    def _broke(self, connection: Any) -> None:
        """Forget a connection; every hold on it is lost. Also called by asyncpg itself."""
        if connection is not self._connection:
            return
        self._connection = None
        for lease in self._leases.values():
            if lease.session is connection:
                self._ended(lease)
        connection.terminate()
        if self._pool is not None and not self._over:
            self._tasks.start(self._give_back(connection))

    async def _give_back(self, connection: Any) -> None:
        """End a connection of our own, or return the pool's."""
        try:
            async with asyncio.timeout(self._patience):
                if self._pool is not None:
                    await self._pool.release(connection)
                else:
                    await connection.close()
        except self._broken:
            connection.terminate()
