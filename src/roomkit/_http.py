"""The one way out over HTTP: one client a provider, one table of failures, nothing leaked.

``VendorHTTP`` is what a provider inherits beside its kind. It owns the client and turns
whatever goes wrong into a ``ProviderDeliveryError`` with a short code and the facts that
steer a retry; ``answered`` makes that a ``ProviderResult``. A vendor's module only says what a
request looks like and what its error bodies mean.

httpx is the extra ``httpx``; nothing else in the package imports it, bar ``sources.sse``, whose
contract has it as a module attribute.
"""

from __future__ import annotations

import json
import logging
import math
import time
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._lazy import require
from roomkit._logging import brief
from roomkit.exceptions import ProviderDeliveryError
from roomkit.models.delivery import ProviderResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from types import ModuleType

    import httpx

logger = logging.getLogger("roomkit.providers.http")

_LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read as JSON; vendors answer with a few hundred."""

_LONGEST_DETAIL = 500
"""Characters of a vendor's explanation that are kept."""


class Reply:
    """A vendor's answer. Its representation shows the status only.

    Attributes:
        status: The HTTP status.
        headers: Case-insensitive.
        json: The body read as JSON; None when it is none.
    """

    __slots__ = ("headers", "json", "status")

    def __init__(self, response: httpx.Response) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.json: Any = _json(response)

    def __repr__(self) -> str:
        return f"Reply({self.status})"

    @property
    def object(self) -> dict[str, Any]:
        """The body when it is a JSON object, else an empty one."""
        return self.json if isinstance(self.json, dict) else {}

    def find(self, *path: str | int) -> Any:
        """Return what lies at ``path`` in the JSON body; None when the way ends before."""
        found = self.json
        for step in path:
            if isinstance(step, int):
                found = found[step] if isinstance(found, list) and len(found) > step else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found


class Refusal:
    """What a vendor's error answer means.

    Args:
        code: The short code, such as ``twilio_21211``.
        message: The vendor's explanation; it never goes into a log above DEBUG.
        vendor_code: The vendor's own code.
        retryable: Whether the same request may succeed later; None leaves it to the status.
        retry_after: Seconds the vendor asks to wait.
        details: More for the result's metadata.
    """

    __slots__ = ("code", "details", "message", "retry_after", "retryable", "vendor_code")

    def __init__(
        self,
        code: str | None = None,
        *,
        message: str | None = None,
        vendor_code: str | int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.vendor_code = vendor_code
        self.retryable = retryable
        self.retry_after = retry_after
        self.details = details or {}


class VendorHTTP:
    """The HTTP half of a provider.

    A provider calls ``_open`` in its constructor and ``_call`` to ask the vendor. ``send`` and
    its like are decorated with ``answered``.

    What may be repeated: a 429, an error to connect and the 5xx that are no gateway's
    time-out. A time-out while waiting for the answer, an answer cut off and an unreadable
    2xx are *ambiguous*: the vendor may have accepted.
    """

    timeouts_safe: ClassVar[frozenset[int]] = frozenset()
    """5xx statuses besides 500 to 503 after which this vendor is known to have done nothing."""

    _config: Any
    _client: Any
    _httpx: ModuleType

    def _open(
        self,
        config: Any,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
        extra: str = "httpx",
    ) -> None:
        """Make the client, or take the one given (which is then not closed by ``close``).

        Args:
            config: The vendor's config; its ``timeout`` holds for every request.
            client: A client to use instead of one of our own.
            transport: What carries our own client's requests, for tests.
            headers: Sent with every request.
            extra: The extra of RoomKit to name when httpx is missing.

        Raises:
            MissingDependencyError: httpx is not installed.
        """
        self._config = config
        self._httpx = require("httpx", user=type(self).__name__, extra=extra)
        quiet_loggers()
        self._owns_client = client is None
        self._client = client or self._httpx.AsyncClient(
            timeout=config.timeout,
            transport=transport,
            headers=headers,
            follow_redirects=False,
        )
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _refusal(self, reply: Reply) -> Refusal | None:
        """Return what an error answer means; None leaves it to the status. Override it."""
        return None

    async def _call(self, method: str, url: str, **options: Any) -> Reply:
        """Ask the vendor.

        Args:
            method: ``get``, ``post``, ``put``, ``patch`` or ``delete``.
            url: Where.
            options: Of the client's method: ``json``, ``data``, ``headers``, ...

        Returns:
            A 2xx answer.

        Raises:
            ProviderDeliveryError: Everything else, mapped.
        """
        try:
            response = await getattr(self._client, method.lower())(url, **options)
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as exc:
            status_error = isinstance(exc, self._httpx.HTTPStatusError)
            response = getattr(exc, "response", None) if status_error else None
            if response is None:
                raise self._unreachable(exc) from exc
        except RuntimeError as exc:
            if not self._closed:
                raise
            # httpx's own answer to a request after the end.
            raise failed("closed", retryable=True, provider=self._vendor_name()) from exc
        reply = Reply(response)
        if not 200 <= reply.status < 300:
            raise self._refused(reply)
        return reply

    def _unreachable(self, exc: Exception) -> ProviderDeliveryError:
        """Return the error of a request that got no whole answer."""
        httpx = self._httpx
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.WriteTimeout)
        timed_out = isinstance(exc, httpx.TimeoutException)
        code = "timeout" if timed_out else without_urls(brief(exc))
        never = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
        if isinstance(exc, never):
            return failed(code, retryable=False, provider=self._vendor_name())
        ambiguous = not isinstance(exc, unsent)
        return failed(
            code, retryable=not ambiguous, ambiguous=ambiguous, provider=self._vendor_name()
        )

    def _refused(self, reply: Reply) -> ProviderDeliveryError:
        """Return the error of an answer that is no success."""
        status = reply.status
        said = self._refusal(reply) or Refusal()
        wait = said.retry_after
        if wait is None and status in (429, 503):
            wait = retry_after(reply.headers)
        safe = status in (408, 429) or 500 <= status <= 503 or status in self.timeouts_safe
        ambiguous = status >= 504 and status not in self.timeouts_safe and said.retryable is None
        details: dict[str, Any] = {"status_code": status, **said.details}
        if said.message is not None:
            details["message"] = str(said.message)[:_LONGEST_DETAIL]
        if said.vendor_code is not None:
            details["code"] = said.vendor_code
        return failed(
            said.code or _code_of(status),
            retryable=safe if said.retryable is None else said.retryable,
            ambiguous=ambiguous,
            retry_after=wait,
            status_code=status,
            provider=self._vendor_name(),
            details=details,
        )

    def _unreadable(self, reply: Reply) -> ProviderDeliveryError:
        """Return the error of a success that cannot be read: it may have been done."""
        return failed(
            "invalid_response",
            retryable=False,
            ambiguous=True,
            status_code=reply.status,
            provider=self._vendor_name(),
            details={"status_code": reply.status},
        )

    def _vendor_name(self) -> str:
        name = getattr(self, "name", None)
        return name if isinstance(name, str) else type(self).__name__

    async def close(self) -> None:
        """Close the connections; a client that was given stays open. Idempotent."""
        if self._closed:
            return
        self._closed = True
        close = getattr(self._client, "aclose", None)
        if self._owns_client and close is not None:
            await close()


def failed(
    code: str,
    *,
    retryable: bool,
    ambiguous: bool = False,
    retry_after: float | None = None,
    status_code: int | None = None,
    provider: str = "",
    details: Mapping[str, Any] | None = None,
) -> ProviderDeliveryError:
    """Return an error that carries the result to answer with.

    Args:
        code: The short code.
        retryable: Whether the same request may succeed later.
        ambiguous: The vendor may have accepted.
        retry_after: Seconds to wait.
        status_code: The HTTP status.
        provider: The provider's name.
        details: More for the result's metadata.
    """
    metadata: dict[str, Any] = {**(details or {}), "retryable": retryable}
    if ambiguous:
        metadata["ambiguous"] = True
    if retry_after is not None:
        metadata["retry_after"] = retry_after
    return ProviderDeliveryError(
        code,
        provider=provider,
        retryable=retryable,
        ambiguous=ambiguous,
        retry_after=retry_after,
        status_code=status_code,
        result=ProviderResult(success=False, error=code, metadata=metadata),
    )


def refused(code: str, **details: Any) -> ProviderResult:
    """Return the answer to a message that is not even tried, such as ``empty_message``."""
    return ProviderResult(success=False, error=code, metadata={**details, "retryable": False})


def answered[**P](
    send: Callable[P, Awaitable[ProviderResult]],
) -> Callable[P, Coroutine[Any, Any, ProviderResult]]:
    """Let a provider's method answer with the result of a failure instead of raising it."""

    @wraps(send)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> ProviderResult:
        try:
            return await send(*args, **kwargs)
        except ProviderDeliveryError as exc:
            if exc.result is None:
                raise
            return exc.result

    return wrapper


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Return the seconds a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3).

    Args:
        headers: Case-insensitive, or in lower case.
        now: Unix seconds; the system's clock by default.

    Returns:
        At least 0; None without a header that can be read.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = number(value)
    if seconds is None:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = moment.timestamp() - (time.time() if now is None else now)
    return max(0.0, seconds)


def number(value: Any) -> float | None:
    """Return a finite number that stands in a header or a JSON value; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def base_url(api_base: str | None, default: str) -> str:
    """Return scheme, host and port of a vendor's API, without a slash at the end.

    Args:
        api_base: The config's own, such as a simulator's.
        default: The vendor's.
    """
    return (api_base or default).rstrip("/")


def without_urls(text: str) -> str:
    """Return an error's text without anything that looks like a URL: it may hold a secret."""
    words = text.split()
    if not any("://" in word for word in words):
        return text[:_LONGEST_DETAIL]
    return " ".join("<url>" if "://" in word else word for word in words)[:_LONGEST_DETAIL]


def bare_url(url: str) -> str:
    """Return a URL without userinfo, query and fragment, where secrets stand."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    bare = f"{host.rpartition('@')[2]}{slash}{path}"
    return f"{scheme}://{bare.partition('?')[0].partition('#')[0]}"


def _code_of(status: int) -> str:
    return {400: "invalid_request", 401: "auth_error", 429: "rate_limit"}.get(
        status, f"http_{status}"
    )


def _json(response: httpx.Response) -> Any:
    """Return a body as JSON; None when it is none, or too large to be an answer."""
    body = response.content
    if not body or len(body) > _LONGEST_ANSWER:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


class _Redaction(logging.Filter):
    """Takes queries out of the URLs other libraries log, and drops their wire dumps.

    httpx logs every URL at INFO; httpcore and websockets dump headers and frames at DEBUG,
    tokens and message text among them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(value) for value in record.args)
        return True


def _bare(value: object) -> object:
    """Return a URL without query and userinfo; other values as they are."""
    text = str(value) if type(value).__name__ == "URL" or isinstance(value, str) else ""
    return bare_url(text) if "://" in text else value


_REDACTION = _Redaction()
_NOISY = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "websockets",
    "websockets.client",
    "websockets.server",
)


def quiet_loggers() -> None:
    """Keep secrets out of what the HTTP and WebSocket libraries log. Idempotent."""
    for name in _NOISY:
        logging.getLogger(name).addFilter(_REDACTION)
