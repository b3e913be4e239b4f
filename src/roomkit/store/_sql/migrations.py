"""Numbered SQL that brings a database to the schema of this RoomKit.

What a migration is, where it is read from and what a database that was migrated before still
needs; running them is for ``migrate_sqlite`` and ``migrate_postgres``. Nothing here talks to a
database.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Final, Literal

from roomkit.exceptions import (
    ConfigurationError,
    ForeignDatabaseError,
    SchemaChangedError,
    SchemaTooNewError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from importlib.resources.abc import Traversable

type Dialect = Literal["sqlite", "postgres"]
"""Whose SQL it is."""

TABLE: Final = "roomkit_migrations"
"""Where a database keeps what was applied to it."""

WAIT: Final = 60.0
"""Seconds to wait for another process that is migrating the same database."""

ADVISORY_CLASS: Final = 0x524D4B54
"""First half of PostgreSQL's advisory lock for migrations; the schema's hash is the second."""

_FOLDER: Final = "roomkit.store._sql"
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NAME = re.compile(r"[a-z0-9_]+")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_CREATED = re.compile(
    r"\bCREATE\s+(?:UNLOGGED\s+|VIRTUAL\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?(\w+)\"?",
    re.IGNORECASE,
)
_SHOWN_TABLES = 8


@dataclass(frozen=True)
class Migration:
    """One step of the schema; once released it never changes.

    Attributes:
        number: Its place, from 1 on without a gap.
        name: What it is about; lower case letters, digits and underscores.
        sql: Its statements, without any of transactions.
    """

    number: int
    name: str
    sql: str

    @property
    def label(self) -> str:
        """How people call it, such as ``0001_first``."""
        return f"{self.number:04}_{self.name}"

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the SQL in hexadecimal digits; the kind of line ends does not count."""
        text = self.sql.replace("\r\n", "\n").replace("\r", "\n")
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """What a database says about a step that was applied to it."""

    number: int
    name: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One known step and whether a database has it.

    Attributes:
        migration: The step.
        applied_at: When it was applied; None while it is pending.
    """

    migration: Migration
    applied_at: datetime | None = None

    @property
    def applied(self) -> bool:
        """Whether the database has it."""
        return self.applied_at is not None


@cache
def load(dialect: Dialect) -> tuple[Migration, ...]:
    """Return the migrations this RoomKit carries, in order.

    Raises:
        ConfigurationError: The package lacks its SQL files, or they are not numbered from
            0001 on without a gap: the installation is damaged.
    """
    folder = resources.files(_FOLDER).joinpath(dialect)
    files = sorted(
        (item for item in (folder.iterdir() if folder.is_dir() else ()) if _is_sql(item)),
        key=lambda item: item.name,
    )
    if not files:
        raise ConfigurationError(
            f"this RoomKit lacks the SQL files of its {dialect} schema: install roomkit again"
        )
    return in_order(_read(item) for item in files)


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Return the migrations as given, once sure they are numbered 1, 2, 3 and so on.

    Raises:
        ConfigurationError: They are not, or a name holds something else than lower case
            letters, digits and underscores.
    """
    checked = tuple(migrations)
    for number, migration in enumerate(checked, start=1):
        if migration.number != number:
            raise ConfigurationError(
                f"migration {migration.label!r} stands where number {number:04} belongs: "
                "migrations are numbered from 0001 on without a gap"
            )
        if not _NAME.fullmatch(migration.name):
            raise ConfigurationError(
                f"the name of migration {number:04} may hold only a-z, 0-9 and underscores"
            )
    return checked


def pending(
    applied: Sequence[AppliedMigration], migrations: Sequence[Migration]
) -> tuple[Migration, ...]:
    """Return the migrations a database still needs, in order.

    Args:
        applied: What the database says it has, by number.
        migrations: What this RoomKit carries.

    Raises:
        SchemaTooNewError: The database has a migration this RoomKit does not know.
        SchemaChangedError: One that was applied is another than ours of that number, or one
            in the middle is missing.
    """
    newest = max((row.number for row in applied), default=0)
    if newest > len(migrations):
        raise SchemaTooNewError(
            f"the database has schema {newest}, but this RoomKit knows schemas up to "
            f"{len(migrations)} only: upgrade roomkit, or use another database"
        )
    for migration, row in zip(migrations, applied, strict=False):
        if row.number != migration.number:
            raise SchemaChangedError(
                f"the table {TABLE} lacks the row of migration {migration.label} though a later "
                "one is there: restore the database from a backup"
            )
        if row.checksum != migration.checksum:
            raise SchemaChangedError(
                f"migration {migration.label} was applied in another form than this RoomKit "
                "carries (their checksums differ): use the release of roomkit that made the "
                "database, or restore it from a backup"
            )
    return tuple(migrations[len(applied) :])


def statuses(
    applied: Sequence[AppliedMigration], migrations: Sequence[Migration]
) -> tuple[MigrationStatus, ...]:
    """Return each migration with the time it was applied, in order.

    Raises:
        SchemaTooNewError: As ``pending``.
        SchemaChangedError: As ``pending``.
    """
    missing = pending(applied, migrations)
    done = [
        MigrationStatus(migration, row.applied_at)
        for migration, row in zip(migrations, applied, strict=False)
    ]
    return (*done, *(MigrationStatus(migration) for migration in missing))


def without_comments(sql: str) -> str:
    """Return SQL without its comments. Texts in quotes must not hold ``--`` or ``/*``."""
    return _COMMENT.sub(" ", sql)


def created_tables(migrations: Iterable[Migration]) -> frozenset[str]:
    """Return the names of the tables that migrations create."""
    return frozenset(
        name.lower()
        for migration in migrations
        for name in _CREATED.findall(without_comments(migration.sql))
    )


def refuse_foreign(tables: Collection[str], cure: str) -> None:
    """Say that a database belongs to another program, if ``tables`` names any of its tables.

    Args:
        tables: The tables that are in the way.
        cure: What to do about it.

    Raises:
        ForeignDatabaseError: There are some.
    """
    if not tables:
        return
    names = sorted(tables)
    shown = ", ".join(names[:_SHOWN_TABLES])
    more = f" and {len(names) - _SHOWN_TABLES} more" if len(names) > _SHOWN_TABLES else ""
    raise ForeignDatabaseError(
        f"the database holds tables that RoomKit did not make ({shown}{more}) and no {TABLE}; "
        f"nothing was changed: {cure}"
    )


def script(dialect: Dialect, migrations: Iterable[Migration]) -> str:
    """Return SQL that does by hand what RoomKit does itself, bookkeeping included.

    Each migration is one transaction that also writes its row, so that the text may be run
    with ``psql -v ON_ERROR_STOP=1`` or ``sqlite3 -bail`` and repeated after a failure with what
    is pending then.
    """
    sqlite = dialect == "sqlite"
    template = _SCRIPT_SQLITE if sqlite else _SCRIPT_POSTGRES
    return "\n".join(
        template.substitute(
            table=CREATE_SQLITE if sqlite else CREATE_POSTGRES,
            lock=ADVISORY_CLASS,
            number=migration.number,
            name=migration.name,
            label=migration.label,
            checksum=migration.checksum,
            sql=migration.sql.strip(),
        )
        for migration in migrations
    )


CREATE_SQLITE: Final = """\
CREATE TABLE IF NOT EXISTS roomkit_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL
)"""

CREATE_POSTGRES: Final = """\
CREATE TABLE IF NOT EXISTS roomkit_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL
)"""

_SCRIPT_SQLITE: Final = Template("""\
-- $label
BEGIN IMMEDIATE;
$table;
$sql
INSERT INTO roomkit_migrations (number, name, checksum, applied_at)
VALUES ($number, '$name', '$checksum', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
COMMIT;
""")

_SCRIPT_POSTGRES: Final = Template("""\
-- $label
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock($lock, hashtext(current_schema()));
$table;
$sql
INSERT INTO roomkit_migrations (number, name, checksum, applied_at)
VALUES ($number, '$name', '$checksum', clock_timestamp());
COMMIT;
""")


def _is_sql(item: Traversable) -> bool:
    return item.name.endswith(".sql")


def _read(item: Traversable) -> Migration:
    found = _FILE.fullmatch(item.name)
    if found is None:
        raise ConfigurationError(
            f"{item.name!r} is no name for a migration: NNNN_name.sql in lower case is"
        )
    return Migration(int(found[1]), found[2], item.read_text(encoding="utf-8"))
