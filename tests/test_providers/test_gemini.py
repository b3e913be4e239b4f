"""Gemini over a real socket: what is sent, what is made of answers, what failures become."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIResponse,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
    collect_stream,
)
from roomkit.providers.gemini import GeminiAIProvider, GeminiConfig
from roomkit.simulators import GeminiSimulator, error, not_json, slow
from roomkit.simulators.gemini import GeminiAnswer, ModelAnswer
from tests.support.locks import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.providers.ai.base import AIPart, StreamEvent

SEARCH = AITool(
    name="search",
    description="Look something up.",
    parameters={
        "type": "object",
        "properties": {"q": {"type": "string"}},
        "additionalProperties": False,
    },
)
PIXEL = base64.b64encode(b"\x89PNG pixels").decode()


@pytest.fixture
async def sim() -> AsyncIterator[GeminiSimulator]:
    """A Gemini of this test's own."""
    async with GeminiSimulator() as running:
        yield running


@pytest.fixture
async def provider(sim: GeminiSimulator) -> AsyncIterator[GeminiAIProvider]:
    """A provider that talks to it."""
    provider = GeminiAIProvider(GeminiConfig(**sim.settings))
    yield provider
    await provider.close()


def asking(*contents: str | list[AIPart], **fields: Any) -> AIContext:
    """A context of user messages."""
    messages = [AIMessage(role="user", content=content) for content in contents]
    return AIContext(messages=messages, **fields)


def following(context: AIContext, response: AIResponse, *results: AIToolResultPart) -> AIContext:
    """The context of the next round of a tool loop, as AIChannel makes it."""
    parts: list[AIPart] = []
    if response.thinking or response.thinking_signature:
        parts.append(
            AIThinkingPart(thinking=response.thinking or "", signature=response.thinking_signature)
        )
    if response.content:
        parts.append(AITextPart(text=response.content))
    parts += [AIToolCallPart(**call.model_dump()) for call in response.tool_calls]
    return context.continued(
        [
            AIMessage(role="assistant", content=parts, metadata=response.metadata),
            AIMessage(role="tool", content=list(results)),
        ]
    )


def calling(*queries: str, text: str = "") -> ModelAnswer:
    """An answer that searches for each of these."""
    return ModelAnswer(text, calls=tuple(("search", {"q": query}) for query in queries))


def result(call: Any, text: str = "42", **fields: Any) -> AIToolResultPart:
    """What a tool answered to a call."""
    return AIToolResultPart(tool_call_id=call.id, name=call.name, result=text, **fields)


async def events_of(provider: GeminiAIProvider, context: AIContext) -> list[StreamEvent]:
    """All events of a streamed answer."""
    return [event async for event in provider.generate_structured_stream(context)]


async def failure_of(
    provider: GeminiAIProvider, context: AIContext, *, streamed: bool = False
) -> ProviderError:
    """The error a call ends in."""
    asked = events_of(provider, context) if streamed else provider.generate(context)
    with pytest.raises(ProviderError) as caught:
        await asked
    return caught.value


class TestRequest:
    """What goes over the wire."""

    async def test_key_path_and_settings_are_the_configs(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """The key goes into Google's header, the model into the path."""
        await provider.generate(asking("hi", system_prompt="Be brief.", temperature=0.2))
        sent = sim.requests[-1]
        assert sent.path.endswith("/models/gemini-3.5-flash:generateContent")
        assert sent.headers["x-goog-api-key"] == "sim-gemini-key"
        body = sim.sent[-1].data
        assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
        assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        assert body["generationConfig"] == {"temperature": 0.2, "maxOutputTokens": 1024}
        assert "tools" not in body

    @pytest.mark.parametrize(
        ("config", "context", "expected"),
        [
            ({}, {}, {"temperature": 0.7, "maxOutputTokens": 1024}),
            ({"temperature": 0.1}, {}, {"temperature": 0.1, "maxOutputTokens": 1024}),
            ({"max_tokens": 9}, {"max_tokens": 7}, {"temperature": 0.7, "maxOutputTokens": 7}),
            ({}, {"temperature": None, "max_tokens": None}, {}),
            ({"max_tokens": 9}, {"temperature": None, "max_tokens": None}, {"maxOutputTokens": 9}),
        ],
    )
    async def test_settings_of_the_call_come_before_the_configs(
        self,
        sim: GeminiSimulator,
        config: dict[str, Any],
        context: dict[str, Any],
        expected: dict[str, Any],
    ) -> None:
        """What nobody set on purpose is the context's default; None leaves it to Gemini."""
        provider = GeminiAIProvider(GeminiConfig(**sim.settings, **config))
        await provider.generate(asking("hi", **context))
        await provider.close()
        assert sim.sent[-1].data.get("generationConfig", {}) == expected

    async def test_roles_and_order_are_kept(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """The assistant is Gemini's model; messages that say nothing are left out."""
        context = AIContext(
            messages=[
                AIMessage(role="user", content="one"),
                AIMessage(role="assistant", content="two"),
                AIMessage(role="user", content=""),
                AIMessage(role="user", content=[AITextPart(text="three"), AITextPart(text="")]),
            ]
        )
        await provider.generate(context)
        said = [(c["role"], c["parts"]) for c in sim.sent[-1].data["contents"]]
        assert said == [
            ("user", [{"text": "one"}]),
            ("model", [{"text": "two"}]),
            ("user", [{"text": "three"}]),
        ]

    @pytest.mark.parametrize(
        "context",
        [
            AIContext(),
            asking(""),
            AIContext(messages=[AIMessage(role="system", content="only this")]),
        ],
    )
    async def test_a_prompt_without_messages_is_refused_here(
        self, sim: GeminiSimulator, provider: GeminiAIProvider, context: AIContext
    ) -> None:
        """Nothing is sent for it, whole or streamed."""
        for streamed in (False, True):
            failed = await failure_of(provider, context, streamed=streamed)
            assert not failed.retryable
            assert failed.provider == "gemini"
            assert "no message" in str(failed)
        assert not sim.requests

    async def test_tools_withdrawn_stay_declared_but_forbidden(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """The last round of a tool loop may mention tools that must not be called."""
        sim.answer(calling("x"), "Enough.")
        context = asking("find x", tools=[SEARCH])
        first = await provider.generate(context)
        last = following(context, first, result(first.tool_calls[0])).continued(
            [], without_tools=True
        )
        assert (await provider.generate(last)).content == "Enough."
        body = sim.sent[-1].data
        assert body["toolConfig"]["functionCallingConfig"] == {"mode": "NONE"}
        assert len(body["tools"]) == 1

    async def test_thoughts_are_asked_for_on_request(self, sim: GeminiSimulator) -> None:
        """Summaries come back as thinking, apart from the text."""
        provider = GeminiAIProvider(GeminiConfig(**sim.settings, include_thoughts=True))
        sim.answer(ModelAnswer("Hello.", thinking="They greet me."))
        answer = await provider.generate(asking("hi"))
        await provider.close()
        assert (answer.content, answer.thinking) == ("Hello.", "They greet me.")
        assert answer.metadata["usage_details"]["thoughts_tokens"] > 0


class TestAnswer:
    """What an answer becomes."""

    async def test_text_usage_model_and_reason(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Usage has the two counts everybody knows; the others are details."""
        sim.answer("Good morning.")
        answer = await provider.generate(asking("hi"))
        assert answer.content == "Good morning."
        assert answer.finish_reason == "STOP"
        assert sorted(answer.usage) == ["completion_tokens", "prompt_tokens"]
        assert answer.usage["completion_tokens"] == 4
        assert answer.metadata["model"] == "gemini-3.5-flash"
        assert answer.metadata["usage_details"] == {"total_tokens": sum(answer.usage.values())}

    async def test_an_answer_cut_short_says_so(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """The finish reason is Gemini's own word."""
        sim.answer("x" * 100)
        answer = await provider.generate(asking("hi", max_tokens=2))
        assert (answer.content, answer.finish_reason) == ("x" * 8, "MAX_TOKENS")


class TestToolLoop:
    """Calls out, results back."""

    async def test_two_rounds_with_seals(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Ids, seals and results go back as Gemini wants them; it refuses anything less."""
        sim.answer(calling("x", "y", text="Let me see."), calling("z"), "Found.")
        context = asking("find it", tools=[SEARCH])
        first = await provider.generate(context)
        calls = first.tool_calls
        assert [call.arguments for call in calls] == [{"q": "x"}, {"q": "y"}]
        second_context = following(
            context, first, result(calls[0], "1"), result(calls[1], "gone", is_error=True)
        )
        second = await provider.generate(second_context)
        last = await provider.generate(
            following(second_context, second, result(second.tool_calls[0], "3"))
        )
        assert last.content == "Found."
        contents = sim.sent[-1].data["contents"]
        assert [content["role"] for content in contents] == [
            "user", "model", "user", "model", "user",
        ]  # fmt: skip
        assert contents[1]["parts"][0] == {"text": "Let me see."}
        responses = [part["functionResponse"] for part in contents[2]["parts"]]
        assert responses == [
            {"id": calls[0].id, "name": "search", "response": {"output": "1"}},
            {"id": calls[1].id, "name": "search", "response": {"error": "gone"}},
        ]

    async def test_results_in_messages_of_their_own_become_one_turn(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Gemini wants as many results in the next turn as there were calls."""
        sim.answer(calling("x", "y"))
        context = asking("find it", tools=[SEARCH])
        first = await provider.generate(context)
        calls = [AIToolCallPart(**call.model_dump()) for call in first.tool_calls]
        messages = [AIMessage(role="assistant", content=calls)] + [
            AIMessage(role="tool", content=[result(call)]) for call in calls
        ]
        await provider.generate(context.continued(messages))
        contents = sim.sent[-1].data["contents"]
        assert len(contents[-1]["parts"]) == 2

    async def test_a_result_with_an_image(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Text goes into the response, the image beside it, after all responses."""
        sim.answer(calling("x"))
        context = asking("draw", tools=[SEARCH])
        first = await provider.generate(context)
        drawn = AIToolResultPart(
            tool_call_id=first.tool_calls[0].id,
            name="search",
            result=[
                AIImagePart(url=f"data:image/png;base64,{PIXEL}"),
                AITextPart(text="there"),
            ],
        )
        await provider.generate(following(context, first, drawn))
        parts = sim.sent[-1].data["contents"][-1]["parts"]
        assert parts[0]["functionResponse"]["response"] == {"output": "there"}
        assert parts[1]["inlineData"]["mimeType"] == "image/png"

    async def test_a_call_lost_in_seals_is_the_vendors_error(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """A call whose seal was dropped on the way comes back as a 400, not retryable."""
        sim.answer(calling("x"))
        context = asking("find it", tools=[SEARCH])
        first = await provider.generate(context)
        bare = first.tool_calls[0].model_dump(exclude={"metadata"})
        messages = [
            AIMessage(role="assistant", content=[AIToolCallPart(**bare)]),
            AIMessage(role="tool", content=[result(first.tool_calls[0])]),
        ]
        failed = await failure_of(provider, context.continued(messages))
        assert (failed.status_code, failed.retryable) == (400, False)
        assert "thought_signature" in str(failed)


class TestStream:
    """Answers as they are made."""

    async def test_the_pieces_are_the_whole(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Text comes word by word, a call whole, the end once and last."""
        sim.answer(calling("x", text="one two three"))
        events = await events_of(provider, asking("go", tools=[SEARCH]))
        assert "alt" in sim.requests[-1].query
        texts = [event.text for event in events if isinstance(event, StreamTextDelta)]
        assert texts == ["one ", "two ", "three"]
        calls = [event for event in events if isinstance(event, StreamToolCall)]
        assert calls[0].arguments == {"q": "x"}
        assert set(calls[0].metadata) == {"thought_signature"}
        assert [event for event in events if isinstance(event, StreamDone)] == events[-1:]
        assert isinstance(events[-1], StreamDone)
        assert events[-1].finish_reason == "STOP"
        assert events[-1].usage["completion_tokens"] == 4

    async def test_the_first_piece_comes_before_the_last_is_made(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """The vendor still waits while the first word is here."""
        hold = asyncio.Event()
        sim.answer(GeminiAnswer("one two", hold=hold))
        async with aclosing(provider.generate_structured_stream(asking("go"))) as events:
            first = await anext(events)
            assert isinstance(first, StreamTextDelta)
            assert first.text == "one "
            hold.set()
            rest = [event async for event in events]
        assert isinstance(rest[-1], StreamDone)

    async def test_streamed_calls_go_back_with_their_seals(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """A collected stream continues a tool loop like a whole answer."""
        sim.answer(calling("x", "y"), "Found.")
        context = asking("go", tools=[SEARCH])
        first = await collect_stream(provider.generate_structured_stream(context))
        results = [result(call) for call in first.tool_calls]
        last = await collect_stream(
            provider.generate_structured_stream(following(context, first, *results))
        )
        assert last.content == "Found."

    async def test_thoughts_are_told_apart(self, sim: GeminiSimulator) -> None:
        """They come as thinking and are no text."""
        provider = GeminiAIProvider(GeminiConfig(**sim.settings, include_thoughts=True))
        sim.answer(ModelAnswer("Hi.", thinking="A greeting."))
        events = await events_of(provider, asking("go"))
        await provider.close()
        thoughts = [event.thinking for event in events if isinstance(event, StreamThinkingDelta)]
        assert "".join(thoughts) == "A greeting."
        assert [event.text for event in events if isinstance(event, StreamTextDelta)] == ["Hi."]

    async def test_a_stream_that_ends_early_is_an_error(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Half an answer is never taken for a whole one."""
        sim.answer(ModelAnswer("one two", ending="early"))
        failed = await failure_of(provider, asking("go"), streamed=True)
        assert failed.retryable
        assert "broke off" in str(failed)

    async def test_an_error_inside_a_stream(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """What the vendor says after the first piece is no end of an answer.

        The oldest SDKs keep the status to themselves.
        """
        sim.answer(ModelAnswer("one two", ending="error"))
        failed = await failure_of(provider, asking("go"), streamed=True)
        assert failed.retryable
        assert failed.status_code in (503, None)


class TestFailures:
    """What the vendor's failures become."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("status", "word", "retryable"),
        [
            (400, "INVALID_ARGUMENT", False),
            (403, "PERMISSION_DENIED", False),
            (404, "NOT_FOUND", False),
            (429, "RESOURCE_EXHAUSTED", True),
            (500, "INTERNAL", True),
            (503, "UNAVAILABLE", True),
            (504, "DEADLINE_EXCEEDED", True),
        ],
    )
    async def test_statuses(
        self,
        sim: GeminiSimulator,
        provider: GeminiAIProvider,
        status: int,
        word: str,
        retryable: bool,
        streamed: bool,
    ) -> None:
        """Status, Google's word and whether to try again."""
        sim.script(error(status))
        failed = await failure_of(provider, asking("hi"), streamed=streamed)
        assert (failed.status_code, failed.error_type) == (status, word)
        assert failed.retryable is retryable
        assert failed.provider == "gemini"
        assert failed.__cause__ is not None
        assert len(sim.requests) == 1

    async def test_the_wait_of_a_retry_info(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Google says how long to wait among the details of the body."""
        sim.script(error(429, retry_after=17))
        assert (await failure_of(provider, asking("hi"))).retry_after == 17.0

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_an_answer_that_is_no_json(
        self, sim: GeminiSimulator, provider: GeminiAIProvider, streamed: bool
    ) -> None:
        """The error names api_base as the likely cause and quotes nothing of the page."""
        sim.script(not_json())
        failed = await failure_of(provider, asking("hi"), streamed=streamed)
        assert not failed.retryable
        assert "api_base" in str(failed)
        assert "It works" not in str(failed)

    async def test_a_timeout_is_kept_and_the_server_told_no_less_than_it_takes(
        self, sim: GeminiSimulator
    ) -> None:
        """The SDK passes its timeout on, and Gemini refuses deadlines under ten seconds."""
        provider = GeminiAIProvider(GeminiConfig(**sim.settings, timeout=0.2))
        await provider.generate(asking("hi"))
        assert sim.requests[-1].headers["x-server-timeout"] == "10"
        sim.script(slow(30))
        failed = await failure_of(provider, asking("hi"))
        await provider.close()
        assert (failed.status_code, failed.retryable) == (None, True)

    @pytest.mark.parametrize(("retries", "requests"), [(None, 1), (0, 1), (1, 2)])
    async def test_the_sdk_repeats_as_often_as_it_is_told(
        self, sim: GeminiSimulator, retries: int | None, requests: int
    ) -> None:
        """Left alone it repeats nothing."""
        provider = GeminiAIProvider(GeminiConfig(**sim.settings, max_retries=retries))
        sim.script(error(503), error(503))
        assert (await failure_of(provider, asking("hi"))).status_code == 503
        await provider.close()
        assert len(sim.requests) == requests

    async def test_a_wrong_key_is_not_repeated_in_the_error(self, sim: GeminiSimulator) -> None:
        """No error, and no repr, holds the key."""
        config = GeminiConfig(**{**sim.settings, "api_key": "wrong-canary-key"})
        provider = GeminiAIProvider(config)
        failed = await failure_of(provider, asking("hi"))
        await provider.close()
        assert (failed.status_code, failed.retryable) == (400, False)
        assert "canary" not in f"{failed!r}{config!r}{provider!r}"

    async def test_cancelling_passes(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """A cancelled call is cancelled, not failed."""
        sim.script(slow(30))
        task = asyncio.create_task(provider.generate(asking("hi")))
        await eventually(lambda: bool(sim.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestConfig:
    """What a config takes."""

    def test_the_defaults_are_the_references(self) -> None:
        """Programs rely on them, though the model is gone."""
        config = GeminiConfig(api_key="k")
        assert (config.model, config.max_tokens, config.temperature) == (
            "gemini-2.0-flash",
            1024,
            1.0,
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            {"api_base": "https://host/path"},
            {"timeout": 0},
            {"timeout": float("inf")},
            {"max_retries": -1},
        ],
    )
    def test_what_cannot_work_is_refused(self, wrong: dict[str, Any]) -> None:
        """The error names the field."""
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            GeminiConfig(api_key="k", **wrong)

    async def test_closing_twice_is_fine(self, provider: GeminiAIProvider) -> None:
        """The second time does nothing."""
        await provider.close()
        await provider.close()
