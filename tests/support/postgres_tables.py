"""What tests do to the tables of a PostgresStore behind its back."""

from __future__ import annotations

import asyncpg

_QUEUES = ("workers", "deliveries", "inbox")
_COLUMNS = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = ANY($1)
      AND data_type = 'timestamp with time zone'
    ORDER BY table_name, column_name
"""
_TABLES = """
    SELECT tablename FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT LIKE '%migration%' ORDER BY tablename
"""


async def age(dsn: str, seconds: float) -> None:
    """Let time pass for a store whose clock is the server's: make what is queued older.

    Args:
        dsn: The database.
        seconds: By how much.
    """
    connection = await asyncpg.connect(dsn)
    try:
        found: dict[str, list[str]] = {}
        for table, column in await connection.fetch(_COLUMNS, list(_QUEUES)):
            found.setdefault(table, []).append(column)
        assert sorted(found) == sorted(_QUEUES), "the queues are kept elsewhere"
        for table, columns in found.items():
            older = ", ".join(
                f"{column} = {column} - $1::float8 * interval '1 second'" for column in columns
            )
            # Names from the catalogue, never from data.
            await connection.execute(f"UPDATE {table} SET {older}", seconds)
    finally:
        await connection.close()


async def empty(dsn: str) -> None:
    """Remove everything but the schema: much faster than a new database.

    Args:
        dsn: The database; it may still be without tables.
    """
    connection = await asyncpg.connect(dsn)
    try:
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        # DELETE, since TRUNCATE has the server write out files. Names from the catalogue.
        if tables:
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in tables))
    finally:
        await connection.close()
