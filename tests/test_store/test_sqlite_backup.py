"""Copies of an SQLite database while it is in use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import StoreError, StoreUnavailableError
from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.builders import make_event
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from pathlib import Path


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def _fill(store: SQLiteStore, events: int) -> None:
    await store.create_room(Room(id="room-1"))
    batch = CommitBatch("room-1", tuple(make_event(body="x" * 900) for _ in range(events)))
    await store.commit(batch)


@pytest.mark.parametrize("name", ["rooms.db", ":memory:"])
async def test_a_backup_is_a_whole_store(tmp_path: Path, name: str) -> None:
    """It opens like any other, with everything in it; nothing else is left beside it."""
    copies = tmp_path / "copies"
    copies.mkdir()
    async with SQLiteStore(name if name == ":memory:" else tmp_path / name) as store:
        await _fill(store, 20)
        await store.backup(copies / "copy.db")
        expected = await store.load_context("room-1")
    assert _names(copies) == ["copy.db"]
    async with SQLiteStore(copies / "copy.db") as copy:
        assert await copy.load_context("room-1") == expected
        await copy.add_event(make_event())
        await assert_invariants(copy, [])


async def test_a_backup_under_load(tmp_path: Path) -> None:
    """Commits go on meanwhile; the copy is of one moment, with all that was told before."""
    async with SQLiteStore(tmp_path / "rooms.db", synchronous="OFF") as store:
        await _fill(store, 4000)
        done = False
        during = 0
        begun = asyncio.Event()

        async def talk() -> None:
            nonlocal during
            while not done:
                await store.commit(CommitBatch("room-1", (make_event(),)))
                during += 1
                begun.set()

        talkers = [asyncio.create_task(talk()) for _ in range(5)]
        await begun.wait()
        before = during
        await store.backup(tmp_path / "copy.db")
        after = during
        done = True
        await asyncio.gather(*talkers)
        assert after > before, "commits went on during the copy"
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        await assert_invariants(copy, [])
        count = await copy.get_event_count("room-1")
        assert 4000 + before <= count <= 4000 + after + 5
        assert len(await copy.list_events("room-1", 0, 100_000)) == count


async def test_an_existing_file_is_not_touched(tmp_path: Path) -> None:
    """Unless asked: then it is replaced, with whatever log lay beside it."""
    target = tmp_path / "copy.db"
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await _fill(store, 1)
        target.write_bytes(b"precious")
        with pytest.raises(FileExistsError, match="overwrite"):
            await store.backup(target)
        assert target.read_bytes() == b"precious"
        target.with_name("copy.db-wal").write_bytes(b"of the old one")
        await store.backup(target, overwrite=True)
        assert not target.with_name("copy.db-wal").exists()
    async with SQLiteStore(target) as copy:
        assert await copy.get_event_count("room-1") == 1


async def test_a_backup_that_cannot_be_made(tmp_path: Path) -> None:
    """The cause is named, nothing is left behind, and the store goes on."""
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        await _fill(store, 1)
        with pytest.raises(StoreUnavailableError, match="folder exists"):
            await store.backup(tmp_path / "missing" / "copy.db")
        with pytest.raises(StoreError, match="its own backup"):
            await store.backup(path, overwrite=True)
        assert await store.get_event_count("room-1") == 1
    with pytest.raises(RuntimeError, match="call init"):
        await store.backup(tmp_path / "copy.db")
    assert _names(tmp_path) == ["rooms.db"]


async def test_a_backup_that_is_cancelled(tmp_path: Path) -> None:
    """It ends soon, is told so, and leaves nothing behind."""
    async with SQLiteStore(tmp_path / "rooms.db", synchronous="OFF") as store:
        await _fill(store, 4000)
        copying = asyncio.create_task(store.backup(tmp_path / "copy.db"))
        await asyncio.sleep(0)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert await store.get_event_count("room-1") == 4000
    assert _names(tmp_path) in (["rooms.db"], ["copy.db", "rooms.db"])
