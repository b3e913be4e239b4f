"""vLLM: OpenAI's API at a server of one's own."""

from __future__ import annotations

import importlib
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

import roomkit.providers.openai.ai as openai_ai
from roomkit.providers.vllm import VLLMConfig, create_vllm_provider
from roomkit.simulators.openai import OpenAISimulator
from tests.test_providers._ai_wire import asking
from tests.test_providers._fake_openai import FakeSDK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = "mistralai/Mistral-Small"


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    """A server that was started with a key."""
    async with OpenAISimulator(model=MODEL, api_key="a-server-key") as sim:
        yield sim


class TestVLLM:
    """The config, and what becomes of it."""

    def test_the_config_is_the_specifications(self) -> None:
        """A dataclass whose one positional is the model; the key is not shown."""
        config = VLLMConfig(MODEL)
        assert config.base_url == "http://localhost:8000/v1"
        assert (config.api_key, config.max_tokens, config.temperature) == ("none", 1024, 0.7)
        assert [f.name for f in fields(config)][:5] == [
            "model",
            "base_url",
            "api_key",
            "max_tokens",
            "temperature",
        ]
        assert "a-server-key" not in repr(VLLMConfig(MODEL, api_key="a-server-key"))

    def test_without_the_sdk_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same words as OpenAI's own provider."""
        monkeypatch.setitem(sys.modules, "openai", None)
        importlib.reload(openai_ai)
        with pytest.raises(ImportError, match="openai is required"):
            create_vllm_provider(VLLMConfig(MODEL))

    @pytest.mark.parametrize(
        ("config", "sees"),
        [({"model": MODEL}, False), ({"model": MODEL, "vision": True}, True)],
    )
    def test_vision_is_the_configs_to_say(
        self, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], sees: bool
    ) -> None:
        """Names of local models tell nothing."""
        monkeypatch.setitem(sys.modules, "openai", FakeSDK().module)
        provider = create_vllm_provider(VLLMConfig(**config))
        assert type(provider).__name__ == "OpenAIAIProvider"
        assert (provider.model_name, provider.supports_vision) == (MODEL, sees)

    async def test_its_own_settings_are_sent_the_old_way(self, sim: OpenAISimulator) -> None:
        """``max_tokens`` and a temperature, whatever the model's name."""
        config = VLLMConfig(**sim.settings, max_tokens=77, temperature=0.2, max_retries=0)
        provider = create_vllm_provider(config)
        assert (await provider.generate(asking("hi"))).content == "You said: hi"
        data = sim.sent[0].data
        assert (data["model"], data["max_tokens"], data["temperature"]) == (MODEL, 77, 0.2)
        text = "".join([piece async for piece in provider.generate_stream(asking("hi"))])
        assert text == "You said: hi"
        await provider.close()

    async def test_a_server_by_its_base_url(self, sim: OpenAISimulator) -> None:
        """The usual way to name it, path included."""
        config = VLLMConfig(MODEL, f"{sim.api_base}/v1", "a-server-key", max_retries=0)
        provider = create_vllm_provider(config)
        assert (await provider.generate(asking("hi"))).content == "You said: hi"
        await provider.close()
