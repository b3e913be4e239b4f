"""The Chat Completions API of OpenAI (and vLLM), played on a local socket.

Shapes and refusals follow the vendor's public pages "Chat Completions API" and "Error codes".
"""

from __future__ import annotations

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

__all__ = ["ModelAnswer", "OpenAISimulator"]

_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
_FIELDS = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
    "messages", "metadata", "model", "n", "parallel_tool_calls", "presence_penalty",
    "reasoning_effort", "response_format", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_p", "user",
})  # fmt: skip
_VENDOR = re.compile(r"(gpt-|o\d|chatgpt-|ft:)")
_CLASSIC = re.compile(r"(ft:)?(gpt-3\.5|gpt-4)|chatgpt-4o")
_IMAGE = re.compile(r"https?://\S+|data:image/(png|jpe?g|gif|webp);base64,[A-Za-z0-9+/]+=*")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = ("system", "developer", "user", "assistant", "tool")


class _Refusal(Exception):
    """A request the vendor would answer with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


class OpenAISimulator(ModelSimulator):
    """A GPT that says what it is told to; ``settings`` fits ``OpenAIConfig`` and ``VLLMConfig``.

    Args:
        api_key: The one key it knows.
        model: The model named in ``settings``. The vendor's own names work beside it. Under
            the name of another model it is lenient, as vLLM is.
        port: The port; 0 takes a free one.
    """

    vendor = "openai"

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated-key",
        model: str = "gpt-5.5",
        port: int = 0,
    ) -> None:
        super().__init__(api_key=api_key, model=model, port=port)

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request to ``/v1/chat/completions``; refuse what the vendor refuses."""
        try:
            body = self._checked(request)
        except _Refusal as refusal:
            return self._error(refusal.status, str(refusal), refusal.param, refusal.code)
        except (AttributeError, KeyError, TypeError):
            # Shapes so wrong that the checks above stumble over them.
            return self._error(400, "the body has the wrong shape")
        heard = _last_text(body["messages"])
        completion_id = self.new_id("chatcmpl-")
        answer = self.accept(completion_id, body["model"], heard, body)
        completion = _Completion(completion_id, body["model"], answer, words(heard))
        calls = [self.new_id("call_") for _ in answer.calls]
        if not body.get("stream"):
            return SimReply.of_json(
                completion.whole(calls), headers={"x-request-id": completion.id}
            )
        counted = bool((body.get("stream_options") or {}).get("include_usage"))
        return SimReply.of_events(_framed(completion.chunks(calls, counted=counted)))

    def failure(self, step: Step) -> SimReply:
        """Return an error with the body and headers of the vendor."""
        text = "scripted by the simulator"
        return self._error(step.status, text, None, step.code, step.retry_after)

    def _error(
        self,
        status: int,
        text: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> SimReply:
        headers = {"x-request-id": self.new_id("req_")}
        if status == 429:
            headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
        if retry_after is not None:
            headers["retry-after-ms"] = f"{retry_after * 1000:g}"
        kind, usual = _ERRORS.get(status, ("server_error", None))
        if code == "insufficient_quota":
            kind = code
        error = {"message": text, "type": kind, "param": param, "code": code or usual}
        return SimReply.of_json({"error": error}, status, headers)

    def _checked(self, request: SimRequest) -> dict[str, Any]:
        """Return the body of a good request."""
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            raise _Refusal(
                f"Invalid URL ({request.method} {request.path})", status=404, code="unknown_url"
            )
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            raise _Refusal("Incorrect API key provided.", status=401)
        try:
            body = request.json
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _Refusal("We could not parse the JSON body of your request.")
        self._check_fields(body)
        _check_messages(body["messages"])
        for at, tool in enumerate(body.get("tools", [])):
            _check_tool(tool, f"tools[{at}].function")
        return body

    def _check_fields(self, body: dict[str, Any]) -> None:
        for name in ("model", "messages"):
            if not body.get(name):
                raise _Refusal(f"Missing required parameter: '{name}'.", param=name)
        if unknown := sorted(body.keys() - _FIELDS):
            raise _Refusal(
                f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter"
            )
        model = str(body["model"])
        if model != self._model and not _VENDOR.match(model):
            raise _Refusal(f"The model `{model}` does not exist", status=404)
        if "stream_options" in body and not body.get("stream"):
            raise _Refusal("'stream_options' is only allowed with streaming")
        if "tool_choice" in body and not body.get("tools"):
            raise _Refusal("'tool_choice' is only allowed when 'tools' are specified.")
        if _VENDOR.match(model) and not _CLASSIC.match(model):
            _check_reasoning(body)


def _check_reasoning(body: dict[str, Any]) -> None:
    """Refuse what models that reason do not take."""
    if "max_tokens" in body:
        raise _Refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("temperature", 1) != 1:
        raise _Refusal(
            "Unsupported value: 'temperature' does not support this value with this model.",
            param="temperature",
            code="unsupported_value",
        )


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise _Refusal("Invalid type for 'messages': expected an array.", param="messages")
    waiting: set[str] = set()
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        role = message.get("role")
        if role not in _ROLES:
            raise _Refusal(f"Invalid value: '{role}'.", param=f"{where}.role")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                raise _Refusal(
                    "messages with role 'tool' must be a response to a preceding message "
                    "with 'tool_calls'.",
                    param=f"{where}.role",
                )
            waiting.discard(message["tool_call_id"])
        elif waiting:
            raise _Refusal(_unanswered(waiting), param=f"{where}.role")
        _check_content(message, where)
        waiting |= {_check_call(call, where) for call in message.get("tool_calls", [])}
    if waiting:
        raise _Refusal(_unanswered(waiting), param="messages")


def _unanswered(waiting: set[str]) -> str:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding "
        f"to each 'tool_call_id'. No response for: {', '.join(sorted(waiting))}"
    )


def _check_content(message: dict[str, Any], where: str) -> None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if not isinstance(content, list) or not content:
        raise _Refusal(f"Invalid value for 'content': got {content!r}", param=f"{where}.content")
    allowed = {"text", "image_url"} if message["role"] == "user" else {"text"}
    for part in content:
        if part.get("type") not in allowed:
            raise _Refusal(f"Invalid value: '{part.get('type')}'.", param=f"{where}.content")
        url = part.get("image_url", {}).get("url", "")
        if part["type"] == "image_url" and not _IMAGE.fullmatch(url):
            raise _Refusal("Invalid image.", param=f"{where}.content", code="invalid_image_url")


def _check_call(call: dict[str, Any], where: str) -> str:
    """Return the id of a tool call in the history."""
    function = call.get("function", {})
    good = call.get("type") == "function" and isinstance(function.get("arguments"), str)
    if not good or not _NAME.fullmatch(str(function.get("name", ""))):
        raise _Refusal("Invalid tool call.", param=f"{where}.tool_calls")
    return str(call["id"])


def _check_tool(tool: dict[str, Any], where: str) -> None:
    function = tool.get("function", {})
    if tool.get("type") != "function" or not _NAME.fullmatch(str(function.get("name", ""))):
        raise _Refusal("Invalid tool name.", param=f"{where}.name", code="invalid_value")
    schema = function.get("parameters", {"type": "object", "properties": {}})
    if schema.get("type") != "object" or "properties" not in schema:
        raise _Refusal(
            f"Invalid schema for function '{function['name']}': object schema missing properties",
            param=f"{where}.parameters",
            code="invalid_function_parameters",
        )


class _Completion:
    """An answer in the vendor's shapes."""

    def __init__(self, answer_id: str, model: str, answer: ModelAnswer, heard: int) -> None:
        self.id = answer_id
        self._head = {"id": answer_id, "created": 1_790_000_000, "model": model}
        self._answer = answer
        told = words(answer.text)
        self._usage = {
            "prompt_tokens": heard,
            "completion_tokens": told,
            "total_tokens": heard + told,
            "prompt_tokens_details": {"cached_tokens": 2},
        }

    def whole(self, calls: list[str]) -> dict[str, Any]:
        """Return the answer in one piece."""
        answer = self._answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.thinking:
            message["reasoning_content"] = answer.thinking
        if calls:
            message["tool_calls"] = [
                _call(call_id, name, arguments_text(arguments))
                for call_id, (name, arguments) in zip(calls, answer.calls, strict=True)
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._stop()}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self._usage,
        }

    def chunks(self, calls: list[str], *, counted: bool) -> Iterator[dict[str, Any] | str]:
        """Yield the answer as a stream tells it."""
        answer = self._answer
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in pieces(answer.thinking):
            yield self._chunk({"reasoning_content": piece})
        for piece in pieces(answer.text):
            yield self._chunk({"content": piece})
        for index, (call_id, (name, arguments)) in enumerate(
            zip(calls, answer.calls, strict=True)
        ):
            yield self._chunk({"tool_calls": [{"index": index, **_call(call_id, name, "")}]})
            for piece in pieces(arguments_text(arguments)):
                part = {"index": index, "function": {"arguments": piece}}
                yield self._chunk({"tool_calls": [part]})
        if answer.ending == "error":
            error = {"message": "The server had an error", "type": "server_error"}
            yield {"error": {**error, "param": None, "code": None}}
        if answer.ending != "whole":
            return
        yield self._chunk({}, self._stop())
        if counted:
            head = {**self._head, "object": "chat.completion.chunk"}
            yield {**head, "choices": [], "usage": self._usage}
        yield "[DONE]"

    def _chunk(self, delta: dict[str, Any], stop: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": stop}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def _stop(self) -> str:
        return self._answer.stop or ("tool_calls" if self._answer.calls else "stop")


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or f"[{part['type']}]") for part in content)


async def _framed(chunks: Iterator[dict[str, Any] | str]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode()
