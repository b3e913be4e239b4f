"""PostgresStore: conversations of many machines in one PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from roomkit.models._ready import make_ready
from roomkit.store._sql.pg_bell import Bell
from roomkit.store._sql.pg_ends import EndSender
from roomkit.store._sql.pg_groups import CommitGroups
from roomkit.store._sql.pg_members import MembersPart
from roomkit.store._sql.pg_pool import Database
from roomkit.store._sql.pg_rooms import RoomsPart
from roomkit.store._sql.pg_timeline import TimelinePart
from roomkit.store._sql.pg_work import WorkPart
from roomkit.store._sql.window import RoomWindows

if TYPE_CHECKING:
    from types import TracebackType


class PostgresStore(TimelinePart, RoomsPart, MembersPart, WorkPart):
    """Keeps conversations and the queues of work in PostgreSQL, for any number of processes.

    A commit is one round trip and one transaction under the lock of its room's row; so is the
    end of many deliveries. What this process has seen of its latest rooms it remembers, and
    asks only what moved since. All times are the database's.

    What was said may be lost with the server's disk only: keep ``fsync`` and
    ``synchronous_commit`` on, as PostgreSQL comes.

    A call on a store whose server is away fails with ``StoreUnavailableError`` after
    ``reconnect_for`` seconds, and works again when the server is back. A write whose
    connection broke while it ran raises it too, and may have been carried out.
    """

    shared = True

    def __init__(
        self,
        dsn: str | None = None,
        pool: Any = None,
        *,
        min_size: int = 2,
        max_size: int = 10,
        connect_timeout: float = 10.0,
        acquire_timeout: float = 10.0,
        command_timeout: float = 30.0,
        reconnect_for: float = 3.0,
        remembered_rooms: int = 2000,
    ) -> None:
        """Prepare a store; ``init()``, ``open()`` or ``async with`` connects it.

        Args:
            dsn: ``postgresql://user:password@host/database``; None takes what the ``PG*``
                environment variables say.
            pool: An asyncpg pool to use instead; it is not closed, and without a connection of
                its own this process hears of work by polling only.
            min_size: Connections kept open.
            max_size: Connections at most.
            connect_timeout: Seconds to wait for a new connection.
            acquire_timeout: Seconds to wait for a free connection.
            command_timeout: Seconds to wait for an answer.
            reconnect_for: Seconds a call tries to connect again to a server that is away.
            remembered_rooms: How many rooms this process remembers.

        Raises:
            MissingDependencyError: (also an ImportError) asyncpg is not installed.
        """
        self._db = Database(
            dsn,
            pool,
            connect_timeout=connect_timeout,
            acquire_timeout=acquire_timeout,
            command_timeout=command_timeout,
            reconnect_for=reconnect_for,
        )
        self._windows = RoomWindows(remembered_rooms)
        self._bell = Bell(self._db)
        self._ends = EndSender(self._db, self._windows)
        self._groups = CommitGroups(self._db, self._ends)
        self._sizes = (min_size, max_size)

    @property
    def _pool(self) -> Any:
        """The asyncpg pool; None while the store is not open."""
        return self._db.pool

    async def init(self, min_size: int = 2, max_size: int = 10) -> None:
        """Connect, and bring the database to this RoomKit's schema. Nothing when it is open.

        Args:
            min_size: Connections kept open.
            max_size: Connections at most.

        Raises:
            ConfigurationError: The DSN is not one PostgreSQL understands.
            StoreUnavailableError: The server is away, or refuses the user.
            SchemaTooNewError: A newer RoomKit has migrated the database.
            SchemaChangedError: It was migrated by something else than this RoomKit carries.
            ForeignDatabaseError: It holds another program's tables of our names.
        """
        make_ready()
        await self._db.open(min_size, max_size)

    async def open(self) -> bool:
        """Connect as ``init`` does, with the sizes the store was made with.

        Returns:
            Whether this call opened it: who opens a store closes it.
        """
        make_ready()
        return await self._db.open(*self._sizes)

    async def close(self) -> None:
        """Close what this store opened, waiting up to 5 s for calls under way. Idempotent.

        Commits that wait for others to go first fail with ``StoreUnavailableError``; nothing
        of them was written.
        """
        self._groups.stop()
        self._ends.stop()
        try:
            await self._bell.close()
        finally:
            self._windows.clear()
            await self._db.close()
            await self._groups.ended()
            await self._ends.ended()

    async def __aenter__(self) -> Self:
        """Open the store and return it."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        await self.close()

    def __repr__(self) -> str:
        """Return where the database is, without user or password."""
        state = "closed" if self._db.pool is None else "open"
        return f"<PostgresStore {_place(self._db.dsn)} {state}>"


def _place(dsn: str | None) -> str:
    """Return host and database of a DSN; nothing else of it is safe to show."""
    if dsn is None:
        return "(environment or pool)"
    try:
        parts = urlsplit(dsn)
        host, port, name = parts.hostname, parts.port, parts.path.lstrip("/")
    except ValueError:
        return "(DSN)"
    if parts.scheme not in ("postgres", "postgresql") or "@" in (host or "") + name:
        return "(DSN)"
    return f"{host or 'local'}{f':{port}' if port else ''}/{name}"
