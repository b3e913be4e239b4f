"""An SQLite file with its threads: opening, closing, handing calls over, copying it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal

from roomkit._clock import SystemClock
from roomkit.exceptions import ConfigurationError, StoreUnavailableError
from roomkit.models._ready import make_ready
from roomkit.store._sql.lite_backup import copy_database, copy_file
from roomkit.store._sql.lite_threads import READS, Job, Place, Worker, Writer
from roomkit.store._sql.migrate_sqlite import apply_sqlite
from roomkit.store._sql.window import RoomWindows
from roomkit.store.durable import DurableStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock

type Synchronous = Literal["OFF", "NORMAL", "FULL", "EXTRA"]

MEMORY: Final = ":memory:"
READERS: Final = 2
CLOSE_TIMEOUT: Final = 10.0
"""Seconds ``close`` waits for calls under way, and again after it has interrupted them."""

OLDEST_SQLITE: Final = (3, 35)

_SYNCHRONOUS: Final = {
    "OFF": "PRAGMA synchronous = OFF",
    "NORMAL": "PRAGMA synchronous = NORMAL",
    "FULL": "PRAGMA synchronous = FULL",
    "EXTRA": "PRAGMA synchronous = EXTRA",
}
_SETTINGS: Final = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16000",
    # Fewer, larger checkpoints: a page that changes often is copied back once for all.
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)


class _Engine:
    """The threads of an open store."""

    def __init__(
        self, path: str, synchronous: Synchronous, busy_timeout: float, clock: Clock
    ) -> None:
        self.memory = path == MEMORY
        self.pid = os.getpid()
        self.ready = False
        self.unattended: weakref.finalize[..., Any] | None = None
        self.name = MEMORY if self.memory else Path(path).name
        self._clock = clock
        self._writes: SimpleQueue[Job | None] = SimpleQueue()
        self._reads: SimpleQueue[Job | None] = SimpleQueue()
        self._readers: list[Worker] = []

        def connect_writer() -> sqlite3.Connection:
            return _connect(path, synchronous, busy_timeout, writes=True)

        def connect_reader() -> sqlite3.Connection:
            return _connect(path, synchronous, busy_timeout, writes=False)

        self._connect_reader = connect_reader
        self._place = Place(None if self.memory else path)
        self.writer = Writer(
            connect_writer, self.name, clock, self._place, self._writes, busy_timeout
        )
        self.writer.start()

    def write(self, job: Job) -> None:
        """Hand a call to the writer."""
        self._writes.put(job)

    def read(self, job: Job) -> None:
        """Hand a call to a reader; a database in memory has one connection only."""
        if self.memory:
            self._writes.put(job)
            return
        if not self._readers:
            for _ in range(READERS):
                reader = Worker(
                    self._connect_reader,
                    self.name,
                    self._clock,
                    self._place,
                    self._reads,
                    READS,
                )
                self._readers.append(reader)
                reader.start()
        self._reads.put(job)

    def let_go(self) -> None:
        """Let the threads end once they have done what waits; nobody waits for them."""
        self._let_readers_go()
        self._writes.put(None)

    def _let_readers_go(self) -> None:
        for _ in self._readers:
            self._reads.put(None)

    async def close(self) -> None:
        """Let the threads do what waits, and end them.

        The writer ends last: of two connections that close in the same moment each takes the
        other for a user of the log, and neither removes it.
        """
        if self.unattended is not None:
            self.unattended.detach()
        loop = asyncio.get_running_loop()
        workers = [*self._readers, self.writer]
        ends = [worker.farewell(loop) for worker in workers]
        try:
            self._let_readers_go()
            if self._readers:
                await asyncio.wait(ends[:-1], timeout=CLOSE_TIMEOUT)
        finally:  # whoever is cancelled here has still asked it to end
            self._writes.put(None)
        _, late = await asyncio.wait(ends, timeout=CLOSE_TIMEOUT)
        if late:
            for worker in workers:
                worker.interrupt()
            _, late = await asyncio.wait(ends, timeout=CLOSE_TIMEOUT)
        if late:
            raise StoreUnavailableError(
                f"the database {self.name!r} did not end its last call in time: its disk hangs"
            )


def _connect(
    path: str, synchronous: Synchronous, busy_timeout: float, *, writes: bool
) -> sqlite3.Connection:
    """Open the database; the writer also brings it to the present schema."""
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout,
        isolation_level=None,
        # Used by one thread at a time; only ``interrupt`` comes from another.
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        if writes:
            apply_sqlite(connection, wait=busy_timeout)
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal" and path != MEMORY:
                raise StoreUnavailableError(
                    f"the database {Path(path).name!r} lies on a disk that cannot share memory, "
                    "such as one over a network: put it on a local one"
                )
            # The writer has a way of waiting of its own.
            connection.execute("PRAGMA busy_timeout = 0")
        else:
            connection.execute("PRAGMA query_only = ON")
        connection.execute(_SYNCHRONOUS[synchronous])
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def _nothing(_db: Any) -> None:
    """Do nothing: a call whose answer tells that those before it are done."""


class LiteBase(DurableStore):
    """The part of ``SQLiteStore`` that knows about threads and files."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigurationError(
                f"SQLiteStore needs SQLite 3.35, this Python has {sqlite3.sqlite_version}: "
                "use a newer Python"
            )
        if synchronous not in _SYNCHRONOUS:
            raise ConfigurationError(
                f"synchronous={synchronous!r} is none of {', '.join(_SYNCHRONOUS)}"
            )
        if not busy_timeout >= 0:
            raise ConfigurationError("busy_timeout is a number of seconds, 0 or more")
        self._path = os.fspath(path)
        if not isinstance(self._path, str) or not self._path or "\x00" in self._path:
            raise ConfigurationError('SQLiteStore needs the path of a file as text, or ":memory:"')
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._clock = clock or SystemClock()
        self._engine: _Engine | None = None
        self._windows = RoomWindows(monotonic=self._clock.monotonic)

    def __repr__(self) -> str:
        name = MEMORY if self._path == MEMORY else Path(self._path).name
        state = "closed" if self._engine is None else "open"
        return f"{type(self).__name__}({name!r}, {state})"

    @property
    def transactions(self) -> int:
        """How many transactions were committed since the store was opened."""
        return 0 if self._engine is None else self._engine.writer.transactions

    # -- life ----------------------------------------------------------------------------

    async def open(self) -> bool:
        """Open the file, or make it, and bring it to the present schema.

        Returns:
            Whether this call opened it; False when it was open, or another call was faster.

        Raises:
            ForeignDatabaseError: The file is another program's, or no database.
            SchemaTooNewError: A newer RoomKit has migrated it.
            SchemaChangedError: One of its migrations is not ours.
            StoreUnavailableError: It is locked, cannot be written, or is damaged.
        """
        make_ready()
        engine = self._engine
        if engine is None or engine.pid != os.getpid():
            engine = self._engine = _Engine(
                self._path, self._synchronous, self._busy_timeout, self._clock
            )
            engine.unattended = weakref.finalize(self, engine.let_go)
            engine.unattended.atexit = False
            self._windows.clear()
        if engine.ready:
            return False
        job = Job(_nothing, (), asyncio.get_running_loop())
        engine.write(job)
        try:
            await job.future
        except Exception:
            if self._engine is engine:
                self._engine = None
                engine.let_go()
            raise
        first, engine.ready = not engine.ready, True
        return first

    async def init(self) -> None:
        """Do what ``open`` does, under the name PostgresStore has for it."""
        await self.open()

    async def close(self) -> None:
        """Finish the calls under way and let go of the file; idempotent.

        Calls that take longer than about ten seconds are interrupted: they fail, and nothing
        of them is written. The store may be opened again.

        Raises:
            StoreUnavailableError: The disk hangs; a thread still waits for it.
        """
        engine, self._engine = self._engine, None
        self._windows.clear()
        if engine is not None and engine.pid == os.getpid():
            await engine.close()

    async def __aenter__(self) -> Any:
        await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # -- calls ---------------------------------------------------------------------------

    def _open_engine(self) -> _Engine:
        engine = self._engine
        if engine is None or engine.pid != os.getpid():
            raise RuntimeError(
                f"{type(self).__name__} is not open: call init() first, or use it as `async with`"
            )
        return engine

    async def _write[T](self, work: Callable[..., T], *args: Any) -> T:
        """Run a function in the next transaction and return what it gave, once committed."""
        job = Job(work, args, asyncio.get_running_loop())
        self._open_engine().write(job)
        result: T = await self._outcome(job)
        return result

    async def _outcome(self, job: Job) -> Any:
        try:
            return await job.future
        except StoreUnavailableError:
            # The file may be another one when it comes back, such as a backup.
            self._windows.clear()
            raise

    async def _read[T](self, work: Callable[..., T], *args: Any) -> T:
        """Run a function on a snapshot that holds all that was told to be written."""
        engine = self._open_engine()
        if not engine.ready:
            await self.open()
        job = Job(work, args, asyncio.get_running_loop())
        engine.read(job)
        result: T = await self._outcome(job)
        return result

    # -- copies --------------------------------------------------------------------------

    async def backup(
        self, target_path: str | os.PathLike[str], *, overwrite: bool = False
    ) -> None:
        """Write a complete and consistent copy of the database while traffic goes on.

        The copy is that of one moment. It appears under its name only when it is whole.

        Args:
            target_path: The file to make; its folder exists.
            overwrite: Whether a file that is there may be replaced. It must not be in use.

        Raises:
            FileExistsError: The target exists and ``overwrite`` is not set.
            StoreError: The target is the database itself.
            StoreUnavailableError: The copy could not be written.
        """
        target = os.fspath(target_path)
        engine = self._open_engine()
        if not engine.ready:
            await self.open()
        if engine.memory:
            job = Job(copy_database, (target, overwrite), asyncio.get_running_loop(), alone=True)
            engine.write(job)
            await job.future
        else:
            await copy_file(self._path, target, overwrite)
