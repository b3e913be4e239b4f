"""Migrations as such: their files, their numbers and checksums, what may stand in them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import roomkit
from roomkit.exceptions import (
    ConfigurationError,
    ForeignDatabaseError,
    SchemaChangedError,
    SchemaTooNewError,
)
from roomkit.store._sql.migrations import (
    AppliedMigration,
    Migration,
    created_tables,
    in_order,
    load,
    pending,
    refuse_foreign,
    script,
    statuses,
    without_comments,
)
from tests.support.migrations import FIRST, SECOND

FOLDER = Path(roomkit.__file__).parent / "store/_sql"
DIALECTS = ("sqlite", "postgres")
CONTRACT_TABLES = {
    *("rooms", "events", "bindings", "participants", "identities", "identity_addresses"),
    *("tasks", "observations", "read_markers"),
}
THEN = datetime(2026, 11, 22, tzinfo=UTC)

# What a migration only stores and does not run. The body of a DO block runs, so it stays.
_STORED = (
    re.compile(
        r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\b[^$]*"
        r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(r"\bCREATE\s+TRIGGER\b.*?\bEND\s*;", re.DOTALL | re.IGNORECASE),
)
_TEXT = re.compile(r"'(?:[^']|'')*'")
_LOSS = re.compile(r"\b(?:DROP|TRUNCATE|DELETE\s+FROM)\b", re.IGNORECASE)
_CONTROL = re.compile(
    r"(?:^|;)\s*(?:BEGIN|START|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|ABORT|PRAGMA)\b"
    r"|\bCONCURRENTLY\b",
    re.IGNORECASE,
)


def what_runs(sql: str) -> str:
    """Return what a migration does when it is applied, without texts and comments."""
    sql = without_comments(sql)
    for stored in _STORED:
        sql = stored.sub(";", sql)
    return _TEXT.sub("''", sql)


class TestFiles:
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_every_sql_file_of_the_package_is_a_migration(self, dialect: str) -> None:
        """None is overlooked, and the numbers have no gap."""
        files = sorted(path.name for path in (FOLDER / dialect).iterdir())
        assert [f"{migration.label}.sql" for migration in load(dialect)] == files
        assert [migration.number for migration in load(dialect)] == [*range(1, len(files) + 1)]

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_nothing_stored_is_ever_thrown_away(self, dialect: str) -> None:
        """No migration drops, truncates or deletes."""
        found = {m.label: _LOSS.findall(what_runs(m.sql)) for m in load(dialect)}
        assert {label: words for label, words in found.items() if words} == {}

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_transactions_are_left_to_the_engine(self, dialect: str) -> None:
        """A migration that commits by itself could be half applied."""
        found = {m.label: _CONTROL.findall(what_runs(m.sql)) for m in load(dialect)}
        assert {label: words for label, words in found.items() if words} == {}

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_the_tables_of_the_contract_are_created(self, dialect: str) -> None:
        """Programs empty these tables by name in their tests."""
        assert created_tables(load(dialect)) >= CONTRACT_TABLES

    @pytest.mark.parametrize(
        ("sql", "words"),
        [
            ("CREATE TABLE a (b text); DROP TABLE c;", ["DROP"]),
            ("ALTER TABLE a drop COLUMN b;", ["drop"]),
            ("DELETE\nFROM a;", ["DELETE\nFROM"]),
            ("TRUNCATE a;", ["TRUNCATE"]),
            ("DO $$ BEGIN DROP TABLE a; END $$;", ["DROP"]),
            ("-- DROP\nCREATE TABLE a (b text REFERENCES c ON DELETE CASCADE);", []),
            ("INSERT INTO a VALUES ('DROP');", []),
            (
                "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $f$\n"
                "BEGIN DELETE FROM a; END $f$; DROP TABLE b;",
                ["DROP"],
            ),
            ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END;", []),
        ],
    )
    def test_the_search_for_losses_finds_them(self, sql: str, words: list[str]) -> None:
        """What only a function or a trigger will do later is no loss of the migration."""
        assert _LOSS.findall(what_runs(sql)) == words


class TestNumbers:
    @pytest.mark.parametrize(
        "migrations",
        [
            [SECOND],
            [FIRST, Migration(3, "third", "SELECT 1;")],
            [FIRST, Migration(1, "again", "SELECT 1;")],
            [SECOND, FIRST],
            [Migration(1, "no'quotes", "SELECT 1;")],
        ],
    )
    def test_a_gap_a_double_or_a_wrong_name_is_refused(self, migrations: list[Migration]) -> None:
        """Such a list never reaches a database."""
        with pytest.raises(ConfigurationError):
            in_order(migrations)

    def test_the_label_is_the_name_of_the_file(self) -> None:
        """People find the file by what an error says."""
        assert FIRST.label == "0001_first"


class TestChecksum:
    def test_line_ends_do_not_count(self) -> None:
        """A checkout on another system carries the same migrations."""
        texts = ["SELECT 1;\nSELECT 2;\n", "SELECT 1;\r\nSELECT 2;\r\n", "SELECT 1;\rSELECT 2;\r"]
        assert len({Migration(1, "first", text).checksum for text in texts}) == 1

    def test_everything_else_counts(self) -> None:
        """Even a comment: what was released stays as it is."""
        assert Migration(1, "first", "SELECT 1;").checksum != Migration(1, "first", "").checksum


def applied(*migrations: Migration) -> list[AppliedMigration]:
    """Return what a database would say that has these."""
    return [AppliedMigration(m.number, m.name, m.checksum, THEN) for m in migrations]


class TestPending:
    def test_what_is_missing_comes_in_order(self) -> None:
        """Nothing twice, nothing left out."""
        assert pending([], [FIRST, SECOND]) == (FIRST, SECOND)
        assert pending(applied(FIRST), [FIRST, SECOND]) == (SECOND,)
        assert pending(applied(FIRST, SECOND), [FIRST, SECOND]) == ()

    def test_a_newer_schema_is_refused_with_both_numbers(self) -> None:
        """The cure is named too."""
        with pytest.raises(SchemaTooNewError, match=r"schema 2.*up to 1.*upgrade roomkit"):
            pending(applied(FIRST, SECOND), [FIRST])

    def test_another_checksum_is_refused(self) -> None:
        """The migration is named."""
        changed = Migration(1, "first", "CREATE TABLE rooms (id integer);")
        with pytest.raises(SchemaChangedError, match="0001_first"):
            pending(applied(changed), [FIRST, SECOND])

    def test_a_missing_row_in_the_middle_is_refused(self) -> None:
        """Somebody has taken it away: guessing would run it twice."""
        with pytest.raises(SchemaChangedError, match="lacks the row of migration 0001_first"):
            pending(applied(SECOND), [FIRST, SECOND])

    def test_the_status_names_the_time(self) -> None:
        """Pending ones have none."""
        first, second = statuses(applied(FIRST), [FIRST, SECOND])
        assert (first.migration, first.applied_at, first.applied) == (FIRST, THEN, True)
        assert (second.migration, second.applied_at, second.applied) == (SECOND, None, False)


class TestForeign:
    def test_names_and_cure_are_told_and_the_list_is_bounded(self) -> None:
        """A database of a thousand tables gives a short text."""
        with pytest.raises(
            ForeignDatabaseError, match=r"t000, .*t007 and 992 more.*: cure"
        ) as got:
            refuse_foreign({f"t{number:03}" for number in range(1000)}, "cure")
        assert len(str(got.value)) < 300

    def test_no_table_is_no_foreign_database(self) -> None:
        """An empty one is ours to use."""
        refuse_foreign(set(), "cure")

    def test_tables_are_read_from_the_migrations(self) -> None:
        """There is no second list to keep in step."""
        sql = (
            "-- CREATE TABLE a (x);\nCREATE TABLE IF NOT EXISTS b (x);\n"
            'create unlogged table "C" ();'
        )
        assert created_tables([Migration(1, "first", sql)]) == {"b", "c"}


class TestScript:
    def test_nothing_pending_gives_nothing(self) -> None:
        """Not even a transaction."""
        assert script("postgres", []) == ""

    def test_dollars_in_the_sql_stay(self) -> None:
        """PostgreSQL quotes the bodies of functions with them."""
        sql = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $sql$ SELECT $$1$$::int $sql$;"
        assert sql in script("postgres", [Migration(1, "first", sql)])
