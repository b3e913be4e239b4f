"""What the cloud speech vendors share: requests, connections, and what their refusals mean.

Whatever goes wrong is a ProviderError that names the vendor, the cause and the cure, and no
secret. What is said over an open WebSocket is in ``_cloud_socket``.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from roomkit._http import base_url, quiet_loggers, retry_after
from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError, ProviderError
from roomkit.voice._cloud_socket import (
    CLOSE_SECONDS,
    CloudSocket,
    SocketLost,
    clean,
    json_or_none,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import ModuleType

    import httpx

LONGEST_AUDIO = 64 * 1024 * 1024
"""Bytes of an answer; more is no speech anybody asked for."""

_SHORT_BODY = 64 * 1024
_LONGEST_FRAME = 16 * 1024 * 1024
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_NOT_IMPLEMENTED = 501
_CURES = {
    400: "check the format of the audio and the config",
    401: "check the api_key",
    402: "the account has no credit left",
    403: "the api_key may not do this",
    404: "check the voice, the model and the base_url",
    429: "too many requests at once; wait, or raise the account's limit",
}


class CloudSpeech:
    """The HTTP half of a speech provider. A provider calls ``_set_up`` in its constructor.

    The client is made by the first request, so that the class works without httpx until then.
    """

    vendor: ClassVar[str]
    """The vendor's name, for people."""

    cures: ClassVar[dict[str, str]] = {}
    """What helps after one of the vendor's own codes."""

    _config: Any
    _client: httpx.AsyncClient | None

    def _set_up(
        self,
        config: Any,
        headers: Mapping[str, str],
        *,
        client: httpx.AsyncClient | None,
        transport: httpx.AsyncBaseTransport | None,
        timeout: float,
        first_answer_seconds: float,
        idle_seconds: float,
    ) -> None:
        """Keep the settings; nothing is opened.

        Raises:
            ConfigurationError: The key cannot stand in a header, or a time is not positive.
        """
        if _HEADER_VALUE.fullmatch(config.api_key) is None:
            raise ConfigurationError(
                f"the api_key for {self.vendor} has characters no key has, such as a line break"
            )
        if min(timeout, first_answer_seconds, idle_seconds) <= 0:
            raise ConfigurationError(f"{type(self).__name__}: every time limit is more than 0")
        self._config = config
        self._headers = dict(headers)
        self._client = client
        self._owns_client = client is None
        self._transport = transport
        self._timeout = timeout
        self._first = first_answer_seconds
        self._idle = idle_seconds

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _root(self) -> str:
        """Return the URL below which the vendor's API lies, without a slash at its end."""
        root: str = self._config.base_url.rstrip("/")
        if self._config.api_base is None:
            return root
        return base_url(self._config.api_base, "") + urlsplit(root).path

    def _socket_url(self, path: str) -> str:
        """Return a URL below the root with the scheme of a WebSocket."""
        scheme, *rest = urlsplit(f"{self._root()}/{path}")
        scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
        return urlunsplit((scheme, *rest))

    def _words(self, body: Any, headers: Mapping[str, str]) -> tuple[str | None, str | None]:
        """Return the vendor's code and explanation in an error answer. Override it."""
        return None, None

    def _get_client(self) -> httpx.AsyncClient:
        """Return the HTTP client; the first call makes it.

        Raises:
            MissingDependencyError: httpx is not installed.
        """
        if self._client is None:
            library = require("httpx", user=type(self).__name__, extra="httpx")
            quiet_loggers()
            client: httpx.AsyncClient = library.AsyncClient(
                base_url=self._root(),
                headers=self._headers,
                timeout=self._timeout,
                transport=self._transport,
            )
            self._client = client
        return self._client

    async def _ask(self, method: str, path: str, **options: Any) -> bytes:
        """Return the body of the vendor's whole answer.

        Args:
            method: The HTTP method.
            path: Below the root.
            options: Of the client's ``build_request``.

        Raises:
            ProviderError: There was no good answer within ``timeout`` seconds.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout):
                async with self._answer(method, path, **options) as answer:
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > LONGEST_AUDIO:
                            raise ProviderError(
                                f"{self.vendor}'s answer is longer than any speech",
                                provider=self.vendor.lower(),
                            )
        except TimeoutError as exc:
            raise self._late(self._timeout) from exc
        return bytes(body)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, *, within: float | None = None, **options: Any
    ) -> AsyncIterator[httpx.Response]:
        """Give a good answer whose body is still to be read; see ``_ask``.

        Args:
            method: The HTTP method.
            path: Below the root.
            within: Seconds until the answer begins.
            options: Of the client's ``build_request``.

        Raises:
            ProviderError: The vendor refused, or the connection failed, then or in the block.
        """
        library: ModuleType = require("httpx", user=type(self).__name__, extra="httpx")
        client = self._get_client()
        headers = {**self._headers, **options.pop("headers", {})}
        answer: httpx.Response | None = None
        try:
            request = client.build_request(
                method, f"{self._root()}/{path}", headers=headers, **options
            )
            answer = await self._sent(client, request, within)
            if not 200 <= answer.status_code < 300:
                raise self._refused(answer.status_code, answer.headers, await _short_body(answer))
            yield answer
        except library.TimeoutException as exc:
            raise self._late(self._timeout) from exc
        except (library.HTTPError, library.InvalidURL) as exc:
            never = library.InvalidURL | library.UnsupportedProtocol
            raise ProviderError(
                f"the connection to {self.vendor} failed ({type(exc).__name__})",
                retryable=not isinstance(exc, never),
                provider=self.vendor.lower(),
            ) from exc
        finally:
            if answer is not None:
                await answer.aclose()

    async def _sent(
        self, client: httpx.AsyncClient, request: httpx.Request, within: float | None
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(within):
                return await client.send(request, stream=True)
        except TimeoutError as exc:
            raise self._late(within or self._timeout) from exc

    def _late(self, seconds: float) -> ProviderError:
        return ProviderError(
            f"{self.vendor} did not answer within {seconds:g} seconds",
            retryable=True,
            provider=self.vendor.lower(),
        )

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Return the error of an answer that is no success."""
        code, message = self._words(json_or_none(body), headers)
        said = f" ({code})" if code else ""
        cure = self.cures.get(code or "") or _CURES.get(status, "")
        if not cure and status >= 500:
            cure = "try again"
        parts = [f"{self.vendor} answered {status}{said}", message or "", cure]
        text = ": ".join(part for part in parts if part)
        return ProviderError(
            clean(text, (self._config.api_key,)),
            retryable=status in _RETRYABLE_STATUSES
            or (status >= 500 and status != _NOT_IMPLEMENTED),
            provider=self.vendor.lower(),
            status_code=status,
            retry_after=retry_after(headers),
            error_type=code,
            request_id=headers.get("dg-request-id") or headers.get("request-id"),
        )

    async def _connect(self, path: str, *, pings: bool) -> CloudSocket:
        """Open a WebSocket below the root.

        Args:
            path: With its query, encoded.
            pings: Whether to look now and then if the other end is still there. It must be off
                where the caller may read slowly: the answers wait behind what is unread.

        Raises:
            MissingDependencyError: websockets is not installed.
            ProviderError: The server refused, cannot be reached, or does not answer.
        """
        user = type(self).__name__
        library = require("websockets.asyncio.client", user=user, extra="websocket")
        errors = require("websockets.exceptions", user=user, extra="websocket")
        quiet_loggers()
        interval = self._idle if pings else None
        headers = {key: self._headers[key] for key in self._headers if key != "Content-Type"}
        connecting = _without_redirects(library.connect)(
            self._socket_url(path),
            additional_headers=headers,
            compression=None,
            open_timeout=self._first,
            ping_interval=interval,
            ping_timeout=interval,
            close_timeout=CLOSE_SECONDS,
            max_size=_LONGEST_FRAME,
        )
        try:
            connection = await connecting
        except errors.InvalidStatus as exc:
            answer = exc.response
            said = {key.lower(): value for key, value in answer.headers.raw_items()}
            raise self._refused(answer.status_code, said, answer.body or b"") from exc
        except TimeoutError as exc:
            raise self._late(self._first) from exc
        except (OSError, EOFError, errors.InvalidHandshake, errors.InvalidURI) as exc:
            raise SocketLost(
                f"the connection to {self.vendor} failed ({type(exc).__name__})",
                retryable=not isinstance(exc, errors.InvalidURI),
                provider=self.vendor.lower(),
            ) from exc
        return CloudSocket(connection, errors, self.vendor, self._idle)

    async def close(self) -> None:
        """Close the connections; a client that was given stays open. Idempotent."""
        client = self._client
        if client is not None and self._owns_client:
            self._client = None
            await client.aclose()


async def _short_body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > _SHORT_BODY:
            break
    return bytes(body)


def _without_redirects(connect: Any) -> Any:
    """Return the library's ``connect`` that follows no redirect: the key goes along with it."""

    class Direct(connect):  # type: ignore[misc]
        """Connects to the given server or not at all."""

        def process_redirect(self, exc: Exception) -> Exception:
            return exc

    return Direct
