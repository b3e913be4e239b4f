"""Room locks kept by PostgreSQL: held by a connection, lost with it."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from roomkit.core.postgres_locks import PostgresLockManager
from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    LockTimeoutError,
    MissingDependencyError,
    StoreUnavailableError,
)
from roomkit.testing import ManualClock
from roomkit.testing.conformance.locks import LockManagerConformance
from roomkit.testing.sweep import sweep_cancel
from tests.support.locks import ROOM, Held, Worker, enter, eventually, no_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.testing.sweep import Outcome
    from tests.support.servers import PostgresServer

HELD = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = ("
HELD += "SELECT oid FROM pg_database WHERE datname = current_database())"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
END += "WHERE application_name = 'roomkit-locks' AND datname = current_database()"
DECIDED = 2.0
"""Seconds a decision without the server may take: 1, and some more for a busy machine."""


class TestConformance(LockManagerConformance):
    """What every lock manager must do."""

    many_rooms = 300

    @pytest.fixture(autouse=True)
    def _server(self, postgres_dsn: str) -> None:
        self.dsn = postgres_dsn

    async def make_locks(self) -> PostgresLockManager:
        return PostgresLockManager(self.dsn)

    async def close_locks(self, locks: PostgresLockManager) -> None:
        await locks.close()


@pytest_asyncio.fixture
async def locks(postgres_dsn: str) -> AsyncIterator[PostgresLockManager]:
    """A manager on a database of the test's own."""
    async with PostgresLockManager(postgres_dsn) as manager:
        yield manager


@pytest_asyncio.fixture
async def sql(postgres_dsn: str) -> AsyncIterator[Any]:
    """A plain connection to the same database."""
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


class TestHolds:
    """Advisory locks of one connection."""

    async def test_held_and_freed(self, locks: PostgresLockManager, sql: Any) -> None:
        """One connection holds any number of rooms, and nothing afterwards."""
        async with locks.locked("a"), locks.locked("b"):
            assert await sql.fetchval(HELD) == 2
            pids = await sql.fetch("SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory'")
            assert len(pids) == 1
        assert await sql.fetchval(HELD) == 0
        await no_tasks()

    async def test_others_wait_and_others_do_not(self, postgres_dsn: str) -> None:
        """A second process waits its bound for this room, and for no other room."""
        async with (
            PostgresLockManager(postgres_dsn) as one,
            PostgresLockManager(postgres_dsn, wait_timeout=0.3) as two,
        ):
            async with Held(one):
                waiting = asyncio.create_task(enter(two))
                await enter(two, "another room")
                with pytest.raises(LockTimeoutError, match="another process held room 'shared'"):
                    await waiting
                assert not one.lost(ROOM)
            await enter(two)

    async def test_lost_is_decided_by_time_passed(self, postgres_dsn: str) -> None:
        """Without a word from the server a hold is lost, at the moment of asking and for good."""
        clock = ManualClock()
        async with (
            PostgresLockManager(postgres_dsn, silence=60, check_every=0.05, clock=clock) as one,
            PostgresLockManager(postgres_dsn) as two,
            one.locked(ROOM),
        ):
            await clock.advance(59)
            assert not one.lost(ROOM)
            await clock.advance(70)
            assert one.lost(ROOM)
            await enter(two)
            assert one.lost(ROOM)

    async def test_confirmed_holds_stay(self, postgres_dsn: str) -> None:
        """The connection is looked after: a hold outlasts any number of silences."""
        async with (
            PostgresLockManager(postgres_dsn, silence=0.4, check_every=0.1) as one,
            PostgresLockManager(postgres_dsn, wait_timeout=1.2) as two,
            Held(one),
        ):
            with pytest.raises(LockTimeoutError):
                await enter(two)
            assert not one.lost(ROOM)

    async def test_odd_room_ids(self, locks: PostgresLockManager) -> None:
        """Any text can be a room id, also one that UTF-8 cannot carry."""
        for room_id in ("", "a\x00b", "\ud800", "ü" * 500):
            await enter(locks, room_id)


class TestCancellation:
    """A cancelled caller leaves nothing behind."""

    async def test_sweep(self, locks: PostgresLockManager, sql: Any) -> None:
        """Cancelled at every turn of acquire and release: lock free, no tasks."""

        async def use() -> None:
            async with locks.locked(ROOM):
                await asyncio.sleep(0)

        async def check(turn: int, outcome: Outcome) -> None:
            assert outcome.cancelled or not outcome.interrupted
            await no_tasks()
            assert await sql.fetchval(HELD) == 0
            await enter(locks)

        assert await sweep_cancel(use, check) > 5

    async def test_sweep_with_a_new_connection(self, postgres_dsn: str, sql: Any) -> None:
        """The same while connecting: each of the early turns, then ever fewer."""
        turns = cancelled = 0
        while True:
            async with PostgresLockManager(postgres_dsn, command_timeout=5) as locks:
                task = asyncio.create_task(enter(locks))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait((task,))
                await no_tasks()
                assert await sql.fetchval(HELD) == 0
            if not task.cancelled():
                break
            cancelled += 1
            turns += max(1, turns // 4)
        assert cancelled > 5
        task.result()

    async def test_200_cancelled_acquires_leave_nothing(
        self, locks: PostgresLockManager, sql: Any
    ) -> None:
        """Cancelled all over the place, with others contending: no lock, no task."""
        tasks = [asyncio.create_task(enter(locks, f"room-{n % 7}")) for n in range(200)]
        for n, task in enumerate(tasks):
            if n % 3 == 0:
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        await no_tasks()
        assert await sql.fetchval(HELD) == 0
        for n in range(7):
            await enter(locks, f"room-{n}")


class TestBrokenConnection:
    """Every hold is lost with its connection, and the next one connects anew."""

    async def test_a_holder_finds_out_at_once(
        self, postgres_dsn: str, sql: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No check is needed: the end of the connection tells."""
        async with (
            PostgresLockManager(postgres_dsn) as one,
            PostgresLockManager(postgres_dsn) as two,
        ):
            async with Held(one), Held(one, "second"):
                await sql.execute(END)
                await eventually(lambda: one.lost(ROOM) and one.lost("second"), within=1)
                async with Held(two):
                    assert not two.lost(ROOM)
                    assert one.lost(ROOM)
            async with Held(one), Held(one, "second"):
                assert not one.lost(ROOM)
        assert sum("was lost" in record.getMessage() for record in caplog.records) == 2
        await no_tasks()

    async def test_an_old_hold_does_not_free_the_new_ones_lock(
        self, locks: PostgresLockManager, postgres_dsn: str, sql: Any
    ) -> None:
        """What a hold of an earlier connection gives back is nothing."""
        async with Held(locks):
            await sql.execute(END)
            await eventually(lambda: locks.lost(ROOM), within=1)
            await enter(locks, "makes a new connection")
            async with PostgresLockManager(postgres_dsn) as other:
                await enter(other)
        async with Held(locks):
            assert await sql.fetchval(HELD) == 1

    async def test_an_idle_connection_that_broke_costs_nothing(
        self, locks: PostgresLockManager, sql: Any
    ) -> None:
        """The next acquire connects anew; nobody notices, at whatever point the end is seen."""
        for turns in range(20):
            await enter(locks)
            await sql.execute(END)
            for _ in range(turns):
                await asyncio.sleep(0)
            async with locks.locked(ROOM):
                assert not locks.lost(ROOM)
            assert not locks.down

    async def test_a_given_pool(self, postgres_dsn: str) -> None:
        """One connection is borrowed, made good when it breaks, and given back; no more."""
        async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2) as pool:
            async with PostgresLockManager(pool) as locks:
                for _ in range(3):
                    async with Held(locks):
                        assert pool.get_idle_size() == pool.get_size() - 1
                        await pool.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_locks "
                            "WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                        )
                        await eventually(lambda: locks.lost(ROOM), within=1)
            assert pool.get_idle_size() == pool.get_size()
            assert await pool.fetchval(HELD) == 0
        await no_tasks()


class TestServerDown:
    """A decision within a second, by the rule chosen, and everything back afterwards."""

    @pytest.mark.parametrize("how", ["kill", "pause"])
    async def test_refuse(self, own_postgres: PostgresServer, how: str) -> None:
        """``refuse`` raises a typed error; a holder finds out; later, locks work again."""
        dsn = own_postgres.dsn()
        async with PostgresLockManager(
            dsn, on_down="refuse", silence=0.9, check_every=0.3
        ) as locks:
            async with Held(locks, "held"):
                getattr(own_postgres, how)()
                for _ in range(3):
                    async with asyncio.timeout(DECIDED):
                        with pytest.raises(StoreUnavailableError, match="lock server is down"):
                            await locks.locked(ROOM).__aenter__()
                await eventually(lambda: locks.lost("held"), within=2)
            own_postgres.resume()
            own_postgres.start()
            await eventually(lambda: _enters(locks), within=5)
            assert not locks.down
            await no_tasks(within=5)

    async def test_local(
        self, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``local`` goes on, still one at a time in the process, with one warning."""
        caplog.set_level(logging.INFO, "roomkit.locks")
        async with PostgresLockManager(own_postgres.dsn()) as locks:
            await enter(locks)
            own_postgres.stop("fast")
            inside = most = 0

            async def use() -> None:
                nonlocal inside, most
                async with locks.locked(ROOM):
                    inside += 1
                    most = max(most, inside)
                    await asyncio.sleep(0)
                    inside -= 1

            async with asyncio.timeout(DECIDED):
                await asyncio.gather(*(use() for _ in range(50)))
            assert most == 1
            assert locks.down
            own_postgres.start()
            await eventually(lambda: _is_up(locks), within=5)
        texts = [record.getMessage() for record in caplog.records]
        assert len([text for text in texts if "is down" in text]) == 1
        assert texts[-1] == "the lock server is back"


class TestProcesses:
    """Several processes on one database."""

    async def test_mutual_exclusion(self, postgres_dsn: str, tmp_path: Path) -> None:
        """Two processes add to a number in a file; not one addition is lost."""
        (tmp_path / "number").write_text("0")
        async with (
            Worker("count", postgres_dsn, times=150, folder=tmp_path) as one,
            Worker("count", postgres_dsn, times=150, folder=tmp_path) as two,
        ):
            await one.hears("done")
            await two.hears("done")
        assert (tmp_path / "number").read_text() == "300"

    async def test_a_paused_holder(self, postgres_dsn: str) -> None:
        """Its connection lives on, so nobody gets in; it must doubt its hold all the same."""
        async with (
            Worker("hold", postgres_dsn, lease=0.6) as other,
            PostgresLockManager(postgres_dsn, wait_timeout=1.0) as locks,
        ):
            await other.hears("held")
            other.stop()
            with pytest.raises(LockTimeoutError):
                await enter(locks)
            other.go_on()
            other.say("lost?")
            await other.hears("True")
            other.say("leave")
            await other.hears("left")
            await enter(locks)

    async def test_a_killed_holder(self, postgres_dsn: str) -> None:
        """Its lock ends with it."""
        async with (
            Worker("hold", postgres_dsn) as other,
            PostgresLockManager(postgres_dsn, wait_timeout=5) as locks,
        ):
            await other.hears("held")
            other.kill()
            await enter(locks)


class TestSetup:
    """What it is given, and what it says about it."""

    async def test_close_gives_back_what_is_held(self, postgres_dsn: str, sql: Any) -> None:
        """The holder finds its hold lost, waiters are refused, nothing stays."""
        locks = PostgresLockManager(postgres_dsn)
        async with Held(locks):
            waiting = asyncio.create_task(enter(locks))
            await asyncio.sleep(0)
            await locks.close()
            await locks.close()
            assert locks.lost(ROOM)
            await eventually(lambda: _no_locks(sql), within=1)
        with pytest.raises(ConfigurationError, match="was closed"):
            await waiting
        await no_tasks()

    @pytest.mark.parametrize("dsn", ["mysql://u:secret@h/0", "postgresql://u:secret@h:port/0"])
    async def test_an_unreadable_dsn(self, dsn: str) -> None:
        """Is an error that does not quote it."""
        async with PostgresLockManager(dsn) as locks:
            with pytest.raises(ConfigurationError, match="cannot use what it was given") as caught:
                await enter(locks)
        assert "secret" not in f"{caught.value!r}{caught.value.__cause__!r}{locks!r}"

    async def test_an_unknown_database(self, postgres_dsn: str) -> None:
        """Is an error that says so, never a silent outage."""
        async with PostgresLockManager(postgres_dsn + "x") as locks:
            with pytest.raises(ConfigurationError, match="check the user, the password"):
                await enter(locks)

    async def test_options_that_make_no_sense(self, postgres_dsn: str) -> None:
        """Are refused when the manager is made."""
        with pytest.raises(InvalidInputError):
            PostgresLockManager(postgres_dsn, silence=1, check_every=2)

    async def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the line that installs it."""
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'roomkit\[postgres\]'"):
            PostgresLockManager("postgresql://127.0.0.1:1/x")


async def _enters(locks: PostgresLockManager) -> bool:
    try:
        await enter(locks)
    except StoreUnavailableError:
        return False
    return True


async def _is_up(locks: PostgresLockManager) -> bool:
    await enter(locks)
    return not locks.down


async def _no_locks(sql: Any) -> bool:
    return bool(await sql.fetchval(HELD) == 0)
