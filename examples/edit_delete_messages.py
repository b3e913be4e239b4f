"""Correcting a message and taking one back; only its author may.

    python examples/edit_delete_messages.py

Prints what a telephone got, what is stored, and how somebody else's edit was refused.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    DeleteContent,
    EditContent,
    EventContent,
    EventType,
    InboundMessage,
    InboundResult,
    MockSMSProvider,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)


async def main() -> None:
    """Write, correct, let somebody else try, take back."""
    phone = MockSMSProvider()
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=phone))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": "+15550100"})

        async def say(
            sender: str, content: EventContent, kind: EventType = EventType.MESSAGE
        ) -> InboundResult:
            message = InboundMessage(
                channel_id="web", sender_id=sender, content=content, event_type=kind
            )
            return await kit.process_inbound(message, room_id=room.id)

        first = (await say("ana", TextContent(body="Se you at 9"))).event
        assert first is not None
        fix = EditContent(target_event_id=first.id, new_content=TextContent(body="See you at 9"))
        await say("ana", fix, EventType.EDIT)
        refused = await say("bob", fix, EventType.EDIT)
        await say("ana", DeleteContent(target_event_id=first.id), EventType.DELETE)
        stored = next(event for event in await kit.get_timeline(room.id) if event.id == first.id)

    texts = [call["event"].content.body for call in phone.sent]
    print("the phone got:", " | ".join(texts))
    print("stored:", stored.metadata)
    print("somebody else's edit:", refused.reason)
    assert texts == ["Se you at 9", "Correction: See you at 9", "[Message deleted]"]
    assert stored.metadata == {"edited": True, "deleted": True}
    assert refused.reason == "not_original_author"


if __name__ == "__main__":
    asyncio.run(main())
