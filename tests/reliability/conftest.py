"""Kits on three stores; each test ends with the promises checked and nothing left running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import InMemoryStore, RoomKit
from roomkit.testing import StrictStore, assert_invariants
from tests.support.kits import open_room
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from roomkit import Channel, ConversationStore

    type MakeKit = Callable[..., Awaitable[RoomKit]]


@pytest.fixture(params=["memory", "suspending", "strict"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ConversationStore]:
    """A store: plain, one that suspends at each call, one that reports shared values changed."""
    inner = InMemoryStore()
    made: ConversationStore = inner
    if request.param != "memory":
        made = {"suspending": SuspendingStore, "strict": StrictStore}[request.param](inner)
    yield made
    await assert_invariants(inner)
    if isinstance(made, StrictStore):
        made.check()


@pytest.fixture
async def make_kit(store: ConversationStore) -> AsyncIterator[MakeKit]:
    """Builds a kit on the store with the room ``r`` and the given channels in it."""
    before = asyncio.all_tasks()
    kits: list[RoomKit] = []

    async def build(*channels: Channel, **options: Any) -> RoomKit:
        kit = RoomKit(store, **options)
        kits.append(kit)
        await open_room(kit, *channels)
        return kit

    yield build
    for kit in kits:
        assert await kit.drain(5), "something is still under way"
        await kit.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"left running: {[task.get_name() for task in left]}"
