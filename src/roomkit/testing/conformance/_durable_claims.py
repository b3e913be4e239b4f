"""Who gets the deliveries of a durable store: lanes, workers that die, and work nobody wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.testing.conformance._durable_base import (
    GONE,
    LANE,
    ROOM,
    DurableSuite,
    again,
    alive,
    end,
    ended,
    name_of,
    names,
    pending,
    post,
    results,
    take,
    work_id,
)

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore


class ClaimCases(DurableSuite):
    """A lane is one worker's at a time, from its head on."""

    # -- what is handed out ---------------------------------------------------------------

    async def test_only_what_was_asked_for(self, store: DurableStore) -> None:
        """Lanes of the channels named, and of these only the lanes named."""
        for room_id in (ROOM, "room-2"):
            await self.room(store, room_id)
        await alive(store, "w1")
        await post(store, "c1", "c2")
        await post(store, "d1", channel_id="d")
        await post(store, "x1", room_id="room-2")
        assert names(await store.claim_deliveries("w1", [])) == []
        assert await take(store, "w1", "other") == []
        assert await take(store, "w1", "c", lanes=[]) == []
        assert await take(store, "w1", "c", lanes=[(ROOM, "d"), ("no", "c")]) == []
        assert await take(store, "w1", "c", "d", lanes=[("room-2", "c")]) == ["x1"]
        assert await take(store, "w1", "d") == ["d1"]
        assert await take(store, "w1", "c", "d") == ["c1", "c2"]
        assert await take(store, "w1", "c", "d") == []

    async def test_the_oldest_lanes_come_first(self, store: DurableStore) -> None:
        """``limit`` counts lanes; the lane whose oldest record is the oldest is the first."""
        await self.room(store)
        await alive(store, "w1")
        for name, channel_id in (("b1", "b"), ("a1", "a"), ("c1", "c"), ("b2", "b"), ("a2", "a")):
            await post(store, name, channel_id=channel_id)
        assert await take(store, "w1", "a", "b", "c", limit=1) == ["b1", "b2"]
        two = await take(store, "w1", "a", "b", "c", limit=2)
        assert sorted(two) == ["a1", "a2", "c1"]
        assert [name for name in two if name[0] == "a"] == ["a1", "a2"]

    async def test_a_long_lane_is_taken_in_pieces(self, store: DurableStore) -> None:
        """``per_lane`` counts records from the head; the rest waits until they are done."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, *(f"d{n}" for n in range(5)))
        assert await take(store, "w1", per_lane=2) == ["d0", "d1"]
        assert await take(store, "w1", per_lane=2) == []
        assert await take(store, "w2") == []
        assert await end(store, "w1", "d0") == set()
        assert await take(store, "w1") == []
        assert await end(store, "w1", "d1") == {LANE}
        assert await take(store, "w2", per_lane=2) == ["d2", "d3"]
        assert await end(store, "w2", "d2", "d3") == {LANE}
        assert await take(store, "w1", per_lane=2) == ["d4"]

    async def test_a_blocked_head_blocks_its_lane_only(self, store: DurableStore) -> None:
        """Whatever waits behind it; later work of other lanes passes."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        await store.finish_deliveries([again("d1", "w1", 10.0)])
        await post(store, "d2")
        await post(store, "e1", channel_id="e")
        assert await take(store, "w2", "c", "e") == ["e1"]
        await self.later(store, 11.0, "w2")
        assert await take(store, "w2", "c", "e") == ["d1", "d2"]

    async def test_many_claim_at_once(self, store: DurableStore, second: DurableStore) -> None:
        """Every record is handed out once, a lane to one worker, in order."""
        await self.room(store)
        workers = [f"w{n}" for n in range(6)]
        await alive(store, *workers)
        channels = [f"c{n}" for n in range(5)]
        for step in range(3):
            for channel_id in channels:
                await post(store, f"{channel_id}-{step}", channel_id=channel_id)
        claims = await asyncio.gather(
            *(
                (store, second)[n % 2].claim_deliveries(worker, channels, limit=2)
                for n, worker in enumerate(workers)
            )
        )
        found: dict[str, list[str]] = {}
        for claim in claims:
            lanes: dict[str, list[str]] = {}
            for record in claim:
                lanes.setdefault(record.channel_id, []).append(name_of(record.id))
            assert len(lanes) <= 2
            assert not lanes.keys() & found.keys()
            found |= lanes
        # Those that met others' claims may have come away with less than there was.
        for channel_id in channels:
            found.setdefault(channel_id, await take(store, "w0", channel_id))
        assert found == {c: [f"{c}-{step}" for step in range(3)] for c in channels}

    # -- workers that come and go ---------------------------------------------------------

    async def test_claims_of_the_living_are_kept(self, store: DurableStore) -> None:
        """Also when one was silent for long, as long as nobody came before its next beat."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", owner="w1")
        await self.later(store, GONE, "w1", "w2")
        assert await take(store, "w2") == []
        await self.later(store, GONE, "w2")
        await store.finish_deliveries([ended("d1", "w1", result={"status": "sent"})])
        assert await results(store, "d1") == {"c": {"status": "sent"}}

    async def test_a_beat_less_than_the_bound_ago_is_life(self, store: DurableStore) -> None:
        """A worker that missed a few beats has lost nothing."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        await self.later(store, GONE - 3.0, "w2")
        assert await take(store, "w2") == []

    async def test_the_dead_are_taken_over(self, store: DurableStore) -> None:
        """All the lane at once, what was never claimed with it, in order."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await post(store, "d3", owner="w2")
        await self.later(store, GONE, "w2")
        assert await take(store, "w2") == ["d1", "d2", "d3"]

    async def test_a_part_taken_over_is_lost_as_a_whole(self, store: DurableStore) -> None:
        """Whoever takes the head of a dead worker's lane ends that worker's claim to the rest."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", "d3", owner="w1")
        await self.later(store, GONE, "w2")
        assert await take(store, "w2", per_lane=1) == ["d1"]
        await alive(store, "w1")
        await end(store, "w1", "d2")
        assert await pending(store) == 3
        assert await post(store, "d4", owner="w1") == ["d4"]
        assert await end(store, "w2", "d1") == {LANE}
        assert await take(store, "w1") == ["d2", "d3", "d4"]

    async def test_who_never_beat_holds_nothing(self, store: DurableStore) -> None:
        """A claim needs a living worker behind it."""
        await self.room(store)
        await alive(store, "w2")
        await post(store, "d1", owner="nobody")
        assert await take(store, "w2") == ["d1"]

    async def test_a_claim_is_its_claimers_until_it_is_lost(self, store: DurableStore) -> None:
        """Also of a worker that has fallen silent: nobody has come for it yet."""
        await self.room(store)
        await post(store, "d1", "d2")
        for _ in range(2):
            assert await take(store, "w1", per_lane=1) == ["d1"]
        await store.finish_deliveries([ended("d1", "w1", result={"status": "sent"})])
        assert await results(store, "d1") == {"c": {"status": "sent"}}
        assert await take(store, "w1") == ["d2"]
        await alive(store, "w1", "w2")
        assert await take(store, "w2") == []

    async def test_a_worker_may_begin_anew(self, store: DurableStore) -> None:
        """``instead_of`` forgets the former self: its claims are open at once."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", owner="w1")
        await post(store, "e1", owner="w1", channel_id="e")
        await store.beat("w1b", ["c", "e"], instead_of="w1")
        assert (await store.work_stats()).workers == 2
        assert await take(store, "w1b", "c") == ["d1"]
        assert await take(store, "w2", "c", "e") == ["e1"]
        await end(store, "w1", "d1")
        assert await pending(store) == 2

    async def test_who_retires_leaves_its_work(self, store: DurableStore) -> None:
        """Its claims are unclaimed, and its late words change nothing."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await store.retire("w1")
        await store.retire("stranger")
        assert (await store.work_stats()).workers == 1
        await end(store, "w1", "d1")
        assert await pending(store) == 2
        assert await post(store, "d3", owner="w1") == ["d3"]
        assert await take(store, "w2") == ["d1", "d2", "d3"]

    async def test_work_outlives_its_store(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """Another process finds all that was committed, and takes it on."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await store.finish_deliveries([ended("d1", "w1", result={"status": "sent"})])
        await store.close()
        await self.later(second, GONE, "w2")
        assert await take(second, "w2") == ["d2"]
        assert await results(second, "d1") == {"c": {"status": "sent"}}
        await second.finish_deliveries([ended("d2", "w2")])
        assert await pending(second) == 0

    # -- forgotten and unwanted work ------------------------------------------------------

    async def test_what_was_forgotten_is_released(self, store: DurableStore) -> None:
        """Held, not known to its holder, and old enough; nobody else's."""
        await self.room(store)
        await alive(store, "w1", "w2")
        for channel_id in ("a", "b"):
            await post(store, f"{channel_id}1", owner="w1", channel_id=channel_id)
        await post(store, "o1", owner="w2", channel_id="o")
        await self.later(store, 20.0, "w1", "w2")
        await post(store, "y1", owner="w1", channel_id="y")
        assert await store.release_deliveries("w1", [work_id("a1")], 10.0) == 1
        assert await take(store, "w2", "a", "b", "o", "y") == ["b1"]
        assert await store.release_deliveries("w1", [], 30.0) == 0
        assert await store.release_deliveries("w1", [], 0.0) == 2
        assert sorted(await take(store, "w2", "a", "b", "o", "y")) == ["a1", "y1"]

    async def test_what_no_channel_wants_dies(self, store: DurableStore) -> None:
        """Old and unclaimed, for a channel no living worker has; it can be brought back."""
        await self.room(store)
        await store.beat("w1", ["a"])
        await store.beat("dead", ["b"])
        for channel_id in ("a", "b", "c"):
            await post(store, f"{channel_id}1", channel_id=channel_id)
        await post(store, "held", owner="w1", channel_id="d")
        await self.advance(20.0)
        await store.beat("w1", ["a"])
        await post(store, "young", channel_id="e")
        assert await store.expire_deliveries(30.0) == []
        letters = await store.expire_deliveries(10.0)
        assert sorted(names(letters)) == ["b1", "c1"]
        assert {letter.error for letter in letters} == {"channel_not_registered"}
        assert sorted(names(await store.list_dead_letters())) == ["b1", "c1"]
        assert await store.expire_deliveries(10.0) == []
        assert await store.retry_dead_letter(work_id("c1"))
        assert sorted(await take(store, "w1", "a", "b", "c", "e")) == ["a1", "c1", "young"]

    async def test_what_a_dead_worker_held_dies_too(self, store: DurableStore) -> None:
        """Claimed by a worker that is dead, for a channel nobody else has."""
        await self.room(store)
        await store.beat("gone", ["z"])
        await post(store, "z1", owner="gone", channel_id="z")
        await self.advance(20.0)
        assert names(await store.expire_deliveries(10.0)) == ["z1"]

    async def test_the_last_word_of_a_worker_counts(self, store: DurableStore) -> None:
        """A beat says which channels it has from now on."""
        await self.room(store)
        await store.beat("w1", ["c"])
        await post(store, "d1")
        await self.advance(20.0)
        await store.beat("w1", ["c"])
        assert await store.expire_deliveries(10.0) == []
        await store.beat("w1", ["other"])
        assert names(await store.expire_deliveries(10.0)) == ["d1"]
