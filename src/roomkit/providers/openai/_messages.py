"""From our prompt to the messages and tools of a Chat Completions request. Pure.

The shapes are those of the vendor's "Chat Completions API" reference.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import split_data_url
from roomkit.providers.ai.base import (
    AIImagePart,
    AITextPart,
    AIToolCallPart,
    AIToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.providers.ai.base import AIContext, AIMessage, AIPart, AITool

type Message = dict[str, Any]

CUSTOM = "custom"
"""``metadata["type"]`` of a call of a tool that takes plain text instead of JSON."""

_IMAGES = frozenset({"image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp"})
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_INSTRUCTIONS = frozenset({"system", "developer"})


def message_list(context: AIContext) -> list[Message]:
    """Return the whole conversation, instructions first.

    Messages with nothing in them are left out. A tool's result is text to the vendor: images
    in it follow in a message of the user, after all results of the turn.

    Raises:
        ProviderError: Nothing is left to answer, or a role is unknown.
    """
    messages: list[Message] = []
    if context.system_prompt:
        messages.append({"role": "system", "content": context.system_prompt})
    shown: list[dict[str, Any]] = []
    to_answer = False
    for message in context.messages:
        if message.role not in _ROLES:
            raise ProviderError(
                f"a message has the role {message.role[:40]!r}; known are "
                "system, user, assistant and tool",
                provider="openai",
            )
        results = _results(message)
        if not results:
            messages += _pictures(shown)
        messages += _tool_messages(results, shown)
        rest = _message(message)
        if rest is not None:
            if results:
                messages += _pictures(shown)
            messages.append(rest)
        to_answer = to_answer or bool(results)
        to_answer = to_answer or (rest is not None and message.role not in _INSTRUCTIONS)
    messages += _pictures(shown)
    if not to_answer:
        raise ProviderError("the prompt has no message with content", provider="openai")
    return messages


def tool_list(tools: Iterable[AITool]) -> list[dict[str, Any]]:
    """Return the declarations of tools."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _schema(tool.parameters),
            },
        }
        for tool in tools
    ]


def _schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a schema the vendor takes: one of an object, with its properties."""
    if not parameters:
        return {"type": "object", "properties": {}}
    return parameters if "type" in parameters else {"type": "object", **parameters}


def _results(message: AIMessage) -> list[AIToolResultPart]:
    if isinstance(message.content, str):
        return []
    return [part for part in message.content if isinstance(part, AIToolResultPart)]


def _tool_messages(
    results: Iterable[AIToolResultPart], shown: list[dict[str, Any]]
) -> list[Message]:
    """Return one message per result; pictures in them are added to ``shown``."""
    messages: list[Message] = []
    for part in results:
        text = part.result
        if not isinstance(text, str):
            pictures = [_image(inner) for inner in text if isinstance(inner, AIImagePart)]
            text = _joined(text)
            if pictures:
                shown.append(_text(f"What the tool {part.name} showed:"))
                shown.extend(pictures)
        # The vendor has no flag for a failure, so the text must tell.
        content = f"Error: {text}" if part.is_error else text
        messages.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": content})
    return messages


def _pictures(shown: list[dict[str, Any]]) -> list[Message]:
    """Return the message that holds pictures of tools, if there are any, and forget them."""
    if not shown:
        return []
    parts = list(shown)
    shown.clear()
    return [{"role": "user", "content": parts}]


def _message(message: AIMessage) -> Message | None:
    """Return a message without its results of tools; None when nothing else is in it."""
    content = message.content
    if isinstance(content, str):
        return {"role": message.role, "content": content} if content.strip() else None
    if message.role == "assistant":
        return _assistant(content)
    if message.role in _INSTRUCTIONS:
        text = _joined(content)
        return {"role": message.role, "content": text} if text.strip() else None
    parts = [piece for piece in map(_part, content) if piece is not None]
    return {"role": "user", "content": parts} if parts else None


def _assistant(content: list[AIPart]) -> Message | None:
    """Return an assistant's message; thoughts have no place in this API and are left out."""
    text = _joined(content)
    calls = [_call(part) for part in content if isinstance(part, AIToolCallPart)]
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text} if text.strip() else None


def _call(part: AIToolCallPart) -> dict[str, Any]:
    if part.metadata.get("type") == CUSTOM:
        text = part.arguments.get("input", "")
        return {"id": part.id, "type": CUSTOM, CUSTOM: {"name": part.name, "input": text}}
    arguments = json.dumps(part.arguments, separators=(",", ":"))
    return {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": arguments},
    }


def _part(part: AIPart) -> dict[str, Any] | None:
    if isinstance(part, AITextPart):
        return _text(part.text) if part.text.strip() else None
    return _image(part) if isinstance(part, AIImagePart) else None


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(part: AIImagePart) -> dict[str, Any]:
    """Return an image, or text in place of what is none the vendor can show its model."""
    mime = (part.mime_type or "").lower()
    if part.url[:5].lower() == "data:":
        data = split_data_url(part.url)
        mime = mime or "unknown" if data is None else data[0]
        known = data is not None and mime in _IMAGES
    else:
        known = not mime or mime in _IMAGES
    if not known:
        return _text(f"[attachment of type {mime}, which cannot be shown to you]")
    return {"type": "image_url", "image_url": {"url": part.url}}


def _joined(content: Iterable[AIPart]) -> str:
    return "\n".join(part.text for part in content if isinstance(part, AITextPart))
