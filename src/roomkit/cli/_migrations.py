"""What `roomkit migrate` does: finds the database, asks or changes it, prints."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from roomkit._lazy import require
from roomkit.cli._command import ExitCode, UsageError
from roomkit.cli._output import write_json, write_line
from roomkit.exceptions import ConfigurationError, StoreUnavailableError
from roomkit.store._sql.lite_errors import explain
from roomkit.store._sql.migrate_postgres import apply_postgres, status_postgres
from roomkit.store._sql.migrate_sqlite import apply_sqlite, status_sqlite
from roomkit.store._sql.migrations import load, script, statuses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from roomkit.store._sql.migrations import Dialect, Migration, MigrationStatus

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
_CONNECT_TIMEOUT: Final = 10.0
"""Seconds a PostgreSQL server may take to let us in."""


@dataclass(frozen=True, slots=True)
class Target:
    """A database to work on.

    Attributes:
        dialect: What kind it is.
        location: Its DSN, which may hold a password, or its path.
    """

    dialect: Dialect
    location: str = field(repr=False)


def parse_dsn(dsn: str) -> Target:
    """Return the database a DSN or a plain path names.

    Raises:
        UsageError: It names none we know; the text does not repeat it.
    """
    if dsn.startswith(_POSTGRES):
        return Target("postgres", dsn)
    path = dsn.removeprefix(_SQLITE)
    if "://" in path:
        raise UsageError(
            "a DSN begins with postgresql:// or sqlite:/// (three slashes and the path); "
            "a plain path names an SQLite file"
        )
    if path in {"", ":memory:"}:
        raise UsageError(
            "the DSN names no file: a database in memory cannot be migrated from here"
        )
    return Target("sqlite", path)


def print_status(target: Target, *, as_json: bool = False) -> int:
    """List the migrations; PROBLEM when some are pending.

    Raises:
        StoreError: The database cannot be asked, or is not one of this RoomKit's.
        ConfigurationError: The DSN cannot be read.
    """
    found = _status(target)
    up_to_date = all(status.applied for status in found)
    if as_json:
        write_json(
            {
                "dialect": target.dialect,
                "up_to_date": up_to_date,
                "migrations": [
                    {
                        "number": status.migration.number,
                        "name": status.migration.name,
                        "checksum": status.migration.checksum,
                        "applied_at": status.applied_at and status.applied_at.isoformat(),
                    }
                    for status in found
                ],
            }
        )
    else:
        width = max(len(status.migration.label) for status in found)
        for status in found:
            write_line(f"{status.migration.label:<{width}}  {_state(status)}")
    return ExitCode.OK if up_to_date else ExitCode.PROBLEM


def migrate_up(target: Target) -> int:
    """Apply what is pending and say so.

    Raises:
        StoreError: The database cannot be changed, or is not one of this RoomKit's.
        ConfigurationError: The DSN cannot be read.
    """
    if target.dialect == "postgres":
        done = _with_postgres(target, apply_postgres)
    else:
        done = _with_sqlite(target, "rwc", apply_sqlite)
    for migration in done:
        write_line(f"applied {migration.label}")
    write_line(f"up to date: {load(target.dialect)[-1].label}")
    return ExitCode.OK


def print_pending(target: Target) -> int:
    """Print the SQL a database lacks.

    Raises:
        StoreError: The database cannot be asked, or is not one of this RoomKit's.
        ConfigurationError: The DSN cannot be read.
    """
    return _print_sql(
        target.dialect, [status.migration for status in _status(target) if not status.applied]
    )


def print_every_migration(dialect: Dialect) -> int:
    """Print the SQL that brings an empty database to this RoomKit's schema."""
    return _print_sql(dialect, load(dialect))


def _print_sql(dialect: Dialect, migrations: Sequence[Migration]) -> int:
    write_line(script(dialect, migrations).rstrip() or "-- nothing is pending")
    return ExitCode.OK


def _state(status: MigrationStatus) -> str:
    if status.applied_at is None:
        return "pending"
    return f"applied {status.applied_at:%Y-%m-%d %H:%M:%S} UTC"


def _status(target: Target) -> tuple[MigrationStatus, ...]:
    if target.dialect == "postgres":
        return _with_postgres(target, status_postgres)
    if not Path(target.location).exists():
        return statuses((), load("sqlite"))  # asking would make the file
    return _with_sqlite(target, "rw", status_sqlite)


def _with_sqlite[T](target: Target, mode: str, work: Callable[[sqlite3.Connection], T]) -> T:
    path = Path(target.location).absolute()
    if not path.parent.is_dir():
        raise StoreUnavailableError("the folder of the database does not exist: make it first")
    if path.is_dir():
        raise StoreUnavailableError("the database is a folder: name the file within it")
    try:
        # "rw" turns into reading alone where the file is write-protected.
        connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True)
    except sqlite3.Error as error:
        raise explain(error, path.name) from error
    with closing(connection):
        return work(connection)


def _with_postgres[T](target: Target, work: Callable[[Any], Awaitable[T]]) -> T:
    async def connected() -> T:
        connection = await _connect(target.location)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=_CONNECT_TIMEOUT)

    return asyncio.run(connected())


async def _connect(dsn: str) -> Any:
    """Return a connection; no error quotes the DSN, for it may hold a password."""
    asyncpg = require("asyncpg", user="roomkit migrate", extra="postgres")
    try:
        return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT)
    except asyncpg.InvalidAuthorizationSpecificationError:
        raise StoreUnavailableError(
            "the PostgreSQL server refused the user or the password: check both"
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise StoreUnavailableError(
            "the PostgreSQL server has no database of this name: create it first (createdb)"
        ) from None
    except asyncpg.PostgresError as error:
        raise StoreUnavailableError(
            f"the PostgreSQL server refused the connection ({type(error).__name__}): try again, "
            "or see the server's log"
        ) from None
    except (OSError, TimeoutError):
        raise StoreUnavailableError(
            "the PostgreSQL server cannot be reached: check host and port, and that it runs"
        ) from None
    except (ValueError, asyncpg.InterfaceError):
        raise ConfigurationError(
            "the DSN cannot be read: postgresql://user@host:5432/database is what one looks "
            "like, with special characters of user and password percent-encoded"
        ) from None
