"""SQLiteStore against all three levels of the suites, in a file and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import FaultStore, ManualClock, StrictStore
from roomkit.testing.conformance import DurableStoreConformance, StoreConformance

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.store.durable import DurableStore


class _Files:
    """Stores on one file of the test's own, whose time the test moves."""

    clock: ManualClock
    path: Path

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        """Choose the file, and stop the clock."""
        self.path = tmp_path / "talk.db"
        self.clock = ManualClock()

    async def make_store(self) -> DurableStore:
        return SQLiteStore(self.path, synchronous="OFF", clock=self.clock)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def another(self, store: DurableStore) -> DurableStore:
        return SQLiteStore(self.path, synchronous="OFF", clock=self.clock)


class TestFile(_Files, StoreConformance):
    """Conversations in a file."""

    tells_version = True


class TestFileQueues(_Files, DurableStoreConformance):
    """Work in a file, seen by two stores."""


class _InMemory(_Files):
    """A database that ends with its store; there is only one."""

    async def make_store(self) -> DurableStore:
        return SQLiteStore(":memory:", clock=self.clock)

    async def another(self, store: DurableStore) -> DurableStore:
        pytest.skip("a database in memory has one store only")


class TestMemory(_InMemory, StoreConformance):
    """Conversations in memory."""


class TestMemoryQueues(_InMemory, DurableStoreConformance):
    """Work in memory."""


class TestStrict(_Files, StoreConformance):
    """What the store lends stays as it was lent, whatever the store does next."""

    async def make_store(self) -> DurableStore:
        return StrictStore(await super().make_store())  # type: ignore[return-value]


class TestWrapped(_Files, DurableStoreConformance):
    """A wrapper around it is as good as the store itself."""

    async def make_store(self) -> DurableStore:
        return FaultStore(await super().make_store())  # type: ignore[return-value]
