"""Formatted text with buttons, and what is left of it where there are none.

    python examples/rich_content_buttons.py

Prints the buttons a browser gets, and the text a telephone gets instead.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    InboundMessage,
    MockSMSProvider,
    RichContent,
    RoomEvent,
    RoomKit,
    SMSChannel,
    WebSocketChannel,
)

OFFER = RichContent(
    body="**Thursday** at nine?",
    plain_text="Thursday at nine? Answer YES or NO.",
    buttons=[{"text": "Yes", "payload": "yes"}, {"text": "No", "payload": "no"}],
)


async def main() -> None:
    """Offer an appointment to a browser and to a phone."""
    labels: list[str] = []
    phone = MockSMSProvider()

    def send(connection_id: str, event: RoomEvent) -> None:
        assert isinstance(event.content, RichContent)
        labels.extend(button["text"] for button in event.content.buttons)

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=phone))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": "+15550100"})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)
        await kit.process_inbound(
            InboundMessage(channel_id="desk", sender_id="bob", content=OFFER), room_id=room.id
        )

    print("buttons in the browser:", ", ".join(labels))
    print("text on the phone:", phone.sent[0]["event"].content.body)
    assert labels == ["Yes", "No"]
    assert phone.sent[0]["event"].content.body == OFFER.plain_text


if __name__ == "__main__":
    asyncio.run(main())
