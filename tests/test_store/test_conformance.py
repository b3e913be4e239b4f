"""Every store that needs no server, against the suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.store.memory import InMemoryStore
from roomkit.testing import FaultStore, StrictStore
from roomkit.testing.conformance import Store36Conformance, StoreConformance
from tests.support.minimal_store import MinimalStore

if TYPE_CHECKING:
    from roomkit.store.base import ConversationStore


class TestInMemoryStore(StoreConformance):
    """The default store keeps every promise of both levels."""

    tells_version = True

    async def make_store(self) -> ConversationStore:
        return InMemoryStore()


class TestMinimalStore(Store36Conformance):
    """The ABC makes a whole store of 36 plain methods."""

    async def make_store(self) -> ConversationStore:
        return MinimalStore()


class TestStrictStore(StoreConformance):
    """Watching a store changes nothing about it; nothing in the suite changes snapshots."""

    async def make_store(self) -> ConversationStore:
        return StrictStore(InMemoryStore())


class TestFaultStore(StoreConformance):
    """A store without planned faults is the store it wraps."""

    async def make_store(self) -> ConversationStore:
        return FaultStore(InMemoryStore())
