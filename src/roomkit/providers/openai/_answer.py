"""From a Chat Completions answer to ours, whole or chunk by chunk. Pure.

Attributes are read by name with defaults: servers that are only compatible leave some out,
and so do fakes.
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
from roomkit.providers.openai._messages import CUSTOM

MAX_ARGUMENTS = 4 * 1024 * 1024
"""Characters of the arguments in one stream; more is no answer but a flood."""
MAX_CALLS = 1024
"""Tool calls in one stream; more is no answer either."""


def read_completion(completion: Any) -> AIResponse:
    """Return a whole answer.

    Raises:
        ProviderError: It has no choices; a filter in front of the model does that.
    """
    choices = completion.choices
    if not choices:
        raise ProviderError("the answer has no choices", provider="openai")
    message = choices[0].message
    end = _End(model=getattr(completion, "model", None))
    end.count(getattr(completion, "usage", None))
    end.refusal = _text(message, "refusal")
    calls = [_read_call(call, end) for call in getattr(message, "tool_calls", None) or ()]
    return AIResponse(
        content=message.content or "",
        finish_reason=getattr(choices[0], "finish_reason", None),
        usage=end.usage,
        metadata=end.metadata(),
        tool_calls=calls,
        thinking=_thoughts(message) or None,
    )


@dataclass(slots=True)
class _End:
    """What is known of an answer as a whole."""

    model: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    details: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    invalid: list[str] = field(default_factory=list)

    def count(self, usage: Any) -> None:
        """Take over the counters of a usage object, if it is one."""
        names = ("prompt_tokens", "completion_tokens")
        counts = {name: getattr(usage, name, None) for name in names}
        if not any(isinstance(count, int) for count in counts.values()):
            return
        self.usage = {n: c if isinstance(c, int) else 0 for n, c in counts.items()}
        for group, name in (
            ("prompt_tokens_details", "cached_tokens"),
            ("completion_tokens_details", "reasoning_tokens"),
        ):
            value = getattr(getattr(usage, group, None), name, None)
            if isinstance(value, int) and value:
                self.details[name] = value

    def metadata(self) -> dict[str, Any]:
        """Return the answer's metadata: ``model``, and what else there is to tell."""
        told: dict[str, Any] = {"model": self.model}
        if self.details:
            told["usage_details"] = self.details
        if self.refusal:
            told["refusal"] = self.refusal
        if self.invalid:
            told["invalid_tool_arguments"] = self.invalid
        return told


@dataclass(slots=True)
class _Call:
    """A tool call whose pieces are still coming in."""

    id: str = ""
    name: str = ""
    custom: bool = False
    pieces: list[str] = field(default_factory=list)


class CompletionStream:
    """Makes our events of the vendor's chunks, of one answer.

    Tool calls are given once the model has said that it is done; before that, nothing tells
    whether their arguments are complete.
    """

    def __init__(self) -> None:
        self._end = _End()
        self._reason: str | None = None
        self._calls: list[_Call] = []
        self._places: dict[int, int] = {}
        self._size = 0

    def feed(self, chunk: Any) -> list[StreamEvent]:
        """Return what a chunk tells; one with no choices only counts tokens.

        Raises:
            ProviderError: Tool calls are more, or longer, than any bound.
        """
        self._end.model = getattr(chunk, "model", None) or self._end.model
        self._end.count(getattr(chunk, "usage", None))
        choices = getattr(chunk, "choices", None)
        if not choices:
            return []
        choice = choices[0]
        events = self._delta(getattr(choice, "delta", None))
        self._reason = getattr(choice, "finish_reason", None) or self._reason
        return events

    def done(self) -> list[StreamEvent]:
        """Return the end of the answer: its tool calls, and that it is done.

        Raises:
            ProviderError: The stream ended before the answer did; asking again may help.
        """
        if self._reason is None:
            raise ProviderError(
                "the stream ended before the answer was complete",
                provider="openai",
                retryable=True,
            )
        events: list[StreamEvent] = []
        for call in self._calls:
            made = _made(call.id, call.name, "".join(call.pieces), call.custom, self._end)
            events.append(StreamToolCall(**made))
        metadata = self._end.metadata()
        events.append(
            StreamDone(finish_reason=self._reason, usage=self._end.usage, metadata=metadata)
        )
        return events

    def _delta(self, delta: Any) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if thoughts := _thoughts(delta):
            events.append(StreamThinkingDelta(thinking=thoughts))
        if text := _text(delta, "content"):
            events.append(StreamTextDelta(text=text))
        self._end.refusal += _text(delta, "refusal")
        for piece in getattr(delta, "tool_calls", None) or ():
            self._add(piece)
        return events

    def _add(self, piece: Any) -> None:
        call = self._call_of(piece)
        custom = getattr(piece, CUSTOM, None)
        call.custom = call.custom or custom is not None
        tool = custom if custom is not None else getattr(piece, "function", None)
        call.name = call.name or _text(tool, "name")
        text = _text(tool, "input" if custom is not None else "arguments")
        self._size += len(text)
        if self._size > MAX_ARGUMENTS or len(self._calls) > MAX_CALLS:
            raise ProviderError("the tool calls of the answer are too long", provider="openai")
        call.pieces.append(text)

    def _call_of(self, piece: Any) -> _Call:
        """Return the call a piece belongs to.

        The vendor gives an index, and the id in the first piece only. Others give no index,
        the id in every piece, or one index for all calls with an id each.
        """
        given = _text(piece, "id")
        index = getattr(piece, "index", None)
        place = self._places.get(index) if isinstance(index, int) else None
        if place is None and not isinstance(index, int):
            place = self._place_without_index(given)
        if place is None or (given and self._calls[place].id not in ("", given)):
            place = len(self._calls)
            self._calls.append(_Call())
        if isinstance(index, int):
            self._places[index] = place
        call = self._calls[place]
        call.id = call.id or given
        return call

    def _place_without_index(self, given: str) -> int | None:
        if not given:
            return len(self._calls) - 1 if self._calls else None
        return next((at for at, call in enumerate(self._calls) if call.id == given), None)


def _read_call(call: Any, end: _End) -> AIToolCall:
    """Return a tool call of a whole answer; what is wrong with its arguments is marked."""
    custom = getattr(call, CUSTOM, None) if getattr(call, "type", None) == CUSTOM else None
    if custom is not None:
        made = _made(call.id, custom.name, custom.input, True, end)
    else:
        made = _made(call.id, call.function.name, call.function.arguments, False, end)
    return AIToolCall(**made)


def _made(call_id: str, name: str, text: str | None, custom: bool, end: _End) -> dict[str, Any]:
    """Return the fields of a call. Its arguments are a model's text and may be anything."""
    fields: dict[str, Any] = {"id": call_id, "name": name}
    if custom:
        return {**fields, "arguments": {"input": text or ""}, "metadata": {"type": CUSTOM}}
    if text is None or not text.strip():
        return fields
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if isinstance(arguments, dict):
        return {**fields, "arguments": arguments}
    end.invalid.append(call_id)
    return {**fields, "metadata": {"raw_arguments": text}}


def _text(source: Any, name: str) -> str:
    value = getattr(source, name, None)
    return value if isinstance(value, str) else ""


def _thoughts(source: Any) -> str:
    """Return the thoughts that some servers add; vLLM has used both names."""
    return _text(source, "reasoning_content") or _text(source, "reasoning")
