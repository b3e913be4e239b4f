"""A whole kit against its model, on a PostgreSQL server."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis.stateful import run_state_machine_as_test

from roomkit.store.postgres import PostgresStore
from tests.reliability._machine import RestartingMachine, walks
from tests.support import postgres_tables


class PostgresMachine(RestartingMachine):
    """A database that is emptied for each walk.

    Args:
        dsn: The database.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        asyncio.run(postgres_tables.empty(dsn))
        super().__init__()

    def make_store(self) -> PostgresStore:
        """Open the database."""
        return PostgresStore(self._dsn)


class TestPostgres:
    """The walks need the server of the test process."""

    @pytest.mark.timeout(180)
    def test_walks(self, postgres_dsn: str) -> None:
        """Kit and model agree at every step."""
        run_state_machine_as_test(lambda: PostgresMachine(postgres_dsn), settings=walks(20, 40))

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    def test_long_walks(self, postgres_dsn: str) -> None:
        """The same for the night."""
        run_state_machine_as_test(lambda: PostgresMachine(postgres_dsn), settings=walks(1000, 100))
