"""What happens when a vendor fails: retries, then the circuit breaker.

A binding's `retry_policy` repeats a failed delivery. A channel that fails five times in a row is
left alone for a minute; then one probe is let through.

    python examples/circuit_breaker_retry.py

Prints after how many attempts a message was sent, and what became of eight more while the vendor
was down. The minute is a clock moved by hand.
"""

from __future__ import annotations

import asyncio
import itertools

from roomkit import (
    FrameworkEvent,
    InboundMessage,
    ManualClock,
    MockSMSProvider,
    ProviderResult,
    RetryPolicy,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)

BUSY = ProviderResult(success=False, error="busy")
SENT = ProviderResult(success=True, provider_message_id="SM1")


async def deliver(
    kit: RoomKit, provider: MockSMSProvider, messages: int, policy: RetryPolicy | None = None
) -> str:
    """Make a room with one phone in it and write to it; return the room's id."""
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(SMSChannel("sms", provider=provider))
    room = await kit.create_room()
    await kit.attach_channel(room.id, "desk")
    phone = {"phone_number": "+15550100"}
    await kit.attach_channel(room.id, "sms", metadata=phone, retry_policy=policy)
    await say(kit, room.id, messages)
    return room.id


async def say(kit: RoomKit, room_id: str, messages: int = 1) -> None:
    """Write to the phone, a number of times."""
    hello = InboundMessage(channel_id="desk", sender_id="bob", content=TextContent(body="Hello"))
    for _ in range(messages):
        await kit.process_inbound(hello, room_id=room_id)


async def retries() -> None:
    """Fail twice, succeed the third time."""
    provider = MockSMSProvider(results=[BUSY, BUSY, SENT])
    async with RoomKit() as kit:
        policy = RetryPolicy(max_retries=3, base_delay_seconds=0.01)
        room_id = await deliver(kit, provider, 1, policy)
        result = (await kit.get_timeline(room_id))[-1].delivery_results["sms"]
    print("retry:", result["status"], "after", result["attempts"], "attempts")
    assert (result["status"], result["attempts"]) == ("sent", 3)


async def breaker() -> None:
    """Fail five times, be left alone, recover after a minute."""
    errors: list[str] = []
    clock = ManualClock()
    provider = MockSMSProvider(results=itertools.chain([BUSY] * 5, itertools.repeat(SENT)))
    async with RoomKit(clock=clock) as kit:

        @kit.on("delivery_failed")
        async def note(event: FrameworkEvent) -> None:
            errors.append(event.data["error"])

        room_id = await deliver(kit, provider, 7)
        await clock.advance(60)
        await say(kit, room_id)
    print("breaker:", ", ".join(errors), "- then the probe was sent")
    assert errors == ["busy"] * 5 + ["circuit_breaker_open"] * 2
    assert len(provider.sent) == 6


async def main() -> None:
    """Show both."""
    await retries()
    await breaker()


if __name__ == "__main__":
    asyncio.run(main())
