"""A model that calls two tools at once before it answers.

The room says which tools there are, the handler runs them. One of the two fails: the model is told
so and answers with what it has.

    python examples/ai_tools_function_calling.py

Prints what each tool gave and the answer. `MockAIProvider` plays the model.
"""

from __future__ import annotations

import asyncio
from typing import Any

from roomkit import (
    AIChannel,
    AIToolCall,
    InboundMessage,
    MockAIProvider,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)

TOOLS = [
    {
        "name": name,
        "description": f"Look up the {name} of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    for name in ("weather", "tides")
]


async def look_up(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a tool; whatever it raises is told to the model as an error."""
    if name == "tides":
        raise LookupError("no tide tables")
    return {"city": arguments["city"], "sky": "clear"}


async def main() -> None:
    """Ask one question that needs both tools."""
    seen: list[str] = []
    calls = [
        AIToolCall(id="1", name="weather", arguments={"city": "Brest"}),
        AIToolCall(id="2", name="tides", arguments={"city": "Brest"}),
    ]
    model = MockAIProvider(["The sky over Brest is clear; I have no tides."], tool_calls=calls)

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("assistant", model, tool_handler=look_up))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "assistant", metadata={"tools": TOOLS})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)
        question = TextContent(body="Can I sail at Brest?")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=question), room_id=room.id
        )
        rounds = (await kit.get_timeline(room.id))[-1].metadata["tool_rounds"]

    results = model.calls[-1].messages[-1].content
    assert not isinstance(results, str)
    for part in results:
        print(getattr(part, "name", "?"), "->", getattr(part, "result", "?"))
    print("answer:", seen[0])
    assert len(rounds) == 1
    assert seen == ["The sky over Brest is clear; I have no tides."]


if __name__ == "__main__":
    asyncio.run(main())
