"""One database of each durable kind that needs no server; nothing is left running after a test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.testing import assert_invariants
from tests.support.durable_memory import DurableMemoryStore
from tests.test_durable._kits import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.store.durable import DurableStore
    from roomkit.testing import ManualClock


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A database, and processes on it as a test wants them; what it promises is checked."""
    before = asyncio.all_tasks()
    made = _in_memory() if request.param == "memory" else _on_disk(tmp_path / "rooms.db")
    yield made
    await made.close()
    store = made.store()
    await store.open()
    try:
        await assert_invariants(store)
    finally:
        await store.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"left running: {[task.get_name() for task in left]}"


def _in_memory() -> World:
    stores: list[DurableStore] = []

    def make(clock: ManualClock) -> DurableStore:
        if not stores:
            stores.append(DurableMemoryStore(clock))
        return stores[0]

    return World(make, one_object=True)


def _on_disk(path: Path) -> World:
    from roomkit.store.sqlite import SQLiteStore

    return World(lambda clock: SQLiteStore(path, synchronous="OFF", clock=clock))
