"""A lock server or a store that does not answer: every call ends in time, rooms stay free."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    DeliveryStatus,
    InMemoryLockManager,
    InMemoryStore,
    MockSMSProvider,
    Reason,
    RoomKit,
    RoomKitError,
    SMSChannel,
    TextContent,
)
from roomkit.testing import FaultStore, SimpleChannel, assert_invariants
from tests.reliability._steps import SHORT, TIMEOUTS, UNSET, hang
from tests.support.kits import inbound, messages, open_room, texts
from tests.support.warp import elapsed, run_warped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager


class _HangingLocks(InMemoryLockManager):
    def __init__(self, step: str) -> None:
        super().__init__()
        self.step, self.hangs = step, False

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return _HangingLock(self, super().locked(room_id))


class _HangingLock:
    def __init__(self, owner: _HangingLocks, lock: AbstractAsyncContextManager[None]) -> None:
        self._owner, self._lock = owner, lock

    async def __aenter__(self) -> None:
        if self._owner.hangs and self._owner.step == "take":
            await hang()
        await self._lock.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        await self._lock.__aexit__(*exc)
        if self._owner.hangs and self._owner.step == "free":
            await hang()


class TestLocks:
    """A lock server that does not answer costs its bound, and no message that was stored."""

    @pytest.mark.parametrize("step", ["take", "free"])
    def test_its_bound(self, step: str) -> None:
        async def scenario() -> None:
            locks = _HangingLocks(step)
            kit, b = RoomKit(lock_manager=locks, **TIMEOUTS), SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), b)
            locks.hangs = True
            began = elapsed()
            result = await kit.process_inbound(inbound(), room_id="r")
            assert elapsed() - began <= SHORT + 0.5
            if step == "take":
                assert (result.blocked, result.reason) == (True, Reason.LOCK_TIMEOUT)
                assert await messages(kit) == []
            else:
                assert not result.blocked
                assert texts(b.delivered) == ["hello"]
            locks.hangs = False
            assert not (await kit.process_inbound(inbound(), room_id="r")).blocked
            await kit.close()

        run_warped(scenario())


_STORE_CALLS: dict[str, Callable[[RoomKit], Awaitable[Any]]] = {
    "process_inbound": lambda kit: kit.process_inbound(inbound(idempotency_key="k"), room_id="r"),
    "first_contact": lambda kit: kit.process_inbound(
        inbound(channel_id="sms", sender="new", idempotency_key="k")
    ),
    "send_event": lambda kit: kit.send_event("r", "a", TextContent(body="x")),
    "status": lambda kit: kit.process_delivery_status(
        DeliveryStatus(provider="x", message_id="y", status="sent")
    ),
    "create_room": lambda kit: kit.create_room("new"),
    "close_room": lambda kit: kit.close_room("r"),
    "check_all_timers": lambda kit: kit.check_all_timers(),
    "update_room_metadata": lambda kit: kit.update_room_metadata("r", {"k": 1}),
    "attach_channel": lambda kit: kit.attach_channel("r", "sms"),
    "detach_channel": lambda kit: kit.detach_channel("r", "b"),
    "mute": lambda kit: kit.mute("r", "b"),
    "ensure_participant": lambda kit: kit.ensure_participant("r", "a", "p"),
    "resolve_participant": lambda kit: kit.resolve_participant("r", "p", "i"),
    "get_timeline": lambda kit: kit.get_timeline("r"),
    "list_tasks": lambda kit: kit.list_tasks("r"),
    "list_bindings": lambda kit: kit.list_bindings("r"),
    "mark_all_read": lambda kit: kit.mark_all_read("r", "b"),
}


class TestStores:
    """A store that does not answer: every call ends in time, and the room is free again."""

    @pytest.mark.parametrize("name", _STORE_CALLS)
    def test_every_call_of_it(self, name: str) -> None:
        async def run(number: int) -> bool:
            inner = InMemoryStore()
            filling = RoomKit(inner)
            a, b = SimpleChannel("a"), SimpleChannel("b")
            sms = SMSChannel("sms", provider=MockSMSProvider())
            await open_room(filling, a, b)
            faulty = FaultStore(inner)
            kit = RoomKit(faulty, **TIMEOUTS)
            for channel in (a, b, sms):
                kit.register_channel(channel)
            await kit.get_room("r")
            faulty.fail_at(len(faulty.calls) + number, "hang")
            began = elapsed()
            with suppress(RoomKitError, TimeoutError):
                await _STORE_CALLS[name](kit)
            assert elapsed() - began <= UNSET + SHORT
            fired = bool(faulty.fired)
            faulty.reset()
            # The room is not locked for good.
            began = elapsed()
            await kit.update_room_metadata("r", {"free": True})
            assert elapsed() == began
            began = elapsed()
            await kit.close(drain_timeout=1.0)
            assert elapsed() - began <= 10.0
            await assert_invariants(inner)
            return fired

        number = 1
        while run_warped(run(number)):
            number += 1
            assert number < 100
        assert number > 1
