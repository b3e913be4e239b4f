"""How deliveries end in a durable store: done, given up, or to be tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.store.commit import CommitBatch, DeliveryFinish, DeliveryKind, RecordStatus
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._durable_base import (
    GONE,
    LANE,
    ROOM,
    DurableSuite,
    again,
    alive,
    end,
    ended,
    pending,
    planned,
    post,
    results,
    take,
)

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore

SENT = {"status": "sent"}


class FinishCases(DurableSuite):
    """``finish_deliveries``: fenced by the owner, and exact about what is to be done next."""

    @pytest.mark.parametrize("room_id", ["", ROOM])
    @pytest.mark.parametrize("status", ["done", "dead", "skipped"])
    async def test_what_has_ended_is_not_done_again(
        self, store: DurableStore, status: str, room_id: str
    ) -> None:
        """Not by its worker, nor by others after that has died; its result is kept."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", owner="w1")
        finish = ended("d1", "w1", RecordStatus(status), result=SENT, room_id=room_id)
        await store.finish_deliveries([finish])
        assert await results(store, "d1") == {"c": SENT}
        assert await pending(store) == 1
        await self.later(store, GONE, "w2")
        assert await take(store, "w2") == ["d2"]
        assert len(await store.list_dead_letters()) == (status == "dead")

    async def test_results_are_added_to_those_there_are(self, store: DurableStore) -> None:
        """Each channel has its own; a reaction has none; a retry may say what went wrong."""
        await self.room(store)
        await alive(store, "w1")
        event = make_event(id="e-d1")
        plans = [planned(name, name) for name in ("a", "b", "r")]
        plans = [type(p)(p.id, event.id, p.channel_id, p.kind) for p in plans]
        await store.commit(CommitBatch(ROOM, (event,), deliveries=tuple(plans), owner="w1"))
        finishes = [
            DeliveryFinish(plan.id, event.id, plan.channel_id, plan.kind, status, result, "w1")
            for plan, status, result in zip(
                plans,
                (RecordStatus.DONE, RecordStatus.PENDING, RecordStatus.DONE),
                (SENT, {"status": "retrying"}, None),
                strict=True,
            )
        ]
        for finish in finishes:
            await store.finish_deliveries([finish])
        expected = {"a": SENT, "b": {"status": "retrying"}}
        assert await results(store, "d1") == expected
        context = await store.load_context(ROOM)
        assert context is not None
        assert context.recent_events[0].delivery_results == expected

    async def test_only_its_owner_ends_a_delivery(self, store: DurableStore) -> None:
        """A word of anybody else changes neither the record nor the result."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        await post(store, "free", channel_id="d")
        for status in (RecordStatus.DONE, RecordStatus.DEAD, RecordStatus.PENDING):
            wrong = [
                ended("d1", "w2", status, result={"status": "wrong"}),
                ended("free", "w2", status, "d", result={"status": "wrong"}),
            ]
            await store.finish_deliveries(wrong)
        assert await pending(store) == 2
        assert await store.list_dead_letters() == []
        assert await results(store, "d1") == {}
        assert await results(store, "free") == {}
        assert await take(store, "w2") == []
        await store.finish_deliveries([ended("d1", "w1", result=SENT)])
        assert await results(store, "d1") == {"c": SENT}

    async def test_the_first_end_counts(self, store: DurableStore) -> None:
        """What has ended stays as it ended."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        await store.finish_deliveries([ended("d1", "w1", result=SENT)])
        late = ended("d1", "w1", RecordStatus.DEAD, result={"status": "failed"}, error="x")
        await store.finish_deliveries([late, again("d1", "w1", 0.0)])
        assert await results(store, "d1") == {"c": SENT}
        assert await store.list_dead_letters() == []
        assert await pending(store) == 0

    async def test_a_worker_that_comes_back_too_late(self, store: DurableStore) -> None:
        """It changes nothing of what another has taken over meanwhile."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", owner="w1")
        await self.later(store, GONE, "w2")
        assert await take(store, "w2") == ["d1", "d2"]
        await alive(store, "w1")
        await store.finish_deliveries([ended("d1", "w1", result={"status": "late"})])
        assert await results(store, "d1") == {}
        await store.finish_deliveries([ended("d1", "w2", result=SENT), ended("d2", "w2")])
        assert await results(store, "d1") == {"c": SENT}
        assert await pending(store) == 0

    async def test_a_late_word_changes_the_result_only(self, store: DurableStore) -> None:
        """Without an owner it is about a delivery that has ended; records stay as they are."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await end(store, "w1", "d1")
        words = [ended(name, None, result={"status": "read"}) for name in ("d1", "d2")]
        await store.finish_deliveries(words)
        assert await results(store, "d1") == {"c": {"status": "read"}}
        assert await results(store, "d2") == {"c": {"status": "read"}}
        assert await pending(store) == 1
        assert await take(store, "w2") == []
        assert await end(store, "w1", "d2") == set()
        assert await pending(store) == 0

    # -- once more ------------------------------------------------------------------------

    async def test_a_retry_waits_its_time(self, store: DurableStore) -> None:
        """Nobody gets it before; then it says how often it was tried."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        assert set(await store.finish_deliveries([again("d1", "w1", 10.0)])) == set()
        assert await take(store, "w1") == []
        await self.later(store, 6.0, "w1", "w2")
        assert await take(store, "w2") == []
        await self.later(store, 5.0, "w1", "w2")
        (record,) = await store.claim_deliveries("w2", ["c"])
        assert record.attempts == 1
        await store.finish_deliveries([again("d1", "w2", 1.0, attempts=2)])
        await self.later(store, 2.0, "w1")
        (record,) = await store.claim_deliveries("w1", ["c"])
        assert record.attempts == 2

    async def test_a_retry_gives_the_whole_lane_back(self, store: DurableStore) -> None:
        """What is behind it waits with it, and comes after it; other lanes go on."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", "d3", owner="w1")
        await post(store, "o1", "o2", owner="w1", channel_id="other")
        await store.finish_deliveries([again("d1", "w1", 10.0)])
        assert await take(store, "w2", "c", "other") == []
        # It is not the former owner's any more: a word of it about the rest is too late.
        await end(store, "w1", "d2")
        assert await pending(store) == 5
        await store.finish_deliveries([ended("o1", "w1", channel_id="other", result=SENT)])
        assert await results(store, "o1") == {"other": SENT}
        await self.later(store, 11.0, "w1", "w2")
        claimed = await store.claim_deliveries("w2", ["c", "other"])
        assert [(r.event_id, r.attempts) for r in claimed] == [
            ("e-d1", 1),
            ("e-d2", 0),
            ("e-d3", 0),
        ]

    async def test_a_retry_at_once_is_said(self, store: DurableStore) -> None:
        """Without a delay its lane is there to be claimed again, and the caller is told so."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", owner="w1")
        assert set(await store.finish_deliveries([again("d1", "w1", 0.0)])) == {LANE}
        assert await take(store, "w1") == ["d1", "d2"]

    async def test_done_and_retry_in_one_call(self, store: DurableStore) -> None:
        """The first of a lane is done, the second fails: the third waits behind it."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", "d3", owner="w1")
        lanes = await store.finish_deliveries([ended("d1", "w1"), again("d2", "w1", 10.0)])
        assert set(lanes) == set()
        await self.later(store, 11.0, "w1")
        assert await take(store, "w1") == ["d2", "d3"]

    # -- which lanes have work ------------------------------------------------------------

    async def test_lanes_with_work_left_are_told(self, store: DurableStore) -> None:
        """Those among the finishes whose head is unclaimed and due, and no others."""
        for room_id in (ROOM, "room-2"):
            await self.room(store, room_id)
        await alive(store, "w1", "w2")
        # c: behind mine waits another's; d: nothing; f: all mine; g: not asked about.
        for channel_id in ("c", "d", "f", "g"):
            await post(store, f"{channel_id}1", owner="w1", channel_id=channel_id)
        await post(store, "c2", owner="w2")
        await post(store, "f2", owner="w1", channel_id="f")
        await post(store, "h1", owner="w1", room_id="room-2")
        await post(store, "h2", owner="w2", room_id="room-2")
        assert await post(store, "g2", owner="w2", channel_id="g") == ["g2"]
        finishes = [ended(f"{name}1", "w1", channel_id=name) for name in ("c", "d", "f")]
        finishes.append(ended("h1", "w1", room_id="room-2"))
        assert set(await store.finish_deliveries(finishes)) == {LANE, ("room-2", "c")}

    async def test_nothing_to_say_is_no_error(self, store: DurableStore) -> None:
        """Of no delivery, and of unknown events, rooms and records."""
        await self.room(store)
        assert set(await store.finish_deliveries([])) == set()
        strangers = [ended("x", "w1", result=SENT), ended("y", None, result=SENT, room_id="no")]
        assert set(await store.finish_deliveries(strangers)) == set()

    async def test_two_processes_end_deliveries_of_one_event(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """None of their results is lost, whoever is first."""
        await self.room(store)
        await alive(store, "w1")
        channels = [f"c{n}" for n in range(12)]
        event = make_event(id="e-x")
        plans = tuple(
            type(plan)(plan.id, event.id, plan.channel_id, DeliveryKind.DELIVER)
            for plan in (planned(channel, channel) for channel in channels)
        )
        await store.commit(CommitBatch(ROOM, (event,), deliveries=plans, owner="w1"))
        await asyncio.gather(
            *(
                (store, second)[n % 2].finish_deliveries(
                    [
                        DeliveryFinish(
                            plan.id,
                            event.id,
                            plan.channel_id,
                            plan.kind,
                            RecordStatus.DONE,
                            {"n": n},
                            "w1",
                        )
                    ]
                )
                for n, plan in enumerate(plans)
            )
        )
        expected = {channel: {"n": n} for n, channel in enumerate(channels)}
        assert await results(store, "x") == expected
        assert await results(second, "x") == expected
        assert await pending(second) == 0
