"""PostgresStore when the server goes, comes back or is slow, and when callers give up."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import asyncpg
import pytest

from roomkit._ids import new_id
from roomkit.exceptions import StoreUnavailableError
from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch, DeliveryKind, DeliveryPlan
from roomkit.store.postgres import PostgresStore
from roomkit.testing.builders import make_binding, make_event

if TYPE_CHECKING:
    from tests.support.servers import PostgresServer

_BUSY = """\
SELECT pid FROM pg_stat_activity
WHERE application_name = 'roomkit' AND state = 'active' AND wait_event_type = 'Lock'"""
_OURS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'roomkit'"
_IN_TRANSACTION = """\
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'roomkit' AND state LIKE 'idle in transaction%'"""


async def _until_blocked(watcher: asyncpg.Connection) -> int:
    """Return the process of the server that waits for a lock, once there is one."""
    async with asyncio.timeout(20):
        while (pid := await watcher.fetchval(_BUSY)) is None:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    return int(pid)


class TestLostConnections:
    """The connection breaks."""

    async def test_in_the_middle_of_a_commit(self, postgres_dsn: str) -> None:
        """The caller hears of it, nothing was written, and the next commit goes through."""
        watcher = await asyncpg.connect(postgres_dsn)
        try:
            async with PostgresStore(postgres_dsn) as store:
                await store.create_room(Room(id="r"))
                event = make_event(room_id="r", idempotency_key="k")
                async with watcher.transaction():
                    await watcher.execute("SELECT 1 FROM rooms WHERE id = 'r' FOR UPDATE")
                    commit = asyncio.create_task(store.commit(CommitBatch("r", (event,))))
                    other = await asyncpg.connect(postgres_dsn)
                    try:
                        pid = await _until_blocked(other)
                        await other.execute("SELECT pg_terminate_backend($1)", pid)
                    finally:
                        await other.close()
                    with pytest.raises(StoreUnavailableError, match="lost"):
                        await commit
                assert await store.get_event(event.id) is None
                assert (await store.commit(CommitBatch("r", (event,)))).events[0].index == 0
        finally:
            await watcher.close()

    async def test_while_it_was_idle(self, postgres_dsn: str) -> None:
        """Connections that were ended meanwhile are replaced before the caller notices."""
        watcher = await asyncpg.connect(postgres_dsn)
        try:
            async with PostgresStore(postgres_dsn, min_size=4, max_size=4) as store:
                await store.create_room(Room(id="r"))
                for row in await watcher.fetch(_OURS):
                    await watcher.execute("SELECT pg_terminate_backend($1)", row["pid"])
                found = await asyncio.gather(*(store.get_room("r") for _ in range(8)))
                assert all(found)
        finally:
            await watcher.close()

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    async def test_the_server_is_restarted(
        self, own_postgres: PostgresServer, mode: Literal["fast", "immediate"]
    ) -> None:
        """Calls fail in time while it is away, and go through again when it is back."""
        dsn = own_postgres.create_database()
        async with PostgresStore(dsn, reconnect_for=0.5) as store:
            await store.create_room(Room(id="r"))
            await store.commit(CommitBatch("r", (make_event(room_id="r"),)))
            waiting = asyncio.create_task(store.wait_for_work(0.2))
            await asyncio.to_thread(own_postgres.stop, mode)
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailableError):
                    await store.get_room("r")
                with pytest.raises(StoreUnavailableError):
                    await store.commit(CommitBatch("r", (make_event(room_id="r"),)))
                await waiting
            await asyncio.to_thread(own_postgres.start)
            done = await store.commit(CommitBatch("r", (make_event(room_id="r"),)))
            assert done.events[0].index == 1
            context = await store.load_context("r")
            assert context is not None
            assert [event.index for event in context.recent_events] == [0, 1]

    async def test_a_call_waits_for_a_server_that_comes_back(
        self, own_postgres: PostgresServer
    ) -> None:
        """A restart shorter than ``reconnect_for`` costs time, not an error."""
        dsn = own_postgres.create_database()
        async with PostgresStore(dsn, reconnect_for=30.0) as store:
            await store.create_room(Room(id="r"))
            await asyncio.to_thread(own_postgres.stop, "fast")
            call = asyncio.create_task(store.commit(CommitBatch("r", (make_event(room_id="r"),))))
            await asyncio.to_thread(own_postgres.start)
            async with asyncio.timeout(30):
                with suppress(StoreUnavailableError):  # it may have been under way at the end
                    await call
                assert await store.get_room("r") is not None


class TestBounds:
    """Nothing waits for ever."""

    async def test_a_slow_answer(self, postgres_dsn: str) -> None:
        """A call ends after ``command_timeout``; the connection serves the next one."""
        watcher = await asyncpg.connect(postgres_dsn)
        try:
            async with PostgresStore(
                postgres_dsn, min_size=1, max_size=1, command_timeout=0.3
            ) as store:
                await store.create_room(Room(id="r"))
                async with watcher.transaction():
                    await watcher.execute("SELECT 1 FROM rooms WHERE id = 'r' FOR UPDATE")
                    with pytest.raises(StoreUnavailableError, match="in time"):
                        await store.update_room(Room(id="r"))
                assert await store.get_room("r") is not None
        finally:
            await watcher.close()

    async def test_no_connection_is_free(self, postgres_dsn: str) -> None:
        """Who waits too long for a connection is told so."""
        watcher = await asyncpg.connect(postgres_dsn)
        try:
            async with PostgresStore(
                postgres_dsn, min_size=1, max_size=1, acquire_timeout=0.2
            ) as store:
                await store.create_room(Room(id="r"))
                async with watcher.transaction():
                    await watcher.execute("SELECT 1 FROM rooms WHERE id = 'r' FOR UPDATE")
                    first = asyncio.create_task(store.update_room(Room(id="r")))
                    other = await asyncpg.connect(postgres_dsn)
                    try:
                        await _until_blocked(other)
                    finally:
                        await other.close()
                    with pytest.raises(StoreUnavailableError, match="max_size"):
                        await store.get_room("r")
                await first
        finally:
            await watcher.close()


class TestCancelled:
    """Callers that give up leave nothing behind."""

    async def test_200_cancelled_at_random(self, postgres_dsn: str) -> None:
        """No transaction stays open, no connection is lost, and every event is whole or absent."""
        chance = random.Random(7)
        watcher = await asyncpg.connect(postgres_dsn)
        try:
            async with PostgresStore(postgres_dsn, min_size=2, max_size=4) as store:
                await store.create_room(Room(id="r"))
                await store.add_binding(make_binding("a", room_id="r"))

                async def message() -> None:
                    event = make_event(room_id="r", idempotency_key=new_id())
                    plan = DeliveryPlan(new_id(), event.id, "a", DeliveryKind.DELIVER)
                    await store.look("r", key=event.idempotency_key)
                    await store.commit(CommitBatch("r", (event,), deliveries=(plan,)))

                for _ in range(200):
                    task = asyncio.create_task(message())
                    await asyncio.sleep(chance.random() * 0.006)
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                async with asyncio.timeout(20):
                    found = await asyncio.gather(*(store.get_room("r") for _ in range(20)))
                assert all(found)
                assert await watcher.fetchval(_IN_TRANSACTION) == 0
                assert len(await watcher.fetch(_OURS)) <= 4
                events = await store.list_events("r", limit=1000)
                assert [event.index for event in events] == list(range(len(events)))
                assert await store.get_event_count("r") == len(events)
                stats = await store.work_stats()
                assert stats.deliveries.depth == len(events)
                context = await store.load_context("r")
                assert context is not None
                assert context.recent_events == events[-50:]
        finally:
            await watcher.close()
