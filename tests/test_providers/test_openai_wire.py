"""GPT on the wire: the installed SDK at the simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import AIContext, AIMessage, AIToolCallPart
from roomkit.providers.openai import OpenAIAIProvider, OpenAIConfig
from roomkit.simulators import error
from roomkit.simulators.openai import ModelAnswer, OpenAISimulator
from tests.test_providers._ai_wire import SEARCH, ModelWireSuite, asking

if TYPE_CHECKING:
    from roomkit.providers.ai.base import AIProvider

_CHUNK = {"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}}]}


class TestOpenAIWire(ModelWireSuite):
    """What holds for every model, at OpenAI."""

    secret = "sk-simulated-key"
    path = "/v1/chat/completions"
    usage = ("prompt_tokens", "completion_tokens")
    beginning = f"data: {json.dumps(_CHUNK)}\n\n".encode()

    def make_simulator(self) -> OpenAISimulator:
        return OpenAISimulator()

    def make_simulator_settings(self, api_base: str) -> dict[str, Any]:
        return {"api_key": self.secret, "model": "gpt-5.5", "api_base": api_base}

    def make_provider(self, settings: dict[str, Any]) -> AIProvider:
        return OpenAIAIProvider(OpenAIConfig(**settings))

    async def test_an_empty_account_is_permanent(
        self, sim: OpenAISimulator, provider: AIProvider
    ) -> None:
        """O8 on the wire: the same 429, but no waiting heals it."""
        sim.script(error(429, code="insufficient_quota"))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        assert (caught.value.status_code, caught.value.retryable) == (429, False)
        assert caught.value.error_type == "insufficient_quota"

    async def test_a_limit_says_when_it_is_whole_again(
        self, sim: OpenAISimulator, provider: AIProvider
    ) -> None:
        """By the reset time of the limit that is used up, where no header says it outright."""
        sim.script(error(429))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        assert caught.value.retry_after == 1.0

    async def test_o1_refused_parameters_are_left_out_from_then_on(
        self, sim: OpenAISimulator
    ) -> None:
        """O1: a tuned model that reasons, under a name of the old kind."""
        config = OpenAIConfig(
            **{**sim.settings, "model": "gpt-5.5"}, base_url="https://api.openai.com/v1"
        )
        provider = OpenAIAIProvider(config)
        assert (await provider.generate(asking())).content
        assert len(sim.requests) == 3
        assert "max_completion_tokens" in sim.sent[0].data
        assert "temperature" not in sim.sent[0].data
        await provider.generate(asking())
        assert len(sim.requests) == 4
        await provider.close()

    async def test_o3_broken_arguments(self, sim: OpenAISimulator, provider: AIProvider) -> None:
        """O3 on the wire: marked, whole and streamed, and never an error."""
        broken = ModelAnswer(calls=(("search", '{"q": '),))
        sim.answer(broken, broken)
        for streamed in (False, True):
            answer = await self._ask(provider, asking(tools=[SEARCH]), streamed=streamed)
            (call,) = answer.tool_calls
            assert (call.arguments, call.metadata) == ({}, {"raw_arguments": '{"q": '})
            assert answer.metadata["invalid_tool_arguments"] == [call.id]

    async def test_a_wrong_key(self, sim: OpenAISimulator) -> None:
        """The vendor's refusal, and not for trying again."""
        config = OpenAIConfig(**{**sim.settings, "api_key": SecretStr("sk-a-wrong-key")})
        provider = OpenAIAIProvider(config)
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        await provider.close()
        assert (caught.value.status_code, caught.value.retryable) == (401, False)
        assert caught.value.error_type == "invalid_api_key"

    async def test_a_call_without_its_result_is_refused(
        self, sim: OpenAISimulator, provider: AIProvider
    ) -> None:
        """The vendor insists on pairs; the simulator does too."""
        call = AIToolCallPart(id="call_1", name="search")
        messages = [
            AIMessage(role="user", content="q"),
            AIMessage(role="assistant", content=[call]),
            AIMessage(role="user", content="and?"),
        ]
        with pytest.raises(ProviderError, match="must be followed by tool messages"):
            await provider.generate(AIContext(messages=messages))
