"""An ``AIProvider`` around the async client of a vendor's SDK: all that is not the vendor's."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roomkit.providers.ai._sdk import close_sdk, open_stream
from roomkit.providers.ai.base import AIProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from roomkit.providers.ai._sdk import ErrorRules
    from roomkit.providers.ai.base import AIContext, AIResponse, StreamEvent


class NamesModel(Protocol):
    """A config that says which model is asked."""

    model: str


class AnswerStream(Protocol):
    """Makes our events of the vendor's, of one answer."""

    def feed(self, item: Any, /) -> list[StreamEvent]:
        """Return what the next item of the SDK's stream tells."""

    def done(self) -> list[StreamEvent]:
        """Return the end of the answer.

        Raises:
            ProviderError: The stream ended before the answer did.
        """


class SDKProvider[C: NamesModel](AIProvider):
    """Asks through an SDK. A subclass says how to ask and how to read what comes.

    Args:
        config: The account and the model.
        client: The SDK's async client; ``close`` ends it.
        rules: How the vendor's errors are read.
    """

    item: ClassVar[str] = "a piece"
    """What the vendor calls one item of a stream, with its article; for error texts."""

    def __init__(self, config: C, client: Any, rules: ErrorRules) -> None:
        self._config = config
        self._client = client
        self._rules = rules

    @property
    def model_name(self) -> str:
        """The model of the config."""
        return self._config.model

    @property
    def supports_streaming(self) -> bool:
        """Always."""
        return True

    @property
    def supports_structured_streaming(self) -> bool:
        """Always."""
        return True

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the model's whole answer; the class says what its fields hold.

        Raises:
            ProviderError: The vendor failed or refused, or the prompt has no messages.
        """
        with self._rules.calling():
            answer = await self._ask(context)
        with self._rules.reading("the answer"):
            return self._read(answer)

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the answer piece by piece; see ``AIProvider.generate_structured_stream``.

        Raises:
            ProviderError: From the iterator, before the first piece or between two.
        """
        answer = self._reader()
        with self._rules.calling():
            stream = await self._ask(context, stream=True)
            async with self._opened(stream) as items:
                async for item in items:
                    with self._rules.reading(f"{self.item} of the stream"):
                        events = answer.feed(item)
                    for event in events:
                        yield event
            with self._rules.reading("the stream"):
                events = answer.done()
            for event in events:
                yield event

    async def close(self) -> None:
        """End the SDK's connections. Idempotent."""
        await close_sdk(self._client)

    @abstractmethod
    async def _ask(self, context: AIContext, *, stream: bool = False) -> Any:
        """Return the SDK's answer, or its stream. Whatever is raised becomes a ProviderError."""

    @abstractmethod
    def _read(self, answer: Any) -> AIResponse:
        """Return a whole answer as ours."""

    @abstractmethod
    def _reader(self) -> AnswerStream:
        """Return what reads one stream."""

    def _opened(self, stream: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Give the items of the SDK's stream; leaving the block closes it on the wire."""
        return open_stream(stream)
