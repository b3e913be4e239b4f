"""Conversations of several people: one room for the conversation, not one for each of them."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit import (
    InboundMessage,
    MockTeamsProvider,
    MockWhatsAppProvider,
    RoomKit,
    SMSChannel,
    TeamsChannel,
    TextContent,
    WebSocketChannel,
    WhatsAppPersonalChannel,
)
from roomkit.channels.transport import TransportChannel


async def write(kit: RoomKit, sender: str, metadata: dict[str, Any], **fields: Any) -> str:
    """Bring a message in; return the room it went to."""
    message = InboundMessage(
        channel_id="chat", sender_id=sender, content=TextContent(body="hi"), metadata=metadata
    )
    result = await kit.process_inbound(message, **fields)
    assert result.event is not None
    return result.event.room_id


def teams(conversation: str) -> dict[str, Any]:
    return {"conversation_id": conversation, "is_group": True}


def whatsapp(group: str) -> dict[str, Any]:
    return {"chat_jid": group, "is_group": True}


@pytest.mark.parametrize(
    ("make", "key", "where", "alone"),
    [
        (lambda: TeamsChannel("chat"), "teams_conversation_id", teams, {"conversation_id": "a:1"}),
        (
            lambda: WhatsAppPersonalChannel("chat"),
            "phone_number",
            whatsapp,
            {"chat_jid": "1@s.whatsapp.net", "is_group": False},
        ),
    ],
    ids=["teams", "whatsapp"],
)
class TestGroups:
    """A group has an address of its own."""

    async def test_one_room_a_group(
        self, make: Any, key: str, where: Any, alone: dict[str, Any]
    ) -> None:
        """Two people in one group meet; one person in two groups is in two rooms."""
        async with RoomKit() as kit:
            kit.register_channel(make())
            first = await write(kit, "ana", where("g1"))
            assert await write(kit, "bob", where("g1")) == first
            assert await write(kit, "ana", where("g2")) != first
            binding = await kit.get_binding(first, "chat")
            assert binding.metadata[key] == "g1"

    async def test_alone_is_another_conversation(
        self, make: Any, key: str, where: Any, alone: dict[str, Any]
    ) -> None:
        """What a person writes to us alone does not go to the group's room, nor back."""
        async with RoomKit() as kit:
            kit.register_channel(make())
            group = await write(kit, "ana", where("g1"))
            private = await write(kit, "ana", alone)
            assert private != group
            assert await write(kit, "ana", where("g1")) == group
            assert await write(kit, "ana", alone) == private


async def test_the_answer_goes_to_the_group() -> None:
    """And not to whoever wrote last."""
    async with RoomKit() as kit:
        provider = MockTeamsProvider()
        kit.register_channel(TeamsChannel("chat", provider=provider))
        kit.register_channel(WebSocketChannel("desk"))
        room = await write(kit, "ana", teams("g1"))
        await kit.attach_channel(room, "desk")
        await kit.send_event(room, "desk", TextContent(body="hello all"))
        await kit.drain()
        assert [sent["to"] for sent in provider.sent] == ["g1"]


async def test_without_a_conversation_it_is_the_sender() -> None:
    """Metadata without an address changes nothing."""
    async with RoomKit() as kit:
        kit.register_channel(TeamsChannel("chat", provider=MockWhatsAppProvider()))
        room = await write(kit, "ana", {})
        assert (await kit.get_binding(room, "chat")).metadata["teams_conversation_id"] == "ana"


async def test_a_channel_of_ones_own() -> None:
    """Any transport can say where answers go."""
    channel = TransportChannel(
        "chat", "webhook", recipient_key="queue", address_of=lambda message: "q-1"
    )
    async with RoomKit() as kit:
        kit.register_channel(channel)
        room = await write(kit, "ana", {})
        assert await write(kit, "bob", {}) == room
        assert (await kit.get_binding(room, "chat")).metadata["queue"] == "q-1"


async def test_a_router_of_an_earlier_release() -> None:
    """It is told of an address only where there is one to tell of."""

    class Router:
        async def route(
            self, channel_id: str, channel_type: str, participant_id: str | None = None
        ) -> str | None:
            return None

    async with RoomKit(inbound_router=Router()) as kit:
        kit.register_channel(SMSChannel("chat"))
        assert await write(kit, "ana", {})
