"""OpenAI's language models, through the vendor's SDK (extra ``openai``)."""

from __future__ import annotations

from roomkit.providers.openai.ai import OpenAIAIProvider
from roomkit.providers.openai.config import OpenAIConfig

__all__ = ["OpenAIAIProvider", "OpenAIConfig"]
