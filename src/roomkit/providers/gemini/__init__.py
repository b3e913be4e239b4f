"""Google's Gemini models, through the google-genai SDK."""

from __future__ import annotations

from roomkit.providers.gemini.ai import GeminiAIProvider
from roomkit.providers.gemini.config import GeminiConfig

__all__ = ["GeminiAIProvider", "GeminiConfig"]
