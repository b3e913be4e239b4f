"""Claude as an ``AIProvider``, through the vendor's SDK of any version from 0.41 on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.providers.ai._sdk import ErrorRules, accepts, chosen, given
from roomkit.providers.ai._sdk_provider import SDKProvider
from roomkit.providers.anthropic._messages import message_list, system_text, tool_options
from roomkit.providers.anthropic._stream import MessageStream, read_message

if TYPE_CHECKING:
    from roomkit.providers.ai.base import AIContext, AIResponse
    from roomkit.providers.anthropic.config import AnthropicConfig

logger: logging.Logger = logging.getLogger("roomkit.providers.anthropic")

_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
# An overload in the middle of a stream comes with the status 200 of its beginning.
_RETRYABLE = frozenset({"rate_limit_error", "overloaded_error", "api_error", "timeout_error"})
_PERMANENT = frozenset({"billing_error"})

_TEXT_ONLY = ("claude-2", "claude-instant")

# From the vendor's "Model deprecations"; the newest of them ended on 30 June 2026.
_RETIRED = frozenset(
    {
        "claude-3-opus-20240229",
        "claude-3-sonnet-20240229",
        "claude-3-5-haiku-20241022",
        "claude-3-5-haiku-latest",
        "claude-3-7-sonnet-20250219",
        "claude-3-7-sonnet-latest",
        "claude-opus-4-0",
        "claude-opus-4-20250514",
        "claude-sonnet-4-0",
        "claude-sonnet-4-20250514",
        "claude-mythos-preview",
    }
)


class AnthropicAIProvider(SDKProvider["AnthropicConfig"]):
    """Answers with a Claude model.

    Understands text, images and PDFs (``http(s)`` and ``data:`` URLs), tools and thoughts,
    whole and as a stream. ``close`` ends its connections.

    An answer's ``usage`` has ``input_tokens`` and ``output_tokens``; its metadata ``model``
    and, where there are any, ``usage_details`` and ``thinking_blocks``.

    Args:
        config: The account and the model.

    Raises:
        MissingDependencyError: The SDK is not installed.
    """

    item = "an event"

    def __init__(self, config: AnthropicConfig) -> None:
        sdk = require("anthropic", user="AnthropicAIProvider", extra="anthropic")
        key = config.api_key.get_secret_value
        rules = ErrorRules(
            provider="anthropic",
            statuses=_STATUSES,
            retryable=_RETRYABLE,
            permanent=_PERMANENT,
            secrets=lambda: (key(),),
        )
        client = sdk.AsyncAnthropic(
            api_key=key(),
            **given(
                base_url=config.api_base, max_retries=config.max_retries, timeout=config.timeout
            ),
        )
        super().__init__(config, client, rules)
        self._sampling = True
        if config.model in _RETIRED:
            logger.warning(
                "the vendor has retired %s and answers 404; "
                "name a current model in AnthropicConfig(model=...)",
                config.model,
            )

    @property
    def supports_vision(self) -> bool:
        """Whether the model looks at images: every Claude but the oldest, or as configured."""
        if self._config.vision is not None:
            return self._config.vision
        model = self._config.model
        return model.startswith("claude-") and not model.startswith(_TEXT_ONLY)

    async def _ask(self, context: AIContext, *, stream: bool = False) -> Any:
        """Send the request; a temperature the model refuses is left out from then on."""
        request, options = self._request(context), {"stream": True} if stream else {}
        try:
            return await self._client.messages.create(**request, **options)
        except Exception as exc:
            if not self._refuses_temperature(exc, request):
                raise
        return await self._client.messages.create(**self._request(context), **options)

    def _read(self, answer: Any) -> AIResponse:
        return read_message(answer)

    def _reader(self) -> MessageStream:
        return MessageStream()

    def _refuses_temperature(self, exc: Exception, request: dict[str, Any]) -> bool:
        """Remember that the model takes no temperature; tell whether asking again is of use.

        An SDK from before these models still has the parameter. The vendor names no field
        apart from its text.
        """
        refused = getattr(exc, "status_code", None) == 400 and "temperature" in str(exc)
        if not refused or "temperature" not in request or self._config.sampling != "auto":
            return False
        self._sampling = False
        logger.info("%s takes no temperature: left out from now on", self._config.model)
        return True

    def _request(self, context: AIContext) -> dict[str, Any]:
        config = self._config
        request: dict[str, Any] = {
            "model": config.model,
            "max_tokens": chosen(context, config, "max_tokens") or config.max_tokens,
            "messages": message_list(context),
        }
        if system := system_text(context):
            request["system"] = system
        request.update(tool_options(context))
        past_the_sdk: dict[str, Any] = {}
        for name, value in self._optional(context).items():
            known = accepts(self._client.messages.create, name)
            if known or name != "temperature" or config.sampling == "always":
                (request if known else past_the_sdk)[name] = value
        if past_the_sdk:
            request["extra_body"] = past_the_sdk
        return request

    def _optional(self, context: AIContext) -> dict[str, Any]:
        """Return parameters that some versions of the SDK do not have."""
        if self._config.thinking is not None:
            return {"thinking": self._config.thinking}
        if self._config.sampling == "never" or not self._sampling:
            return {}
        return given(temperature=chosen(context, self._config, "temperature"))
