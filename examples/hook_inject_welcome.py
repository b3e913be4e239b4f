"""A gate that greets whoever writes first, without changing what they wrote.

    python examples/hook_inject_welcome.py

Prints the timeline, greeting and all, and how many texts were sent.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    ChannelType,
    EventSource,
    HookResult,
    HookTrigger,
    InboundMessage,
    InjectedEvent,
    MockSMSProvider,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
)


async def main() -> None:
    """Let one phone write twice."""
    phone = MockSMSProvider()
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", provider=phone))

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def welcome(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
            if any(e.source.channel_id == "sms" for e in context.recent_events):
                return HookResult.allow()
            greeting = RoomEvent(
                room_id=event.room_id,
                source=EventSource(channel_id="welcome", channel_type=ChannelType.SYSTEM),
                content=TextContent(body="Welcome! A person answers within the hour."),
            )
            return HookResult.allow([InjectedEvent(event=greeting, target_channel_ids=["sms"])])

        room_id = ""
        for text in ("Hello?", "Anybody there?"):
            result = await kit.process_inbound(
                InboundMessage(
                    channel_id="sms", sender_id="+15550100", content=TextContent(body=text)
                )
            )
            assert result.event is not None
            room_id = result.event.room_id
        said = [getattr(event.content, "body", "") for event in await kit.get_timeline(room_id)]

    print("timeline:", " | ".join(said[1:]))
    print("texts sent:", len(phone.sent))
    assert said[1:] == [
        "Hello?",
        "Welcome! A person answers within the hour.",
        "Anybody there?",
    ]
    assert [call["to"] for call in phone.sent] == ["+15550100"]


if __name__ == "__main__":
    asyncio.run(main())
