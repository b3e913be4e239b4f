"""Runs the migrations on an SQLite file: resumable, and by any number of processes at once."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from roomkit.exceptions import ConfigurationError, StoreError
from roomkit.store._sql.lite_errors import code_of, explain
from roomkit.store._sql.migrations import (
    CREATE_SQLITE,
    TABLE,
    WAIT,
    AppliedMigration,
    in_order,
    load,
    pending,
    refuse_foreign,
    statuses,
    without_comments,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from roomkit.store._sql.migrations import Migration, MigrationStatus

logger = logging.getLogger("roomkit.store.migrations")

_READ: Final = "SELECT number, name, checksum, applied_at FROM roomkit_migrations ORDER BY number"
_TABLES: Final = (
    "SELECT name FROM sqlite_master"
    r" WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
)
_WRITE: Final = (
    "INSERT INTO roomkit_migrations (number, name, checksum, applied_at)"
    " VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
)
_CURE: Final = "give RoomKit a file of its own"

_FAULTY: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT})
"""What a migration itself is to blame for, or a table of our name with other columns."""


def apply_sqlite(
    connection: sqlite3.Connection,
    *,
    migrations: Sequence[Migration] | None = None,
    wait: float = WAIT,
) -> list[Migration]:
    """Bring a database to the schema of this RoomKit and return what was applied.

    Each migration is one transaction together with its row, so that a crash leaves a prefix
    that the next call goes on from. One SELECT is all it takes when nothing is to do.
    Call it before anything else that writes, ``PRAGMA journal_mode`` included: a refused
    database is then left as it was.

    Args:
        connection: Not within a transaction. Its busy timeout is put back afterwards.
        migrations: Instead of those RoomKit carries.
        wait: Seconds to wait for another process that holds the database.

    Raises:
        SchemaTooNewError: A newer RoomKit has migrated it.
        SchemaChangedError: A migration that was applied is not ours.
        ForeignDatabaseError: It is another program's, or no SQLite database at all.
        StoreUnavailableError: It is locked, cannot be written, full or damaged.
        StoreError: A migration failed; those before it are applied.
        ConfigurationError: The connection is within a transaction.
    """
    wanted = load("sqlite") if migrations is None else in_order(migrations)
    if connection.in_transaction:
        raise ConfigurationError(
            "migrations need a connection without a transaction of its own: "
            "commit first, and do not open it with autocommit=False"
        )
    cursor = _cursor(connection)
    done: list[Migration] = []
    with _explained(connection), _patience(cursor, wait):
        missing = pending(_applied(cursor), wanted)
        while missing:
            migration = _step(cursor, wanted)
            if migration is None:
                break
            logger.info("applied migration %s", migration.label)
            done.append(migration)
            missing = wanted[migration.number :]
    return done


def status_sqlite(
    connection: sqlite3.Connection, *, migrations: Sequence[Migration] | None = None
) -> tuple[MigrationStatus, ...]:
    """Return each migration and whether the database has it; nothing is written.

    Raises:
        SchemaTooNewError: As ``apply_sqlite``, like all below.
        SchemaChangedError: A migration that was applied is not ours.
        ForeignDatabaseError: It is another program's, or no SQLite database at all.
        StoreUnavailableError: It cannot be read.
    """
    wanted = load("sqlite") if migrations is None else in_order(migrations)
    with _explained(connection):
        return statuses(_applied(_cursor(connection)), wanted)


def _cursor(connection: sqlite3.Connection) -> sqlite3.Cursor:
    cursor = connection.cursor()
    cursor.row_factory = None  # whatever shape of rows the owner of the connection likes
    return cursor


def _applied(cursor: sqlite3.Cursor) -> list[AppliedMigration]:
    """Return what the database has; refuse it when it is another program's."""
    try:
        rows = cursor.execute(_READ).fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        # One question, not two: between them another process may have made all tables.
        tables = {str(name) for (name,) in cursor.execute(_TABLES)}
        if TABLE in tables:
            # Either made a moment ago, or by somebody else with other columns: that is told.
            rows = cursor.execute(_READ).fetchall()
        else:
            refuse_foreign(tables, _CURE)
            return []
    return [
        AppliedMigration(int(number), str(name), str(checksum), _time(str(applied_at)))
        for number, name, checksum, applied_at in rows
    ]


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)  # it was applied, whenever that was


def _step(cursor: sqlite3.Cursor, wanted: Sequence[Migration]) -> Migration | None:
    """Apply the first missing migration under the write lock; None when none is missing."""
    cursor.execute("BEGIN IMMEDIATE")
    try:
        # Looked at again: another process may have been faster.
        missing = pending(_applied(cursor), wanted)
        if not missing:
            cursor.execute("ROLLBACK")
            return None
        migration = missing[0]
        cursor.execute(CREATE_SQLITE)
        with _explained(cursor.connection, migration):
            for statement in _statements(migration):
                cursor.execute(statement)
                _refuse_end(cursor, migration)
        cursor.execute(_WRITE, (migration.number, migration.name, migration.checksum))
        cursor.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, such as a full disk.
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return migration


def _statements(migration: Migration) -> Iterator[str]:
    """Yield the statements one by one: ``executescript`` would commit before it starts."""
    gathered = ""
    *pieces, rest = migration.sql.split(";")
    for piece in pieces:
        gathered += f"{piece};"
        # A semicolon within a text, a comment or a trigger completes nothing.
        if sqlite3.complete_statement(gathered):
            yield gathered.strip()
            gathered = ""
    if without_comments(gathered + rest).strip():
        raise StoreError(
            f"migration {migration.label} ends within a statement: a semicolon is missing"
        )


def _refuse_end(cursor: sqlite3.Cursor, migration: Migration) -> None:
    if not cursor.connection.in_transaction:
        raise StoreError(
            f"migration {migration.label} ended its transaction: a migration must not hold "
            "BEGIN, COMMIT or ROLLBACK"
        )


@contextmanager
def _patience(cursor: sqlite3.Cursor, wait: float) -> Iterator[None]:
    (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    cursor.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {int(before)}")


@contextmanager
def _explained(
    connection: sqlite3.Connection, migration: Migration | None = None
) -> Iterator[None]:
    """Turn what SQLite says into our errors, with the cure."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) is None:
            raise  # a closed connection or another thread's: the caller's mistake
        if code_of(error) in _FAULTY:
            what = f"migration {migration.label}" if migration else "reading the schema"
            raise StoreError(f"{what} failed, nothing of it was kept: {error}") from error
        _, _, file = connection.execute("PRAGMA database_list").fetchone()
        raise explain(error, PurePath(file).name or ":memory:") from error
