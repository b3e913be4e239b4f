"""What Gemini answers, piece by piece or whole, as events of a stream. Pure.

Everything is read by name: answers come from SDKs of many versions and from fakes of them.
"""

from __future__ import annotations

import base64
from typing import Any

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)

BLOCKED = "BLOCKED"
"""The finish reason of a prompt Gemini refused to read."""

# Counts beside the two everybody knows.
_DETAILS = (
    "total_token_count",
    "thoughts_token_count",
    "cached_content_token_count",
    "tool_use_prompt_token_count",
)


class AnswerReader:
    """Reads the pieces of one answer; a whole answer is one piece.

    Args:
        model: Goes into the answer's metadata.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._calls: dict[str, int] = {}
        self._finish_reason: str | None = None
        self._block_reason: str | None = None
        self._usage: Any = None
        self._candidate: Any = None

    def feed(self, response: Any) -> list[StreamEvent]:
        """Return what the next piece brings; the end is told by ``end``."""
        self._usage = getattr(response, "usage_metadata", None) or self._usage
        candidates = getattr(response, "candidates", None) or ()
        if not candidates:
            feedback = getattr(response, "prompt_feedback", None)
            self._block_reason = self._block_reason or _name(
                getattr(feedback, "block_reason", None)
            )
            return _text(response)
        self._candidate = candidate = candidates[0]
        self._finish_reason = (
            _name(getattr(candidate, "finish_reason", None)) or self._finish_reason
        )
        parts = getattr(getattr(candidate, "content", None), "parts", None) or ()
        events = [event for part in parts for event in self._read_part(part)]
        # An answer whose parts tell nothing of text may still tell it as a whole.
        return events if any(map(_tells_text, parts)) else _text(response) + events

    def end(self) -> StreamDone:
        """Return the end of the answer, whether its own or not."""
        metadata: dict[str, Any] = {"model": self._model}
        usage, details = _usage(self._usage)
        if details:
            metadata["usage_details"] = details
        if self._block_reason is None:
            return StreamDone(finish_reason=self._finish_reason, usage=usage, metadata=metadata)
        metadata["block_reason"] = self._block_reason
        return StreamDone(finish_reason=BLOCKED, usage=usage, metadata=metadata)

    def done(self) -> list[StreamEvent]:
        """Return the end of a stream that came to its own.

        Raises:
            ProviderError: It broke off: nothing came, or the last piece has a finish reason
                that is not set.
        """
        ended = self._block_reason is not None or self._finish_reason is not None
        if not ended and (self._candidate is None or hasattr(self._candidate, "finish_reason")):
            raise ProviderError(
                "the stream broke off before its end", retryable=True, provider="gemini"
            )
        return [self.end()]

    def _read_part(self, part: Any) -> list[StreamEvent]:
        signature = _encoded(getattr(part, "thought_signature", None))
        call = getattr(part, "function_call", None)
        if call is not None:
            return [self._read_call(call, signature)]
        text = getattr(part, "text", None)
        text = text if isinstance(text, str) else ""
        events: list[StreamEvent] = []
        if getattr(part, "thought", None) is True:
            if text or signature:
                events.append(StreamThinkingDelta(thinking=text, signature=signature))
            return events
        if signature is not None:
            events.append(StreamThinkingDelta(thinking="", signature=signature))
        if text:
            events.append(StreamTextDelta(text=text))
        return events

    def _read_call(self, call: Any, signature: str | None) -> StreamToolCall:
        name = str(getattr(call, "name", None) or "")
        arguments = getattr(call, "args", None)
        return StreamToolCall(
            id=self._id_of(getattr(call, "id", None) or name),
            name=name,
            arguments=dict(arguments) if arguments else {},
            metadata={} if signature is None else {"thought_signature": signature},
        )

    def _id_of(self, wanted: Any) -> str:
        """Return the vendor's id, or the tool's name; ``#2`` and so on tell repeats apart."""
        wanted = str(wanted)
        self._calls[wanted] = seen = self._calls.get(wanted, 0) + 1
        return wanted if seen == 1 else f"{wanted}#{seen}"


def _tells_text(part: Any) -> bool:
    return isinstance(getattr(part, "text", 0), str | None)


def _text(response: Any) -> list[StreamEvent]:
    """Return the SDK's own idea of an answer's text; old ones raise when there is none."""
    try:
        text = getattr(response, "text", None)
    except ValueError:
        return []
    return [StreamTextDelta(text=text)] if isinstance(text, str) and text else []


def _name(value: Any) -> str | None:
    """Return the name of an enum's member, or the text of whatever else it is."""
    if value is None:
        return None
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and name else str(value)


def _encoded(signature: Any) -> str | None:
    """Return a seal as text that JSON can carry."""
    if not isinstance(signature, bytes) or not signature:
        return None
    return base64.b64encode(signature).decode("ascii")


def _usage(usage: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return the two counts everybody knows, and the further ones that are not zero."""
    if usage is None:
        return {}, {}
    counts = {
        "prompt_tokens": _count(usage, "prompt_token_count"),
        "completion_tokens": _count(usage, "candidates_token_count"),
    }
    details = {
        f"{name.removesuffix('_token_count')}_tokens": _count(usage, name) for name in _DETAILS
    }
    return counts, {name: count for name, count in details.items() if count}


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else 0
