"""StrictStore tells who changes what was only lent, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models.content import TextContent
from roomkit.models.enums import EventStatus, RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch, DeliveryFinish, DeliveryKind, RecordStatus
from roomkit.store.memory import InMemoryStore
from roomkit.testing import MutationError, StrictStore, make_binding, make_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

EVENT_CHANGES: list[tuple[str, Callable[[RoomEvent], Any]]] = [
    ("status", lambda e: setattr(e, "status", EventStatus.READ)),
    ("index", lambda e: setattr(e, "index", 7)),
    ("metadata", lambda e: e.metadata.update(tag=1)),
    ("content.body", lambda e: setattr(e.content, "body", "other")),
    ("content", lambda e: setattr(e, "content", TextContent(body="other"))),
    ("source.participant_id", lambda e: setattr(e.source, "participant_id", "eve")),
    ("delivery_results", lambda e: e.delivery_results.update(c={})),
    ("channel_data.extra", lambda e: e.channel_data.extra.update(x=[1])),
    ("metadata.deep", lambda e: e.metadata["deep"].append(1)),
]

CONTEXT_CHANGES: list[tuple[str, Callable[[RoomContext], Any]]] = [
    ("room room-1", lambda c: setattr(c.room, "status", RoomStatus.CLOSED)),
    ("room room-1", lambda c: c.room.metadata.update(a=1)),
    ("binding c", lambda c: setattr(c.bindings[0], "muted", True)),
    ("participant p", lambda c: setattr(c.participants[0], "display_name", "x")),
    ("context", lambda c: c.recent_events.clear()),
    ("context", lambda c: c.bindings.append(make_binding())),
]


async def filled(store: StrictStore) -> RoomEvent:
    """Put one of everything into room-1; return its event."""
    await store.create_room(Room(id="room-1"))
    await store.add_binding(make_binding("c"))
    await store.add_participant(Participant(id="p", room_id="room-1", channel_id="c"))
    batch = CommitBatch("room-1", (make_event(metadata={"deep": []}),))
    return (await store.commit(batch)).events[0]


class TestMutations:
    """Every change of a shared snapshot is reported, with its name and field."""

    @pytest.mark.parametrize(("field", "change"), EVENT_CHANGES)
    async def test_of_an_event(self, field: str, change: Callable[[RoomEvent], Any]) -> None:
        """However the event was come by."""
        for way in ("commit", "get", "list", "context", "delivery"):
            store = StrictStore(InMemoryStore())
            event = await filled(store)
            if way == "get":
                found = await store.get_event(event.id)
                assert found is not None
                event = found
            elif way == "list":
                event = (await store.list_events("room-1"))[0]
            elif way == "context":
                context = await store.load_context("room-1")
                assert context is not None
                event = context.recent_events[0]
            elif way == "delivery":
                view = await store.load_delivery("room-1", event.id, "c")
                assert view.event is not None
                event = view.event
            store.check()
            change(event)
            with pytest.raises(MutationError, match=f"{event.id}.*: {field}"):
                store.check()

    @pytest.mark.parametrize(("name", "change"), CONTEXT_CHANGES)
    async def test_of_a_context(self, name: str, change: Callable[[RoomContext], Any]) -> None:
        """Its room, members and lists."""
        store = StrictStore(InMemoryStore())
        await filled(store)
        context = await store.load_context("room-1")
        assert context is not None
        store.check()
        change(context)
        with pytest.raises(MutationError, match=name):
            store.check()

    async def test_of_an_event_handed_in(self) -> None:
        """Who has given an event to the store leaves it alone from then on."""
        store = StrictStore(InMemoryStore())
        event = make_event()
        await store.commit(CommitBatch("room-1", (event,)))
        event.metadata["late"] = True
        with pytest.raises(MutationError, match="handed to the store"):
            await store.close()
        stored = await store.get_event(event.id)
        assert stored is not None
        assert stored.metadata == {}

    async def test_are_reported_once_and_by_name_only(self) -> None:
        """No value is in the text, and a second look finds nothing new."""
        store = StrictStore(InMemoryStore())
        event = await filled(store)
        event.metadata["note"] = "secret text"
        with pytest.raises(MutationError) as caught:
            store.check()
        assert "secret text" not in str(caught.value)
        store.check()

    async def test_of_what_is_no_longer_watched(self) -> None:
        """The oldest snapshots make room after a last look."""
        store = StrictStore(InMemoryStore(), remember=2)
        event = await filled(store)
        event.status = EventStatus.FAILED
        for n in range(3):
            await store.add_event(make_event(body=str(n)))
        with pytest.raises(MutationError, match="status"):
            store.check()


class TestCopies:
    """What belongs to the caller is a deep copy, both ways."""

    async def test_changes_in_depth_stay_outside(self) -> None:
        """Nested metadata of a room is the caller's own; changing it is no mutation."""
        store = StrictStore(InMemoryStore())
        given = Room(id="room-1", metadata={"list": []})
        await store.create_room(given)
        given.metadata["list"].append("in")
        mine = await store.get_room("room-1")
        assert mine is not None
        mine.metadata["list"].append("out")
        again = await store.get_room("room-1")
        assert again is not None
        assert again.metadata == {"list": []}
        await store.close()

    async def test_reload_still_recognises_a_context(self) -> None:
        """A context that is good is returned itself."""
        store = StrictStore(InMemoryStore())
        await filled(store)
        context = await store.load_context("room-1")
        assert context is not None
        assert await store.reload_context(context) is context


class _InPlaceStore(InMemoryStore):
    """Wrong on purpose: writes delivery results into the event everybody shares."""

    async def finish_deliveries(self, finishes: Sequence[DeliveryFinish]) -> None:
        for finish in finishes:
            event = await self.get_event(finish.event_id)
            if event is not None and finish.result is not None:
                event.delivery_results[finish.channel_id] = finish.result


class TestWrongStore:
    """A store that breaks the rule is caught by any use that meets the rule."""

    @given(st.lists(st.sampled_from(["read", "context", "commit", "update"]), max_size=8))
    async def test_is_caught_whatever_else_happens(self, steps: list[str]) -> None:
        """The wrong store is reported and the right one is not, after the same calls."""
        for inner, wrong in ((_InPlaceStore(), True), (InMemoryStore(), False)):
            store = StrictStore(inner)
            event = await filled(store)
            for step in steps:
                if step == "read":
                    await store.list_events("room-1")
                elif step == "context":
                    await store.load_context("room-1")
                elif step == "commit":
                    await store.commit(CommitBatch("room-1", (make_event(),)))
                else:
                    await store.update_event(event.with_metadata(step=len(steps)))
            await store.load_context("room-1")
            kind, status = DeliveryKind.DELIVER, RecordStatus.DONE
            done = DeliveryFinish("d", event.id, "c", kind, status, {"status": "sent"})
            await store.finish_deliveries([done])
            if wrong:
                with pytest.raises(MutationError, match="delivery_results"):
                    await store.close()
            else:
                await store.close()
