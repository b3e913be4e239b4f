"""A place on the map, for a client with maps and for one without.

    python examples/location_sharing.py

Prints how a wrong latitude is refused, and what WhatsApp and a plain telephone get.
"""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from roomkit import (
    InboundMessage,
    LocationContent,
    MockSMSProvider,
    MockWhatsAppProvider,
    RoomKit,
    SMSChannel,
    WebSocketChannel,
    WhatsAppChannel,
)


async def main() -> None:
    """Share a place with a WhatsApp user and a plain phone."""
    chat, phone = MockWhatsAppProvider(), MockSMSProvider()
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(WhatsAppChannel("whatsapp", provider=chat))
        kit.register_channel(SMSChannel("sms", provider=phone))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "whatsapp", metadata={"phone_number": "+15550100"})
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": "+15550101"})
        place = LocationContent(latitude=48.8584, longitude=2.2945, label="Eiffel Tower")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=place), room_id=room.id
        )

    try:
        LocationContent(latitude=91, longitude=0)
    except ValidationError as error:
        print("a latitude of 91:", error.error_count(), "error")
    print("WhatsApp got:", chat.sent[0]["event"].content.type)
    print("SMS got:", phone.sent[0]["event"].content.body)
    assert chat.sent[0]["event"].content == place
    assert phone.sent[0]["event"].content.body == "[Location: Eiffel Tower (48.8584, 2.2945)]"


if __name__ == "__main__":
    asyncio.run(main())
