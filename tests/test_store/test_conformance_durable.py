"""The suite of durable stores against the plainest one, and against wrappers around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.testing import FaultStore, ManualClock, StoreWrapper, StrictStore
from roomkit.testing.conformance import DurableStoreConformance, StoreConformance
from tests.support.durable_memory import DurableMemoryStore

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore


class _Memory(DurableStoreConformance):
    """A clock and a twin for stores in memory."""

    clock: ManualClock

    async def make_store(self) -> DurableStore:
        self.clock = ManualClock()
        return DurableMemoryStore(self.clock)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def another(self, store: DurableStore) -> DurableStore:
        return StoreWrapper(store)  # type: ignore[return-value]  # durable around a durable one


class TestDurableMemoryStore(_Memory):
    """The rules are such that a store can keep them, and the suite such that it may pass."""


class TestDurableMemoryStoreAtAll(StoreConformance):
    """It keeps the other two levels as well."""

    async def make_store(self) -> DurableStore:
        return DurableMemoryStore(ManualClock())


class TestStrictDurableStore(_Memory):
    """Watching a durable store changes nothing about it."""

    async def make_store(self) -> DurableStore:
        return StrictStore(await super().make_store())  # type: ignore[return-value]


class TestFaultDurableStore(_Memory):
    """A durable store without planned faults is the store it wraps."""

    async def make_store(self) -> DurableStore:
        return FaultStore(await super().make_store())  # type: ignore[return-value]
