"""Ephemeral events over Redis: heard by every process, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from roomkit.core.framework import RoomKit
from roomkit.exceptions import ConfigurationError, InvalidInputError, MissingDependencyError
from roomkit.realtime.base import EphemeralEvent, EphemeralEventType
from roomkit.realtime.redis import MAX_UNSENT, RedisRealtime
from roomkit.testing.conformance.realtime import Inbox, RealtimeConformance, signal
from tests.support.locks import eventually, no_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import RedisServer


class TestConformance(RealtimeConformance):
    """What every realtime backend must do."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    async def make_realtime(self) -> RedisRealtime:
        return RedisRealtime(self.url)


@pytest_asyncio.fixture
async def one(redis_url: str) -> AsyncIterator[RedisRealtime]:
    """A backend, as of one process."""
    async with RedisRealtime(redis_url) as backend:
        yield backend


@pytest_asyncio.fixture
async def two(redis_url: str) -> AsyncIterator[RedisRealtime]:
    """Another backend on the same server, as of another process."""
    async with RedisRealtime(redis_url) as backend:
        yield backend


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client of the same server."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


class TestProcesses:
    """What is published in one process is heard in all."""

    async def test_everybody_hears_the_same_order(
        self, one: RedisRealtime, two: RedisRealtime
    ) -> None:
        """Publishers of both processes at once, one order for every subscriber."""
        here, there = Inbox(), Inbox()
        await one.subscribe("c", here)
        await two.subscribe("c", there)
        for n in range(20):
            await one.publish("c", signal(f"one-{n}"))
            await two.publish("c", signal(f"two-{n}"))
        heard = await here.users(40)
        assert heard == await there.users(40)
        for name in ("one", "two"):
            assert [user for user in heard if user.startswith(name)] == [
                f"{name}-{n}" for n in range(20)
            ]

    async def test_an_event_arrives_whole(self, one: RedisRealtime, two: RedisRealtime) -> None:
        """Every field crosses, also text that is hard to carry."""
        inbox = Inbox()
        await two.subscribe("c", inbox)
        event = EphemeralEvent(
            room_id="r",
            type=EphemeralEventType.REACTION,
            user_id="ann",
            channel_id="sms",
            data={"emoji": "👍", "odd": "\ud800\x00", "n": [1.5, None, True]},
        )
        await one.publish("c", event)
        assert (await inbox.next()) == event

    async def test_kits_hear_each_other(self, redis_url: str) -> None:
        """Typing in one kit reaches subscribers of the other."""
        inbox = Inbox()
        async with (
            RoomKit(realtime=RedisRealtime(redis_url)) as here,
            RoomKit(realtime=RedisRealtime(redis_url)) as there,
        ):
            await there.subscribe_room("r", inbox)
            await here.publish_typing("r", "ann")
            assert (await inbox.next()).type == EphemeralEventType.TYPING_START

    async def test_prefixes_are_apart(self, one: RedisRealtime, redis_url: str) -> None:
        """The same channel under another prefix is another channel."""
        inbox = Inbox()
        await one.subscribe("c", inbox)
        async with RedisRealtime(redis_url, prefix="other:") as other:
            await other.publish("c", signal("other"))
            await one.publish("c", signal("mine"))
            assert await inbox.users(1) == ["mine"]


class TestSubscriptions:
    """From when to when something is heard."""

    async def test_a_second_subscriber_hears_nothing_earlier(self, one: RedisRealtime) -> None:
        """What this process published before is over, also where others listen already."""
        first, second = Inbox(), Inbox()
        await one.subscribe("c", first)
        await one.publish("c", signal("early"))
        await one.subscribe("c", second)
        await one.publish("c", signal("late"))
        assert await second.users(1) == ["late"]
        assert await first.users(2) == ["early", "late"]

    async def test_many_at_once(self, one: RedisRealtime, redis: Redis) -> None:
        """Subscriptions made side by side all work, and all go."""
        inboxes = [Inbox() for _ in range(50)]
        names = await asyncio.gather(
            *(one.subscribe(f"c{n % 5}", inbox) for n, inbox in enumerate(inboxes))
        )
        assert one.subscription_count == 50
        for n in range(5):
            await one.publish(f"c{n}", signal(f"u{n}"))
        for n, inbox in enumerate(inboxes):
            assert await inbox.users(1) == [f"u{n % 5}"]
        assert all(await asyncio.gather(*(one.unsubscribe(name) for name in names)))
        await eventually(lambda: _listeners(redis, 0))

    async def test_the_server_is_left_with_the_last(
        self, one: RedisRealtime, redis: Redis
    ) -> None:
        """A channel is listened to as long as somebody here wants it, and no longer."""
        names = [await one.subscribe("c", Inbox()) for _ in range(2)]
        await one.unsubscribe(names[0])
        assert await _listeners(redis, 1)
        await one.unsubscribe(names[1])
        await eventually(lambda: _listeners(redis, 0))
        inbox = Inbox()
        await one.subscribe("c", inbox)
        await one.publish("c", signal())
        assert await inbox.users(1) == ["ann"]

    async def test_overflow_drops_the_oldest(self, redis_url: str) -> None:
        """A slow subscriber loses its oldest events, counted; the publisher never waits."""
        gate, inbox = asyncio.Event(), Inbox()

        async def slow(event: EphemeralEvent) -> None:
            await gate.wait()
            await inbox(event)

        async with RedisRealtime(redis_url, max_queue_size=2) as backend:
            await backend.subscribe("c", slow)
            last = Inbox()
            await backend.subscribe("done", last)
            for n in range(6):
                await backend.publish("c", signal(f"u{n}"))
            await backend.publish("done", signal())
            await last.next()
            gate.set()
            assert await inbox.users(3) == ["u0", "u4", "u5"]
            assert backend.dropped == 3

    async def test_cancelled_subscribes_leave_nothing(
        self, one: RedisRealtime, redis: Redis
    ) -> None:
        """Cancelled at any turn: no subscription, nothing listened to, nothing called."""
        for turns in range(60):
            task = asyncio.create_task(one.subscribe("c", Inbox()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                await one.unsubscribe(task.result())
            assert one.subscription_count == 0
            await eventually(lambda: _listeners(redis, 0), within=1)


class TestServerDown:
    """The kit goes on; events are lost and counted; afterwards they flow again."""

    @pytest.mark.parametrize("how", ["kill", "pause"])
    async def test_publish_does_not_wait(
        self, own_redis: RedisServer, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Thousands of events while the server is down: no wait, no error, one warning."""
        caplog.set_level(logging.INFO, "roomkit.realtime")
        async with RedisRealtime(own_redis.url, ping_every=0.2) as backend:
            inbox = Inbox()
            await backend.subscribe("c", inbox)
            getattr(own_redis, how)()
            async with asyncio.timeout(1.0):
                for _ in range(2 * MAX_UNSENT):
                    await backend.publish("c", signal("lost"))
            # No more than so many wait; the rest is lost at once.
            assert backend.lost == MAX_UNSENT
            await eventually(lambda: backend.lost == 2 * MAX_UNSENT)
            assert backend.down
            own_redis.resume()
            own_redis.start()
            await eventually(lambda: _hears(backend, inbox), within=5)
            await eventually(lambda: not backend.down)
        texts = [record.getMessage() for record in caplog.records]
        texts = [text for text in texts if "live events" in text]
        assert texts[0].startswith("live events are lost: ")
        assert len(texts) <= 6  # a word for each change, not for each event
        assert texts[-1] == "live events flow again"
        assert own_redis.url not in caplog.text

    async def test_silence_is_noticed(self, own_redis: RedisServer) -> None:
        """A server that stands still without a word is given up after a question."""
        async with RedisRealtime(own_redis.url, ping_every=0.2, command_timeout=0.4) as backend:
            inbox = Inbox()
            await backend.subscribe("c", inbox)
            own_redis.pause()
            await eventually(lambda: backend.down, within=2)
            own_redis.resume()
            await eventually(lambda: _hears(backend, inbox), within=5)

    async def test_a_quiet_server_is_not_given_up(self, own_redis: RedisServer) -> None:
        """Silence that is answered for is no outage: the same connection stays."""
        async with RedisRealtime(own_redis.url, ping_every=0.05) as backend:
            inbox = Inbox()
            await backend.subscribe("c", inbox)
            start = own_redis.calls("ping")
            await eventually(lambda: own_redis.calls("ping") >= start + 5)
            assert own_redis.calls("subscribe") == 1
            await backend.publish("c", signal())
            assert await inbox.users(1) == ["ann"]

    async def test_subscribing_meanwhile(self, own_redis: RedisServer) -> None:
        """It returns in time and begins with the next connection."""
        async with RedisRealtime(own_redis.url) as backend:
            own_redis.kill()
            inbox = Inbox()
            async with asyncio.timeout(2.5):
                name = await backend.subscribe("c", inbox)
            own_redis.start()
            await eventually(lambda: _hears(backend, inbox), within=5)
            assert await backend.unsubscribe(name)

    async def test_closing_meanwhile(self, own_redis: RedisServer) -> None:
        """It does not wait for a server that is not there."""
        backend = RedisRealtime(own_redis.url)
        await backend.subscribe("c", Inbox())
        own_redis.pause()
        await backend.publish("c", signal())
        async with asyncio.timeout(4):
            await backend.close()
        await no_tasks()


class TestSetup:
    """What it is given, and what it refuses."""

    async def test_nothing_is_left(self, redis_url: str, redis: Redis) -> None:
        """After the close no task and no connection of it is there."""
        before = len(await redis.client_list())
        backend = RedisRealtime(redis_url)
        await backend.subscribe("c", Inbox())
        await backend.publish("c", signal())
        assert len(await redis.client_list()) > before
        await backend.close()
        await no_tasks()
        await eventually(lambda: _clients(redis, before))
        with pytest.raises(ConfigurationError, match="was closed"):
            await backend.subscribe("c", Inbox())

    async def test_closing_while_others_subscribe(self, redis_url: str) -> None:
        """Whoever subscribes meanwhile gets an id or the reason, never a cancellation."""
        for turns in range(40):
            backend = RedisRealtime(redis_url, command_timeout=0.2)
            await backend.subscribe("c", Inbox())
            tasks = [asyncio.create_task(backend.subscribe("c", Inbox())) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await backend.close()
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, str | ConfigurationError)
            assert backend.subscription_count == 0
            await no_tasks()

    async def test_a_given_client_stays_open(self, redis_url: str) -> None:
        """A client is used as it is, also one that decodes, and not closed."""
        client = Redis.from_url(redis_url, decode_responses=True)
        inbox = Inbox()
        async with RedisRealtime(client) as backend:
            await backend.subscribe("c", inbox)
            await backend.publish("c", signal())
            assert await inbox.users(1) == ["ann"]
        assert await client.ping()
        await client.aclose()

    async def test_what_others_write_is_ignored(
        self, one: RedisRealtime, redis: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Strange messages cost nobody anything and are logged once, without their text."""
        inbox = Inbox()
        await one.subscribe("c", inbox)
        strange: list[Any] = [b"canary", b"[]", b'{"type": 1}', b"\xff", b"9" * 5000, b"x" * 10**6]
        for payload in (*strange, b"[" * 100_000):
            await redis.publish("roomkit:realtime:c", payload)
        await one.publish("c", signal())
        assert await inbox.users(1) == ["ann"]
        errors = [record for record in caplog.records if record.levelno >= logging.INFO]
        assert len(errors) == 1
        assert "canary" not in errors[0].getMessage()

    async def test_a_wrong_password(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Holds nobody up; the one warning says what to check, and quotes nothing."""
        own_redis.command("CONFIG SET requirepass right")
        url = own_redis.url.replace("//", "//:s3cret@")
        async with RedisRealtime(url) as backend:
            await backend.subscribe("c", Inbox())
            await backend.publish("c", signal())
            await eventually(lambda: backend.lost == 1)
        texts = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
        assert len(texts) == 1
        assert "the Redis server refuses RedisRealtime" in texts[0]
        assert "s3cret" not in caplog.text

    @pytest.mark.parametrize("data", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 300_000}])
    async def test_data_that_cannot_travel(self, one: RedisRealtime, data: dict[str, Any]) -> None:
        """Is refused where it is published, without being quoted."""
        event = EphemeralEvent("r", EphemeralEventType.CUSTOM, "ann", data=data)
        with pytest.raises(InvalidInputError, match="ephemeral event") as caught:
            await one.publish("c", event)
        assert "yyy" not in str(caught.value)
        assert caught.value.__cause__ is None

    async def test_options_that_make_no_sense(self) -> None:
        """Are refused when the backend is made."""
        for options in ({"max_queue_size": 0}, {"command_timeout": 0}, {"ping_every": 0}):
            with pytest.raises(ValueError, match="must be"):
                RedisRealtime("redis://127.0.0.1:1/0", **options)
        with pytest.raises(ConfigurationError, match="RedisRealtime cannot read its URL"):
            RedisRealtime("amqp://u:secret@h/0")

    async def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the line that installs it."""
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'roomkit\[redis\]'"):
            RedisRealtime("redis://127.0.0.1:1/0")


async def _listeners(redis: Redis, count: int) -> bool:
    """Whether so many of our connections listen to channel ``c``."""
    return bool((await redis.pubsub_numsub("roomkit:realtime:c"))[0][1] == count)


async def _clients(redis: Redis, count: int) -> bool:
    return len(await redis.client_list()) == count


async def _hears(backend: RedisRealtime, inbox: Inbox) -> bool:
    """Whether something published now is heard."""
    event = signal("probe")
    await backend.publish("c", event)
    try:
        async with asyncio.timeout(0.2):
            while (await inbox.events.get()).id != event.id:
                pass
    except TimeoutError:
        return False
    return True
