"""Calls that meet halfway, on a store that suspends at every call: none undoes another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    DeliveryStatus,
    EditContent,
    EventType,
    HookResult,
    HookTrigger,
    Identity,
    InMemoryStore,
    MockSMSProvider,
    ProviderResult,
    Reason,
    RoomKit,
    SMSChannel,
    TextContent,
)
from roomkit.testing import SimpleChannel, assert_invariants
from tests.reliability._steps import HeldChannel, idle, until
from tests.support.kits import inbound, messages, open_room, text
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import RoomContext, RoomEvent


@pytest.fixture
async def kit() -> AsyncIterator[RoomKit]:
    """A kit with the room ``r``, a sender ``a`` and two vendors."""
    inner = InMemoryStore()
    kit = RoomKit(SuspendingStore(inner))
    await open_room(kit, SimpleChannel("a"))
    for name in ("sms1", "sms2"):
        result = ProviderResult(success=True, provider_message_id=name)
        kit.register_channel(SMSChannel(name, provider=MockSMSProvider(results=[result])))
        await kit.attach_channel("r", name, metadata={"phone_number": name})
    yield kit
    assert await kit.drain(5)
    await kit.close()
    await assert_invariants(inner)


def status(message_id: str, word: str) -> DeliveryStatus:
    return DeliveryStatus(provider="x", message_id=message_id, status=word)


async def sent(kit: RoomKit) -> RoomEvent:
    result = await kit.process_inbound(inbound(), room_id="r")
    assert result.event is not None
    return result.event


async def stored(kit: RoomKit, event: RoomEvent) -> RoomEvent:
    found = await kit.store.get_event(event.id)
    assert found is not None
    return found


def edit(event: RoomEvent, body: str = "new") -> Any:
    content = EditContent(target_event_id=event.id, new_content=TextContent(body=body))
    return inbound(content, event_type=EventType.EDIT)


class TestStatuses:
    """What vendors report meets edits, other reports, and deliveries being recorded."""

    @pytest.mark.parametrize("turns", range(12))
    async def test_a_status_and_an_edit(self, kit: RoomKit, turns: int) -> None:
        event = await sent(kit)
        reporting = asyncio.ensure_future(kit.process_delivery_status(status("sms1", "read")))
        await idle(turns)
        await kit.process_inbound(edit(event), room_id="r")
        await reporting
        after = await stored(kit, event)
        assert text(after) == "new"
        assert after.delivery_results["sms1"]["status"] == "read"

    @pytest.mark.parametrize("turns", range(12))
    async def test_two_channels(self, kit: RoomKit, turns: int) -> None:
        event = await sent(kit)
        first = asyncio.ensure_future(kit.process_delivery_status(status("sms1", "read")))
        await idle(turns)
        await kit.process_delivery_status(status("sms2", "delivered"))
        await first
        results = (await stored(kit, event)).delivery_results
        assert [results[name]["status"] for name in ("sms1", "sms2")] == ["read", "delivered"]

    @pytest.mark.parametrize("turns", range(12))
    async def test_the_higher_wins(self, kit: RoomKit, turns: int) -> None:
        event = await sent(kit)
        lower = asyncio.ensure_future(kit.process_delivery_status(status("sms1", "delivered")))
        await idle(turns)
        await kit.process_delivery_status(status("sms1", "read"))
        await lower
        assert (await stored(kit, event)).delivery_results["sms1"]["status"] == "read"


class TestEdits:
    """An edit changes what was said, not what became of it meanwhile."""

    async def test_a_delivery_that_ends_while_a_gate_looks_at_the_edit(self) -> None:
        kit = RoomKit(SuspendingStore(InMemoryStore()))
        b = HeldChannel("b")
        await open_room(kit, SimpleChannel("a"), b)
        looking, go = asyncio.Event(), asyncio.Event()

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if event.type == EventType.EDIT:
                looking.set()
                await go.wait()
            return HookResult.allow()

        first = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="r"))
        await until(lambda: b.delivered)
        (event,) = await messages(kit)
        editing = asyncio.ensure_future(kit.process_inbound(edit(event), room_id="r"))
        await looking.wait()
        b.release()
        await first
        go.set()
        await editing
        after = await stored(kit, event)
        assert text(after) == "new"
        assert after.delivery_results["b"]["status"] == "sent"
        await kit.close()

    async def test_edits_in_a_row(self, kit: RoomKit) -> None:
        event = await sent(kit)
        await asyncio.gather(
            *(kit.process_inbound(edit(event, f"v{n}"), room_id="r") for n in range(10))
        )
        edits = [e for e in await kit.get_timeline("r", limit=100) if e.type == EventType.EDIT]
        last = edits[-1].content
        assert isinstance(last, EditContent)
        assert (await stored(kit, event)).content == last.new_content


class TestPeople:
    """Somebody added twice at once is one person, and an identification is not lost."""

    @pytest.mark.parametrize("turns", range(8))
    async def test_added_and_identified(self, kit: RoomKit, turns: int) -> None:
        await kit.store.create_identity(Identity(id="i"))
        adding = asyncio.ensure_future(kit.ensure_participant("r", "a", "p"))
        await idle(turns)
        await kit.ensure_participant("r", "a", "p")
        await kit.resolve_participant("r", "p", "i")
        await adding
        found = await kit.store.get_participant("r", "p")
        assert found is not None
        assert found.identity_id == "i"


class TestCrowds:
    """Many at once: one room for each newcomer, one event for each key, an order for all."""

    async def test_first_contacts(self) -> None:
        inner = InMemoryStore()
        kit = RoomKit(SuspendingStore(inner))
        kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
        results = await asyncio.gather(
            *(
                kit.process_inbound(inbound(f"m{n}", "sms", f"+1555000000{sender}"))
                for n in range(10)
                for sender in range(8)
            )
        )
        assert not any(result.blocked for result in results)
        rooms = await inner.list_rooms(0, 1000)
        assert len(rooms) == 8
        for room in rooms:
            assert len(await messages(kit, room.id)) == 10
        await kit.close()
        await assert_invariants(inner, results)

    async def test_one_key(self, kit: RoomKit) -> None:
        message = inbound(idempotency_key="k")
        results = await asyncio.gather(
            *(kit.process_inbound(message, room_id="r") for _ in range(20))
        )
        assert sorted(result.blocked for result in results) == [False] + [True] * 19
        assert {r.reason for r in results if r.blocked} == {Reason.DUPLICATE}
        assert len({result.event.id for result in results if result.event}) == 1
        assert len(await messages(kit)) == 1

    async def test_two_kits_on_one_store(self) -> None:
        """Each with locks of its own, as two processes have: still gapless, each key once."""
        inner = InMemoryStore()
        kits = [RoomKit(SuspendingStore(inner)) for _ in range(2)]
        await open_room(kits[0], SimpleChannel("a"))
        kits[1].register_channel(SimpleChannel("a"))
        results = await asyncio.gather(
            *(
                kit.process_inbound(inbound(f"m{n}", idempotency_key=f"k{n}"), room_id="r")
                for n in range(20)
                for kit in kits
            )
        )
        assert sum(not result.blocked for result in results) == 20
        assert len(await messages(kits[0])) == 20
        for kit in kits:
            await kit.close()
        await assert_invariants(inner, results)
