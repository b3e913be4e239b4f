"""The same message again: fifty times at once, after a restart, and eight days later (T10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.processes._checks import check_delivered, open_books
from tests.processes._driver import Fleet
from tests.processes._load import CHANNELS
from tests.processes._worker import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes._driver import Nursery
    from tests.processes._worker import Config

DAYS = 24 * 3600.0
TIMES = 50
BY_KEY = {"room": "room", "sender": "s", "body": "by key", "key": "the key"}
BY_ROUTER = {"sender": "stranger", "body": "by router", "key": "another key"}
BY_ID = {"room": "room", "sender": "s", "body": "by id", "external_id": "the vendor's id"}


async def _all_at_once(fleet: Fleet, do: str, given: Config) -> list[dict[str, Any]]:
    """Give every worker its share of the same command, all at the same time."""
    workers = fleet.alive
    return await asyncio.gather(
        *(workers[n % len(workers)].ask(do, **given) for n in range(TIMES))
    )


async def _replay(fleet: Fleet, given: Config, first: tuple[str, int] | None) -> tuple[str, int]:
    """Process a message fifty times; return the one event everybody was told of."""
    told = await _all_at_once(fleet, "inbound", given)
    events = {(answer["event"], answer["index"]) for answer in told}
    assert len(events) == 1, f"several first results: {events}"
    new = [answer for answer in told if not answer["blocked"]]
    assert len(new) == (first is None)
    assert all(answer["reason"] == "duplicate" for answer in told if answer["blocked"])
    (event,) = events
    assert first in (None, event), "another result than the first time"
    return event


async def _accept(fleet: Fleet, *, new: bool) -> str:
    """Accept a message fifty times; return the one row everybody was told of."""
    told = await _all_at_once(fleet, "accept", BY_ID)
    assert sum(not answer["duplicate"] for answer in told) == new
    (row,) = {answer["row"] for answer in told}
    await fleet.idle(20.0)
    return str(row)


class TestReplays:
    """A repeat changes nothing, however late it comes."""

    async def test_one_event_and_the_first_result(
        self, nursery: Nursery, tmp_path: Path, place: Config
    ) -> None:
        """50 at once; after a restart; after 8 days with everything finished purged."""
        async with Fleet(nursery, tmp_path, place) as fleet:
            first = (await fleet.start(2))[0]
            await first.ask("rooms", rooms=["room"], channels=CHANNELS, phone="s")
            event = await _replay(fleet, BY_KEY, None)
            contact = await _replay(fleet, BY_ROUTER, None)
            row = await _accept(fleet, new=True)

            await fleet.end()
            await fleet.start(2)
            await _replay(fleet, BY_KEY, event)
            await _replay(fleet, BY_ROUTER, contact)
            assert await _accept(fleet, new=False) == row

            await fleet.end()
            await fleet.start(2, ahead=8 * DAYS)
            assert (await fleet.any().ask("purge", ahead=7 * DAYS))["removed"] > 0
            await _replay(fleet, BY_KEY, event)
            await _replay(fleet, BY_ROUTER, contact)
            # The row is gone, the event is not: the message is taken for what it is again.
            await _accept(fleet, new=True)

            assert await fleet.any().ask("dead") == {"errors": []}
            await fleet.end()
            store = make_store(place)
            await store.open()
            try:
                books = await open_books(store, fleet)
            finally:
                await store.close()
        assert sorted(len(events) for events in books.rooms.values()) == [1, 2]
        strangers = contact[0]
        del books.events[strangers]  # in a room of its own, with nobody else in it
        check_delivered(books)
        assert books.doubled == 0
