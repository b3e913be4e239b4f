"""Agents as providers: real agents on the framework's scripted models, and one on the wire."""

from __future__ import annotations

import asyncio
import base64
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel

from roomkit.channels.ai import AIChannel
from roomkit.exceptions import ConfigurationError, MissingDependencyError, ProviderError
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelCategory
from roomkit.models.room import Room
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AITextPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamTextDelta,
    StreamThinkingDelta,
)
from roomkit.providers.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit.testing import make_binding, make_event

pydantic_ai = pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, ModelRetry, RunContext  # noqa: E402
from pydantic_ai import messages as m  # noqa: E402
from pydantic_ai.exceptions import (  # noqa: E402
    ModelHTTPError,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SEARCH = AITool(
    name="search",
    description="Look something up.",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}},
)


class Script:
    """A model that gives prepared responses and remembers what it was shown.

    Attributes:
        seen: The messages of each request.
        infos: What else each request said.
        held: Streams wait for it after their first word, when set.
    """

    def __init__(self, *responses: Any) -> None:
        self._responses = list(responses)
        self.seen: list[list[Any]] = []
        self.infos: list[AgentInfo] = []
        self.held: asyncio.Event | None = None
        self.left_early = False

    @property
    def model(self) -> FunctionModel:
        """The framework's view of it."""
        return FunctionModel(self._whole, stream_function=self._streamed, model_name="scripted")

    def _next(self, messages: list[Any], info: AgentInfo) -> Any:
        self.seen.append(list(messages))
        self.infos.append(info)
        response = self._responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    async def _whole(self, messages: list[Any], info: AgentInfo) -> m.ModelResponse:
        response = self._next(messages, info)
        parts = [m.TextPart(response)] if isinstance(response, str) else response
        return m.ModelResponse(parts=parts, finish_reason="stop")

    async def _streamed(self, messages: list[Any], info: AgentInfo) -> AsyncIterator[str]:
        response = self._next(messages, info)
        try:
            for word in response.split(" "):
                yield word
                if self.held is not None:
                    await self.held.wait()
        except (GeneratorExit, asyncio.CancelledError):
            self.left_early = True
            raise


def asking(*contents: Any, **fields: Any) -> AIContext:
    """A context of user messages."""
    return AIContext(
        messages=[AIMessage(role="user", content=content) for content in contents], **fields
    )


def kinds(messages: list[Any]) -> list[list[str]]:
    """What the messages a model was shown consist of."""
    return [[part.part_kind for part in message.parts] for message in messages]


class TestConversation:
    """What an agent is shown."""

    async def test_history_prompt_and_instructions(self) -> None:
        """Each message in its role; the last one is the prompt; the room's words are added."""
        script = Script("fine")
        agent = Agent(script.model, instructions="Be kind.", system_prompt="You are Bo.")
        context = AIContext(
            system_prompt="Be brief.",
            messages=[
                AIMessage(role="user", content="one"),
                AIMessage(role="assistant", content="two"),
                AIMessage(role="system", content="Be true."),
                AIMessage(role="user", content=""),
                AIMessage(role="user", content=[AITextPart(text="three")]),
            ],
        )
        answer = await PydanticAIProvider(agent).generate(context)
        assert answer.content == "fine"
        shown = [(part.part_kind, part.content) for msg in script.seen[0] for part in msg.parts]
        assert shown == [
            ("system-prompt", "You are Bo."),
            ("user-prompt", "one"),
            ("text", "two"),
            ("user-prompt", "three"),
        ]
        said = script.infos[0].instructions
        assert said is not None
        assert said.split() == ["Be", "kind.", "Be", "brief.", "Be", "true."]

    async def test_attachments(self) -> None:
        """Bytes for data: URLs, links of the right kind for others."""
        script = Script("seen")
        pixel = base64.b64encode(b"png").decode()
        parts = [
            AITextPart(text="look"),
            AIImagePart(url=f"data:image/png;base64,{pixel}"),
            AIImagePart(url="https://x.example/cat", mime_type="image/webp"),
            AIImagePart(url="https://x.example/sheet", mime_type="application/pdf"),
            AIImagePart(url="https://x.example/song", mime_type="audio/mpeg"),
            AIImagePart(url="data:nothing"),
        ]
        await PydanticAIProvider(Agent(script.model)).generate(asking(parts))
        text, pixels, cat, sheet, song, lost = script.seen[0][0].parts[0].content
        assert text == "look"
        assert (pixels.data, pixels.media_type) == (b"png", "image/png")
        assert (type(cat), cat.media_type) == (m.ImageUrl, "image/webp")
        assert (type(sheet), type(song)) == (m.DocumentUrl, m.AudioUrl)
        assert "cannot be read" in lost

    @pytest.mark.parametrize("context", [AIContext(), asking(""), asking([AITextPart(text="")])])
    async def test_a_prompt_without_messages_is_refused(self, context: AIContext) -> None:
        """The model is not asked."""
        script = Script()
        with pytest.raises(ProviderError, match="no message") as caught:
            await PydanticAIProvider(Agent(script.model)).generate(context)
        assert not caught.value.retryable
        assert not script.seen

    async def test_deps_and_the_room_reach_the_agents_tools(self) -> None:
        """Its tools run inside it, and their calls stay there."""
        script = Script([m.ToolCallPart("whose", {}, "o1")], "Yours.")
        agent: Agent[str, str] = Agent(script.model, deps_type=str)
        found: list[Any] = []

        @agent.tool
        def whose(run: RunContext[str]) -> str:
            found.extend([run.deps, run.metadata])
            return "yours"

        context = asking("whose?")
        context.room = RoomContext(room=Room(id="r-1"))
        answer = await PydanticAIProvider(agent, deps="database").generate(context)
        assert (answer.content, answer.tool_calls) == ("Yours.", [])
        assert found == ["database", {"room_id": "r-1"}]
        assert answer.metadata["usage_details"] == {"requests": 2, "tool_calls": 1}


class TestSettings:
    """Who decides on temperature and length."""

    @pytest.mark.parametrize(
        ("own", "config", "context", "expected"),
        [
            (None, {}, {}, {"temperature": 0.7, "max_tokens": 1024}),
            (None, {}, {"temperature": 0.1}, {"temperature": 0.1, "max_tokens": 1024}),
            (None, {"max_tokens": 5}, {}, {"temperature": 0.7, "max_tokens": 5}),
            ({"temperature": 0.3}, {}, {"temperature": 0.9}, {"temperature": 0.3}),
            ({"temperature": 0.3}, {"temperature": 0.4}, {}, {"temperature": 0.4}),
            (None, {"timeout": 3}, {"max_tokens": None}, {"timeout": 3, "temperature": 0.7}),
        ],
    )
    async def test_the_agents_own_win_over_the_rooms(
        self, own: Any, config: dict[str, Any], context: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        """What is set beside an agent on purpose wins over both."""
        script = Script("x")
        agent = Agent(script.model, model_settings=own)
        provider = PydanticAIProvider(agent, config=PydanticAIConfig(**config))
        await provider.generate(asking("hi", **context))
        settings = script.infos[0].model_settings
        assert settings is not None
        assert {name: settings.get(name) for name in expected} == expected

    async def test_settings_made_at_run_time_are_left_alone(self) -> None:
        """They may say anything, so nothing is put beside them."""
        script = Script("x")
        agent = Agent(script.model, model_settings=lambda _: {"temperature": 0.2})
        await PydanticAIProvider(agent).generate(asking("hi", temperature=0.9))
        assert script.infos[0].model_settings == {"temperature": 0.2}


class TestRoomTools:
    """Tools of the room are not the agent's to run."""

    async def test_calls_come_back_and_results_go_on(self) -> None:
        """What the agent did itself in the same breath is not done again."""
        calls = [
            m.ThinkingPart("Two things."),
            m.TextPart("One moment."),
            m.ToolCallPart("own", {"a": 1}, "o1"),
            m.ToolCallPart("search", '{"q": "x"}', "e1"),
            m.ToolCallPart("search", '{"q": "y"}', "e2"),
        ]
        script = Script(calls, "Done.")
        agent = Agent(script.model)
        runs: list[int] = []

        @agent.tool_plain
        def own(a: int) -> str:
            runs.append(a)
            return "own result"

        provider = PydanticAIProvider(agent)
        context = asking("go", tools=[SEARCH])
        first = await provider.generate(context)
        assert (first.content, first.thinking) == ("One moment.", "Two things.")
        assert [(call.id, call.name, call.arguments) for call in first.tool_calls] == [
            ("e1", "search", {"q": "x"}),
            ("e2", "search", {"q": "y"}),
        ]
        results = [
            AIToolResultPart(tool_call_id="e1", name="search", result="1"),
            AIToolResultPart(tool_call_id="e2", name="search", result="bad", is_error=True),
        ]
        said = [AIToolCallPart(**call.model_dump()) for call in first.tool_calls]
        last = await provider.generate(
            context.continued(
                [
                    AIMessage(role="assistant", content=said, metadata=first.metadata),
                    AIMessage(role="tool", content=results),
                ]
            )
        )
        assert last.content == "Done."
        assert runs == [1]
        returns = {p.tool_call_id: p for p in script.seen[1][-1].parts}
        assert [returns[i].content for i in ("o1", "e1", "e2")] == ["own result", "1", "bad"]
        assert returns["e2"].outcome == "failed"
        assert kinds(script.seen[1])[1] == ["thinking", "text"] + ["tool-call"] * 3

    async def test_a_history_without_the_agents_steps(self) -> None:
        """It may come from elsewhere: text and calls are what is known."""
        script = Script("Done.")
        call = AIToolCallPart(id="c1", name="search", arguments={"q": "x"})
        context = asking("go", tools=[SEARCH]).continued(
            [
                AIMessage(
                    role="assistant",
                    content=[AITextPart(text="Hm."), call],
                    metadata={"pydantic_ai_messages": "not ours"},
                ),
                AIMessage(
                    role="tool",
                    content=[
                        AIToolResultPart(
                            tool_call_id="c1",
                            name="search",
                            result=[
                                AITextPart(text="see"),
                                AIImagePart(url="https://x.example/a.png"),
                            ],
                        )
                    ],
                ),
            ]
        )
        assert (await PydanticAIProvider(Agent(script.model)).generate(context)).content == "Done."
        assert kinds(script.seen[0]) == [["user-prompt"], ["text", "tool-call"], ["tool-return"]]
        assert script.seen[0][2].parts[0].content[0] == "see"

    async def test_arguments_that_are_no_json(self) -> None:
        """They are kept as they came, and the call goes out without any."""
        script = Script([m.ToolCallPart("search", "[1]", "e1")])
        answer = await PydanticAIProvider(Agent(script.model)).generate(
            asking("go", tools=[SEARCH])
        )
        assert answer.tool_calls[0].arguments == {}
        assert answer.tool_calls[0].metadata == {"raw_arguments": "[1]"}

    async def test_a_tool_that_wants_approval(self) -> None:
        """Nobody can give it here; the error says so."""
        script = Script([m.ToolCallPart("pay", {}, "p1")])
        agent = Agent(script.model)

        @agent.tool_plain(requires_approval=True)
        def pay() -> str:
            return "paid"

        with pytest.raises(ProviderError, match="pay asks for an approval"):
            await PydanticAIProvider(agent).generate(asking("go", tools=[SEARCH]))

    async def test_the_whole_loop_in_a_channel(self) -> None:
        """AIChannel runs the room's tools, round after round."""
        script = Script([m.ToolCallPart("search", {"q": "x"}, "e1")], "It is 42.")
        asked: list[Any] = []

        async def handle(name: str, arguments: dict[str, Any]) -> str:
            asked.append((name, arguments))
            return "42"

        channel = AIChannel("ai", PydanticAIProvider(Agent(script.model)), tool_handler=handle)
        binding = make_binding(
            channel_id="ai",
            category=ChannelCategory.INTELLIGENCE,
            metadata={"tools": [SEARCH.model_dump()]},
        )
        event = make_event(content=TextContent(body="go"))
        output = await channel.on_event(event, binding, RoomContext(room=Room(id="r-1")))
        (answer,) = output.response_events
        assert isinstance(answer.content, TextContent)
        assert answer.content.body == "It is 42."
        assert asked == [("search", {"q": "x"})]
        assert answer.metadata["ai_usage"]["output_tokens"] > 0


class Weather(BaseModel):
    """What an agent may have to fill in."""

    city: str
    degrees: int


@dataclass
class Forecast:
    """The same without pydantic."""

    city: str
    degrees: int


class TestAnswer:
    """What a result becomes."""

    async def test_usage_model_and_reason(self) -> None:
        """As the framework tells them."""
        answer = await PydanticAIProvider(Agent(Script("fine day").model)).generate(asking("hi"))
        assert sorted(answer.usage) == ["input_tokens", "output_tokens"]
        assert answer.usage["output_tokens"] > 0
        assert answer.finish_reason == "stop"
        assert answer.metadata == {"model": "scripted", "usage_details": {"requests": 1}}

    @pytest.mark.parametrize("output", [Weather, Forecast])
    async def test_structured_output_is_json(self, output: Any) -> None:
        """A room carries text."""

        def answer(messages: list[Any], info: AgentInfo) -> m.ModelResponse:
            name = info.output_tools[0].name
            return m.ModelResponse(parts=[m.ToolCallPart(name, {"city": "Brest", "degrees": 9})])

        agent: Agent[None, Any] = Agent(FunctionModel(answer), output_type=output)
        provider = PydanticAIProvider(agent)
        response = await provider.generate(asking("hi", tools=[SEARCH]))
        assert response.content == '{"city":"Brest","degrees":9}'
        assert not provider.supports_structured_streaming


class TestStream:
    """Words as they are found, where that is certain."""

    async def test_a_plain_agent_streams(self) -> None:
        """The first word is here while the model still waits."""
        script = Script("one two three")
        script.held = asyncio.Event()
        provider = PydanticAIProvider(Agent(script.model))
        assert provider.supports_streaming
        events = provider.generate_structured_stream(asking("go"))
        first = await anext(events)
        assert isinstance(first, StreamTextDelta)
        assert first.text == "one"
        script.held.set()
        rest = [event async for event in events]
        assert [event.text for event in rest if isinstance(event, StreamTextDelta)] == [
            "two",
            "three",
        ]
        assert isinstance(rest[-1], StreamDone)
        assert rest[-1].usage["output_tokens"] > 0
        assert rest[-1].metadata["model"] == "scripted"

    async def test_leaving_early_stops_the_agent(self) -> None:
        """The model is not left talking to nobody."""
        script = Script("one two three")
        script.held = asyncio.Event()
        before = asyncio.all_tasks()
        events = PydanticAIProvider(Agent(script.model)).generate_structured_stream(asking("go"))
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert script.left_early
        assert asyncio.all_tasks() == before

    async def test_thoughts_are_told_apart(self) -> None:
        """They come as thinking, before the words."""

        async def think(messages: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
            from pydantic_ai.models.function import DeltaThinkingPart

            yield {0: DeltaThinkingPart(content="Hm")}
            yield {0: DeltaThinkingPart(content="m.")}
            yield "So."

        provider = PydanticAIProvider(Agent(FunctionModel(stream_function=think)))
        events = [event async for event in provider.generate_structured_stream(asking("go"))]
        thoughts = [event.thinking for event in events if isinstance(event, StreamThinkingDelta)]
        assert "".join(thoughts) == "Hmm."
        assert [event.text for event in events if isinstance(event, StreamTextDelta)] == ["So."]

    async def test_with_tools_only_the_answer_is_told(self) -> None:
        """What is said before a call is no part of it."""
        script = Script([m.TextPart("Let me see."), m.ToolCallPart("own", {}, "o1")], "Nine.")
        agent = Agent(script.model)
        agent.tool_plain(name="own")(lambda: "9")
        provider = PydanticAIProvider(agent)
        assert not provider.supports_structured_streaming
        events = [event async for event in provider.generate_structured_stream(asking("go"))]
        assert [event.type for event in events] == ["text_delta", "done"]
        assert isinstance(events[0], StreamTextDelta)
        assert events[0].text == "Nine."

    async def test_an_answer_sent_back_is_not_told(self) -> None:
        """A validator may refuse words that a stream had already shown."""
        script = Script("bad", "good")
        agent = Agent(script.model)

        @agent.output_validator
        def check(output: str) -> str:
            if output == "bad":
                raise ModelRetry("try again")
            return output

        provider = PydanticAIProvider(agent)
        assert [text async for text in provider.generate_stream(asking("go"))] == ["good"]

    async def test_a_failure_on_the_way(self) -> None:
        """It is the iterator that raises."""
        script = Script(ModelHTTPError(503, "scripted"))
        provider = PydanticAIProvider(Agent(script.model))
        with pytest.raises(ProviderError) as caught:
            async for _ in provider.generate_structured_stream(asking("go")):
                pass
        assert (caught.value.status_code, caught.value.retryable) == (503, True)


class TestMaking:
    """Providers from agents and from configs."""

    def test_something_must_be_given(self) -> None:
        """The error shows both ways."""
        with pytest.raises(ConfigurationError, match="config=PydanticAIConfig"):
            PydanticAIProvider()

    def test_the_package_is_missing(self) -> None:
        """The error names it and the extra."""
        with (
            patch.dict(sys.modules, {"pydantic_ai": None}),
            pytest.raises(
                ImportError, match="pydantic-ai-slim is required for PydanticAIProvider"
            ) as caught,
        ):
            PydanticAIProvider(config=PydanticAIConfig())
        assert isinstance(caught.value, MissingDependencyError)
        assert "roomkit[pydantic-ai]" in str(caught.value)

    @pytest.mark.parametrize("model", ["nonsense:x", "gpt-4o"])
    def test_a_model_nobody_knows(self, model: str) -> None:
        """It is named, and the key is not."""
        config = PydanticAIConfig(model=model, api_key="canary-key-1")
        with pytest.raises(ConfigurationError, match=model) as caught:
            PydanticAIProvider(config=config)
        assert "canary" not in f"{caught.value}{config!r}"

    @pytest.mark.parametrize(
        ("model", "sees"),
        [
            ("openai:gpt-4o", True),
            ("openai:o3-mini", False),
            ("x:y/claude-z", True),
            ("a:b", False),
        ],
    )
    def test_vision_is_guessed_from_the_name(self, model: str, sees: bool) -> None:
        """Unless it is configured."""
        script = Script()
        agent = Agent(script.model)
        assert not PydanticAIProvider(agent).supports_vision
        assert PydanticAIProvider(agent, config=PydanticAIConfig(vision=True)).supports_vision
        named = FunctionModel(lambda _m, _i: m.ModelResponse(parts=[]), model_name=model)
        assert PydanticAIProvider(Agent(named)).supports_vision is sees

    async def test_an_agent_without_a_model(self) -> None:
        """It can be described; asked, it says what is wrong."""
        provider = PydanticAIProvider(Agent())
        assert provider.model_name == ""
        with pytest.raises(ProviderError, match="model") as caught:
            await provider.generate(asking("hi"))
        assert not caught.value.retryable
        await provider.close()
