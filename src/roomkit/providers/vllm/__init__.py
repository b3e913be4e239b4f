"""Models of one's own behind vLLM, which speaks OpenAI's API (extra ``vllm``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.providers.vllm.config import VLLMConfig

if TYPE_CHECKING:
    from roomkit.providers.openai.ai import OpenAIAIProvider

__all__ = ["VLLMConfig", "create_vllm_provider"]


def create_vllm_provider(config: VLLMConfig) -> OpenAIAIProvider:
    """Return a provider for a vLLM server.

    Args:
        config: The server and its model.

    Raises:
        MissingDependencyError: The ``openai`` SDK is not installed.
        pydantic.ValidationError: A setting is out of range.
    """
    # Not at the top: importing a config shall not cost a provider, nor pydantic.
    from pydantic import SecretStr

    from roomkit.providers.openai.ai import OpenAIAIProvider
    from roomkit.providers.openai.config import OpenAIConfig

    return OpenAIAIProvider(
        OpenAIConfig(
            api_key=SecretStr(config.api_key),
            base_url=config.base_url,
            model=config.model,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            # False leaves it to the name, so that a model named like a seeing one still sees.
            vision=config.vision or None,
            api_base=config.api_base,
            max_retries=config.max_retries,
            timeout=config.timeout,
        )
    )
