"""The threads of an SQLite store: one that writes in groups, two that read.

Calls are handed over through queues; what came of them is told to their event loop in one
callback a group. All calls that wait at the moment share one transaction, each within a
savepoint of its own: one ``fsync`` serves them all, and one that fails harms no other.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import CommitOutcomeUnknown, StoreUnavailableError
from roomkit.store._sql.lite_errors import code_of, explain, is_broken, is_busy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from roomkit._clock import Clock

GROUP: Final = 256
"""How many calls share a transaction at most."""

READS: Final = 32
"""How many reads share a snapshot at most; the log cannot be reset while one is held."""

_POLL = 0.001


class Db:
    """A connection within a transaction, as the functions that do the work see it.

    Attributes:
        connection: The connection.
        execute: Runs one statement.
        executemany: Runs one statement for many rows.
    """

    __slots__ = ("_clock", "connection", "execute", "executemany")

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._clock = clock

    def now(self) -> float:
        """Return the store's time in seconds since the epoch."""
        return self._clock.now().timestamp()


class Job:
    """A call on its way through a thread.

    Attributes:
        work: What to do, given the database.
        args: What it is given besides.
        future: Where its outcome goes.
        loop: The loop of the future.
        alone: Run it between two transactions.
    """

    __slots__ = ("alone", "args", "future", "loop", "work")

    def __init__(
        self,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        *,
        alone: bool = False,
    ) -> None:
        self.work = work
        self.args = args
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.alone = alone


type Outcome = tuple[Job, Any, BaseException | None]
type Source = Callable[[], sqlite3.Connection]


def tell(outcomes: Iterable[Outcome]) -> None:
    """Hand outcomes to the loops of their callers; a loop that is closed needs none."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, told)


def _settle(outcomes: list[Outcome]) -> None:
    for job, result, error in outcomes:
        future = job.future
        if future.done():  # its caller was cancelled
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


class Place:
    """Where a database lies, and which file was last known to lie there.

    Args:
        path: The path of the file; None for a database in memory.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self.told: tuple[int, int] | None = None

    def found(self) -> tuple[int, int] | None:
        """Return which file the name stands for at this moment."""
        if self._path is None:
            return None
        try:
            file = os.stat(self._path)
        except OSError:
            return None
        return file.st_dev, file.st_ino


class Worker(threading.Thread):
    """A thread with a connection and a queue of calls.

    Args:
        connect: Opens the connection, in this thread.
        name: The database's name, for errors.
        clock: The store's time.
        place: Where the file is; shared by all threads of a store.
        queue: The calls; several readers share one.
        most: How many calls share a transaction at most.
    """

    begin = "BEGIN"

    def __init__(
        self,
        connect: Source,
        name: str,
        clock: Clock,
        place: Place,
        queue: SimpleQueue[Job | None],
        most: int,
    ) -> None:
        # A daemon: a program that forgets to close its store can still end, and loses nothing.
        super().__init__(name=f"roomkit-sqlite-{name}", daemon=True)
        self._connect = connect
        self._label = name
        self._clock = clock
        self._place = place
        self._opened: tuple[int, int] | None = None
        self._queue = queue
        self._most = most
        self._db: Db | None = None
        self._held: list[Job | None] = []
        self._stopping = False
        self._farewells: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.transactions = 0

    # -- called from other threads -------------------------------------------------------

    def farewell(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Return a future that is done once the thread has let go of its connection."""
        ended: asyncio.Future[None] = loop.create_future()
        self._farewells.append((loop, ended))
        return ended

    def interrupt(self) -> None:
        """Make the call that runs now fail, and every later one."""
        self._stopping = True
        db = self._db
        if db is not None:
            with suppress(sqlite3.ProgrammingError):  # closed in this very moment
                db.connection.interrupt()

    # -- the thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Work until told to stop; whatever waits behind that fails."""
        try:
            while True:
                jobs = self._next()
                if jobs is None:
                    break
                self._serve(jobs)
                del jobs  # what is done is not held on to while there is nothing to do
        finally:
            self._disconnect()
            for loop, ended in self._farewells:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_end, ended)

    def _next(self) -> list[Job] | None:
        """Return the calls that wait now, at least one; None when it is time to stop."""
        first = self._held.pop() if self._held else self._queue.get()
        if first is None:
            return None
        jobs = [first]
        while not first.alone and len(jobs) < self._most:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None or job.alone:
                self._held.append(job)  # comes next
                break
            jobs.append(job)
        return jobs

    def _serve(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if not job.future.cancelled()]
        if not jobs:
            return
        try:
            db = self._open()
            outcomes = self._alone(db, jobs[0]) if jobs[0].alone else self._together(db, jobs)
        except BaseException as exc:  # noqa: BLE001 - it belongs to the callers
            self._failed(exc)
            outcomes = [(job, None, explain(exc, self._label)) for job in jobs]
        tell(outcomes)

    def _open(self) -> Db:
        if self._stopping:
            raise StoreUnavailableError(
                f"the database {self._label!r} was closed before the call was done"
            )
        found = self._place.found()
        if self._db is not None and found != self._opened:
            # What is written into a file that has lost its name is lost with the last that
            # has it open: nobody may be told that it was kept.
            self._disconnect()
            if found != self._place.told:
                self._place.told = found
                raise StoreUnavailableError(
                    f"the file {self._label!r} was removed or replaced while it was in use: the "
                    "next call opens what is there then"
                )
        if self._db is None:
            self._db = Db(self._connect(), self._clock)
            self._opened = self._place.told = self._place.found()
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.connection.close()

    def _failed(self, error: BaseException) -> None:
        """Get back to where the next call can begin."""
        db = self._db
        if db is None:
            return
        try:
            if db.connection.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if is_broken(error):
            self._disconnect()

    def _alone(self, db: Db, job: Job) -> list[Outcome]:
        return [(job, job.work(db, *job.args), None)]

    def _together(self, db: Db, jobs: list[Job]) -> list[Outcome]:
        """Run reads in one snapshot."""
        db.execute("BEGIN")
        outcomes: list[Outcome] = []
        for job in jobs:
            try:
                outcomes.append((job, job.work(db, *job.args), None))
            except Exception as exc:  # it belongs to its caller
                if is_broken(exc):
                    raise
                outcomes.append((job, None, explain(exc, self._label)))
        db.execute("COMMIT")
        self.transactions += 1
        return outcomes


class Writer(Worker):
    """The one thread that writes.

    Args:
        patience: Seconds to wait for another process that holds the database.
    """

    def __init__(
        self,
        connect: Source,
        name: str,
        clock: Clock,
        place: Place,
        queue: SimpleQueue[Job | None],
        patience: float,
    ) -> None:
        super().__init__(connect, name, clock, place, queue, GROUP)
        self._patience = patience

    def _together(self, db: Db, jobs: list[Job]) -> list[Outcome]:
        """Run calls in one transaction; nothing is told before it is committed.

        Most calls succeed, so they are tried without the price of a savepoint for each; when
        one fails all are done again, each within its own.
        """
        self._begin(db)
        if len(jobs) == 1:
            return self._commit(db, [self._one(db, jobs[0])])
        try:
            outcomes: list[Outcome] = [(job, job.work(db, *job.args), None) for job in jobs]
        except Exception as exc:
            if is_broken(exc) or self._stopping:
                raise
            if db.connection.in_transaction:
                db.execute("ROLLBACK")
            self._begin(db)
            outcomes = [self._one(db, job) for job in jobs]
        return self._commit(db, outcomes)

    def _commit(self, db: Db, outcomes: list[Outcome]) -> list[Outcome]:
        try:
            db.execute("COMMIT")
        except sqlite3.Error as exc:
            if code_of(exc) != sqlite3.SQLITE_IOERR:
                raise
            # It may be in the log, whole, and be found there after a crash.
            self._disconnect()
            raise CommitOutcomeUnknown(
                f"the disk of {self._label!r} failed while a commit was made durable: check the "
                "disk and repeat with the same key"
            ) from exc
        self.transactions += 1
        return outcomes

    def _one(self, db: Db, job: Job) -> Outcome:
        execute = db.execute
        execute("SAVEPOINT job")
        try:
            result = job.work(db, *job.args)
        except Exception as exc:
            if not db.connection.in_transaction or is_broken(exc):
                raise  # SQLite has given up the whole transaction
            execute("ROLLBACK TO job")
            execute("RELEASE job")
            return (job, None, explain(exc, self._label))
        execute("RELEASE job")
        return (job, result, None)

    def _begin(self, db: Db) -> None:
        """Take the write lock.

        SQLite's own way of waiting looks less and less often, down to ten times a second: too
        seldom to get in between the groups of a busy process.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                if not is_busy(exc) or time.monotonic() >= deadline or self._stopping:
                    raise
                time.sleep(_POLL * (0.5 + random.random()))  # nosec B311 - only spreads the tries
            else:
                return
