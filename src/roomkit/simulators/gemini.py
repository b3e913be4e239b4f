"""The Gemini Developer API on a socket: generateContent, whole and streamed.

Refuses what Google refuses, in Google's words where they are known: wrong keys and paths,
unknown fields, turns out of order, tool calls without the seal they were issued with. Facts:
the API reference, "Function calling" and "Thought signatures" pages, and errors that users of
the API have reported.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.simulators._answers import ModelAnswer
from roomkit.simulators._base import SimReply, Step
from roomkit.simulators._gemini_checks import (
    CHARS_PER_TOKEN,
    GeminiRequest,
    Refused,
    check_request,
    read_request,
)
from roomkit.simulators._model import ModelSimulator

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence

    from roomkit.simulators._base import SimRequest

__all__ = ["GeminiAnswer", "GeminiSimulator", "ModelAnswer"]

RETIRED = frozenset({"gemini-2.0-flash", "gemini-2.5-flash"})
"""Models that were shut down: 1 June and 16 October 2026."""

_PATH = re.compile(r"/v1(?:beta)?/models/(?P<model>[\w.-]+):(?P<method>\w+)")
_METHODS = {"generateContent": False, "streamGenerateContent": True}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."
_SHORTEST_DEADLINE = 10


@dataclass(frozen=True, slots=True)
class GeminiAnswer(ModelAnswer):
    """What the model says when it is its turn, as only Gemini can say it.

    Its thoughts are told only to who asked for them. Cut short by ``maxOutputTokens`` it stops
    with ``MAX_TOKENS``.

    Attributes:
        block_reason: The prompt is refused for this reason, and nothing else is said.
        ids: Give each call an id, as present models do.
        hold: A stream waits for this after its first piece.
    """

    block_reason: str | None = None
    ids: bool = True
    hold: asyncio.Event | None = None


@dataclass(slots=True)
class _Turn:
    """An answer on its way: its parts, and why it ends."""

    parts: list[dict[str, Any]]
    finish_reason: str
    usage: dict[str, int] = field(default_factory=dict)


class GeminiSimulator(ModelSimulator):
    """A model that says what it is told to, and otherwise repeats what it was asked.

    ``sim.answer("Hello")`` queues an answer,
    ``sim.answer(ModelAnswer(calls=(("search", {"q": "x"}),)))`` a call of a tool. Each accepted
    request takes one. ``settings`` fits ``GeminiConfig``.

    Args:
        api_key: The one key that is accepted.
        model: What ``settings`` names; any model that is not retired is answered for.
        thinking: Seal tool calls, and refuse them back without their seal, as models that
            think do.
        port: The port; 0 takes a free one.
    """

    vendor = "gemini"

    def __init__(
        self,
        *,
        api_key: str = "sim-gemini-key",
        model: str = "gemini-3.5-flash",
        thinking: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(api_key=api_key, model=model, port=port)
        self._thinking = thinking
        self._seals: set[str] = set()

    def reset(self) -> None:
        """Forget requests, messages, seals, and what is left of script and answers."""
        super().reset()
        self._seals.clear()

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as Google would."""
        found = _PATH.fullmatch(request.path)
        if found is None or found["method"] not in _METHODS or request.method != "POST":
            return SimReply(404, b"<html><title>Error 404 (Not Found)!!1</title></html>")
        model, streamed = found["model"], _METHODS[found["method"]]
        try:
            self._check_caller(request, model)
            body = read_request(request.body)
            check_request(body, self._seals if self._thinking else None)
        except Refused as refused:
            return _error(refused.status, str(refused), refused.details)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Shapes so wrong that the checks above stumble over them.
            return _error(400, "Invalid JSON payload received. The body has the wrong shape.")
        if streamed and request.query.get("alt") != "sse":
            return _error(400, "this simulator streams with alt=sse only")
        answer = self.accept(self.new_id("response-"), model, body.heard, body.data)
        block_reason = getattr(answer, "block_reason", None)
        if block_reason is not None:
            return self._reply(_blocked(block_reason, body, model), streamed)
        turn = self._turn(answer, body)
        if streamed:
            return SimReply.of_events(self._stream(answer, turn, model))
        return self._reply(_response(turn.parts, turn, model), streamed=False)

    def failure(self, step: Step) -> SimReply:
        """Return a scripted error in Google's shape, the wait as a RetryInfo."""
        details = []
        if step.retry_after is not None:
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{step.retry_after:g}s"})
        return _error(step.status, "scripted failure", details, step.code)

    def _check_caller(self, request: SimRequest, model: str) -> None:
        key = request.headers.get("x-goog-api-key") or request.query.get("key")
        if not key:
            raise Refused(
                "Method doesn't allow unregistered callers (callers without established "
                "identity). Please use API Key or other form of API consumer identity to call "
                "this API.",
                status=403,
            )
        if key != self._api_key:
            reason = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}
            raise Refused("API key not valid. Please pass a valid API key.", details=[reason])
        deadline = request.headers.get("x-server-timeout")
        if deadline is not None and float(deadline) < _SHORTEST_DEADLINE:
            raise Refused(
                f"Manually set deadline {deadline}s is too short. Minimum allowed deadline is "
                f"{_SHORTEST_DEADLINE}s."
            )
        if not model.startswith("gemini-") or model in RETIRED:
            raise Refused(
                f"models/{model} is not found for API version v1beta, or is not supported for "
                "generateContent. Call ListModels to see the list of available models and "
                "their supported methods.",
                status=404,
            )

    def _turn(self, answer: ModelAnswer, body: GeminiRequest) -> _Turn:
        if answer.calls and (not body.tools or body.calls_forbidden):
            return _Turn([], "UNEXPECTED_TOOL_CALL", body.usage(0, 0))
        text, reason = answer.text, answer.stop or "STOP"
        if body.max_tokens is not None and len(text) > body.max_tokens * CHARS_PER_TOKEN:
            text, reason = text[: body.max_tokens * CHARS_PER_TOKEN], "MAX_TOKENS"
        parts: list[dict[str, Any]] = []
        if answer.thinking and body.include_thoughts:
            parts.append({"text": answer.thinking, "thought": True})
        if text:
            parts.append({"text": text})
        with_ids = getattr(answer, "ids", True)
        for position, (name, arguments) in enumerate(answer.calls):
            call: dict[str, Any] = {"name": name, "args": arguments}
            if with_ids:
                call["id"] = self.new_id("call-")
            part: dict[str, Any] = {"functionCall": call}
            if self._thinking and position == 0:
                # Of several calls only the first is sealed.
                part["thoughtSignature"] = self._seal()
            parts.append(part)
        usage = body.usage(len(text), len(answer.thinking) if self._thinking else 0)
        return _Turn(parts, reason, usage)

    def _seal(self) -> str:
        """Return a new seal: base64 text with the letters that differ between alphabets."""
        seal = f"+/{self.new_id('seal')}".ljust(16, "A")
        self._seals.add(seal)
        return seal

    @staticmethod
    def _reply(data: dict[str, Any], streamed: bool) -> SimReply:
        if not streamed:
            return SimReply.of_json(data)
        return SimReply(200, _event(data), {"content-type": "text/event-stream"})

    @staticmethod
    async def _stream(answer: ModelAnswer, turn: _Turn, model: str) -> AsyncIterator[bytes]:
        hold = getattr(answer, "hold", None)
        for position, part in enumerate(_split(turn.parts)):
            yield _event(_response([part], None, model))
            if position == 0 and hold is not None:
                await hold.wait()
        if answer.ending == "error":
            yield _event(_error_data(503, "scripted failure", [], None))
        elif answer.ending == "whole":
            yield _event(_response([{"text": ""}], turn, model))


def _split(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts as a stream brings them: text word by word, calls whole."""
    split: list[dict[str, Any]] = []
    for part in parts:
        words = re.findall(r"\S+\s*|\s+", part.get("text", ""))
        split += [{**part, "text": word} for word in words] or [part]
    return split


def _response(parts: list[dict[str, Any]], turn: _Turn | None, model: str) -> dict[str, Any]:
    """Return a response; without ``turn`` it is one before the last of a stream."""
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    data = {"candidates": [candidate], "modelVersion": model}
    if not parts:
        del candidate["content"]
    if turn is not None:
        candidate["finishReason"] = turn.finish_reason
        data["usageMetadata"] = turn.usage  # type: ignore[assignment]
    return data


def _blocked(reason: str, body: GeminiRequest, model: str) -> dict[str, Any]:
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": body.usage(None, 0),
        "modelVersion": model,
    }


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\r\n\r\n".encode()


def _error(
    status: int, message: str, details: list[dict[str, Any]] | None = None, code: str | None = None
) -> SimReply:
    return SimReply.of_json(_error_data(status, message, details or [], code), status)


def _error_data(
    status: int, message: str, details: list[dict[str, Any]], code: str | None
) -> dict[str, Any]:
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": code or _STATUS.get(status, "UNKNOWN"),
    }
    if details:
        error["details"] = details
    return {"error": error}
