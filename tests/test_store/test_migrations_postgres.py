"""Migrations on PostgreSQL: in order, once, resumable, by many processes, on our data only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from roomkit.exceptions import (
    ConfigurationError,
    ForeignDatabaseError,
    SchemaChangedError,
    SchemaTooNewError,
    StoreError,
    StoreUnavailableError,
)
from roomkit.store._sql.migrate_postgres import apply_postgres, status_postgres
from roomkit.store._sql.migrations import ADVISORY_CLASS, TABLE, Migration, load, script
from tests.support.migrations import BROKEN_SECOND, FIRST, SECOND, migrate_at_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOTH = [FIRST, SECOND]
LOCK = f"SELECT pg_advisory_xact_lock({ADVISORY_CLASS}, hashtext(current_schema()))"


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Any]:
    """A connection to an empty database."""
    opened = await asyncpg.connect(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def other(postgres_dsn: str) -> AsyncIterator[Any]:
    """A second connection to the same database."""
    opened = await asyncpg.connect(postgres_dsn)
    yield opened
    await opened.close()


async def tables(connection: Any) -> set[str]:
    """Return the tables of the schema new ones go to."""
    return {
        row["tablename"]
        for row in await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
    }


async def until_asleep(connection: Any) -> None:
    """Return when another session of the same database is within ``pg_sleep``."""
    await connection.execute(
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE wait_event = 'PgSleep' AND datname = current_database()"
        " AND pid <> pg_backend_pid()) LOOP"
        " PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
        timeout=20,
    )


class TestApplying:
    async def test_the_missing_ones_are_applied_in_order(self, connection: Any) -> None:
        """What was done comes back, and a second call does nothing."""
        assert await apply_postgres(connection, migrations=[FIRST]) == [FIRST]
        assert await apply_postgres(connection, migrations=BOTH) == [SECOND]
        assert await apply_postgres(connection, migrations=BOTH) == []
        assert await tables(connection) == {TABLE, "rooms", "events", "tasks"}

    async def test_our_own_schema_applies_once(self, connection: Any) -> None:
        """Each migration is recorded with its checksum."""
        assert await apply_postgres(connection) == list(load("postgres"))
        assert await apply_postgres(connection) == []
        rows = await connection.fetch(f"SELECT * FROM {TABLE} ORDER BY number")
        recorded = [(row["number"], row["name"], row["checksum"]) for row in rows]
        assert recorded == [(m.number, m.name, m.checksum) for m in load("postgres")]

    async def test_nothing_to_do_takes_one_select(self, connection: Any, other: Any) -> None:
        """And no lock: another may hold it."""
        await apply_postgres(connection, migrations=BOTH)
        seen: list[str] = []
        connection.add_query_logger(lambda record: seen.append(record.query))
        async with other.transaction():
            await other.execute(LOCK)
            assert await apply_postgres(connection, migrations=BOTH, wait=0.0) == []
        (statement,) = seen
        assert statement.startswith("SELECT")

    async def test_a_pooled_connection_keeps_its_settings(self, postgres_dsn: str) -> None:
        """The bounds of the migration end with it; a short command timeout does not bind it."""
        slow = Migration(1, "first", "SELECT pg_sleep(0.3);")
        async with (
            asyncpg.create_pool(
                postgres_dsn,
                min_size=1,
                max_size=1,
                command_timeout=0.2,
                server_settings={"statement_timeout": "250", "lock_timeout": "123"},
            ) as pool,
            pool.acquire() as pooled,
        ):
            assert await apply_postgres(pooled, migrations=[slow]) == [slow]
            assert await pooled.fetchval("SHOW lock_timeout") == "123ms"
            assert await pooled.fetchval("SHOW statement_timeout") == "250ms"

    async def test_a_transaction_of_the_caller_is_refused(self, connection: Any) -> None:
        """Each migration is to be committed on its own."""
        async with connection.transaction():
            with pytest.raises(ConfigurationError, match="commit it first"):
                await apply_postgres(connection, migrations=BOTH)
            with pytest.raises(ConfigurationError, match="without a transaction"):
                await status_postgres(connection, migrations=BOTH)

    async def test_by_hand_gives_the_same_rows(self, connection: Any) -> None:
        """The printed SQL does the bookkeeping as well."""
        await connection.execute(script("postgres", load("postgres")))
        assert await apply_postgres(connection) == []
        assert all(status.applied for status in await status_postgres(connection))


class TestSchemas:
    async def test_each_schema_is_a_database_of_its_own(self, connection: Any) -> None:
        """Another schema further down the search path does not count."""
        await apply_postgres(connection, migrations=BOTH)
        await connection.execute("CREATE SCHEMA tenant; SET search_path = tenant, public")
        assert [s.applied for s in await status_postgres(connection, migrations=BOTH)] == [
            False,
            False,
        ]
        assert await apply_postgres(connection, migrations=BOTH) == BOTH
        assert await tables(connection) == {TABLE, "rooms", "events", "tasks"}

    async def test_a_search_path_that_leads_nowhere(self, connection: Any) -> None:
        """The cure is told."""
        await connection.execute("SET search_path = nowhere")
        with pytest.raises(ConfigurationError, match="no schema for new tables"):
            await apply_postgres(connection, migrations=BOTH)


class TestStatus:
    async def test_it_names_applied_and_pending_and_writes_nothing(self, connection: Any) -> None:
        """An empty database stays empty."""
        found = await status_postgres(connection, migrations=BOTH)
        assert [status.applied for status in found] == [False, False]
        assert await tables(connection) == set()
        await apply_postgres(connection, migrations=[FIRST])
        first, second = await status_postgres(connection, migrations=BOTH)
        assert first.applied_at is not None
        assert first.applied_at.tzinfo is not None
        assert second.applied_at is None


class TestResuming:
    async def test_a_failed_one_leaves_those_before_it(self, connection: Any) -> None:
        """Of the failed one nothing is kept, and a mended one goes on from there."""
        with pytest.raises(StoreError, match=r"migration 0002_second failed.*rooms") as caught:
            await apply_postgres(connection, migrations=[FIRST, BROKEN_SECOND])
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
        assert await tables(connection) == {TABLE, "rooms"}
        assert not connection.is_in_transaction()
        assert await apply_postgres(connection, migrations=BOTH) == [SECOND]

    async def test_a_lost_connection_leaves_a_prefix(self, connection: Any, other: Any) -> None:
        """The server ends it in the middle of the second: the next goes on from the first."""
        bad = Migration(
            2,
            "second",
            "CREATE TABLE events (id text); SELECT pg_terminate_backend(pg_backend_pid());",
        )
        with pytest.raises(StoreUnavailableError, match="connection was lost"):
            await apply_postgres(connection, migrations=[FIRST, bad])
        assert await tables(other) == {TABLE, "rooms"}
        assert await apply_postgres(other, migrations=BOTH) == [SECOND]

    async def test_a_cancelled_one_leaves_a_prefix(self, connection: Any, other: Any) -> None:
        """CancelledError passes, and the lock is free."""
        slow = Migration(2, "second", "CREATE TABLE events (id text); SELECT pg_sleep(50);")
        task = asyncio.create_task(apply_postgres(connection, migrations=[FIRST, slow]))
        await until_asleep(other)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await tables(other) == {TABLE, "rooms"}
        assert await apply_postgres(other, migrations=BOTH) == [SECOND]

    async def test_errors_do_not_quote_stored_values(self, connection: Any) -> None:
        """A migration that stumbles over data tells its kind of error only."""
        await apply_postgres(connection, migrations=[FIRST])
        await connection.execute("INSERT INTO rooms VALUES ('+15550001')")
        bad = Migration(2, "second", "INSERT INTO rooms SELECT id FROM rooms;")
        with pytest.raises(StoreError, match="UniqueViolationError") as caught:
            await apply_postgres(connection, migrations=[FIRST, bad])
        assert caught.value.__cause__ is None
        assert "5550001" not in str(caught.value)


class TestRefusing:
    async def test_a_newer_schema(self, connection: Any) -> None:
        """By applying and by asking; nothing is changed."""
        await apply_postgres(connection, migrations=BOTH)
        for work in (apply_postgres, status_postgres):
            with pytest.raises(SchemaTooNewError, match="upgrade roomkit"):
                await work(connection, migrations=[FIRST])
        assert await tables(connection) == {TABLE, "rooms", "events", "tasks"}

    async def test_a_changed_migration(self, connection: Any) -> None:
        """Even when others are pending."""
        await apply_postgres(connection, migrations=[FIRST])
        changed = Migration(1, "first", "CREATE TABLE rooms (id uuid);")
        with pytest.raises(SchemaChangedError, match="0001_first"):
            await apply_postgres(connection, migrations=[changed, SECOND])
        assert await tables(connection) == {TABLE, "rooms"}

    @pytest.mark.parametrize("kind", ["TABLE events (id int)", "VIEW rooms AS SELECT 1"])
    async def test_tables_of_our_names_of_another_program(
        self, connection: Any, kind: str
    ) -> None:
        """They are named with the cure, and nothing is changed."""
        await connection.execute(f"CREATE {kind}")
        before = await tables(connection)
        name = kind.split()[1]
        with pytest.raises(ForeignDatabaseError, match=rf"\({name}\).*schema of its own"):
            await apply_postgres(connection, migrations=BOTH)
        with pytest.raises(ForeignDatabaseError, match=name):
            await status_postgres(connection)
        assert await tables(connection) == before

    async def test_other_tables_are_no_reason(self, connection: Any) -> None:
        """A program may keep its own tables beside ours."""
        await connection.execute("CREATE TABLE books (id int)")
        assert await apply_postgres(connection, migrations=BOTH) == BOTH

    async def test_our_table_with_other_columns(self, connection: Any) -> None:
        """Somebody else's bookkeeping is told, not guessed at."""
        await connection.execute(f"CREATE TABLE {TABLE} (version int)")
        with pytest.raises(StoreError, match=r"column .* does not exist"):
            await apply_postgres(connection, migrations=BOTH)


class TestRights:
    async def test_a_database_that_may_only_be_read(self, connection: Any) -> None:
        """Up to date it can be used; with something pending the cure is told."""
        await apply_postgres(connection, migrations=[FIRST])
        await connection.execute("SET default_transaction_read_only = on")
        assert await apply_postgres(connection, migrations=[FIRST]) == []
        with pytest.raises(StoreUnavailableError, match="as its owner, on the primary"):
            await apply_postgres(connection, migrations=BOTH)

    async def test_a_user_who_may_not_create(self, connection: Any) -> None:
        """The same cure; with nothing pending such a user will do."""
        await apply_postgres(connection, migrations=[FIRST])
        await connection.execute("SET ROLE pg_read_all_data")
        assert await apply_postgres(connection, migrations=[FIRST]) == []
        with pytest.raises(StoreUnavailableError, match="may not create tables"):
            await apply_postgres(connection, migrations=BOTH)


class TestLocks:
    async def test_the_wait_for_another_has_a_bound(self, connection: Any, other: Any) -> None:
        """And the next try works."""
        async with other.transaction():
            await other.execute(LOCK)
            with pytest.raises(StoreUnavailableError, match="another process is migrating"):
                await apply_postgres(connection, migrations=BOTH, wait=0.05)
        assert await apply_postgres(connection, migrations=BOTH) == BOTH

    async def test_a_closed_connection(self, connection: Any) -> None:
        """It is told as lost; one in use by another task stays the caller's mistake."""
        await connection.close()
        with pytest.raises(StoreUnavailableError, match="connection was lost"):
            await apply_postgres(connection, migrations=BOTH)

    async def test_a_connection_in_use_is_the_callers_mistake(self, connection: Any) -> None:
        """It is not dressed up as a failure of the database."""
        task = asyncio.create_task(connection.execute("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError, match="another operation"):
            await apply_postgres(connection, migrations=BOTH)
        await task

    @pytest.mark.parametrize("isolation", ["read committed", "serializable"])
    async def test_eight_connections_at_once(self, postgres_dsn: str, isolation: str) -> None:
        """Whatever the isolation of their sessions, each migration is applied once."""
        settings = {"default_transaction_isolation": isolation}

        async def one() -> list[Migration]:
            opened = await asyncpg.connect(postgres_dsn, server_settings=settings)
            try:
                return await apply_postgres(opened, migrations=BOTH)
            finally:
                await opened.close()

        done = await asyncio.gather(*(one() for _ in range(8)))
        applied = [migration for each in done for migration in each]
        assert sorted(applied, key=lambda migration: migration.number) == BOTH

    def test_eight_processes_at_once(self, postgres_dsn: str) -> None:
        """Our own schema is applied by exactly one of them, and none sees an error."""
        code = (
            "import asyncio, asyncpg\n"
            "from roomkit.store._sql.migrate_postgres import apply_postgres\n"
            "async def work():\n"
            f"    c = await asyncpg.connect({postgres_dsn!r})\n"
            "    try:\n"
            "        print(len(await apply_postgres(c)))\n"
            "    finally:\n"
            "        await c.close()\n"
            "# go\n"
            "asyncio.run(work())\n"
        )
        printed = migrate_at_once(code)
        assert all(text.strip().isdigit() for text in printed), printed
        assert sum(int(text) for text in printed) == len(load("postgres"))
