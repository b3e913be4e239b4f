"""Gemini in a room: it looks at a picture, calls a tool, and answers in pieces.

    python examples/gemini_ai.py

Prints the call of the tool, the answer, and a second answer that came in pieces. It needs
``roomkit[gemini,simulators]``.

With GEMINI_API_KEY set it asks Google (GEMINI_MODEL names the model). Without, it asks a simulator
on this machine. Like the real one it seals the calls of a thinking model and refuses them back
without their seal; the provider sees to that.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from roomkit import (
    AIChannel,
    AIContext,
    AIMessage,
    InboundMessage,
    MediaContent,
    RoomEvent,
    RoomKit,
    WebSocketChannel,
)
from roomkit.providers.gemini import GeminiAIProvider, GeminiConfig
from roomkit.simulators.gemini import GeminiSimulator, ModelAnswer

STOCK = {
    "name": "stock",
    "description": "Return how many pairs of a shoe are left.",
    "parameters": {
        "type": "object",
        "properties": {"shoe": {"type": "string"}},
        "required": ["shoe"],
        "additionalProperties": False,
    },
}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


async def look_up(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the one tool there is."""
    return {"shoe": arguments["shoe"], "pairs": 3}


async def settings(stack: AsyncExitStack) -> dict[str, Any]:
    """Return the config of the vendor, or of a simulator that lasts as long as ``stack``."""
    model = os.environ.get("GEMINI_MODEL", "gemini-3.5-flash")
    if key := os.environ.get("GEMINI_API_KEY"):
        return {"api_key": key, "model": model}
    vendor = await stack.enter_async_context(GeminiSimulator(model=model))
    vendor.answer(
        ModelAnswer(calls=(("stock", {"shoe": "red sneaker"}),)),
        "Three pairs of the red sneaker are left.",
        "Red shoes go with nearly everything.",
    )
    return vendor.settings


async def main() -> None:
    """Ask about a picture in a browser, then once more without a room."""
    seen: list[str] = []

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    async with AsyncExitStack() as stack:
        model = GeminiAIProvider(GeminiConfig(**await settings(stack)))
        kit = await stack.enter_async_context(RoomKit())
        kit.register_channel(WebSocketChannel("web"))
        prompt = "You are the clerk of a shoe shop. Answer in one short sentence."
        kit.register_channel(AIChannel("clerk", model, system_prompt=prompt, tool_handler=look_up))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "clerk", metadata={"tools": [STOCK]})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)
        picture = MediaContent(url=PICTURE, mime_type="image/png", caption="How many are left?")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=picture), room_id=room.id
        )
        answer = (await kit.get_timeline(room.id))[-1]

        question = AIContext(messages=[AIMessage(role="user", content="What goes with red?")])
        pieces = [piece async for piece in model.generate_stream(question)]

    for step in answer.metadata.get("tool_rounds", []):
        for call in step["calls"]:
            print("called:", call["name"], call["arguments"])
    print("answer:", *seen)
    print("streamed:", "".join(pieces))
    print("in pieces:", len(pieces) > 1)
    assert seen


if __name__ == "__main__":
    asyncio.run(main())
