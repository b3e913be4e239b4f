"""What every inbound router must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest_asyncio

from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.room import Room
from roomkit.store.memory import InMemoryStore
from roomkit.testing.builders import make_binding
from roomkit.testing.conformance._suite import PATIENCE, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.core.inbound_router import InboundRoomRouter
    from roomkit.store.base import ConversationStore


class InboundRouterConformance(Suite, ABC):
    """A room of the store, or None, without side effects. Implement ``make_router``."""

    @abstractmethod
    async def make_router(self, store: ConversationStore) -> InboundRoomRouter:
        """Return a new router over a store."""

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[ConversationStore]:
        """The store the router looks into."""
        store = InMemoryStore()
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def router(self, store: ConversationStore) -> InboundRoomRouter:
        """A router of the test's own."""
        return await self.make_router(store)

    async def ask(self, router: InboundRoomRouter, sender: str | None = "+15550001") -> str | None:
        """Ask where a message to ``sms`` belongs."""
        async with asyncio.timeout(PATIENCE):
            return await router.route("sms", ChannelType.SMS, participant_id=sender)

    async def open(self, store: ConversationStore, room_id: str, sender: str) -> Room:
        """Store an open room of one person on ``sms``."""
        room = await store.create_room(Room(id=room_id))
        binding = make_binding("sms", room_id, channel_type=ChannelType.SMS)
        await store.add_binding(binding.with_metadata({"phone_number": sender}))
        return room

    async def test_nobody_is_routed_in_an_empty_store(self, router: InboundRoomRouter) -> None:
        """None means that a new room is to be made."""
        assert await self.ask(router) is None
        assert await self.ask(router, None) is None

    async def test_an_answer_is_an_open_room(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """A sender's own room is found, and no longer once it is closed."""
        room = await self.open(store, "mine", "+15550001")
        assert await self.ask(router) == "mine"
        await store.update_room(room.moved_to(RoomStatus.CLOSED, room.created_at))
        assert await self.ask(router) is None

    async def test_strangers_do_not_meet(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """A room whose binding names one person is never another's."""
        await self.open(store, "hers", "+15550002")
        assert await self.ask(router) is None
        await self.open(store, "mine", "+15550001")
        assert await self.ask(router) == "mine"
        assert await self.ask(router, "+15550002") == "hers"

    async def test_asking_changes_nothing(
        self, router: InboundRoomRouter, store: ConversationStore
    ) -> None:
        """The same question has the same answer, and the store is as before."""
        await self.open(store, "mine", "+15550001")
        before = await store.load_context("mine")
        assert [await self.ask(router) for _ in range(3)] == ["mine"] * 3
        assert await store.load_context("mine") == before
        assert len(await store.list_rooms()) == 1
