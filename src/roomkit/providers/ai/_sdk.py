"""What all providers built on a vendor's SDK share: its errors, its clients, its streams.

Everything is read by name (``getattr``, names of classes): SDKs of many versions, and fakes
of them, then need no import here. Nothing in here belongs to one vendor.
"""

from __future__ import annotations

import inspect
import logging
import re
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._logging import brief
from roomkit.exceptions import ProviderError
from roomkit.providers.ai._waits import wait_hint

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Iterator,
        Mapping,
        Sequence,
    )

    from roomkit.providers.ai.base import AIContext

logger = logging.getLogger("roomkit.providers.ai")

MAX_ERROR_TEXT = 2_000
"""A vendor's error text is cut here, in characters: a proxy may answer with a whole page."""

CONNECTION_ERRORS = frozenset({"APIConnectionError", "APITimeoutError", "TransportError"})
"""Class names of a request that got no answer, or half of one, in SDKs and HTTP clients."""

# The request itself cannot be sent: repeating it changes nothing.
_UNSENDABLE = frozenset({"LocalProtocolError", "UnsupportedProtocol", "InvalidURL"})

_TOO_MANY = 429
_HIDDEN = "[secret]"
# Servers without keys are given a word such as "none", which also stands in ordinary texts.
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """How one vendor's errors are read.

    Attributes:
        provider: Goes into ``ProviderError.provider``.
        statuses: HTTP statuses after which the same call may succeed.
        retryable: The vendor's names of such errors; they count where the status says nothing.
        permanent: Its names of errors that no waiting heals; they win over everything.
        names: Where an error or its body names its kind, the most telling first.
        connection: Class names of errors without an answer.
        secrets: Gives what must not stand in an error text, should the vendor quote it.
    """

    provider: str
    statuses: frozenset[int]
    retryable: frozenset[str] = frozenset()
    permanent: frozenset[str] = frozenset()
    names: tuple[str, ...] = ("type",)
    connection: frozenset[str] = CONNECTION_ERRORS
    secrets: Callable[[], Sequence[str]] = field(default=tuple, repr=False)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Make a ProviderError of whatever a call of the SDK raises inside the block.

        Raises:
            ProviderError: See ``error``; one that was raised inside passes as it is.
        """
        try:
            yield
        except ProviderError:
            raise
        except Exception as exc:
            raise self.error(exc) from exc

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Make a ProviderError of whatever our own reading of an answer raises.

        It is not retryable, and its text quotes nothing of the answer.

        Args:
            what: What is read, such as ``the answer``.

        Raises:
            ProviderError: As said; one that was raised inside passes as it is.
        """
        try:
            yield
        except ProviderError:
            raise
        except Exception as exc:
            raise ProviderError(
                f"{what} could not be read ({type(exc).__name__}): "
                "the server does not speak this vendor's API, or the SDK is too old for it",
                provider=self.provider,
            ) from exc

    def error(self, exc: BaseException) -> ProviderError:
        """Return what an exception of an SDK call means; raise it ``from exc``."""
        names = error_words(exc, self.names)
        status = _status_of(exc)
        headers = headers_of(exc)
        return ProviderError(
            self._hide(brief(exc)),
            retryable=self._may_succeed(exc, status, names, headers),
            provider=self.provider,
            status_code=status,
            retry_after=wait_hint(headers, _body_of(exc), limited=status == _TOO_MANY),
            error_type=names[0] if names else None,
            request_id=_request_id(exc, headers),
        )

    def _may_succeed(
        self,
        exc: BaseException,
        status: int | None,
        names: Sequence[str],
        headers: Mapping[str, str],
    ) -> bool:
        if not self.permanent.isdisjoint(names):
            return False
        if (word := headers.get("x-should-retry")) in ("true", "false"):
            return word == "true"
        if status is None and not self.connection.isdisjoint(_lineage(exc)):
            return not _cannot_be_sent(exc)
        return status in self.statuses or not self.retryable.isdisjoint(names)

    def _hide(self, text: str) -> str:
        """Return an error text without secrets, not longer than anyone reads."""
        for secret in self.secrets():
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, _HIDDEN)
        return text if len(text) <= MAX_ERROR_TEXT else f"{text[:MAX_ERROR_TEXT]}..."


def headers_of(exc: BaseException) -> dict[str, str]:
    """Return the headers of an error's response in lower case; empty when it has none."""
    headers = getattr(getattr(exc, "response", None), "headers", None)
    items = getattr(headers, "items", None)
    if not callable(items):
        return {}
    try:
        return {str(key).lower(): str(value) for key, value in items()}
    except (TypeError, ValueError):
        return {}


def accepts(method: Callable[..., Any], keyword: str) -> bool:
    """Tell whether a bound method takes this keyword; one that does not say counts as yes."""
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return True
    return keyword in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def given(**values: Any) -> dict[str, Any]:
    """Return those keyword arguments that are not None: options pass only when set."""
    return {key: value for key, value in values.items() if value is not None}


def chosen(context: AIContext, config: Any, name: str) -> Any:
    """Return a setting of the call: what the context says, else what the config says.

    A field the context was not given explicitly gives way to a config that was given its own
    explicitly; both have defaults, which say nothing about what anybody wants.
    """
    said = name in context.model_fields_set or name not in config.model_fields_set
    return getattr(context if said else config, name)


def clean_api_base(url: str | None) -> str | None:
    """Return a config's ``api_base`` without a slash at its end, for a pydantic validator.

    Raises:
        ValueError: It is more, or less, than scheme, host and port.
    """
    if url is None:
        return None
    if _API_BASE.fullmatch(url) is None:
        raise ValueError("api_base is scheme, host and port, such as https://proxy.example:8443")
    return url.rstrip("/")


async def close_sdk(thing: Any) -> None:
    """Close a client or a stream by its ``close`` or ``aclose``, whichever it has.

    Nothing to call, or a call that gives nothing to await, is fine. Idempotent where the
    thing is.
    """
    close = getattr(thing, "close", None) or getattr(thing, "aclose", None)
    if close is None:
        return
    closing = close()
    if inspect.isawaitable(closing):
        await closing


@asynccontextmanager
async def open_stream(stream: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """Give the items of an SDK stream; leaving the block closes it on the wire, in any case.

    Use it as ``async with open_stream(stream) as chunks: async for chunk in chunks``.
    """
    items = aiter(stream)
    try:
        yield items
    finally:
        # An SDK's stream hands out an iterator of its own; both hold on to the connection.
        for thing in (items, stream):
            try:
                await close_sdk(thing)
            except Exception as exc:
                # The answer has come, or its failure has: this one is of no use to anybody.
                logger.debug("closing a stream failed", exc_info=exc)


_API_BASE = re.compile(r"https?://[^/?#@\s]+/?", re.ASCII | re.IGNORECASE)
_DATA_URL = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?(?P<options>(;[^;,]*)*),", re.ASCII)


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return ``(mime type, base64 text)`` of a ``data:`` URL that carries base64.

    None for every other URL, one that is not well-formed included. The type is in lower case
    and ``text/plain`` when the URL names none, as RFC 2397 says.
    """
    found = _DATA_URL.match(url)
    if found is None or ";base64" not in found["options"].lower():
        return None
    return (found["mime"] or "text/plain").lower(), url[found.end() :]


def _lineage(exc: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(exc).__mro__}


def _cannot_be_sent(exc: BaseException | None) -> bool:
    """Tell whether a request failed before the network had a part in it."""
    for _ in range(5):
        if exc is None:
            return False
        if not _UNSENDABLE.isdisjoint(_lineage(exc)):
            return True
        exc = exc.__cause__
    return False


def _status_of(exc: BaseException) -> int | None:
    for name in ("status_code", "code"):
        value = getattr(exc, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
    return None


def _body_of(exc: BaseException) -> Any:
    body = getattr(exc, "body", None)
    return getattr(exc, "details", None) if body is None else body


def error_words(exc: BaseException, fields: Sequence[str]) -> list[str]:
    """Return the kinds an error goes by, from its attributes and its body, without doubles."""
    body = _body_of(exc)
    inner = body.get("error") if isinstance(body, dict) else None
    sources = [inner if isinstance(inner, dict) else body, exc]
    found: list[str] = []
    for name in fields:
        for source in sources:
            value = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
            if isinstance(value, str) and value and value not in found:
                found.append(value)
    return found


def _request_id(exc: BaseException, headers: Mapping[str, str]) -> str | None:
    own = getattr(exc, "request_id", None)
    if isinstance(own, str) and own:
        return own
    return headers.get("request-id") or headers.get("x-request-id")
