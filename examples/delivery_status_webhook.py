"""What a vendor reports later: sent, delivered, read or failed.

Statuses arrive late and out of order; the stored result only ever moves forward.

    python examples/delivery_status_webhook.py

Prints the statuses in the order they came, and the one that is stored.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    DeliveryStatus,
    InboundMessage,
    MockSMSProvider,
    ProviderResult,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)


async def main() -> None:
    """Send one text and play the vendor's callbacks."""
    heard: list[str] = []
    vendor = MockSMSProvider(results=[ProviderResult(success=True, provider_message_id="SM42")])
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(SMSChannel("sms", provider=vendor))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        await kit.attach_channel(room.id, "sms", metadata={"phone_number": "+15550100"})

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            heard.append(status.status)

        parcel = TextContent(body="Your parcel is here")
        message = InboundMessage(channel_id="desk", sender_id="bob", content=parcel)
        result = await kit.process_inbound(message, room_id=room.id)
        assert result.event is not None

        for word in ("delivered", "sent"):  # the vendor's second callback is late
            await kit.process_delivery_status(
                DeliveryStatus(provider="mock", message_id="SM42", status=word)
            )
        stored = (await kit.get_timeline(room.id))[-1].delivery_results["sms"]

    print("heard:", ", ".join(heard))
    print("stored:", stored["status"])
    assert heard == ["delivered", "sent"]
    assert stored["status"] == "delivered"


if __name__ == "__main__":
    asyncio.run(main())
