"""Counting what happens, without standing in its way.

Observers run after everything is delivered; framework events tell what the engine did.

    python examples/hook_logging_analytics.py

Prints the counts: messages by channel, words, and refusals by their reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from roomkit import (
    AIChannel,
    FrameworkEvent,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    MockAIProvider,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)


async def main() -> None:
    """Count messages, words and refusals of a short conversation."""
    count: Counter[str] = Counter()
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("assistant", MockAIProvider(["Yes, it is."])))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "assistant")

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def measure(event: RoomEvent, context: RoomContext) -> None:
            count[f"messages from {event.source.channel_id}"] += 1
            count["words"] += len(getattr(event.content, "body", "").split())

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def no_shouting(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
            loud = getattr(event.content, "body", "").isupper()
            return HookResult.block("no shouting") if loud else HookResult.allow()

        @kit.on("event_blocked")
        async def refused(event: FrameworkEvent) -> None:
            count[f"refused: {event.data['reason']}"] += 1

        for text in ("Is it open?", "HELLO", "Is it still open?"):
            await kit.process_inbound(
                InboundMessage(channel_id="web", sender_id="ana", content=TextContent(body=text)),
                room_id=room.id,
            )

    for name, number in sorted(count.items()):
        print(f"{number:>2}  {name}")
    assert count == {
        "messages from web": 2,
        "messages from assistant": 2,
        "words": 13,
        "refused: no shouting": 1,
    }


if __name__ == "__main__":
    asyncio.run(main())
