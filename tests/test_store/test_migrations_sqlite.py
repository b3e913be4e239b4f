"""Migrations on SQLite: in order, once, resumable, by many processes, never on foreign files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import pytest

from roomkit.exceptions import (
    ConfigurationError,
    ForeignDatabaseError,
    SchemaChangedError,
    SchemaTooNewError,
    StoreError,
    StoreUnavailableError,
)
from roomkit.store._sql.migrate_sqlite import apply_sqlite, status_sqlite
from roomkit.store._sql.migrations import TABLE, Migration, load, script
from tests.support.migrations import BROKEN_SECOND, FIRST, SECOND, migrate_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOTH = [FIRST, SECOND]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "talk.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """An empty database."""
    with closing(sqlite3.connect(path)) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> set[str]:
    """Return what the database holds."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


def schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Return the whole schema, to be compared."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


class TestApplying:
    def test_the_missing_ones_are_applied_in_order(self, connection: sqlite3.Connection) -> None:
        """What was done comes back, and a second call does nothing."""
        assert apply_sqlite(connection, migrations=[FIRST]) == [FIRST]
        assert apply_sqlite(connection, migrations=BOTH) == [SECOND]
        assert apply_sqlite(connection, migrations=BOTH) == []
        assert tables(connection) == {TABLE, "rooms", "events", "tasks"}

    def test_our_own_schema_applies_once(self, connection: sqlite3.Connection) -> None:
        """Each migration is recorded with its checksum."""
        assert apply_sqlite(connection) == list(load("sqlite"))
        assert apply_sqlite(connection) == []
        rows = connection.execute(f"SELECT number, name, checksum FROM {TABLE} ORDER BY number")
        assert rows.fetchall() == [(m.number, m.name, m.checksum) for m in load("sqlite")]

    def test_nothing_to_do_takes_one_select(
        self, path: Path, connection: sqlite3.Connection
    ) -> None:
        """And no lock: another may be writing."""
        apply_sqlite(connection, migrations=BOTH)
        seen: list[str] = []
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            connection.set_trace_callback(seen.append)
            assert apply_sqlite(connection, migrations=BOTH, wait=0.0) == []
        (statement,) = [text for text in seen if not text.startswith("PRAGMA busy_timeout")]
        assert statement.startswith("SELECT")

    def test_a_semicolon_within_a_statement_ends_nothing(
        self, connection: sqlite3.Connection
    ) -> None:
        """In texts, comments and triggers."""
        sql = (
            "-- one; two\nCREATE TABLE rooms (id TEXT DEFAULT 'a;b'); /* three; */\n"
            "CREATE TRIGGER t AFTER INSERT ON rooms BEGIN\n"
            "UPDATE rooms SET id = 'x;y' WHERE id = 'q'; SELECT 1; END;\n-- the end"
        )
        apply_sqlite(connection, migrations=[Migration(1, "first", sql)])
        connection.execute("INSERT INTO rooms VALUES ('q')")
        assert connection.execute("SELECT id FROM rooms").fetchall() == [("x;y",)]

    def test_the_connection_is_as_before(self, connection: sqlite3.Connection) -> None:
        """Its busy timeout, its shape of rows, no transaction left open."""
        connection.execute("PRAGMA busy_timeout = 1234")
        connection.row_factory = lambda _cursor, _row: {}
        apply_sqlite(connection, migrations=BOTH)
        connection.row_factory = None
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (1234,)
        assert not connection.in_transaction

    @pytest.mark.parametrize("level", [None, "DEFERRED", "IMMEDIATE"])
    def test_any_isolation_level_will_do(
        self, path: Path, level: Literal["DEFERRED", "IMMEDIATE"] | None
    ) -> None:
        """Transactions are begun in so many words."""
        with closing(sqlite3.connect(path, isolation_level=level)) as opened:
            assert apply_sqlite(opened, migrations=BOTH) == BOTH
        with closing(sqlite3.connect(path)) as opened:
            assert status_sqlite(opened, migrations=BOTH)[1].applied

    def test_a_transaction_of_the_caller_is_refused(self, connection: sqlite3.Connection) -> None:
        """It would be committed behind the caller's back."""
        connection.execute("BEGIN")
        with pytest.raises(ConfigurationError, match="commit first"):
            apply_sqlite(connection, migrations=BOTH)
        assert connection.in_transaction

    def test_by_hand_gives_the_same_database(
        self, path: Path, connection: sqlite3.Connection, tmp_path: Path
    ) -> None:
        """The printed SQL writes the rows as well."""
        apply_sqlite(connection)
        with closing(sqlite3.connect(tmp_path / "hand.db")) as hand:
            hand.executescript(script("sqlite", load("sqlite")))
            assert schema(hand) == schema(connection)
            assert apply_sqlite(hand) == []


class TestStatus:
    def test_it_names_applied_and_pending_and_writes_nothing(
        self, path: Path, connection: sqlite3.Connection
    ) -> None:
        """An empty file stays empty."""
        assert [s.applied for s in status_sqlite(connection, migrations=BOTH)] == [False, False]
        assert path.stat().st_size == 0
        apply_sqlite(connection, migrations=[FIRST])
        first, second = status_sqlite(connection, migrations=BOTH)
        assert first.applied_at is not None
        assert first.applied_at.tzinfo is not None
        assert second.applied_at is None


class TestResuming:
    def test_a_failed_one_leaves_those_before_it(self, connection: sqlite3.Connection) -> None:
        """Of the failed one nothing is kept, and a mended one goes on from there."""
        with pytest.raises(StoreError, match=r"migration 0002_second failed.*rooms") as caught:
            apply_sqlite(connection, migrations=[FIRST, BROKEN_SECOND])
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert tables(connection) == {TABLE, "rooms"}
        assert not connection.in_transaction
        assert apply_sqlite(connection, migrations=BOTH) == [SECOND]

    @pytest.mark.parametrize("sql", ["CREATE TABLE a (b", "CREATE TABLE a (b);\nSELECT 1 -- ;"])
    def test_an_unfinished_statement_is_refused(
        self, connection: sqlite3.Connection, sql: str
    ) -> None:
        """It would be left out in silence otherwise."""
        with pytest.raises(StoreError, match="semicolon is missing"):
            apply_sqlite(connection, migrations=[Migration(1, "first", sql)])
        assert tables(connection) == set()

    def test_a_migration_that_ends_its_transaction_is_refused(
        self, connection: sqlite3.Connection
    ) -> None:
        """Its row is not written."""
        bad = Migration(1, "first", "CREATE TABLE a (b); COMMIT; CREATE TABLE c (d);")
        with pytest.raises(StoreError, match="ended its transaction"):
            apply_sqlite(connection, migrations=[bad])
        assert connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (0,)

    def test_a_killed_process_leaves_a_prefix(
        self, path: Path, connection: sqlite3.Connection
    ) -> None:
        """SIGKILL in the middle of the second: the next one goes on from the first."""
        code = (
            "import os, signal, sqlite3, sys\n"
            "from roomkit.store._sql.migrate_sqlite import apply_sqlite\n"
            "from tests.support.migrations import FIRST, Migration\n"
            "c = sqlite3.connect(sys.argv[1])\n"
            "c.create_function('die', 0, lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
            "bad = Migration(2, 'second', 'CREATE TABLE events (id); SELECT die();')\n"
            "apply_sqlite(c, migrations=[FIRST, bad])\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=40)
        assert done.returncode == -signal.SIGKILL
        assert tables(connection) == {TABLE, "rooms"}
        assert apply_sqlite(connection, migrations=BOTH) == [SECOND]

    def test_a_full_disk_leaves_a_prefix(self, connection: sqlite3.Connection) -> None:
        """With the cure; it goes on when there is room."""
        apply_sqlite(connection, migrations=[FIRST])
        connection.execute("PRAGMA max_page_count = 5")
        with pytest.raises(StoreUnavailableError, match="make room"):
            apply_sqlite(connection, migrations=BOTH)
        assert tables(connection) == {TABLE, "rooms"}
        connection.execute("PRAGMA max_page_count = 1000")
        assert apply_sqlite(connection, migrations=BOTH) == [SECOND]


class TestRefusing:
    def test_a_newer_schema(self, connection: sqlite3.Connection) -> None:
        """By applying and by asking; nothing is changed."""
        apply_sqlite(connection, migrations=BOTH)
        before = schema(connection)
        for work in (apply_sqlite, status_sqlite):
            with pytest.raises(SchemaTooNewError, match="upgrade roomkit"):
                work(connection, migrations=[FIRST])
        assert schema(connection) == before

    def test_a_changed_migration(self, connection: sqlite3.Connection) -> None:
        """Even when others are pending."""
        apply_sqlite(connection, migrations=[FIRST])
        changed = Migration(1, "first", "CREATE TABLE rooms (id TEXT);")
        with pytest.raises(SchemaChangedError, match="0001_first"):
            apply_sqlite(connection, migrations=[changed, SECOND])
        assert tables(connection) == {TABLE, "rooms"}

    @pytest.mark.parametrize(
        "kind", ["TABLE rooms (id)", "TABLE books (id)", "VIEW v AS SELECT 1"]
    )
    def test_a_file_of_another_program(
        self, path: Path, connection: sqlite3.Connection, kind: str
    ) -> None:
        """Whatever its tables are called; the file stays as it is, byte for byte."""
        connection.execute(f"CREATE {kind}")
        connection.commit()
        before = path.read_bytes()
        name = kind.split()[1]
        with pytest.raises(ForeignDatabaseError, match=rf"\({name}\).*file of its own"):
            apply_sqlite(connection)
        with pytest.raises(ForeignDatabaseError, match=name):
            status_sqlite(connection)
        assert path.read_bytes() == before

    def test_a_file_that_is_no_database(self, path: Path) -> None:
        """It is not changed either."""
        path.write_bytes(b"Dear diary, " * 200)
        with (
            closing(sqlite3.connect(path)) as opened,
            pytest.raises(ForeignDatabaseError, match="not an SQLite database"),
        ):
            apply_sqlite(opened)
        assert path.read_bytes() == b"Dear diary, " * 200

    def test_our_table_with_other_columns(self, connection: sqlite3.Connection) -> None:
        """Somebody else's bookkeeping is told, not guessed at."""
        connection.execute(f"CREATE TABLE {TABLE} (version)")
        with pytest.raises(StoreError, match="no such column"):
            apply_sqlite(connection)


class TestLocks:
    def test_a_file_that_may_not_be_written(
        self, path: Path, connection: sqlite3.Connection
    ) -> None:
        """Up to date it can be used; with something pending the cure is told."""
        apply_sqlite(connection, migrations=[FIRST])
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
            assert apply_sqlite(reader, migrations=[FIRST]) == []
            with pytest.raises(StoreUnavailableError, match="let this user write"):
                apply_sqlite(reader, migrations=BOTH)

    def test_a_writer_that_does_not_end(self, path: Path, connection: sqlite3.Connection) -> None:
        """The wait has a bound, and the next try works."""
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="kept it locked"):
                apply_sqlite(connection, migrations=BOTH, wait=0.02)
            other.rollback()
            assert apply_sqlite(connection, migrations=BOTH) == BOTH

    def test_a_mistake_of_the_caller_stays_what_it_is(self, path: Path) -> None:
        """A closed connection is no fault of the database."""
        opened = sqlite3.connect(path)
        opened.close()
        with pytest.raises(sqlite3.ProgrammingError):
            apply_sqlite(opened)

    def test_eight_processes_at_once(self, path: Path, connection: sqlite3.Connection) -> None:
        """Each migration is applied by exactly one of them, and none sees an error."""
        code = (
            "import sqlite3\n"
            "from roomkit.store._sql.migrate_sqlite import apply_sqlite\n"
            "# go\n"
            f"c = sqlite3.connect({os.fspath(path)!r})\n"
            "print([m.label for m in apply_sqlite(c)])\n"
        )
        printed = migrate_at_once(code)
        labels = [m.label for m in load("sqlite")]
        assert sorted(printed) == sorted([f"{labels}\n", *["[]\n"] * 7])
        assert apply_sqlite(connection) == []
