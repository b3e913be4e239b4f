"""The inbox of a durable store: messages accepted once, done in the order of each sender."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.store.commit import RecordStatus
from roomkit.store.durable import InboxRow
from roomkit.testing.conformance._durable_base import (
    GONE,
    DurableSuite,
    accept,
    alive,
    mail,
    names,
    read,
    work_id,
)

if TYPE_CHECKING:
    from roomkit.store.durable import DurableStore


class InboxCases(DurableSuite):
    """``accept``, ``claim_inbox``, ``finish_inbox`` and ``release_inbox``."""

    # -- in -------------------------------------------------------------------------------

    async def test_a_message_is_accepted_once(self, store: DurableStore) -> None:
        """Per channel and key, whatever else differs, and also when it has been done."""
        await alive(store, "w1")
        assert await store.accept(mail("m1", key="k")) == (work_id("m1"), True)
        assert await store.accept(mail("m2", key="k")) == (work_id("m1"), False)
        assert await store.accept(mail("m3", "bob", key="k")) == (work_id("m1"), False)
        assert await store.accept(mail("m4", channel_id="d", key="k")) == (work_id("m4"), True)
        assert await store.claim_inbox("w1", ["c"]) == [mail("m1", key="k")]
        assert await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        assert await store.accept(mail("m5", key="k")) == (work_id("m1"), False)
        assert await read(store, "w1", "c", "d") == ["m4"]

    async def test_many_accept_the_same_at_once(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """One of them is new, and all learn its id."""
        told = await asyncio.gather(
            *((store, second)[n % 2].accept(mail(f"m{n}", f"s{n}", key="k")) for n in range(12))
        )
        assert [new for _, new in told].count(True) == 1
        assert len({row_id for row_id, _ in told}) == 1
        await alive(store, "w1")
        assert [row.id for row in await store.claim_inbox("w1", ["c"])] == [told[0][0]]

    async def test_a_payload_comes_back_to_the_letter(self, store: DurableStore) -> None:
        """It is text to the store: no space, order or sign of it changes."""
        await alive(store, "w1")
        payload = '{"b": 1.0,  "a": "\\u00fc \u00fc \U0001f600 \'\\"", "n": 1e400}'
        row = InboxRow(work_id("m1"), "c", "ann '; --", "k \u00fc", payload)
        await store.accept(row)
        assert await store.claim_inbox("w1", ["c"]) == [row]

    async def test_a_message_may_wait(self, store: DurableStore) -> None:
        """``delay`` holds it back, and with it what its sender says after."""
        await alive(store, "w1")
        await store.accept(mail("m1"), delay=10.0)
        await accept(store, "m2")
        await accept(store, "b1", sender="bob")
        assert await read(store, "w1") == ["b1"]
        await self.later(store, 11.0, "w1")
        assert await read(store, "w1") == ["m1", "m2"]

    async def test_a_waiting_message_may_be_replaced(self, store: DurableStore) -> None:
        """It gets the new payload and delay, and keeps its place and id."""
        await alive(store, "w1")
        await store.accept(mail("m1", key="k"), delay=60.0)
        new = mail("m2", key="k")
        assert await store.accept(new, delay=10.0, replace=True) == (work_id("m1"), True)
        assert await read(store, "w1") == []
        await self.later(store, 11.0, "w1")
        (row,) = await store.claim_inbox("w1", ["c"])
        assert (row.id, row.payload) == (work_id("m1"), new.payload)
        first = await store.accept(mail("m3"), delay=0.0, replace=True)
        assert first == (work_id("m3"), True)

    @pytest.mark.parametrize("state", ["claimed", "tried", "done"])
    async def test_what_was_begun_is_not_replaced(self, store: DurableStore, state: str) -> None:
        """A repeat of it is a repeat."""
        await alive(store, "w1")
        old = mail("m1", key="k")
        await store.accept(old)
        assert await read(store, "w1") == ["m1"]
        if state != "claimed":
            status = RecordStatus.PENDING if state == "tried" else RecordStatus.DONE
            await store.finish_inbox("w1", old.id, status, retry_in=0.0)
        again = await store.accept(mail("m2", key="k"), delay=60.0, replace=True)
        assert again == (old.id, False)
        await store.release_inbox("w1")
        rows = await store.claim_inbox("w1", ["c"])
        assert [row.payload for row in rows] == ([] if state == "done" else [old.payload])

    # -- out ------------------------------------------------------------------------------

    async def test_a_senders_messages_are_one_workers(self, store: DurableStore) -> None:
        """In order; while its first is held, what follows waits, also for the holder."""
        await alive(store, "w1", "w2")
        await accept(store, "m1", "m2")
        await accept(store, "b1", sender="bob")
        assert await read(store, "w1", limit=1) == ["m1", "m2"]
        await accept(store, "m3")
        assert await read(store, "w2") == ["b1"]
        assert await read(store, "w1") == []
        for name in ("m1", "m2"):
            assert await read(store, "w2") == []
            assert await store.finish_inbox("w1", work_id(name), RecordStatus.DONE)
        assert await read(store, "w2") == ["m3"]

    async def test_a_sender_is_known_by_channel(self, store: DurableStore) -> None:
        """The same name on another channel is somebody else; only channels asked for count."""
        await alive(store, "w1", "w2")
        await store.accept(mail("m1", channel_id="c"))
        await store.accept(mail("m2", channel_id="d"))
        assert await store.claim_inbox("w1", []) == []
        assert await read(store, "w1", "c") == ["m1"]
        assert await read(store, "w2", "c") == []
        assert await read(store, "w2", "c", "d") == ["m2"]

    async def test_senders_come_in_the_order_of_their_oldest(self, store: DurableStore) -> None:
        """``limit`` counts senders, ``per_sender`` the messages of each from the first on."""
        await alive(store, "w1", "w2")
        for name, sender in (("b1", "bob"), ("a1", "ann"), ("c1", "cy"), ("b2", "bob")):
            await accept(store, name, sender=sender)
        assert await read(store, "w1", limit=1, per_sender=1) == ["b1"]
        assert sorted(await read(store, "w2", limit=5)) == ["a1", "c1"]
        assert await store.finish_inbox("w1", work_id("b1"), RecordStatus.DONE)
        assert await read(store, "w2") == ["b2"]

    async def test_a_message_not_due_ends_the_piece(self, store: DurableStore) -> None:
        """What stands behind it comes after it."""
        await alive(store, "w1")
        await accept(store, "m1")
        await store.accept(mail("m2"), delay=10.0)
        await accept(store, "m3")
        assert await read(store, "w1") == ["m1"]
        assert await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        assert await read(store, "w1") == []
        await self.later(store, 11.0, "w1")
        assert await read(store, "w1") == ["m2", "m3"]

    async def test_many_read_at_once(self, store: DurableStore, second: DurableStore) -> None:
        """Every message is handed out once, a sender's to one worker, in order."""
        workers = [f"w{n}" for n in range(6)]
        await alive(store, *workers)
        senders = [f"s{n}" for n in range(5)]
        for step in range(3):
            for sender in senders:
                await accept(store, f"{sender}-{step}", sender=sender)
        claims = await asyncio.gather(
            *(
                (store, second)[n % 2].claim_inbox(worker, ["c"], limit=2)
                for n, worker in enumerate(workers)
            )
        )
        found: dict[str, list[str]] = {}
        for claim in claims:
            by_sender: dict[str, list[InboxRow]] = {}
            for row in claim:
                by_sender.setdefault(row.sender_id, []).append(row)
            assert len(by_sender) <= 2
            assert not by_sender.keys() & found.keys()
            found |= {sender: names(rows) for sender, rows in by_sender.items()}
        for row in await store.claim_inbox("w0", ["c"]):
            found.setdefault(row.sender_id, []).extend(names([row]))
        assert found == {s: [f"{s}-{step}" for step in range(3)] for s in senders}

    # -- ends -----------------------------------------------------------------------------

    async def test_a_failed_message_is_tried_again(self, store: DurableStore) -> None:
        """Later, counted, and by anybody; all its worker holds of the sender goes back."""
        await alive(store, "w1", "w2")
        await accept(store, "m1", "m2")
        await accept(store, "b1", sender="bob")
        assert len(await read(store, "w1")) == 3
        pending = RecordStatus.PENDING
        failed = await store.finish_inbox(
            "w1", work_id("m1"), pending, error="busy", retry_in=10.0
        )
        assert failed
        assert not await store.finish_inbox("w1", work_id("m2"), RecordStatus.DONE)
        assert await store.finish_inbox("w1", work_id("b1"), RecordStatus.DONE)
        assert await read(store, "w2") == []
        await self.later(store, 11.0, "w2")
        rows = await store.claim_inbox("w2", ["c"])
        assert [(row.id, row.attempts) for row in rows] == [
            (work_id("m1"), 1),
            (work_id("m2"), 0),
        ]

    async def test_a_message_given_up_is_a_dead_letter(self, store: DurableStore) -> None:
        """With all that is known of it; the next of its sender goes on."""
        await alive(store, "w1")
        await accept(store, "m1", "m2")
        assert await read(store, "w1") == ["m1", "m2"]
        row_id = work_id("m1")
        assert await store.finish_inbox("w1", row_id, RecordStatus.PENDING, retry_in=0.0)
        assert await read(store, "w1") == ["m1", "m2"]
        assert await store.finish_inbox("w1", row_id, RecordStatus.DEAD, error="bad_message")
        (letter,) = await store.list_dead_letters()
        assert (letter.id, letter.kind, letter.channel_id) == (row_id, "inbox", "c")
        assert (letter.room_id, letter.event_id) == (None, None)
        assert (letter.attempts, letter.error) == (2, "bad_message")
        assert await store.finish_inbox("w1", work_id("m2"), RecordStatus.DONE)
        assert await store.retry_dead_letter(row_id)
        (row,) = await store.claim_inbox("w1", ["c"])
        assert (row.id, row.attempts, row.payload) == (row_id, 0, mail("m1").payload)

    @pytest.mark.parametrize("status", ["done", "dead", "skipped", "pending"])
    async def test_only_its_worker_ends_a_message(self, store: DurableStore, status: str) -> None:
        """And only once; anybody else changes nothing."""
        await alive(store, "w1", "w2")
        await accept(store, "m1")
        end = RecordStatus(status)
        assert not await store.finish_inbox("w1", work_id("m1"), end, retry_in=0.0)
        assert not await store.finish_inbox("w1", work_id("unknown"), end, retry_in=0.0)
        assert await read(store, "w1") == ["m1"]
        assert not await store.finish_inbox("w2", work_id("m1"), end, retry_in=0.0)
        assert (await store.work_stats()).inbox.attempts == 0
        assert await store.finish_inbox("w1", work_id("m1"), end, retry_in=0.0)
        assert not await store.finish_inbox("w1", work_id("m1"), end, retry_in=0.0)
        stats = (await store.work_stats()).inbox
        assert (stats.depth, stats.dead) == (status == "pending", status == "dead")

    async def test_a_worker_may_give_everything_back(self, store: DurableStore) -> None:
        """``release_inbox`` costs no attempt, and touches nobody else's."""
        await alive(store, "w1", "w2")
        await accept(store, "m1", "m2")
        await accept(store, "b1", sender="bob")
        assert await read(store, "w1", limit=1) == ["m1", "m2"]
        assert await read(store, "w2") == ["b1"]
        await store.release_inbox("w1")
        await store.release_inbox("stranger")
        assert not await store.finish_inbox("w1", work_id("m1"), RecordStatus.DONE)
        rows = await store.claim_inbox("w2", ["c"])
        assert [(row.id, row.attempts) for row in rows] == [
            (work_id("m1"), 0),
            (work_id("m2"), 0),
        ]

    @pytest.mark.parametrize("end", ["death", "retirement", "rebirth"])
    async def test_the_messages_of_the_gone_are_read_by_others(
        self, store: DurableStore, end: str
    ) -> None:
        """All of a sender's at once, in order; the former holder changes nothing more."""
        await alive(store, "w1", "w2")
        await accept(store, "m1", "m2")
        assert await read(store, "w1") == ["m1", "m2"]
        await accept(store, "m3")
        assert await read(store, "w2") == []
        if end == "death":
            await self.later(store, GONE, "w2")
        elif end == "retirement":
            await store.retire("w1")
        else:
            await store.beat("w1b", instead_of="w1")
        assert await read(store, "w2", per_sender=1) == ["m1"]
        await alive(store, "w1")
        for name in ("m1", "m2"):
            assert not await store.finish_inbox("w1", work_id(name), RecordStatus.DONE)
        assert await store.finish_inbox("w2", work_id("m1"), RecordStatus.DONE)
        assert await read(store, "w2") == ["m2", "m3"]
