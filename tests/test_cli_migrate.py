"""`roomkit migrate`: what it prints, what it answers to the shell, and that it keeps secrets."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from roomkit.cli import main
from roomkit.store._sql.migrate_sqlite import apply_sqlite
from roomkit.store._sql.migrations import Migration, load
from tests.support.server_files import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2 'n @ss/w0rd"
ENCODED = "hunter2%20%27n%20%40ss%2Fw0rd"

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit code, standard output, standard error."""

    def call(*argv: str) -> tuple[int, str, str]:
        code = main(["migrate", *argv])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shell(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run the command as people do."""
    return subprocess.run(
        [sys.executable, "-m", "roomkit", "migrate", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )


def with_password(dsn: str, *, database: str | None = None) -> str:
    """Return the DSN with a password no output may hold."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    path = f"/{database}" if database else parts.path
    return urlunsplit(parts._replace(netloc=f"postgres:{ENCODED}@{host}", path=path))


def labels(dialect: str) -> list[str]:
    """Return the migrations by their names."""
    assert dialect in {"sqlite", "postgres"}
    return [m.label for m in load("sqlite" if dialect == "sqlite" else "postgres")]


def newer_than_us(path: Path) -> None:
    """Make a file of a RoomKit that knows one migration more."""
    known = load("sqlite")
    extra = Migration(len(known) + 1, "later", "CREATE TABLE later (id TEXT);")
    with closing(sqlite3.connect(path)) as connection:
        apply_sqlite(connection, migrations=[*known, extra])


class TestThroughTheShell:
    def test_from_nothing_to_up_to_date(self, tmp_path: Path) -> None:
        """Status 1 while pending, 0 afterwards; up says what it did and may be repeated."""
        path = str(tmp_path / "talk.db")
        before = shell("status", path)
        assert (before.returncode, before.stderr) == (1, "")
        assert before.stdout == "".join(f"{label}  pending\n" for label in labels("sqlite"))
        assert not Path(path).exists()
        up = shell("up", path)
        assert (up.returncode, up.stderr) == (0, "")
        applied = "".join(f"applied {label}\n" for label in labels("sqlite"))
        assert up.stdout == f"{applied}up to date: {labels('sqlite')[-1]}\n"
        again = shell("up", path)
        assert (again.returncode, again.stdout) == (0, f"up to date: {labels('sqlite')[-1]}\n")
        after = shell("status", path)
        assert (after.returncode, after.stderr) == (0, "")
        assert after.stdout.count("  applied 20") == len(labels("sqlite"))

    def test_a_newer_schema_is_one_line_and_2(self, tmp_path: Path) -> None:
        """With the cure, and without a traceback."""
        newer_than_us(tmp_path / "talk.db")
        done = shell("up", str(tmp_path / "talk.db"))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("roomkit migrate: ")
        assert "upgrade roomkit" in done.stderr

    def test_postgres(self, postgres_dsn: str) -> None:
        """The same on a server, and the password is never shown."""
        dsn = with_password(postgres_dsn)
        assert shell("status", dsn).returncode == 1
        up = shell("up", dsn)
        assert (up.returncode, up.stderr) == (0, "")
        assert up.stdout.splitlines()[-1] == f"up to date: {labels('postgres')[-1]}"
        status = shell("status", dsn)
        assert (status.returncode, status.stderr) == (0, "")
        for output in (up, status):
            assert "hunter2" not in output.stdout + output.stderr


class TestDsn:
    @pytest.mark.parametrize(
        "dsn", ["sqlite:///talk.db", "talk.db", "sqlite:///{folder}/talk.db", "{folder}/talk.db"]
    )
    def test_the_ways_to_name_a_file(self, run: Run, tmp_path: Path, dsn: str) -> None:
        """Relative with three slashes, absolute with four, or a plain path."""
        assert run("up", dsn.format(folder=tmp_path))[0] == 0
        assert (tmp_path / "talk.db").stat().st_size > 0

    def test_a_name_with_special_characters(self, run: Run, tmp_path: Path) -> None:
        """It is a path, not a URL."""
        name = "100% ours? #1.db"
        assert run("up", name)[0] == 0
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert run("status", f"sqlite:///{name}")[0] == 0

    @pytest.mark.parametrize(
        "dsn",
        [
            f"mysql://me:{SECRET}@db/talk",
            f"sqlite://me:{SECRET}@db",
            f"postgresql+asyncpg://me:{SECRET}@db/talk",
            "sqlite:///",
            "sqlite:///:memory:",
            ":memory:",
            "",
        ],
    )
    @pytest.mark.parametrize("action", ["status", "up", "sql"])
    def test_what_names_no_database_is_a_wrong_call(
        self, run: Run, tmp_path: Path, action: str, dsn: str
    ) -> None:
        """Exit code 2 with the usage; the DSN is not repeated and no file is made."""
        code, out, err = run(action, dsn)
        assert (code, out) == (2, "")
        assert "usage: roomkit migrate" in err
        assert "DSN" in err
        assert "hunter2" not in err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "argv",
        [
            [f"postgresql://me:{SECRET}@db/talk"],
            ["status", "a.db", f"postgresql://me:{SECRET}@db/talk"],
            ["sql", "--dialect", f"postgresql://me:{SECRET}@db/talk"],
            ["sql", "--dialect", "sqlite", f"postgresql://me:{SECRET}@db/talk"],
            ["up", f"--dsn=postgresql://me:{SECRET}@db/talk"],
        ],
    )
    def test_a_wrong_call_never_shows_a_password(self, run: Run, argv: list[str]) -> None:
        """Nor any part of one that holds spaces and quotes."""
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert "usage: roomkit" in err
        for part in ("hunter2", "n @ss", "w0rd"):
            assert part not in err

    @pytest.mark.parametrize("argv", [[], ["status"], ["up"], ["sql"], ["sql", "--all"]])
    def test_what_is_missing_is_asked_for(self, run: Run, argv: list[str]) -> None:
        """Exit code 2 with the usage."""
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert "usage: roomkit migrate" in err


class TestHelp:
    @pytest.mark.parametrize("argv", [[], ["status"], ["up"], ["sql"]])
    def test_each_help_explains_dsn_and_exit_codes(self, run: Run, argv: list[str]) -> None:
        """Whoever asks for it should not need the documents."""
        code, out, _ = run(*argv, "--help")
        assert code == 0
        assert "exit codes:" in out
        assert "migrations are pending" in out
        for dsn in ("postgresql://", "sqlite:///file.db", "sqlite:////srv", "PGPASSWORD"):
            assert dsn in out


class TestStatus:
    def test_json(self, run: Run) -> None:
        """The same for programs, with times in UTC."""
        code, out, _ = run("status", "talk.db", "--json")
        data = json.loads(out)
        assert (code, data["dialect"], data["up_to_date"]) == (1, "sqlite", False)
        run("up", "talk.db")
        code, out, _ = run("status", "talk.db", "--json")
        data = json.loads(out)
        assert (code, data["up_to_date"]) == (0, True)
        assert [
            (entry["number"], entry["name"], entry["checksum"]) for entry in data["migrations"]
        ] == [(m.number, m.name, m.checksum) for m in load("sqlite")]
        assert all(entry["applied_at"].endswith("+00:00") for entry in data["migrations"])


class TestSql:
    @pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
    def test_a_dialect_needs_no_database(self, run: Run, dialect: str) -> None:
        """Every migration is printed, with its row."""
        code, out, err = run("sql", "--dialect", dialect)
        assert (code, err) == (0, "")
        assert [line[3:] for line in out.splitlines() if line[3:] in labels(dialect)] == labels(
            dialect
        )
        assert out.count("INSERT INTO roomkit_migrations") == len(labels(dialect))

    def test_what_is_printed_does_what_up_does(self, run: Run) -> None:
        """Run by hand it leaves a database that is up to date."""
        _, text, _ = run("sql", "talk.db")
        with closing(sqlite3.connect("talk.db")) as connection:
            connection.executescript(text)
        assert run("status", "talk.db")[0] == 0
        assert run("sql", "talk.db") == (0, "-- nothing is pending\n", "")

    def test_all_prints_applied_ones_too(self, run: Run) -> None:
        """Without asking the database."""
        run("up", "talk.db")
        every = run("sql", "--dialect", "sqlite")
        assert run("sql", "--all", "talk.db") == every
        assert run("sql", "--all", f"postgresql://me:{ENCODED}@nowhere.invalid/x") == run(
            "sql", "--dialect", "postgres"
        )

    async def test_postgres_by_hand(self, postgres_dsn: str) -> None:
        """What is printed for a server brings it up to date."""
        import asyncpg

        printed = shell("sql", postgres_dsn)
        assert printed.returncode == 0
        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute(printed.stdout)
        finally:
            await connection.close()
        assert shell("status", postgres_dsn).returncode == 0
        assert shell("sql", postgres_dsn).stdout == "-- nothing is pending\n"


class TestErrors:
    @pytest.mark.parametrize("action", ["status", "up", "sql"])
    def test_a_file_of_another_program(self, run: Run, action: str) -> None:
        """Its tables and the cure in one line."""
        with closing(sqlite3.connect("talk.db")) as connection:
            connection.execute("CREATE TABLE books (id)")
        before = Path("talk.db").read_bytes()
        code, out, err = run(action, "talk.db")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "books" in err
        assert "file of its own" in err
        assert Path("talk.db").read_bytes() == before

    @pytest.mark.parametrize(
        ("dsn", "cure"),
        [("nowhere/talk.db", "make it first"), ("sqlite:///folder", "name the file within it")],
    )
    def test_a_path_that_cannot_be(self, run: Run, dsn: str, cure: str) -> None:
        """No folder, or nothing but a folder."""
        Path("folder").mkdir()
        code, out, err = run("up", dsn)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert cure in err

    def test_a_file_that_is_no_database(self, run: Run) -> None:
        """It is left alone."""
        Path("talk.db").write_text("Dear diary, " * 100)
        code, out, err = run("up", "talk.db")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "not an SQLite database" in err

    def test_a_server_that_is_not_there(self, run: Run) -> None:
        """It is told without the password."""
        code, out, err = run("up", f"postgresql://me:{ENCODED}@127.0.0.1:{free_port()}/talk")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "cannot be reached" in err
        assert "hunter2" not in err

    def test_a_database_that_is_not_there(self, run: Run, postgres_dsn: str) -> None:
        """The cure is to create it."""
        code, out, err = run("up", with_password(postgres_dsn, database="no_such_database"))
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "create it first" in err
        assert "hunter2" not in err

    @pytest.mark.parametrize(
        "dsn",
        [
            "postgresql://me:hunter2@db:port/talk",
            "postgresql://me:hunter2@[db/talk",
            "postgresql://me:hunter2@db/talk?sslmode=hunter2",
            "postgresql://me@db/talk?target_session_attrs=hunter2",
        ],
    )
    def test_a_dsn_that_cannot_be_read(self, run: Run, dsn: str) -> None:
        """It is not quoted, for it may hold a password."""
        code, out, err = run("up", dsn)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "cannot be read" in err
        for part in ("hunter2", "n @ss", "w0rd"):
            assert part not in err

    def test_a_broken_server_side(self, run: Run, postgres_dsn: str) -> None:
        """What the server refuses is told by its kind, in one line."""
        code, out, err = run("up", f"{postgres_dsn}?options=-c%20no_such_setting%3D1")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "refused the connection" in err
