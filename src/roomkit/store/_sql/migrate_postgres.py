"""Runs the migrations on PostgreSQL: resumable, and by any number of processes at once."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from roomkit.store._sql.migrations import (
    ADVISORY_CLASS,
    CREATE_POSTGRES,
    TABLE,
    WAIT,
    AppliedMigration,
    created_tables,
    in_order,
    load,
    pending,
    refuse_foreign,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from roomkit.store._sql.migrations import Migration, MigrationStatus

logger = logging.getLogger("roomkit.store.migrations")

# Only the schema that new tables go to counts: a search path may name a second one that holds
# somebody else's RoomKit.
_READ: Final = """\
SELECT m.number, m.name, m.checksum, m.applied_at
FROM roomkit_migrations AS m
JOIN pg_catalog.pg_class AS c ON c.oid = m.tableoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema()
ORDER BY m.number"""
# The same under another text, asked only once the table is there: a session keeps the plan of
# the first, which stays with a table further down the path although one has come before it.
_READ_OURS: Final = f"{_READ} -- ours"
_TABLES: Final = """\
SELECT current_schema() AS schema, array(
    SELECT c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
) AS tables"""
_BOUNDS: Final = """\
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true)"""
# Held to the end of the transaction, so that it works behind a pooler as well.
_LOCK: Final = "SELECT pg_advisory_xact_lock($1::int, hashtext(current_schema()))"
_WRITE: Final = """\
INSERT INTO roomkit_migrations (number, name, checksum, applied_at)
VALUES ($1, $2, $3, clock_timestamp())"""
_CURE: Final = "give RoomKit an empty database, or a schema of its own by search_path"

_LONGEST: Final = 3600.0
"""Seconds one migration may take; a pool's command timeout is meant for traffic."""

_DATA_CLASSES: Final = ("22", "23")
"""Classes of errors whose texts quote stored values."""


async def apply_postgres(
    connection: Any,
    *,
    migrations: Sequence[Migration] | None = None,
    wait: float = WAIT,
) -> list[Migration]:
    """Bring a database to the schema of this RoomKit and return what was applied.

    Each migration is one transaction together with its row, so that a crash leaves a prefix
    that the next call goes on from. One SELECT is all it takes when nothing is to do.

    Args:
        connection: An asyncpg connection, not within a transaction.
        migrations: Instead of those RoomKit carries.
        wait: Seconds to wait for another process that is migrating, and for each table lock.

    Raises:
        SchemaTooNewError: A newer RoomKit has migrated it.
        SchemaChangedError: A migration that was applied is not ours.
        ForeignDatabaseError: It holds another program's tables of our names.
        StoreUnavailableError: The connection was lost, or a lock was not free in time.
        StoreError: A migration failed; those before it are applied.
        ConfigurationError: The connection is within a transaction, or has no schema.
        MissingDependencyError: asyncpg is not installed.
    """
    wanted = load("postgres") if migrations is None else in_order(migrations)
    if connection.is_in_transaction():
        raise ConfigurationError(
            "migrations need a connection without a transaction of its own: commit it first"
        )
    done: list[Migration] = []
    with _explained(connection):
        missing = pending(await _applied(connection, wanted), wanted)
        while missing:
            migration = await _step(connection, wanted, wait)
            if migration is None:
                break
            logger.info("applied migration %s", migration.label)
            done.append(migration)
            missing = wanted[migration.number :]
    return done


async def status_postgres(
    connection: Any, *, migrations: Sequence[Migration] | None = None
) -> tuple[MigrationStatus, ...]:
    """Return each migration and whether the database has it; nothing is written.

    Raises:
        SchemaTooNewError: As ``apply_postgres``, like all below.
        SchemaChangedError: A migration that was applied is not ours.
        ForeignDatabaseError: It holds another program's tables of our names.
        StoreUnavailableError: The connection was lost.
        ConfigurationError: The connection is within a transaction, or has no schema.
    """
    wanted = load("postgres") if migrations is None else in_order(migrations)
    if connection.is_in_transaction():
        raise ConfigurationError("the status needs a connection without a transaction")
    with _explained(connection):
        return statuses(await _applied(connection, wanted), wanted)


async def _applied(connection: Any, wanted: Sequence[Migration]) -> list[AppliedMigration]:
    """Return what the database has, by one SELECT if it has any."""
    asyncpg = require("asyncpg", user="PostgresStore", extra="postgres")
    try:
        rows = await connection.fetch(_READ)
    except asyncpg.UndefinedTableError:
        rows = []
    return _as_applied(rows) if rows else await _first_look(connection, wanted)


async def _first_look(connection: Any, wanted: Sequence[Migration]) -> list[AppliedMigration]:
    """Return what a database has that seems to have nothing; refuse another program's.

    Whether the table is there is asked first: within a transaction a failed SELECT ends it.
    """
    found = await connection.fetchrow(_TABLES)
    if found["schema"] is None:
        raise ConfigurationError(
            "the database has no schema for new tables: create the one search_path names"
        )
    # One question, not two: between them another process may have made all tables.
    tables = set(found["tables"])
    if TABLE in tables:
        return _as_applied(await connection.fetch(_READ_OURS))
    refuse_foreign(tables & created_tables(wanted), _CURE)
    return []


def _as_applied(rows: Sequence[Any]) -> list[AppliedMigration]:
    return [AppliedMigration(*row) for row in rows]


async def _step(connection: Any, wanted: Sequence[Migration], wait: float) -> Migration | None:
    """Apply the first missing migration under the lock; None when none is missing."""
    # Read committed whatever the session's default: what is asked after the wait for the lock
    # must see what its former holder did.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_BOUNDS, f"{int(wait * 1000)}ms")
        await connection.execute(_LOCK, ADVISORY_CLASS, timeout=wait + 10.0)
        missing = pending(await _first_look(connection, wanted), wanted)
        if not missing:
            return None
        migration = missing[0]
        await connection.execute(CREATE_POSTGRES)
        with _explained(connection, migration):
            await connection.execute(migration.sql, timeout=_LONGEST)
        await connection.execute(_WRITE, migration.number, migration.name, migration.checksum)
    return migration


@contextmanager
def _explained(connection: Any, migration: Migration | None = None) -> Iterator[None]:
    """Turn what asyncpg and the server say into our errors, with the cure."""
    asyncpg = require("asyncpg", user="PostgresStore", extra="postgres")
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise StoreUnavailableError(
            "another process is migrating the database, or holds one of its tables: "
            "try again when it is done"
        ) from error
    except (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError) as error:
        raise StoreUnavailableError(
            "the database has to be migrated, but this user may not create tables there: "
            "run 'roomkit migrate up' as its owner, on the primary server"
        ) from error
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
        raise _lost() from error
    except asyncpg.PostgresError as error:
        what = f"migration {migration.label}" if migration else "reading the schema"
        quotes_data = (error.sqlstate or "").startswith(_DATA_CLASSES)
        said = type(error).__name__ if quotes_data else error.message
        raise StoreError(f"{what} failed, nothing of it was kept: {said}") from (
            None if quotes_data else error
        )
    except asyncpg.InterfaceError as error:
        if not connection.is_closed():
            raise  # in use by another task: the caller's mistake
        raise _lost() from error
    except TimeoutError as error:
        raise StoreUnavailableError(
            "the database did not answer in time while it was migrated: try again"
        ) from error
    except OSError as error:
        raise _lost() from error


def _lost() -> StoreUnavailableError:
    return StoreUnavailableError(
        "the connection was lost while the database was migrated: try again, what was done is kept"
    )
