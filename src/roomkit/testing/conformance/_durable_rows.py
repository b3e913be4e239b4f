"""What a store of tables refuses and a store of dictionaries need not: contract, section 6.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from roomkit.exceptions import StoreError
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.store.commit import CommitBatch, RoomClaim
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._durable_base import ROOM, DurableSuite
from roomkit.testing.conformance._store_base import ids
from roomkit.testing.conformance._suite import at
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore


class RowCases(DurableSuite):
    """Ids are unique, children have parents, and what is read belongs to the reader."""

    relational: ClassVar[bool] = True
    """Whether the store refuses what its tables forbid; False leaves those tests out."""

    @pytest.fixture
    def tables(self) -> None:
        """Leave a test out where nothing is forbidden."""
        if not self.relational:
            pytest.skip("this store forbids nothing")

    # -- what tables forbid ---------------------------------------------------------------

    @pytest.mark.usefixtures("tables")
    async def test_ids_are_unique(self, store: DurableStore) -> None:
        """A second thing under one id is refused, and the first stays as it was."""
        room = await self.room(store, metadata={"n": 1})
        event = await store.add_event(make_event(id="e"))
        task = await store.add_task(Task(id="t", room_id=ROOM, title="x"))
        seen = Observation(id="o", room_id=ROOM, channel_id="c", content="x")
        await store.add_observation(seen)
        ann = await store.create_identity(Identity(id="i", display_name="Ann"))
        for again in (
            store.create_room(Room(id=ROOM)),
            store.add_event(make_event(id="e", body="other")),
            store.add_task(Task(id="t", room_id=ROOM, title="y")),
            store.add_observation(Observation(id="o", room_id=ROOM, channel_id="c", content="y")),
            store.create_identity(Identity(id="i", channel_addresses={"sms": ["+1"]})),
        ):
            with pytest.raises(StoreError):
                await again
        stored = await store.get_room(ROOM)
        assert stored is not None
        assert stored.metadata == room.metadata
        assert await store.list_events(ROOM) == [event]
        assert await store.list_tasks(ROOM) == [task]
        assert await store.list_observations(ROOM) == [seen]
        assert await store.get_identity("i") == ann
        assert await store.resolve_identity("sms", "+1") is None
        await assert_invariants(store)

    @pytest.mark.usefixtures("tables")
    async def test_a_key_is_unique_in_its_room(self, store: DurableStore) -> None:
        """``add_event`` refuses it; nothing of the second event stays."""
        await self.room(store)
        await self.room(store, "room-2")
        await store.add_event(make_event(idempotency_key="k"))
        with pytest.raises(StoreError):
            await store.add_event(make_event(idempotency_key="k"))
        await store.add_event(make_event("room-2", idempotency_key="k"))
        assert await store.get_event_count(ROOM) == 1
        await assert_invariants(store)

    @pytest.mark.usefixtures("tables")
    async def test_children_need_their_room(self, store: DurableStore) -> None:
        """Nothing can be added to a room that is not there, by no road."""
        for orphan in (
            store.add_event(make_event()),
            store.add_binding(make_binding("c")),
            store.add_participant(Participant(id="p", room_id=ROOM, channel_id="c")),
            store.add_task(Task(id="t", room_id=ROOM, title="x")),
            store.add_observation(Observation(id="o", room_id=ROOM, channel_id="c", content="x")),
            store.commit(CommitBatch(ROOM, (make_event(),))),
        ):
            with pytest.raises(StoreError):
                await orphan
        assert await store.get_event_count(ROOM) == 0
        assert await store.get_task("t") is None
        await self.room(store)
        assert await store.list_bindings(ROOM) == []
        assert await store.list_participants(ROOM) == []

    @pytest.mark.usefixtures("tables")
    async def test_a_commit_that_fails_leaves_nothing(self, store: DurableStore) -> None:
        """Its last part is refused by the tables, and its first parts are not there."""
        await self.room(store)
        await store.add_task(Task(id="t", room_id=ROOM, title="x"))
        before = await store.load_context(ROOM)
        batch = CommitBatch(
            ROOM,
            (make_event(idempotency_key="k"),),
            bindings=(make_binding("c"),),
            tasks=(Task(id="t", room_id=ROOM, title="y"),),
            activity_at=at(99),
        )
        with pytest.raises(StoreError):
            await store.commit(batch)
        assert await store.load_context(ROOM) == before
        assert not await store.check_idempotency(ROOM, "k")
        result = await store.commit(CommitBatch(ROOM, (make_event(idempotency_key="k"),)))
        assert [event.index for event in result.events] == [0]

    @pytest.mark.usefixtures("tables")
    async def test_a_room_that_cannot_be_opened_leaves_nothing(self, store: DurableStore) -> None:
        """Neither the room nor its claim: the next can open it."""
        await self.room(store, "other")
        await store.add_event(make_event("other", id="e"))
        claim = RoomClaim(None, "c", "+1")
        with pytest.raises(StoreError):
            await store.open_room(
                claim, Room(id="r"), make_binding("c", "r"), [make_event("r", id="e")]
            )
        assert await store.get_room("r") is None
        opened = await store.open_room(claim, Room(id="r"), make_binding("c", "r"), [])
        assert opened.created

    @pytest.mark.usefixtures("tables")
    async def test_updates_of_what_is_missing_do_nothing(self, store: DurableStore) -> None:
        """They neither fail nor add."""
        await store.update_room(Room(id=ROOM))
        assert await store.list_rooms() == []
        await self.room(store)
        await store.update_event(make_event())
        await store.update_binding(make_binding("c"))
        await store.update_participant(Participant(id="p", room_id=ROOM, channel_id="c"))
        await store.update_task(Task(id="t", room_id=ROOM, title="x"))
        context = await store.load_context(ROOM)
        assert context is not None
        assert (context.bindings, context.participants, context.recent_events) == ([], [], [])
        assert await store.get_task("t") is None

    # -- what is read ---------------------------------------------------------------------

    async def test_what_is_added_again_is_replaced(self, store: DurableStore) -> None:
        """Bindings and participants, at the place they had."""
        await self.room(store)
        for name in ("a", "b"):
            await store.add_binding(make_binding(name))
            await store.add_participant(Participant(id=name, room_id=ROOM, channel_id="c"))
        await store.add_binding(make_binding("a", muted=True))
        await store.add_participant(
            Participant(id="a", room_id=ROOM, channel_id="c", display_name="Ann")
        )
        bindings = await store.list_bindings(ROOM)
        assert [(b.channel_id, b.muted) for b in bindings] == [("a", True), ("b", False)]
        people = await store.list_participants(ROOM)
        assert [(p.id, p.display_name) for p in people] == [("a", "Ann"), ("b", None)]

    async def test_what_is_read_is_the_readers(self, store: DurableStore) -> None:
        """Changing what a ``get`` or ``list`` returned, also in depth, changes nothing stored."""
        room = await self.room(store, metadata={"deep": {"n": 1}})
        await store.add_binding(make_binding("c", metadata={"deep": {"n": 1}}))
        await store.add_task(Task(id="t", room_id=ROOM, title="x", metadata={"deep": {"n": 1}}))
        room.metadata["deep"]["n"] = 2
        for _ in range(2):
            one = await store.get_room(ROOM)
            two = await store.get_binding(ROOM, "c")
            three = await store.get_task("t")
            for found in (one, two, three, *await store.list_rooms()):
                assert found is not None
                assert found.metadata == {"deep": {"n": 1}}
                found.metadata["deep"]["n"] = 3

    async def test_equal_times_keep_the_order_of_writing(self, store: DurableStore) -> None:
        """Rooms, events, tasks and observations made at the same moment stay in order."""
        for n in range(5):
            await self.room(store, f"r{n}", created_at=at(0))
            await store.add_event(make_event("r0", id=f"e{n}", created_at=at(0)))
            await store.add_task(Task(id=f"t{n}", room_id="r0", title="x", created_at=at(0)))
            seen = Observation(
                id=f"o{n}", room_id="r0", channel_id="c", content="x", created_at=at(0)
            )
            await store.add_observation(seen)
        assert ids(await store.list_rooms()) == [f"r{n}" for n in range(5)]
        assert ids(await store.find_rooms(status="active")) == [f"r{n}" for n in range(5)]
        assert ids(await store.list_events("r0")) == [f"e{n}" for n in range(5)]
        assert ids(await store.list_tasks("r0")) == [f"t{n}" for n in range(5)]
        assert ids(await store.list_observations("r0")) == [f"o{n}" for n in range(5)]
        await store.mark_read("r0", "c", "e1")
        assert await store.get_unread_count("r0", "c") == 3

    async def test_metadata_is_compared_key_by_key(self, store: DurableStore) -> None:
        """A top-level value must be equal: of its type, and as a whole."""
        cases = {
            "number": {"k": 1},
            "text": {"k": "1"},
            "true": {"k": True},
            "null": {"k": None},
            "deep": {"k": {"a": 1, "b": 2}},
            "list": {"k": [1, 2]},
            "none": {},
        }
        for name, metadata in cases.items():
            await self.room(store, name, metadata=metadata)
        for wanted, found in (
            ("1", ["text"]),
            ({"a": 1, "b": 2}, ["deep"]),
            ({"b": 2, "a": 1}, ["deep"]),
            ({"a": 1}, []),
            ([1, 2], ["list"]),
            ([2, 1], []),
            ([1], []),
        ):
            assert ids(await store.find_rooms(metadata_filter={"k": wanted})) == found
        assert "number" in ids(await store.find_rooms(metadata_filter={"k": 1}))
        assert "text" not in ids(await store.find_rooms(metadata_filter={"k": 1}))
        quoted = "a'b\"c.$[0]"
        await self.room(store, "quoted", metadata={quoted: quoted})
        assert ids(await store.find_rooms(metadata_filter={quoted: quoted})) == ["quoted"]
        assert len(await store.find_rooms(metadata_filter={})) == 8

    @pytest.mark.parametrize("name", ["'; DROP TABLE rooms; --", "%", "_", "\\", "ü\u2028", "a b"])
    async def test_names_are_data(self, store: DurableStore, name: str) -> None:
        """Quotes, wildcards and letters of any alphabet mean themselves everywhere."""
        await self.room(store, name, organization_id=name)
        await self.room(store, "other")
        await store.add_binding(make_binding(name, name, participant_id=name))
        await store.add_binding(make_binding("c", "other", participant_id="p"))
        event = make_event(name, id=name, channel_id=name, idempotency_key=name)
        await store.add_event(event)
        await store.create_identity(Identity(id=name, channel_addresses={name: [name]}))
        assert ids(await store.find_rooms(organization_id=name)) == [name]
        assert await store.find_room_id_by_channel(name) == name
        found = await store.find_room_for(
            name, name, recipient_key=name, statuses=("active", name)
        )
        assert found == name
        assert await store.check_idempotency(name, name)
        assert (await store.get_event(name)) == event.numbered(0)
        assert await store.find_event_by_channel_key(name, name) == event.numbered(0)
        latest = await store.find_latest_room(name)
        assert latest is not None
        assert latest.id == name
        who = await store.resolve_identity(name, name)
        assert who is not None
        assert who.id == name
        assert await store.delete_room(name)
        assert ids(await store.list_rooms()) == ["other"]
