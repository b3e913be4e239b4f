"""What the bulk calls do in every store, also where they are composed of the 36 methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.models.enums import RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.store.commit import CommitBatch, RoomClaim
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._store_base import StoreSuite, find, finish, ids
from roomkit.testing.conformance._suite import at

if TYPE_CHECKING:
    from roomkit.store.base import ConversationStore


class ComposedCases(StoreSuite):
    """Contexts, commits, routes, timers and deliveries, one caller at a time."""

    async def test_context_shows_the_newest_events(self, store: ConversationStore) -> None:
        """A context holds the newest events, oldest first, and the members in order."""
        await self.room(store)
        await self.say(store, 60)
        await store.add_binding(make_binding("a"))
        await store.add_binding(make_binding("b"))
        await store.add_participant(Participant(id="p", room_id="room-1", channel_id="a"))
        context = await store.load_context("room-1")
        assert context is not None
        assert [e.index for e in context.recent_events] == list(range(10, 60))
        assert [b.channel_id for b in context.bindings] == ["a", "b"]
        assert ids(context.participants) == ["p"]
        assert context.room.id == "room-1"
        short = await store.load_context("room-1", recent=2)
        assert short is not None
        assert [e.index for e in short.recent_events] == [58, 59]
        bare = await store.load_context("room-1", recent=0)
        assert bare is not None
        assert bare.recent_events == []
        assert await store.load_context("other") is None

    async def test_reload_shows_what_moved(self, store: ConversationStore) -> None:
        """A reloaded context shows events, bindings, participants and the room as they are."""
        await self.room(store)
        context = await store.load_context("room-1")
        assert context is not None
        assert await store.reload_context(context) == context
        await store.commit(CommitBatch("room-1", events=(make_event(),)))
        await store.add_binding(make_binding("a"))
        await store.add_participant(Participant(id="p", room_id="room-1", channel_id="a"))
        fresh = await store.reload_context(context)
        assert fresh is not None
        assert (len(fresh.recent_events), len(fresh.bindings), len(fresh.participants)) == (
            1,
            1,
            1,
        )
        assert fresh.room.event_count == 1
        await store.delete_room("room-1")
        assert await store.reload_context(fresh) is None

    async def test_commit_writes_everything(self, store: ConversationStore) -> None:
        """Events, members, room, effects, target and finishes of a batch are all stored."""
        await self.room(store)
        target = (await self.say(store, 1))[0]
        await store.add_binding(make_binding("old"))
        room = await store.get_room("room-1")
        assert room is not None
        events = (make_event(idempotency_key="a"), make_event(idempotency_key="b"))
        batch = CommitBatch(
            "room-1",
            events=events,
            target=target.edited(events[0].content),
            participants=(Participant(id="p", room_id="room-1", channel_id="c"),),
            bindings=(make_binding("new"),),
            removed_bindings=("old",),
            room=room.with_metadata({"m": 1}, at(9)),
            activity_at=at(8),
            tasks=(Task(id="t", room_id="room-1", title="x"),),
            observations=(Observation(id="o", room_id="room-1", channel_id="c", content="x"),),
        )
        result = await store.commit(batch)
        assert (result.duplicate_of, result.refused) == (None, None)
        assert [e.index for e in result.events] == [1, 2]
        assert ids(list(result.events)) == [event.id for event in events]
        assert await store.list_events("room-1", 1) == list(result.events)
        stored = await store.get_room("room-1")
        assert stored is not None
        assert (stored.event_count, stored.latest_index) == (3, 2)
        assert stored.metadata == {"m": 1}
        assert stored.timers.last_activity_at == at(8)
        edited = await store.get_event(target.id)
        assert edited is not None
        assert edited.metadata == {"edited": True}
        assert [b.channel_id for b in await store.list_bindings("room-1")] == ["new"]
        assert ids(await store.list_participants("room-1")) == ["p"]
        assert ids(await store.list_tasks("room-1")) == ["t"]
        assert ids(await store.list_observations("room-1")) == ["o"]

    async def test_commit_accepts_a_key_once(self, store: ConversationStore) -> None:
        """A batch whose key is known writes nothing and gives the first event."""
        await self.room(store)
        first = await store.commit(CommitBatch("room-1", (make_event(idempotency_key="k"),)))
        again = CommitBatch(
            "room-1",
            events=(make_event(), make_event(idempotency_key="k")),
            tasks=(Task(id="t", room_id="room-1", title="x"),),
        )
        result = await store.commit(again)
        assert result.events == ()
        assert result.duplicate_of == first.events[0]
        assert await store.get_event_count("room-1") == 1
        assert await store.list_tasks("room-1") == []

    @pytest.mark.parametrize("status", list(RoomStatus))
    async def test_commit_asks_for_an_open_room(
        self, store: ConversationStore, status: RoomStatus
    ) -> None:
        """Only ACTIVE and PAUSED rooms take events; SYSTEM and BLOCKED ones always enter."""
        await self.room(store, status=status)
        said = CommitBatch("room-1", (make_event(),), open_required=True)
        system = make_event(type="system")
        blocked = make_event(status="blocked")
        result = await store.commit(said)
        is_open = status in ("active", "paused")
        assert result.refused == (None if is_open else "room_closed")
        assert len(result.events) == is_open
        exempt = await store.commit(CommitBatch("room-1", (system, blocked), open_required=True))
        assert len(exempt.events) == 2
        free = await store.commit(CommitBatch("room-1", (make_event(),)))
        assert len(free.events) == 1

    async def test_results_of_deliveries_are_kept(self, store: ConversationStore) -> None:
        """``finish_deliveries`` adds to ``delivery_results``; a reaction has no result."""
        await self.room(store)
        event = (await self.say(store, 1))[0]
        for channel_id, result in (("a", {"status": "sent"}), ("b", {"status": "failed"})):
            await store.finish_deliveries([finish(event, channel_id, result)])
        await store.finish_deliveries([finish(event, "c", None)])
        stored = await store.get_event(event.id)
        assert stored is not None
        assert stored.delivery_results == {"a": {"status": "sent"}, "b": {"status": "failed"}}

    async def test_a_room_is_opened(self, store: ConversationStore) -> None:
        """``open_room`` stores the room, its binding and its first events."""
        opened = await store.open_room(
            RoomClaim(None, "c", "+1"),
            Room(id="r", created_at=at(0)),
            make_binding("c", "r"),
            [make_event("r")],
        )
        assert (opened.room_id, opened.created) == ("r", True)
        room = await store.get_room("r")
        assert room is not None
        assert room.event_count == 1
        assert await store.find_room_id_by_channel("c", "active") == "r"

    async def test_a_delivery_sees_the_present(self, store: ConversationStore) -> None:
        """``load_delivery`` gives event and binding as they are, None for what is gone."""
        await self.room(store)
        event = (await self.say(store, 1))[0]
        await store.add_binding(make_binding("a", muted=True))
        view = await store.load_delivery("room-1", event.id, "a")
        assert view.event == event
        assert view.binding is not None
        assert view.binding.muted
        await store.remove_binding("room-1", "a")
        gone = await store.load_delivery("room-1", "unknown", "a")
        assert (gone.event, gone.binding) == (None, None)

    async def test_find_event_by_key(self, store: ConversationStore) -> None:
        """The event of a key is found, as it stands now."""
        await self.room(store)
        event = (await self.say(store, 1, idempotency_key="k"))[0]
        await self.say(store, 3)
        assert await store.find_event_by_key("room-1", "k") == event
        await store.update_event(event.deleted())
        assert await store.find_event_by_key("room-1", "k") == event.deleted()
        assert await store.find_event_by_key("room-1", "other") is None
        assert await store.find_event_by_key("other", "k") is None

    async def test_route_prefers_the_room_that_names_the_sender(
        self, store: ConversationStore
    ) -> None:
        """Named rooms first, then those for everybody; another person's never."""
        await self.room(store, "open")
        await self.room(store, "ann")
        await self.room(store, "bob")
        await store.add_binding(make_binding("sms", "open"))
        for name, number in (("ann", "+1 (555) 1"), ("bob", "+15552")):
            await store.add_binding(make_binding("sms", name, metadata={"number": number}))
        assert await find(store, "sms", "+15551") == "ann"
        assert await find(store, "sms", "+1-555-2") == "bob"
        assert await find(store, "sms", "+15553") == "open"
        assert await find(store, "sms", "") == "open"
        await store.remove_binding("open", "sms")
        assert await find(store, "sms", "+15553") is None
        assert await find(store, "mail", "+15551") is None

    async def test_due_rooms(self, store: ConversationStore) -> None:
        """A room is due when its silence is longer than a timer of its status."""
        timers = RoomTimers(inactive_after_seconds=10, last_activity_at=at(0))
        await self.room(store, "r", timers=timers)
        await self.room(store, "silent", timers=RoomTimers(inactive_after_seconds=1))
        await self.room(store, "p", status=RoomStatus.PAUSED, timers=timers)
        assert await store.find_due_rooms(at(10)) == []
        assert await store.find_due_rooms(at(10.5)) == ["r"]
        room = await store.get_room("r")
        assert room is not None
        await store.update_room(room.moved_to(RoomStatus.PAUSED, at(11)))
        assert await store.find_due_rooms(at(99)) == []
