"""What every language model provider is: the messages it gets, the answer it gives.

A provider knows one vendor's API and nothing of rooms. ``AIChannel`` builds the context,
runs tools and makes events of answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from roomkit._logging import brief
from roomkit.exceptions import ProviderError
from roomkit.models._copy import built
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelMediaType
from roomkit.models.task import Observation, Task
from roomkit.providers.ai._parts import (
    AIImagePart,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "AIContext",
    "AIImagePart",
    "AIMessage",
    "AIPart",
    "AIProvider",
    "AIResponse",
    "AITextPart",
    "AIThinkingPart",
    "AITool",
    "AIToolCall",
    "AIToolCallPart",
    "AIToolResultPart",
    "ProviderError",
    "StreamCollector",
    "StreamDone",
    "StreamEvent",
    "StreamTextDelta",
    "StreamThinkingDelta",
    "StreamToolCall",
    "close_stream",
    "collect_stream",
]


class AIMessage(BaseModel):
    """One message of the conversation shown to a model.

    Attributes:
        role: ``user``, ``assistant``, ``tool`` (results of tools) or ``system``.
        content: Text, or parts in order.
        metadata: What the vendor wants back with an assistant message.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True)

    role: str
    content: str | list[AIPart]
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(
        cls, role: str, content: str | list[AIPart], metadata: dict[str, Any] | None = None
    ) -> AIMessage:
        """Return a message of values that were checked before."""
        return built(
            cls,
            {"role": role, "content": content, "metadata": {} if metadata is None else metadata},
        )


class AIContext(BaseModel):
    """Everything a model is told for one answer.

    Attributes:
        messages: The conversation, oldest first, in a list of its own. The messages of events
            are shared by all calls that show them: read them, do not change them.
        system_prompt: Instructions that stand over it.
        temperature: How freely to choose words; None leaves it to the provider.
        max_tokens: The longest answer; None leaves it to the provider.
        tools: What the model may call.
        room: The room, where there is one.
        target_capabilities: What the first channel that will carry the answer can show.
        target_media_types: What all channels that will carry the answer can show.
        metadata: Further hints. ``withheld_tools`` holds the tools that were offered earlier
            in this turn and are not any more, for vendors that insist on the declarations
            of tools the conversation mentions; they must not be called.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, arbitrary_types_allowed=True)

    messages: list[AIMessage] = Field(default_factory=list)
    system_prompt: str | None = None
    temperature: float | None = 0.7
    max_tokens: int | None = 1024
    tools: list[AITool] = Field(default_factory=list)
    room: RoomContext | None = None
    target_capabilities: ChannelCapabilities | None = None
    target_media_types: list[ChannelMediaType] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        messages: list[AIMessage],
        system_prompt: str | None,
        temperature: float | None,
        max_tokens: int | None,
        tools: list[AITool],
        room: RoomContext | None,
        target_capabilities: ChannelCapabilities | None,
        target_media_types: list[ChannelMediaType],
    ) -> AIContext:
        """Return a context of values that were checked before."""
        return built(
            cls,
            {
                "messages": messages,
                "system_prompt": system_prompt,
                "temperature": temperature,
                "max_tokens": max_tokens,
                "tools": tools,
                "room": room,
                "target_capabilities": target_capabilities,
                "target_media_types": target_media_types,
                "metadata": {},
            },
        )

    def continued(self, messages: list[AIMessage], *, without_tools: bool = False) -> AIContext:
        """Return this context with messages added; itself is not changed.

        Args:
            messages: What comes after the present ones.
            without_tools: Offer no tools any more; they move to
                ``metadata["withheld_tools"]``.
        """
        fields = dict(self.__dict__)
        fields["messages"] = [*self.messages, *messages]
        if without_tools:
            fields["tools"] = []
            fields["metadata"] = {**self.metadata, "withheld_tools": self.tools}
        return built(type(self), fields)


class AIResponse(BaseModel):
    """A model's answer.

    Attributes:
        content: The text; may be empty.
        finish_reason: Why the model stopped, in the vendor's words.
        usage: Tokens used, under the vendor's names.
        metadata: Such as ``model``.
        tasks: Work for people the provider derived from the answer.
        observations: What it noticed.
        tool_calls: Tools the model wants run, in its order.
        thinking: The model's thoughts, where the vendor tells.
        thinking_signature: The vendor's seal on them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True)

    content: str
    finish_reason: str | None = None
    usage: dict[str, int] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    tasks: list[Task] = Field(default_factory=list)
    observations: list[Observation] = Field(default_factory=list)
    tool_calls: list[AIToolCall] = Field(default_factory=list)
    thinking: str | None = None
    thinking_signature: str | None = None

    def stream_events(self) -> list[StreamEvent]:
        """Return the answer as a stream tells it: thoughts, text, tool calls, done."""
        events: list[StreamEvent] = []
        if self.thinking or self.thinking_signature:
            events.append(
                StreamThinkingDelta(
                    thinking=self.thinking or "", signature=self.thinking_signature
                )
            )
        if self.content:
            events.append(StreamTextDelta(text=self.content))
        events.extend(
            StreamToolCall(
                id=call.id, name=call.name, arguments=call.arguments, metadata=call.metadata
            )
            for call in self.tool_calls
        )
        events.append(
            StreamDone(
                finish_reason=self.finish_reason,
                usage=self.usage,
                metadata=self.metadata,
                tasks=self.tasks,
                observations=self.observations,
            )
        )
        return events


class AIProvider(ABC):
    """One vendor's language models.

    Implement ``model_name`` and ``generate``. A provider that can stream overrides
    ``generate_structured_stream`` and says so in both ``supports_`` properties; one that can
    only stream writes ``generate`` as
    ``return await collect_stream(self.generate_structured_stream(context))``.

    Several calls may run at once; a provider keeps nothing of one call for the next.
    """

    @property
    def name(self) -> str:
        """Who answers, for logs and errors; the class's name."""
        return type(self).__name__

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model asked."""

    @property
    def supports_vision(self) -> bool:
        """Whether the model can look at images."""
        return False

    @property
    def supports_streaming(self) -> bool:
        """Whether ``generate_stream`` gives text as the model makes it."""
        return False

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether ``generate_structured_stream`` gives events as the model makes them."""
        return False

    @abstractmethod
    async def generate(self, context: AIContext) -> AIResponse:
        """Return the model's whole answer.

        Raises:
            ProviderError: The vendor failed; ``retryable`` tells whether to try again.
        """

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the answer piece by piece, exactly one ``StreamDone`` at the end.

        A tool call comes whole, once its arguments are complete. Closing the iterator early
        ends the vendor's stream. The default asks ``generate`` and yields its answer in one
        go.

        Raises:
            ProviderError: From the iterator, before the first piece or between two.
        """
        try:
            response = await self.generate(context)
        except ProviderError:
            raise
        except Exception as exc:
            raise ProviderError(brief(exc), provider=self.name) from exc
        for event in response.stream_events():
            yield event

    async def generate_stream(self, context: AIContext) -> AsyncIterator[str]:
        """Yield just the text of ``generate_structured_stream``, piece by piece.

        Raises:
            ProviderError: From the iterator.
        """
        events = self.generate_structured_stream(context)
        try:
            async for event in events:
                if isinstance(event, StreamTextDelta):
                    yield event.text
        finally:
            await close_stream(events)

    async def close(self) -> None:
        """Release what the provider holds; the default holds nothing. Idempotent."""


class StreamCollector:
    """Puts an answer together from the events of a stream.

    Args:
        max_tool_calls: Further tool calls are counted nowhere and dropped, so that a model
            run wild cannot fill the memory.
    """

    def __init__(self, max_tool_calls: int = 1024) -> None:
        self._max_tool_calls = max_tool_calls
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._signature: str | None = None
        self._calls: list[AIToolCall] = []
        self._done = StreamDone()

    def add(self, event: StreamEvent) -> None:
        """Take the next event; one of a kind we do not know is passed over."""
        if isinstance(event, StreamTextDelta):
            self._text.append(event.text)
        elif isinstance(event, StreamToolCall):
            if len(self._calls) < self._max_tool_calls:
                self._calls.append(
                    AIToolCall(
                        id=event.id,
                        name=event.name,
                        arguments=event.arguments,
                        metadata=event.metadata,
                    )
                )
        elif isinstance(event, StreamThinkingDelta):
            self._thinking.append(event.thinking)
            self._signature = event.signature or self._signature
        elif isinstance(event, StreamDone):
            self._done = event

    def response(self) -> AIResponse:
        """Return the answer as far as it has come."""
        done = self._done
        return AIResponse(
            content="".join(self._text),
            finish_reason=done.finish_reason,
            usage=done.usage,
            metadata=done.metadata,
            tasks=done.tasks,
            observations=done.observations,
            tool_calls=self._calls,
            thinking="".join(self._thinking) or None,
            thinking_signature=self._signature,
        )


async def collect_stream(events: AsyncIterator[StreamEvent]) -> AIResponse:
    """Return the whole answer of a stream, which is closed in any case.

    Raises:
        ProviderError: The stream failed.
    """
    collector = StreamCollector()
    try:
        async for event in events:
            collector.add(event)
    finally:
        await close_stream(events)
    return collector.response()


async def close_stream(events: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed, so that the vendor's stream ends now."""
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
