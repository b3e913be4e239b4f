"""Sending no faster than a vendor allows. Nothing is lost, it only waits its turn.

A limit allows a burst of one second's worth; after that, one by one. While the SMS channel waits,
the browser of the same room already has everything.

    python examples/rate_limiting.py

Prints the texts in the order they were sent, and whether they were paced.
"""

from __future__ import annotations

import asyncio
import time

from roomkit import (
    InboundMessage,
    MockSMSProvider,
    RateLimit,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)

RATE = 4
MESSAGES = 6


async def main() -> None:
    """Write six texts to a number that takes four a second."""
    phone = MockSMSProvider()
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(SMSChannel("sms", provider=phone))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        await kit.attach_channel(
            room.id,
            "sms",
            metadata={"phone_number": "+15550100"},
            rate_limit=RateLimit(max_per_second=RATE),
        )
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(MESSAGES):
                text = TextContent(body=f"text {number}")
                message = InboundMessage(channel_id="desk", sender_id="bob", content=text)
                group.create_task(kit.process_inbound(message, room_id=room.id))
        took = time.perf_counter() - began

    texts = [call["event"].content.body for call in phone.sent]
    paced = took >= (MESSAGES - RATE) / RATE * 0.95
    print("sent in order:", ", ".join(texts))
    print("paced:", paced)
    assert texts == [f"text {number}" for number in range(MESSAGES)]
    assert paced, took


if __name__ == "__main__":
    asyncio.run(main())
