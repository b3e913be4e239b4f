"""From a Messages answer to ours, whole or event by event. Pure.

Attributes are read by name with defaults: answers of old SDKs, of new ones and of fakes have
different ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIResponse,
    AIToolCall,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.providers.anthropic._messages import THINKING_BLOCKS

MAX_ARGUMENTS = 4 * 1024 * 1024
"""Characters of one tool call's arguments in a stream; more is no answer but a flood."""

_DETAILS = ("cache_creation_input_tokens", "cache_read_input_tokens")


def read_message(message: Any) -> AIResponse:
    """Return a whole answer; text blocks are joined in their order."""
    texts: list[str] = []
    calls: list[AIToolCall] = []
    thoughts: list[dict[str, Any]] = []
    for block in message.content or ():
        kind = getattr(block, "type", None)
        if kind == "text":
            texts.append(block.text or "")
        elif kind == "tool_use":
            calls.append(AIToolCall(id=block.id, name=block.name, arguments=block.input or {}))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(_thought(block))
    counted: dict[str, int] = {}
    _count(counted, getattr(message, "usage", None))
    thinking, signature = _joined(thoughts)
    return AIResponse(
        content="".join(texts),
        finish_reason=getattr(message, "stop_reason", None),
        usage=_usage(counted),
        metadata=_metadata(getattr(message, "model", None), counted, thoughts, []),
        tool_calls=calls,
        thinking=thinking,
        thinking_signature=signature,
    )


@dataclass(slots=True)
class _Open:
    """A content block that is still being sent."""

    kind: str
    block: Any
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    signature: str = ""


class MessageStream:
    """Makes our events of the vendor's, of one answer.

    Attributes:
        finished: Whether the model said why it stopped: nothing but counters can follow.
    """

    def __init__(self) -> None:
        self.finished = False
        self._model: str | None = None
        self._reason: str | None = None
        self._counted: dict[str, int] = {}
        self._open: dict[int, _Open] = {}
        self._thoughts: list[dict[str, Any]] = []
        self._invalid: list[str] = []

    def feed(self, event: Any) -> list[StreamEvent]:
        """Return what an event of the vendor tells; events of unknown kinds tell nothing.

        Raises:
            ProviderError: A tool call's arguments are longer than any bound.
        """
        kind = getattr(event, "type", None)
        if kind == "content_block_delta":
            return self._delta(event.index, event.delta)
        if kind == "content_block_start":
            return self._start(event.index, event.content_block)
        if kind == "content_block_stop":
            return self._stop(self._open.pop(event.index, None))
        if kind == "message_start":
            self._model = getattr(event.message, "model", None)
            _count(self._counted, getattr(event.message, "usage", None))
        elif kind == "message_delta":
            self._reason = getattr(event.delta, "stop_reason", None) or self._reason
            _count(self._counted, getattr(event, "usage", None))
            self.finished = self._reason is not None
        elif kind == "message_stop":
            self.finished = True
        return []

    def done(self) -> list[StreamEvent]:
        """Return the end of the answer, after blocks nobody closed.

        Raises:
            ProviderError: The stream ended before the answer did; asking again may help.
        """
        if not self.finished:
            raise ProviderError(
                "the stream ended before the answer was complete",
                provider="anthropic",
                retryable=True,
            )
        events: list[StreamEvent] = []
        for index in sorted(self._open):
            events += self._stop(self._open.pop(index))
        events.append(
            StreamDone(
                finish_reason=self._reason,
                usage=_usage(self._counted),
                metadata=_metadata(self._model, self._counted, self._thoughts, self._invalid),
            )
        )
        return events

    def _start(self, index: int, block: Any) -> list[StreamEvent]:
        opened = self._open[index] = _Open(getattr(block, "type", ""), block)
        if opened.kind == "text" and block.text:
            return [StreamTextDelta(text=block.text)]
        if opened.kind == "thinking":
            opened.signature = getattr(block, "signature", None) or ""
            return self._think(opened, getattr(block, "thinking", None))
        return []

    def _delta(self, index: int, delta: Any) -> list[StreamEvent]:
        kind = getattr(delta, "type", None)
        if kind == "text_delta":
            return [StreamTextDelta(text=delta.text)] if delta.text else []
        opened = self._open.get(index)
        if opened is None:
            return []
        if kind == "thinking_delta":
            return self._think(opened, delta.thinking)
        if kind == "signature_delta":
            opened.signature += delta.signature
        elif kind == "input_json_delta":
            opened.size += len(delta.partial_json)
            if opened.size > MAX_ARGUMENTS:
                raise ProviderError("a tool call's arguments are too long", provider="anthropic")
            opened.pieces.append(delta.partial_json)
        return []

    def _think(self, opened: _Open, thinking: str | None) -> list[StreamEvent]:
        if not thinking:
            return []
        opened.pieces.append(thinking)
        return [StreamThinkingDelta(thinking=thinking)]

    def _stop(self, opened: _Open | None) -> list[StreamEvent]:
        if opened is None:
            return []
        if opened.kind == "tool_use":
            return [self._tool_call(opened)]
        if opened.kind == "redacted_thinking":
            self._thoughts.append(_thought(opened.block))
        elif opened.kind == "thinking":
            signature = opened.signature or None
            self._thoughts.append(
                {"type": "thinking", "thinking": "".join(opened.pieces), "signature": signature}
            )
            if signature:
                return [StreamThinkingDelta(thinking="", signature=signature)]
        return []

    def _tool_call(self, opened: _Open) -> StreamToolCall:
        text = "".join(opened.pieces)
        arguments: Any = getattr(opened.block, "input", None) or {}
        metadata: dict[str, Any] = {}
        if text.strip():
            try:
                arguments = json.loads(text)
            except (ValueError, RecursionError):
                arguments = None
        if not isinstance(arguments, dict):
            # Cut off by max_tokens, most likely. The call is shown, marked, with no arguments.
            self._invalid.append(opened.block.id)
            arguments, metadata = {}, {"raw_arguments": text}
        return StreamToolCall(
            id=opened.block.id, name=opened.block.name, arguments=arguments, metadata=metadata
        )


def _thought(block: Any) -> dict[str, Any]:
    if block.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.data}
    return {
        "type": "thinking",
        "thinking": block.thinking or "",
        "signature": getattr(block, "signature", None) or None,
    }


def _joined(thoughts: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    """Return all thoughts as one text, and the last seal."""
    text = "".join(thought.get("thinking", "") for thought in thoughts)
    seals = [seal for thought in thoughts if (seal := thought.get("signature"))]
    return text or None, seals[-1] if seals else None


def _count(counted: dict[str, int], usage: Any) -> None:
    """Take over the counters of a usage object; the vendor's are cumulative."""
    for name in ("input_tokens", "output_tokens", *_DETAILS):
        value = getattr(usage, name, None)
        if isinstance(value, int):
            counted[name] = value


def _usage(counted: dict[str, int]) -> dict[str, int]:
    if not counted:
        return {}
    return {name: counted.get(name, 0) for name in ("input_tokens", "output_tokens")}


def _metadata(
    model: str | None,
    counted: dict[str, int],
    thoughts: list[dict[str, Any]],
    invalid: list[str],
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"model": model}
    if details := {name: counted[name] for name in _DETAILS if counted.get(name)}:
        metadata["usage_details"] = details
    sealed = [block for block in thoughts if block.get("signature") or "data" in block]
    if len(thoughts) > 1 or any("data" in block for block in thoughts):
        # One text with one seal cannot carry these; the next request gives them back whole.
        metadata[THINKING_BLOCKS] = sealed
    if invalid:
        metadata["invalid_tool_arguments"] = invalid
    return metadata
