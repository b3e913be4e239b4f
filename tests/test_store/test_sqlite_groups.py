"""How the SQLite store shares transactions among those who wait, and what each is told."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.exceptions import InvalidInputError, StoreError, StoreUnavailableError
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit.store.commit import CommitBatch
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from roomkit.models.event import RoomEvent
    from roomkit.store.commit import CommitResult


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a file, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the test's own."""
    return tmp_path / "rooms.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """A store with one room."""
    async with SQLiteStore(path, busy_timeout=30) as store:
        await store.create_room(Room(id="room-1"))
        yield store


def said(key: str | None = None) -> CommitBatch:
    """A batch of one event."""
    return CommitBatch("room-1", (make_event(idempotency_key=key),), open_required=True)


async def test_those_who_wait_share_a_transaction(store: SQLiteStore, path: Path) -> None:
    """A hundred commits that wait together take two transactions: the first, and the rest."""
    before = store.transactions
    with locked(path):
        commits = [asyncio.create_task(store.commit(said())) for _ in range(100)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*commits)
    assert store.transactions - before <= 2
    assert [result.events[0].index for result in results] == list(range(100))
    await assert_invariants(store, [result.events[0] for result in results])


async def test_a_group_is_bounded(store: SQLiteStore, path: Path) -> None:
    """More than a few hundred calls take more than one transaction."""
    before = store.transactions
    with locked(path):
        commits = [asyncio.create_task(store.commit(said())) for _ in range(600)]
        await asyncio.sleep(0)
    await asyncio.gather(*commits)
    assert store.transactions - before >= 3
    assert await store.get_event_count("room-1") == 600


async def test_one_that_fails_harms_no_other(store: SQLiteStore, path: Path) -> None:
    """Among a group one batch breaks half-way: it leaves nothing, the others are stored."""
    await store.add_task(Task(id="taken", room_id="room-1", title="x"))
    broken = CommitBatch(
        "room-1",
        (make_event(idempotency_key="broken"),),
        bindings=(make_binding("new"),),
        tasks=(Task(id="taken", room_id="room-1", title="x"),),
    )
    with locked(path):
        batches = [*(said(f"a{n}") for n in range(20)), broken, *(said() for _ in range(20))]
        commits = [asyncio.create_task(store.commit(batch)) for batch in batches]
        await asyncio.sleep(0)
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert isinstance(results[20], StoreError)
    assert "'taken'" in str(results[20])
    stored: list[RoomEvent] = [r.events[0] for n, r in enumerate(results) if n != 20]  # type: ignore[union-attr]
    assert [event.index for event in stored] == list(range(40))
    assert await store.check_idempotency("room-1", "broken") is False
    assert await store.list_bindings("room-1") == []
    await assert_invariants(store, stored)


async def test_a_refused_one_harms_no_other(store: SQLiteStore, path: Path) -> None:
    """Repeats within one group name the first, and the rest is stored."""
    with locked(path):
        batches = [said("k"), said("k"), said("l"), said("k")]
        commits = [asyncio.create_task(store.commit(batch)) for batch in batches]
        await asyncio.sleep(0)
    results: list[CommitResult] = await asyncio.gather(*commits)
    first = results[0].events[0]
    assert results[1].duplicate_of == results[3].duplicate_of == first
    assert results[2].events[0].index == 1
    assert await store.get_event_count("room-1") == 2


async def test_what_was_told_can_be_read(store: SQLiteStore) -> None:
    """A read that follows a told write sees it, whatever else is going on."""

    async def talk(room_id: str) -> None:
        await store.create_room(Room(id=room_id))
        for count in range(1, 20):
            batch = CommitBatch(room_id, (make_event(room_id),))
            await store.commit(batch)
            assert await store.get_event_count(room_id) == count
            context = await store.load_context(room_id)
            assert context is not None
            assert len(context.recent_events) == count

    await asyncio.gather(*(talk(f"r{n}") for n in range(10)))


async def test_a_cancelled_commit_is_whole_or_not_there(store: SQLiteStore, path: Path) -> None:
    """Whoever is cancelled while waiting is told so; a repeat then gives the one event."""
    with locked(path):
        commits = [asyncio.create_task(store.commit(said(f"k{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        for commit in commits:
            commit.cancel()
        results = await asyncio.gather(*commits, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    for n in range(10):
        again = await store.commit(said(f"k{n}"))
        assert len(again.events) == (again.duplicate_of is None)
    assert await store.get_event_count("room-1") == 10
    await assert_invariants(store, [])


async def test_closing_finishes_what_waits(store: SQLiteStore, path: Path) -> None:
    """``close`` comes after the calls made before it; all of them are stored."""
    with locked(path):
        commits = [asyncio.create_task(store.commit(said())) for _ in range(20)]
        await asyncio.sleep(0)
        closing_down = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        assert not closing_down.done()
    results = await asyncio.gather(*commits)
    await closing_down
    assert len({result.events[0].index for result in results}) == 20
    with pytest.raises(RuntimeError, match="init"):
        await store.get_room("room-1")
    await store.open()
    assert await store.get_event_count("room-1") == 20


async def test_closing_does_not_wait_for_ever(path: Path) -> None:
    """When the file stays locked those who wait are told, and ``close`` returns."""
    store = SQLiteStore(path, busy_timeout=0.2)
    await store.open()
    await store.create_room(Room(id="room-1"))
    with locked(path):
        commits = [asyncio.create_task(store.commit(said())) for _ in range(3)]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.gather(*commits, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailableError}


def test_a_loop_may_end_with_calls_under_way(path: Path) -> None:
    """What it waited for ends by itself, and the store serves the next loop."""
    store = SQLiteStore(path, busy_timeout=30)

    async def leave() -> asyncio.Task[CommitResult]:
        await store.open()
        await store.create_room(Room(id="room-1"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        left.append(other)
        task = asyncio.create_task(store.commit(said("left")))
        await asyncio.sleep(0)
        return task

    async def go_on() -> None:
        result = await store.commit(said("left"))
        assert len(result.events) == (result.duplicate_of is None)
        assert await store.get_event_count("room-1") == 1
        await store.close()

    left: list[sqlite3.Connection] = []
    task = asyncio.run(leave())
    assert task.cancelled()
    left[0].execute("ROLLBACK")
    left[0].close()
    asyncio.run(go_on())


async def test_what_cannot_be_stored_is_refused_at_once(store: SQLiteStore) -> None:
    """Text no database can hold is an error of its caller, and names nothing of it."""
    with pytest.raises(InvalidInputError) as told:
        await store.add_event(make_event(body="secret \ud800"))
    assert "secret" not in str(told.value)
    with pytest.raises(InvalidInputError) as told:
        await store.find_event_by_key("room-1", "secret \ud800")
    assert "secret" not in str(told.value)
    assert await store.get_event_count("room-1") == 0


async def test_ids_are_used_once(store: SQLiteStore) -> None:
    """A second room, event or task of an id is refused; the first stays as it was."""
    event = await store.add_event(make_event(idempotency_key="k"))
    for again in (
        store.create_room(Room(id="room-1", metadata={"other": True})),
        store.add_event(event),
        store.add_event(make_event(idempotency_key="k")),
        store.add_event(make_event("nowhere")),
        store.commit(CommitBatch("nowhere", (make_event("nowhere"),))),
        store.add_task(Task(id="t", room_id="nowhere", title="x")),
        store.add_binding(make_binding("c", "nowhere")),
    ):
        with pytest.raises(StoreError):
            await again
    room = await store.get_room("room-1")
    assert room is not None
    assert room.metadata == {}
    assert room.event_count == 1


async def test_a_batch_made_from_old_news_is_refused(store: SQLiteStore, path: Path) -> None:
    """When members have changed since, by whomever; new events and results do not count."""
    assert store.peek_guarded("room-1") is None
    context = await store.load_context("room-1")
    known = store.peek_guarded("room-1")
    assert known is not None
    assert known[0] is context
    guarded = replace(said("k"), guard=known[1])
    assert (await store.commit(said())).events
    async with SQLiteStore(path) as other:
        await other.commit(said())
        assert (await store.commit(replace(said(), guard=known[1]))).events
        await other.add_binding(make_binding("new"))
    assert (await store.commit(guarded)).refused == "stale_context"
    assert await store.check_idempotency("room-1", "k") is False
    await store.load_context("room-1")
    fresh = store.peek_guarded("room-1")
    assert fresh is not None
    assert (await store.commit(replace(guarded, guard=fresh[1]))).events
    assert (await store.commit(guarded)).duplicate_of is not None
