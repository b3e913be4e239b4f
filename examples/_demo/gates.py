"""What the demo puts between a message and the room, and the tool its assistant may call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roomkit import (
    AIResponse,
    AIToolCall,
    ChannelDirection,
    HookResult,
    HookTrigger,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ASSISTANT = "@assistant"
CARD_NUMBER = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")

ORDER_TOOL = {
    "name": "order_status",
    "description": "Look up where an order is.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    },
}

SCRIPT: Iterable[AIResponse | str] = (
    AIResponse(
        content="",
        finish_reason="tool_calls",
        tool_calls=[AIToolCall(id="call-1", name="order_status", arguments={"order": "4711"})],
    ),
    "Order 4711 is in Lyon and arrives tomorrow.",
)
"""What the scripted model says: first it asks for the tool, then it answers."""


async def run_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer the model's call."""
    return {"tool": name, "order": arguments["order"], "place": "Lyon", "arrives": "tomorrow"}


def install(kit: RoomKit) -> None:
    """Register the gates; they look at what comes from outside, not at the assistant."""

    @kit.hook(
        HookTrigger.BEFORE_BROADCAST,
        name="moderation",
        directions={ChannelDirection.INBOUND},
        fail_closed=True,
    )
    async def moderate(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
        """Keep passwords out of the room and card numbers out of the record."""
        if not isinstance(event.content, TextContent):
            return HookResult.allow()
        text = event.content.body
        if "password" in text.lower():
            return HookResult.block("passwords do not belong here")
        clean = CARD_NUMBER.sub("[card number]", text)
        if clean == text:
            return HookResult.allow()
        return HookResult.modify(event.saying(TextContent(body=clean)))

    @kit.hook(
        HookTrigger.BEFORE_BROADCAST,
        name="addressing",
        priority=10,
        directions={ChannelDirection.INBOUND},
    )
    async def address(event: RoomEvent, context: RoomContext) -> HookResult[RoomEvent]:
        """Show the assistant only what is said to it; people see everything."""
        if ASSISTANT in getattr(event.content, "body", ""):
            return HookResult.allow()
        return HookResult.modify(event.visible_as("transport"))
