"""What an operator asks of a kit: figures, dead letters, tidying up; and its start and end."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from roomkit import InMemoryStore, RoomKit
from roomkit.exceptions import ConfigurationError, InvalidInputError, KitClosedError
from roomkit.models.channel import RetryPolicy
from roomkit.store.durable import QueueStats
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound
from tests.test_durable._kits import Doorway, comes, dead, idle, looked, said, until, watched

if TYPE_CHECKING:
    from roomkit.store.durable import DeadLetter
    from tests.test_durable._kits import World

COUNTERS = {
    "delivered",
    "failed",
    "skipped",
    "put_off",
    "recovered",
    "dead",
    "lapsed",
    "accepted",
    "taken_in",
}

ONCE = RetryPolicy(max_retries=0)


async def letters_in(world: World, kit: RoomKit) -> list[DeadLetter]:
    """Make three dead letters, a second apart: two deliveries and one accepted message."""
    await world.room(kit, "a")
    for channel_id in ("b", "c"):
        await kit.attach_channel(ROOM, channel_id, retry_policy=ONCE)
    await kit.process_inbound(inbound("lost"), room_id=ROOM)

    async def both() -> bool:
        return len(await kit.list_dead_letters()) == 2

    await until(both)
    await world.forward(1)
    await kit.accept(inbound("nowhere"), room_id="unknown")
    await dead(kit)
    return await kit.list_dead_letters()


def broken(channel_id: str, times: int = 1) -> SimpleChannel:
    """Return a channel whose first deliveries fail for good."""
    return SimpleChannel(channel_id, deliver_script=[LookupError("no")] * times)


class TestStats:
    """Figures of a situation one can count by hand."""

    async def test_of_a_store_without_queues(self) -> None:
        """Zeros, and what is known without a store."""
        async with RoomKit(InMemoryStore()) as kit:
            stats = await kit.stats()
            assert stats.deliveries == stats.inbox == QueueStats()
            assert (stats.workers, stats.lanes, stats.waiting) == (0, 0, 0)
            assert (stats.worker, stats.started) == (None, True)

    async def test_of_an_empty_database(self, world: World) -> None:
        """A kit that does nothing is one worker without work."""
        kit = world.kit(SimpleChannel("a"))
        stats = await kit.stats()
        assert stats.deliveries == stats.inbox == QueueStats()
        assert (stats.workers, stats.started) == (1, False)
        assert stats.worker is not None
        await kit.start()
        assert (await kit.stats()).started is True

    async def test_every_counter_is_there_from_the_start(self, world: World) -> None:
        """A dashboard need not wait for the first failure to know the name."""
        kit = world.kit(SimpleChannel("a"))
        counters = (await kit.stats()).counters
        assert set(counters) == COUNTERS
        assert set(counters.values()) == {0}

    async def test_workers_are_those_alive(self, world: World) -> None:
        """Closing takes one away at once, silence after a few seconds."""
        kits = [world.kit(SimpleChannel("a")) for _ in range(3)]
        for kit in kits:
            await kit.start()
        assert (await kits[0].stats()).workers == 3
        assert len({(await kit.stats()).worker for kit in kits}) == 3
        await kits[1].close()
        assert (await kits[0].stats()).workers == 2
        watched(kits[2]).deaf = True
        await world.forward(6)
        assert (await kits[0].stats()).workers == 1

    async def test_of_waiting_messages(self, world: World) -> None:
        """Depth, due and lag of an inbox nobody works on; then it is empty again."""
        kit = world.kit(SimpleChannel("a"))
        await world.room(kit, "a")
        await kit.accept(inbound("one"), room_id=ROOM)
        await world.forward(3)
        await kit.accept(inbound("two", sender="bob"), room_id=ROOM)
        inbox = (await kit.stats()).inbox
        assert (inbox.depth, inbox.due, inbox.attempts, inbox.dead) == (2, 2, 0, 0)
        assert inbox.lag == pytest.approx(3.0)
        await kit.start()
        await idle(kit)
        assert (await kit.stats()).inbox == QueueStats()
        counters = (await kit.stats()).counters
        assert (counters["accepted"], counters["taken_in"]) == (2, 2)

    async def test_of_a_delivery_that_waits_for_its_next_attempt(self, world: World) -> None:
        """It counts as depth, not as due, with the attempts it has had."""
        failing = broken("b")
        async with world.kit(SimpleChannel("a"), failing) as kit:
            await world.room(kit, "a", "b")
            await kit.process_inbound(inbound(), room_id=ROOM)

            async def waits() -> bool:
                return (await kit.stats()).deliveries.attempts == 1

            await until(waits)
            stats = await kit.stats()
            assert (stats.deliveries.depth, stats.deliveries.due) == (1, 0)
            assert stats.counters["put_off"] == 1
            assert (stats.lanes, stats.waiting) == (0, 0)
            await world.forward(2)
            await until(lambda: len(failing.delivered) == 2)

    async def test_of_dead_letters(self, world: World) -> None:
        """Each queue counts its own."""
        async with world.kit(SimpleChannel("a"), broken("b"), broken("c")) as kit:
            await letters_in(world, kit)
            stats = await kit.stats()
            assert (stats.deliveries.dead, stats.inbox.dead) == (2, 1)
            assert (stats.deliveries.depth, stats.inbox.depth) == (0, 0)
            assert stats.counters["dead"] == 3


class TestDeadLetters:
    """Listing, trying again, giving up for good."""

    async def test_latest_first(self, world: World) -> None:
        """Each says what it is, where it belongs, and why it died."""
        async with world.kit(SimpleChannel("a"), broken("b"), broken("c")) as kit:
            found = await letters_in(world, kit)
            assert [letter.kind for letter in found] == ["inbox", "deliver", "deliver"]
            assert found[0].channel_id == "a"
            assert {letter.channel_id for letter in found[1:]} == {"b", "c"}
            [event] = [e for e in await kit.get_timeline(ROOM) if e.source.channel_id == "a"]
            for letter in found[1:]:
                assert (letter.room_id, letter.event_id) == (ROOM, event.id)
                assert (letter.attempts, letter.error) == (1, "no")
            assert found[0].died_at > found[1].died_at

    async def test_filters_and_pages(self, world: World) -> None:
        """Filters combine; pages neither overlap nor leave anything out."""
        async with world.kit(SimpleChannel("a"), broken("b"), broken("c")) as kit:
            found = await letters_in(world, kit)
            assert await kit.list_dead_letters(kind="inbox") == found[:1]
            assert await kit.list_dead_letters(kind="deliver") == found[1:]
            assert await kit.list_dead_letters(kind="react") == []
            assert await kit.list_dead_letters(room_id=ROOM) == found[1:]
            assert await kit.list_dead_letters(room_id="s") == []
            [only] = await kit.list_dead_letters(room_id=ROOM, channel_id="c", kind="deliver")
            assert only.channel_id == "c"
            pages = [await kit.list_dead_letters(offset=n, limit=1) for n in range(4)]
            assert pages == [[found[0]], [found[1]], [found[2]], []]

    async def test_of_a_store_without_queues(self) -> None:
        """There is nothing to list, and nothing that could be retried."""
        async with RoomKit(InMemoryStore()) as kit:
            assert await kit.list_dead_letters() == []
            assert await kit.purge(before=datetime.now().astimezone()) == 0
            for call in (kit.retry_dead_letter, kit.discard_dead_letter):
                with pytest.raises(ConfigurationError, match="SQLiteStore"):
                    await call("0" * 32)

    async def test_a_delivery_is_tried_again(self, world: World) -> None:
        """From the start, under the same delivery; the event then says it was sent."""
        failing = broken("b")
        async with world.kit(SimpleChannel("a"), failing, broken("c")) as kit:
            found = await letters_in(world, kit)
            [letter] = [one for one in found if one.channel_id == "b"]
            assert await kit.retry_dead_letter(letter.id)
            assert not await kit.retry_dead_letter(letter.id)
            await until(lambda: len(failing.delivered) == 2)
            assert failing.delivered[0].id == failing.delivered[1].id

            async def sent() -> bool:
                event = await kit.store.get_event(str(letter.event_id))
                assert event is not None
                return bool(event.delivery_results["b"]["status"] == "sent")

            await until(sent)
            left = await kit.list_dead_letters()
            assert {one.id for one in left} == {one.id for one in found} - {letter.id}

    async def test_one_that_fails_again_is_dead_again(self, world: World) -> None:
        """With a new date, at the top of the list."""
        failing = broken("b", times=2)
        async with world.kit(SimpleChannel("a"), failing, broken("c")) as kit:
            found = await letters_in(world, kit)
            [letter] = [one for one in found if one.channel_id == "b"]
            await world.forward(1)
            assert await kit.retry_dead_letter(letter.id)
            await until(lambda: len(failing.delivered) == 2)

            async def listed() -> bool:
                return len(await kit.list_dead_letters()) == 3

            await until(listed)
            first, *_ = await kit.list_dead_letters()
            assert (first.id, first.attempts) == (letter.id, 1)
            assert first.died_at > letter.died_at

    async def test_discarding(self, world: World) -> None:
        """It is gone from the list for good, and nothing is sent."""
        failing = broken("b")
        async with world.kit(SimpleChannel("a"), failing, broken("c")) as kit:
            found = await letters_in(world, kit)
            for letter in found:
                assert await kit.discard_dead_letter(letter.id)
                assert not await kit.discard_dead_letter(letter.id)
                assert not await kit.retry_dead_letter(letter.id)
            assert await kit.list_dead_letters() == []
            await looked(kit)
            assert len(failing.delivered) == 1
            stats = await kit.stats()
            assert (stats.deliveries.dead, stats.inbox.dead) == (0, 0)

    @pytest.mark.parametrize("letter_id", ["", "nowhere", "0" * 32, "x\x00y"])
    async def test_an_id_that_is_none(self, world: World, letter_id: str) -> None:
        """Whatever is asked for: there is no such letter."""
        kit = world.kit(SimpleChannel("a"))
        assert not await kit.retry_dead_letter(letter_id)
        assert not await kit.discard_dead_letter(letter_id)

    async def test_from_a_kit_that_is_not_started(self, world: World) -> None:
        """An operator's console can say it; a worker does it."""
        failing = broken("b")
        async with world.kit(SimpleChannel("a"), failing, broken("c")) as kit:
            found = await letters_in(world, kit)
            console = world.kit()
            assert await console.list_dead_letters() == found
            [letter] = [one for one in found if one.channel_id == "b"]
            assert await console.retry_dead_letter(letter.id)
            await until(lambda: len(failing.delivered) == 2)


class TestPurge:
    """What has ended long ago goes; what people said stays."""

    async def test_what_goes_and_what_stays(self, world: World) -> None:
        """Ended rows before the moment go; later ones, dead ones and events stay."""
        async with world.kit(SimpleChannel("a"), broken("b"), broken("c")) as kit:
            found = await letters_in(world, kit)
            await kit.accept(inbound("old", external_id="1"), room_id=ROOM)
            await comes(kit, "lost", "old")
            await self._settled(kit)
            await world.forward(5)
            moment = world.clock.now()
            await world.forward(5)
            await kit.accept(inbound("new", external_id="2"), room_id=ROOM)
            await comes(kit, "lost", "old", "new")
            await self._settled(kit)
            # The inbox row of "old" and its two deliveries.
            assert await kit.purge(before=moment) == 3
            assert await kit.purge(before=moment) == 0
            assert await kit.list_dead_letters() == found
            assert await said(kit) == ["lost", "old", "new"]
            assert (await kit.accept(inbound("x", external_id="2"), room_id=ROOM)).duplicate
            repeat = inbound("x", idempotency_key="inbox:a:1")
            assert (await kit.process_inbound(repeat, room_id=ROOM)).reason == "duplicate"

    async def test_discarded_letters_go_too(self, world: World) -> None:
        """Once discarded, a letter is just a row that has ended."""
        async with world.kit(SimpleChannel("a"), broken("b"), broken("c")) as kit:
            found = await letters_in(world, kit)
            await world.forward(1)
            assert await kit.purge(before=world.clock.now()) == 0
            for letter in found:
                await kit.discard_dead_letter(letter.id)
            await world.forward(1)
            assert await kit.purge(before=world.clock.now()) == 3

    async def test_what_waits_is_never_purged(self, world: World) -> None:
        """However old it is."""
        kit = world.kit(SimpleChannel("a"))
        await world.room(kit, "a")
        await kit.accept(inbound("kept"), room_id=ROOM)
        await world.forward(60)
        assert await kit.purge(before=world.clock.now()) == 0
        await kit.start()
        await comes(kit, "kept")

    async def test_a_time_without_a_zone(self, world: World) -> None:
        """It is refused as in ``accept``: nobody can know which moment is meant."""
        kit = world.kit(SimpleChannel("a"))
        with pytest.raises(InvalidInputError, match="timezone"):
            await kit.purge(before=datetime(2026, 1, 1))  # noqa: DTZ001

    @staticmethod
    async def _settled(kit: RoomKit) -> None:
        async def settled() -> bool:
            stats = await kit.stats()
            return not (stats.deliveries.depth or stats.inbox.depth)

        await until(settled)


class TestLife:
    """Starting and ending."""

    async def test_starting_again_does_nothing(self, world: World) -> None:
        """Also when two tasks do it at the same moment."""
        kit = world.kit(Doorway())
        await world.room(kit, "a")
        before = len(asyncio.all_tasks())
        await asyncio.gather(kit.start(), kit.start())
        running = len(asyncio.all_tasks())
        await kit.start()
        assert len(asyncio.all_tasks()) == running > before
        await kit.accept(inbound("one"), room_id=ROOM)
        await comes(kit, "one")

    async def test_no_start_after_the_end(self, world: World) -> None:
        """A closed kit says so."""
        kit = world.kit(SimpleChannel("a"))
        await kit.start()
        await kit.close()
        with pytest.raises(KitClosedError):
            await kit.start()

    async def test_async_with(self, world: World) -> None:
        """It starts, and closes whatever happens inside."""
        kit = world.kit(SimpleChannel("a"))

        async def fail() -> None:
            async with kit as entered:
                assert entered is kit
                assert (await kit.stats()).started
                raise LookupError

        with pytest.raises(LookupError):
            await fail()
        with pytest.raises(KitClosedError):
            await kit.stats()

    async def test_a_store_in_memory_starts_as_well(self) -> None:
        """There is just nothing to recover."""
        async with RoomKit() as kit:
            await kit.start()
            assert (await kit.stats()).started

    async def test_a_kit_that_was_not_started_says_so_once(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A retry that nobody will make is worth a line of log."""
        kit = world.kit(SimpleChannel("a"), broken("b", 2))
        await world.room(kit, "a", "b")
        for body in ("one", "two"):
            await kit.process_inbound(inbound(body), room_id=ROOM)
        lines = [r for r in caplog.records if "not started" in r.getMessage()]
        assert [(r.name, r.levelname) for r in lines] == [("roomkit.worker", "WARNING")]
