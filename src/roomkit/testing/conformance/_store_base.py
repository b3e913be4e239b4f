"""The base of the store suites: a store a test, and short words for what tests do with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from roomkit.models.room import Room
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._suite import Suite, at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore


class StoreSuite(Suite, ABC):
    """A store of its own for each test."""

    @abstractmethod
    async def make_store(self) -> ConversationStore:
        """Return a new, empty store; it is opened for the test and closed after it."""

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[ConversationStore]:
        """A store of the test's own."""
        store = await self.make_store()
        await store.open()
        yield store
        await store.close()

    async def room(self, store: ConversationStore, room_id: str = "room-1", **fields: Any) -> Room:
        """Create a room; later rooms are younger."""
        count = len(await store.list_rooms(0, 1000))
        fields.setdefault("created_at", at(count))
        return await store.create_room(Room(id=room_id, **fields))

    async def say(self, store: ConversationStore, count: int, **fields: Any) -> list[RoomEvent]:
        """Add some events to room-1."""
        return [await store.add_event(make_event(body=str(n), **fields)) for n in range(count)]


def ids(models: list[Any]) -> list[str]:
    """Return the ids of models, in order."""
    return [model.id for model in models]


def finish(event: RoomEvent, channel_id: str, result: dict[str, Any] | None) -> DeliveryFinish:
    """Return the end of a delivery."""
    kind = DeliveryKind.REACT if result is None else DeliveryKind.DELIVER
    return DeliveryFinish("d", event.id, channel_id, kind, RecordStatus.DONE, result)


async def find(
    store: ConversationStore, channel_id: str, sender: str, *statuses: str
) -> str | None:
    """Ask whose room a message belongs to; bindings name people under ``number``."""
    return await store.find_room_for(
        channel_id, sender, recipient_key="number", statuses=statuses or ("active",)
    )
