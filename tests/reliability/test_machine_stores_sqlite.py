"""A whole kit against its model, on SQLite files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from roomkit.store.sqlite import SQLiteStore
from tests.reliability._machine import RestartingMachine, walks


class SQLiteMachine(RestartingMachine):
    """A new file for each walk."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        super().__init__()

    def make_store(self) -> SQLiteStore:
        """Open the file of this walk; what a power cut does is not asked here."""
        path = Path(self._folder.name) / "talk.db"
        return SQLiteStore(path, synchronous="OFF", clock=self.clock)

    def teardown(self) -> None:
        """Compare once more, and remove the file."""
        try:
            super().teardown()
        finally:
            self._folder.cleanup()


class LongSQLiteMachine(SQLiteMachine):
    """The same, in long walks for the night."""


TestSQLite = SQLiteMachine.TestCase
TestSQLite.settings = walks(60, 40)
TestLongSQLite = pytest.mark.soak(pytest.mark.timeout(3600)(LongSQLiteMachine.TestCase))
TestLongSQLite.settings = walks(1000, 100)
