"""Agents made of a config, at the simulators of vendors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit import simulators
from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIMessage,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.providers.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit.simulators import GeminiSimulator, error
from roomkit.simulators.gemini import ModelAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytest.importorskip("pydantic_ai")

SEARCH = AITool(
    name="search",
    description="Look something up.",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}},
)


def asking(text: str, **fields: Any) -> AIContext:
    """A context of one message."""
    return AIContext(messages=[AIMessage(role="user", content=text)], **fields)


class TestVendors:
    """Key and server of a config reach whatever SDK the model stands on."""

    @pytest.mark.parametrize(
        ("sdk", "simulator", "kind"),
        [
            ("anthropic", "AnthropicSimulator", "anthropic"),
            ("google.genai", "GeminiSimulator", "google"),
            ("openai", "OpenAISimulator", "openai-chat"),
        ],
    )
    async def test_each(self, sdk: str, simulator: str, kind: str) -> None:
        """The path stays the vendor's own."""
        pytest.importorskip(sdk)
        async with getattr(simulators, simulator)() as sim:
            settings = {**sim.settings, "model": f"{kind}:{sim.settings['model']}"}
            provider = PydanticAIProvider(config=PydanticAIConfig(**settings))
            answer = await provider.generate(asking("hi"))
            await provider.close()
            await provider.close()
            assert answer.content == "You said: hi"
            assert answer.usage["output_tokens"] > 0
            # The two that think refuse one; the framework would warn about every call.
            assert "temperature" not in sim.sent[-1].data

    async def test_a_temperature_the_config_insists_on(self) -> None:
        """It goes as far as the framework lets it, which says that it drops it."""
        pytest.importorskip("openai")
        async with simulators.OpenAISimulator() as sim:
            settings = {**sim.settings, "model": "openai-chat:gpt-5.5", "temperature": 0.5}
            provider = PydanticAIProvider(config=PydanticAIConfig(**settings))
            with pytest.warns(UserWarning, match="temperature"):
                await provider.generate(asking("hi"))
            await provider.close()


class TestGemini:
    """An agent at Gemini, which is strict about what comes back."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[GeminiSimulator]:
        """A Gemini of this test's own."""
        pytest.importorskip("google.genai")
        async with GeminiSimulator() as running:
            yield running

    @pytest.fixture
    async def make(self, sim: GeminiSimulator) -> AsyncIterator[Callable[..., PydanticAIProvider]]:
        """Makes providers that talk to it, and closes them."""
        made: list[PydanticAIProvider] = []

        def make(**fields: Any) -> PydanticAIProvider:
            settings = {**sim.settings, "model": "google:gemini-3.5-flash", **fields}
            made.append(PydanticAIProvider(config=PydanticAIConfig(**settings)))
            return made[-1]

        yield make
        for provider in made:
            await provider.close()

    async def test_key_model_and_settings_arrive(
        self, sim: GeminiSimulator, make: Callable[..., PydanticAIProvider]
    ) -> None:
        """The config decides on key, server and model."""
        provider = make(max_tokens=99)
        assert provider.model_name == "google:gemini-3.5-flash"
        assert provider.supports_vision
        answer = await provider.generate(asking("hi", system_prompt="Be brief."))
        assert answer.content == "You said: hi"
        assert sim.requests[-1].headers["x-goog-api-key"] == "sim-gemini-key"
        assert sim.sent[-1].data["generationConfig"]["maxOutputTokens"] == 99

    async def test_a_tool_loop_with_seals(
        self, sim: GeminiSimulator, make: Callable[..., PydanticAIProvider]
    ) -> None:
        """What a thinking model wants back goes back, through two rounds."""
        sim.answer(ModelAnswer(calls=(("search", {"q": "x"}),)), "Found.")
        provider = make()
        context = asking("go", tools=[SEARCH])
        first = await provider.generate(context)
        call = first.tool_calls[0]
        part = AIToolCallPart(id=call.id, name=call.name, arguments=call.arguments)
        result = AIToolResultPart(tool_call_id=call.id, name=call.name, result="42")
        last = await provider.generate(
            context.continued(
                [
                    AIMessage(role="assistant", content=[part], metadata=first.metadata),
                    AIMessage(role="tool", content=[result]),
                ]
            )
        )
        assert last.content == "Found."

    async def test_streamed(
        self, sim: GeminiSimulator, make: Callable[..., PydanticAIProvider]
    ) -> None:
        """Word by word."""
        sim.answer("one two")
        texts = [text async for text in make().generate_stream(asking("go"))]
        assert texts == ["one ", "two"]

    async def test_failures(
        self, sim: GeminiSimulator, make: Callable[..., PydanticAIProvider]
    ) -> None:
        """Status, wait and kind are the vendor's; the key is not told."""
        sim.script(error(429, retry_after=11))
        with pytest.raises(ProviderError) as caught:
            await make().generate(asking("hi"))
        assert (caught.value.status_code, caught.value.retryable) == (429, True)
        assert caught.value.retry_after == 11.0
        with pytest.raises(ProviderError) as refused:
            await make(api_key="wrong-canary-key").generate(asking("hi"))
        assert (refused.value.status_code, refused.value.retryable) == (400, False)
        assert "canary" not in str(refused.value)
