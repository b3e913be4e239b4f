"""SQLite files in the hands of several processes, one of which may be killed at any moment.

Run as a program it is such a process: ``python test_sqlite_processes.py FILE NAME COUNT`` commits
COUNT messages to each of two rooms and prints the key of each once it was told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch, DeliveryKind, DeliveryPlan
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.builders import make_event
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = ("r0", "r1")


def _batch(room_id: str, key: str) -> CommitBatch:
    event = make_event(room_id, idempotency_key=key)
    plan = DeliveryPlan(f"d-{event.id}", event.id, "c", DeliveryKind.DELIVER)
    return CommitBatch(room_id, (event,), open_required=True, deliveries=(plan,), owner="w")


async def _talk(path: str, name: str, most: int) -> None:
    """Commit messages, telling each key once it is kept; half of the keys are common."""
    numbers = iter(range(most)) if most else count()
    async with SQLiteStore(path, busy_timeout=30) as store:

        async def speak() -> None:
            for n in numbers:
                key = f"{name if n % 2 else 'all'}-{n}"
                for room_id in ROOMS:
                    result = await store.commit(_batch(room_id, key))
                    assert bool(result.events) != (result.duplicate_of is not None)
                    sys.stdout.write(f"{room_id} {key}\n")
                    sys.stdout.flush()

        await asyncio.gather(*(speak() for _ in range(8)))


async def _start(path: Path, name: str, most: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        __file__,
        str(path),
        name,
        str(most),
        stdout=subprocess.PIPE,
    )


async def _check(path: Path, told: set[tuple[str, str]]) -> int:
    """Look at everything a file holds; return how many events that is."""
    total = 0
    async with SQLiteStore(path) as store:
        await assert_invariants(store, [])
        for room_id, key in told:
            event = await store.find_event_by_key(room_id, key)
            assert event is not None, f"{room_id} {key} was told to be kept"
        for room_id in ROOMS:
            room = await store.get_room(room_id)
            assert room is not None
            events = await store.list_events(room_id, 0, 100_000)
            assert [event.index for event in events] == list(range(len(events)))
            assert room.event_count == len(events)
            keys = [event.idempotency_key for event in events]
            assert len(set(keys)) == len(keys)
            total += len(events)
        stats = await store.work_stats()
        assert stats.deliveries.depth == total, "each event has its one delivery"
    return total


def _pairs(output: bytes) -> set[tuple[str, str]]:
    """Return the lines that were told completely."""
    lines = output.decode().split("\n")[:-1]
    return {(line.split(" ")[0], line.split(" ")[1]) for line in lines}


async def _make(path: Path) -> None:
    async with SQLiteStore(path) as store:
        for room_id in ROOMS:
            await store.create_room(Room(id=room_id))


async def test_two_processes_write_one_file(tmp_path: Path) -> None:
    """Nothing is lost or doubled, neither is shut out, and indexes have no gap."""
    path = tmp_path / "rooms.db"
    await _make(path)
    writers = [await _start(path, name, 150) for name in ("a", "b")]
    outputs = await asyncio.gather(*(writer.communicate() for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0]
    told = set().union(*(_pairs(output) for output, _ in outputs))
    # 75 keys they share, and 75 of each one's own, in two rooms.
    assert len(told) == 2 * 3 * 75
    assert await _check(path, told) == len(told)


@pytest.mark.parametrize("after", [1, 40, 150])
async def test_a_process_that_is_killed(tmp_path: Path, after: int) -> None:
    """Whatever it was told to be kept is there, and the file goes on without repair."""
    path = tmp_path / "rooms.db"
    await _make(path)
    writer = await _start(path, "a", 0)
    assert writer.stdout is not None
    output = b""
    while output.count(b"\n") < after:
        piece = await writer.stdout.read(4096)
        assert piece, "the writer ended by itself"
        output += piece
    os.kill(writer.pid, signal.SIGKILL)
    output += await writer.stdout.read()
    assert await writer.wait() == -signal.SIGKILL
    total = await _check(path, _pairs(output))
    async with SQLiteStore(path) as store:
        result = await store.commit(_batch("r0", "afterwards"))
        assert result.events[0].index == len(await store.list_events("r0", 0, 100_000)) - 1
    assert await _check(path, _pairs(output)) == total + 1


async def test_another_process_is_seen(tmp_path: Path) -> None:
    """What a second store writes shows in the first one's next look, and only what moved."""
    path = tmp_path / "rooms.db"
    await _make(path)
    async with SQLiteStore(path) as here, SQLiteStore(path) as there:
        context, _ = await here.look("r0")
        assert context is not None
        assert (await here.look("r0", known=context))[0] is context
        await there.commit(_batch("r0", "k"))
        assert here.peek_context("r0") is context
        moved, _ = await here.look("r0", known=context)
        assert moved is not None
        assert [event.idempotency_key for event in moved.recent_events] == ["k"]
        assert moved.bindings is context.bindings
        _, event = await here.look("r0", key="k")
        assert event == moved.recent_events[0]
        await there.delete_room("r0")
        assert await here.look("r0", known=moved) == (None, None)
        await there.create_room(Room(id="r0", metadata={"new": True}))
        fresh, _ = await here.look("r0", known=moved)
        assert fresh is not None
        assert (fresh.room.metadata, fresh.recent_events) == ({"new": True}, [])


if __name__ == "__main__":
    asyncio.run(_talk(sys.argv[1], sys.argv[2], int(sys.argv[3])))
