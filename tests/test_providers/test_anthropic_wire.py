"""Claude on the wire: the installed SDK at the simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from roomkit.exceptions import ProviderError
from roomkit.providers.ai.base import (
    AIContext,
    AIMessage,
    AIThinkingPart,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.providers.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit.simulators import error
from roomkit.simulators.anthropic import AnthropicSimulator, ModelAnswer
from tests.test_providers._ai_wire import SEARCH, ModelWireSuite, asking

if TYPE_CHECKING:
    from roomkit.providers.ai.base import AIProvider


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


class TestAnthropicWire(ModelWireSuite):
    """What holds for every model, at Anthropic."""

    secret = "sk-ant-simulated-key"
    path = "/v1/messages"
    usage = ("input_tokens", "output_tokens")
    beginning = (
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
    ).encode()

    def make_simulator(self) -> AnthropicSimulator:
        return AnthropicSimulator()

    def make_simulator_settings(self, api_base: str) -> dict[str, Any]:
        return {"api_key": self.secret, "model": "claude-sonnet-5-5", "api_base": api_base}

    def make_provider(self, settings: dict[str, Any]) -> AIProvider:
        return AnthropicAIProvider(AnthropicConfig(**settings))

    async def test_seals_go_back_unbroken(
        self, sim: AnthropicSimulator, provider: AIProvider
    ) -> None:
        """Whole or streamed, thoughts keep the seal the vendor wants to see again."""
        thinking = ModelAnswer("", calls=(("search", {}),), thinking="Let me think.")
        for streamed in (False, True):
            sim.answer(thinking)
            context = asking(tools=[SEARCH])
            answer = await self._ask(provider, context, streamed=streamed)
            assert answer.thinking_signature.startswith("sealed-")
            (call,) = answer.tool_calls
            said = [
                AIThinkingPart(thinking=answer.thinking, signature=answer.thinking_signature),
                AIToolCallPart(id=call.id, name=call.name),
            ]
            result = AIToolResultPart(tool_call_id=call.id, name="search", result="42")
            messages = [
                AIMessage(role="assistant", content=[*said]),
                AIMessage(role="tool", content=[result]),
            ]
            await provider.generate(context.continued(messages))
            assert sim.sent[-1].data["messages"][1]["content"][0] == {
                "type": "thinking",
                "thinking": "Let me think.",
                "signature": answer.thinking_signature,
            }

    async def test_an_overload_is_retryable(
        self, sim: AnthropicSimulator, provider: AIProvider
    ) -> None:
        """The vendor's own status for it, with its own name."""
        sim.script(error(529))
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        assert caught.value.retryable
        assert caught.value.error_type == "overloaded_error"

    async def test_a1_a_temperature_past_the_sdk(self, sim: AnthropicSimulator) -> None:
        """A1 on the wire: an old model gets one, whatever the SDK; a new one refuses it."""
        settings = {**sim.settings, "sampling": "always", "max_retries": 0}
        old = self.make_provider({**settings, "model": "claude-haiku-4-5"})
        await old.generate(asking(temperature=0.2))
        assert sim.sent[0].data["temperature"] == 0.2
        await old.close()
        new = self.make_provider(settings)
        with pytest.raises(ProviderError, match="temperature"):
            await new.generate(asking(temperature=0.2))
        await new.close()

    async def test_a_wrong_key(self, sim: AnthropicSimulator) -> None:
        """The vendor's refusal, and not for trying again."""
        config = AnthropicConfig(**{**sim.settings, "api_key": SecretStr("sk-ant-wrong-key")})
        provider = AnthropicAIProvider(config)
        with pytest.raises(ProviderError) as caught:
            await provider.generate(asking())
        await provider.close()
        assert (caught.value.status_code, caught.value.retryable) == (401, False)
        assert caught.value.error_type == "authentication_error"

    async def test_a_call_without_its_result_is_refused(
        self, sim: AnthropicSimulator, provider: AIProvider
    ) -> None:
        """The vendor insists on pairs; the simulator does too."""
        call = AIToolCallPart(id="toolu_1", name="search")
        messages = [
            AIMessage(role="user", content="q"),
            AIMessage(role="assistant", content=[call]),
            AIMessage(role="user", content="and?"),
        ]
        with pytest.raises(ProviderError, match="without `tool_result` blocks") as caught:
            await provider.generate(AIContext(messages=messages))
        assert caught.value.error_type == "invalid_request_error"
