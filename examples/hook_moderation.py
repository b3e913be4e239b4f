"""Gates: one that blocks, one that rewrites, in the order of their priorities.

    python examples/hook_moderation.py

Prints what got through, rewritten, and which gate refused the rest.
"""

from __future__ import annotations

import asyncio
import re

from roomkit import (
    EventStatus,
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)

MAIL = re.compile(r"\b\S+@\S+\.\w+\b")


async def main() -> None:
    """Send a harmless message, one with an address in it, and one that is refused."""
    seen: list[str] = []

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    async with RoomKit() as kit:

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=1, name="spam", fail_closed=True)
        async def refuse_spam(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
            spam = "buy now" in getattr(event.content, "body", "").lower()
            return HookResult.block("spam") if spam else HookResult.allow()

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=2, name="privacy")
        async def hide_addresses(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
            if not isinstance(event.content, TextContent):
                return HookResult.allow()
            hidden = MAIL.sub("[address]", event.content.body)
            return HookResult.modify(event.saying(TextContent(body=hidden)))

        kit.register_channel(WebSocketChannel("ana"))
        kit.register_channel(WebSocketChannel("bob"))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "ana")
        await kit.attach_channel(room.id, "bob")
        await kit.connect_websocket("bob", "tab", send, room_id=room.id)

        for text in ("Hello", "Write to ana@example.com", "BUY NOW!"):
            message = InboundMessage(
                channel_id="ana", sender_id="ana", content=TextContent(body=text)
            )
            await kit.process_inbound(message, room_id=room.id)
        refused = [
            event.blocked_by
            for event in await kit.get_timeline(room.id)
            if event.status is EventStatus.BLOCKED
        ]

    print("bob saw:", " | ".join(seen))
    print("refused by:", ", ".join(str(name) for name in refused))
    assert seen == ["Hello", "Write to [address]"]
    assert refused == ["spam"]


if __name__ == "__main__":
    asyncio.run(main())
