"""PostgresStore against all three levels of the suites, on a real server.

What wrappers and watchers show is shown on SQLite, with the same room windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.store.postgres import PostgresStore
from roomkit.testing.conformance import DurableStoreConformance, StoreConformance
from tests.support import postgres_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.store.durable import DurableStore
    from tests.support.servers import Databases


@pytest.fixture(scope="module")
def shared_dsn(postgres_server: Databases) -> Iterator[str]:
    """One database for all tests of this file: its schema takes longer than a test."""
    dsn = postgres_server.create_database()
    yield dsn
    postgres_server.drop_database(dsn)


class _Server:
    """Stores on an empty database; instead of moving its clock, its rows are made older."""

    dsn: str

    @pytest.fixture(autouse=True)
    def place(self, shared_dsn: str) -> None:
        """Choose the database."""
        self.dsn = shared_dsn

    async def make_store(self) -> DurableStore:
        await postgres_tables.empty(self.dsn)
        return PostgresStore(self.dsn)

    async def advance(self, seconds: float) -> None:
        await postgres_tables.age(self.dsn, seconds)

    async def another(self, store: DurableStore) -> DurableStore:
        return PostgresStore(self.dsn)


class TestServer(_Server, StoreConformance):
    """Conversations on a server."""

    tells_version = True


class TestServerQueues(_Server, DurableStoreConformance):
    """Work on a server, seen by two stores."""
