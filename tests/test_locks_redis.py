"""Room locks kept in Redis: one believing holder, whatever happens to server and process."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from roomkit.core.redis_locks import RedisLockManager
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
    from tests.support.servers import RedisServer

KEY = f"roomkit:lock:{ROOM}"
DECIDED = 1.5
"""Seconds a decision without the server may take: 1, and some more for a busy machine."""


class TestConformance(LockManagerConformance):
    """What every lock manager must do."""

    many_rooms = 300

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    async def make_locks(self) -> RedisLockManager:
        return RedisLockManager(self.url)

    async def close_locks(self, locks: RedisLockManager) -> None:
        await locks.close()


@pytest_asyncio.fixture
async def locks(redis_url: str) -> AsyncIterator[RedisLockManager]:
    """A manager on the shared server."""
    async with RedisLockManager(redis_url) as manager:
        yield manager


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client of the shared server."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


class TestLease:
    """A key with a token and a time to live."""

    async def test_the_key_lives_as_long_as_the_hold(
        self, locks: RedisLockManager, redis: Redis
    ) -> None:
        """Inside there is a key that would expire by itself; afterwards there is none."""
        async with locks.locked(ROOM):
            assert 0 < await redis.pttl(KEY) <= 10_000
        assert await redis.keys() == []
        await no_tasks()

    async def test_a_hold_outlasts_its_ttl(self, redis_url: str) -> None:
        """Renewals keep others out for several times the time to live."""
        async with (
            RedisLockManager(redis_url, ttl=0.4) as one,
            RedisLockManager(redis_url, wait_timeout=1.2) as two,
        ):
            async with Held(one):
                with pytest.raises(LockTimeoutError, match="another process held room 'shared'"):
                    await enter(two)
                assert not one.lost(ROOM)
            await enter(two)

    async def test_many_holds_are_renewed_together(self, redis_url: str, redis: Redis) -> None:
        """However many rooms are held, one task at a time renews them, and none idles."""
        most = 0
        async with RedisLockManager(redis_url, ttl=1.2) as locks, asyncio.TaskGroup() as tasks:
            leave = asyncio.Event()

            async def hold(n: int) -> None:
                async with locks.locked(f"room-{n}"):
                    await leave.wait()

            for n in range(50):
                tasks.create_task(hold(n))
            await eventually(lambda: _size_is(redis, 50))
            end = asyncio.get_running_loop().time() + 2.0
            while asyncio.get_running_loop().time() < end:
                most = max(most, len(asyncio.all_tasks()))
                await asyncio.sleep(0)
            # The test, the 50 holders, and a handful for all of them together.
            assert most <= 55
            assert await redis.dbsize() == 50
            assert not any(locks.lost(f"room-{n}") for n in range(50))
            leave.set()
        assert await redis.dbsize() == 0

    async def test_lost_is_decided_by_time_passed(self, redis_url: str) -> None:
        """Without a word from the server a hold is lost at its end, at the moment of asking."""
        clock = ManualClock()
        async with (
            RedisLockManager(redis_url, ttl=60, clock=clock) as locks,
            locks.locked(ROOM),
        ):
            await clock.advance(59)
            assert not locks.lost(ROOM)
            await clock.advance(1)
            assert locks.lost(ROOM)
            assert not locks.lost("another room")

    async def test_a_stalled_loop_finds_its_hold_lost(self, redis_url: str) -> None:
        """Nothing ran, no renewal failed, and still the holder is told at once, for good."""
        clock = ManualClock()
        async with (
            RedisLockManager(redis_url, ttl=60, renew_every=0.05, clock=clock) as one,
            RedisLockManager(redis_url) as two,
            one.locked(ROOM),
        ):
            await clock.advance(70)
            assert one.lost(ROOM)
            # The key would live for another minute; what was called lost is given up.
            await enter(two)
            assert one.lost(ROOM)

    async def test_an_old_holder_cannot_free_the_new_ones_lock(
        self, redis_url: str, redis: Redis
    ) -> None:
        """Leaving after it lost its lock, it leaves the key that is now another's."""
        async with RedisLockManager(redis_url, ttl=0.6) as one, RedisLockManager(redis_url) as two:
            async with AsyncExitStack() as new:
                async with Held(one):
                    await redis.flushall()
                    await new.enter_async_context(Held(two))
                    await eventually(lambda: one.lost(ROOM), within=1)
                    token = await redis.get(KEY)
                assert token is not None
                assert await redis.get(KEY) == token
                assert not two.lost(ROOM)
            assert await redis.get(KEY) is None

    async def test_odd_room_ids(self, locks: RedisLockManager) -> None:
        """Any text can be a room id, also one that UTF-8 cannot carry."""
        for room_id in ("", " ", "a\x00b", "\ud800", "ü" * 500):
            await enter(locks, room_id)


class TestCancellation:
    """A cancelled caller leaves nothing behind."""

    async def test_sweep(self, locks: RedisLockManager, redis: Redis) -> None:
        """Cancelled at every turn of acquire and release: key gone, lock free, no tasks."""

        async def use() -> None:
            async with locks.locked(ROOM):
                await asyncio.sleep(0)

        async def check(turn: int, outcome: Outcome) -> None:
            assert outcome.cancelled or not outcome.interrupted
            await no_tasks()
            assert await redis.keys() == []
            await enter(locks)

        assert await sweep_cancel(use, check) > 5

    async def test_sweep_with_a_new_connection(self, redis_url: str, redis: Redis) -> None:
        """The same while connecting."""
        managers: list[RedisLockManager] = []

        async def use() -> None:
            managers.append(RedisLockManager(redis_url))
            async with managers[-1].locked(ROOM):
                await asyncio.sleep(0)

        async def check(turn: int, outcome: Outcome) -> None:
            await no_tasks()
            assert await redis.keys() == []
            await managers.pop().close()

        assert await sweep_cancel(use, check) > 5

    async def test_cancelled_twice(self, locks: RedisLockManager, redis: Redis) -> None:
        """A second cancellation, while the first is being cleaned up after, changes nothing."""
        for turns in range(60):
            for gap in (0, 1, 3):
                task = asyncio.create_task(enter(locks))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                for _ in range(gap):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait((task,))
                await no_tasks()
                assert await redis.keys() == []

    async def test_sweep_while_another_process_holds(self, redis_url: str, redis: Redis) -> None:
        """A cancelled wait does not touch the holder's key, at whatever point."""
        async with RedisLockManager(redis_url) as one, RedisLockManager(redis_url) as two:
            turns = 0

            async def check(turn: int, outcome: Outcome) -> None:
                nonlocal turns
                turns += 1
                assert outcome.cancelled
                await no_tasks_but(2)
                assert await redis.get(KEY) == token
                if turns == 60:
                    raise _Enough

            async with Held(one):
                token = await redis.get(KEY)
                with suppress(_Enough):
                    await sweep_cancel(lambda: enter(two), check)
                assert turns == 60
            await enter(two)

    async def test_200_cancelled_acquires_leave_nothing(
        self, locks: RedisLockManager, redis: Redis
    ) -> None:
        """Cancelled all over the place, with others contending: no key, no task, lock free."""
        tasks = [asyncio.create_task(enter(locks, f"room-{n % 7}")) for n in range(200)]
        for n, task in enumerate(tasks):
            if n % 3 == 0:
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        await no_tasks()
        assert await redis.keys() == []
        for n in range(7):
            await enter(locks, f"room-{n}")


class TestServerDown:
    """A decision within a second, by the rule chosen, and everything back afterwards."""

    @pytest.mark.parametrize("how", ["kill", "pause"])
    async def test_refuse(self, own_redis: RedisServer, how: str) -> None:
        """``refuse`` raises a typed error within a second; later, locks work again."""
        async with RedisLockManager(own_redis.url, on_down="refuse") as locks:
            await enter(locks)
            getattr(own_redis, how)()
            for _ in range(3):
                async with asyncio.timeout(DECIDED):
                    with pytest.raises(StoreUnavailableError, match="the lock server is down"):
                        await locks.locked(ROOM).__aenter__()
            assert locks.down
            own_redis.resume() if how == "pause" else own_redis.start()
            await eventually(lambda: _enters(locks), within=3)
            assert not locks.down
            await no_tasks(within=5)

    @pytest.mark.parametrize("how", ["kill", "pause"])
    async def test_local(
        self, own_redis: RedisServer, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``local`` goes on, still one at a time in the process, with one warning."""
        caplog.set_level(logging.INFO, "roomkit.locks")
        async with RedisLockManager(own_redis.url) as locks:
            await enter(locks)
            getattr(own_redis, how)()
            inside = most = 0

            async def use() -> None:
                nonlocal inside, most
                async with locks.locked(ROOM):
                    inside += 1
                    most = max(most, inside)
                    assert not locks.lost(ROOM)
                    await asyncio.sleep(0)
                    inside -= 1

            async with asyncio.timeout(DECIDED):
                await asyncio.gather(*(use() for _ in range(50)))
            assert most == 1
            own_redis.resume() if how == "pause" else own_redis.start()
            await eventually(lambda: _takes_a_key(locks, own_redis), within=3)
        texts = [record.getMessage() for record in caplog.records]
        assert [text for text in texts if "is down" in text] == texts[:1]
        assert texts[-1] == "the lock server is back"
        assert own_redis.url not in caplog.text

    async def test_a_take_the_server_hears_late_does_not_stay(
        self, own_redis: RedisServer
    ) -> None:
        """What was asked while the server stood still is taken back once it goes on."""
        async with RedisLockManager(own_redis.url, on_down="refuse") as locks:
            await enter(locks)
            own_redis.pause()
            with pytest.raises(StoreUnavailableError):
                await locks.locked(ROOM).__aenter__()
            own_redis.resume()
            await no_tasks(within=3)
            assert own_redis.command(f"EXISTS {KEY}") == ":0"

    @pytest.mark.parametrize("how", ["kill", "pause", "flush"])
    async def test_a_holder_finds_out(self, own_redis: RedisServer, how: str) -> None:
        """Who holds while the server loses its memory or stands still is told in time."""
        url = own_redis.url
        async with (
            RedisLockManager(url, ttl=0.9, on_down="refuse") as one,
            RedisLockManager(url, on_down="refuse") as two,
        ):
            await enter(two)
            async with Held(one):
                getattr(own_redis, how)()
                await eventually(lambda: one.lost(ROOM), within=1.5)
                if how == "kill":
                    own_redis.start()
                own_redis.resume()
                await eventually(lambda: _enters(two), within=3)
                assert one.lost(ROOM)
            await eventually(lambda: _enters(one), within=3)
            async with Held(one):
                assert not one.lost(ROOM)

    async def test_never_two_who_believe(self, own_redis: RedisServer) -> None:
        """While the server is stopped for longer than the lease, nobody else gets in before."""
        url = own_redis.url
        async with (
            RedisLockManager(url, ttl=1.0, on_down="refuse") as one,
            RedisLockManager(url, on_down="refuse") as two,
            Held(one),
        ):
            both: list[bool] = []

            async def try_on() -> bool:
                try:
                    async with asyncio.timeout(0.3), two.locked(ROOM):
                        both.append(not one.lost(ROOM))
                except (StoreUnavailableError, TimeoutError):
                    return False
                return True

            assert not await try_on()
            own_redis.pause()
            await eventually(lambda: one.lost(ROOM), within=2)
            own_redis.resume()
            await eventually(try_on, within=5)
            assert both == [False]


class TestProcesses:
    """Several processes on one server."""

    async def test_mutual_exclusion(self, redis_url: str, tmp_path: Path) -> None:
        """Two processes and this one add to a number in a file; not one addition is lost."""
        (tmp_path / "number").write_text("0")
        args = {"times": 150, "folder": tmp_path}
        async with (
            Worker("count", redis_url, **args) as one,
            Worker("count", redis_url, **args) as two,
        ):
            await one.hears("done")
            await two.hears("done")
        assert (tmp_path / "number").read_text() == "300"

    async def test_a_paused_holder(self, redis_url: str) -> None:
        """Stopped for longer than its lease, it finds it lost when it goes on."""
        async with (
            Worker("hold", redis_url, lease=1.0) as other,
            RedisLockManager(redis_url, on_down="refuse") as locks,
        ):
            await other.hears("held")
            other.say("lost?")
            await other.hears("False")
            other.stop()
            async with Held(locks):  # gets in when the lease is over
                other.go_on()
                other.say("lost?")
                await other.hears("True")
                other.say("leave")
                await other.hears("left")
                assert not locks.lost(ROOM)

    async def test_a_killed_holder(self, redis_url: str) -> None:
        """Its lock ends with its time to live, not earlier."""
        async with Worker("hold", redis_url, lease=1.0) as other:
            await other.hears("held")
            other.kill()
            async with RedisLockManager(redis_url, wait_timeout=5) as locks:
                await enter(locks)


class TestSetup:
    """What it is given, and what it says about it."""

    async def test_a_given_client_stays_open(self, redis_url: str) -> None:
        """A client is used as it is, also one that decodes, and not closed."""
        client = Redis.from_url(redis_url, decode_responses=True)
        async with RedisLockManager(client, prefix="mine:") as locks, locks.locked("r"):
            assert await client.keys() == ["mine:r"]
        assert await client.ping()
        await client.aclose()

    async def test_prefixes_are_apart(self, redis_url: str) -> None:
        """The same room under another prefix is another lock."""
        async with (
            RedisLockManager(redis_url, prefix="a:") as one,
            RedisLockManager(redis_url, prefix="b:") as two,
            one.locked(ROOM),
        ):
            await enter(two)

    async def test_close_gives_back_what_is_held(self, redis_url: str, redis: Redis) -> None:
        """The holder finds its hold lost, waiters are refused, the key is gone."""
        locks = RedisLockManager(redis_url)
        async with Held(locks):
            waiting = asyncio.create_task(enter(locks))
            await asyncio.sleep(0)
            await locks.close()
            await locks.close()
            assert locks.lost(ROOM)
            assert await redis.keys() == []
        with pytest.raises(ConfigurationError, match="was closed"):
            await waiting
        with pytest.raises(ConfigurationError, match="was closed"):
            await enter(locks)
        await no_tasks()

    @pytest.mark.parametrize("url", ["http://u:secret@h/0", "redis://u:secret@h:port/0"])
    async def test_an_unreadable_url(self, url: str) -> None:
        """Is refused at once, without quoting it."""
        with pytest.raises(ConfigurationError, match="cannot read its URL") as caught:
            RedisLockManager(url)
        assert "secret" not in repr(caught.value)
        assert caught.value.__cause__ is None

    async def test_a_wrong_password(self, own_redis: RedisServer) -> None:
        """Is an error that says so, never a silent outage, and does not quote the password."""
        own_redis.command("CONFIG SET requirepass right")
        for url in (own_redis.url, own_redis.url.replace("//", "//:s3cret@")):
            async with RedisLockManager(url) as locks:
                with pytest.raises(ConfigurationError, match="refuses RedisLockManager") as caught:
                    await enter(locks)
                assert "s3cret" not in f"{caught.value!r}{locks!r}"

    async def test_an_error_reply_counts_as_down(self, own_redis: RedisServer) -> None:
        """A server that answers with errors cannot lock; the rule for outages decides."""
        own_redis.command(f"LPUSH {KEY} x")
        async with RedisLockManager(own_redis.url, on_down="refuse") as locks:
            with pytest.raises(StoreUnavailableError):
                await enter(locks)

    @pytest.mark.parametrize(
        "options",
        [
            {"ttl": 0},
            {"ttl": 1, "renew_every": 1},
            {"renew_every": 0},
            {"command_timeout": 0},
            {"wait_timeout": -1},
            {"on_down": "pray"},
        ],
    )
    async def test_options_that_make_no_sense(self, options: dict[str, object]) -> None:
        """Are refused when the manager is made."""
        with pytest.raises(InvalidInputError):
            RedisLockManager("redis://127.0.0.1:1/0", **options)

    async def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the line that installs it."""
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'roomkit\[redis\]'"):
            RedisLockManager("redis://127.0.0.1:1/0")


class _Enough(Exception):
    """Ends a sweep whose coroutine never ends by itself."""


async def no_tasks_but(count: int) -> None:
    """Return when only so many tasks are left, the test's own among them."""
    await eventually(lambda: len(asyncio.all_tasks()) <= count, within=1)


async def _size_is(redis: Redis, count: int) -> bool:
    return bool(await redis.dbsize() == count)


async def _enters(locks: RedisLockManager) -> bool:
    try:
        await enter(locks)
    except StoreUnavailableError:
        return False
    return True


async def _takes_a_key(locks: RedisLockManager, server: RedisServer) -> bool:
    async with locks.locked(ROOM):
        return server.command(f"EXISTS {KEY}") == ":1"
