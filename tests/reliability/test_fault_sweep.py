"""Every call of a store, lock, vendor or realtime backend failing in turn.

Before the commit a failure leaves nothing, not even a burnt key; after it nothing is ever
reported refused. What could not be told to the caller is settled by a repeat.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    CommitOutcomeUnknown,
    DeleteContent,
    EditContent,
    EventType,
    InboundResult,
    InMemoryLockManager,
    InMemoryRealtime,
    InMemoryStore,
    MockSMSProvider,
    ProviderResult,
    RetryPolicy,
    RoomEvent,
    RoomKit,
    SMSChannel,
    StoreUnavailableError,
    TextContent,
)
from roomkit.testing import (
    FaultStore,
    SimpleChannel,
    assert_invariants,
    sweep_faults,
)
from tests.reliability._world import CALLS, KEY, KEYED, World
from tests.support.kits import inbound, open_room, texts
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from roomkit.testing import Outcome
    from roomkit.testing.faults import Fault

    type Scenario = Callable[[World], Awaitable[Any]]


async def _edit(world: World) -> Any:
    first = await world.kit.process_inbound(inbound("first"), room_id="r")
    assert first.event is not None
    content = EditContent(target_event_id=first.event.id, new_content=TextContent(body="new"))
    message = inbound(content, event_type=EventType.EDIT, idempotency_key=KEY)
    return await world.kit.process_inbound(message, room_id="r")


async def _delete(world: World) -> Any:
    first = await world.kit.process_inbound(inbound("first"), room_id="r")
    assert first.event is not None
    content = DeleteContent(target_event_id=first.event.id)
    message = inbound(content, event_type=EventType.DELETE, idempotency_key=KEY)
    return await world.kit.process_inbound(message, room_id="r")


async def _crowd(world: World) -> Any:
    return await asyncio.gather(
        *(
            world.kit.process_inbound(inbound(f"m{n}", idempotency_key=f"k{n}"), room_id="r")
            for n in range(3)
        ),
        return_exceptions=True,
    )


async def _twins(world: World) -> Any:
    message = inbound(idempotency_key=KEY)
    return await asyncio.gather(
        *(world.kit.process_inbound(message, room_id="r") for _ in range(3)),
        return_exceptions=True,
    )


async def _newcomers(world: World) -> Any:
    return await asyncio.gather(
        *(
            world.kit.process_inbound(inbound(f"m{n}", "sms", "new", idempotency_key=f"k{n}"))
            for n in range(3)
        ),
        return_exceptions=True,
    )


async def _life(world: World) -> Any:
    kit = world.kit
    await kit.create_room("l")
    await kit.attach_channel("l", "a")
    await kit.send_event("l", "a", TextContent(body="hi"))
    await kit.close_room("l")
    await kit.reopen_room("l")
    await kit.close_room("l")
    return await kit.archive_room("l")


async def _mute_and_talk(world: World) -> Any:
    await world.kit.mute("r", "ai")
    await world.kit.process_inbound(inbound("one"), room_id="r")
    await world.kit.unmute("r", "ai")
    return await world.kit.process_inbound(inbound("two", idempotency_key=KEY), room_id="r")


SCENARIOS: dict[str, Scenario] = {
    **{name: CALLS[name] for name in KEYED},
    "edit": _edit,
    "delete": _delete,
    "crowd": _crowd,
    "twins": _twins,
    "newcomers": _newcomers,
    "life": _life,
    "mute_and_talk": _mute_and_talk,
    **{
        name: CALLS[name]
        for name in (
            "process_delivery_status",
            "create_room",
            "update_room_metadata",
            "attach_channel",
            "detach_channel",
            "set_visibility",
            "update_binding_metadata",
            "ensure_participant",
            "resolve_participant",
        )
    },
}
"""Twenty ways to use a kit."""


def flattened(outcome: Outcome) -> list[Any]:
    """Return the results a scenario gave, its own error among them."""
    if outcome.error is not None:
        return [outcome.error]
    found = outcome.result if isinstance(outcome.result, list) else [outcome.result]
    return list(found)


class TestStoreFaults:
    """The k-th call of the store fails, for every k, before its effect and after."""

    @pytest.mark.parametrize("name", SCENARIOS)
    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(ConnectionError, id="gone"),
            pytest.param(TimeoutError, id="slow"),
            pytest.param(StoreUnavailableError, id="down"),
            pytest.param("cancel", id="cancelled"),
        ],
    )
    async def test_nothing_is_half_done(self, name: str, fault: Fault) -> None:
        world: World
        wanted = asyncio.CancelledError if fault == "cancel" else fault

        async def scenario(faulty: FaultStore) -> Any:
            nonlocal world
            world = World(faulty, _inner(faulty)).furnish()
            try:
                return await SCENARIOS[name](world)
            finally:
                assert await world.kit.drain(5)

        async def check(number: int, outcome: Outcome, faulty: FaultStore) -> None:
            spared = fault == "cancel" and faulty.fired and faulty.calls[number - 1] != "commit"
            faulty.reset()  # the last run still waits for its fault
            assert await world.kit.drain(5)
            assert world.locks.held == []
            results = flattened(outcome)
            told = [r for r in results if isinstance(r, InboundResult | RoomEvent)]
            await assert_invariants(world.inner, told)
            for error in results:
                if isinstance(error, BaseException):
                    assert type(error) in (wanted, CommitOutcomeUnknown), error
            if name in KEYED:
                await self._repeat(name, world, results[0], delivered=not spared)
            await world.kit.close()
            assert world.locks.held == []

        assert await sweep_faults(_filled, scenario, check, faults=[fault]) > 4

    @staticmethod
    async def _repeat(name: str, world: World, result: Any, *, delivered: bool) -> None:
        """A repeat with the same key: one event in the end, delivered, and the same result."""
        stored = [
            event
            for room in await world.inner.list_rooms(0, 100)
            if (event := await world.inner.find_event_by_key(room.id, KEY)) is not None
        ]
        if not isinstance(result, BaseException):
            assert len(stored) == 1
        elif not isinstance(result, CommitOutcomeUnknown | asyncio.CancelledError):
            # An error means that nothing was stored.
            assert stored == []
        for event in stored:
            # Committed means kept: each target has got it, or a record of why not. Only a
            # lane that something foreign cancels cannot tell.
            targets = {"ws"} if event.room_id == "r" and delivered else set()
            assert targets <= set(event.delivery_results)
        again = await SCENARIOS[name](world)
        assert await world.kit.drain(5)
        event = again.event if isinstance(again, InboundResult) else again
        assert event is not None
        if stored:
            assert event.id == stored[0].id
        if isinstance(again, InboundResult):
            assert again.blocked == bool(stored)
        await assert_invariants(world.inner, [again])


async def _filled() -> SuspendingStore:
    """Return a store whose rooms are there already: only the scenario's own calls fail."""
    inner = InMemoryStore()
    await (await World(inner, inner).build()).kit.close()
    return SuspendingStore(inner)


def _inner(faulty: FaultStore) -> InMemoryStore:
    """Return the store at the bottom."""
    suspending = faulty.inner
    assert isinstance(suspending, SuspendingStore)
    bottom = suspending.inner
    assert isinstance(bottom, InMemoryStore)
    return bottom


class FaultyLocks(InMemoryLockManager):
    """Locks whose k-th taking or freeing fails, before or after its effect."""

    def __init__(self, number: int, step: str, when: str) -> None:
        super().__init__()
        self.number, self.step, self.when = number, step, when
        self.counts = {"take": 0, "free": 0}
        self.fired = False

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return _FaultyLock(self, super().locked(room_id))

    def strikes(self, step: str, when: str) -> None:
        if (step, when) == (self.step, self.when) and self.counts[step] == self.number:
            self.fired = True
            raise ConnectionError("the lock server is gone")


class _FaultyLock:
    def __init__(self, owner: FaultyLocks, lock: AbstractAsyncContextManager[None]) -> None:
        self._owner, self._lock = owner, lock

    async def __aenter__(self) -> None:
        self._owner.counts["take"] += 1
        self._owner.strikes("take", "before")
        await self._lock.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        self._owner.counts["free"] += 1
        # A lock that cannot be freed by hand ends with its lease; here at once.
        await self._lock.__aexit__(*exc)
        self._owner.strikes("free", "after")


class TestLockFaults:
    """The lock server fails: before the gates nothing is stored; after the commit all is well."""

    @pytest.mark.parametrize("name", ["process_inbound", "send_event", "newcomer"])
    async def test_taking_it_fails(self, name: str) -> None:
        for number in range(1, 10):
            locks, kit, b, store = await self._kit(number, "take", "before")
            call = self._call(kit, name)
            try:
                result = await call()
            except ConnectionError:
                assert locks.fired
                assert [e for e in await self._all(store) if e.content.type == "text"] == []
                result = await call()
            assert not isinstance(result, InboundResult) or not result.blocked
            assert await kit.drain(5)
            assert texts(b.delivered).count("hello") == (name != "newcomer")
            await assert_invariants(store, [result])
            await kit.close()
            if not locks.fired:
                break
        assert number > 1

    @pytest.mark.parametrize("name", ["process_inbound", "send_event", "newcomer"])
    async def test_freeing_it_fails(self, name: str) -> None:
        """What was committed is reported, delivered and answered as ever."""
        for number in range(1, 10):
            locks, kit, b, store = await self._kit(number, "free", "after")
            result = await self._call(kit, name)()
            assert not isinstance(result, InboundResult) or not result.blocked
            assert await kit.drain(5)
            assert texts(b.delivered).count("hello") == (name != "newcomer")
            await assert_invariants(store, [result])
            await kit.close()
            if not locks.fired:
                break
        assert number > 1

    @staticmethod
    def _call(kit: RoomKit, name: str) -> Callable[[], Awaitable[Any]]:
        if name == "send_event":
            return lambda: kit.send_event("r", "a", TextContent(body="hello"))
        if name == "newcomer":
            return lambda: kit.process_inbound(inbound(channel_id="sms", sender="new"))
        return lambda: kit.process_inbound(inbound(), room_id="r")

    @staticmethod
    async def _all(store: InMemoryStore) -> list[RoomEvent]:
        rooms = await store.list_rooms(0, 100)
        return [event for room in rooms for event in await store.list_events(room.id, 0, 1000)]

    @staticmethod
    async def _kit(
        number: int, step: str, when: str
    ) -> tuple[FaultyLocks, RoomKit, SimpleChannel, InMemoryStore]:
        store = InMemoryStore()
        a, b = SimpleChannel("a"), SimpleChannel("b")
        sms = SMSChannel("sms", provider=MockSMSProvider())
        await open_room(RoomKit(store), a, b)
        locks = FaultyLocks(number, step, when)
        kit = RoomKit(store, lock_manager=locks)
        for channel in (a, b, sms):
            kit.register_channel(channel)
        return locks, kit, b, store


class TestVendorFaults:
    """A vendor's failure is that delivery's alone, and never changes what was accepted."""

    @pytest.mark.parametrize(
        ("answer", "tries"),
        [
            (ConnectionError("gone"), 3),
            (TimeoutError("slow"), 3),
            (ProviderResult(success=False, error="rate_limit"), 3),
            (ProviderResult(success=False, metadata={"retryable": False}), 1),
            (ProviderResult(success=False, error="no answer", metadata={"ambiguous": True}), 1),
            (ValueError("nonsense"), 3),
        ],
        ids=["gone", "slow", "refused", "permanent", "ambiguous", "broken"],
    )
    async def test_the_message_stays_accepted(
        self, answer: ProviderResult | Exception, tries: int
    ) -> None:
        store = InMemoryStore()
        provider = MockSMSProvider(results=[answer] * 3)
        kit = RoomKit(store)
        b = SimpleChannel("b")
        await open_room(kit, SimpleChannel("a"), b)
        kit.register_channel(SMSChannel("sms", provider=provider))
        await kit.attach_channel(
            "r",
            "sms",
            metadata={"phone_number": "1"},
            retry_policy=RetryPolicy(max_retries=2, base_delay_seconds=0.001),
        )
        result = await kit.process_inbound(inbound(), room_id="r")
        assert not result.blocked
        assert result.event is not None
        assert len(provider.sent) == tries
        stored = await store.get_event(result.event.id)
        assert stored is not None
        assert stored.status == "delivered"
        assert stored.delivery_results["sms"]["status"] == "failed"
        assert stored.delivery_results["b"]["status"] == "sent"
        again = await kit.process_inbound(inbound("again"), room_id="r")
        assert texts(b.delivered) == ["hello", "again"]
        await assert_invariants(store, [result, again])
        await kit.close()


class TestRealtimeFaults:
    """A realtime backend that fails costs its own calls and nothing else."""

    async def test_messages_go_on(self) -> None:
        class Down(InMemoryRealtime):
            async def publish(self, channel: str, event: Any) -> None:
                raise ConnectionError("gone")

            async def close(self) -> None:
                await super().close()
                raise ConnectionError("gone")

        a, b = SimpleChannel("a"), SimpleChannel("b")
        kit = RoomKit(realtime=Down())
        await open_room(kit, a, b)
        with pytest.raises(ConnectionError):
            await kit.publish_typing("r", "alice")
        assert not (await kit.process_inbound(inbound(), room_id="r")).blocked
        assert texts(b.delivered) == ["hello"]
        with pytest.raises(ConnectionError):
            await kit.close()
        assert (a.closed, b.closed) == (True, True)
