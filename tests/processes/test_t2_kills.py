"""Four workers on one store, killed again and again: nothing is lost, nothing is doubled (T2)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from tests.processes._checks import (
    BUSY_WITHIN,
    RECOVERED_WITHIN,
    check_accepted,
    check_answers,
    check_delivered,
    check_doubled,
    check_recovery,
    open_books,
)
from tests.processes._driver import Fleet
from tests.processes._load import (
    CHANNELS,
    Message,
    Traffic,
    kill_as_it_goes,
    kill_every,
    some_messages,
)
from tests.processes._worker import make_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.processes._driver import Nursery
    from tests.processes._worker import Config

logger = logging.getLogger("tests.processes")

WORKERS = 4
KILL_EVERY = 0.4
BOT_ROOMS = 5
"""In each fifth room a bot answers."""


async def _open(fleet: Fleet, rooms: Sequence[str], with_bot: Sequence[str]) -> None:
    """Start the workers and open the rooms."""
    first = (await fleet.start(WORKERS))[0]
    plain = [room for room in rooms if room not in with_bot]
    await first.ask("rooms", rooms=plain, channels=CHANNELS)
    await first.ask("rooms", rooms=with_bot, channels=[*CHANNELS, "bot"])


async def _judge(
    fleet: Fleet,
    traffic: Traffic,
    messages: Sequence[Message],
    with_bot: Sequence[str],
    within: float,
) -> str:
    """Check everything there is to check; return the figures."""
    await fleet.idle(60.0)
    dead = await fleet.any().ask("dead")
    assert dead == {"errors": []}
    victims = len(fleet.killed)
    await fleet.end()
    store = make_store(fleet.config)
    await store.open()
    try:
        books = await open_books(store, fleet)
    finally:
        await store.close()
    check_accepted(books, (message.key for message in messages), traffic.acks)
    check_answers(books, with_bot)
    check_delivered(books)
    check_doubled(books)
    longest = check_recovery(books, within=within)
    lapsed = sum(line.what == "lapsed" for line in books.lines)
    return (
        f"{victims} kills, {len(books.events)} events, {len(books.sends)} deliveries, "
        f"{books.doubled} sent again, no lane stood still for more than {longest:.1f} s, "
        f"{lapsed} leases lapsed, errors {traffic.errors}"
    )


class TestKills:
    """A worker may die at any moment."""

    @pytest.mark.parametrize("rooms", [50, 1], ids=["rooms", "hot-room"])
    async def test_nothing_is_lost_or_doubled(
        self, nursery: Nursery, tmp_path: Path, place: Config, rooms: int
    ) -> None:
        """400 messages, a fifth sent twice, four kills: one event each, everything delivered."""
        names = [f"room-{number}" for number in range(rooms)]
        with_bot = names[::BOT_ROOMS]
        messages = list(some_messages(400, names))
        async with Fleet(nursery, tmp_path, place) as fleet:
            await _open(fleet, names, with_bot)
            traffic = Traffic(fleet)
            async with asyncio.TaskGroup() as group:
                group.create_task(kill_as_it_goes(fleet, traffic, (80, 160, 240, 320)))
                await traffic.run(messages)
            await _judge(fleet, traffic, messages, with_bot, BUSY_WITHIN)
            assert len(fleet.killed) >= 4


@pytest.mark.soak
@pytest.mark.timeout(300)
class TestKillsAtFullSize:
    """The same with 5,000 messages and a kill each 0.4 s."""

    @pytest.mark.parametrize("locks", [None, "postgres"], ids=["no-locks", "locks"])
    @pytest.mark.parametrize("rooms", [50, 1], ids=["rooms", "hot-room"])
    async def test_five_thousand_messages(
        self,
        nursery: Nursery,
        tmp_path: Path,
        place: Config,
        rooms: int,
        locks: str | None,
    ) -> None:
        """5,000 messages, a fifth sent twice, at least ten kills: one event each."""
        if locks is not None and place["store"] == "sqlite":
            pytest.skip("SQLite has no lock manager of its own")
        names = [f"room-{number}" for number in range(rooms)]
        with_bot = names[::BOT_ROOMS]
        messages = list(some_messages(5000, names))
        async with Fleet(nursery, tmp_path, {**place, "locks": locks}) as fleet:
            await _open(fleet, names, with_bot)
            traffic = Traffic(fleet, callers=64)
            killing = asyncio.create_task(kill_every(fleet, KILL_EVERY))
            try:
                took = await traffic.run(messages)
            finally:
                killing.cancel()
                await asyncio.wait([killing])
            figures = await _judge(fleet, traffic, messages, with_bot, RECOVERED_WITHIN)
            assert len(fleet.killed) >= 10
        # Seen with --log-cli-level=INFO.
        logger.info("%.0f messages/s in %.1f s, %s", 5000 / took, took, figures)


class TestFirstContact:
    """Different messages of one unknown sender, at the same time, by way of every worker."""

    async def _meet(self, fleet: Fleet, senders: int) -> None:
        workers = await fleet.start(WORKERS)
        messages = [
            [Message(f"key-{sender}-{n}", None, f"sender-{sender}") for n in range(20)]
            for sender in range(senders)
        ]
        few = asyncio.Semaphore(10)

        async def meet(said: list[Message]) -> None:
            async with few, asyncio.TaskGroup() as group:
                for number, message in enumerate(said):
                    worker = workers[number % len(workers)]
                    group.create_task(worker.ask("inbound", **message.fields()))

        async with asyncio.TaskGroup() as group:
            for said in messages:
                group.create_task(meet(said))
        await fleet.idle(15.0)
        await fleet.end()
        store = make_store(fleet.config)
        await store.open()
        try:
            books = await open_books(store, fleet)
        finally:
            await store.close()
        people = [{e.source.participant_id for e in events} for events in books.rooms.values()]
        assert len(people) == senders
        assert all(len(names) == 1 for names in people)
        assert all(len(events) == 20 for events in books.rooms.values())
        check_accepted(books, (message.key for said in messages for message in said), {})

    async def test_each_sender_gets_one_room(
        self, nursery: Nursery, tmp_path: Path, place: Config
    ) -> None:
        """30 senders, 20 messages each at once: 30 rooms with 20 events."""
        async with Fleet(nursery, tmp_path, place) as fleet:
            await self._meet(fleet, 30)

    @pytest.mark.soak
    @pytest.mark.timeout(300)
    async def test_two_hundred_senders(
        self, nursery: Nursery, tmp_path: Path, place: Config
    ) -> None:
        """200 senders: 200 rooms, 4,000 events."""
        async with Fleet(nursery, tmp_path, place) as fleet:
            await self._meet(fleet, 200)
