"""One room over four channels: what anybody writes reaches everybody else, in their form.

    python examples/multichannel_bridge.py

Prints, for each of web, SMS, WhatsApp and mail, what came from the other three.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    EmailChannel,
    InboundMessage,
    MockEmailProvider,
    MockSMSProvider,
    MockWhatsAppProvider,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
    WhatsAppChannel,
)

PEOPLE = {"web": "ana", "sms": "+15550101", "whatsapp": "+15550102", "mail": "dee@example.com"}


async def main() -> None:
    """Everybody writes once."""
    browser: list[str] = []
    phone, chat, mail = MockSMSProvider(), MockWhatsAppProvider(), MockEmailProvider()

    def send(connection_id: str, event: RoomEvent) -> None:
        browser.append(getattr(event.content, "body", ""))

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=phone))
        kit.register_channel(WhatsAppChannel("whatsapp", provider=chat))
        kit.register_channel(EmailChannel("mail", provider=mail))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": PEOPLE["sms"]})
        await kit.attach_channel(
            room.id, "whatsapp", metadata={"phone_number": PEOPLE["whatsapp"]}
        )
        await kit.attach_channel(room.id, "mail", metadata={"email_address": PEOPLE["mail"]})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)

        for channel_id, person in PEOPLE.items():
            hello = TextContent(body=f"hello from {channel_id}")
            await kit.process_inbound(
                InboundMessage(channel_id=channel_id, sender_id=person, content=hello)
            )
        rooms = {event.room_id for event in await kit.get_timeline(room.id)}

    got = {"web": browser}
    for name, provider in (("sms", phone), ("whatsapp", chat), ("mail", mail)):
        got[name] = [call["event"].content.body for call in provider.sent]
    for name, texts in got.items():
        print(f"{name:<9}{' | '.join(texts)}")
        assert texts == [f"hello from {other}" for other in PEOPLE if other != name]
    assert rooms == {room.id}


if __name__ == "__main__":
    asyncio.run(main())
