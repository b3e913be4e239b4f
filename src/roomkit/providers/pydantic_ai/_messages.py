"""From our conversation to the framework's, and from its results to our answers. Pure.

``sdk`` is the package ``pydantic_ai``: it is passed in, never imported.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import given, split_data_url
from roomkit.providers.ai.base import (
    AIImagePart,
    AIResponse,
    AITextPart,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.providers.ai.base import AIContext, AIMessage, AIPart, AITool

STEPS = "pydantic_ai_messages"
"""Where a response that calls tools keeps what the agent did before, for the next round."""

UNREADABLE = "[an attachment that cannot be read]"

_DETAILS = (
    "requests", "tool_calls", "cache_read_tokens", "cache_write_tokens", "input_audio_tokens",
    "output_audio_tokens",
)  # fmt: skip


def build_run(sdk: Any, context: AIContext) -> tuple[Any, list[Any]]:
    """Return ``(user prompt, history)``; no prompt means: go on from the results of tools.

    Raises:
        ProviderError: Nothing is left to say.
    """
    messages = [message for message in context.messages if message.role != "system"]
    history: list[Any] = []
    for message in messages:
        history += _converted(sdk, message)
    if not history:
        raise ProviderError(
            "the prompt holds no message with content; an agent needs at least one",
            provider="pydantic-ai",
        )
    last = history[-1].parts
    if messages[-1].role == "user" and len(last) == 1 and last[0].part_kind == "user-prompt":
        return last[0].content, history[:-1]
    return None, history


def instructions(context: AIContext) -> str | None:
    """Return the system prompt and the text of all system messages, a blank line between."""
    texts = [context.system_prompt or ""]
    texts += [_plain(message.content) for message in context.messages if message.role == "system"]
    return "\n\n".join(text for text in texts if text) or None


def external_tools(sdk: Any, tools: Iterable[AITool]) -> Any:
    """Return a toolset of tools that are run by whoever asked, not by the agent."""
    return sdk.ExternalToolset(
        [
            sdk.ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=tool.parameters or {"type": "object", "properties": {}},
            )
            for tool in tools
        ]
    )


def read_result(sdk: Any, result: Any, model: str) -> AIResponse:
    """Return the answer a run of an agent came to.

    Raises:
        ProviderError: The agent waits for somebody to approve a call of one of its own tools.
    """
    messages = result.new_messages()
    last = next((m for m in reversed(messages) if m.kind == "response"), None)
    parts = [] if last is None else last.parts
    usage, details = _usage(result.usage)
    metadata: dict[str, Any] = {"model": getattr(last, "model_name", None) or model}
    if details:
        metadata["usage_details"] = details
    calls: list[AIToolCall] = []
    if isinstance(result.output, sdk.DeferredToolRequests):
        content = "".join(part.content for part in parts if part.part_kind == "text")
        calls = _calls(result.output)
        metadata[STEPS] = _steps(sdk, messages)
    else:
        content = as_text(result.output)
    thoughts = "".join(part.content for part in parts if part.part_kind == "thinking")
    return AIResponse(
        content=content,
        finish_reason=getattr(last, "finish_reason", None),
        usage=usage,
        metadata=metadata,
        tool_calls=calls,
        thinking=thoughts or None,
    )


def as_text(output: Any) -> str:
    """Return an agent's output as text; what is no text becomes JSON."""
    if isinstance(output, str):
        return output
    if output is None:
        return ""
    if isinstance(output, BaseModel):
        return output.model_dump_json()
    return TypeAdapter(type(output)).dump_json(output).decode()


def _converted(sdk: Any, message: AIMessage) -> list[Any]:
    """Return a message as messages of the framework; none when it says nothing."""
    if message.role == "assistant":
        steps = _restored(sdk, message.metadata.get(STEPS))
        return steps or _response(sdk, message)
    results, words = _request_parts(sdk, message.content)
    if not results and not words:
        return []
    parts = [*results]
    if words:
        # One text stays a plain string, as everybody writes it.
        parts.append(sdk.UserPromptPart(words[0] if _is_text(words) else words))
    return [sdk.ModelRequest(parts=parts)]


def _is_text(words: Sequence[Any]) -> bool:
    return len(words) == 1 and isinstance(words[0], str)


def _request_parts(sdk: Any, content: str | Iterable[AIPart]) -> tuple[list[Any], list[Any]]:
    """Return the results of tools and the words and attachments of a message."""
    if isinstance(content, str):
        return [], [content] if content else []
    results: list[Any] = []
    words: list[Any] = []
    for part in content:
        if isinstance(part, AITextPart) and part.text:
            words.append(part.text)
        elif isinstance(part, AIImagePart):
            words.append(_attachment(sdk, part))
        elif isinstance(part, AIToolResultPart):
            results.append(_result(sdk, part))
    return results, words


def _result(sdk: Any, part: AIToolResultPart) -> Any:
    content: Any = part.result
    if not isinstance(content, str):
        items = _request_parts(sdk, content)[1]
        content = items[0] if _is_text(items) else items
    return sdk.ToolReturnPart(
        part.name,
        content,
        part.tool_call_id,
        outcome="failed" if part.is_error else "success",
    )


def _attachment(sdk: Any, image: AIImagePart) -> Any:
    """Return an attachment by its kind: what is no image is a document, sound or film."""
    if image.url.lower().startswith("data:"):
        found = split_data_url(image.url)
        data = _decoded(found[1]) if found is not None else b""
        if found is None or not data:
            return UNREADABLE
        return sdk.BinaryContent(data, media_type=found[0])
    kind = (image.mime_type or "image/").partition("/")[0]
    made = {"image": sdk.ImageUrl, "audio": sdk.AudioUrl, "video": sdk.VideoUrl}
    return made.get(kind, sdk.DocumentUrl)(image.url, **given(media_type=image.mime_type))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _response(sdk: Any, message: AIMessage) -> list[Any]:
    """Return what the assistant said, of a history that knows no more than that."""
    content = message.content
    given_parts = [AITextPart(text=content)] if isinstance(content, str) else content
    parts: list[Any] = []
    for part in given_parts:
        if isinstance(part, AITextPart) and part.text:
            parts.append(sdk.TextPart(part.text))
        elif isinstance(part, AIToolCallPart):
            parts.append(sdk.ToolCallPart(part.name, part.arguments, part.id))
    return [sdk.ModelResponse(parts=parts)] if parts else []


def _calls(requests: Any) -> list[AIToolCall]:
    if requests.approvals:
        names = ", ".join(sorted({call.tool_name for call in requests.approvals}))
        raise ProviderError(
            f"the agent's own tool {names} asks for an approval, which nobody here can give; "
            "offer it through the room instead, or let it run without",
            provider="pydantic-ai",
        )
    return [
        AIToolCall(id=call.tool_call_id, name=call.tool_name, **_arguments(call))
        for call in requests.calls
    ]


def _arguments(call: Any) -> dict[str, Any]:
    """Return a call's arguments; what is no JSON object is kept in the metadata."""
    raw = call.args
    try:
        arguments = json.loads(raw) if isinstance(raw, str) and raw else raw or {}
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return {"arguments": arguments}
    return {"arguments": {}, "metadata": {"raw_arguments": raw}}


def _steps(sdk: Any, messages: Sequence[Any]) -> Any:
    """Return what the agent did in a run, from the model's first word on, as JSON."""
    first = next((i for i, message in enumerate(messages) if message.kind == "response"), 0)
    return sdk.ModelMessagesTypeAdapter.dump_python([*messages[first:]], mode="json")


def _restored(sdk: Any, steps: Any) -> list[Any]:
    """Return the steps of an earlier round; none when these are not ours."""
    if not steps:
        return []
    try:
        restored: list[Any] = sdk.ModelMessagesTypeAdapter.validate_python(steps)
    except ValidationError:
        return []
    return restored


def _usage(usage: Any) -> tuple[dict[str, int], dict[str, int]]:
    counts = {name: getattr(usage, name, 0) or 0 for name in ("input_tokens", "output_tokens")}
    details = {name: getattr(usage, name, 0) or 0 for name in _DETAILS}
    return counts, {name: count for name, count in details.items() if count}


def _plain(content: str | Iterable[AIPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, AITextPart))
