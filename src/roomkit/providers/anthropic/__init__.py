"""Claude, Anthropic's language models, through the vendor's SDK (extra ``anthropic``)."""

from __future__ import annotations

from roomkit.providers.anthropic.ai import AnthropicAIProvider
from roomkit.providers.anthropic.config import AnthropicConfig

__all__ = ["AnthropicAIProvider", "AnthropicConfig"]
