"""Keeps what the present schema looks like, so that later releases can prove they still read it.

    .venv/bin/python -m scripts.make_fixture 0001

fills an SQLite file and a PostgreSQL database of their own with the history of
`tests/support/golden.py` and writes three files to `tests/data`:

    schema_0001.sqlite.sql    the whole database, tables included
    schema_0001.postgres.sql  its rows; the tables come from the migrations it names at the top
    schema_0001.json          what both stores say about it, which must be the same

Run it once when a migration has been added, with the next number, just before the release that
brings it; `tests/test_store/test_migrations_golden.py` then finds the files by itself. Files of a
release are never made anew: they stand for databases people have. `--replace` is for schemas that
nobody has yet.

It needs the dev extra, for PostgreSQL comes as a binary with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from roomkit.store._sql.migrations import TABLE, load
from roomkit.store.postgres import PostgresStore
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock
from tests.support.golden import MORNING, fill
from tests.support.golden_log import differences, golden_log
from tests.support.servers import any_postgres

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore

DATA = Path(__file__).resolve().parents[1] / "tests/data"

_TABLES = """\
SELECT c.oid, c.relname AS name FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> $1
ORDER BY c.oid"""  # made in this order, so what is referred to comes first
_COLUMNS = """\
SELECT attname AS name FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum"""
_SEQUENCES = """\
SELECT format('SELECT setval(%L, %s);', sequencename, last_value) AS line
FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL
ORDER BY sequencename"""


async def filled(store: DurableStore) -> dict[str, Any]:
    """Write the history into an empty store and return what it says about it."""
    await store.open()
    try:
        await fill(store)
        return await golden_log(store)
    finally:
        await store.close()


async def from_sqlite() -> tuple[str, dict[str, Any]]:
    """Return the dump and the log of an SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.db"
        log = await filled(SQLiteStore(path, clock=ManualClock(MORNING)))
        with closing(sqlite3.connect(path)) as connection:
            return "\n".join(connection.iterdump()) + "\n", log


async def from_postgres() -> tuple[str, dict[str, Any]]:
    """Return the rows and the log of a PostgreSQL database."""
    with any_postgres() as server:
        dsn = server.create_database()
        try:
            log = await filled(PostgresStore(dsn))
            connection = await asyncpg.connect(dsn)
            try:
                return await _rows(connection), log
            finally:
                await connection.close()
        finally:
            server.drop_database(dsn)


async def _rows(connection: Any) -> str:
    await connection.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
    lines = [f"-- migration {one.label} {one.checksum}" for one in load("postgres")]
    for table in await connection.fetch(_TABLES, TABLE):
        columns = [f'"{row["name"]}"' for row in await connection.fetch(_COLUMNS, table["oid"])]
        values = ", ".join(f"quote_nullable({column}::text)" for column in columns)
        order = '"seq"' if '"seq"' in columns else ", ".join(columns[:2])
        into = f'INSERT INTO "{table["name"]}" ({", ".join(columns)}) OVERRIDING SYSTEM VALUE'
        rows = await connection.fetch(
            f"SELECT concat_ws(', ', {values}) AS line FROM \"{table['name']}\" ORDER BY {order}"
        )
        lines += [f"{into} VALUES ({row['line']});" for row in rows]
    lines += [row["line"] for row in await connection.fetch(_SEQUENCES)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the files; 1 when they are there already or the stores disagree."""
    parser = argparse.ArgumentParser(description="Keep what the present schema looks like.")
    parser.add_argument("number", help="of the schema, such as 0001")
    parser.add_argument("--replace", action="store_true", help="for schemas nobody has yet")
    options = parser.parse_args()
    names = ("sqlite.sql", "postgres.sql", "json")
    paths = {name: DATA / f"schema_{options.number}.{name}" for name in names}
    if not options.replace and any(path.exists() for path in paths.values()):
        print("that schema is kept already; see --help", file=sys.stderr)
        return 1
    lite, log = asyncio.run(from_sqlite())
    postgres, other_log = asyncio.run(from_postgres())
    found = [*differences(log, other_log), *differences(other_log, log)]
    if found:
        print("the stores disagree:", *found[:20], sep="\n", file=sys.stderr)
        return 1
    DATA.mkdir(exist_ok=True)
    paths["sqlite.sql"].write_text(lite, encoding="utf-8")
    paths["postgres.sql"].write_text(postgres, encoding="utf-8")
    text = json.dumps(log, ensure_ascii=False, indent=1, sort_keys=True)
    paths["json"].write_text(f"{text}\n", encoding="utf-8")
    print(*paths.values(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
