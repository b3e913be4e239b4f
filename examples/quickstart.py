"""The smallest useful program: one person, one assistant, one room.

Runs on the base installation. Swap `MockAIProvider` for a real provider and `print` for your
socket, and it is a chat server.

    python examples/quickstart.py

Prints the answer as it comes, then the timeline of the room.
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
    """Ask one question and print what comes back."""
    seen: list[str] = []

    def send(connection_id: str, event: RoomEvent) -> None:
        """Hand an event to a client; a real server would write to its socket here."""
        if isinstance(event.content, TextContent):
            seen.append(event.content.body)
            print(f"to {connection_id}: {event.content.body}")

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("assistant", MockAIProvider(["We open at nine."])))

        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "assistant")
        await kit.connect_websocket("web", "ana's browser", send, room_id=room.id)

        question = InboundMessage(
            channel_id="web", sender_id="ana", content=TextContent(body="When do you open?")
        )
        result = await kit.process_inbound(question, room_id=room.id)
        assert result.event is not None

        for event in await kit.get_timeline(room.id):
            said = getattr(event.content, "body", event.type)
            print(f"{event.index}  {event.status:<9}  {event.source.channel_id:<9}  {said}")

    assert seen == ["We open at nine."], seen


if __name__ == "__main__":
    asyncio.run(main())
