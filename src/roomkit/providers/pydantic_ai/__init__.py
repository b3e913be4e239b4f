"""Agents of the Pydantic AI framework, and through them its many models."""

from __future__ import annotations

from roomkit.providers.pydantic_ai.ai import PydanticAIProvider
from roomkit.providers.pydantic_ai.config import PydanticAIConfig

__all__ = ["PydanticAIConfig", "PydanticAIProvider"]
