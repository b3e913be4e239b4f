"""The AI provider base and its mock."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest
from pydantic import ValidationError

from roomkit._clock import ManualClock
from roomkit.exceptions import ProviderError as RoomKitProviderError
from roomkit.models.task import Observation, Task
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIPart,
    AIProvider,
    AIResponse,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    ProviderError,
    StreamCollector,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
    collect_stream,
)
from roomkit.providers.ai.mock import MockAIProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

CALL = AIToolCall(id="c1", name="search", arguments={"q": "x"}, metadata={"sig": "s"})


def question(text: str = "hi") -> AIContext:
    return AIContext(messages=[AIMessage(role="user", content=text)])


def whole_answer() -> AIResponse:
    """An answer that uses every field."""
    return AIResponse(
        content="It is sunny.",
        finish_reason="stop",
        usage={"prompt_tokens": 3},
        metadata={"model": "m"},
        tasks=[Task(id="t", room_id="r", title="call back")],
        observations=[Observation(id="o", room_id="r", channel_id="ai", content="happy")],
        tool_calls=[CALL],
        thinking="let me see",
        thinking_signature="sealed",
    )


class Plain(AIProvider):
    """A user's provider that implements only what it must."""

    def __init__(self, answer: AIResponse | Exception) -> None:
        self.answer = answer

    @property
    def model_name(self) -> str:
        return "plain-1"

    async def generate(self, context: AIContext) -> AIResponse:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Streaming(AIProvider):
    """A user's provider that can only stream."""

    def __init__(self) -> None:
        self.closed_streams = 0

    @property
    def model_name(self) -> str:
        return "streaming-1"

    async def generate(self, context: AIContext) -> AIResponse:
        return await collect_stream(self.generate_structured_stream(context))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        try:
            yield StreamTextDelta(text="Hel")
            yield StreamTextDelta(text="lo")
            yield StreamDone(finish_reason="stop", usage={"n": 2})
        finally:
            self.closed_streams += 1


class TestModels:
    """The shapes are those of the contract, defaults included."""

    def test_context_defaults(self) -> None:
        context = AIContext()
        assert context.messages == []
        assert (context.system_prompt, context.temperature, context.max_tokens) == (
            None,
            0.7,
            1024,
        )
        assert (context.tools, context.room, context.target_capabilities) == ([], None, None)
        assert (context.target_media_types, context.metadata) == ([], {})
        assert context.model_fields_set == set()

    def test_response_defaults(self) -> None:
        response = AIResponse(content="x")
        assert response.finish_reason is None
        assert (response.usage, response.metadata, response.tool_calls) == ({}, {}, [])
        assert (response.tasks, response.observations) == ([], [])
        assert (response.thinking, response.thinking_signature) == (None, None)
        with pytest.raises(ValidationError):
            AIResponse()  # type: ignore[call-arg]

    def test_the_type_of_a_part_decides_what_it_is(self) -> None:
        parts: list[AIPart] = [
            AITextPart(text="look"),
            AIImagePart(url="https://x.test/a.png", mime_type="image/png"),
            AIThinkingPart(thinking="hm", signature="s"),
            AIToolCallPart(id="c", name="f", arguments={"a": 1}),
            AIToolResultPart(tool_call_id="c", name="f", result=[AITextPart(text="42")]),
        ]
        message = AIMessage(role="assistant", content=[*parts])
        again = AIMessage.model_validate_json(message.model_dump_json())
        assert again.content == parts

    def test_messages_built_cheaply_equal_checked_ones(self) -> None:
        checked = AIMessage(role="user", content="hi")
        assert AIMessage.of("user", "hi") == checked
        assert AIMessage.of("user", "hi").model_dump() == checked.model_dump()

    def test_messages_of_a_conversation_share_nothing(self) -> None:
        first, second = AIMessage.of("user", "a"), AIMessage.of("assistant", "b")
        first.metadata["mine"] = True
        assert second.metadata == {}
        assert [first.role, second.role] == ["user", "assistant"]

    def test_a_continued_context_leaves_the_first_as_it_was(self) -> None:
        tool = AITool(name="search", description="finds")
        first = AIContext(messages=[AIMessage(role="user", content="a")], tools=[tool])
        second = first.continued([AIMessage(role="assistant", content="b")])
        last = second.continued([], without_tools=True)
        assert [m.content for m in first.messages] == ["a"]
        assert [m.content for m in second.messages] == ["a", "b"]
        assert (second.tools, last.tools) == ([tool], [])
        assert last.metadata == {"withheld_tools": [tool]}
        assert (first.metadata, second.metadata) == ({}, {})

    def test_provider_error_is_the_one_of_the_library(self) -> None:
        assert ProviderError is RoomKitProviderError
        error = ProviderError("no", retryable=True, provider="x", status_code=503)
        assert (str(error), error.retryable, error.provider, error.status_code) == (
            "no",
            True,
            "x",
            503,
        )


class TestProvider:
    """A provider needs a name of its model and ``generate``; the rest has defaults."""

    def test_defaults(self) -> None:
        provider = Plain(AIResponse(content="x"))
        assert provider.name == "Plain"
        assert not provider.supports_vision
        assert not provider.supports_streaming
        assert not provider.supports_structured_streaming

    def test_the_base_cannot_be_made(self) -> None:
        with pytest.raises(TypeError):
            AIProvider()  # type: ignore[abstract]

    async def test_closing_twice_is_fine(self) -> None:
        provider = Plain(AIResponse(content="x"))
        await provider.close()
        await provider.close()

    async def test_default_stream_tells_the_whole_answer_once(self) -> None:
        answer = whole_answer()
        provider = Plain(answer)
        events = [event async for event in provider.generate_structured_stream(question())]
        assert [event.type for event in events] == [
            "thinking_delta",
            "text_delta",
            "tool_call",
            "done",
        ]
        collector = StreamCollector()
        for event in events:
            collector.add(event)
        assert collector.response() == answer

    async def test_default_stream_of_an_empty_answer_is_just_done(self) -> None:
        provider = Plain(AIResponse(content="", finish_reason="stop"))
        events = [event async for event in provider.generate_structured_stream(question())]
        assert events == [StreamDone(finish_reason="stop")]

    async def test_text_stream_is_the_text_of_the_other(self) -> None:
        provider = Plain(whole_answer())
        assert [text async for text in provider.generate_stream(question())] == ["It is sunny."]

    @pytest.mark.parametrize("method", ["generate_structured_stream", "generate_stream"])
    async def test_errors_come_out_of_the_iterator_as_provider_errors(self, method: str) -> None:
        cause = ValueError("bad")
        events = getattr(Plain(cause), method)(question())
        with pytest.raises(ProviderError) as caught:
            await anext(events)
        assert caught.value.provider == "Plain"
        assert not caught.value.retryable
        assert caught.value.__cause__ is cause

    async def test_a_provider_error_passes_as_it_is(self) -> None:
        error = ProviderError("busy", retryable=True, status_code=429)
        events = Plain(error).generate_structured_stream(question())
        with pytest.raises(ProviderError) as caught:
            await anext(events)
        assert caught.value is error

    async def test_a_streaming_provider_answers_as_a_whole_too(self) -> None:
        provider = Streaming()
        response = await provider.generate(question())
        assert (response.content, response.finish_reason, response.usage) == (
            "Hello",
            "stop",
            {"n": 2},
        )
        assert provider.closed_streams == 1

    async def test_closing_the_text_stream_early_closes_the_vendors(self) -> None:
        provider = Streaming()
        texts = cast("AsyncGenerator[str]", provider.generate_stream(question()))
        async with aclosing(texts):
            assert await anext(texts) == "Hel"
            assert provider.closed_streams == 0
        assert provider.closed_streams == 1


class TestCollector:
    """An answer is put together from whatever a stream gives."""

    def test_thoughts_join_and_keep_their_seal(self) -> None:
        collector = StreamCollector()
        collector.add(StreamThinkingDelta(thinking="a"))
        collector.add(StreamThinkingDelta(thinking="b", signature="sealed"))
        collector.add(StreamThinkingDelta(thinking=""))
        response = collector.response()
        assert (response.thinking, response.thinking_signature) == ("ab", "sealed")
        assert response.content == ""

    def test_calls_are_bounded(self) -> None:
        collector = StreamCollector(max_tool_calls=2)
        for number in range(5):
            collector.add(StreamToolCall(id=str(number), name="f"))
        assert [call.id for call in collector.response().tool_calls] == ["0", "1"]


class TestMock:
    """The mock answers as told and remembers the very contexts it was given."""

    async def test_answers_in_turn_and_from_the_start_again(self) -> None:
        provider = MockAIProvider(["a", "b"])
        answers = [(await provider.generate(question())).content for _ in range(3)]
        assert answers == ["a", "b", "a"]

    @pytest.mark.parametrize("responses", [None, []])
    async def test_default_answer(self, responses: list[str] | None) -> None:
        provider = MockAIProvider(responses)
        context = question()
        response = await provider.generate(context)
        assert provider.responses == ["Hello from AI"]
        assert response.content == "Hello from AI"
        assert response.finish_reason == "stop"
        assert response.usage == {"prompt_tokens": 10, "completion_tokens": 5}
        assert response.metadata == {}
        assert len(provider.calls) == 1
        assert provider.calls[0] is context

    def test_claims(self) -> None:
        plain, able = MockAIProvider(), MockAIProvider(vision=True, streaming=True)
        assert (plain.model_name, plain.name) == ("mock", "MockAIProvider")
        assert not plain.supports_vision
        assert not plain.supports_streaming
        assert able.supports_vision
        assert able.supports_streaming
        assert able.supports_structured_streaming

    async def test_script_comes_before_the_responses(self) -> None:
        whole = whole_answer()
        pieces: list[StreamEvent] = [StreamTextDelta(text="pie"), StreamTextDelta(text="ces")]
        provider = MockAIProvider(["later"], script=["one", whole, pieces])
        assert (await provider.generate(question())).content == "one"
        assert await provider.generate(question()) is whole
        assert (await provider.generate(question())).content == "pieces"
        assert (await provider.generate(question())).content == "later"

    async def test_a_scripted_error_is_raised_once(self) -> None:
        error = ValueError("odd")
        provider = MockAIProvider(["fine"], script=[error])
        with pytest.raises(ValueError, match="odd"):
            await provider.generate(question())
        assert (await provider.generate(question())).content == "fine"
        assert len(provider.calls) == 2

    async def test_failing_fails_every_time(self) -> None:
        provider = MockAIProvider.failing()
        for _ in range(3):
            with pytest.raises(ProviderError) as caught:
                await provider.generate(question())
            assert caught.value.retryable

    async def test_tool_calls_come_first_and_once(self) -> None:
        provider = MockAIProvider(["done"], tool_calls=[CALL])
        first, second = [await provider.generate(question()) for _ in range(2)]
        assert (first.content, first.tool_calls) == ("", [CALL])
        assert (second.content, second.tool_calls) == ("done", [])

    @pytest.mark.parametrize(
        ("text", "size", "expected"),
        [
            ("one two  three ", None, ["one ", "two ", " ", "three "]),
            ("abcde", 2, ["ab", "cd", "e"]),
            ("", None, []),
        ],
    )
    async def test_pieces_join_to_the_text(
        self, text: str, size: int | None, expected: list[str]
    ) -> None:
        provider = MockAIProvider(script=[text], chunk_size=size)
        assert [piece async for piece in provider.generate_stream(question())] == expected
        assert "".join(expected) == text

    async def test_a_stream_ends_with_one_done(self) -> None:
        provider = MockAIProvider(["a b"], tool_calls=[CALL], streaming=True)
        first = [e.type async for e in provider.generate_structured_stream(question())]
        second = [e.type async for e in provider.generate_structured_stream(question())]
        assert first == ["tool_call", "done"]
        assert second == ["text_delta", "text_delta", "done"]
        assert len(provider.calls) == 2

    async def test_an_error_breaks_the_stream_where_it_stands(self) -> None:
        provider = MockAIProvider(script=[[StreamTextDelta(text="so far"), OSError("cut")]])
        events = provider.generate_structured_stream(question())
        assert await anext(events) == StreamTextDelta(text="so far")
        with pytest.raises(ProviderError, match="cut") as caught:
            await anext(events)
        assert caught.value.provider == "MockAIProvider"
        assert provider.open_streams == 0

    async def test_a_broken_stream_breaks_the_whole_answer_too(self) -> None:
        error = OSError("cut")
        provider = MockAIProvider(script=[[StreamTextDelta(text="so far"), error]])
        with pytest.raises(OSError, match="cut") as caught:
            await provider.generate(question())
        assert caught.value is error

    async def test_streams_closed_early_are_gone(self) -> None:
        provider = MockAIProvider(["a b c"])
        events = cast(
            "AsyncGenerator[StreamEvent]", provider.generate_structured_stream(question())
        )
        async with aclosing(events):
            await anext(events)
            assert provider.open_streams == 1
        assert provider.open_streams == 0

    async def test_delay_is_the_clocks(self) -> None:
        clock = ManualClock()
        provider = MockAIProvider(delay=2.0, clock=clock)
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(provider.generate(question()))
            await clock.advance(1.9)
            assert not answer.done()
            await clock.advance(0.1)
            assert answer.done()
        assert answer.result().content == "Hello from AI"

    async def test_reset_and_close(self) -> None:
        provider = MockAIProvider(["a", "b"])
        await provider.generate(question())
        provider.reset()
        assert provider.calls == []
        assert (await provider.generate(question())).content == "a"
        assert not provider.closed
        await provider.close()
        assert provider.closed

    def test_pieces_have_a_size(self) -> None:
        with pytest.raises(ValueError, match="chunk_size"):
            MockAIProvider(chunk_size=0)
