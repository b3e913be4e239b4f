"""``accept``: kept at once, known again, taken in when its time has come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import InboundMessage, InMemoryStore, RoomKit, TextContent
from roomkit.exceptions import (
    ChannelNotRegisteredError,
    ConfigurationError,
    InvalidInputError,
    InvalidMetadataError,
    KitClosedError,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound, messages, texts
from tests.test_durable._kits import Doorway, comes, idle, looked, said, until, watched

if TYPE_CHECKING:
    from tests.test_durable._kits import World


class TestAccept:
    """It returns when the message is kept; the rest follows by itself."""

    async def test_it_returns_before_the_message_is_looked_at(self, world: World) -> None:
        """A slow channel does not keep the webhook waiting."""
        door = Doorway()
        go_on = door.hold("hello")
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            kept = await kit.accept(inbound(), room_id=ROOM)
            assert len(kept.id) == 32
            assert int(kept.id, 16) >= 0
            assert kept.duplicate is False
            await until(lambda: door.arrived)
            assert await said(kit) == []
            assert (await kit.stats()).inbox.depth == 1
            go_on.set()
            await comes(kit, "hello")

    async def test_it_becomes_what_process_inbound_makes_of_it(self, world: World) -> None:
        """Sender, ids, metadata and deliveries are the same either way."""
        other = SimpleChannel("b")
        async with world.kit(SimpleChannel("a"), other) as kit:
            await world.room(kit, "a", "b")
            fields: dict[str, Any] = {"metadata": {"k": [1, "x"]}, "thread_id": "t"}
            await kit.process_inbound(inbound("one", external_id="1", **fields), room_id=ROOM)
            await kit.accept(inbound("two", external_id="2", **fields), room_id=ROOM)
            await comes(kit, "one", "two")
            one, two = await messages(kit)
            assert two.idempotency_key == "inbox:a:2"
            assert two.channel_data.external_id == "2"
            for field in ("metadata", "type", "status", "visibility", "chain_depth", "room_id"):
                assert getattr(one, field) == getattr(two, field), field
            assert one.source.participant_id == two.source.participant_id == "alice"
            await until(lambda: len(other.delivered) == 2)
            assert texts(other.delivered) == ["one", "two"]

    async def test_a_first_contact_opens_a_room(self, world: World) -> None:
        """Two messages of a stranger, accepted at once, meet in one room of the tenant."""
        async with world.kit(SimpleChannel("a")) as kit:
            await kit.accept(inbound("one"), organization_id="org")
            await kit.accept(inbound("two"), organization_id="org")
            await idle(kit)
            [room] = await kit.store.find_rooms(organization_id="org")
            await comes(kit, "one", "two", room_id=room.id)

    async def test_a_kit_that_is_not_started_only_accepts(self, world: World) -> None:
        """Its rows wait until a started kit comes, in another process too."""
        door = Doorway()
        front = world.kit(door)
        await world.room(front, "a")
        for body in ("one", "two"):
            await front.accept(inbound(body), room_id=ROOM)
        stats = await front.stats()
        assert (stats.started, stats.inbox.depth, stats.counters["accepted"]) == (False, 2, 2)
        assert watched(front).counts["claim_inbox"] == 0
        async with world.kit(SimpleChannel("a")) as back:
            await comes(back, "one", "two")
            assert (await back.stats()).counters["taken_in"] == 2
        assert door.arrived == []

    async def test_a_kit_without_the_channel_leaves_it_alone(self, world: World) -> None:
        """Only who has the channel can take a message of it in."""
        async with world.kit(SimpleChannel("a")) as front:
            await world.room(front, "a")
            await front.close()
        async with world.kit(SimpleChannel("b")) as other:
            later = world.kit(SimpleChannel("a"))
            await later.accept(inbound("one"), room_id=ROOM)
            await looked(other)
            assert (await other.stats()).inbox.depth == 1
            await later.start()
            await comes(later, "one")

    async def test_one_accepted_before_the_start_is_taken_in(self, world: World) -> None:
        """What was accepted and never begun survives the process that accepted it."""
        async with world.kit(SimpleChannel("a")) as first:
            await world.room(first, "a")
        second = world.kit(SimpleChannel("a"))
        await second.accept(inbound("kept"), room_id=ROOM)
        await second.close()
        async with world.kit(SimpleChannel("a")) as third:
            await comes(third, "kept")


class TestRepeats:
    """One message is one row, whoever repeats it and by whatever it is known."""

    @pytest.mark.parametrize(
        ("fields", "options"),
        [
            ({"idempotency_key": "k"}, {}),
            ({"external_id": "SM1"}, {}),
            ({"idempotency_key": "k", "external_id": "SM1"}, {"raw": b"x"}),
            ({}, {"raw": b"a=1&b=2"}),
            ({}, {"raw": b"", "position": 3}),
        ],
    )
    async def test_known_again(
        self, world: World, fields: dict[str, Any], options: dict[str, Any]
    ) -> None:
        """A repeat is told so, gets the first one's id, and changes nothing."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            first = await kit.accept(inbound("one", **fields), room_id=ROOM, **options)
            again = await kit.accept(inbound("two", **fields), room_id=ROOM, **options)
            assert (again.id, again.duplicate) == (first.id, True)
            await comes(kit, "one")
            late = await kit.accept(inbound("three", **fields), room_id=ROOM, **options)
            assert (late.id, late.duplicate) == (first.id, True)
            assert (await kit.stats()).inbox.depth == 0
            assert (await kit.stats()).counters["accepted"] == 1

    @pytest.mark.parametrize(
        ("one", "two"),
        [
            ({}, {}),
            ({"raw": b"same", "position": 0}, {"raw": b"same", "position": 1}),
            ({"raw": b"one"}, {"raw": b"two"}),
        ],
    )
    async def test_not_the_same(
        self, world: World, one: dict[str, Any], two: dict[str, Any]
    ) -> None:
        """Without anything in common two messages are two, even with the same text."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            first = await kit.accept(inbound("same"), room_id=ROOM, **one)
            second = await kit.accept(inbound("same"), room_id=ROOM, **two)
            assert not first.duplicate
            assert not second.duplicate
            await comes(kit, "same", "same")

    async def test_the_id_of_a_vendor_is_one_of_its_channel(self, world: World) -> None:
        """Two vendors may use the same number for different messages."""
        async with world.kit(SimpleChannel("a"), SimpleChannel("c")) as kit:
            await world.room(kit, "a", "c")
            await kit.accept(inbound("one", external_id="1"), room_id=ROOM)
            other = await kit.accept(inbound("two", "c", external_id="1"), room_id=ROOM)
            assert not other.duplicate
            await idle(kit)
            assert sorted(await said(kit)) == ["one", "two"]

    async def test_a_repeat_of_a_purged_row_makes_no_second_event(self, world: World) -> None:
        """The room remembers the key when the inbox has long forgotten it."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("one", external_id="1"), room_id=ROOM)
            await comes(kit, "one")
            await idle(kit)
            await world.forward(1)
            assert await kit.purge(before=world.clock.now()) >= 1
            again = await kit.accept(inbound("one", external_id="1"), room_id=ROOM)
            assert not again.duplicate
            await idle(kit)
            assert await said(kit) == ["one"]
            assert await kit.list_dead_letters() == []

    async def test_many_at_the_same_moment(self, world: World) -> None:
        """A vendor that repeats before it has its answer gets one row from two processes."""
        kits = [world.kit(SimpleChannel("a")), world.kit(SimpleChannel("a"))]
        await world.room(kits[0], "a")
        kept = await asyncio.gather(
            *(kit.accept(inbound("one", external_id="1"), room_id=ROOM) for kit in kits * 5)
        )
        assert len({result.id for result in kept}) == 1
        assert sum(not result.duplicate for result in kept) == 1
        await kits[1].start()
        await comes(kits[1], "one")
        await idle(kits[1])


class TestDoor:
    """What cannot be taken in is refused at once, and nothing is kept of it."""

    async def test_a_channel_nobody_registered(self, world: World) -> None:
        """A typing error is not something to try again."""
        kit = world.kit(SimpleChannel("a"))
        with pytest.raises(ChannelNotRegisteredError, match="nowhere"):
            await kit.accept(inbound(channel_id="nowhere"))
        assert (await kit.stats()).inbox.depth == 0

    async def test_metadata_that_is_no_json(self, world: World) -> None:
        """It could not be stored: the caller hears of it, not the dead letters."""
        kit = world.kit(SimpleChannel("a"))
        with pytest.raises(InvalidMetadataError):
            await kit.accept(inbound(metadata={"k": object()}))
        assert (await kit.stats()).inbox.depth == 0

    async def test_a_time_without_a_zone(self, world: World) -> None:
        """Nobody can know which moment is meant."""
        kit = world.kit(SimpleChannel("a"))
        with pytest.raises(InvalidInputError, match="timezone"):
            await kit.accept(inbound(), not_before=datetime(2026, 1, 1))  # noqa: DTZ001
        assert (await kit.stats()).inbox.depth == 0

    async def test_a_key_no_index_can_hold(self, world: World) -> None:
        """It is as long as everywhere else."""
        kit = world.kit(SimpleChannel("a"))
        with pytest.raises(InvalidInputError, match="idempotency_key"):
            await kit.accept(inbound(idempotency_key="k" * 513))
        assert (await kit.stats()).inbox.depth == 0

    @pytest.mark.parametrize("field", ["external_id", "idempotency_key", "sender_id"])
    async def test_texts_no_database_can_hold(self, world: World, field: str) -> None:
        """NUL and halves of characters are made storable, as by ``process_inbound``."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            odd: dict[str, Any] = {"sender_id": "alice", field: "x\x00y\ud800"}
            message = InboundMessage(channel_id="a", content=TextContent(body="one"), **odd)
            kept = await kit.accept(message, room_id=ROOM)
            assert not kept.duplicate
            await comes(kit, "one")
            if field != "sender_id":
                assert (await kit.accept(message, room_id=ROOM)).duplicate

    async def test_a_store_without_an_inbox(self) -> None:
        """The error says which stores have one, and what to call instead."""
        async with RoomKit(InMemoryStore()) as kit:
            kit.register_channel(SimpleChannel("a"))
            with pytest.raises(ConfigurationError) as failed:
                await kit.accept(inbound())
            for word in ("SQLiteStore", "PostgresStore", "InMemoryStore", "process_inbound"):
                assert word in str(failed.value)

    async def test_a_closed_kit(self, world: World) -> None:
        """It accepts nothing it could not bring in."""
        kit = world.kit(SimpleChannel("a"))
        await kit.close()
        with pytest.raises(KitClosedError):
            await kit.accept(inbound())


class TestNotBefore:
    """A message may wait for its time, and be replaced while it waits."""

    async def test_it_waits(self, world: World) -> None:
        """It is kept at once and taken in when the time has come, not before."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            due = world.clock.now() + timedelta(seconds=5)
            await kit.accept(inbound("later"), room_id=ROOM, not_before=due)
            await world.forward(4)
            await looked(kit)
            assert await said(kit) == []
            stats = (await kit.stats()).inbox
            assert (stats.depth, stats.due) == (1, 0)
            await world.forward(1)
            await comes(kit, "later")

    async def test_a_moment_that_has_passed_is_now(self, world: World) -> None:
        """A late clock does no harm."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            past = datetime(2020, 1, 1, tzinfo=UTC)
            await kit.accept(inbound("now"), room_id=ROOM, not_before=past)
            await comes(kit, "now")

    async def test_the_senders_next_message_waits_behind_it(self, world: World) -> None:
        """Order counts more than haste; another sender is not kept waiting."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            due = world.clock.now() + timedelta(seconds=5)
            await kit.accept(inbound("first"), room_id=ROOM, not_before=due)
            await kit.accept(inbound("second"), room_id=ROOM)
            await kit.accept(inbound("other", sender="bob"), room_id=ROOM)
            await comes(kit, "other")
            await looked(kit)
            assert await said(kit) == ["other"]
            await world.forward(5)
            await comes(kit, "other", "first", "second")

    async def test_the_whole_takes_the_place_of_its_part(self, world: World) -> None:
        """A part waits for the rest; when the whole comes, it alone enters the room."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            due = world.clock.now() + timedelta(seconds=5)
            part = inbound("part one", idempotency_key="ref-7")
            first = await kit.accept(part, room_id=ROOM, not_before=due)
            whole = inbound("part one and two", idempotency_key="ref-7")
            second = await kit.accept(whole, room_id=ROOM, replace=True)
            assert (second.id, second.duplicate) == (first.id, False)
            await comes(kit, "part one and two")
            await world.forward(6)
            await looked(kit)
            assert await said(kit) == ["part one and two"]

    async def test_a_part_whose_rest_never_comes_goes_alone(self, world: World) -> None:
        """After its time a part is a message."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            due = world.clock.now() + timedelta(seconds=5)
            part = inbound("part one", idempotency_key="ref-7")
            await kit.accept(part, room_id=ROOM, not_before=due)
            await world.forward(5)
            await comes(kit, "part one")
            whole = inbound("part one and two", idempotency_key="ref-7")
            late = await kit.accept(whole, room_id=ROOM, replace=True)
            assert late.duplicate
            await looked(kit)
            assert await said(kit) == ["part one"]

    async def test_without_replace_the_first_stays(self, world: World) -> None:
        """A plain repeat of a waiting message changes neither text nor time."""
        async with world.kit(SimpleChannel("a")) as kit:
            await world.room(kit, "a")
            due = world.clock.now() + timedelta(seconds=5)
            part = inbound("one", idempotency_key="k")
            await kit.accept(part, room_id=ROOM, not_before=due)
            again = await kit.accept(inbound("two", idempotency_key="k"), room_id=ROOM)
            assert again.duplicate
            await looked(kit)
            assert await said(kit) == []
            await world.forward(5)
            await comes(kit, "one")

    async def test_a_row_in_hand_is_not_replaced(self, world: World) -> None:
        """What is being taken in stays what it is."""
        door = Doorway()
        go_on = door.hold("one")
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("one", idempotency_key="k"), room_id=ROOM)
            await until(lambda: door.arrived)
            message = inbound("two", idempotency_key="k")
            again = await kit.accept(message, room_id=ROOM, replace=True)
            assert again.duplicate
            go_on.set()
            await comes(kit, "one")


class TestPolling:
    """Nobody has to say that there is work: it is found anyway."""

    async def test_a_row_another_process_left_is_found_within_a_moment(self, world: World) -> None:
        """The store never says a word here, and the row still gets in."""
        back = world.kit(SimpleChannel("a"))
        watched(back).silent = True
        front = world.kit(SimpleChannel("a"))
        await world.room(front, "a")
        async with back:
            await looked(back, 1)
            await front.accept(inbound("found"), room_id=ROOM)
            await world.forward(2)
            await comes(front, "found")
