"""Settings of the OpenAI provider."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit.providers.ai._sdk import clean_api_base


class OpenAIConfig(BaseModel):
    """An account at OpenAI, or at a server that speaks its API, and how to use it.

    ``max_tokens`` and ``temperature`` given here explicitly stand in for contexts that were
    not given their own; ``AIChannel`` always gives its own.

    Attributes:
        api_key: The key from the vendor's console.
        base_url: The API of another server, path included, such as
            ``http://localhost:8000/v1``; it is then spoken to the way such servers
            understand (``max_tokens`` and ``temperature`` whatever the model).
        model: The model's name. The vendor ends the family of the default on 14 January 2027.
        max_tokens: The longest answer.
        temperature: How freely to choose words. Models that reason take none but their own;
            they get one only when it is given here.
        api_base: Scheme, host and port to use instead of the vendor's, or of those in
            ``base_url``; the path stays. For proxies and simulators.
        max_retries: How often the SDK repeats a failed request by itself; None: its default
            of 2. Use 0 when the channel has a retry policy of its own.
        timeout: Seconds for one request; None: the SDK's default of 10 minutes.
        vision: Whether the model can look at images; None: judge by its name.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    api_key: SecretStr
    base_url: str | None = None
    model: str = "gpt-4o"
    max_tokens: int = 1024
    temperature: float = 0.7
    api_base: str | None = None
    max_retries: int | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    vision: bool | None = None

    _check_base = field_validator("api_base")(clean_api_base)

    def endpoint(self) -> str | None:
        """Return the URL the SDK shall use, or None for the vendor's own."""
        if self.api_base is None:
            return self.base_url
        path = "/v1" if self.base_url is None else urlsplit(self.base_url).path
        return f"{self.api_base}{path}"
