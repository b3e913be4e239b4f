"""The servers behind the workers go away and come back, under load (T3)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes._checks import (
    BUSY_WITHIN,
    check_accepted,
    check_answers,
    check_delivered,
    check_doubled,
    check_recovery,
    open_books,
)
from tests.processes._driver import Fleet
from tests.processes._load import CHANNELS, Message, Traffic, some_messages
from tests.processes._worker import make_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.processes._driver import Nursery
    from tests.processes._worker import Config
    from tests.support.servers import PostgresServer, RedisServer

WORKERS = 3
POOL = 6
ROOMS = [f"room-{number}" for number in range(20)]

RESUMED_WITHIN = 3.0
"""Seconds after the server is back in which messages are accepted again."""

ANSWERED_WITHIN = 12.0
"""Seconds any call may take: to find the server away, wait for the room, commit and settle, with
the bounds of ``PATIENT``."""

DECIDED_WITHIN = 1.0
"""Seconds a caller waits at most for the decision to go on without the lock server."""

PROCESSED_WITHIN = 1.5
"""Seconds the rest of a call may take on a machine that is busy with other tests."""

PATIENT: dict[str, Any] = {
    "store_options": {
        "max_size": POOL,
        "connect_timeout": 2.0,
        "acquire_timeout": 2.0,
        "command_timeout": 3.0,
        "reconnect_for": 1.0,
    },
    "kit": {"commit_timeout": 4.0, "settle_timeout": 5.0, "lock_timeout": 5.0},
}


class Endless:
    """Messages until somebody says stop; remembers those that were taken."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.stopped = False

    def __iter__(self) -> Iterator[Message]:
        for message in some_messages(None, ROOMS):
            if self.stopped:
                return
            self.taken.append(message)
            yield message


@asynccontextmanager
async def _under_load(fleet: Fleet, traffic: Traffic) -> AsyncIterator[Endless]:
    """Open rooms and let messages flow through them; all are acknowledged in the end."""
    first = (await fleet.start(WORKERS, **PATIENT))[0]
    await first.ask("rooms", rooms=ROOMS, channels=[*CHANNELS, "bot"])
    messages = Endless()
    # A caller that fails ends what waits for the callers.
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run(messages))
        try:
            yield messages
        finally:
            messages.stopped = True


async def _judge(fleet: Fleet, traffic: Traffic, messages: Endless, upsets: list[float]) -> None:
    """Check the callers, the store and the ledger."""
    await fleet.idle(60.0)
    assert await fleet.any().ask("dead") == {"errors": []}
    await fleet.end()
    store = make_store(fleet.config)
    await store.open()
    try:
        books = await open_books(store, fleet)
    finally:
        await store.close()
    check_accepted(books, (message.key for message in messages.taken), traffic.acks)
    check_answers(books, ROOMS)
    check_delivered(books)
    check_doubled(books)
    check_recovery(books, upsets, BUSY_WITHIN)
    assert max(traffic.called) <= ANSWERED_WITHIN


class TestPostgresAway:
    """PostgreSQL is stopped and started again."""

    async def _restart(
        self, server: PostgresServer, stop: Callable[[], None], traffic: Traffic
    ) -> float:
        """Take the server away for a moment; return when it was back, in Unix time."""
        await asyncio.to_thread(stop)
        seen = len(traffic.called)
        await asyncio.sleep(0.5)
        assert not server.running
        await asyncio.to_thread(server.start)
        back = time.time()
        async with asyncio.timeout(RESUMED_WITHIN):
            await traffic.reached(len(traffic.acks) + 1)
        assert len(traffic.called) > seen
        return back

    async def _survive(
        self, nursery: Nursery, folder: Path, server: PostgresServer, rounds: int, pause: float
    ) -> None:
        place = {"store": "postgres", "dsn": server.create_database(), **PATIENT}
        stops = (
            lambda: server.stop("fast"),
            lambda: server.stop("immediate"),
            server.kill,
        )
        async with Fleet(nursery, folder, place) as fleet:
            traffic = Traffic(fleet, callers=24)
            upsets: list[float] = []
            async with _under_load(fleet, traffic) as messages:
                await traffic.reached(50)
                for number in range(rounds):
                    upsets.append(await self._restart(server, stops[number % 3], traffic))
                    await asyncio.sleep(pause)
            # What waited meanwhile takes its time; that no lane stands still is checked below.
            await fleet.idle(20.0 * rounds)
            messages.taken += await self._check_pools(fleet, place["dsn"])
            await _judge(fleet, traffic, messages, upsets)

    async def _check_pools(self, fleet: Fleet, dsn: str) -> list[Message]:
        """Each worker has its connections again, none of them is stuck, and all work.

        Returns the messages this took.
        """
        import asyncpg

        burst = [Message(f"burst-{n}", room) for n, room in enumerate(ROOMS[:POOL])]
        async with asyncio.timeout(5.0):
            for worker in fleet.alive:
                await asyncio.gather(*(worker.ask("inbound", **m.fields()) for m in burst))
        connection = await asyncpg.connect(dsn)
        try:
            states = await connection.fetch(
                "SELECT state FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'roomkit'"
            )
        finally:
            await connection.close()
        assert not [row for row in states if "transaction" in (row["state"] or "")]
        # The pool, and one that listens.
        assert WORKERS * 2 <= len(states) <= WORKERS * (POOL + 1)
        return burst

    async def test_stopped_killed_and_started_again(
        self, nursery: Nursery, tmp_path: Path, own_postgres: PostgresServer
    ) -> None:
        """Fast, immediate and SIGKILL: errors in time, soon on again, nothing lost or doubled."""
        await self._survive(nursery, tmp_path, own_postgres, 3, 0.5)

    @pytest.mark.soak
    @pytest.mark.timeout(300)
    async def test_a_bad_night(
        self, nursery: Nursery, tmp_path: Path, own_postgres: PostgresServer
    ) -> None:
        """The same each three seconds, fifteen times."""
        await self._survive(nursery, tmp_path, own_postgres, 15, 3.0)


class TestLockServerAway:
    """The lock server dies, stands still, or forgets everything."""

    async def _survive(
        self,
        nursery: Nursery,
        folder: Path,
        dsn: str,
        server: RedisServer,
        *,
        ttl: float,
        still: float,
    ) -> None:
        place: Config = {
            "store": "postgres",
            "dsn": dsn,
            "locks": "redis",
            "redis": server.url,
            "lock_options": {"ttl": ttl},
            **PATIENT,
        }
        async with Fleet(nursery, folder, place) as fleet:
            traffic = Traffic(fleet, callers=6)
            async with _under_load(fleet, traffic) as messages:
                await traffic.reached(30)
                await self._in_use(server)
                server.kill()
                await self._decided(traffic)
                await asyncio.to_thread(server.start)
                await self._decided(traffic)
                await self._in_use(server)
                server.pause()
                await self._decided(traffic)
                await asyncio.sleep(still)
                server.resume()
                await self._decided(traffic)
                for _ in range(5):
                    await self._in_use(server)
                    server.flush()
                    await self._decided(traffic)
            assert not traffic.errors, traffic.errors
            await _judge(fleet, traffic, messages, [])

    async def _decided(self, traffic: Traffic) -> None:
        """Return when more messages than were under way have been accepted, each in time."""
        before = len(traffic.called)
        await traffic.reached(len(traffic.acks) + 2 * traffic.callers)
        assert max(traffic.called[before:]) <= DECIDED_WITHIN + PROCESSED_WITHIN

    async def _in_use(self, server: RedisServer) -> None:
        """Return when the workers lock rooms there (again)."""
        async with asyncio.timeout(10.0):
            while await asyncio.to_thread(server.command, "DBSIZE") == ":0":  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def test_killed_stopped_and_emptied(
        self, nursery: Nursery, tmp_path: Path, postgres_dsn: str, own_redis: RedisServer
    ) -> None:
        """With each, callers go on within a second, and the timeline stays whole."""
        await self._survive(nursery, tmp_path, postgres_dsn, own_redis, ttl=2.0, still=3.0)

    @pytest.mark.soak
    async def test_still_for_longer_than_the_lease(
        self, nursery: Nursery, tmp_path: Path, postgres_dsn: str, own_redis: RedisServer
    ) -> None:
        """The same with 15 s of silence and the default lease of 10 s."""
        await self._survive(nursery, tmp_path, postgres_dsn, own_redis, ttl=10.0, still=15.0)
