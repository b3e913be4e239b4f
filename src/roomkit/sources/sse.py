"""Messages from a server-sent event stream (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from roomkit._http import bare_url, quiet_loggers
from roomkit._logging import ids
from roomkit.exceptions import MissingDependencyError, ProviderError
from roomkit.models.delivery import InboundMessage
from roomkit.sources.base import (
    BaseSourceProvider,
    EmitCallback,
    SourceStatus,
    message_from_json,
)

if TYPE_CHECKING:
    from roomkit._clock import Clock

try:
    import httpx
    from httpx_sse import aconnect_sse

    HAS_SSE = True
except ImportError:
    httpx = None  # type: ignore[assignment]
    aconnect_sse = None  # type: ignore[assignment]
    HAS_SSE = False

__all__ = [
    "HAS_SSE",
    "SSEEventParser",
    "SSESource",
    "aconnect_sse",
    "default_json_parser",
    "httpx",
]

SSEEventParser = Callable[[str, str, str | None], InboundMessage | None]
"""Makes a message of an event (its name, data and id); None means: skip it."""

MESSAGE_EVENTS = frozenset({"message", "msg", "chat", ""})
"""The events ``default_json_parser`` reads."""

_OK = 200
_NO_CONTENT = 204
_TOO_MANY = 429
_SERVER_ERROR = 500


def default_json_parser(channel_id: str) -> SSEEventParser:
    """Return a parser of events whose data is JSON; see ``message_from_json``.

    It reads events named ``message``, ``msg``, ``chat`` or nothing. Where the object has no
    ``external_id`` the event's id is taken. It never raises.

    Args:
        channel_id: The channel the messages come by.
    """

    def parse(event: str, data: str, event_id: str | None) -> InboundMessage | None:
        if event not in MESSAGE_EVENTS:
            return None
        return message_from_json(channel_id, data, external_id=event_id or None)

    return parse


class SSESource(BaseSourceProvider):
    """Reads an event stream and emits its messages in order.

    The id of the last event that was dealt with is kept and sent as ``Last-Event-ID`` with
    the next connection, so that the server can go on where the stream broke off. An event
    whose processing was cut off comes again then: at least once, never skipped.

    The stream ends cleanly when the server ends it or answers 204; everything else that ends
    it is raised, and the kit connects again.

    Args:
        url: ``http://`` or ``https://``. It is part of ``name``, which appears in framework
            events: put secrets into ``headers``.
        channel_id: The channel the messages come by.
        parser: Makes messages of events; default ``default_json_parser``. An event it fails
            on is logged, counted and skipped.
        headers: Sent with the request.
        params: Added to the query of the url.
        timeout: Seconds to connect, and the longest silence of the server (comments count
            as signs of life).
        last_event_id: Where to begin.
        clock: What the times of ``healthcheck`` are read from.
    """

    _log: ClassVar[logging.Logger] = logging.getLogger("roomkit.sources.sse")

    def __init__(
        self,
        url: str,
        channel_id: str,
        *,
        parser: SSEEventParser | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        timeout: float = 30.0,
        last_event_id: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock=clock)
        quiet_loggers()
        self._url = url
        self._channel_id: str = channel_id
        self._parser = parser or default_json_parser(channel_id)
        self._headers = headers or {}
        self._params = params or {}
        self._timeout = timeout
        self._last_event_id = last_event_id

    @property
    def name(self) -> str:
        """Return ``sse:<url>``, without what may be a secret in it: userinfo and query."""
        return f"sse:{bare_url(self._url)}"

    @property
    def last_event_id(self) -> str | None:
        """Return the id of the last event that was dealt with, if the server gave any."""
        return self._last_event_id

    async def start(self, emit: EmitCallback) -> None:
        """Open the stream and emit each event's message until stopped or until it ends.

        Raises:
            MissingDependencyError: httpx or httpx-sse is not installed.
            ProviderError: The server answered with another status than 200 and 204; redirects
                are not followed, so that headers given for one address reach no other.
            Exception: The connection failed or was lost.
        """
        if not HAS_SSE:
            raise _missing()
        await self._run(lambda: self._session(emit))

    async def _session(self, emit: EmitCallback) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=self._timeout))
            stream = aconnect_sse(
                client,
                "GET",
                self._url,
                headers=self._request_headers(),
                params=self._request_params(),
            )
            event_source = await self._or_stop(stack.enter_async_context(stream))
            response = getattr(event_source, "response", None)
            status = getattr(response, "status_code", _OK)
            if status == _NO_CONTENT:
                return
            if isinstance(status, int) and status != _OK:
                raise _unexpected(status)
            self._set_status(SourceStatus.CONNECTED)
            self._log.info("source connected", extra=ids(channel_id=self._channel_id))
            await self._receive_loop(event_source, emit)

    def _request_headers(self) -> dict[str, str]:
        headers = dict(self._headers)
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id
        return headers

    def _request_params(self) -> Any:
        """Return the query to send; httpx would drop the url's own in favour of this one."""
        if not self._params:
            return None
        own = parse_qsl(urlsplit(self._url).query, keep_blank_values=True)
        return [*own, *self._params.items()] if own else self._params

    async def _receive_loop(self, event_source: Any, emit: EmitCallback) -> None:
        events = aiter(event_source.aiter_sse())
        try:
            while not self._should_stop():
                try:
                    event = await self._or_stop(anext(events))
                except StopAsyncIteration:
                    return
                message = self._parsed(self._parser, event.event, event.data, event.id)
                if message is not None:
                    await self._pass_on(message, emit)
                # Only now: an event cut off by a cancellation must come again.
                if event.id:
                    self._last_event_id = event.id
        finally:
            if (close := getattr(events, "aclose", None)) is not None:
                await close()


def _missing() -> MissingDependencyError:
    error = MissingDependencyError("httpx-sse", user="SSESource", extra="sse")
    error.msg = (
        "httpx and httpx-sse are required for SSESource. "
        "Install them with: pip install 'roomkit[sse]'"
    )
    return error


def _unexpected(status: int) -> ProviderError:
    return ProviderError(
        f"the server answered with HTTP status {status} instead of an event stream",
        provider="sse",
        status_code=status,
        retryable=status == _TOO_MANY or status >= _SERVER_ERROR,
    )
