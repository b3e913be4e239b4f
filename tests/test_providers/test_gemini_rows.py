"""The ten points in which Gemini differs from what was believed of it, one class each (G1-G10)."""

from __future__ import annotations

import base64
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIImagePart,
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.providers.gemini import GeminiAIProvider, GeminiConfig
from roomkit.providers.gemini._answers import AnswerReader
from roomkit.providers.gemini._messages import build_config, build_contents
from roomkit.simulators import GeminiSimulator, error
from roomkit.simulators.gemini import GeminiAnswer, ModelAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

types = pytest.importorskip("google.genai.types")

MODEL = "gemini-3.5-flash"
PIXELS = b"\x89PNG pixels"


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


def user(*parts: Any) -> AIContext:
    """A context of one message."""
    return AIContext(messages=[AIMessage(role="user", content=list(parts))])


def answer(**candidate: Any) -> SimpleNamespace:
    """An answer of one candidate, as an SDK would give it."""
    return SimpleNamespace(
        candidates=[SimpleNamespace(**candidate)], usage_metadata=None, text=None
    )


def parts(*given: Any) -> SimpleNamespace:
    """The content of a candidate."""
    return SimpleNamespace(parts=list(given))


def text(said: str | None, **flags: Any) -> SimpleNamespace:
    """A part that is text."""
    return SimpleNamespace(text=said, **flags)


def call(name: str, call_id: str | None = None, **flags: Any) -> SimpleNamespace:
    """A part that calls a tool."""
    function_call = SimpleNamespace(id=call_id, name=name, args={"q": name})
    return SimpleNamespace(text=None, function_call=function_call, **flags)


def calls_of(*given: Any) -> list[StreamToolCall]:
    """The calls an answer of these parts holds."""
    events = AnswerReader(MODEL).feed(answer(content=parts(*given)))
    return [event for event in events if isinstance(event, StreamToolCall)]


class TestG1RetryByStatus:
    """Whether to try again is told by the status, not by words that also mean other things."""

    async def test_a_400_that_mentions_generate_and_limit(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """An unusable request stays unusable, whatever words its refusal uses."""
        context = user(AITextPart(text="hi"))
        context.tools = [AITool(name="1 rate limit 429", parameters={})]
        with pytest.raises(ProviderError, match="GenerateContentRequest") as caught:
            await provider.generate(context)
        assert (caught.value.status_code, caught.value.retryable) == (400, False)

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    async def test_statuses_that_pass(
        self, sim: GeminiSimulator, provider: GeminiAIProvider, status: int
    ) -> None:
        """These six heal by waiting."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(user(AITextPart(text="hi")))
        assert (caught.value.status_code, caught.value.retryable) == (status, True)


class TestG2TextOfParts:
    """The text is that of the parts; thoughts and calls are not in it."""

    def test_parts_are_joined_without_thoughts(self) -> None:
        """A thought is thinking, not text."""
        content = parts(text("one "), text("hm", thought=True), call("search"), text("two"))
        events = AnswerReader(MODEL).feed(answer(content=content))
        assert "".join(e.text for e in events if isinstance(e, StreamTextDelta)) == "one two"
        assert [e.thinking for e in events if isinstance(e, StreamThinkingDelta)] == ["hm"]

    @pytest.mark.parametrize(
        "empty",
        [
            SimpleNamespace(),
            SimpleNamespace(candidates=None, text=None),
            answer(),
            answer(content=None, finish_reason=None),
            answer(content=parts()),
            answer(content=SimpleNamespace(parts=None)),
        ],
    )
    def test_nothing_said_is_no_failure(self, empty: Any) -> None:
        """Whatever is missing, the answer is empty."""
        reader = AnswerReader(MODEL)
        assert reader.feed(empty) == []
        assert reader.end().usage == {}

    def test_the_sdks_own_text_where_no_part_tells(self) -> None:
        """Fakes and odd versions have only that; one that raises has nothing to tell."""

        class Raises:
            candidates = None

            @property
            def text(self) -> str:
                raise ValueError("a function call has no text")

        said = SimpleNamespace(candidates=[], text="Hello")
        assert AnswerReader(MODEL).feed(said) == [StreamTextDelta(text="Hello")]
        assert AnswerReader(MODEL).feed(Raises()) == []


class TestG3FinishReason:
    """Why the model stopped is told, a refused prompt included."""

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_reasons_of_the_vendor(
        self, sim: GeminiSimulator, provider: GeminiAIProvider, streamed: bool
    ) -> None:
        """Gemini's own words."""
        sim.answer(ModelAnswer(stop="SAFETY"))
        context = user(AITextPart(text="hi"))
        if streamed:
            events = [event async for event in provider.generate_structured_stream(context)]
            assert [event.type for event in events] == ["done"]
            assert events[-1].finish_reason == "SAFETY"  # type: ignore[union-attr]
        else:
            assert (await provider.generate(context)).finish_reason == "SAFETY"

    async def test_a_blocked_prompt(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """An answer without words that says what happened, whole and streamed."""
        sim.answer(GeminiAnswer(block_reason="SAFETY"))
        sim.answer(GeminiAnswer(block_reason="PROHIBITED_CONTENT"))
        context = user(AITextPart(text="hi"))
        blocked = await provider.generate(context)
        assert (blocked.content, blocked.finish_reason) == ("", "BLOCKED")
        assert blocked.metadata["block_reason"] == "SAFETY"
        assert blocked.usage["completion_tokens"] == 0
        events = [event async for event in provider.generate_structured_stream(context)]
        assert [event.type for event in events] == ["done"]
        assert events[0].metadata["block_reason"] == "PROHIBITED_CONTENT"  # type: ignore[union-attr]


class TestG4Ids:
    """Calls have ids that tell them apart."""

    def test_the_vendors_id_else_the_name(self) -> None:
        """Two nameless calls of one tool do not collide."""
        given = [call("a", "id-1"), call("a"), call("b"), call("a"), call("a")]
        assert [c.id for c in calls_of(*given)] == ["id-1", "a", "b", "a#2", "a#3"]

    def test_over_the_pieces_of_a_stream(self) -> None:
        """Numbering goes on from piece to piece."""
        reader = AnswerReader(MODEL)
        pieces = [reader.feed(answer(content=parts(call("a")))) for _ in range(2)]
        assert [event.id for piece in pieces for event in piece] == ["a", "a#2"]  # type: ignore[union-attr]

    async def test_a_model_without_ids(
        self, sim: GeminiSimulator, provider: GeminiAIProvider
    ) -> None:
        """Ids we made up are not sent: Gemini pairs by order then."""
        sim.answer(GeminiAnswer(calls=(("search", {}), ("search", {})), ids=False))
        context = user(AITextPart(text="go"))
        context.tools = [AITool(name="search")]
        first = await provider.generate(context)
        assert [made.id for made in first.tool_calls] == ["search", "search#2"]
        content = [AIToolCallPart(**made.model_dump()) for made in first.tool_calls]
        message = AIMessage(role="assistant", content=content)
        (sent,) = build_contents(types, AIContext(messages=[message]), MODEL)
        assert [part.function_call.id for part in sent.parts] == [None, None]


class TestG5ThoughtSignatures:
    """What the vendor seals goes back unchanged."""

    def test_of_a_call(self) -> None:
        """As base64 text in the call's metadata, and from there as bytes again."""
        seal = bytes(range(256))
        (made,) = calls_of(call("search", "id-1", thought_signature=seal))
        assert made.metadata == {"thought_signature": base64.b64encode(seal).decode()}
        part = AIToolCallPart(**made.model_dump(exclude={"type"}))
        message = AIMessage(role="assistant", content=[part])
        (sent,) = build_contents(types, AIContext(messages=[message]), MODEL)
        assert sent.parts[0].thought_signature == seal
        assert sent.parts[0].function_call.id == "id-1"

    @pytest.mark.parametrize("broken", ["no base64!", "", 7, None])
    def test_one_that_is_none_is_left_out(self, broken: Any) -> None:
        """Metadata may come from anywhere."""
        part = AIToolCallPart(id="1", name="search", metadata={"thought_signature": broken})
        message = AIMessage(role="assistant", content=[part])
        (sent,) = build_contents(types, AIContext(messages=[message]), MODEL)
        assert sent.parts[0].thought_signature is None

    @pytest.mark.parametrize(("model", "kept"), [(MODEL, b"seal"), ("claude", None)])
    def test_of_text(self, model: str, kept: bytes | None) -> None:
        """It travels as thinking, and back to the model that made it only."""
        events = AnswerReader(MODEL).feed(
            answer(content=parts(text("Hm.", thought_signature=b"seal")))
        )
        seal = events[0].signature  # type: ignore[union-attr]
        content: list[Any] = [
            AIThinkingPart(thinking="", signature=seal),
            AITextPart(text="Hm."),
            AITextPart(text="So."),
        ]
        message = AIMessage(role="assistant", content=content, metadata={"model": model})
        (sent,) = build_contents(types, AIContext(messages=[message]), MODEL)
        assert [part.thought_signature for part in sent.parts] == [kept, None]


class TestG6Schemas:
    """Schemas of tools are plain JSON Schema."""

    def declared(self, schema: dict[str, Any], module: Any = types) -> Any:
        """The declaration of a tool."""
        context = user(AITextPart(text="hi"))
        context.tools = [AITool(name="search", description="d", parameters=schema)]
        config = build_config(module, context, GeminiConfig(api_key="k"))
        return config.tools[0].function_declarations[0]

    def test_where_the_sdk_knows_it(self) -> None:
        """What OpenAPI does not have gets through."""
        schema = {
            "type": "object",
            "properties": {"q": {"type": ["string", "null"]}},
            "additionalProperties": False,
        }
        declared = self.declared(schema)
        assert declared.parameters_json_schema == schema
        assert declared.parameters is None

    @pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": {}}])
    def test_a_tool_that_takes_nothing(self, schema: dict[str, Any]) -> None:
        """Gemini refuses an object without properties, so none is sent."""
        assert self.declared(schema).parameters_json_schema is None

    def test_an_sdk_that_does_not(self) -> None:
        """It gets the older parameter."""
        fake = SimpleNamespace(
            GenerateContentConfig=SimpleNamespace,
            FunctionDeclaration=SimpleNamespace,
            Tool=SimpleNamespace,
        )
        schema = {"type": "object", "properties": {"q": {}}}
        assert self.declared(schema, fake).parameters == schema
        assert self.declared({}, fake).parameters is None


class TestG7Media:
    """Attachments go as bytes or by URL, by what the URL is."""

    def sent(self, image: AIImagePart) -> Any:
        """The part an image becomes."""
        return build_contents(types, user(image), MODEL)[0].parts[0]

    def test_data_urls_are_bytes(self) -> None:
        """Of whatever type."""
        encoded = base64.b64encode(PIXELS).decode()
        sent = self.sent(AIImagePart(url=f"data:application/pdf;base64,{encoded}"))
        assert (sent.inline_data.data, sent.inline_data.mime_type) == (PIXELS, "application/pdf")

    @pytest.mark.parametrize("mime", [None, "image/png"])
    def test_other_urls_stay_urls(self, mime: str | None) -> None:
        """Gemini fetches them; an unknown image counts as JPEG."""
        sent = self.sent(AIImagePart(url="https://x.example/cat", mime_type=mime))
        assert sent.file_data.file_uri == "https://x.example/cat"
        assert sent.file_data.mime_type == (mime or "image/jpeg")

    @pytest.mark.parametrize("url", ["data:", "data:image/png;base64,", "data:image/png;base64,?"])
    def test_one_that_carries_nothing(self, url: str) -> None:
        """The model is told that something was there."""
        assert self.sent(AIImagePart(url=url)).text == "[an attachment that cannot be read]"


class TestG8SystemMessages:
    """Messages of the system stand with the system prompt."""

    def test_they_are_joined_to_it(self) -> None:
        """A blank line between; the conversation does not hold them."""
        context = AIContext(
            system_prompt="Be brief.",
            messages=[
                AIMessage(role="system", content="Be kind."),
                AIMessage(role="user", content="hi"),
                AIMessage(
                    role="system", content=[AITextPart(text="Be"), AITextPart(text="true.")]
                ),
            ],
        )
        config = build_config(types, context, GeminiConfig(api_key="k"))
        assert config.system_instruction == "Be brief.\n\nBe kind.\n\nBe\ntrue."
        assert [content.role for content in build_contents(types, context, MODEL)] == ["user"]


class TestG9RetiredModels:
    """The default model is gone; whoever asks for it is told."""

    async def test_a_warning_and_a_404(
        self, sim: GeminiSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once when the provider is made; the vendor's answer is not retryable."""
        settings = {key: value for key, value in sim.settings.items() if key != "model"}
        with caplog.at_level(logging.WARNING, "roomkit"):
            provider = GeminiAIProvider(GeminiConfig(**settings))
        assert "gemini-2.0-flash" in caplog.text
        with pytest.raises(ProviderError) as caught:
            await provider.generate(user(AITextPart(text="hi")))
        await provider.close()
        assert (caught.value.status_code, caught.value.retryable) == (404, False)

    async def test_present_models_bring_no_warning(
        self, sim: GeminiSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Silence is the rule."""
        with caplog.at_level(logging.WARNING, "roomkit"):
            await GeminiAIProvider(GeminiConfig(**sim.settings)).close()
        assert not caplog.records


class TestG10NoAutomaticCalls:
    """The SDK is kept from running anything by itself."""

    def test_with_tools(self) -> None:
        """Switched off where there is something to call."""
        context = user(AITextPart(text="hi"))
        config = build_config(types, context, GeminiConfig(api_key="k"))
        assert config.automatic_function_calling is None
        context.tools = [AITool(name="search")]
        config = build_config(types, context, GeminiConfig(api_key="k"))
        assert config.automatic_function_calling.disable is True
