"""Databases for worlds: each run of a sweep finds one that is furnished and unused."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from roomkit.store.postgres import PostgresStore
from roomkit.store.sqlite import SQLiteStore
from tests.reliability._world import World
from tests.support import postgres_tables

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore

_BUSY = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend' AND state <> 'idle'
"""


class Place(ABC):
    """One database after the other, with a second store on each that looks on.

    Attributes:
        world: The present world.
        reader: The second store.
    """

    world: World
    reader: DurableStore

    @abstractmethod
    def open(self) -> DurableStore:
        """Return a store on the present database, not opened yet."""

    @abstractmethod
    async def renew(self) -> None:
        """Go on to a furnished, unused database."""

    @abstractmethod
    async def busy(self) -> int:
        """Return how many connections do or hold anything."""

    async def begin(self, store: DurableStore | None = None) -> World:
        """Return a world on a new database, on its store or on one around it."""
        if store is None:
            await self.renew()
            store = self.open()
        self.reader = self.open()
        await self.reader.open()
        self.world = World(store, self.reader).furnish()
        return self.world

    async def end(self) -> None:
        """Close what belongs to the present world."""
        await self.world.kit.close()
        await self.reader.close()

    async def fill(self) -> None:
        """Write the rooms of a world into the present database."""
        store = self.open()
        await store.open()
        await (await World(store, store).build()).kit.close()
        await store.close()


def copy_database(database: Path, path: Path) -> None:
    """Copy a database; with its log, which stays when two connections closed at once."""
    for part in ("", "-wal"):
        source = Path(f"{database}{part}")
        if source.exists():
            shutil.copy(source, f"{path}{part}")


class Files(Place):
    """Copies of one SQLite file.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        self._count = 0
        self.path = self._template

    def open(self) -> DurableStore:
        """Return a store on the present file."""
        return SQLiteStore(self.path, synchronous="OFF")

    async def renew(self) -> None:
        """Copy the file; write it the first time."""
        if not self._count:
            await self.fill()
        self._count += 1
        self.path = self._folder / f"{self._count}.db"
        copy_database(self._template, self.path)

    async def busy(self) -> int:
        """Return 0: a writer at work would make the next write wait."""
        return 0

    async def end(self) -> None:
        """Close, and remove the file."""
        await super().end()
        for path in self._folder.glob(f"{self._count}.db*"):
            path.unlink()


class Server(Place):
    """One PostgreSQL database, emptied and furnished anew.

    Args:
        dsn: The database.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def open(self) -> DurableStore:
        """Return a store on the database."""
        return PostgresStore(self._dsn)

    async def renew(self) -> None:
        """Empty and furnish it."""
        await postgres_tables.empty(self._dsn)
        await self.fill()

    async def busy(self) -> int:
        """Ask the server."""
        connection = await asyncpg.connect(self._dsn)
        try:
            return int(await connection.fetchval(_BUSY))
        finally:
            await connection.close()
