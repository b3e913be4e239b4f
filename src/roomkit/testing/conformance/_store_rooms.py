"""What every store does with rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._store_base import StoreSuite, ids
from roomkit.testing.conformance._suite import at

if TYPE_CHECKING:
    from roomkit.store.base import ConversationStore


class RoomCases(StoreSuite):
    """Rooms are stored, listed, found and deleted."""

    async def test_room_comes_back(self, store: ConversationStore) -> None:
        """A stored room is returned with all its fields; an unknown one is None."""
        room = Room(id="r", organization_id="o", metadata={"a": {"b": 1}}, created_at=at(0))
        assert await store.create_room(room) == room
        assert await store.get_room("r") == room
        assert await store.get_room("other") is None

    async def test_room_changes(self, store: ConversationStore) -> None:
        """``update_room`` stores every changed field."""
        room = await self.room(store)
        room.status = RoomStatus.PAUSED
        room.metadata = {"x": 1}
        room.timers = RoomTimers(closed_after_seconds=5, last_activity_at=at(3))
        await store.update_room(room)
        stored = await store.get_room(room.id)
        assert stored is not None
        assert stored.status == "paused"
        assert stored.metadata == {"x": 1}
        assert stored.timers == room.timers

    async def test_assigning_to_a_returned_room_changes_nothing(
        self, store: ConversationStore
    ) -> None:
        """What ``get_room`` returns belongs to the caller."""
        await self.room(store)
        mine = await store.get_room("room-1")
        assert mine is not None
        mine.status = RoomStatus.CLOSED
        stored = await store.get_room("room-1")
        assert stored is not None
        assert stored.status == "active"
        assert await store.find_rooms(status="closed") == []

    async def test_rooms_are_listed_oldest_first(self, store: ConversationStore) -> None:
        """``list_rooms`` pages through the rooms in the order they were created."""
        for n in range(5):
            await self.room(store, f"r{n}")
        assert ids(await store.list_rooms()) == ["r0", "r1", "r2", "r3", "r4"]
        assert ids(await store.list_rooms(offset=1, limit=2)) == ["r1", "r2"]
        assert ids(await store.list_rooms(offset=4, limit=9)) == ["r4"]
        assert await store.list_rooms(offset=5) == []

    async def test_find_rooms_joins_its_filters(self, store: ConversationStore) -> None:
        """All given filters must match; a status may be a string or a member."""
        await self.room(store, "r0", organization_id="a", metadata={"k": 1})
        await self.room(store, "r1", organization_id="a", status=RoomStatus.PAUSED)
        await self.room(store, "r2", organization_id="b", metadata={"k": 1, "l": 2})
        await self.room(store, "r3", metadata={"k": 2})
        assert ids(await store.find_rooms()) == ["r0", "r1", "r2", "r3"]
        assert ids(await store.find_rooms(organization_id="a")) == ["r0", "r1"]
        assert ids(await store.find_rooms(status="active")) == ["r0", "r2", "r3"]
        assert ids(await store.find_rooms(status=RoomStatus.PAUSED)) == ["r1"]
        assert ids(await store.find_rooms(metadata_filter={"k": 1})) == ["r0", "r2"]
        assert ids(await store.find_rooms("a", "active", {"k": 1})) == ["r0"]
        assert await store.find_rooms("a", "active", {"k": 2}) == []

    async def test_find_latest_room(self, store: ConversationStore) -> None:
        """The newest room of a person, as participant or by a binding of the given type."""
        for n in range(3):
            await self.room(store, f"r{n}")
        await store.add_participant(Participant(id="ann", room_id="r0", channel_id="c"))
        await store.add_binding(
            make_binding("sms", "r1", channel_type=ChannelType.SMS, participant_id="ann")
        )
        await self._latest(store, "r1")
        await self._latest(store, "r1", channel_type="sms")
        await self._latest(store, "r0", channel_type="email")
        await self._latest(store, None, status="closed")
        room = await store.get_room("r1")
        assert room is not None
        room.status = RoomStatus.CLOSED
        await store.update_room(room)
        await self._latest(store, "r0", status=RoomStatus.ACTIVE)
        await self._latest(store, "r1", status="closed")
        await self._latest(store, "r1")
        await store.remove_binding("r1", "sms")
        await self._latest(store, "r0")

    async def _latest(
        self, store: ConversationStore, expected: str | None, **filters: str
    ) -> None:
        room = await store.find_latest_room("ann", **filters)
        assert (None if room is None else room.id) == expected

    async def test_find_room_by_channel(self, store: ConversationStore) -> None:
        """The oldest room with the channel, of the status if one is given."""
        for n in range(3):
            await self.room(store, f"r{n}")
            await store.add_binding(make_binding("c", f"r{n}"))
        room = await store.get_room("r0")
        assert room is not None
        room.status = RoomStatus.CLOSED
        await store.update_room(room)
        assert await store.find_room_id_by_channel("c") == "r0"
        assert await store.find_room_id_by_channel("c", status="active") == "r1"
        assert await store.find_room_id_by_channel("c", RoomStatus.CLOSED) == "r0"
        assert await store.find_room_id_by_channel("c", "paused") is None
        await store.remove_binding("r1", "c")
        assert await store.find_room_id_by_channel("c", "active") == "r2"
        assert await store.find_room_id_by_channel("other") is None

    async def test_delete_takes_everything_along(self, store: ConversationStore) -> None:
        """Nothing of a deleted room is found again; identities stay."""
        await self.room(store)
        events = await self.say(store, 2, idempotency_key=None)
        await store.add_event(make_event(idempotency_key="k"))
        await store.add_binding(make_binding(participant_id="ann"))
        await store.add_participant(Participant(id="ann", room_id="room-1", channel_id="c"))
        await store.add_task(Task(id="t", room_id="room-1", title="x"))
        await store.add_observation(
            Observation(id="o", room_id="room-1", channel_id="c", content="x")
        )
        await store.mark_all_read("room-1", "channel-1")
        await store.create_identity(Identity(id="i", channel_addresses={"sms": ["+1"]}))
        assert await store.delete_room("room-1") is True
        assert await store.delete_room("room-1") is False
        assert await store.get_room("room-1") is None
        assert await store.list_events("room-1") == []
        assert await store.get_event(events[0].id) is None
        assert await store.get_event_count("room-1") == 0
        assert await store.check_idempotency("room-1", "k") is False
        assert await store.list_bindings("room-1") == []
        assert await store.list_participants("room-1") == []
        assert await store.list_tasks("room-1") == []
        assert await store.get_task("t") is None
        assert await store.list_observations("room-1") == []
        assert await store.find_room_id_by_channel("channel-1") is None
        assert await store.find_latest_room("ann") is None
        assert await store.get_identity("i") is not None

    async def test_deleted_room_may_begin_anew(self, store: ConversationStore) -> None:
        """A room of the same id starts empty: index 0, nothing read, no keys."""
        await self.room(store)
        await self.say(store, 1, idempotency_key="k")
        await store.mark_all_read("room-1", "c")
        await store.delete_room("room-1")
        await self.room(store)
        event = (await self.say(store, 1, idempotency_key="k"))[0]
        assert event.index == 0
        assert await store.get_unread_count("room-1", "c") == 1
