"""Claude in a room: it calls a tool and answers.

    python examples/anthropic_ai.py

Prints the call of the tool, the answer and which counts of tokens came with it. It needs
``roomkit[anthropic,simulators]``.

With ANTHROPIC_API_KEY set it asks the vendor (ANTHROPIC_MODEL names the model). Without, it asks a
simulator on this machine, which checks requests as strictly as the vendor and answers what it is
told to.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from roomkit import (
    AIChannel,
    InboundMessage,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.providers.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit.simulators.anthropic import AnthropicSimulator, ModelAnswer

HOURS = {
    "name": "opening_hours",
    "description": "Return the opening hours of the shop on a day of the week.",
    "parameters": {
        "type": "object",
        "properties": {"day": {"type": "string"}},
        "required": ["day"],
    },
}


async def look_up(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the one tool there is."""
    return {"day": arguments["day"], "opens": "09:00", "closes": "17:00"}


async def settings(stack: AsyncExitStack) -> dict[str, Any]:
    """Return the config of the vendor, or of a simulator that lasts as long as ``stack``."""
    model = os.environ.get("ANTHROPIC_MODEL", "claude-sonnet-5-5")
    if key := os.environ.get("ANTHROPIC_API_KEY"):
        return {"api_key": key, "model": model}
    vendor = await stack.enter_async_context(AnthropicSimulator(model=model))
    vendor.answer(
        ModelAnswer("Let me look.", calls=(("opening_hours", {"day": "Monday"}),)),
        "On Monday we open at nine.",
    )
    return vendor.settings


async def main() -> None:
    """Ask one question in a browser."""
    seen: list[str] = []

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    async with AsyncExitStack() as stack:
        model = AnthropicAIProvider(AnthropicConfig(**await settings(stack)))
        kit = await stack.enter_async_context(RoomKit())
        kit.register_channel(WebSocketChannel("web"))
        prompt = "You are the clerk of a shop. Answer in one short sentence."
        channel = AIChannel("clerk", model, system_prompt=prompt, tool_handler=look_up)
        kit.register_channel(channel)
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "clerk", metadata={"tools": [HOURS]})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)
        question = TextContent(body="When do you open on Monday?")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=question), room_id=room.id
        )
        answer = (await kit.get_timeline(room.id))[-1]

    for step in answer.metadata.get("tool_rounds", []):
        for call in step["calls"]:
            print("called:", call["name"], call["arguments"])
    print("answer:", *seen)
    print("tokens:", ", ".join(sorted(answer.metadata["ai_usage"])))
    assert seen


if __name__ == "__main__":
    asyncio.run(main())
