"""Reactions: told at once to whoever listens, and gone; your program keeps the score.

    python examples/reactions.py

Prints the score.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from roomkit import EphemeralEvent, InboundMessage, RoomKit, TextContent, WebSocketChannel


async def main() -> None:
    """Three reactions to one message, one of them taken back."""
    score: Counter[str] = Counter()
    heard: asyncio.Queue[None] = asyncio.Queue()

    async def count(event: EphemeralEvent) -> None:
        score[event.data["emoji"]] += 1 if event.data["action"] == "add" else -1
        heard.put_nowait(None)

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.subscribe_room(room.id, count)
        news = TextContent(body="We won!")
        result = await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=news), room_id=room.id
        )
        assert result.event is not None
        target = result.event.id
        await kit.publish_reaction(room.id, "bob", target, "party")
        await kit.publish_reaction(room.id, "cy", target, "party")
        await kit.publish_reaction(room.id, "dee", target, "heart")
        await kit.publish_reaction(room.id, "dee", target, "heart", action="remove")
        for _ in range(4):
            await asyncio.wait_for(heard.get(), 5)

    left = {emoji: number for emoji, number in score.items() if number}
    print("score:", left)
    assert left == {"party": 2}


if __name__ == "__main__":
    asyncio.run(main())
