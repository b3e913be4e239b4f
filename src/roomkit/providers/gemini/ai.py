"""Answers from Google's Gemini models.

Requests go through the SDK's async client (``client.aio``). A client that has only the
blocking methods is run in a thread, so that it never blocks the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import math
import re
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import CONNECTION_ERRORS, ErrorRules, close_sdk, given
from roomkit.providers.ai._sdk_provider import SDKProvider
from roomkit.providers.ai._waits import wait_hint
from roomkit.providers.ai.base import StreamCollector
from roomkit.providers.gemini._answers import AnswerReader
from roomkit.providers.gemini._messages import build_config, build_contents
from roomkit.providers.gemini._streams import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from roomkit.providers.ai.base import AIContext, AIResponse
    from roomkit.providers.gemini.config import GeminiConfig

__all__ = ["GeminiAIProvider"]

logger: logging.Logger = logging.getLogger("roomkit.providers.gemini")

# From the vendor's "Gemini deprecations": 1 June and 16 October 2026.
_RETIRED = frozenset({"gemini-2.0-flash", "gemini-2.5-flash"})
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
# The SDK passes on what its HTTP client raises: httpx, its successor or aiohttp.
_NO_ANSWER = CONNECTION_ERRORS | {"ClientConnectionError", "ClientPayloadError", "TimeoutError"}
# Raised when an answer is no JSON; their texts quote it.
_UNREADABLE = frozenset({"UnknownApiResponseError", "JSONDecodeError", "ValidationError"})
# Words of an error that has no code. "generateContent" is no rate.
_PASSING = re.compile(r"\brate|\blimit|429|500|502|503")

_SHORTEST_DEADLINE = 10
"""Seconds. The SDK tells the server its timeout, and the server refuses less than this."""


class _Rules(ErrorRules):
    """How the errors of google-genai are read."""

    __slots__ = ()

    def error(self, exc: BaseException) -> ProviderError:
        """Return what an exception of an SDK call means."""
        if type(exc).__name__ in _UNREADABLE:
            return ProviderError(
                f"the answer is not Gemini's ({type(exc).__name__}); is api_base right?",
                provider=self.provider,
            )
        error = super().error(exc)
        if error.status_code is None:
            error.retryable = error.retryable or bool(_PASSING.search(str(exc).lower()))
        inner = _inner_body(exc)
        if inner is not None:
            error.retry_after = wait_hint({}, inner) or error.retry_after
            error.error_type = inner["error"].get("status") or error.error_type
        return error


class GeminiAIProvider(SDKProvider["GeminiConfig"]):
    """Asks one Gemini model.

    It sees images (and PDF, sound and film, where the model does), calls tools and streams.
    What a thinking model wants back with a tool call travels in the call's
    ``metadata["thought_signature"]``.

    A prompt Gemini refuses to read gives an empty answer with the finish reason ``BLOCKED``
    and ``metadata["block_reason"]``. Otherwise the finish reason is Gemini's (``STOP``,
    ``MAX_TOKENS``, ``SAFETY``, ...). ``usage`` has ``prompt_tokens`` and
    ``completion_tokens``, ``metadata["usage_details"]`` what else was counted.

    Args:
        config: Account and settings.

    Raises:
        MissingDependencyError: google-genai is not installed.
    """

    def __init__(self, config: GeminiConfig) -> None:
        self._genai, self._types = _load_sdk()
        key = config.api_key.get_secret_value
        options = _http_options(config)
        client = self._genai.Client(
            api_key=key(),
            **({"http_options": self._types.HttpOptions(**options)} if options else {}),
        )
        rules = _Rules(
            provider="gemini",
            statuses=_RETRYABLE,
            names=("status",),
            connection=_NO_ANSWER,
            secrets=lambda: (key(),),
        )
        super().__init__(config, client, rules)
        self._closed = False
        if config.model in _RETIRED:
            logger.warning(
                "Google has shut down %s and answers 404; "
                "name a current model in GeminiConfig(model=...)",
                config.model,
            )

    @property
    def supports_vision(self) -> bool:
        """Always: every Gemini model sees."""
        return True

    async def close(self) -> None:
        """Close the SDK's connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            await close_sdk(getattr(self._client, "aio", None))
        finally:
            await close_sdk(self._client)

    def _request(self, context: AIContext) -> dict[str, Any]:
        """Return the keyword arguments of a call."""
        try:
            return {
                "model": self._config.model,
                "contents": build_contents(self._types, context, self._config.model),
                "config": build_config(self._types, context, self._config),
            }
        except ProviderError:
            raise
        except Exception as exc:
            # The text of the SDK's own checks quotes what was said.
            raise ProviderError(
                f"the SDK does not take this prompt ({type(exc).__name__})", provider="gemini"
            ) from exc

    async def _ask(self, context: AIContext, *, stream: bool = False) -> Any:
        request = self._request(context)
        ask = _async_method(
            self._client, "generate_content_stream" if stream else "generate_content"
        )
        asking = ask(**request) if stream or ask is not None else None
        if inspect.isawaitable(asking):
            return await asking
        if stream:
            return asking
        return await asyncio.to_thread(self._client.models.generate_content, **request)

    def _read(self, answer: Any) -> AIResponse:
        reader, collector = self._reader(), StreamCollector()
        for event in reader.feed(answer):
            collector.add(event)
        collector.add(reader.end())
        return collector.response()

    def _reader(self) -> AnswerReader:
        return AnswerReader(self._config.model)

    def _opened(self, stream: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        return opened(stream)


def _load_sdk() -> tuple[Any, Any]:
    """Return the SDK's modules ``genai`` and ``types``."""
    google = require("google", user="GeminiAIProvider", extra="gemini", dist="google-genai")
    package = require("google.genai", user="GeminiAIProvider", extra="gemini", dist="google-genai")
    return getattr(google, "genai", package), package.types


def _inner_body(exc: BaseException) -> dict[str, Any] | None:
    """Return Google's error where the SDK took it for plain text and wrapped it as such."""
    details = getattr(exc, "details", None)
    text = details.get("message") if isinstance(details, dict) else None
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body.get("error"), dict) else None


def _http_options(config: GeminiConfig) -> dict[str, Any]:
    """Return what the SDK is told of the connection; empty when the config says nothing."""
    options = given(base_url=config.api_base)
    if config.timeout is not None:
        options["timeout"] = max(1, math.ceil(config.timeout * 1000))
        if config.timeout < _SHORTEST_DEADLINE:
            # A shorter one is ours alone: the server would refuse the request for it.
            options["headers"] = {"X-Server-Timeout": str(_SHORTEST_DEADLINE)}
    if config.max_retries is not None:
        options["retry_options"] = {"attempts": config.max_retries + 1}
    return options


def _async_method(client: Any, name: str) -> Any:
    models = getattr(getattr(client, "aio", None), "models", None)
    return getattr(models, name, None)
