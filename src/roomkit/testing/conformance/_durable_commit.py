"""What the commit of a durable store does with deliveries and with accepted messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit.models.enums import RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.task import Task
from roomkit.store.commit import CommitBatch, DeliveryKind, RecordStatus
from roomkit.store.durable import DeliveryRecord
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._durable_base import (
    GONE,
    LANE,
    ROOM,
    DurableSuite,
    again,
    alive,
    end,
    ended,
    left,
    mail,
    pending,
    planned,
    post,
    read,
    results,
    take,
    work_id,
)

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore


class CommitCases(DurableSuite):
    """Records are written with their events, and claimed where their lane allows it."""

    # -- who gets what is planned ---------------------------------------------------------

    async def test_a_free_lane_goes_to_the_owner(self, store: DurableStore) -> None:
        """What a batch plans on empty lanes is its owner's, and nobody else's."""
        await self.room(store)
        await alive(store, "w1", "w2")
        assert await post(store, "d1", "d2", owner="w1") == []
        assert await take(store, "w2") == []
        assert await take(store, "w1") == []
        assert await end(store, "w1", "d1", "d2") == set()
        assert await pending(store) == 0

    async def test_ones_own_lane_goes_on(self, store: DurableStore) -> None:
        """Behind what the owner holds already, it gets the next too."""
        await self.room(store)
        await alive(store, "w1", "w2")
        for name in ("d1", "d2", "d3"):
            assert await post(store, name, owner="w1") == []
        assert await end(store, "w1", "d1") == set()
        assert await post(store, "d4", owner="w1") == []
        assert await take(store, "w2") == []

    async def test_anothers_lane_is_left_alone(self, store: DurableStore) -> None:
        """What comes behind the work of another waits until that is done."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        assert await post(store, "d2", "d3", owner="w2") == ["d2", "d3"]
        assert await take(store, "w2") == []
        assert await end(store, "w1", "d1") == {LANE}
        assert await take(store, "w2") == ["d2", "d3"]

    async def test_nothing_is_claimed_behind_unclaimed_work(self, store: DurableStore) -> None:
        """Also by the one that holds the head of the lane: order comes first."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        await post(store, "d2", owner="w2")
        assert await post(store, "d3", owner="w1") == ["d3"]
        assert await take(store, "w1") == []
        assert await end(store, "w1", "d1") == {LANE}
        assert await take(store, "w1") == ["d2", "d3"]

    async def test_a_plan_may_ask_not_to_be_claimed(self, store: DurableStore) -> None:
        """It waits for whoever has the channel, and what comes behind it waits too."""
        await self.room(store)
        await alive(store, "w1", "w2")
        events = (make_event(id="e-d1"), make_event(id="e-d2"))
        plans = (planned("d1", claim=False), planned("d2"))
        result = await store.commit(CommitBatch(ROOM, events, deliveries=plans, owner="w1"))
        assert left(result) == ["d1", "d2"]
        assert await post(store, "d3", owner="w1") == ["d3"]
        assert await take(store, "w2") == ["d1", "d2", "d3"]

    async def test_without_an_owner_nothing_is_claimed(self, store: DurableStore) -> None:
        """All of it is left."""
        await self.room(store)
        await alive(store, "w1")
        assert await post(store, "d1", "d2") == ["d1", "d2"]
        assert await take(store, "w1") == ["d1", "d2"]

    async def test_a_lane_that_waits_for_a_retry_is_left_alone(self, store: DurableStore) -> None:
        """Its owner gave it back: the next event does not overtake the first."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        await store.finish_deliveries([again("d1", "w1", 10.0)])
        assert await post(store, "d2", owner="w1") == ["d2"]
        assert await take(store, "w1") == []

    async def test_each_lane_is_judged_for_itself(self, store: DurableStore) -> None:
        """Another channel and another room are other lanes."""
        await self.room(store)
        await self.room(store, "room-2")
        await alive(store, "w1", "w2")
        await post(store, "x", owner="w2")
        event = make_event(id="e-d1")
        plans = (planned("d1"), _at("d2", "d1", "d"), _at("d3", "d1", "f"))
        result = await store.commit(CommitBatch(ROOM, (event,), deliveries=plans, owner="w1"))
        assert left(result) == ["d1"]
        assert await post(store, "y", owner="w1", room_id="room-2") == []

    async def test_work_comes_back_as_it_was_planned(self, store: DurableStore) -> None:
        """A record tells all that its plan said; reaction and delivery are one lane."""
        await self.room(store)
        await alive(store, "w1")
        react = planned("d1", kind=DeliveryKind.REACT, direct=True)
        deliver = _at("d2", "d1", "c")
        batch = CommitBatch(ROOM, (make_event(id="e-d1"),), deliveries=(react, deliver))
        await store.commit(batch)
        assert await store.claim_deliveries("w1", ["c"]) == [
            DeliveryRecord(react.id, ROOM, "e-d1", "c", DeliveryKind.REACT, direct=True),
            DeliveryRecord(deliver.id, ROOM, "e-d1", "c", DeliveryKind.DELIVER),
        ]

    async def test_a_batch_that_is_not_written_plans_nothing(self, store: DurableStore) -> None:
        """A repeat and a closed room leave no work behind."""
        await self.room(store)
        await self.room(store, "shut", status=RoomStatus.CLOSED)
        await alive(store, "w1")
        await store.commit(CommitBatch(ROOM, (make_event(idempotency_key="k"),)))
        for room_id in (ROOM, "shut"):
            event = make_event(room_id, id="e-d1", idempotency_key="k")
            batch = CommitBatch(
                room_id, (event,), open_required=True, deliveries=(planned("d1"),), owner="w1"
            )
            result = await store.commit(batch)
            assert result.events == ()
            assert result.left <= {work_id("d1")}
        assert await pending(store) == 0

    async def test_a_deleted_room_takes_its_work_along(self, store: DurableStore) -> None:
        """Nothing of it is handed out, and a late finish of it changes nothing."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        await post(store, "d2", owner="w2", channel_id="d")
        await store.delete_room(ROOM)
        assert await end(store, "w1", "d1") == set()
        await self.later(store, GONE, "w3")
        assert await take(store, "w3", "c", "d") == []
        assert await pending(store) == 0

    # -- what ends with a batch -----------------------------------------------------------

    async def test_a_batch_ends_deliveries(self, store: DurableStore) -> None:
        """The answer to an event is written together with the end of its reaction."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        done = ended("d1", "w1", result={"status": "sent", "provider_message_id": "m1"})
        answer = CommitBatch(
            ROOM,
            (make_event(id="e-d2"),),
            deliveries=(planned("d2"),),
            finishes=(done,),
            owner="w1",
        )
        result = await store.commit(answer)
        assert left(result) == []
        assert [event.index for event in result.events] == [1]
        assert (await results(store, "d1"))["c"]["status"] == "sent"
        assert await store.find_event_by_provider_message_id("m1") is not None
        assert await pending(store) == 1
        assert await end(store, "w1", "d2") == set()

    @pytest.mark.parametrize("cause", ["taken", "done", "given back", "unclaimed", "unknown"])
    async def test_a_lost_lease_refuses_the_batch(self, store: DurableStore, cause: str) -> None:
        """When a delivery it ends is not its owner's any more, nothing of it is written."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d0", owner="w1", channel_id="d")
        await self._lose(store, cause)
        target = make_event(id="target")
        await store.add_event(target)
        await store.add_binding(make_binding("old"))
        before, stats = await store.load_context(ROOM), await store.work_stats()
        sent = {"status": "sent"}
        batch = CommitBatch(
            ROOM,
            (make_event(id="e-d9", idempotency_key="k9"),),
            target=target.deleted(),
            participants=(Participant(id="p", room_id=ROOM, channel_id="c"),),
            bindings=(make_binding("new"),),
            removed_bindings=("old",),
            tasks=(Task(id="t", room_id=ROOM, title="x"),),
            deliveries=(planned("d9"),),
            finishes=(
                ended("d0", "w1", channel_id="d", result=sent),
                ended("d1", "w1", result=sent),
            ),
            owner="w1",
        )
        result = await store.commit(batch)
        assert (result.refused, result.events) == ("lease_lost", ())
        assert await store.load_context(ROOM) == before
        now = await store.work_stats()
        assert (now.deliveries.depth, now.deliveries.dead) == (stats.deliveries.depth, 0)
        assert await store.list_tasks(ROOM) == []
        assert not await store.check_idempotency(ROOM, "k9")
        assert await store.get_event("e-d9") is None
        assert await results(store, "d0") == {}
        # What it still holds it can end on its own.
        await store.finish_deliveries([ended("d0", "w1", channel_id="d", result=sent)])
        assert await results(store, "d0") == {"d": sent}

    async def _lose(self, store: DurableStore, cause: str) -> None:
        """Let the lease of d1 be lost to w1, or never be there."""
        if cause == "unknown":
            await store.add_event(make_event(id="e-d1"))
            return
        await post(store, "d1", owner=None if cause == "unclaimed" else "w1")
        if cause == "done":
            await end(store, "w1", "d1")
        elif cause == "given back":
            await store.finish_deliveries([again("d1", "w1", 10.0)])
        elif cause == "taken":
            await self.later(store, GONE, "w2")
            assert await take(store, "w2") == ["d1"]
            await alive(store, "w1")

    async def test_a_later_word_is_no_lease(self, store: DurableStore) -> None:
        """A finish without an owner never refuses the batch; it changes the event's results."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        await end(store, "w1", "d1")
        word = ended("d1", None, result={"status": "read"})
        result = await store.commit(CommitBatch(ROOM, (make_event(),), finishes=(word,)))
        assert len(result.events) == 1
        assert await results(store, "d1") == {"c": {"status": "read"}}

    # -- accepted messages ----------------------------------------------------------------

    async def test_an_inbox_row_ends_with_its_event(self, store: DurableStore) -> None:
        """The commit of an accepted message finishes its row."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await store.accept(mail("m1"))
        await store.accept(mail("m2"))
        assert await read(store, "w1", per_sender=1) == ["m1"]
        result = await store.commit(self._entering("m1", "w1"))
        assert len(result.events) == 1
        assert (await store.work_stats()).inbox.depth == 1
        assert await read(store, "w2") == ["m2"]
        assert not await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        assert await store.accept(mail("m1")) == (work_id("m1"), False)

    @pytest.mark.parametrize("cause", ["taken", "done", "given back", "unclaimed", "unknown"])
    async def test_a_lost_row_refuses_the_batch(self, store: DurableStore, cause: str) -> None:
        """Who does not hold the row any more must not let its message enter."""
        await self.room(store)
        await alive(store, "w1")
        if cause != "unknown":
            await store.accept(mail("m1"))
        if cause not in ("unknown", "unclaimed"):
            assert await read(store, "w1") == ["m1"]
        if cause == "done":
            assert len((await store.commit(self._entering("m1", "w1", key="other"))).events) == 1
        elif cause == "given back":
            await store.finish_inbox("w1", work_id("m1"), RecordStatus.PENDING, retry_in=10.0)
        elif cause == "taken":
            await self.later(store, GONE, "w2")
            assert await read(store, "w2") == ["m1"]
            await alive(store, "w1")
        before, depth = await store.load_context(ROOM), (await store.work_stats()).inbox.depth
        result = await store.commit(self._entering("m1", "w1"))
        assert (result.refused, result.events) == ("lease_lost", ())
        assert await store.load_context(ROOM) == before
        assert (await store.work_stats()).inbox.depth == depth
        assert not await store.check_idempotency(ROOM, "m1")

    async def test_a_repeat_leaves_its_row_to_its_worker(self, store: DurableStore) -> None:
        """Nothing is written for it, so the row is ended by a word of its own."""
        await self.room(store)
        await alive(store, "w1")
        await store.commit(CommitBatch(ROOM, (make_event(idempotency_key="m1"),)))
        await store.accept(mail("m1"))
        assert await read(store, "w1") == ["m1"]
        result = await store.commit(self._entering("m1", "w1"))
        assert result.duplicate_of is not None
        assert (await store.work_stats()).inbox.depth == 1
        assert await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        assert (await store.work_stats()).inbox.depth == 0

    def _entering(self, name: str, owner: str, *, key: str | None = None) -> CommitBatch:
        event = make_event(idempotency_key=key or name)
        return CommitBatch(ROOM, (event,), inbox_id=work_id(name), owner=owner)


def _at(name: str, event: str, channel_id: str) -> Any:
    """Return another delivery of the event ``e-<event>``."""
    plan = planned(name, channel_id)
    return type(plan)(plan.id, f"e-{event}", channel_id, DeliveryKind.DELIVER)
