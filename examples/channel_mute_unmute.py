"""Muting an assistant while a human takes over.

A muted channel still receives everything; only what it says is held back.

    python examples/channel_mute_unmute.py

Prints which of three answers the browser saw, and how often the model was asked.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    AIChannel,
    InboundMessage,
    MockAIProvider,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)


async def main() -> None:
    """Ask three times: before, during and after the mute."""
    seen: list[str] = []
    model = MockAIProvider(["Answer 1", "Answer 2", "Answer 3"])

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("assistant", model))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "assistant")
        await kit.connect_websocket("web", "tab", send, room_id=room.id)

        async def ask(text: str) -> None:
            message = InboundMessage(
                channel_id="web", sender_id="ana", content=TextContent(body=text)
            )
            await kit.process_inbound(message, room_id=room.id)

        await ask("one")
        await kit.mute(room.id, "assistant")
        await ask("two")
        await kit.unmute(room.id, "assistant")
        await ask("three")

    print("the browser saw:", ", ".join(seen))
    print("the model was asked", len(model.calls), "times")
    assert seen == ["Answer 1", "Answer 3"]
    assert len(model.calls) == 3


if __name__ == "__main__":
    asyncio.run(main())
