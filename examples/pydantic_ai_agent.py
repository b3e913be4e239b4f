"""An agent of Pydantic AI in a room, with tools of its own and tools of the room.

The agent runs its own tool inside itself; the room's tool is run by the channel, and the agent
goes on with the result where it stopped.

    python examples/pydantic_ai_agent.py

Prints which tool ran where, and the answer. It needs ``roomkit[pydantic-ai]``.

With PYDANTIC_AI_MODEL set (such as `openai:gpt-5.5`, with the key in its usual variable) a real
model is asked; without, a scripted one.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from pydantic_ai import Agent, ModelResponse, RunContext, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from roomkit import (
    AIChannel,
    InboundMessage,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.providers.pydantic_ai import PydanticAIProvider

REFUND = {
    "name": "refund",
    "description": "Pay the price of an order back.",
    "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
}


@dataclass
class Shop:
    """What the agent's own tools work on."""

    orders: dict[str, str]


def scripted(messages: list[Any], info: AgentInfo) -> ModelResponse:
    """Answer as a model would: look the order up, refund it, say so."""
    known = {
        part.tool_name: part.content
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }
    if "find_order" not in known:
        return ModelResponse(parts=[ToolCallPart("find_order", {"order": "A-17"})])
    if "refund" not in known:
        return ModelResponse(parts=[ToolCallPart("refund", {"order": "A-17"})])
    text = f"Your order A-17 ({known['find_order']}) is refunded."
    return ModelResponse(parts=[TextPart(text)])


def make_agent() -> Agent[Shop, str]:
    """Return the agent: its model, its instructions and the tool it runs itself."""
    model = os.environ.get("PYDANTIC_AI_MODEL") or FunctionModel(scripted)
    agent: Agent[Shop, str] = Agent(
        model, deps_type=Shop, instructions="Look an order up before you do anything with it."
    )

    @agent.tool
    def find_order(run: RunContext[Shop], order: str) -> str:
        """Return what became of an order."""
        print("inside the agent: find_order", order)
        return run.deps.orders.get(order, "unknown")

    return agent


async def refund(name: str, arguments: dict[str, Any]) -> str:
    """Run the room's tool."""
    print("in the room:", name, arguments["order"])
    return "paid back"


async def main() -> None:
    """Ask for money back in a browser."""
    seen: list[str] = []

    def send(connection_id: str, event: RoomEvent) -> None:
        seen.append(getattr(event.content, "body", ""))

    provider = PydanticAIProvider(make_agent(), deps=Shop({"A-17": "lost in the mail"}))
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("clerk", provider, tool_handler=refund))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "web")
        await kit.attach_channel(room.id, "clerk", metadata={"tools": [REFUND]})
        await kit.connect_websocket("web", "tab", send, room_id=room.id)
        question = TextContent(body="Order A-17 never came. I want my money back.")
        await kit.process_inbound(
            InboundMessage(channel_id="web", sender_id="ana", content=question), room_id=room.id
        )
    print("answer:", *seen)
    assert seen


if __name__ == "__main__":
    asyncio.run(main())
