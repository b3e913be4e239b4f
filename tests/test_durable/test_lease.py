"""The lease: a kit sends only while nobody else may take its deliveries for abandoned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit import RoomKit, StoreUnavailableError
from roomkit.testing import SimpleChannel
from tests.support.kits import Ears, inbound, open_room, texts
from tests.test_durable._world import World, settle, world
from tests.test_durable.test_deliveries import Gated, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture(name="here")
async def _here() -> AsyncIterator[World]:
    """A world of the test's own."""
    async with world() as here:
        yield here


class TestLease:
    """Beats once a second; without them nothing begins."""

    async def test_a_kit_is_a_worker_from_its_first_use(self, here: World) -> None:
        """Also one that was not started: its deliveries must not be taken from it."""
        idle = await here.kit(start=False)
        await idle.create_room("r")
        assert (await idle.stats()).workers == 1
        await here.pass_time(20)
        assert (await idle.stats()).workers == 1
        await idle.close()
        here.kits.remove(idle)
        other = await here.kit()
        assert (await other.stats()).workers == 1

    async def test_nothing_begins_without_it(self, here: World) -> None:
        """A process whose beats fail stops sending before others may begin."""
        mine, theirs = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), mine)
        await here.kit(SimpleChannel("a"), theirs)
        view = here.views[first]
        ears = Ears(first)
        await say(first, "one", "two")
        assert len(mine.begun) == 1
        view.raising["beat"] = StoreUnavailableError("away")
        await here.pass_time(3.5)
        assert theirs.delivered == []
        mine.gate.set()  # "one" was begun in time; "two" must not begin any more
        await settle()
        assert texts(mine.delivered) == ["one"]
        await here.until(lambda: "two" in texts(theirs.delivered), 5)
        assert len(ears.of("worker_lapsed")) == 1
        del view.raising["beat"]
        await here.pass_time(2)
        mine.begun.clear()
        await say(first, "three")
        await here.until(lambda: mine.begun or "three" in texts(theirs.delivered))

    async def test_it_comes_back_under_a_new_id(self, here: World) -> None:
        """Alone, a process whose lease ran out claims again what it held."""
        channel = Gated()
        kit = await here.kit(settle_timeout=0.01)
        await open_room(kit, SimpleChannel("a"), channel)
        before = (await kit.stats()).worker
        await say(kit, "one", "two")
        here.views[kit].raising["beat"] = StoreUnavailableError("away")
        await here.pass_time(5)
        here.views[kit].raising.clear()
        await here.pass_time(3)
        channel.gate.set()
        await here.until(lambda: "two" in texts(channel.delivered))
        await settle()
        stats = await kit.stats()
        assert stats.worker != before
        assert stats.counters["lapsed"] == 1
        assert stats.deliveries.depth == 0
        assert texts(channel.delivered)[-1] == "two"
        assert stats.workers == 1

    async def test_a_store_that_takes_no_beat(self, here: World) -> None:
        """The first use fails with the store's own error, and works once it answers."""
        kit = await here.kit(start=False)
        here.views[kit].raising["beat"] = StoreUnavailableError("away")
        with pytest.raises(StoreUnavailableError):
            await kit.create_room("r")
        here.views[kit].raising.clear()
        await kit.create_room("r")

    async def test_starting_twice(self, here: World) -> None:
        """The second time does nothing."""
        kit = await here.kit()
        tasks = len(asyncio.all_tasks())
        await kit.start()
        assert len(asyncio.all_tasks()) == tasks

    async def test_no_task_is_left(self, here: World) -> None:
        """A closed kit leaves no task behind, and its worker is forgotten."""
        before = len(asyncio.all_tasks())
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
        await say(kit, "one")
        await kit.close()
        here.kits.clear()
        assert len(asyncio.all_tasks()) == before
        assert (await here.store.work_stats()).workers == 0

    async def test_memory_has_none(self) -> None:
        """A kit in memory has no worker, and starting it is harmless."""
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            await kit.process_inbound(inbound("one"), room_id="r")
            stats = await kit.stats()
            assert (stats.worker, stats.workers, stats.deliveries.depth) == (None, 0, 0)
            assert stats.counters["delivered"] == 1

    async def test_one_that_was_not_started_looks_again(self, here: World) -> None:
        """After its own commit it goes on with a lane whose head is nobody's."""
        channel = Gated()
        kit = await here.kit(start=False, settle_timeout=0.01)
        await open_room(kit, SimpleChannel("a"), channel)
        await say(kit, "one", "two")
        here.views[kit].raising["beat"] = StoreUnavailableError("away")
        await here.pass_time(6)
        here.views[kit].raising.clear()
        await here.pass_time(2)
        channel.gate.set()
        await settle()
        assert texts(channel.delivered) == ["one"]  # begun in time; its end was not recorded
        await say(kit, "three")
        await here.until(lambda: "three" in texts(channel.delivered))
        assert texts(channel.delivered)[-2:] == ["two", "three"]

    async def test_the_sweep_takes_nothing_that_is_being_written(self, here: World) -> None:
        """Once a minute forgotten claims are given back; ends on their way are no such."""
        channel = Gated()
        kit = await here.kit(settle_timeout=0.01)
        await open_room(kit, SimpleChannel("a"), channel)
        await here.pass_time(60, step=10)
        await say(kit, "one", "two")
        await here.pass_time(130, step=10)  # long enough to count as forgotten, were it not held
        view = here.views[kit]
        heard = view.stalled["finish_deliveries"] = asyncio.Event()
        channel.gate.set()
        await settle()
        await here.pass_time(70, step=10)  # a sweep, while the ends are on their way
        heard.set()
        await here.pass_time(5)
        assert texts(channel.delivered) == ["one", "two"]
        assert (await kit.stats()).deliveries.depth == 0
