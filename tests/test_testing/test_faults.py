"""FaultStore fails where it is told, and finds stores that do things by halves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models.content import SystemContent
from roomkit.models.delivery import InboundResult
from roomkit.models.enums import RoomStatus
from roomkit.models.room import Room
from roomkit.store.base import ConversationStore
from roomkit.store.commit import CommitBatch
from roomkit.store.memory import InMemoryStore
from roomkit.testing import (
    FaultStore,
    Outcome,
    StoreWrapper,
    assert_invariants,
    check_invariants,
    make_binding,
    make_event,
    sweep_faults,
)

if TYPE_CHECKING:
    from roomkit.store.commit import CommitResult
    from roomkit.testing.faults import When


class TestFaultStore:
    """The k-th call fails, before or after its effect, once."""

    async def test_calls_are_counted_by_name(self) -> None:
        """In order, with the failed ones; a peek is no call."""
        store = FaultStore(InMemoryStore())
        await store.create_room(Room(id="r"))
        await store.get_room("r")
        store.fail_at(3, ConnectionError("gone"))
        store.peek_version("r")
        with pytest.raises(ConnectionError, match="gone"):
            await store.get_room("r")
        assert store.calls == ["create_room", "get_room", "get_room"]
        assert store.counts == {"create_room": 1, "get_room": 2}
        assert [fault.number for fault in store.fired] == [3]
        assert await store.get_room("r") is not None

    @pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
    async def test_before_and_after(self, when: When, stored: int) -> None:
        """A call that fails before its effect has none; after it, only the answer is lost."""
        store = FaultStore(InMemoryStore())
        store.fail_at(1, TimeoutError, when)
        with pytest.raises(TimeoutError):
            await store.add_event(make_event())
        assert await store.inner.get_event_count("room-1") == stored

    async def test_one_method_may_be_meant(self) -> None:
        """Then only its calls count."""
        store = FaultStore(InMemoryStore())
        store.fail_at(2, LookupError, method="get_room")
        await store.get_room("r")
        await store.add_event(make_event())
        with pytest.raises(LookupError):
            await store.get_room("r")

    async def test_a_call_may_hang(self) -> None:
        """Until it is cancelled."""
        store = FaultStore(InMemoryStore())
        store.fail_at(1, "hang", "after")
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(store.add_event(make_event()))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
        assert await store.get_event_count("room-1") == 1

    async def test_the_caller_may_be_cancelled(self) -> None:
        """As if somebody had cancelled its task at that call."""
        store = FaultStore(InMemoryStore())
        store.fail_at(1, "cancel")
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(store.add_event(make_event()))
        assert task.cancelled()
        assert await store.get_event_count("room-1") == 0

    async def test_the_past_cannot_fail(self) -> None:
        """Nor a call number zero; ``reset`` begins a new count."""
        store = FaultStore(InMemoryStore())
        await store.get_room("r")
        for number in (0, 1):
            with pytest.raises(ValueError, match="cannot fail"):
                store.fail_at(number, LookupError)
        store.reset()
        store.fail_at(1, LookupError)
        with pytest.raises(LookupError):
            await store.get_room("r")

    async def test_more_than_the_abc_is_reached(self) -> None:
        """Methods of the inner store that ConversationStore lacks can be called."""

        class Bigger(InMemoryStore):
            def extra(self) -> str:
                return "here"

        assert FaultStore(Bigger()).extra() == "here"
        with pytest.raises(AttributeError):
            _ = FaultStore(InMemoryStore()).extra


class _HalfStore(StoreWrapper):
    """Wrong on purpose: its commit is many calls, and nobody undoes the first ones."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        return await ConversationStore.commit(self, batch)


class TestWrongStore:
    """What is done by halves shows under a sweep of faults, and only there."""

    @given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    async def test_halves_are_found(self, sizes: list[int]) -> None:
        """A commit cut in two breaks its promise; one transaction survives every fault."""
        assert await self._broken(sizes, half=True) > 0
        assert await self._broken(sizes, half=False) == 0

    async def _broken(self, sizes: list[int], *, half: bool) -> int:
        """Sweep all faults over some commits; return after how many a batch was cut."""
        cut = 0

        async def scenario(store: FaultStore) -> None:
            target: ConversationStore = _HalfStore(store) if half else store
            await target.create_room(Room(id="room-1"))
            for size in sizes:
                events = tuple(make_event(body=str(size)) for _ in range(size))
                bindings = (make_binding(f"c{size}"),)
                await target.commit(CommitBatch("room-1", events, bindings=bindings))

        async def check(number: int, outcome: Outcome, store: FaultStore) -> None:
            nonlocal cut
            inner = store.inner
            await assert_invariants(inner)
            events = await inner.list_events("room-1", 0, 100)
            whole = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
            bound = {binding.channel_id for binding in await inner.list_bindings("room-1")}
            done = None
            if len(events) in whole:
                done = {f"c{size}" for size in sizes[: whole.index(len(events))]}
            cut += done != bound

        await sweep_faults(InMemoryStore, scenario, check)
        return cut


class TestInvariants:
    """Broken promises are found, each under its name."""

    async def test_a_sound_store_has_none(self, store: InMemoryStore) -> None:
        """Whatever it went through."""
        await store.create_room(Room(id="room-1"))
        first = await store.add_event(make_event(idempotency_key="k"))
        await store.add_event(make_event(parent_event_id=first.id))
        assert await check_invariants(store) == []
        await assert_invariants(store, [first])

    @pytest.mark.parametrize(
        ("rule", "lie"),
        [
            ("gapless", {"index": 5}),
            ("room", {"room_id": "elsewhere"}),
            ("parent", {"parent_event_id": "nobody"}),
            ("lookup", {"status": "read"}),
        ],
    )
    async def test_a_lie_about_an_event_is_found(
        self, store: InMemoryStore, rule: str, lie: dict[str, object]
    ) -> None:
        """In the listing of a room."""

        class Lying(StoreWrapper):
            async def list_events(self, *args: object) -> list[object]:  # type: ignore[override]
                found = await super().list_events(*args)  # type: ignore[arg-type]
                return [make_event(**{**dict(event), **lie}) for event in found]

        await store.create_room(Room(id="room-1"))
        await store.add_event(make_event())
        assert rule in {violation.rule for violation in await check_invariants(Lying(store))}

    async def test_repeats_are_found(self, store: InMemoryStore) -> None:
        """One key or one id for two events."""
        await store.create_room(Room(id="room-1"))
        event = make_event(idempotency_key="k")
        await store.add_event(event)
        await store.add_event(event)
        rules = {violation.rule for violation in await check_invariants(store)}
        assert {"key", "id", "lookup"} <= rules

    async def test_wrong_counters_are_found(self, store: InMemoryStore) -> None:
        """In the room, and where they are asked for."""

        class Forgetful(StoreWrapper):
            async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
                rooms = await super().list_rooms(offset, limit)
                return [room.counted(0, 0) for room in rooms]

        await store.create_room(Room(id="room-1"))
        for _ in range(2):
            await store.add_event(make_event())
        rules = {violation.rule for violation in await check_invariants(Forgetful(store))}
        assert rules == {"count", "latest"}

    async def test_what_callers_were_told_is_compared(self, store: InMemoryStore) -> None:
        """An accepted event must be there under its index; a blocked one not delivered."""
        await store.create_room(Room(id="room-1"))
        event = await store.add_event(make_event(status="delivered"))
        await assert_invariants(store, [event, InboundResult(event=event)])
        await assert_invariants(store, [InboundResult(blocked=True, reason="x")])
        lies = [
            make_event(),
            event.numbered(3),
            InboundResult(event=event, blocked=True, reason="process_timeout"),
        ]
        for lie in lies:
            with pytest.raises(AssertionError, match=r"kept|refused"):
                await assert_invariants(store, [lie])
        again = InboundResult(event=event, blocked=True, reason="duplicate")
        await assert_invariants(store, [again])

    async def test_nothing_is_delivered_after_the_end(self, store: InMemoryStore) -> None:
        """In a room closed by its timer, or by hand at a known count."""
        room = await store.create_room(Room(id="room-1"))
        for _ in range(2):
            await store.add_event(make_event(status="delivered"))
        await store.update_room(room.moved_to(RoomStatus.CLOSED, room.created_at))
        assert await check_invariants(store) == []
        assert await check_invariants(store, closed={"room-1": 2}) == []
        late = await check_invariants(store, closed={"room-1": 1})
        assert [violation.rule for violation in late] == ["closed"]
        closing = SystemContent(body="closed", code="room_closed_by_timer")
        await store.add_event(make_event(channel_type="system", content=closing))
        assert await check_invariants(store) == []
        await store.add_event(make_event(status="delivered"))
        assert [str(violation)[:6] for violation in await check_invariants(store)] == ["closed"]
