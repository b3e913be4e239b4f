"""Level two of stores: the kernel's promises, kept by the store itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.models.enums import RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Task
from roomkit.store.commit import CommitBatch, RoomClaim
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._store_base import find, finish, ids
from roomkit.testing.conformance._suite import at
from roomkit.testing.conformance.store36 import Store36Conformance
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore
    from roomkit.store.commit import OpenedRoom


class StoreConformance(Store36Conformance):
    """What our own stores promise: every bulk call is one transaction.

    Implement ``make_store``.
    """

    tells_version: ClassVar[bool | None] = None
    """Whether ``peek_version`` knows a room that was looked at; None: either will do."""

    # -- counters and commits ------------------------------------------------------------

    async def test_counters_are_the_stores(self, store: ConversationStore) -> None:
        """No Room a caller writes back can move ``event_count`` or ``latest_index``."""
        room = await self.room(store)
        await self.say(store, 3)
        room.event_count, room.latest_index = 99, 98
        await store.update_room(room)
        stored = await store.get_room("room-1")
        assert stored is not None
        assert (stored.event_count, stored.latest_index) == (3, 2)
        await store.commit(CommitBatch("room-1", room=room))
        listed = (await store.list_rooms())[0]
        assert (listed.event_count, listed.latest_index) == (3, 2)

    async def test_counters_are_seen_by_every_reader(self, store: ConversationStore) -> None:
        """After each event, every way to read the room tells the same count."""
        await self.room(store)
        await store.add_binding(make_binding("c", participant_id="ann"))
        for count in range(1, 4):
            await store.commit(CommitBatch("room-1", (make_event(),)))
            context = await store.load_context("room-1")
            assert context is not None
            rooms = [context.room, await store.get_room("room-1"), *await store.find_rooms()]
            rooms += [*await store.list_rooms(), await store.find_latest_room("ann")]
            assert {room.event_count for room in rooms if room is not None} == {count}
            assert {room.latest_index for room in rooms if room is not None} == {count - 1}
            assert await store.get_event_count("room-1") == count

    async def test_concurrent_commits_are_numbered_without_a_gap(
        self, store: ConversationStore
    ) -> None:
        """Indexes run 0, 1, 2, ... however many commit at once."""
        await self.room(store)
        batches = [
            CommitBatch("room-1", tuple(make_event(idempotency_key=f"{n}-{k}") for k in range(2)))
            for n in range(20)
        ]
        results = await asyncio.gather(*(store.commit(batch) for batch in batches))
        assert sorted(e.index for result in results for e in result.events) == list(range(40))
        assert all(r.events[1].index == r.events[0].index + 1 for r in results)
        await assert_invariants(store, [event for result in results for event in result.events])

    async def test_concurrent_repeats_are_accepted_once(self, store: ConversationStore) -> None:
        """Of many commits under one key one is stored, and all others name it."""
        await self.room(store)
        results = await asyncio.gather(
            *(
                store.commit(CommitBatch("room-1", (make_event(idempotency_key="k"),)))
                for _ in range(20)
            )
        )
        accepted = [result for result in results if result.events]
        assert len(accepted) == 1
        first = accepted[0].events[0]
        others = [result.duplicate_of for result in results if not result.events]
        assert {None if event is None else event.id for event in others} == {first.id}
        assert await store.get_event_count("room-1") == 1

    async def test_a_key_twice_in_one_batch_is_refused(self, store: ConversationStore) -> None:
        """Then nothing is written, and the earlier of the two is named."""
        await self.room(store)
        events = (make_event(idempotency_key="k"), make_event(idempotency_key="k"))
        result = await store.commit(CommitBatch("room-1", events))
        assert result.events == ()
        assert result.duplicate_of is not None
        assert result.duplicate_of.id == events[0].id
        assert await store.get_event_count("room-1") == 0
        assert await store.check_idempotency("room-1", "k") is False

    async def test_a_refused_batch_writes_nothing(self, store: ConversationStore) -> None:
        """Neither its events nor anything that came along with them."""
        await self.room(store, status=RoomStatus.CLOSED)
        target = (await self.say(store, 1))[0]
        batch = CommitBatch(
            "room-1",
            events=(make_event(type="system"), make_event(idempotency_key="k")),
            open_required=True,
            target=target.deleted(),
            participants=(Participant(id="p", room_id="room-1", channel_id="c"),),
            bindings=(make_binding("new"),),
            activity_at=at(5),
            tasks=(Task(id="t", room_id="room-1", title="x"),),
            finishes=(finish(target, "c", {"provider_message_id": "m"}),),
        )
        before = await store.load_context("room-1")
        assert (await store.commit(batch)).refused == "room_closed"
        assert await store.load_context("room-1") == before
        assert await store.list_tasks("room-1") == []
        assert await store.check_idempotency("room-1", "k") is False
        assert await store.find_event_by_provider_message_id("m") is None

    async def test_a_known_key_comes_before_a_closed_room(self, store: ConversationStore) -> None:
        """A repeat gets its first result also when the room has closed since."""
        room = await self.room(store)
        first = (await self.say(store, 1, idempotency_key="k"))[0]
        await store.update_room(room.moved_to(RoomStatus.CLOSED, at(1)))
        again = CommitBatch("room-1", (make_event(idempotency_key="k"),), open_required=True)
        assert (await store.commit(again)).duplicate_of == first

    async def test_a_batch_may_close_the_room_it_writes_to(self, store: ConversationStore) -> None:
        """The status asked for is the one before the batch; the indexes know the new one."""
        room = await self.room(store)
        await store.add_binding(make_binding("c"))
        closing = CommitBatch(
            "room-1",
            (make_event(),),
            open_required=True,
            room=room.moved_to(RoomStatus.CLOSED, at(1)),
        )
        assert len((await store.commit(closing)).events) == 1
        assert await store.find_room_id_by_channel("c", "active") is None
        assert ids(await store.find_rooms(status="closed")) == ["room-1"]

    async def test_activity_never_goes_back(self, store: ConversationStore) -> None:
        """``activity_at`` moves ``last_activity_at`` forward only."""
        await self.room(store)
        for moment, expected in ((5, 5), (3, 5), (7, 7)):
            await store.commit(CommitBatch("room-1", activity_at=at(moment)))
            room = await store.get_room("room-1")
            assert room is not None
            assert room.timers.last_activity_at == at(expected)

    async def test_what_was_handed_in_may_be_changed(self, store: ConversationStore) -> None:
        """Rooms, bindings, participants and tasks are copied on the way in."""
        room = await self.room(store)
        binding, task = make_binding("c"), Task(id="t", room_id="room-1", title="x")
        person = Participant(id="p", room_id="room-1", channel_id="c")
        await store.commit(
            CommitBatch("room-1", participants=(person,), bindings=(binding,), tasks=(task,))
        )
        room.status, binding.muted = RoomStatus.CLOSED, True
        person.display_name, task.title = "changed", "changed"
        context = await store.load_context("room-1")
        assert context is not None
        assert context.room.status == "active"
        assert not context.bindings[0].muted
        assert context.participants[0].display_name is None
        assert (await store.list_tasks("room-1"))[0].title == "x"
        assert await store.find_room_id_by_channel("c", "closed") is None

    # -- opening rooms and finding them --------------------------------------------------

    async def _open(
        self, store: ConversationStore, room_id: str, claim: RoomClaim, **binding: Any
    ) -> OpenedRoom:
        return await store.open_room(
            claim, Room(id=room_id), make_binding("c", room_id, **binding), [make_event(room_id)]
        )

    async def test_one_room_a_claim(self, store: ConversationStore) -> None:
        """Of many first contacts one opens a room, and all get it; other senders another."""
        claim = RoomClaim("org", "c", "+1")
        opened = await asyncio.gather(*(self._open(store, f"r{n}", claim) for n in range(10)))
        assert len({one.room_id for one in opened}) == 1
        assert [one.created for one in opened].count(True) == 1
        assert len(await store.list_rooms()) == 1
        assert (await self._open(store, "s", RoomClaim("org", "c", "+2"))).created
        assert (await self._open(store, "t", RoomClaim(None, "c", "+1"))).created

    async def test_a_claim_returns_when_its_room_ends(self, store: ConversationStore) -> None:
        """A room that is closed or deleted frees its claim."""
        claim = RoomClaim(None, "c", "+1")
        await self._open(store, "r1", claim)
        room = await store.get_room("r1")
        assert room is not None
        await store.update_room(room.moved_to(RoomStatus.CLOSED, at(1)))
        assert (await self._open(store, "r2", claim)).created
        assert (await self._open(store, "r3", claim)).room_id == "r2"
        await store.delete_room("r2")
        assert (await self._open(store, "r4", claim)).created
        await store.delete_room("r1")
        assert (await self._open(store, "r5", claim)).room_id == "r4"

    async def test_routes_follow_every_change(self, store: ConversationStore) -> None:
        """Status, names and bindings move a room between routes, after the first question."""
        for name in ("r0", "r1"):
            await self.room(store, name)
            await store.add_binding(make_binding("c", name, metadata={"number": "+1"}))
        assert await find(store, "c", "+1") == "r0"
        room = await store.get_room("r0")
        assert room is not None
        await store.update_room(room.moved_to(RoomStatus.PAUSED, at(9)))
        assert await find(store, "c", "+1") == "r1"
        assert await find(store, "c", "+1", "paused", "active") == "r0"
        await store.update_binding(make_binding("c", "r1", metadata={"number": "+2"}))
        assert await find(store, "c", "+1") is None
        assert await find(store, "c", "+1", "active", "paused") == "r0"
        await store.update_binding(make_binding("c", "r1", participant_id="Ann"))
        assert await find(store, "c", "ann") == "r1"
        await store.update_binding(make_binding("c", "r1", category="intelligence"))
        assert await find(store, "c", "anybody") == "r1"
        await store.delete_room("r1")
        assert await find(store, "c", "anybody") is None

    async def test_a_key_is_found_however_old(self, store: ConversationStore) -> None:
        """``find_event_by_key`` knows every event of the room."""
        await self.room(store)
        first = (await self.say(store, 1, idempotency_key="k"))[0]
        events = tuple(make_event() for _ in range(600))
        await store.commit(CommitBatch("room-1", events))
        assert await store.find_event_by_key("room-1", "k") == first

    async def test_a_key_is_found_by_its_channel(self, store: ConversationStore) -> None:
        """Also after the room has closed, until it is deleted."""
        room = await self.room(store)
        event = (await self.say(store, 1, idempotency_key="k", channel_id="c"))[0]
        await store.update_room(room.moved_to(RoomStatus.CLOSED, at(1)))
        assert await store.find_event_by_channel_key("c", "k") == event
        assert await store.find_event_by_channel_key("d", "k") is None
        assert await store.find_event_by_channel_key("c", "l") is None
        await store.delete_room("room-1")
        assert await store.find_event_by_channel_key("c", "k") is None

    # -- deliveries ----------------------------------------------------------------------

    async def test_a_vendors_id_leads_back(self, store: ConversationStore) -> None:
        """An event is found by the message id a vendor gave one of its deliveries."""
        await self.room(store)
        one, two = await self.say(store, 2)
        results: list[tuple[RoomEvent, str, str]] = [(one, "a", "m1"), (one, "b", "m2")]
        for event, channel_id, message_id in results:
            result = {"status": "sent", "provider_message_id": message_id}
            await store.finish_deliveries([finish(event, channel_id, result)])
        batch = CommitBatch("room-1", finishes=(finish(two, "a", {"provider_message_id": "m3"}),))
        await store.commit(batch)
        for message_id, event, channel_id in (("m2", one, "b"), ("m3", two, "a")):
            found = await store.find_event_by_provider_message_id(message_id)
            assert found is not None
            assert (found[0].id, found[1]) == (event.id, channel_id)
            assert found[0].delivery_results[channel_id]["provider_message_id"] == message_id
        assert await store.find_event_by_provider_message_id("m4") is None
        await store.delete_room("room-1")
        assert await store.find_event_by_provider_message_id("m1") is None

    async def test_finishes_of_one_event_are_all_kept(self, store: ConversationStore) -> None:
        """Deliveries that end at the same time do not overwrite each other."""
        await self.room(store)
        event = (await self.say(store, 1))[0]
        names = [f"c{n}" for n in range(10)]
        await asyncio.gather(
            *(store.finish_deliveries([finish(event, name, {"n": name})]) for name in names)
        )
        stored = await store.get_event(event.id)
        assert stored is not None
        assert stored.delivery_results == {name: {"n": name} for name in names}

    async def test_version_moves_with_what_lanes_depend_on(self, store: ConversationStore) -> None:
        """Bindings and contents move it, new events and delivery results do not.

        A store that cannot tell without asking says None.
        """
        await self.room(store)
        event = (await self.say(store, 1))[0]
        before = await self._version(store)
        await self.say(store, 1)
        await store.commit(CommitBatch("room-1", (make_event(),)))
        await store.finish_deliveries([finish(event, "c", {"status": "sent"})])
        assert await self._version(store) in (before, None)
        seen = [await self._version(store)]
        await store.add_binding(make_binding("c"))
        seen.append(await self._version(store))
        await store.update_binding(make_binding("c", muted=True))
        seen.append(await self._version(store))
        await store.remove_binding("room-1", "c")
        seen.append(await self._version(store))
        await store.commit(CommitBatch("room-1", target=event.deleted()))
        seen.append(await self._version(store))
        await store.update_event(event.edited(event.content))
        seen.append(await self._version(store))
        known = [version for version in seen if version is not None]
        assert len(set(known)) == len(known)
        assert self.tells_version is None or bool(known) == self.tells_version

    async def _version(self, store: ConversationStore) -> int | None:
        """Return what the store says right after it was written to, and what after a look."""
        at_once = store.peek_version("room-1")
        await store.look("room-1")
        looked = store.peek_version("room-1")
        assert at_once is None or looked is None or at_once == looked
        return looked

    # -- timers --------------------------------------------------------------------------

    async def test_due_rooms_follow_every_change(self, store: ConversationStore) -> None:
        """Messages put a room off, other timers bring it nearer, its end takes it out."""
        room = await self.room(
            store, timers=RoomTimers(inactive_after_seconds=10, last_activity_at=at(0))
        )
        assert await store.find_due_rooms(at(20)) == ["room-1"]
        await store.commit(CommitBatch("room-1", (make_event(),), activity_at=at(15)))
        assert await store.find_due_rooms(at(20)) == []
        assert await store.find_due_rooms(at(26)) == ["room-1"]
        assert await store.find_due_rooms(at(26)) == ["room-1"]
        room = room.timed(RoomTimers(closed_after_seconds=2, last_activity_at=at(15)))
        await store.update_room(room)
        assert await store.find_due_rooms(at(18)) == ["room-1"]
        await store.update_room(room.moved_to(RoomStatus.CLOSED, at(18)))
        assert await store.find_due_rooms(at(99)) == []

    async def test_a_first_message_starts_the_timers(self, store: ConversationStore) -> None:
        """A silent room runs no timer until something is said."""
        await self.room(store, timers=RoomTimers(inactive_after_seconds=1))
        assert await store.find_due_rooms(at(50)) == []
        await store.commit(CommitBatch("room-1", (make_event(),), activity_at=at(50)))
        assert await store.find_due_rooms(at(52)) == ["room-1"]

    async def test_a_deleted_room_is_never_due(self, store: ConversationStore) -> None:
        """Its timers end with it."""
        timers = RoomTimers(closed_after_seconds=1, last_activity_at=at(0))
        await self.room(store, timers=timers)
        await store.delete_room("room-1")
        assert await store.find_due_rooms(at(99)) == []
