"""Settings of the Anthropic provider."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit.providers.ai._sdk import clean_api_base


class AnthropicConfig(BaseModel):
    """An account at Anthropic and how to use it.

    ``max_tokens`` and ``temperature`` given here explicitly stand in for contexts that were
    not given their own; ``AIChannel`` always gives its own.

    Attributes:
        api_key: The key from the vendor's console.
        model: The model's name. The default was retired by the vendor on 15 June 2026 and
            stays for compatibility: name a current model.
        max_tokens: The longest answer.
        temperature: How freely to choose words.
        api_base: Scheme, host and port of another server, such as a proxy or a simulator.
        max_retries: How often the SDK repeats a failed request by itself; None: its default
            of 2. Use 0 when the channel has a retry policy of its own.
        timeout: Seconds for one request; None: the SDK's default of 10 minutes.
        vision: Whether the model can look at images; None: judge by its name.
        sampling: ``auto`` sends ``temperature`` where the SDK still has the parameter, and
            no more once the model has refused it; ``always`` sends it past the SDK too;
            ``never`` leaves it to the vendor. Models of today take none.
        thinking: The request's ``thinking`` object, such as ``{"type": "adaptive"}``; None:
            the model's default. With it, no temperature is sent.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    api_key: SecretStr
    model: str = "claude-sonnet-4-20250514"
    max_tokens: int = 1024
    temperature: float = 0.7
    api_base: str | None = None
    max_retries: int | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    vision: bool | None = None
    sampling: Literal["auto", "always", "never"] = "auto"
    thinking: dict[str, Any] | None = None

    _check_base = field_validator("api_base")(clean_api_base)
