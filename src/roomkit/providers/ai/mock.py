"""A language model that says what it is told to, for tests and demos."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roomkit._clock import SystemClock
from roomkit._logging import brief
from roomkit.providers.ai.base import (
    AIContext,
    AIProvider,
    AIResponse,
    AIToolCall,
    ProviderError,
    StreamEvent,
    StreamTextDelta,
    collect_stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from roomkit._clock import Clock

type Step = str | AIResponse | Exception | Sequence[StreamEvent | Exception]
"""One answer of a script: a text, a whole answer, an error to raise, or a stream's events."""

_DEFAULT_RESPONSE = "Hello from AI"


class MockAIProvider(AIProvider):
    """Answers from a list, and remembers what it was asked.

    Args:
        responses: Texts answered one after the other, then from the start again.
        vision: Whether to claim it can look at images.
        script: Answers given before ``responses``, each once: a text, a whole
            ``AIResponse``, an exception to raise, or the events of a stream (an exception
            among them breaks the stream there). It is read as needed and may be endless.
        tool_calls: What the very first answer asks for, with no text; a shorthand for the
            first step of a script.
        delay: Seconds before each answer, by ``clock``.
        streaming: Whether to claim it can stream.
        chunk_size: Characters of text in one piece of a stream; None: word by word.
        clock: Where ``delay`` is waited for.

    Attributes:
        responses: As given; may be changed at any time.
        calls: Every context it was asked with, oldest first, the very objects.
        open_streams: How many of its streams have begun and not ended.
        closed: Whether ``close`` was called.
    """

    def __init__(
        self,
        responses: list[str] | None = None,
        *,
        vision: bool = False,
        script: Iterable[Step] | None = None,
        tool_calls: Sequence[AIToolCall] | None = None,
        delay: float = 0.0,
        streaming: bool = False,
        chunk_size: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError("chunk_size must be at least 1")
        self.responses: list[str] = responses or [_DEFAULT_RESPONSE]
        self.calls: list[AIContext] = []
        self.open_streams: int = 0
        self.closed: bool = False
        self._vision = vision
        self._streaming = streaming
        self._chunk_size = chunk_size
        self._delay = delay
        self._clock = clock or SystemClock()
        self._turns = itertools.count()
        first: list[Step] = []
        if tool_calls:
            calling = AIResponse(content="", finish_reason="tool_calls", tool_calls=[*tool_calls])
            first.append(calling)
        self._script: Iterator[Step] = itertools.chain(first, script or ())

    @classmethod
    def failing(cls, error: Exception | None = None, **options: Any) -> MockAIProvider:
        """Return a provider that fails every time.

        Args:
            error: What to raise; by default a retryable ProviderError.
            options: As for the class.
        """
        error = error or ProviderError("simulated failure", retryable=True, provider="mock")
        return cls(script=itertools.repeat(error), **options)

    @property
    def model_name(self) -> str:
        """Always ``mock``."""
        return "mock"

    @property
    def supports_vision(self) -> bool:
        """As given."""
        return self._vision

    @property
    def supports_streaming(self) -> bool:
        """As given."""
        return self._streaming

    @property
    def supports_structured_streaming(self) -> bool:
        """As given."""
        return self._streaming

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the next answer of the script, or the next response.

        Raises:
            Exception: The one the script holds, as it is.
        """
        step = await self._begin(context)
        if isinstance(step, Exception):
            raise step.with_traceback(None)
        if isinstance(step, AIResponse):
            return step
        return await collect_stream(_replayed(step))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the next answer in pieces; works whether or not streaming is claimed.

        Raises:
            ProviderError: The script's error, wrapped if it is of another kind.
        """
        self.open_streams += 1
        try:
            step = await self._begin(context)
            for event in self._pieces(step):
                if isinstance(event, Exception):
                    raise _as_provider_error(event, self.name)
                yield event
        finally:
            self.open_streams -= 1

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def reset(self) -> None:
        """Forget the calls and start again with the first response; the script goes on."""
        self.calls.clear()
        self._turns = itertools.count()

    async def _begin(
        self, context: AIContext
    ) -> AIResponse | Exception | Sequence[StreamEvent | Exception]:
        """Note the call and return what it is answered with, after the delay."""
        self.calls.append(context)
        step = next(self._script, None)
        if step is None:
            responses = self.responses or [_DEFAULT_RESPONSE]
            step = responses[next(self._turns) % len(responses)]
        if self._delay > 0:
            await self._clock.sleep(self._delay)
        if isinstance(step, str):
            return AIResponse(
                content=step,
                finish_reason="stop",
                usage={"prompt_tokens": 10, "completion_tokens": 5},
            )
        return step

    def _pieces(
        self, step: AIResponse | Exception | Sequence[StreamEvent | Exception]
    ) -> Iterator[StreamEvent | Exception]:
        if isinstance(step, Exception):
            yield step
        elif isinstance(step, AIResponse):
            for event in step.stream_events():
                if isinstance(event, StreamTextDelta):
                    yield from map(_delta, _chunks(event.text, self._chunk_size))
                else:
                    yield event
        else:
            yield from step


def _delta(text: str) -> StreamTextDelta:
    return StreamTextDelta(text=text)


def _chunks(text: str, size: int | None) -> list[str]:
    """Cut ``text`` into pieces that join to it again: words with the blank after each."""
    if size is not None:
        return [text[start : start + size] for start in range(0, len(text), size)]
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + ([words[-1]] if words[-1] else [])


def _as_provider_error(error: Exception, provider: str) -> ProviderError:
    if isinstance(error, ProviderError):
        error.with_traceback(None)
        return error
    wrapped = ProviderError(brief(error), provider=provider)
    wrapped.__cause__ = error
    return wrapped


async def _replayed(events: Sequence[StreamEvent | Exception]) -> AsyncIterator[StreamEvent]:
    for event in events:
        if isinstance(event, Exception):
            raise event.with_traceback(None)
        yield event
