"""What only the in-memory store promises: sharing, unknown rooms, no weight left behind."""

from __future__ import annotations

import cProfile
import gc
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    RecordStatus,
    RoomClaim,
)
from roomkit.store.memory import InMemoryStore
from roomkit.testing import make_binding, make_event

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

START = datetime(2026, 1, 1, tzinfo=UTC)


def sent(event: RoomEvent, channel_id: str = "c") -> DeliveryFinish:
    result = {"status": "sent", "provider_message_id": f"vendor-{event.id}"}
    kind, status = DeliveryKind.DELIVER, RecordStatus.DONE
    return DeliveryFinish("d", event.id, channel_id, kind, status, result)


class TestSharing:
    """Snapshots are shared; the same object again means that nothing has moved."""

    async def test_events_are_stored_as_they_are(self, store: InMemoryStore) -> None:
        """An event whose number is right already is not copied; pages are lists of their own."""
        event = make_event(index=0)
        assert await store.add_event(event) is event
        result = await store.commit(CommitBatch("room-1", (make_event(index=1),)))
        page = await store.list_events("room-1")
        assert page == [event, result.events[0]]
        page.clear()
        assert await store.get_event_count("room-1") == 2

    async def test_stored_event_ignores_the_status_it_has(self, store: InMemoryStore) -> None:
        """A commit changes nothing about an event but its index."""
        event = make_event(index=4)
        stored = (await store.commit(CommitBatch("room-1", (event,)))).events[0]
        assert stored == event.numbered(0)
        assert stored.status == "pending"

    async def test_reload_returns_the_same_context(self, store: InMemoryStore) -> None:
        """As long as nothing a context shows has changed, however many took one."""
        await store.create_room(Room(id="room-1"))
        one, two = await store.load_context("room-1"), await store.load_context("room-1")
        assert one is not None
        assert two is not None
        assert one.bindings is not two.bindings
        await store.get_room("room-1")
        await store.add_task(Task(id="t", room_id="room-1", title="x"))
        assert await store.reload_context(one) is one
        assert await store.reload_context(two) is two

    @pytest.mark.parametrize(
        "change",
        ["event", "edit", "result", "bind", "unbind", "join", "room", "same room", "activity"],
    )
    async def test_reload_shows_every_change(self, store: InMemoryStore, change: str) -> None:
        """Whatever moves in a room makes the next reload a new context."""
        await store.create_room(Room(id="room-1"))
        await store.add_binding(make_binding("old"))
        event = await store.add_event(make_event())
        context = await store.load_context("room-1")
        assert context is not None
        room = await store.get_room("room-1")
        assert room is not None
        batches = {
            "event": CommitBatch("room-1", (make_event(),)),
            "edit": CommitBatch("room-1", target=event.deleted()),
            "result": CommitBatch("room-1", finishes=(sent(event),)),
            "bind": CommitBatch("room-1", bindings=(make_binding("new"),)),
            "unbind": CommitBatch("room-1", removed_bindings=("old",)),
            "join": CommitBatch(
                "room-1", participants=(Participant(id="p", room_id="room-1", channel_id="c"),)
            ),
            "room": CommitBatch("room-1", room=room.with_metadata({"a": 1}, START)),
            "same room": CommitBatch("room-1", room=room),
            "activity": CommitBatch("room-1", activity_at=START),
        }
        await store.commit(batches[change])
        again = await store.reload_context(context)
        assert again is not None
        assert again is not context
        assert await store.reload_context(again) is again

    async def test_what_is_handed_in_is_copied(self, store: InMemoryStore) -> None:
        """The 36 methods keep nothing their caller can assign to."""
        room, binding = Room(id="room-1"), make_binding("c")
        person = Participant(id="p", room_id="room-1", channel_id="c")
        task = Task(id="t", room_id="room-1", title="x")
        seen = Observation(id="o", room_id="room-1", channel_id="c", content="x")
        ann = Identity(id="ann", channel_addresses={"sms": ["+1"]})
        assert await store.create_room(room) is room
        assert await store.add_binding(binding) is binding
        assert await store.add_participant(person) is person
        assert await store.add_task(task) is task
        assert await store.add_observation(seen) is seen
        assert await store.create_identity(ann) is ann
        room.status, binding.muted, person.display_name = RoomStatus.CLOSED, True, "y"
        task.title, seen.content, ann.display_name = "y", "y", "y"
        ann.channel_addresses["sms"].append("+2")
        context = await store.load_context("room-1")
        assert context is not None
        assert context.room.status == "active"
        assert not context.bindings[0].muted
        assert context.participants[0].display_name is None
        assert (await store.list_tasks("room-1"))[0].title == "x"
        assert (await store.list_observations("room-1"))[0].content == "x"
        stored = await store.resolve_identity("sms", "+1")
        assert stored is not None
        assert stored.display_name is None
        assert stored.channel_addresses == {"sms": ["+1"]}

    async def test_indexes_survive_a_caller_who_changes_what_it_holds(
        self, store: InMemoryStore
    ) -> None:
        """Even shared objects changed against the rules leave nothing behind in an index."""
        await store.create_room(Room(id="room-1"))
        binding = make_binding("c", participant_id="ann", metadata={"to": "+1"})
        await store.add_binding(binding)
        named = {"recipient_key": "to", "statuses": ["active"]}
        assert await store.find_room_for("c", "ann", **named) == "room-1"
        context = await store.load_context("room-1")
        assert context is not None
        context.bindings[0].participant_id = "bob"
        context.bindings[0].metadata["to"] = "+2"
        await store.update_binding(make_binding("c", participant_id="eve"))
        assert await store.find_latest_room("ann") is None
        assert await store.find_latest_room("bob") is None
        assert await store.find_room_for("c", "+1", **named) is None
        assert await store.find_room_for("c", "eve", **named) == "room-1"


class TestUnknownRooms:
    """Things may belong to rooms that were never created."""

    async def test_children_come_before_their_room(self, store: InMemoryStore) -> None:
        """They are kept, belong to the room once it is created, and are found from then on."""
        await store.add_event(make_event(idempotency_key="k"))
        await store.add_binding(make_binding("c", participant_id="ann"))
        await store.add_participant(Participant(id="bob", room_id="room-1", channel_id="c"))
        assert await store.get_room("room-1") is None
        assert await store.load_context("room-1") is None
        assert await store.list_rooms() == []
        assert await store.find_room_id_by_channel("c") is None
        assert await store.find_latest_room("ann") is None
        assert await store.delete_room("room-1") is False
        await store.create_room(Room(id="room-1"))
        room = await store.find_latest_room("ann")
        assert room is not None
        assert room.event_count == 1
        assert await store.find_latest_room("bob") is not None
        assert await store.find_room_id_by_channel("c") == "room-1"

    async def test_commit_to_an_unknown_room(self, store: InMemoryStore) -> None:
        """It is refused where an open room is asked for, and stored otherwise."""
        asked = CommitBatch("room-1", (make_event(),), open_required=True)
        assert (await store.commit(asked)).refused == "room_closed"
        free = await store.commit(CommitBatch("room-1", (make_event(),), activity_at=START))
        assert [event.index for event in free.events] == [0]

    async def test_create_again_keeps_what_belongs_to_the_room(self, store: InMemoryStore) -> None:
        """A room created twice is replaced, at its place in the order."""
        for name in ("room-1", "room-2", "room-1"):
            await store.create_room(Room(id=name, metadata={"name": name}))
            await store.add_event(make_event(name))
        assert [room.id for room in await store.list_rooms()] == ["room-1", "room-2"]
        room = await store.get_room("room-1")
        assert room is not None
        assert room.event_count == 2

    async def test_update_adds_what_is_missing(self, store: InMemoryStore) -> None:
        """``update_*`` of an unknown room, binding, participant or task stores it."""
        await store.update_room(Room(id="room-1"))
        await store.update_binding(make_binding("c"))
        await store.update_participant(Participant(id="p", room_id="room-1", channel_id="c"))
        await store.update_task(Task(id="t", room_id="room-1", title="x"))
        context = await store.load_context("room-1")
        assert context is not None
        assert (len(context.bindings), len(context.participants)) == (1, 1)
        assert await store.get_task("t") is not None


class TestRepeatedIds:
    """Two of the same id: what happens is decided, not left to chance."""

    async def test_an_event_added_twice_is_listed_twice(self, store: InMemoryStore) -> None:
        """Its id means the later one."""
        event = make_event(idempotency_key="k")
        first, second = await store.add_event(event), await store.add_event(event)
        assert await store.list_events("room-1") == [first, second]
        assert await store.get_event(event.id) == second
        assert await store.find_event_by_key("room-1", "k") == first

    async def test_a_key_of_one_channel_in_two_rooms(self, store: InMemoryStore) -> None:
        """The first one is found; when its room goes, the next one."""
        events = []
        for name in ("r1", "r2", "r3"):
            await store.create_room(Room(id=name))
            events.append(await store.add_event(make_event(name, idempotency_key="k")))
        assert await store.find_event_by_channel_key("channel-1", "k") == events[0]
        await store.delete_room("r2")
        await store.delete_room("r1")
        assert await store.find_event_by_channel_key("channel-1", "k") == events[2]
        await store.delete_room("r3")
        assert await store.find_event_by_channel_key("channel-1", "k") is None

    async def test_a_task_moves_with_its_room_id(self, store: InMemoryStore) -> None:
        """Stored again under another room it leaves the first one."""
        await store.add_task(Task(id="t", room_id="r1", title="x"))
        await store.update_task(Task(id="t", room_id="r2", title="x"))
        assert await store.list_tasks("r1") == []
        assert len(await store.list_tasks("r2")) == 1

    async def test_the_newer_of_two_rooms_made_at_once(self, store: InMemoryStore) -> None:
        """Of rooms with one ``created_at`` the one stored later is the latest."""
        for name in ("r1", "r2"):
            await store.create_room(Room(id=name, created_at=START))
            await store.add_participant(Participant(id="ann", room_id=name, channel_id="c"))
        room = await store.find_latest_room("ann")
        assert room is not None
        assert room.id == "r2"

    async def test_a_person_bound_twice(self, store: InMemoryStore) -> None:
        """One binding less of a person does not take them out of the room."""
        await store.create_room(Room(id="room-1"))
        for name in ("a", "b"):
            await store.add_binding(make_binding(name, participant_id="ann"))
        await store.remove_binding("room-1", "a")
        assert await store.find_latest_room("ann") is not None
        await store.update_binding(make_binding("b", participant_id="bob"))
        assert await store.find_latest_room("ann") is None


class TestAllOrNothing:
    """A batch that cannot be written leaves no trace, whatever is wrong with it."""

    async def test_a_broken_batch_writes_nothing(self, store: InMemoryStore) -> None:
        """The error reaches the caller before the first write."""
        await store.create_room(Room(id="room-1"))
        broken = Room(id="room-1")
        broken.created_at = None  # type: ignore[assignment]  # what a careless caller may do
        batch = CommitBatch("room-1", (make_event(idempotency_key="k"),), room=broken)
        with pytest.raises(AttributeError):
            await store.commit(batch)
        assert await store.get_event_count("room-1") == 0
        assert await store.check_idempotency("room-1", "k") is False

    async def test_events_enter_the_room_of_the_batch(self, store: InMemoryStore) -> None:
        """Also when they were made for another one."""
        result = await store.commit(CommitBatch("room-1", (make_event("elsewhere"),)))
        assert result.events[0].room_id == "room-1"
        assert await store.get_event_count("elsewhere") == 0

    async def test_times_without_a_timezone(self, store: InMemoryStore) -> None:
        """They neither stop a commit nor a sweep."""
        timers = RoomTimers(inactive_after_seconds=1, last_activity_at=datetime(2026, 1, 1))  # noqa: DTZ001
        await store.create_room(Room(id="room-1", timers=timers))
        await store.create_room(Room(id="room-2", timers=RoomTimers(closed_after_seconds=10**12)))
        for name in ("room-1", "room-2"):
            await store.commit(CommitBatch(name, activity_at=START + timedelta(days=2)))
        assert await store.find_due_rooms(START + timedelta(days=3)) == ["room-1"]


class TestNothingStays:
    """What is gone weighs nothing."""

    async def test_deleted_rooms_leave_no_memory(self) -> None:
        """At most 100 bytes a room, of everything a room can have."""
        store = InMemoryStore()
        await self._lives(store, 50)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await self._lives(store, 1000)
            gc.collect()
            left = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert await store.list_rooms() == []
        assert left / 1000 <= 100

    async def _lives(self, store: InMemoryStore, count: int) -> None:
        """Let many rooms live side by side, and end."""
        names = [f"r{n}" for n in range(count)]
        for name in names:
            timers = RoomTimers(closed_after_seconds=10**9, last_activity_at=START)
            room = Room(id=name, organization_id=f"org-{name}", timers=timers)
            claim = RoomClaim(None, "c", name)
            await store.open_room(claim, room, make_binding("c", name, participant_id=name))
            await store.add_binding(make_binding(f"c-{name}", name))
            await store.find_room_for(f"c-{name}", "x", recipient_key=None, statuses=["active"])
            await store.add_participant(Participant(id=name, room_id=name, channel_id="c"))
            event = make_event(name, idempotency_key=name, channel_id=f"c-{name}")
            stored = (await store.commit(CommitBatch(name, (event,), activity_at=START))).events[0]
            await store.finish_deliveries([sent(stored)])
            await store.add_task(Task(id=f"t-{name}", room_id=name, title="x"))
            await store.mark_all_read(name, "c")
        for name in names:
            closing = await store.get_room(name)
            assert closing is not None
            await store.update_room(closing.moved_to(RoomStatus.CLOSED, START))
        for name in names:
            assert await store.delete_room(name)

    async def test_rooms_that_move_leave_no_memory(self) -> None:
        """A room may pause and resume for ever beside an older one."""
        store = InMemoryStore()
        for name in ("old", "busy"):
            await store.create_room(Room(id=name))
            await store.add_binding(make_binding("c", name, participant_id="ann"))
        await store.find_room_for("c", "ann", recipient_key=None, statuses=["active"])
        await self._pause_and_resume(store, 50)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await self._pause_and_resume(store, 500)
            gc.collect()
            left = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert left <= 10_000
        assert await store.find_room_id_by_channel("c", "active") == "old"

    async def _pause_and_resume(self, store: InMemoryStore, times: int) -> None:
        room = await store.get_room("busy")
        assert room is not None
        for n in range(times):
            timers = RoomTimers(
                inactive_after_seconds=10**6 - n, last_activity_at=START + timedelta(seconds=n)
            )
            room = room.moved_to(RoomStatus.PAUSED, START).timed(timers)
            await store.update_room(room)
            room = room.moved_to(RoomStatus.ACTIVE, START)
            await store.update_room(room)


class TestCost:
    """Calls cost the same however much is stored: counted in function calls."""

    async def test_an_event_and_an_idle_room_are_small(self) -> None:
        """What the store adds to an event, and a whole idle room, in bytes."""
        store = InMemoryStore()
        await store.create_room(Room(id="r"))
        events = [make_event("r", index=n) for n in range(2000)]
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for event in events:
                await store.commit(CommitBatch("r", (event,)))
            of_events = (tracemalloc.get_traced_memory()[0] - before) / 2000
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for n in range(500):
                await store.create_room(Room(id=f"r{n}"))
                binding = ChannelBinding(
                    channel_id=f"c{n}",
                    room_id=f"r{n}",
                    channel_type=ChannelType.SMS,
                    metadata={"phone_number": f"+{n}"},
                )
                await store.add_binding(binding)
            del binding
            gc.collect()
            of_rooms = (tracemalloc.get_traced_memory()[0] - before) / 500
        finally:
            tracemalloc.stop()
        assert of_events <= 250
        assert of_rooms <= 6000

    async def test_lookups_do_not_grow(self) -> None:
        """As many calls among 1,000 rooms and events as among 10."""
        assert await self._calls(10) == await self._calls(1000)

    async def _calls(self, size: int) -> list[int]:
        store = InMemoryStore()
        for n in range(size):
            timers = RoomTimers(inactive_after_seconds=60, last_activity_at=START)
            await store.create_room(Room(id=f"r{n}", timers=timers))
            await store.add_binding(make_binding("c", f"r{n}", metadata={"to": f"+{n}"}))
            await store.add_participant(Participant(id="ann", room_id=f"r{n}", channel_id="c"))
            await store.add_event(make_event("r0", idempotency_key=f"k{n}"))
        named = {"recipient_key": "to", "statuses": ["active"]}
        await store.find_room_for("c", "+1", **named)
        await store.find_latest_room("ann")
        questions = [
            lambda: store.find_room_for("c", "+7", **named),
            lambda: store.find_room_for("c", "+999999", **named),
            lambda: store.find_latest_room("ann", status="active"),
            lambda: store.find_room_id_by_channel("c", "active"),
            lambda: store.find_due_rooms(START),
            lambda: store.find_event_by_key("r0", "k5"),
            lambda: store.find_event_by_channel_key("channel-1", "k5"),
            lambda: store.get_unread_count("r0", "c"),
            lambda: store.list_events("r0", 5, 5),
            lambda: store.load_context("r0", 5),
            lambda: store.commit(CommitBatch("r0", (make_event("r0"),), open_required=True)),
        ]
        return [await self._count(question) for question in questions]

    async def _count(self, question: object) -> int:
        profile = cProfile.Profile()
        assert callable(question)
        profile.enable()
        await question()
        profile.disable()
        return sum(entry.callcount for entry in profile.getstats())


class TestContent:
    """Odds and ends of the contract."""

    async def test_recent_may_be_zero_or_negative(self, store: InMemoryStore) -> None:
        """Then a context shows no events at all."""
        await store.create_room(Room(id="room-1"))
        await store.add_event(make_event(content=TextContent(body="x")))
        for recent in (0, -1):
            context = await store.load_context("room-1", recent=recent)
            assert context is not None
            assert context.recent_events == []
        assert await store.list_events("room-1", offset=-5, limit=1) != []
        assert await store.list_events("room-1", limit=-1) == []
