"""What every store does with what belongs to a room, and with identities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import EventStatus, TaskStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.task import Observation, Task
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._store_base import StoreSuite, ids
from roomkit.testing.conformance._suite import at

if TYPE_CHECKING:
    from roomkit.store.base import ConversationStore


class ChildCases(StoreSuite):
    """Events, bindings, participants, identities, tasks, observations and read markers."""

    # -- events --------------------------------------------------------------------------

    async def test_events_are_numbered_by_the_store(self, store: ConversationStore) -> None:
        """``add_event`` gives the next index, whatever the event says, and returns it so."""
        await self.room(store)
        given = make_event(index=7)
        first = await store.add_event(given)
        second = await store.add_event(make_event(index=7))
        assert (first.index, second.index) == (0, 1)
        assert first.id == given.id
        assert [e.index for e in await store.list_events("room-1")] == [0, 1]
        assert await store.get_event(first.id) == first

    async def test_timeline_is_read_in_pages(self, store: ConversationStore) -> None:
        """``list_events`` is in index order, also when all events bear the same time."""
        await self.room(store)
        await self.say(store, 7, created_at=at(0))
        pages = [await store.list_events("room-1", offset, 3) for offset in (0, 3, 6, 9)]
        assert [[e.index for e in page] for page in pages] == [[0, 1, 2], [3, 4, 5], [6], []]
        assert await store.list_events("other") == []

    async def test_visibility_filter_is_exact_and_comes_first(
        self, store: ConversationStore
    ) -> None:
        """Only events of just this visibility count for offset and limit."""
        await self.room(store)
        for visibility in ("all", "internal", "all", "a,b", "all"):
            await store.add_event(make_event(visibility=visibility))
        page = await store.list_events("room-1", 1, 5, visibility_filter="all")
        assert [e.index for e in page] == [2, 4]
        assert await store.list_events("room-1", visibility_filter="a") == []
        changed = (await store.list_events("room-1"))[1].visible_as("all")
        await store.update_event(changed)
        page = await store.list_events("room-1", visibility_filter="all")
        assert [e.index for e in page] == [0, 1, 2, 4]

    async def test_update_event_keeps_its_place(self, store: ConversationStore) -> None:
        """A changed event stands where it stood, with every changed field."""
        await self.room(store)
        events = await self.say(store, 3)
        changed = events[1].blocked("gate").with_metadata(edited=True)
        changed = changed.with_results({"c": {"status": "sent"}}).said_by("somebody")
        await store.update_event(changed)
        stored = await store.get_event(changed.id)
        assert stored == changed
        assert ids(await store.list_events("room-1")) == ids(events)
        unknown = make_event()
        await store.update_event(unknown)
        assert await store.get_event(unknown.id) is None
        assert await store.get_event_count("room-1") == 3

    async def test_keys_belong_to_rooms(self, store: ConversationStore) -> None:
        """A key is known in its room only, whatever the event's status; "" is no key."""
        await self.room(store)
        await self.room(store, "r2")
        await store.add_event(make_event(idempotency_key="k", status=EventStatus.BLOCKED))
        await store.add_event(make_event(idempotency_key=""))
        assert await store.check_idempotency("room-1", "k") is True
        assert await store.check_idempotency("r2", "k") is False
        assert await store.check_idempotency("room-1", "") is False

    # -- bindings and participants -------------------------------------------------------

    async def test_bindings(self, store: ConversationStore) -> None:
        """Bindings are kept by room and channel, in the order they came, and replaced there."""
        await self.room(store)
        for name in ("a", "b", "c"):
            await store.add_binding(make_binding(name, metadata={"n": name}))
        await store.update_binding(make_binding("b", muted=True, metadata={"n": 1}))
        assert [b.channel_id for b in await store.list_bindings("room-1")] == ["a", "b", "c"]
        binding = await store.get_binding("room-1", "b")
        assert binding is not None
        assert binding.muted
        assert binding.metadata == {"n": 1}
        binding.muted = False
        again = await store.get_binding("room-1", "b")
        assert again is not None
        assert again.muted
        assert await store.remove_binding("room-1", "b") is True
        assert await store.remove_binding("room-1", "b") is False
        assert await store.get_binding("room-1", "b") is None
        assert await store.get_binding("other", "a") is None

    async def test_participants(self, store: ConversationStore) -> None:
        """Participants are kept by room and id, in the order they joined."""
        await self.room(store)
        for name in ("a", "b"):
            await store.add_participant(Participant(id=name, room_id="room-1", channel_id="c"))
        changed = Participant(id="a", room_id="room-1", channel_id="c", display_name="Ann")
        await store.update_participant(changed)
        assert ids(await store.list_participants("room-1")) == ["a", "b"]
        ann = await store.get_participant("room-1", "a")
        assert ann is not None
        assert ann.display_name == "Ann"
        ann.display_name = "nobody"
        again = await store.get_participant("room-1", "a")
        assert again is not None
        assert again.display_name == "Ann"
        assert await store.get_participant("room-1", "x") is None
        assert await store.list_participants("other") == []

    # -- identities, tasks, observations -------------------------------------------------

    async def test_identities(self, store: ConversationStore) -> None:
        """An identity is found by its addresses, those linked later too."""
        ann = Identity(id="ann", display_name="Ann", channel_addresses={"sms": ["+1"]})
        await store.create_identity(ann)
        await store.create_identity(Identity(id="bob"))
        await store.link_address("ann", "email", "a@x")
        await store.link_address("ann", "email", "a@x")
        await store.link_address("nobody", "sms", "+9")
        for channel_type, address in (("sms", "+1"), ("email", "a@x")):
            found = await store.resolve_identity(channel_type, address)
            assert found is not None
            assert found.id == "ann"
        assert await store.resolve_identity("email", "+1") is None
        assert await store.resolve_identity("sms", "+9") is None
        stored = await store.get_identity("ann")
        assert stored is not None
        assert stored.channel_addresses == {"sms": ["+1"], "email": ["a@x"]}
        await store.link_address("bob", "sms", "+1")
        moved = await store.resolve_identity("sms", "+1")
        assert moved is not None
        assert moved.id == "bob"
        assert await store.get_identity("nobody") is None

    async def test_tasks(self, store: ConversationStore) -> None:
        """Tasks are listed by room and status; a status may be a plain string."""
        await self.room(store)
        for n in range(3):
            await store.add_task(Task(id=f"t{n}", room_id="room-1", title="x", created_at=at(n)))
        task = await store.get_task("t1")
        assert task is not None
        task.status = "completed"  # type: ignore[assignment]  # what callers do
        await store.update_task(task)
        assert ids(await store.list_tasks("room-1")) == ["t0", "t1", "t2"]
        assert ids(await store.list_tasks("room-1", status=TaskStatus.COMPLETED)) == ["t1"]
        assert ids(await store.list_tasks("room-1", "pending")) == ["t0", "t2"]
        assert await store.get_task("x") is None

    async def test_observations(self, store: ConversationStore) -> None:
        """Observations are listed by room, oldest first."""
        await self.room(store)
        for n in range(2):
            await store.add_observation(
                Observation(id=f"o{n}", room_id="room-1", channel_id="c", content=str(n))
            )
        found = await store.list_observations("room-1")
        assert [o.content for o in found] == ["0", "1"]
        assert await store.list_observations("other") == []

    # -- read tracking -------------------------------------------------------------------

    async def test_unread(self, store: ConversationStore) -> None:
        """Unread is what follows the marker; without one, or an unknown one, everything."""
        await self.room(store)
        await store.mark_all_read("room-1", "c")
        events = await self.say(store, 5)
        assert await store.get_unread_count("room-1", "c") == 5
        await store.mark_read("room-1", "c", events[3].id)
        assert await store.get_unread_count("room-1", "c") == 1
        await store.mark_read("room-1", "c", events[1].id)
        assert await store.get_unread_count("room-1", "c") == 3
        assert await store.get_unread_count("room-1", "d") == 5
        await store.mark_all_read("room-1", "c")
        assert await store.get_unread_count("room-1", "c") == 0
        await self.say(store, 1)
        assert await store.get_unread_count("room-1", "c") == 1
        await store.mark_read("room-1", "c", "unknown")
        assert await store.get_unread_count("room-1", "c") == 6
        assert await store.get_unread_count("other", "c") == 0
