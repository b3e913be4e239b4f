"""Bugs put in on purpose: each is caught by a check of this folder, and the sound part is not.

A check nobody has seen fail proves nothing. Every bug is a wrong collaborator, given to a kit
through its constructor or registered as a user would.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from roomkit import (
    HookExecution,
    HookResult,
    HookTrigger,
    InMemoryLockManager,
    InMemoryStore,
    MockSMSProvider,
    RoomKit,
    SMSChannel,
)
from roomkit.testing import (
    FaultStore,
    SimpleChannel,
    StrictStore,
    assert_invariants,
    sweep_cancel,
)
from tests.reliability._bugs import (
    AckBeforeCommit,
    CancelledWaiterKeepsLock,
    CountIndex,
    DedupBeforeCommit,
    FirstMatch,
    ForgottenCounter,
    NoLock,
    OneRoomBrain,
    Overtaking,
    ReusedIndex,
    Scribbler,
    Swallowing,
    TwoUnderOneKey,
    WaiterFreesLock,
)
from tests.reliability._steps import HeldChannel, idle, indexes
from tests.support.kits import inbound, messages, open_room, texts
from tests.support.suspending import SuspendingStore
from tests.support.warp import Stuck, run_warped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from roomkit import (
        ConversationStore,
        InboundResult,
        RoomContext,
        RoomEvent,
        RoomLockManager,
    )


class Bug(NamedTuple):
    """A check, the sound part it passes with and the broken one it must not pass with."""

    check: Callable[[Any], Awaitable[None]]
    sound: Callable[..., Any]
    broken: Callable[..., Any]


async def gates_are_serial(make_locks: Callable[[], RoomLockManager]) -> None:
    """At no time two gates of one room run, also while callers give up waiting."""
    kit = RoomKit(SuspendingStore(InMemoryStore()), lock_manager=make_locks())
    await open_room(kit, SimpleChannel("a"))
    running = most = 0

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await idle(20)
        running -= 1
        return HookResult.allow()

    async with asyncio.timeout(10):
        callers = [
            asyncio.ensure_future(kit.process_inbound(inbound(f"m{n}"), room_id="r"))
            for n in range(6)
        ]
        await idle(10)
        for caller in callers[1::2]:
            caller.cancel()
        await asyncio.wait(callers)
        await kit.close()
    assert most == 1


async def room_is_free_after_a_cancelled_wait(make_locks: Callable[[], RoomLockManager]) -> None:
    """A caller that gave up waiting holds nothing."""
    kit = RoomKit(SuspendingStore(InMemoryStore()), lock_manager=make_locks(), lock_timeout=1.0)
    await open_room(kit, SimpleChannel("a"))
    for turns in range(12):
        first = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="r"))
        second = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="r"))
        await idle(turns)
        second.cancel()
        await asyncio.wait((first, second))
        result = await kit.process_inbound(inbound("last"), room_id="r")
        assert not result.blocked, result.reason
    await kit.close()


async def callers_are_told_the_truth(wrap: Callable[[InMemoryStore], ConversationStore]) -> None:
    """What two kits on one store report is in the store, gapless and once."""
    inner = InMemoryStore()
    kits = [RoomKit(wrap(inner)) for _ in range(2)]
    for kit in kits:
        kit.register_channel(SimpleChannel("a"))
    await RoomKit(inner).create_room("r")
    await kits[0].attach_channel("r", "a")
    results: list[InboundResult] = await asyncio.gather(
        *(
            kit.process_inbound(inbound(f"m{n}", idempotency_key=f"{k}-{n}"), room_id="r")
            for n in range(6)
            for k, kit in enumerate(kits)
        )
    )
    for kit in kits:
        await kit.close()
    await assert_invariants(inner, results)


async def keys_are_not_burnt(wrap: Callable[[ConversationStore], ConversationStore]) -> None:
    """A message that could not be stored is accepted when it is repeated."""
    faulty = FaultStore(InMemoryStore())
    kit = RoomKit(wrap(faulty))
    await open_room(kit, SimpleChannel("a"))
    faulty.fail_at(faulty.counts["commit"] + 1, ConnectionError, method="commit")
    message = inbound(idempotency_key="k")
    with pytest.raises(ConnectionError):
        await kit.process_inbound(message, room_id="r")
    assert not (await kit.process_inbound(message, room_id="r")).blocked
    await kit.close()


async def invariants_hold(wrap: Callable[[InMemoryStore], ConversationStore]) -> None:
    """What a store says of itself fits together."""
    inner = InMemoryStore()
    kit = RoomKit(inner)
    await open_room(kit, SimpleChannel("a"))
    for body in ("one", "two"):
        await kit.process_inbound(inbound(body, idempotency_key=body), room_id="r")
    await kit.close()
    await assert_invariants(wrap(inner))


async def cancellation_passes(make_kit: Callable[..., RoomKit]) -> None:
    """A cancelled call ends cancelled."""
    kit = make_kit(SuspendingStore(InMemoryStore()))
    await open_room(kit, SimpleChannel("a"))

    async def check(turn: int, outcome: Any) -> None:
        await kit.drain()

    await sweep_cancel(lambda: kit.process_inbound(inbound(), room_id="r"), check)
    await kit.close()


async def strangers_do_not_meet(make_router: Callable[[InMemoryStore], Any]) -> None:
    """Two people who write to one number get a room each."""
    store = InMemoryStore()
    kit = RoomKit(store, inbound_router=make_router(store))
    kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
    results = [
        await kit.process_inbound(inbound("x", "sms", sender))
        for sender in ("+15550000001", "+15550000002")
    ]
    await kit.close()
    assert len({result.event.room_id for result in results if result.event}) == 2


async def lanes_are_bounded(make_kit: Callable[[], RoomKit]) -> None:
    """A target that stands still holds back messages instead of piling them up."""
    kit = make_kit()
    b = HeldChannel("b")
    await open_room(kit, SimpleChannel("a"), b)
    crowd = [
        asyncio.ensure_future(kit.process_inbound(inbound(f"m{n}"), room_id="r"))
        for n in range(40)
    ]
    await idle(500)
    stored = len(await messages(kit))
    b.release()
    await asyncio.gather(*crowd)
    await kit.close()
    assert stored <= 5


async def watchers_hold_up_nobody(register: Callable[[RoomKit, Any], None]) -> None:
    """While whoever watches sleeps, the next message of the room is stored at once."""
    kit = RoomKit(process_timeout=1.0, settle_timeout=1.0)
    await open_room(kit, SimpleChannel("a"))

    async def sleepy(event: RoomEvent, context: RoomContext) -> HookResult:
        await asyncio.sleep(3600)
        return HookResult.allow()

    register(kit, sleepy)
    callers = [
        asyncio.ensure_future(kit.process_inbound(inbound(f"m{n}"), room_id="r")) for n in range(3)
    ]
    await idle()
    stored = len(await messages(kit))
    await asyncio.wait(callers)
    await kit.close(drain_timeout=0.1)
    assert stored == 3


async def nothing_shared_is_changed(make_channel: Callable[[], SimpleChannel]) -> None:
    """Channels read what they are lent."""
    store = StrictStore(InMemoryStore())
    kit = RoomKit(store)
    await open_room(kit, SimpleChannel("a"), make_channel())
    await kit.process_inbound(inbound(metadata={"n": 1}), room_id="r")
    await kit.close()
    store.check()


async def rooms_are_apart(make_channel: Callable[[], SimpleChannel]) -> None:
    """A channel shared by rooms answers each with its own words."""
    kit = RoomKit()
    channel = make_channel()
    await open_room(kit, SimpleChannel("a"), channel)
    await kit.create_room("s")
    for channel_id in ("a", channel.channel_id):
        await kit.attach_channel("s", channel_id)
    await asyncio.gather(
        *(kit.process_inbound(inbound(f"to {room}"), room_id=room) for room in ("r", "s"))
    )
    for room in ("r", "s"):
        said = texts(await messages(kit, room))
        assert said == [f"to {room}"] * 2
    await kit.close()


async def deliveries_are_in_order(make_channel: Callable[[], HeldChannel]) -> None:
    """A target gets events in the order they were stored."""
    kit = RoomKit(SuspendingStore(InMemoryStore()))
    channel = make_channel()
    await open_room(kit, SimpleChannel("a"), channel)
    await asyncio.gather(*(kit.process_inbound(inbound(f"m{n}"), room_id="r") for n in range(8)))
    await kit.drain()
    await kit.close()
    assert len(channel.arrived) == 8
    assert indexes(channel.arrived) == sorted(indexes(channel.arrived))


def _as_gate(kit: RoomKit, fn: Any) -> None:
    kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=1.0)(fn)


def _as_observer(kit: RoomKit, fn: Any) -> None:
    kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, timeout=1.0)(fn)


def _itself[T](store: T) -> T:
    return store


BUGS: dict[str, Bug] = {
    "no-op lock": Bug(gates_are_serial, InMemoryLockManager, NoLock),
    "unlock without a token": Bug(gates_are_serial, InMemoryLockManager, WaiterFreesLock),
    "token left behind": Bug(
        room_is_free_after_a_cancelled_wait, InMemoryLockManager, CancelledWaiterKeepsLock
    ),
    "COUNT index": Bug(callers_are_told_the_truth, SuspendingStore, CountIndex),
    "ack before commit": Bug(callers_are_told_the_truth, SuspendingStore, AckBeforeCommit),
    "dedup before commit": Bug(keys_are_not_burnt, _itself, DedupBeforeCommit),
    "forgotten counter": Bug(invariants_hold, _itself, ForgottenCounter),
    "reused index": Bug(invariants_hold, _itself, ReusedIndex),
    "two under one key": Bug(invariants_hold, _itself, TwoUnderOneKey),
    "swallowed cancellation": Bug(cancellation_passes, RoomKit, Swallowing),
    "first-match router": Bug(strangers_do_not_meet, lambda _: None, FirstMatch),
    "unbounded queue": Bug(
        lanes_are_bounded, lambda: RoomKit(lane_limit=5), lambda: RoomKit(lane_limit=10**9)
    ),
    "watcher under the lock": Bug(watchers_hold_up_nobody, _as_observer, _as_gate),
    "written into a snapshot": Bug(
        nothing_shared_is_changed, lambda: SimpleChannel("b"), lambda: Scribbler("b")
    ),
    "one room at a time": Bug(
        rooms_are_apart, lambda: OneRoomBrain(bug=False), lambda: OneRoomBrain(bug=True)
    ),
    "overtaking deliveries": Bug(
        deliveries_are_in_order, lambda: HeldChannel("b", held=False), Overtaking
    ),
}
"""Every seeded bug by name."""


class TestSeededBugs:
    """Each check passes with the sound part and fails with the broken one."""

    @pytest.mark.parametrize("name", BUGS)
    def test_the_sound_part_passes(self, name: str) -> None:
        bug = BUGS[name]
        run_warped(_run(bug.check, bug.sound))

    @pytest.mark.parametrize("name", BUGS)
    def test_the_bug_is_caught(self, name: str) -> None:
        bug = BUGS[name]
        with pytest.raises(AssertionError) as caught:
            run_warped(_run(bug.check, bug.broken))
        assert not isinstance(caught.value, Stuck), "caught by the loop, not by its check"


def _run(check: Callable[[Any], Awaitable[None]], part: Any) -> Coroutine[Any, Any, None]:
    async def running() -> None:
        await check(part)

    return running()
