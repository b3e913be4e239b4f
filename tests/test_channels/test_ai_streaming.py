"""AIChannel showing its answer while it is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.channels.ai import AIChannel
from roomkit.models.content import TextContent
from roomkit.models.task import Task
from roomkit.providers.ai.base import (
    AIContext,
    AIProvider,
    AIResponse,
    AIToolCall,
    ProviderError,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.providers.ai.mock import MockAIProvider
from tests.test_channels._ai_room import (
    FakeHost,
    FakeStream,
    ai_binding,
    delivering,
    room,
    said,
    tool_spec,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.channel import ChannelOutput
    from roomkit.models.event import RoomEvent


def watched(host: FakeHost) -> FakeStream:
    assert host.stream is not None
    return host.stream


async def output_of(
    provider: AIProvider, host: FakeHost | None, tools: tuple[str, ...] = (), **options: Any
) -> ChannelOutput:
    """Return what the channel puts out for one message, inside a delivery."""
    channel = AIChannel("ai", provider, **options)
    if host is not None:
        channel.set_framework(host)
    event = said("hi")
    binding = ai_binding(tools=[tool_spec(name) for name in tools])
    with delivering():
        return await channel.on_event(event, binding, room(event))


async def answer_of(provider: AIProvider, host: FakeHost | None, **options: Any) -> RoomEvent:
    (answer,) = (await output_of(provider, host, **options)).response_events
    return answer


class TextOnly(AIProvider):
    """A provider that streams bare text and nothing else."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @property
    def model_name(self) -> str:
        return "text-1"

    @property
    def supports_streaming(self) -> bool:
        return True

    async def generate(self, context: AIContext) -> AIResponse:
        self.asked.append("generate")
        return AIResponse(content="whole")

    async def generate_stream(self, context: AIContext) -> AsyncIterator[str]:
        self.asked.append("stream")
        yield "a"
        yield "b"


class TestShowing:
    """Pieces are shown as they come; the event holds the whole and names its stream."""

    async def test_pieces_and_the_whole(self) -> None:
        host = FakeHost()
        answer = await answer_of(MockAIProvider(["one two three"], streaming=True), host)
        stream = watched(host)
        assert stream.sent == ["one ", "two ", "three"]
        assert answer.content == TextContent(body="one two three")
        assert answer.metadata == {
            "ai_usage": {"prompt_tokens": 10, "completion_tokens": 5},
            "stream_id": "stream-1",
        }
        assert stream.failed == 0

    async def test_a_piece_is_shown_before_the_next_is_made(self) -> None:
        host = FakeHost()
        go_on = asyncio.Event()

        class Slow(MockAIProvider):
            async def generate_structured_stream(
                self, context: AIContext
            ) -> AsyncIterator[StreamEvent]:
                yield StreamTextDelta(text="first")
                await go_on.wait()
                yield StreamTextDelta(text=" second")
                yield StreamDone()

        turn = asyncio.ensure_future(answer_of(Slow(streaming=True), host))
        await watched(host).shown.wait()
        assert watched(host).sent == ["first"]
        go_on.set()
        assert (await turn).content == TextContent(body="first second")

    async def test_thoughts_are_never_shown(self) -> None:
        host = FakeHost()
        script: list[list[StreamEvent]] = [
            [StreamThinkingDelta(thinking="secret plan"), StreamTextDelta(text="hi"), StreamDone()]
        ]
        answer = await answer_of(MockAIProvider(script=script, streaming=True), host)
        assert watched(host).sent == ["hi"]
        assert "secret plan" not in answer.model_dump_json()

    async def test_the_host_hears_what_is_answered_and_how(self) -> None:
        for before_gates in (False, True):
            host = FakeHost()
            answer = await answer_of(
                MockAIProvider(streaming=True), host, stream_before_gates=before_gates
            )
            ((cause, given),) = host.opened
            assert cause.id == answer.parent_event_id
            assert given is before_gates

    async def test_effects_of_a_streamed_answer_are_kept(self) -> None:
        task = Task(id="t", room_id="r", title="t")
        provider = MockAIProvider(script=[AIResponse(content="x", tasks=[task])], streaming=True)
        assert (await output_of(provider, FakeHost())).tasks == [task]

    async def test_bare_text_is_shown_too(self) -> None:
        host, provider = FakeHost(), TextOnly()
        answer = await answer_of(provider, host)
        assert watched(host).sent == ["a", "b"]
        assert answer.content == TextContent(body="ab")
        assert provider.asked == ["stream"]


class TestNotShowing:
    """Without somebody who watches, the answer comes in one go."""

    @pytest.mark.parametrize(
        ("provider", "host", "options"),
        [
            (MockAIProvider(["whole"], streaming=True), None, {}),
            (MockAIProvider(["whole"], streaming=True), FakeHost(watched=False), {}),
            (MockAIProvider(["whole"], streaming=True), FakeHost(), {"stream": False}),
            (MockAIProvider(["whole"]), FakeHost(), {}),
            (TextOnly(), FakeHost(), {"tools": ("search",)}),
        ],
        ids=["no host", "nobody watches", "switched off", "cannot stream", "would lose calls"],
    )
    async def test_one_go(
        self, provider: AIProvider, host: FakeHost | None, options: dict[str, Any]
    ) -> None:
        answer = await answer_of(provider, host, **options)
        assert answer.content == TextContent(body="whole")
        assert "stream_id" not in answer.metadata
        if host is not None and host.stream is not None:
            assert host.stream.sent == []
            assert host.opened == []


class TestToolsWhileStreaming:
    """Only text of the final answer is ever shown."""

    SEARCH = StreamToolCall(id="c1", name="search", arguments={"q": "x"})

    async def found(self, name: str, arguments: dict[str, Any]) -> str:
        return "42"

    def script(self) -> list[list[StreamEvent]]:
        return [
            [StreamTextDelta(text="Let me look."), self.SEARCH, StreamDone(usage={"n": 1})],
            [StreamTextDelta(text="It "), StreamTextDelta(text="is 42."), StreamDone()],
        ]

    async def test_text_before_a_call_is_not_shown(self) -> None:
        host = FakeHost()
        answer = await answer_of(
            MockAIProvider(script=self.script(), streaming=True),
            host,
            tools=("search",),
            tool_handler=self.found,
        )
        assert watched(host).sent == ["It is 42."]
        assert answer.content == TextContent(body="It is 42.")
        assert answer.metadata["ai_usage"] == {"n": 1}
        assert answer.metadata["stream_id"] == "stream-1"
        assert answer.metadata["tool_rounds"][0]["calls"][0]["result"] == "42"

    async def test_the_last_ask_has_no_tools_and_flows(self) -> None:
        host = FakeHost()
        await answer_of(
            MockAIProvider(script=self.script(), streaming=True),
            host,
            tools=("search",),
            tool_handler=self.found,
            max_tool_rounds=1,
        )
        assert watched(host).sent == ["It ", "is 42."]

    async def test_without_a_handler_text_flows_and_calls_stay(self) -> None:
        host = FakeHost()
        answer = await answer_of(
            MockAIProvider(script=self.script(), streaming=True), host, tools=("search",)
        )
        assert watched(host).sent == ["Let me look."]
        assert answer.content == TextContent(body="Let me look.")
        assert answer.metadata["tool_calls"] == [
            {"id": "c1", "name": "search", "arguments": {"q": "x"}}
        ]


class TestBreaking:
    """What was begun and will not be finished is taken back, and the vendor's stream closed."""

    async def test_an_error_on_the_way(self) -> None:
        host = FakeHost()
        provider = MockAIProvider(
            script=[[StreamTextDelta(text="so far"), ProviderError("cut", retryable=True)]],
            streaming=True,
        )
        with pytest.raises(ProviderError, match="cut"):
            await output_of(provider, host)
        assert watched(host).sent == ["so far"]
        assert watched(host).failed == 1
        assert provider.open_streams == 0

    async def test_an_error_after_a_round_of_tools(self) -> None:
        host = FakeHost()
        provider = MockAIProvider(
            script=[ProviderError("down")],
            tool_calls=[AIToolCall(id="c", name="search")],
            streaming=True,
        )
        with pytest.raises(ProviderError, match="down"):
            await output_of(
                provider, host, tools=("search",), tool_handler=lambda name, arguments: "ok"
            )
        assert watched(host).failed == 1

    async def test_an_error_of_the_stream_itself_closes_the_vendors(self) -> None:
        class Torn(FakeStream):
            async def send(self, text: str) -> None:
                raise RuntimeError("torn")

        host = FakeHost()
        host.stream = Torn()
        provider = MockAIProvider(streaming=True)
        with pytest.raises(RuntimeError, match="torn"):
            await output_of(provider, host)
        assert host.stream.failed == 1
        assert provider.open_streams == 0

    async def test_called_directly_it_is_taken_back_and_empty(self) -> None:
        host = FakeHost()
        channel = AIChannel("ai", MockAIProvider.failing(streaming=True))
        channel.set_framework(host)
        event = said("hi")
        output = await channel.on_event(event, ai_binding(), room(event))
        assert not output.responded
        assert watched(host).failed == 1

    async def test_cancellation(self) -> None:
        host = FakeHost()
        closed = asyncio.Event()

        class Endless(MockAIProvider):
            async def generate_structured_stream(
                self, context: AIContext
            ) -> AsyncIterator[StreamEvent]:
                try:
                    yield StreamTextDelta(text="so far")
                    await asyncio.Event().wait()
                finally:
                    closed.set()

        turn = asyncio.ensure_future(output_of(Endless(streaming=True), host))
        await watched(host).shown.wait()
        assert watched(host).sent == ["so far"]
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert watched(host).failed == 1
        assert closed.is_set()
