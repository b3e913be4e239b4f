"""Dead letters, figures and the removal of what has ended, in a durable store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from roomkit.store.commit import CommitBatch, DeliveryFinish, DeliveryKind, RecordStatus
from roomkit.store.durable import QueueStats, WorkStats
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._durable_base import (
    GONE,
    LANE,
    ROOM,
    DurableSuite,
    accept,
    again,
    alive,
    end,
    ended,
    mail,
    name_of,
    names,
    pending,
    planned,
    post,
    read,
    take,
    work_id,
)
from roomkit.testing.conformance._suite import PATIENCE

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore

_PAST = datetime(2000, 1, 1, tzinfo=UTC)
_FUTURE = datetime(2200, 1, 1, tzinfo=UTC)


class LetterCases(DurableSuite):
    """What was given up, what waits, and what is forgotten."""

    # -- dead letters ---------------------------------------------------------------------

    async def _give_up(self, store: DurableStore) -> None:
        """Give up five pieces of work, a second apart: d1, r1, m1, x1, d2."""
        for room_id in (ROOM, "room-2"):
            await self.room(store, room_id)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        event = make_event(id="e-r1")
        react = planned("r1", "bot", kind=DeliveryKind.REACT)
        await store.commit(CommitBatch(ROOM, (event,), deliveries=(react,), owner="w1"))
        await accept(store, "m1")
        assert await read(store, "w1") == ["m1"]
        await post(store, "x1", owner="w1", room_id="room-2")
        await post(store, "d2", owner="w1", channel_id="d")
        for name, channel_id, kind in (
            ("d1", "c", DeliveryKind.DELIVER),
            ("r1", "bot", DeliveryKind.REACT),
            ("m1", "", None),
            ("x1", "c", DeliveryKind.DELIVER),
            ("d2", "d", DeliveryKind.DELIVER),
        ):
            await self.later(store, 1.0, "w1")
            dead, error = RecordStatus.DEAD, f"error_{name}"
            if kind is None:
                assert await store.finish_inbox("w1", work_id(name), dead, error=error)
                continue
            finish = DeliveryFinish(
                work_id(name),
                f"e-{name}",
                channel_id,
                kind,
                dead,
                {"status": "failed"},
                "w1",
                attempts=3,
                error=error,
            )
            await store.finish_deliveries([finish])

    async def test_letters_tell_what_was_given_up(self, store: DurableStore) -> None:
        """The latest first, with kind, place, attempts, error and time."""
        await self._give_up(store)
        letters = await store.list_dead_letters()
        assert names(letters) == ["d2", "x1", "m1", "r1", "d1"]
        kinds = [letter.kind for letter in letters]
        assert kinds == ["deliver", "deliver", "inbox", "react", "deliver"]
        assert [letter.room_id for letter in letters] == [ROOM, "room-2", None, ROOM, ROOM]
        assert [letter.channel_id for letter in letters] == ["d", "c", "c", "bot", "c"]
        assert [letter.event_id for letter in letters] == ["e-d2", "e-x1", None, "e-r1", "e-d1"]
        assert [letter.attempts for letter in letters] == [3, 3, 1, 3, 3]
        assert [letter.error for letter in letters] == [f"error_{n}" for n in names(letters)]
        moments = [letter.died_at for letter in letters]
        assert all(moment.tzinfo is not None for moment in moments)
        assert moments == sorted(moments, reverse=True)

    async def test_letters_are_found_and_paged(self, store: DurableStore) -> None:
        """All filters must match; pages come after them."""
        await self._give_up(store)
        found = store.list_dead_letters
        assert names(await found(kind="deliver")) == ["d2", "x1", "d1"]
        assert names(await found(kind="react")) == ["r1"]
        assert names(await found(kind="inbox")) == ["m1"]
        assert names(await found(room_id=ROOM)) == ["d2", "r1", "d1"]
        assert names(await found(channel_id="c")) == ["x1", "m1", "d1"]
        assert names(await found(kind="deliver", room_id=ROOM, channel_id="c")) == ["d1"]
        assert names(await found(kind="inbox", room_id=ROOM)) == []
        assert names(await found(limit=2)) == ["d2", "x1"]
        assert names(await found(offset=2, limit=2)) == ["m1", "r1"]
        assert names(await found(offset=4, limit=2)) == ["d1"]
        assert names(await found(kind="deliver", offset=1, limit=1)) == ["x1"]
        assert names(await found(offset=9)) == []

    async def test_a_letter_may_be_tried_again(self, store: DurableStore) -> None:
        """It is due at once and untried; as no letter any more, only once."""
        await self._give_up(store)
        for name in ("d1", "m1"):
            assert await store.retry_dead_letter(work_id(name)) is True
            assert await store.retry_dead_letter(work_id(name)) is False
        assert await store.retry_dead_letter(work_id("unknown")) is False
        assert names(await store.list_dead_letters()) == ["d2", "x1", "r1"]
        (record,) = await store.claim_deliveries("w1", ["c"])
        assert (name_of(record.id), record.attempts) == ("d1", 0)
        (row,) = await store.claim_inbox("w1", ["c"])
        assert (name_of(row.id), row.attempts) == ("m1", 0)
        assert await end(store, "w1", "d1") == set()

    async def test_a_letter_may_be_discarded(self, store: DurableStore) -> None:
        """It is no letter any more, and never handed out."""
        await self._give_up(store)
        for name in ("d1", "m1"):
            assert await store.discard_dead_letter(work_id(name)) is True
            assert await store.discard_dead_letter(work_id(name)) is False
            assert await store.retry_dead_letter(work_id(name)) is False
        assert await store.discard_dead_letter(work_id("unknown")) is False
        assert names(await store.list_dead_letters()) == ["d2", "x1", "r1"]
        assert await take(store, "w1", "c") == []
        assert await read(store, "w1", "c") == []
        assert await store.accept(mail("m1")) == (work_id("m1"), False)

    async def test_only_letters_are_retried_or_discarded(self, store: DurableStore) -> None:
        """Not what waits, what is being done, or what is done."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "held", owner="w1")
        await post(store, "done", owner="w1", channel_id="d")
        await store.finish_deliveries([ended("done", "w1", channel_id="d")])
        await accept(store, "m1")
        for name in ("held", "done", "m1"):
            assert await store.retry_dead_letter(work_id(name)) is False
            assert await store.discard_dead_letter(work_id(name)) is False
        assert await pending(store) == 1
        assert await end(store, "w1", "held") == set()
        assert await read(store, "w1") == ["m1"]

    async def test_a_letter_that_returns_disturbs_nobody(self, store: DurableStore) -> None:
        """While its lane is at work, that goes on undisturbed; the letter gets its turn."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await store.finish_deliveries([ended("d1", "w1", RecordStatus.DEAD, attempts=1)])
        assert await store.retry_dead_letter(work_id("d1"))
        taken = await take(store, "w2")
        assert taken in ([], ["d1"])
        await store.finish_deliveries([ended("d2", "w1", result={"status": "sent"})])
        stored = await store.get_event("e-d2")
        assert stored is not None
        assert stored.delivery_results == {"c": {"status": "sent"}}
        assert taken + await take(store, "w2") == ["d1"]
        assert await end(store, "w2", "d1") == set()
        assert await pending(store) == 0

    # -- figures --------------------------------------------------------------------------

    async def test_an_idle_store_has_nothing_to_tell(self, store: DurableStore) -> None:
        """All figures are zero."""
        assert await store.work_stats() == WorkStats(QueueStats(), QueueStats(), 0)

    async def test_figures_are_exact(self, store: DurableStore) -> None:
        """Depth, what is due, the age of the oldest, failed attempts, letters, workers."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "old", owner="w1", channel_id="a")
        await self.later(store, 100.0, "w1", "w2")
        await post(store, "wait", owner="w1", channel_id="b")
        await store.finish_deliveries([_of("b", again("wait", "w1", 50.0, attempts=2))])
        await post(store, "free", channel_id="d")
        await post(store, "dead", owner="w1", channel_id="e")
        dead = ended("dead", "w1", RecordStatus.DEAD, "e", attempts=5)
        await store.finish_deliveries([dead])
        await post(store, "done", owner="w1", channel_id="f")
        await store.finish_deliveries([ended("done", "w1", channel_id="f")])
        await store.accept(mail("m1"), delay=30.0)
        await accept(store, "b1", sender="bob")
        await accept(store, "c1", "c2", sender="cy")
        assert await read(store, "w1") == ["b1", "c1", "c2"]
        await store.finish_inbox("w1", work_id("b1"), RecordStatus.DEAD, error="x")
        await store.finish_inbox("w1", work_id("c1"), RecordStatus.PENDING, retry_in=0.0)
        await self.later(store, 10.0, "w2")
        stats = await store.work_stats()
        assert stats.workers == 1
        self._compare(stats.deliveries, QueueStats(3, 2, 110.0, 2, 1))
        self._compare(stats.inbox, QueueStats(3, 2, 10.0, 1, 1))
        await self.later(store, 41.0)
        stats = await store.work_stats()
        assert (stats.deliveries.due, stats.inbox.due, stats.workers) == (3, 3, 0)

    def _compare(self, stats: QueueStats, expected: QueueStats) -> None:
        """Compare; the time that really passes meanwhile may add to the age."""
        figures = (stats.depth, stats.due, stats.attempts, stats.dead)
        assert figures == (expected.depth, expected.due, expected.attempts, expected.dead)
        assert 0 <= stats.lag - expected.lag <= PATIENCE

    async def test_figures_are_zero_when_all_is_done(self, store: DurableStore) -> None:
        """The age and the attempts are of what still waits."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", owner="w1")
        await store.finish_deliveries([again("d1", "w1", 0.0, attempts=4)])
        assert await take(store, "w1") == ["d1"]
        await self.later(store, 5.0, "w1")
        await end(store, "w1", "d1")
        await self.advance(GONE)
        assert await store.work_stats() == WorkStats(QueueStats(), QueueStats(), 0)

    # -- forgetting -----------------------------------------------------------------------

    async def test_what_has_ended_is_purged(self, store: DurableStore) -> None:
        """Only that, and only what ended before the time; events and keys stay."""
        await self.room(store)
        await alive(store, "w1")
        batch = CommitBatch(
            ROOM,
            (make_event(id="e-d1", idempotency_key="k"),),
            deliveries=(planned("d1"),),
            owner="w1",
        )
        await store.commit(batch)
        await post(store, "d2", "d3", owner="w1")
        await accept(store, "m1", "m2")
        assert await read(store, "w1") == ["m1", "m2"]
        assert await store.purge(_FUTURE) == 0
        done = {"status": "sent", "provider_message_id": "v1"}
        skipped = ended("d2", "w1", RecordStatus.SKIPPED)
        await store.finish_deliveries([ended("d1", "w1", result=done), skipped])
        assert await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        assert await store.purge(_PAST) == 0
        assert await store.purge(_FUTURE) == 3
        assert await store.purge(_FUTURE) == 0
        stats = await store.work_stats()
        assert (stats.deliveries.depth, stats.inbox.depth) == (1, 1)
        assert await end(store, "w1", "d3") == set()
        event = await store.find_event_by_key(ROOM, "k")
        assert event is not None
        assert event.delivery_results == {"c": done}
        assert await store.find_event_by_channel_key("channel-1", "k") == event
        found = await store.find_event_by_provider_message_id("v1")
        assert found is not None
        assert found[0].id == "e-d1"
        repeat = CommitBatch(ROOM, (make_event(idempotency_key="k"),))
        assert (await store.commit(repeat)).duplicate_of == event

    async def test_the_time_of_the_end_decides(self, store: DurableStore) -> None:
        """Not when it was written."""
        await self.room(store)
        await alive(store, "w1")
        await post(store, "d1", "d2", "dead", owner="w1")
        await end(store, "w1", "d1")
        await self.later(store, 100.0, "w1")
        await store.finish_deliveries([ended("dead", "w1", RecordStatus.DEAD)])
        (letter,) = await store.list_dead_letters()
        await self.later(store, 100.0, "w1")
        await end(store, "w1", "d2")
        (letter,) = await store.list_dead_letters()
        assert await store.purge(letter.died_at) == 1
        assert await store.purge(letter.died_at) == 0
        assert names(await store.list_dead_letters()) == ["dead"]

    async def test_dead_letters_outlive_a_purge(self, store: DurableStore) -> None:
        """They stay until somebody has decided about them, as ``RoomKit.purge`` says."""
        await self._give_up(store)
        assert await store.purge(_FUTURE) == 0
        assert len(await store.list_dead_letters()) == 5
        for name in ("d1", "m1"):
            assert await store.discard_dead_letter(work_id(name))
        assert await store.purge(_FUTURE) == 2
        assert names(await store.list_dead_letters()) == ["d2", "x1", "r1"]

    async def test_a_lane_goes_on_after_a_purge(self, store: DurableStore) -> None:
        """Its order and claims do not depend on what was removed."""
        await self.room(store)
        await alive(store, "w1", "w2")
        await post(store, "d1", "d2", owner="w1")
        await end(store, "w1", "d1")
        await store.purge(_FUTURE)
        assert await post(store, "d3", owner="w2") == ["d3"]
        assert await end(store, "w1", "d2") == {LANE}
        assert await take(store, "w2") == ["d3"]


def _of(channel_id: str, finish: DeliveryFinish) -> DeliveryFinish:
    """Return a finish as one of another channel."""
    return DeliveryFinish(
        finish.id,
        finish.event_id,
        channel_id,
        finish.kind,
        finish.status,
        owner=finish.owner,
        attempts=finish.attempts,
        retry_in=finish.retry_in,
        error=finish.error,
    )
