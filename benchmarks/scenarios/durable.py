"""Durable stores: messages through the whole engine, the outbox on, by the wall clock.

Beside each stands a bare loop on the same database: one statement writes the event, its
delivery records and the room's counters, ends of deliveries are written in batches, and nobody
looks anything up. These rows are wall time: waiting for the disk and the server is what they
measure, so they are not scaled by the machine's yardstick.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import CountingChannel, message
from roomkit import RoomKit
from roomkit.store.postgres import PostgresStore
from roomkit.store.sqlite import SQLiteStore
from tests.support.servers import running_postgres

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.store.durable import DurableStore

WIDE, CALLERS = 100, 100
ONE_ROOM_CALLERS = 32
CALLS = 3000
TARGETS = ("sms", "mail")


async def _timed(count: int, callers: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return the wall microseconds of one of ``count`` calls, many callers side by side."""
    numbers = itertools.count()

    async def caller() -> None:
        while (number := next(numbers)) < count:
            await call(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.perf_counter() - began) * 1e6 / count


async def _through_the_engine(store: DurableStore, rooms: int, callers: int) -> float:
    targets = [CountingChannel(name) for name in TARGETS]
    async with RoomKit(store) as kit:
        for channel in (CountingChannel("ws"), *targets):
            kit.register_channel(channel)
        for number in range(rooms):
            await kit.create_room(f"r{number}")
            for channel_id in ("ws", *TARGETS):
                await kit.attach_channel(f"r{number}", channel_id)

        async def say(number: int) -> None:
            key = f"k{number}"
            said = message(f"message {number}").cleaned(idempotency_key=key)
            result = await kit.process_inbound(said, room_id=f"r{number % rooms}")
            check(not result.blocked, f"refused: {result.reason}")

        await _timed(rooms, rooms, lambda number: say(-1 - number))
        spent = await _timed(CALLS, callers, say)
        await kit.drain()
        for target in targets:
            check(target.count == CALLS + rooms, f"{target.count} deliveries")
        stats = await kit.stats()
        check(stats.deliveries.depth == 0, f"{stats.deliveries.depth} records left")
    return spent


# -- SQLite --------------------------------------------------------------------------------


@scenario("sqlite_wide", "SQLite inbound, 100 rooms, 100 callers", target=1000.0, scale="none")
async def sqlite_wide() -> Figure:
    """A message to two targets, on disk before anybody is told."""
    return await _sqlite(WIDE, CALLERS)


@scenario("sqlite_one", "  one room, 32 callers", target=None, scale="none")
async def sqlite_one() -> Figure:
    """The same with every message in one room, where only one can be admitted at a time."""
    return await _sqlite(1, ONE_ROOM_CALLERS)


async def _sqlite(rooms: int, callers: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        spent = await _through_the_engine(SQLiteStore(Path(folder) / "b.db"), rooms, callers)
        return Figure(spent, _bare_sqlite(Path(folder) / "bare.db", callers))


_BARE_TABLES = """
CREATE TABLE rooms (id TEXT PRIMARY KEY, event_count INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (id TEXT PRIMARY KEY, room_id TEXT NOT NULL, position INTEGER NOT NULL,
    key TEXT, doc TEXT NOT NULL);
CREATE UNIQUE INDEX events_position ON events (room_id, position);
CREATE UNIQUE INDEX events_key ON events (room_id, key);
CREATE TABLE deliveries (id TEXT PRIMARY KEY, event_id TEXT NOT NULL, status TEXT NOT NULL);
"""
_DOC = json.dumps({"body": "message", "source": {"channel_id": "ws"}, "metadata": {}})


def _bare_sqlite(path: Path, together: int) -> float:
    """Return what a message costs a loop that commits ``together`` of them at once."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _BARE_TABLES)
    connection.execute("INSERT INTO rooms (id) VALUES ('r')")
    began = time.perf_counter()
    for start in range(0, CALLS, together):
        connection.execute("BEGIN IMMEDIATE")
        numbers = range(start, min(start + together, CALLS))
        for number in numbers:
            event = f"{number:032x}"
            connection.execute("UPDATE rooms SET event_count = event_count + 1 WHERE id = 'r'")
            row = (event, number, f"k{number}", _DOC)
            connection.execute("INSERT INTO events VALUES (?, 'r', ?, ?, ?)", row)
            records = [(f"{event}.{target}", event, "pending") for target in TARGETS]
            connection.executemany("INSERT INTO deliveries VALUES (?, ?, ?)", records)
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        ends = [(f"{number:032x}.{target}",) for number in numbers for target in TARGETS]
        connection.executemany("UPDATE deliveries SET status = 'done' WHERE id = ?", ends)
        connection.execute("COMMIT")
    spent = (time.perf_counter() - began) * 1e6 / CALLS
    connection.close()
    return spent


# -- PostgreSQL ----------------------------------------------------------------------------


@scenario("pg_one", "PostgreSQL inbound, one room, 32 callers", target=1428.0, scale="none")
async def pg_one() -> Figure:
    """A message to two targets; at least 700 a second."""
    return await _postgres(1, ONE_ROOM_CALLERS)


@scenario("pg_wide", "  100 rooms, 100 callers", target=555.0, scale="none")
async def pg_wide() -> Figure:
    """At least 1,800 a second."""
    return await _postgres(WIDE, CALLERS)


async def _postgres(rooms: int, callers: int) -> Figure:
    with running_postgres(fsync=True) as server:
        bare = await _bare_postgres(server.create_database(), rooms, callers)
        store = PostgresStore(server.create_database())
        spent = await _through_the_engine(store, rooms, callers)
        return Figure(spent, bare)


_BARE_COMMIT = """
WITH room AS (
    UPDATE rooms SET event_count = event_count + 1 WHERE id = $1 RETURNING event_count
), event AS (
    INSERT INTO events SELECT $2, $1, event_count, $3, $4 FROM room
)
INSERT INTO deliveries SELECT unnest($5::text[]), $2, 'pending'
"""
_BARE_FINISH = "UPDATE deliveries SET status = 'done' WHERE id = ANY($1)"


async def _bare_postgres(dsn: str, rooms: int, callers: int) -> float:
    """Return what a message costs a loop of one statement, with batched ends."""
    import asyncpg

    ended: list[str] = []
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10, reset=_no_reset) as pool:
        await pool.execute(_BARE_TABLES)
        await pool.executemany(
            "INSERT INTO rooms (id) VALUES ($1)", [(f"r{n}",) for n in range(rooms)]
        )

        async def finish() -> None:
            while True:
                await asyncio.sleep(0.005)
                batch, ended[:] = ended[:], []
                if batch:
                    await pool.execute(_BARE_FINISH, batch)

        async def say(number: int) -> None:
            event = f"{number:032x}"
            records = [f"{event}.{target}" for target in TARGETS]
            room = f"r{number % rooms}"
            await pool.execute(_BARE_COMMIT, room, event, f"k{number}", _DOC, records)
            ended.extend(records)

        finishing = asyncio.ensure_future(finish())
        spent = await _timed(CALLS, callers, say)
        finishing.cancel()
    return spent


async def _no_reset(_connection: Any) -> None:
    """Spare the round trip."""


@scenario("pg_trips", "  awaited round trips a message", target=2.0, unit="", scale="none")
async def pg_trips() -> Figure:
    """Statements a message waits for, one caller; ends of deliveries wait for nobody."""
    import asyncpg

    with running_postgres() as server:
        asked: list[str] = []

        async def watch(connection: Any) -> None:
            connection.add_query_logger(lambda query: asked.append(query.query))

        pool = asyncpg.create_pool(
            server.create_database(), min_size=2, max_size=4, init=watch, reset=_no_reset
        )
        async with pool:
            store = PostgresStore(pool=pool)
            async with store:
                gates = await _trips(store, asked)
    return Figure(gates)


async def _trips(store: DurableStore, asked: list[str]) -> float:
    async with RoomKit(store) as kit:
        for channel_id in ("ws", *TARGETS):
            kit.register_channel(CountingChannel(channel_id))
        await kit.create_room("r")
        for channel_id in ("ws", *TARGETS):
            await kit.attach_channel("r", channel_id)
        for number in range(50):
            if number == 10:
                asked.clear()
            said = message("hello").cleaned(idempotency_key=f"k{number}")
            await kit.process_inbound(said, room_id="r")
        waited = [query for query in asked if "roomkit_finish" not in query]
        commits = sum("roomkit_commit" in query for query in waited)
        check(commits == 40, f"{commits} commits for 40 messages")
        looks = sum("roomkit_look" in query for query in waited)
        return (commits + looks) / 40
