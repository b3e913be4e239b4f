"""From our prompt to the body of a Messages request. Pure.

The shapes are those of the vendor's Messages API; see "Tool use" and "Vision" there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import split_data_url
from roomkit.providers.ai.base import (
    AIImagePart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.providers.ai.base import AIContext, AIMessage, AIPart

type Block = dict[str, Any]

THINKING_BLOCKS = "thinking_blocks"
"""Metadata key of a message: its thoughts as the vendor gave them, to be given back so."""

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# The vendor refuses a conversation that begins with the model's words; one that was cut to its
# newest messages often does.
_BEFORE = "[earlier messages are not shown]"
_PDF = "application/pdf"
_SYSTEM = frozenset({"system", "developer"})
_ROLES = {"user": "user", "assistant": "assistant", "tool": "user"}


def system_text(context: AIContext) -> str:
    """Return all instructions: the system prompt, then messages of role system."""
    texts = [context.system_prompt or ""]
    texts += [_plain_text(m.content) for m in context.messages if m.role in _SYSTEM]
    return "\n\n".join(text for text in texts if text)


def message_list(context: AIContext) -> list[dict[str, Any]]:
    """Return the conversation; results of tools that follow each other are one message.

    Messages with nothing in them are left out: the vendor refuses empty text.

    Raises:
        ProviderError: Nothing is left, or a role is unknown.
    """
    messages: list[dict[str, Any]] = []
    after_tool = False
    for message in context.messages:
        if message.role in _SYSTEM:
            continue
        content = _content(message)
        if not content:
            continue
        if message.role == "tool" and after_tool and isinstance(content, list):
            messages[-1]["content"].extend(content)
            messages[-1]["content"].sort(key=_results_first)
        else:
            messages.append({"role": _role(message), "content": content})
        after_tool = message.role == "tool" and isinstance(content, list)
    if not messages:
        raise ProviderError("the prompt has no message with content", provider="anthropic")
    if messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": _BEFORE})
    return messages


def tool_options(context: AIContext) -> dict[str, Any]:
    """Return the request's ``tools`` and ``tool_choice``, or nothing.

    Tools withheld in this turn are declared all the same, since the conversation speaks of
    them, and forbidden.
    """
    if context.tools:
        return {"tools": [_tool(tool) for tool in context.tools]}
    withheld = context.metadata.get("withheld_tools")
    tools = [tool for tool in withheld or () if isinstance(tool, AITool)]
    if not tools:
        return {}
    return {"tools": [_tool(tool) for tool in tools], "tool_choice": {"type": "none"}}


def _tool(tool: AITool) -> dict[str, Any]:
    schema = tool.parameters or {"properties": {}}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def _role(message: AIMessage) -> str:
    role = _ROLES.get(message.role)
    if role is None:
        raise ProviderError(
            f"a message has the role {message.role[:40]!r}; known are "
            "system, user, assistant and tool",
            provider="anthropic",
        )
    return role


def _content(message: AIMessage) -> str | list[Block]:
    if isinstance(message.content, str):
        return message.content if message.content.strip() else ""
    kept = message.metadata.get(THINKING_BLOCKS) if message.role == "assistant" else None
    blocks: list[Block] = list(kept) if isinstance(kept, list) else []
    for part in message.content:
        if blocks and kept and isinstance(part, AIThinkingPart):
            continue  # Joined from the blocks kept, whose seals hold only one by one.
        block = _block(part)
        if block is not None:
            blocks.append(block)
    # The vendor wants results before anything else of their message.
    return sorted(blocks, key=_results_first)


def _results_first(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


def _block(part: AIPart) -> Block | None:
    if isinstance(part, AITextPart):
        return _text(part.text) if part.text.strip() else None
    if isinstance(part, AIImagePart):
        return _image(part)
    if isinstance(part, AIToolCallPart):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    if isinstance(part, AIToolResultPart):
        return _result(part)
    if part.signature is None:
        return None  # Thoughts without their seal are refused.
    return {"type": "thinking", "thinking": part.thinking, "signature": part.signature}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _result(part: AIToolResultPart) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": part.tool_call_id}
    if isinstance(part.result, str):
        content: str | list[Block | None] = part.result if part.result.strip() else ""
    else:
        content = [block for block in map(_block, part.result) if block is not None]
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return block


def _image(part: AIImagePart) -> Block:
    """Return an image or PDF block, or text in its place for what the model cannot see."""
    mime = (part.mime_type or "").lower()
    source: Block = {"type": "url", "url": part.url}
    if part.url[:5].lower() == "data:":
        data = split_data_url(part.url)
        if data is None:
            return _unseen(mime)
        mime = "image/jpeg" if data[0] == "image/jpg" else data[0]
        source = {"type": "base64", "media_type": mime, "data": data[1]}
    if mime == _PDF:
        return {"type": "document", "source": source}
    if mime and mime not in _IMAGES and mime != "image/jpg":
        return _unseen(mime)
    return {"type": "image", "source": source}


def _unseen(mime: str) -> Block:
    return _text(f"[attachment of type {mime or 'unknown'}, which cannot be shown to you]")


def _plain_text(content: str | Sequence[AIPart]) -> str:
    if isinstance(content, str):
        return content.strip() and content
    return "\n".join(part.text for part in content if isinstance(part, AITextPart))
