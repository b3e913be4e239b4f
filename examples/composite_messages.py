"""One message of several parts, on a channel that shows all of them and on one that does not.

    python examples/composite_messages.py

Prints the parts a browser gets and the parts a mail is made of.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    CompositeContent,
    EmailChannel,
    InboundMessage,
    LocationContent,
    MediaContent,
    MockEmailProvider,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)

INVITATION = CompositeContent(
    parts=[
        TextContent(body="See you at the harbour"),
        MediaContent(url="https://example.com/map.png", mime_type="image/png", caption="the map"),
        LocationContent(latitude=43.29, longitude=5.37, label="Harbour"),
    ]
)


async def main() -> None:
    """Send an invitation from one browser to another and to a mailbox."""
    kinds: list[str] = []
    mail = MockEmailProvider()

    def send(connection_id: str, event: RoomEvent) -> None:
        assert isinstance(event.content, CompositeContent)
        kinds.extend(part.type for part in event.content.parts)

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("ana"))
        kit.register_channel(WebSocketChannel("bob"))
        kit.register_channel(EmailChannel("mail", provider=mail))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "ana")
        await kit.attach_channel(room.id, "bob")
        await kit.attach_channel(room.id, "mail", metadata={"email_address": "cy@example.com"})
        await kit.connect_websocket("bob", "tab", send, room_id=room.id)
        await kit.process_inbound(
            InboundMessage(channel_id="ana", sender_id="ana", content=INVITATION),
            room_id=room.id,
        )

    mailed = mail.sent[0]["event"].content
    print("browser:", ", ".join(kinds))
    print("mail:   ", ", ".join(getattr(part, "body", part.type) for part in mailed.parts))
    assert kinds == ["text", "media", "location"]
    assert mailed.parts[2].body == "[Location: Harbour (43.29, 5.37)]"


if __name__ == "__main__":
    asyncio.run(main())
