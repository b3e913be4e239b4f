"""The Messages API of Anthropic, played on a local socket.

Shapes and refusals follow the vendor's public pages "Messages", "Tool use", "Streaming
Messages" and "Errors".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from roomkit.simulators._answers import (
    ModelAnswer,
    arguments_text,
    pieces,
    words,
)
from roomkit.simulators._base import SimReply, SimRequest
from roomkit.simulators._model import ModelSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from roomkit.simulators._base import Step

__all__ = ["AnthropicSimulator", "ModelAnswer"]

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIELDS = frozenset({
    "cache_control", "container", "max_tokens", "messages", "metadata", "model",
    "output_config", "service_tier", "stop_sequences", "stream", "system", "temperature",
    "thinking", "tool_choice", "tools", "top_k", "top_p",
})  # fmt: skip
_RETIRED = frozenset({"claude-sonnet-4-20250514", "claude-3-opus-20240229"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_NO_SAMPLING = re.compile(r"claude-(opus|sonnet|haiku)-5")
_CHOICES = frozenset({"auto", "any", "tool", "none"})


class _Refusal(Exception):
    """A request the vendor would answer with an error."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class AnthropicSimulator(ModelSimulator):
    """A Claude that says what it is told to; ``settings`` fits ``AnthropicConfig``.

    Args:
        api_key: The one key it knows.
        model: The model named in ``settings``; every ``claude-`` that is not retired works.
        port: The port; 0 takes a free one.
    """

    vendor = "anthropic"

    def __init__(
        self,
        *,
        api_key: str = "sk-ant-simulated-key",
        model: str = "claude-sonnet-5-5",
        port: int = 0,
    ) -> None:
        super().__init__(api_key=api_key, model=model, port=port)

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request to ``/v1/messages``; refuse what the vendor refuses."""
        try:
            body = self._checked(request)
        except _Refusal as refusal:
            return self._error(refusal.status, str(refusal))
        except (AttributeError, KeyError, TypeError):
            # Shapes so wrong that the checks above stumble over them.
            return self._error(400, "the body has the wrong shape")
        heard = _last_text(body["messages"])
        message_id = self.new_id("msg_")
        answer = self.accept(message_id, body["model"], heard, body)
        message = _Message(message_id, body["model"], answer, words(heard))
        tools = [self.new_id("toolu_") for _ in answer.calls]
        if body.get("stream"):
            return SimReply.of_events(_framed(message.events(tools)))
        return SimReply.of_json(message.whole(tools), headers={"request-id": message.id})

    def failure(self, step: Step) -> SimReply:
        """Return an error with the body and headers of the vendor."""
        return self._error(step.status, "scripted by the simulator", step.code, step.retry_after)

    def _error(
        self, status: int, text: str, kind: str | None = None, retry_after: float | None = None
    ) -> SimReply:
        request_id = self.new_id("req_")
        headers = {"request-id": request_id}
        if retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        kind = kind or _ERROR_TYPES.get(status, "api_error")
        body = {
            "type": "error",
            "error": {"type": kind, "message": text},
            "request_id": request_id,
        }
        return SimReply.of_json(body, status, headers)

    def _checked(self, request: SimRequest) -> dict[str, Any]:
        """Return the body of a good request."""
        if request.path != "/v1/messages":
            raise _Refusal("Not found", 404)
        if request.method != "POST":
            raise _Refusal("Method Not Allowed", 405)
        # The SDK sent the key as x-api-key until its version 2, and as a bearer since.
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._api_key not in (request.headers.get("x-api-key"), bearer):
            raise _Refusal("invalid x-api-key", 401)
        if not request.headers.get("anthropic-version"):
            raise _Refusal("anthropic-version: header is required")
        try:
            body = request.json
        except ValueError:
            raise _Refusal("The request body is not valid JSON") from None
        if not isinstance(body, dict):
            raise _Refusal("Input should be an object")
        _check_fields(body)
        _check_messages(body)
        for tool in body.get("tools", []):
            _check_tool(tool)
        return body


def _check_fields(body: dict[str, Any]) -> None:
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise _Refusal(f"{name}: Field required")
    if unknown := sorted(body.keys() - _FIELDS):
        raise _Refusal(f"{unknown[0]}: Extra inputs are not permitted")
    model = body["model"]
    if not isinstance(model, str) or not model.startswith("claude-") or model in _RETIRED:
        raise _Refusal(f"model: {model}", 404)
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise _Refusal("max_tokens: must be greater than or equal to 1")
    # That models of today refuse it is the vendor's word; the text is ours.
    if "temperature" in body and (_NO_SAMPLING.match(model) or not 0 <= body["temperature"] <= 1):
        raise _Refusal("temperature: this value is not supported by this model")
    if "system" in body and not body["system"]:
        raise _Refusal("system: text content blocks must be non-empty")
    choice = body.get("tool_choice")
    if choice is not None and (not body.get("tools") or choice.get("type") not in _CHOICES):
        raise _Refusal("tool_choice: may only be specified while providing tools")


def _check_messages(body: dict[str, Any]) -> None:
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise _Refusal("messages: at least one message is required")
    if messages[0].get("role") != "user":
        raise _Refusal('messages: first message must use the "user" role')
    if messages[-1]["role"] == "assistant":
        raise _Refusal("This model does not support assistant message prefill.")
    wanted: set[str] = set()
    for at, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            raise _Refusal(
                f'messages: Unexpected role "{message.get("role")}". The Messages API accepts '
                'a top-level `system` parameter, not "system" as an input message role.'
            )
        blocks = _blocks(message.get("content"), at)
        _check_pairs(blocks, wanted, at)
        wanted = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            _check_block(block, message["role"], f"messages.{at}.content")
    if wanted:
        raise _Refusal(f"messages.{len(messages)}: `tool_use` ids without `tool_result` blocks")


def _blocks(content: Any, at: int) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise _Refusal(f"messages.{at}: all messages must have non-empty content")
    return content


def _check_pairs(blocks: list[dict[str, Any]], wanted: set[str], at: int) -> None:
    """Refuse results that come late, twice, never, or that nobody asked for."""
    answered = [b.get("tool_use_id") for b in blocks if b["type"] == "tool_result"]
    first = [b.get("tool_use_id") for b in blocks[: len(wanted)] if b["type"] == "tool_result"]
    if missing := wanted - set(first):
        raise _Refusal(
            f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(sorted(missing))}."
        )
    for tool_use_id in answered:
        if tool_use_id not in wanted:
            raise _Refusal(
                f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{tool_use_id}."
            )
    if len(answered) != len(set(answered)):
        raise _Refusal(f"messages.{at}: each tool_use must have a single result")


def _check_block(block: dict[str, Any], role: str, where: str) -> None:
    kind = block["type"]
    mine = {"tool_use", "thinking", "redacted_thinking", "text"}
    if kind not in (mine if role == "assistant" else {"text", "image", "document", "tool_result"}):
        raise _Refusal(f"{where}: `{kind}` blocks are not permitted in {role} messages")
    if kind == "text" and not str(block.get("text", "")).strip():
        raise _Refusal(f"{where}: text content blocks must contain non-whitespace text")
    if kind == "thinking" and not block.get("signature"):
        raise _Refusal(f"{where}: Invalid `signature` in `thinking` block")
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise _Refusal(f"{where}.tool_use.input: Input should be a valid dictionary")
    if kind in ("image", "document"):
        _check_source(block.get("source", {}), kind, where)
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for inner in block["content"]:
            _check_block(inner, "user", f"{where}.tool_result")


def _check_source(source: dict[str, Any], kind: str, where: str) -> None:
    if source.get("type") == "url":
        if not str(source.get("url", "")).startswith(("http://", "https://")):
            raise _Refusal(f"{where}: Only HTTP(S) URLs are supported")
        return
    allowed = _IMAGES if kind == "image" else {"application/pdf"}
    if source.get("type") != "base64" or source.get("media_type") not in allowed:
        raise _Refusal(f"{where}.source.base64.media_type: Input should be one of {allowed}")
    try:
        base64.b64decode(source.get("data", ""), validate=True)
    except (binascii.Error, ValueError):
        raise _Refusal(f"{where}.source.base64.data: invalid base64") from None


def _check_tool(tool: dict[str, Any]) -> None:
    if not _TOOL_NAME.fullmatch(str(tool.get("name", ""))):
        raise _Refusal("tools.0.custom.name: String should match pattern")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise _Refusal("tools.0.custom.input_schema.type: Field required")


class _Message:
    """An answer in the vendor's shapes."""

    def __init__(self, message_id: str, model: str, answer: ModelAnswer, heard: int) -> None:
        self.id = message_id
        self._model = model
        self._answer = answer
        self._heard = heard

    def whole(self, tools: list[str]) -> dict[str, Any]:
        """Return the answer in one piece."""
        content = [block for block, _ in self._content(tools)]
        told = {"content": content, "stop_reason": self._stop()}
        return {**self._skeleton(), **told, "usage": self._usage(words(self._answer.text))}

    def events(self, tools: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the answer as a stream tells it."""
        yield {"type": "message_start", "message": self._skeleton()}
        yield {"type": "ping"}
        for index, (block, deltas) in enumerate(self._content(tools)):
            kept = ("type", "id", "name")
            start = {n: value if n in kept else type(value)() for n, value in block.items()}
            yield {"type": "content_block_start", "index": index, "content_block": start}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            if self._answer.ending == "error":
                error = {"type": "overloaded_error", "message": "Overloaded"}
                yield {"type": "error", "error": error}
                return
            if self._answer.ending == "early":
                return
            yield {"type": "content_block_stop", "index": index}
        delta = {"stop_reason": self._stop(), "stop_sequence": None}
        usage = {"output_tokens": words(self._answer.text)}
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def _content(self, tools: list[str]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield each block, whole, and the deltas a stream sends in its stead."""
        answer = self._answer
        if answer.thinking:
            seal = f"sealed-{self.id}"
            block = {"type": "thinking", "thinking": answer.thinking, "signature": seal}
            deltas = [{"type": "thinking_delta", "thinking": p} for p in pieces(answer.thinking)]
            yield block, [*deltas, {"type": "signature_delta", "signature": seal}]
        if answer.text:
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(answer.text)]
            yield {"type": "text", "text": answer.text}, deltas
        for tool_id, (name, arguments) in zip(tools, answer.calls, strict=True):
            text = arguments_text(arguments)
            parts = ["", *pieces(text)] if text != "{}" else []
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
            given = arguments if isinstance(arguments, dict) else {}
            yield {"type": "tool_use", "id": tool_id, "name": name, "input": given}, deltas

    def _skeleton(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(1),
        }

    def _usage(self, told: int) -> dict[str, int]:
        return {
            "input_tokens": self._heard,
            "output_tokens": told,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
        }

    def _stop(self) -> str:
        return self._answer.stop or ("tool_use" if self._answer.calls else "end_turn")


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(str(b.get("text") or b.get("content") or f"[{b['type']}]") for b in content)


async def _framed(events: Iterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
