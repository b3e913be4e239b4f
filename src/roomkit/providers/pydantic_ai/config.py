"""Which model a Pydantic AI agent talks to, and how."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from roomkit.providers.ai._sdk import clean_api_base


class PydanticAIConfig(BaseModel):
    """A model in Pydantic AI's spelling, and its settings.

    Attributes:
        model: ``<provider>:<model>``, such as ``anthropic:claude-sonnet-5-5``. The provider's
            own SDK must be installed.
        api_key: The key for that provider; None: the environment variable it documents.
        temperature: How freely to choose words. Counts when the call does not say otherwise.
        max_tokens: The longest answer. Counts when the call does not say otherwise.
        vision: Whether the model looks at images; None: guess from its name.
        api_base: Scheme, host and port of another server that speaks the provider's API.
        timeout: Seconds one request to the model may take; None: the SDK's own bound.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    model: str = "openai:gpt-4o"
    api_key: SecretStr | None = None
    temperature: float = 0.7
    max_tokens: int = 1024
    vision: bool | None = None
    api_base: Annotated[str | None, AfterValidator(clean_api_base)] = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
