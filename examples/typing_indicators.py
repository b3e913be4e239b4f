"""Showing that somebody types, without a trace in the timeline.

    python examples/typing_indicators.py

Prints what was shown, and what was stored.
"""

from __future__ import annotations

import asyncio

from roomkit import EphemeralEvent, InboundMessage, RoomKit, TextContent, WebSocketChannel


async def main() -> None:
    """Type, write, stop typing."""
    shown: asyncio.Queue[str] = asyncio.Queue()

    async def show(event: EphemeralEvent) -> None:
        shown.put_nowait(f"{event.user_id}: {event.type}")

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.subscribe_room(room.id, show)

        await kit.publish_typing(room.id, "ana")
        hello = TextContent(body="Hello")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=hello), room_id=room.id
        )
        await kit.publish_typing(room.id, "ana", is_typing=False)
        seen = [await asyncio.wait_for(shown.get(), 5) for _ in range(2)]
        stored = [event.type for event in await kit.get_timeline(room.id)]

    print("shown:", ", ".join(seen))
    print("stored:", ", ".join(stored))
    assert seen == ["ana: typing_start", "ana: typing_stop"]
    assert stored == ["channel_attached", "message"]


if __name__ == "__main__":
    asyncio.run(main())
