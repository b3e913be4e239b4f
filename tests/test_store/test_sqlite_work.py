"""What the queues of an SQLite store promise beyond the suite, and how its threads end."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.models.room import Room
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
)
from roomkit.store.durable import DEAD_AFTER
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock
from roomkit.testing.builders import make_binding, make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.models.event import RoomEvent


@pytest.fixture
def clock() -> ManualClock:
    """Time the test moves."""
    return ManualClock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SQLiteStore]:
    """A store with one room and one worker."""
    async with SQLiteStore(tmp_path / "rooms.db", clock=clock) as store:
        await store.create_room(Room(id="room-1"))
        await store.beat("w", ["c"])
        yield store


async def plan(store: SQLiteStore, count: int, owner: str | None = "w") -> RoomEvent:
    """Commit an event with some deliveries in one lane: d0, d1, ..."""
    event = make_event()
    plans = tuple(DeliveryPlan(f"d{n}", event.id, "c", DeliveryKind.DELIVER) for n in range(count))
    await store.commit(CommitBatch("room-1", (event,), deliveries=plans, owner=owner))
    return event


def end(event: RoomEvent, n: int, status: RecordStatus, message_id: str) -> DeliveryFinish:
    """The end of a delivery of ``plan``."""
    result = {"provider_message_id": message_id}
    kind = DeliveryKind.DELIVER
    return DeliveryFinish(f"d{n}", event.id, "c", kind, status, result, "w", room_id="room-1")


async def _found(store: SQLiteStore, message_id: str) -> str | None:
    found = await store.find_event_by_provider_message_id(message_id)
    return None if found is None else found[0].id


async def test_vendors_ids_outlive_their_records(store: SQLiteStore, clock: ManualClock) -> None:
    """After a purge, and of an attempt that was followed by another, word can still be had."""
    event = await plan(store, 2)
    await store.finish_deliveries([end(event, 0, RecordStatus.DONE, "m0")])
    await store.finish_deliveries([end(event, 1, RecordStatus.DEAD, "m1")])
    assert await store.retry_dead_letter("d1")
    assert [record.id for record in await store.claim_deliveries("w", ["c"])] == ["d1"]
    await store.finish_deliveries([end(event, 1, RecordStatus.DONE, "m2")])
    assert [await _found(store, f"m{n}") for n in range(3)] == [event.id] * 3
    assert await store.purge(clock.now() + timedelta(seconds=1)) == 2
    assert [await _found(store, f"m{n}") for n in range(3)] == [event.id] * 3
    await store.delete_room("room-1")
    assert [await _found(store, f"m{n}") for n in range(3)] == [None] * 3


async def test_many_rows_are_purged(store: SQLiteStore, clock: ManualClock) -> None:
    """A purge takes as many steps as it needs, and tells the sum."""
    event = await plan(store, 1200)
    finishes = [end(event, n, RecordStatus.DONE, f"m{n}") for n in range(1200)]
    await store.finish_deliveries(finishes)
    assert await store.purge(clock.now()) == 0
    await clock.advance(1)
    before = store.transactions
    assert await store.purge(clock.now()) == 1200
    assert store.transactions - before >= 3
    assert await _found(store, "m1199") == event.id


async def test_results_are_merged_without_being_read(store: SQLiteStore) -> None:
    """A later word of a channel replaces its earlier one, and others stay, whatever the name."""
    event = await plan(store, 0)
    name = 'we"ird, {name}: \\ \u00e9'
    for channel_id, result in (
        (name, {"n": 1}),
        ("b", {"n": 2, "text": 'a"}{,'}),
        (name, {"n": 3, "more": None}),
    ):
        kind = DeliveryKind.DELIVER
        word = DeliveryFinish("x", event.id, channel_id, kind, RecordStatus.DONE, result)
        await store.finish_deliveries([word])
    stored = await store.get_event(event.id)
    assert stored is not None
    assert stored.delivery_results == {
        name: {"n": 3, "more": None},
        "b": {"n": 2, "text": 'a"}{,'},
    }


async def test_results_do_not_pile_up(store: SQLiteStore, tmp_path: Path) -> None:
    """A thousand words on one delivery take the place of one; what it sent last is kept."""
    event = await plan(store, 0)
    kind = DeliveryKind.DELIVER
    words = [
        DeliveryFinish("x", event.id, "c", kind, RecordStatus.DONE, {"n": n, "pad": "x" * 80})
        for n in range(1000)
    ]
    await asyncio.gather(*(store.finish_deliveries([word]) for word in words))
    stored = await store.get_event(event.id)
    assert stored is not None
    assert stored.delivery_results["c"]["n"] == 999
    with closing(sqlite3.connect(tmp_path / "rooms.db")) as looked:
        (size,) = looked.execute("SELECT max(length(results)) FROM events").fetchone()
    assert size < 2 * 4096


async def test_a_lane_of_a_dead_worker_is_taken_whole(
    store: SQLiteStore, clock: ManualClock
) -> None:
    """What is not claimed of it at once no longer counts as the dead one's."""
    event = await plan(store, 5)
    await clock.advance(DEAD_AFTER + 0.1)
    await store.beat("x", ["c"])
    taken = await store.claim_deliveries("x", ["c"], per_lane=2)
    assert [record.id for record in taken] == ["d0", "d1"]
    await store.beat("w", ["c"])
    assert await store.finish_deliveries([end(event, 4, RecordStatus.DONE, "m4")]) == set()
    stored = await store.get_event(event.id)
    assert stored is not None
    assert stored.delivery_results == {}
    kind = DeliveryKind.DELIVER
    for n in range(2):
        done = DeliveryFinish(f"d{n}", event.id, "c", kind, RecordStatus.DONE, owner="x")
        lanes = await store.finish_deliveries([done])
    assert lanes == {("room-1", "c")}
    taken = await store.claim_deliveries("x", ["c"])
    assert [record.id for record in taken] == ["d2", "d3", "d4"]


async def test_names_are_filed_once_for_every_store(tmp_path: Path) -> None:
    """The first question of one store files a channel; what others write then is filed too."""
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as here, SQLiteStore(path) as there:
        question = {"recipient_key": "number", "statuses": ["active"]}
        for n in range(3):
            await here.create_room(Room(id=f"r{n}"))
        await here.add_binding(make_binding("sms", "r0", metadata={"number": "+1 (0)"}))
        assert await here.find_room_for("sms", "+10", **question) == "r0"
        await there.add_binding(make_binding("sms", "r1", metadata={"number": "+2"}))
        await there.add_binding(make_binding("sms", "r2"))
        before = here.transactions
        assert await here.find_room_for("sms", "+2", **question) == "r1"
        assert await here.find_room_for("sms", "+3", **question) == "r2"
        assert here.transactions == before, "an index answers, nothing is written"


def _threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if name in thread.name]


async def test_no_thread_outlives_the_store(tmp_path: Path) -> None:
    """They end with ``close``, and also when a store is simply forgotten."""
    store = SQLiteStore(tmp_path / "threads.db")
    async with store:
        await store.create_room(Room(id="r"))
        await store.get_room("r")
        assert len(_threads("threads.db")) == 3
    for thread in _threads("threads.db"):
        await asyncio.to_thread(thread.join, 5)
    assert _threads("threads.db") == []
    await store.open()
    threads = _threads("threads.db")
    assert threads
    del store
    gc.collect()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert _threads("threads.db") == []
