"""OpenAI's models as an ``AIProvider``, through the vendor's SDK from version 1.60 on.

Chat Completions is the API used: it is the one that vLLM, Ollama and others speak too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.providers.ai._sdk import ErrorRules, chosen, error_words, given
from roomkit.providers.ai._sdk_provider import SDKProvider
from roomkit.providers.openai._answer import CompletionStream, read_completion
from roomkit.providers.openai._messages import message_list, tool_list

if TYPE_CHECKING:
    from roomkit.providers.ai.base import AIContext, AIResponse
    from roomkit.providers.openai.config import OpenAIConfig

logger: logging.Logger = logging.getLogger("roomkit.providers.openai")

_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
# In the middle of a stream an error has no status, only a name.
_RETRYABLE = frozenset({"server_error", "rate_limit_exceeded", "timeout", "overloaded_error"})
_PERMANENT = frozenset({"insufficient_quota"})

_SEES = (
    *("gpt-4o", "gpt-4-turbo", "gpt-4-vision", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-6"),
    *("chatgpt-4o", "o1", "o3", "o4"),
)
_SEES_NOT = ("o1-mini", "o1-preview", "o3-mini")

# Those that take ``max_tokens`` and a temperature; all later models refuse both.
_CLASSIC = ("gpt-3.5", "gpt-4", "chatgpt-4o", "ft:gpt-3.5", "ft:gpt-4")
_ADJUSTABLE = frozenset({"max_tokens", "temperature", "stream_options"})
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})


class OpenAIAIProvider(SDKProvider["OpenAIConfig"]):
    """Answers with a model of OpenAI, or of a server that speaks its API.

    Understands text, images (``http(s)`` and ``data:`` URLs) and tools, whole and as a
    stream. ``close`` ends its connections.

    An answer's ``usage`` has ``prompt_tokens`` and ``completion_tokens`` where the server
    counts; its metadata ``model`` and, where there are any, ``usage_details``, ``refusal`` and
    ``invalid_tool_arguments``: ids of calls whose arguments were no JSON object.

    Args:
        config: The account and the model.

    Raises:
        MissingDependencyError: The SDK is not installed.
    """

    item = "a chunk"

    def __init__(self, config: OpenAIConfig) -> None:
        sdk = require("openai", user="OpenAIAIProvider", extra="openai")
        key = config.api_key.get_secret_value
        rules = ErrorRules(
            provider="openai",
            statuses=_STATUSES,
            retryable=_RETRYABLE,
            permanent=_PERMANENT,
            names=("code", "type"),
            secrets=lambda: (key(),),
        )
        client = sdk.AsyncOpenAI(
            api_key=key(),
            base_url=config.endpoint(),
            **given(max_retries=config.max_retries, timeout=config.timeout),
        )
        super().__init__(config, client, rules)
        # Parameters the model turned out to refuse; at most those of _ADJUSTABLE.
        self._refused: set[str] = set()

    @property
    def supports_vision(self) -> bool:
        """Whether the model looks at images: judged by its name, or as configured."""
        if self._config.vision is not None:
            return self._config.vision
        model = self._config.model
        if model.startswith(_SEES_NOT) or "-audio" in model or "-search" in model:
            return False
        return model.startswith(_SEES)

    async def _ask(self, context: AIContext, *, stream: bool = False) -> Any:
        """Send the request; what the model refuses to be told is left out from then on."""
        for _ in _ADJUSTABLE:
            request = self._request(context, stream=stream)
            try:
                return await self._client.chat.completions.create(**request)
            except Exception as exc:
                if not self._adjust(exc, request):
                    raise
        return await self._client.chat.completions.create(**self._request(context, stream=stream))

    def _read(self, answer: Any) -> AIResponse:
        return read_completion(answer)

    def _reader(self) -> CompletionStream:
        return CompletionStream()

    def _adjust(self, exc: Exception, request: dict[str, Any]) -> bool:
        """Remember a parameter the vendor refused; tell whether asking again is of use."""
        if getattr(exc, "status_code", None) != 400:
            return False
        parameter = next(iter(error_words(exc, ("param",))), "").split(".")[0]
        if parameter not in _ADJUSTABLE or parameter not in request:
            return False
        if _UNSUPPORTED.isdisjoint(error_words(exc, ("code",))):
            return False
        self._refused.add(parameter)
        logger.info("%s takes no %s: left out from now on", self._config.model, parameter)
        return True

    def _request(self, context: AIContext, *, stream: bool) -> dict[str, Any]:
        config = self._config
        classic = config.base_url is not None or config.model.startswith(_CLASSIC)
        length = "max_tokens"
        if not classic or length in self._refused:
            length = "max_completion_tokens"
        request: dict[str, Any] = {
            "model": config.model,
            length: chosen(context, config, "max_tokens") or config.max_tokens,
            "messages": message_list(context),
        }
        temperature = chosen(context, config, "temperature")
        if not classic:
            own = "temperature" in config.model_fields_set
            temperature = config.temperature if own else None
        if context.tools:
            request["tools"] = tool_list(context.tools)
        if stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        request |= given(temperature=temperature)
        for name in self._refused - {"max_tokens"}:
            request.pop(name, None)
        return request
