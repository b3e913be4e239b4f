"""Copies of an SQLite database, made while it is in use."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from roomkit._ids import new_id
from roomkit.exceptions import StoreError
from roomkit.store._sql.lite_errors import explain

if TYPE_CHECKING:
    from roomkit.store._sql.lite_threads import Db

PAGES: Final = 256
"""How many pages are copied at once; between two steps the copy may be given up."""


class _GivenUp(Exception):
    """The caller of a backup does not wait any more."""


def copy_database(db: Db, target: str, overwrite: bool) -> None:
    """Copy the database of a connection as it stands."""
    _copy(db.connection, Path(target).absolute(), overwrite, threading.Event())


async def copy_file(path: str, target: str, overwrite: bool) -> None:
    """Copy a database file as it stands now, in a thread."""
    given_up = threading.Event()
    copying = asyncio.get_running_loop().run_in_executor(
        None, _copy_file, path, target, overwrite, given_up
    )
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        given_up.set()
        with suppress(_GivenUp):
            await copying
        raise


def _copy_file(path: str, name: str, overwrite: bool, given_up: threading.Event) -> None:
    target = Path(name).absolute()
    if target.resolve() == Path(path).resolve():
        raise StoreError("a database cannot be its own backup: give another path")
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as source:
            source.execute("PRAGMA query_only = ON")
            # Holds a snapshot: otherwise each write of others would begin the copy anew.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _copy(source, target, overwrite, given_up)
            source.execute("COMMIT")
    except sqlite3.Error as exc:
        raise explain(exc, Path(path).name) from exc


def _copy(
    source: sqlite3.Connection, target: Path, overwrite: bool, given_up: threading.Event
) -> None:
    _refuse_existing(target, overwrite)
    part = target.with_name(f"{target.name}.{new_id()}.part")

    def step(_status: int, _remaining: int, _total: int) -> None:
        if given_up.is_set():
            raise _GivenUp

    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            source.backup(copy, pages=PAGES, progress=step, sleep=0.02)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _refuse_existing(target, overwrite)
        for suffix in ("-wal", "-shm", "-journal"):
            # A log of the file that is replaced would be played into the new one.
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        part.replace(target)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not overwrite and target.exists():
        raise FileExistsError(
            f"the backup {target.name!r} exists: give another name, or overwrite=True"
        )
