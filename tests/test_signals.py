"""Vendors' reactions, edits and revokes: found by the vendor's own id, or dropped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    ChannelType,
    DeliveryStatus,
    HookResult,
    InboundMessage,
    ProviderResult,
    RoomKit,
    TextContent,
)
from roomkit.channels.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import EventType
from roomkit.providers.base import Provider
from roomkit.providers.webhook import Signal
from roomkit.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent
    from roomkit.realtime.base import EphemeralEvent

CUSTOMER = "+15550001"
CAN_CHANGE = ChannelCapabilities(supports_edit=True, supports_delete=True)


class Vendor(Provider):
    """Numbers its messages, and can change them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        self.calls.append(("send", to, event.content))
        return ProviderResult(success=True, provider_message_id=f"v-{len(self.calls)}")

    async def edit_message(
        self, to: str, message_id: str, content: EventContent
    ) -> ProviderResult:
        self.calls.append(("edit", to, message_id, content))
        return ProviderResult(success=True, provider_message_id=message_id)

    async def delete_message(self, to: str, message_id: str) -> ProviderResult:
        self.calls.append(("delete", to, message_id))
        return ProviderResult(success=True)


class Plain(Provider):
    """Can only send."""

    def __init__(self) -> None:
        self.sent: list[EventContent] = []

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        self.sent.append(event.content)
        return ProviderResult(success=True)


def phone(provider: Provider, capabilities: ChannelCapabilities = CAN_CHANGE) -> TransportChannel:
    """Return a channel to a person's phone."""
    return TransportChannel(
        "phone",
        ChannelType.WHATSAPP,
        provider=provider,
        capabilities=capabilities,
        recipient_key="phone_number",
    )


async def opened(kit: RoomKit, provider: Provider) -> RoomEvent:
    """Let the customer write; return the event. An agent's channel is in the room too."""
    kit.register_channel(phone(provider))
    kit.register_channel(TransportChannel("desk", ChannelType.WEBSOCKET, recipient_key=""))
    message = InboundMessage(
        channel_id="phone",
        sender_id=CUSTOMER,
        content=TextContent(body="helo"),
        external_id="in-1",
        idempotency_key="in-1",
    )
    result = await kit.process_inbound(message)
    assert result.event is not None
    await kit.attach_channel(result.event.room_id, "desk")
    return result.event


def signal(kind: EventType, target: str, **fields: Any) -> Signal:
    """Return a signal of the customer."""
    return Signal(
        channel_id=fields.pop("channel_id", "phone"),
        type=kind,
        sender_id=CUSTOMER,
        target_message_id=target,
        **fields,
    )


class TestInward:
    """What a vendor tells us of earlier messages."""

    async def test_an_edit_changes_the_senders_own_message(self) -> None:
        """The event is found by the vendor's id, and the edit is applied to it."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            edit = signal(
                EventType.EDIT, "in-1", content=TextContent(body="hello"), idempotency_key="e-1"
            )
            result = await kit.process_signal(edit)
            assert not result.blocked
            again = await kit.process_signal(edit)
            assert again.reason == "duplicate"
            after = await kit.store.get_event(event.id)
            assert after is not None
            assert after.content == TextContent(body="hello")
            assert after.metadata["edited"] is True

    async def test_an_edit_names_its_target_by_the_vendors_id_only(self) -> None:
        """Another event named in the content is left alone."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            other = await kit.process_inbound(
                InboundMessage(
                    channel_id="phone", sender_id=CUSTOMER, content=TextContent(body="other")
                )
            )
            assert other.event is not None
            misled = EditContent(
                target_event_id=other.event.id, new_content=TextContent(body="hello")
            )
            await kit.process_signal(signal(EventType.EDIT, "in-1", content=misled))
            stored = {e.id: e.content for e in await kit.get_timeline(event.room_id)}
            assert stored[event.id] == TextContent(body="hello")
            assert stored[other.event.id] == TextContent(body="other")

    async def test_a_revoke_deletes_it(self) -> None:
        """A revoke marks the sender's message deleted."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            assert not (await kit.process_signal(signal(EventType.DELETE, "in-1"))).blocked
            after = await kit.store.get_event(event.id)
            assert after is not None
            assert after.metadata["deleted"] is True

    @pytest.mark.parametrize("emoji", ["\U0001f44d", ""])
    async def test_a_reaction_to_our_message_is_published(self, emoji: str) -> None:
        """The room's subscribers hear of it; nothing is stored."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            ours = await kit.send_event(event.room_id, "desk", TextContent(body="hi"))
            await kit.drain()
            heard: asyncio.Queue[EphemeralEvent] = asyncio.Queue()

            async def hear(ephemeral: EphemeralEvent) -> None:
                heard.put_nowait(ephemeral)

            await kit.subscribe_room(event.room_id, hear)
            before = len(await kit.store.list_events(event.room_id))
            result = await kit.process_signal(
                signal(EventType.REACTION, "v-1", content=TextContent(body=emoji))
            )
            assert result.reason == "ephemeral"
            assert len(await kit.store.list_events(event.room_id)) == before
            found = await asyncio.wait_for(heard.get(), 5)
            assert found.user_id == CUSTOMER
            action = "add" if emoji else "remove"
            assert found.data == {"target_event_id": ours.id, "emoji": emoji, "action": action}

    @pytest.mark.parametrize("kind", [EventType.EDIT, EventType.DELETE, EventType.REACTION])
    @pytest.mark.parametrize("target", ["nobody-knows", ""])
    async def test_an_unknown_target_is_dropped(self, kind: EventType, target: str) -> None:
        """Nothing is stored, shown or opened for it."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            result = await kit.process_signal(signal(kind, target, content=TextContent(body="x")))
            assert (result.blocked, result.reason) == (True, "target_event_not_found")
            assert len(await kit.store.find_rooms()) == 1
            stored = await kit.store.list_events(event.room_id)
            assert not any(e.type == kind for e in stored)

    async def test_another_channels_ids_mean_nothing(self) -> None:
        """An id of one channel's vendor does not reach an event of another's."""
        async with RoomKit() as kit:
            await opened(kit, Vendor())
            result = await kit.process_signal(signal(EventType.DELETE, "in-1", channel_id="desk"))
            assert result.reason == "target_event_not_found"

    async def test_nobody_edits_what_another_said(self) -> None:
        """A customer cannot edit our message, whatever the vendor says."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            ours = await kit.send_event(event.room_id, "desk", TextContent(body="hi"))
            await kit.drain()
            edit = signal(EventType.EDIT, "v-1", content=TextContent(body="pwned"))
            assert (await kit.process_signal(edit)).reason == "not_original_author"
            after = await kit.store.get_event(ours.id)
            assert after is not None
            assert after.content == TextContent(body="hi")

    async def test_accepted_with_the_message_it_is_about(self, tmp_path: Path) -> None:
        """In the inbox an edit waits behind the message it changes."""
        store = SQLiteStore(tmp_path / "kit.db")
        async with RoomKit(store=store) as kit:
            kit.register_channel(phone(Vendor()))
            first = InboundMessage(
                channel_id="phone",
                sender_id=CUSTOMER,
                content=TextContent(body="helo"),
                idempotency_key="in-1",
            )
            edit = signal(
                EventType.EDIT, "in-1", content=TextContent(body="hello"), idempotency_key="e-1"
            )
            await kit.accept(first)
            await kit.accept(edit.to_inbound())
            while (await kit.stats()).inbox.depth:
                await kit.drain()
            event = await store.find_event_by_channel_key("phone", "in-1")
            assert event is not None
            assert event.content == TextContent(body="hello")


class TestOutward:
    """Our edits and deletes, to vendors that can change what they have sent."""

    async def test_an_edit_changes_the_message_there(self) -> None:
        """The provider is given the id it sent the message under."""
        async with RoomKit() as kit:
            vendor = Vendor()
            event = await opened(kit, vendor)
            ours = await kit.send_event(event.room_id, "desk", TextContent(body="hi"))
            new = TextContent(body="hello")
            edit = EditContent(target_event_id=ours.id, new_content=new)
            await kit.send_event(event.room_id, "desk", edit, EventType.EDIT)
            await kit.drain()
            assert vendor.calls[1:] == [("edit", CUSTOMER, "v-1", new)]

    async def test_a_delete_takes_it_back(self) -> None:
        """And so for a delete."""
        async with RoomKit() as kit:
            vendor = Vendor()
            event = await opened(kit, vendor)
            ours = await kit.send_event(event.room_id, "desk", TextContent(body="hi"))
            delete = DeleteContent(target_event_id=ours.id)
            await kit.send_event(event.room_id, "desk", delete, EventType.DELETE)
            await kit.drain()
            assert vendor.calls[1:] == [("delete", CUSTOMER, "v-1")]

    async def test_what_never_got_there(self) -> None:
        """An edit of it goes out as a message, and there is nothing to take back."""
        async with RoomKit() as kit:
            vendor = Vendor()
            event = await opened(kit, vendor)
            new = TextContent(body="hello")
            edit = EditContent(target_event_id=event.id, new_content=new, edit_source="agent")
            await kit.send_event(event.room_id, "desk", edit, EventType.EDIT)
            delete = DeleteContent(target_event_id=event.id, delete_type="admin")
            await kit.send_event(event.room_id, "desk", delete, EventType.DELETE)
            await kit.drain()
            assert vendor.calls == [("send", CUSTOMER, edit)]

    async def test_a_provider_that_can_only_send(self) -> None:
        """It gets the edit as content, as ever."""
        async with RoomKit() as kit:
            plain = Plain()
            event = await opened(kit, plain)
            ours = await kit.send_event(event.room_id, "desk", TextContent(body="hi"))
            edit = EditContent(target_event_id=ours.id, new_content=TextContent(body="hello"))
            await kit.send_event(event.room_id, "desk", edit, EventType.EDIT)
            await kit.drain()
            assert plain.sent == [TextContent(body="hi"), edit]


class TestReturningAfterTheCommit:
    """``process_inbound(wait=False)``."""

    async def test_it_does_not_wait_for_deliveries(self) -> None:
        """The event is stored when the call returns, though its delivery hangs."""
        async with RoomKit() as kit:
            event = await opened(kit, Vendor())
            hanging = TransportChannel("slow", ChannelType.SMS, provider=Hanging())
            kit.register_channel(hanging)
            await kit.attach_channel(event.room_id, "slow", metadata={"recipient_id": "x"})
            message = InboundMessage(
                channel_id="phone", sender_id=CUSTOMER, content=TextContent(body="there?")
            )
            result = await kit.process_inbound(message, wait=False)
            assert result.event is not None
            assert await kit.store.get_event(result.event.id) is not None
            await kit.close(drain_timeout=0.0)

    async def test_a_status_before_anything_else(self) -> None:
        """A status of a message nobody knows changes nothing and raises nothing."""
        async with RoomKit() as kit:
            await opened(kit, Vendor())
            await kit.process_delivery_status(
                DeliveryStatus(provider="x", message_id="who", status="delivered")
            )


class Hanging(Provider):
    """Never answers."""

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        await asyncio.Event().wait()
        return ProviderResult(success=True)


class TestKeywords:
    """STOP, START and HELP on a phone are told, stored or blocked alike."""

    @pytest.mark.parametrize("blocked", [False, True])
    @pytest.mark.parametrize(
        ("kind", "word", "told"),
        [
            (ChannelType.SMS, "stop", True),
            (ChannelType.RCS, "help", True),
            (ChannelType.EMAIL, "stop", False),
            (ChannelType.SMS, "anything", False),
        ],
    )
    async def test_told_once(
        self, kind: ChannelType, word: str, told: bool, blocked: bool
    ) -> None:
        """Handlers hear of the word, the room and the event; other metadata means nothing."""
        async with RoomKit() as kit:
            kit.register_channel(TransportChannel("phone", kind, recipient_key="phone_number"))
            heard: list[Any] = []
            kit.on("keyword_received")(heard.append)
            if blocked:
                kit.hook("before_broadcast")(lambda event, context: HookResult.block("no"))
            message = InboundMessage(
                channel_id="phone",
                sender_id=CUSTOMER,
                content=TextContent(body="STOP"),
                metadata={"keyword": word},
            )
            result = await kit.process_inbound(message)
            await kit.drain()
            assert result.event is not None
            assert [(e.event_id, e.channel_id, e.data) for e in heard] == [
                (result.event.id, "phone", {"keyword": word})
            ] * told
