"""What a Gemini provider needs to know."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from roomkit.providers.ai._sdk import clean_api_base


class GeminiConfig(BaseModel):
    """Account and settings of the Gemini Developer API.

    Attributes:
        api_key: The key of Google AI Studio.
        model: The model's name. The default was shut down by Google on 1 June 2026 and stays
            for programs that name another one; see the docs for present ones.
        max_tokens: The longest answer, in tokens, thoughts included. Counts when the call
            does not say otherwise.
        temperature: How freely to choose words. Counts when the call does not say otherwise.
        include_thoughts: Ask for summaries of the model's thoughts (``AIResponse.thinking``);
            models that do not think refuse it.
        api_base: Scheme, host and port of another server that speaks this API.
        timeout: Seconds a request may be silent; None leaves it to the SDK, which has no
            bound.
        max_retries: How often the SDK repeats a failed request; None leaves it to the SDK,
            which then repeats none.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    api_key: SecretStr
    model: str = "gemini-2.0-flash"
    max_tokens: int = 1024
    temperature: float = 1.0
    include_thoughts: bool = False
    api_base: Annotated[str | None, AfterValidator(clean_api_base)] = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_retries: int | None = Field(default=None, ge=0)
