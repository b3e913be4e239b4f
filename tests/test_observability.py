"""What is kept and told of effects, failures and deliveries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    AIResponse,
    DeliveryStatus,
    HookExecution,
    HookResult,
    HookTrigger,
    InMemoryStore,
    ManualClock,
    MockAIProvider,
    MockSMSProvider,
    Observation,
    ProviderResult,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    Task,
)
from roomkit.providers.sms.meta import WebhookMeta
from roomkit.testing import FaultStore, SimpleChannel
from tests.support.kits import (
    ROOM,
    Told,
    inbound,
    messages,
    observe,
    open_room,
    system,
    text,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def effects(*names: str) -> dict[str, Any]:
    """Return tasks and observations of these names."""
    return {
        "tasks": [Task(id=f"t-{n}", room_id=ROOM, title=f"do {n}") for n in names],
        "observations": [
            Observation(id=f"o-{n}", room_id=ROOM, channel_id="a", content=n, category="c")
            for n in names
        ],
    }


def ordered(kit: RoomKit, *triggers: HookTrigger) -> list[tuple[HookTrigger, Told]]:
    """Watch several triggers in one list."""
    told: list[tuple[HookTrigger, Told]] = []

    def watcher(trigger: HookTrigger) -> Callable[..., Any]:
        async def watch(event: RoomEvent, context: RoomContext) -> None:
            told.append((trigger, Told(event, context)))

        return watch

    for trigger in triggers:
        kit.hook(trigger, HookExecution.ASYNC)(watcher(trigger))
    return told


class TestEffects:
    """Tasks first, then observations: stored, then told, then the event itself."""

    async def test_of_a_gate(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            told = ordered(
                kit,
                HookTrigger.ON_OBSERVATION,
                HookTrigger.ON_TASK_CREATED,
                HookTrigger.AFTER_BROADCAST,
            )

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult(action="allow", **effects("1", "2"))

            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["t-1", "t-2"]
            assert [o.id for o in await kit.list_observations(ROOM)] == ["o-1", "o-2"]
            assert [trigger for trigger, _ in told] == [
                HookTrigger.ON_TASK_CREATED,
                HookTrigger.ON_TASK_CREATED,
                HookTrigger.ON_OBSERVATION,
                HookTrigger.ON_OBSERVATION,
                HookTrigger.AFTER_BROADCAST,
            ]
            task, observation = told[0][1].event, told[2][1].event
            cause = result.event
            assert cause is not None
            assert (task.type, observation.type) == ("task_created", "observation")
            assert task.metadata == {"task_id": "t-1", "task_title": "do 1"}
            assert observation.metadata == {"observation_id": "o-1", "category": "c"}
            for event in (task, observation):
                assert (event.source, event.content) == (cause.source, cause.content)
                assert (event.status, event.visibility) == ("delivered", "internal")
                assert event.id != cause.id
                assert await kit.store.get_event(event.id) is None

    async def test_of_a_gate_that_blocks(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            told = ordered(kit, HookTrigger.ON_TASK_CREATED, HookTrigger.ON_OBSERVATION)

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("no", None, **effects("1"))

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["t-1"]
            assert len(told) == 2

    async def test_of_an_ais_answer(self) -> None:
        provider = MockAIProvider(script=[AIResponse(content="I will", **effects("1"))])
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", provider))
            told = ordered(kit, HookTrigger.ON_TASK_CREATED, HookTrigger.ON_OBSERVATION)
            await kit.process_inbound(inbound("do it"), room_id=ROOM)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["t-1"]
            assert [o.id for o in await kit.list_observations(ROOM)] == ["o-1"]
            assert len(told) == 2
            assert texts(await messages(kit)) == ["do it", "I will"]

    async def test_effects_without_an_answer(self) -> None:
        from roomkit import ChannelOutput

        async with RoomKit() as kit:
            watcher = SimpleChannel("w", react_script=[ChannelOutput(**effects("1"))])
            await open_room(kit, SimpleChannel("a"), watcher)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["t-1"]
            assert texts(await messages(kit)) == ["hi"]


def _contained(told: Told) -> dict[str, Any]:
    code, data = system(told.event)
    assert code == "error"
    assert (told.event.visibility, told.event.type) == ("internal", "system")
    return data


class TestErrors:
    """Whatever is contained is told to ON_ERROR, once, with where it happened."""

    async def test_a_failed_delivery(self) -> None:
        async with RoomKit() as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            down = SimpleChannel("b", deliver_script=[OSError("no route")])
            await open_room(kit, SimpleChannel("a"), down)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.drain()
            assert result.event is not None
            [told] = errors
            assert _contained(told) == {
                "where": "channel b",
                "error": "no route",
                "error_type": "OSError",
                "channel_id": "b",
                "event_id": result.event.id,
            }
            assert told.context.room.id == ROOM
            assert texts(await messages(kit)) == ["hi"]

    async def test_a_failed_reaction(self) -> None:
        async with RoomKit() as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", MockAIProvider.failing()))
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.drain()
            assert result.event is not None
            assert result.event.delivery_results["ai"]["status"] == "failed"
            [told] = errors
            assert _contained(told)["error_type"] == "ProviderError"

    @pytest.mark.parametrize(
        ("trigger", "execution"),
        [
            (HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC),
            (HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC),
        ],
    )
    async def test_a_failed_hook(self, trigger: HookTrigger, execution: HookExecution) -> None:
        async with RoomKit() as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(trigger, execution)
            async def broken(event: RoomEvent, context: RoomContext) -> HookResult:
                raise LookupError("lost")

            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert result.event is not None
            [told] = errors
            data = _contained(told)
            assert (data["where"], data["error"]) == ("hook broken", "lost")
            assert data["event_id"] == result.event.id

    async def test_a_failing_error_hook_leads_to_no_loop(self) -> None:
        async with RoomKit() as kit:
            calls: list[RoomEvent] = []
            down = SimpleChannel("b", deliver_script=[OSError("no route")])

            @kit.hook(HookTrigger.ON_ERROR, HookExecution.ASYNC)
            async def broken(event: RoomEvent, context: RoomContext) -> None:
                calls.append(event)
                raise LookupError("and again")

            await open_room(kit, SimpleChannel("a"), down)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.drain()
            assert len(calls) == 1

    async def test_the_router(self) -> None:
        store = FaultStore(InMemoryStore())
        async with RoomKit(store) as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            await open_room(kit, SimpleChannel("a"))
            store.fail_at(
                store.counts["find_room_for"] + 1, OSError("down"), method="find_room_for"
            )
            with pytest.raises(OSError, match="down"):
                await kit.process_inbound(inbound("hi"))
            assert _contained(errors[0])["where"] == "inbound router"


async def _sent(kit: RoomKit, provider_id: str = "SM1") -> RoomEvent:
    """Let a message go out by SMS; the vendor calls it ``provider_id``."""
    provider = MockSMSProvider(
        results=[ProviderResult(success=True, provider_message_id=provider_id)]
    )
    await open_room(kit, SimpleChannel("a"))
    kit.register_channel(SMSChannel("sms", provider=provider))
    await kit.attach_channel(ROOM, "sms", metadata={"phone_number": "+15550001111"})
    result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
    await kit.drain()
    assert result.event is not None
    return result.event


def word(status: str, message_id: str = "SM1", **fields: Any) -> DeliveryStatus:
    """Return a vendor's word about a message."""
    return DeliveryStatus(provider="mock", message_id=message_id, status=status, **fields)


async def outcome(kit: RoomKit, event: RoomEvent) -> Any:
    """Return what is known of the delivery by SMS."""
    stored = await kit.store.get_event(event.id)
    assert stored is not None
    return stored.delivery_results["sms"]


class TestDeliveryResults:
    """The stored event says what became of each delivery."""

    async def test_the_provider_message_id_is_kept(self) -> None:
        async with RoomKit() as kit:
            event = await _sent(kit)
            assert event.delivery_results["sms"] == {
                "status": "sent",
                "attempts": 1,
                "provider_message_id": "SM1",
            }
            assert await outcome(kit, event) == event.delivery_results["sms"]
            found = await kit.store.find_event_by_provider_message_id("SM1")
            assert found is not None
            assert (found[0].id, found[1]) == (event.id, "sms")


class TestDeliveryStatus:
    """A vendor's later words: recorded by rank, told to handlers and hooks."""

    @pytest.mark.parametrize(
        ("words", "result"),
        [
            (["delivered"], "delivered"),
            (["delivered", "sent"], "delivered"),
            (["read", "delivered"], "read"),
            (["queued"], "sent"),
            (["delivered", "read"], "read"),
            (["failed"], "failed"),
            (["failed", "delivered"], "failed"),
            (["undelivered", "sent", "read"], "undelivered"),
            (["read", "failed"], "read"),
            (["delivered", "failed"], "failed"),
        ],
    )
    async def test_ranks(self, words: list[str], result: str) -> None:
        async with RoomKit() as kit:
            event = await _sent(kit)
            for status in words:
                await kit.process_delivery_status(word(status))
            assert (await outcome(kit, event))["status"] == result

    async def test_an_error_code_is_kept(self) -> None:
        async with RoomKit() as kit:
            event = await _sent(kit)
            await kit.process_delivery_status(word("failed", error_code="30003"))
            assert (await outcome(kit, event))["error"] == "30003"
            assert (await outcome(kit, event))["provider_message_id"] == "SM1"

    async def test_the_hook(self) -> None:
        async with RoomKit() as kit:
            event = await _sent(kit)
            told = observe(kit, HookTrigger.ON_DELIVERY_STATUS)
            status = word("delivered", recipient="+15550001111", raw={"secret": "x"})
            await kit.process_delivery_status(status)
            [(hooked, context)] = told
            assert hooked.type == "delivery_receipt"
            code, data = system(hooked)
            assert code == "delivery_status"
            assert (data["status"], data["message_id"]) == ("delivered", "SM1")
            assert (data["event_id"], data["channel_id"]) == (event.id, "sms")
            assert "raw" not in data
            assert context.room.id == ROOM
            assert await kit.store.get_event(hooked.id) is None

    async def test_handlers_plain_and_async_in_order_and_isolated(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with RoomKit() as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            calls: list[str] = []

            @kit.on_delivery_status
            async def first(status: DeliveryStatus) -> None:
                await asyncio.sleep(0)
                calls.append("first")

            @kit.on_delivery_status
            def broken(status: DeliveryStatus) -> None:
                calls.append("broken")
                raise LookupError("lost")

            @kit.on_delivery_status
            def last(status: DeliveryStatus) -> None:
                calls.append(status.status)

            await kit.process_delivery_status(word("delivered", "unknown"))
            assert calls == ["first", "broken", "delivered"]
            assert "broken" in caplog.text
            assert _contained(errors[0])["where"] == "delivery status handler broken"

    async def test_of_a_message_nobody_sent(self) -> None:
        async with RoomKit() as kit:
            told = observe(kit, HookTrigger.ON_DELIVERY_STATUS)
            await kit.process_delivery_status(word("delivered", "unknown"))
            assert told == []

    async def test_before_its_delivery_is_recorded(self) -> None:
        free, sending = asyncio.Event(), asyncio.Event()

        class Slow(MockSMSProvider):
            async def send(
                self, event: RoomEvent, to: str, from_: str | None = None
            ) -> ProviderResult:
                sending.set()
                await free.wait()
                return ProviderResult(success=True, provider_message_id="SM1")

        async with RoomKit(clock=ManualClock()) as kit:
            await open_room(kit, SimpleChannel("a"))
            kit.register_channel(SMSChannel("sms", provider=Slow()))
            await kit.attach_channel(ROOM, "sms", metadata={"phone_number": "+15550001111"})
            send = asyncio.create_task(kit.process_inbound(inbound("hi"), room_id=ROOM))
            await sending.wait()
            await kit.process_delivery_status(word("delivered"))
            free.set()
            result = await send
            await kit.drain()
            assert result.event is not None
            assert (await outcome(kit, result.event))["status"] == "delivered"


def webhook(direction: str | None, event_type: str | None, **fields: Any) -> WebhookMeta:
    """Return a parsed webhook."""
    values: dict[str, Any] = {
        "provider": "mock",
        "sender": "+15550001111",
        "recipient": "+15550002222",
        "body": "hi",
        "external_id": "SM1",
        "timestamp": None,
        "raw": {},
        "direction": direction,
        "event_type": event_type,
    }
    return WebhookMeta(**{**values, **fields})


class TestWebhook:
    """A message goes in, a status is recorded, anything else is left alone."""

    async def test_a_message(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SMSChannel("sms"))
            await kit.process_webhook(webhook("inbound", "message.received"), "sms")
            [binding] = [
                b
                for room in await kit.store.list_rooms()
                for b in await kit.list_bindings(room.id)
            ]
            assert binding.metadata == {"phone_number": "+15550001111"}
            [event] = await messages(kit, binding.room_id)
            assert (text(event), event.idempotency_key) == ("hi", "SM1")

    async def test_a_repeat_is_one_message(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SMSChannel("sms"))
            for _ in range(2):
                await kit.process_webhook(webhook("inbound", "message.received"), "sms")
            [room] = await kit.store.list_rooms()
            assert len(await messages(kit, room.id)) == 1

    async def test_a_status(self) -> None:
        async with RoomKit() as kit:
            event = await _sent(kit)
            await kit.process_webhook(webhook("outbound", "message.delivered"), "sms")
            assert (await outcome(kit, event))["status"] == "delivered"

    async def test_neither(self) -> None:
        async with RoomKit() as kit:
            seen: list[DeliveryStatus] = []
            kit.on_delivery_status(seen.append)
            kit.register_channel(SMSChannel("sms"))
            await kit.process_webhook(webhook("outbound", None), "sms")
            assert seen == []
            assert await kit.store.list_rooms() == []
