"""The participants the in-memory store shows in a room's context."""

from __future__ import annotations

from typing import Any

from roomkit import InMemoryStore, Participant, Room
from roomkit.store.commit import CommitBatch
from roomkit.testing import make_event


def person(name: str, **fields: Any) -> Participant:
    return Participant(id=name, room_id="room-1", channel_id="sms", **fields)


async def names(store: InMemoryStore) -> list[tuple[str, str | None]]:
    context = await store.load_context("room-1")
    assert context is not None
    return [(somebody.id, somebody.display_name) for somebody in context.participants]


async def room_of(*people: str) -> InMemoryStore:
    store = InMemoryStore()
    await store.create_room(Room(id="room-1"))
    for name in people:
        await store.add_participant(person(name))
    return store


class TestPeople:
    """A context shows who is in the room now, in the order they came."""

    async def test_follows_every_change(self) -> None:
        """Whoever joins or changes is there in the next context."""
        store = await room_of()
        assert await names(store) == []
        await store.add_participant(person("ada"))
        await store.commit(CommitBatch(room_id="room-1", participants=(person("bob"),)))
        assert await names(store) == [("ada", None), ("bob", None)]
        await store.update_participant(person("ada", display_name="Ada"))
        assert await names(store) == [("ada", "Ada"), ("bob", None)]

    async def test_a_message_makes_no_new_list(self) -> None:
        """A crowd is not copied for each message: only joining gives another list."""
        store = await room_of("ada", "bob")
        before = await store.load_context("room-1")
        await store.add_event(make_event("room-1"))
        after = await store.load_context("room-1")
        assert before is not None
        assert after is not None
        assert after.participants is before.participants
        await store.add_participant(person("eve"))
        later = await store.load_context("room-1")
        assert later is not None
        assert len(before.participants) == 2
        assert len(later.participants) == 3

    async def test_a_spoilt_list_is_made_anew(self) -> None:
        """Who empties the list of a context, against the rules, harms that context only."""
        store = await room_of("ada", "bob")
        context = await store.load_context("room-1")
        assert context is not None
        context.participants.clear()
        assert await names(store) == [("ada", None), ("bob", None)]
