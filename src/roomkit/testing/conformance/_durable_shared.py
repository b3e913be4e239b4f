"""What a durable store promises where several processes use it, and of what it remembers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch, RoomClaim
from roomkit.store.durable import DurableStore
from roomkit.testing.builders import make_binding, make_event
from roomkit.testing.conformance._durable_base import (
    ROOM,
    DurableSuite,
    alive,
    end,
    ended,
    name_of,
    pending,
    planned,
    post,
    take,
    work_id,
)
from roomkit.testing.conformance._suite import PATIENCE
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.store.commit import OpenedRoom


class SharedCases(DurableSuite):
    """Two stores on one database see one truth."""

    async def test_it_says_that_it_is_durable(self, store: DurableStore) -> None:
        """To whom asks by type, and by attribute."""
        assert isinstance(store, DurableStore)
        assert store.durable is True
        assert store.immediate is False

    async def test_waiting_for_work_ends(self, store: DurableStore) -> None:
        """After its time at the latest, and at once when it is cancelled."""
        async with asyncio.timeout(PATIENCE):
            await store.wait_for_work(0.01)
            waiter = asyncio.ensure_future(store.wait_for_work(3600.0))
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.wait((waiter,))
        assert waiter.cancelled()

    async def test_it_can_be_closed_twice_and_opened_again(self, store: DurableStore) -> None:
        """What was committed is there; in a store that lives in memory it may have gone."""
        await self.room(store)
        assert await store.open() is False
        assert await store.get_room(ROOM) is not None
        await store.close()
        await store.close()
        assert await store.open() is True
        assert len(await store.list_rooms()) <= 1

    # -- many at once ---------------------------------------------------------------------

    async def test_commits_of_two_processes_have_no_gap(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """One room, many commits through both: gapless, and each record one worker's."""
        await self.room(store)
        stores = {"w0": store, "w1": second}
        await alive(store, *stores)

        async def one(worker: str, n: int) -> tuple[int, list[str]]:
            name = f"{worker}-{n}"
            batch = CommitBatch(
                ROOM,
                (make_event(id=f"e-{name}", idempotency_key=name),),
                deliveries=(planned(name),),
                owner=worker,
            )
            result = await stores[worker].commit(batch)
            return result.events[0].index, [name_of(one) for one in result.left]

        told = await asyncio.gather(*(one(w, n) for n in range(25) for w in stores))
        assert sorted(index for index, _ in told) == list(range(50))
        await assert_invariants(store)
        await assert_invariants(second)
        listed = await second.list_events(ROOM, 0, 100)
        order = [event.id.removeprefix("e-") for event in listed]
        was_left = {name for _, names in told for name in names}
        got = [name for name in order if name not in was_left]
        # The lane is its first owner's as far as nobody else came in between.
        assert got == order[: len(got)]
        assert len({name[:2] for name in got}) == 1
        await end(stores[got[0][:2]], got[0][:2], *got)
        assert await take(second, "w1") == order[len(got) :]

    async def test_commits_on_many_rooms(self, store: DurableStore, second: DurableStore) -> None:
        """Each room is numbered for itself, whoever writes."""
        rooms = [f"r{n}" for n in range(8)]
        for room_id in rooms:
            await self.room(store, room_id)
        results = await asyncio.gather(
            *(
                (store, second)[n % 2].commit(CommitBatch(room_id, (make_event(room_id),)))
                for n in range(6)
                for room_id in rooms
            )
        )
        for room_id in rooms:
            indexes = [e.index for r in results for e in r.events if e.room_id == room_id]
            assert sorted(indexes) == list(range(6))
        await assert_invariants(second, [e for result in results for e in result.events])

    async def test_one_key_over_two_processes(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """It is accepted once, and everybody else is told the first."""
        await self.room(store)
        results = await asyncio.gather(
            *(
                (store, second)[n % 2].commit(
                    CommitBatch(ROOM, (make_event(idempotency_key="k"),))
                )
                for n in range(20)
            )
        )
        accepted = [result for result in results if result.events]
        assert len(accepted) == 1
        first = accepted[0].events[0].id
        others = {r.duplicate_of.id for r in results if r.duplicate_of is not None}
        assert others == {first}
        assert await second.get_event_count(ROOM) == 1

    async def test_one_room_a_claim_over_two_processes(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """Of many first contacts one opens the room, and all get it."""

        async def one(n: int, sender: str) -> OpenedRoom:
            room_id = f"{sender}-{n}"
            return await (store, second)[n % 2].open_room(
                RoomClaim("org", "c", sender),
                Room(id=room_id, organization_id="org"),
                make_binding("c", room_id),
                [make_event(room_id)],
            )

        senders = ("+1", "+2")
        opened = await asyncio.gather(*(one(n, s) for n in range(10) for s in senders))
        assert [room.created for room in opened].count(True) == 2
        assert len({room.room_id for room in opened}) == 2
        assert len(await second.list_rooms()) == 2
        await assert_invariants(second)

    async def test_counters_of_concurrent_writers(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """Appending, committing and changing the room at the same time lose nothing."""
        room = await self.room(store)
        await asyncio.gather(
            *(store.add_event(make_event()) for _ in range(8)),
            *(second.commit(CommitBatch(ROOM, (make_event(),))) for _ in range(8)),
            *(store.update_room(room) for _ in range(4)),
            *(second.add_binding(make_binding(f"c{n}")) for n in range(4)),
        )
        for one in (store, second):
            stored = await one.get_room(ROOM)
            assert stored is not None
            assert (stored.event_count, stored.latest_index) == (16, 15)
            assert len(await one.list_bindings(ROOM)) == 4
            await assert_invariants(one)

    # -- looking --------------------------------------------------------------------------

    async def test_a_look_shows_room_and_key(self, store: DurableStore) -> None:
        """Both in one question; an unknown room and an unknown key are None."""
        await self.room(store)
        await store.add_binding(make_binding("c"))
        result = await store.commit(CommitBatch(ROOM, (make_event(idempotency_key="k"),)))
        context, event = await store.look(ROOM)
        assert context == await store.load_context(ROOM)
        assert event is None
        context, event = await store.look(ROOM, key="unknown")
        assert context is not None
        assert event is None
        assert (await store.look(ROOM, key="k"))[1] == result.events[0]
        assert (await store.look(ROOM, known=context, key="k"))[1] == result.events[0]
        assert await store.look("unknown") == (None, None)
        assert await store.look("unknown", key="k") == (None, None)

    async def test_a_look_at_what_has_not_moved(self, store: DurableStore) -> None:
        """Gives the very object the caller knows, whatever happens in other rooms."""
        await self.room(store)
        await self.room(store, "room-2")
        await store.commit(CommitBatch(ROOM, (make_event(),)))
        context = await self._look(store)
        await store.commit(CommitBatch("room-2", (make_event("room-2"),)))
        assert (await store.look(ROOM, known=context))[0] is context
        assert await store.reload_context(context) is context
        assert (await store.look(ROOM, known=context, key="unknown"))[0] is context

    async def test_a_look_shows_every_change(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """One's own and those of other processes, each at once; and it changes no old one."""
        await self.room(store)
        await post(store, "d1", owner="w1")
        await alive(store, "w1")
        for writer in (store, second):
            known = await self._look(store)
            old = [event.id for event in known.recent_events]
            for change in (
                self._says,
                self._edits,
                self._finishes,
                self._binds,
                self._mutes,
                self._unbinds,
                self._renames,
            ):
                await change(writer)
                for reader in (store, second):
                    seen = (await reader.look(ROOM, known=known))[0]
                    assert seen is not None
                    assert seen is not known
                    assert seen == await reader.load_context(ROOM)
                    assert seen.recent_events == await reader.list_events(ROOM, 0, 50)
                    assert seen.bindings == await reader.list_bindings(ROOM)
                    assert seen.room == await reader.get_room(ROOM)
                assert [event.id for event in known.recent_events] == old
                known = await self._look(store)
                old = [event.id for event in known.recent_events]
        await second.delete_room(ROOM)
        assert await store.look(ROOM, known=known) == (None, None)
        assert store.peek_context(ROOM) is None

    async def _look(self, store: DurableStore) -> RoomContext:
        context, _ = await store.look(ROOM)
        assert context is not None
        return context

    async def _says(self, store: DurableStore) -> None:
        await store.commit(CommitBatch(ROOM, (make_event(),)))

    async def _edits(self, store: DurableStore) -> None:
        event = (await store.list_events(ROOM))[0]
        edited = event.with_metadata(version=event.metadata.get("version", 0) + 1)
        await store.commit(CommitBatch(ROOM, target=edited))

    async def _finishes(self, store: DurableStore) -> None:
        event = (await store.list_events(ROOM))[0]
        count = len(event.delivery_results)
        word = ended("d1", None, channel_id=f"c{count}", result={"n": count})
        await store.finish_deliveries([word])

    async def _binds(self, store: DurableStore) -> None:
        await store.add_binding(make_binding("c"))

    async def _mutes(self, store: DurableStore) -> None:
        await store.commit(CommitBatch(ROOM, bindings=(make_binding("c", muted=True),)))

    async def _unbinds(self, store: DurableStore) -> None:
        await store.remove_binding(ROOM, "c")

    async def _renames(self, store: DurableStore) -> None:
        room = await store.get_room(ROOM)
        assert room is not None
        count = room.metadata.get("n", 0)
        await store.update_room(room.with_metadata({"n": count + 1}, room.updated_at))

    async def test_a_context_stays_fifty_events_long(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """However many are added between two looks, and by whom."""
        await self.room(store)
        known = await self._look(store)
        for step, (writer, count) in enumerate(((store, 40), (second, 30), (store, 120))):
            events = tuple(make_event(body=f"{step}-{n}") for n in range(count))
            await writer.commit(CommitBatch(ROOM, events))
            seen = (await store.look(ROOM, known=known))[0]
            assert seen is not None
            known = seen
            total = await store.get_event_count(ROOM)
            newest = list(range(max(0, total - 50), total))
            assert [event.index for event in known.recent_events] == newest
            assert known.room.event_count == total

    async def test_an_edit_of_an_old_event_is_no_news(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """What is not shown may change without being shown; what is shown stays right."""
        await self.room(store)
        await store.commit(CommitBatch(ROOM, tuple(make_event() for _ in range(60))))
        known = await self._look(store)
        oldest = (await store.list_events(ROOM, 0, 1))[0]
        await second.commit(CommitBatch(ROOM, target=oldest.with_metadata(old=True)))
        seen = (await store.look(ROOM, known=known))[0]
        assert seen is not None
        assert [event.index for event in seen.recent_events] == list(range(10, 60))
        assert await store.get_event(oldest.id) == oldest.with_metadata(old=True)

    async def test_a_peek_is_never_wrong_about_ones_own(self, store: DurableStore) -> None:
        """It knows nothing, or what this store itself has written and seen."""
        assert store.peek_context(ROOM) is None
        await self.room(store)
        await self._look(store)
        for count in range(1, 4):
            await store.commit(CommitBatch(ROOM, (make_event(),)))
            peek = store.peek_context(ROOM)
            assert peek is None or len(peek.recent_events) == count
        await store.add_binding(make_binding("c"))
        peek = store.peek_context(ROOM)
        assert peek is None or [b.channel_id for b in peek.bindings] == ["c"]
        await store.delete_room(ROOM)
        assert store.peek_context(ROOM) is None

    async def test_a_version_follows_other_processes(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """Once this one has looked, it knows of their changes too."""
        await self.room(store)
        event = await store.add_event(make_event())
        await self._look(store)
        seen = store.peek_version(ROOM)
        changes = (
            second.add_binding(make_binding("c")),
            second.commit(CommitBatch(ROOM, target=event.deleted())),
            second.remove_binding(ROOM, "c"),
        )
        for change in changes:
            await change
            await self._look(store)
            before, seen = seen, store.peek_version(ROOM)
            assert seen is None or seen != before

    async def test_a_delivery_is_loaded_as_it_stands(
        self, store: DurableStore, second: DurableStore
    ) -> None:
        """``load_delivery`` sees what other processes have written a moment ago."""
        await self.room(store)
        await store.add_binding(make_binding("c"))
        await post(store, "d1")
        await self._look(store)
        await second.add_binding(make_binding("c", muted=True))
        event = await second.get_event("e-d1")
        assert event is not None
        await second.commit(CommitBatch(ROOM, target=event.deleted()))
        view = await store.load_delivery(ROOM, "e-d1", "c")
        assert view.event == event.deleted()
        assert view.binding is not None
        assert view.binding.muted

    async def test_cancelled_callers_leave_whole_batches(self, store: DurableStore) -> None:
        """A commit whose caller was cancelled is written whole or not at all."""
        await self.room(store)
        await alive(store, "w1")
        for n in range(30):
            batch = CommitBatch(
                ROOM,
                tuple(make_event(id=f"e-{n}-{k}", idempotency_key=f"{n}-{k}") for k in range(2)),
                bindings=(make_binding(f"c{n}"),),
                owner="w1",
            )
            caller = asyncio.ensure_future(store.commit(batch))
            for _ in range(n % 10):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait((caller,))
            result = await store.commit(batch)
            assert len(result.events) == 2 or result.duplicate_of is not None
        assert await store.get_event_count(ROOM) == 60
        assert len(await store.list_bindings(ROOM)) == 30
        await assert_invariants(store)
        assert await pending(store) == 0
        assert await store.discard_dead_letter(work_id("none")) is False
