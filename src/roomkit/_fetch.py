"""Fetching what a message refers to: bounded, guarded, credentials to their own host only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from roomkit._http import quiet_loggers
from roomkit._lazy import require
from roomkit._urls import SafeURL, check_url
from roomkit.exceptions import MediaFetchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import httpx

    from roomkit._urls import Resolver

MAX_BYTES = 10 * 1024 * 1024
TIMEOUT = 10.0
MAX_REDIRECTS = 3

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """What was fetched.

    Attributes:
        data: The bytes.
        mime_type: What the server says they are, in lower case without parameters.
    """

    data: bytes = field(repr=False)
    mime_type: str


async def fetch_media(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth_hosts: Collection[str] = (),
    allow_hosts: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
    schemes: Collection[str] = ("https", "http"),
    resolver: Resolver | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FetchedMedia:
    """Fetch a URL that came with a message, as safely as that can be done.

    Only public hosts are asked (see ``allow_hosts``), at an address that was looked at; the
    same holds for each of at most 3 redirects. Proxies of the environment are not used.

    Args:
        url: The URL.
        headers: The vendor's credentials, such as ``{"authorization": "Bearer ..."}``.
        auth_hosts: The hosts that get them, and nobody else: not even the target of a
            redirect. Over plain http they go only to hosts in ``allow_hosts`` too.
        allow_hosts: Hosts that may be private, such as a simulator's ``127.0.0.1:8080``.
        max_bytes: What is longer is refused, before it is read where the server says so.
        timeout: Seconds for everything together.
        schemes: The schemes allowed.
        resolver: Looks hosts up; the system's by default.
        transport: What carries the requests, for tests.

    Raises:
        UnsafeURLError: The URL, or a redirect, leads where it must not.
        MediaFetchError: Too long, too slow, refused or not there; ``retryable`` says whether
            another try may help. The text names no URL.
        MissingDependencyError: httpx is not installed.
    """
    httpx = require("httpx", user="fetch_media", extra="httpx")
    quiet_loggers()
    try:
        async with asyncio.timeout(timeout):
            client = httpx.AsyncClient(
                timeout=timeout, transport=transport, trust_env=False, follow_redirects=False
            )
            async with client:
                fetch = _Fetch(client, headers or {}, auth_hosts, allow_hosts, max_bytes)
                return await fetch.follow(url, schemes, resolver)
    except (TimeoutError, httpx.TimeoutException):
        raise MediaFetchError("the media did not come in time", retryable=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        text = f"the media could not be fetched: {type(exc).__name__}"
        raise MediaFetchError(text, retryable=True) from None


class _Fetch:
    """One fetch: where it may go and what goes along."""

    def __init__(
        self,
        client: Any,
        headers: Mapping[str, str],
        auth_hosts: Collection[str],
        allow_hosts: Collection[str],
        max_bytes: int,
    ) -> None:
        self._client = client
        self._headers = dict(headers)
        self._auth_hosts = {host.lower() for host in auth_hosts}
        self._allow_hosts = {host.lower() for host in allow_hosts}
        self._max_bytes = max_bytes

    async def follow(
        self, url: str, schemes: Collection[str], resolver: Resolver | None
    ) -> FetchedMedia:
        for _ in range(MAX_REDIRECTS + 1):
            safe = await check_url(
                url, allow_hosts=self._allow_hosts, schemes=schemes, resolver=resolver
            )
            found = await self._get(safe)
            if isinstance(found, FetchedMedia):
                return found
            url = urljoin(url, found)
        raise MediaFetchError("the media is behind too many redirects", retryable=False)

    async def _get(self, safe: SafeURL) -> FetchedMedia | str:
        """Return the media, or where the server sends us."""
        parts = urlsplit(safe.url)
        address = f"[{safe.address}]" if ":" in safe.address else safe.address
        direct = urlunsplit(
            (safe.scheme, f"{address}:{safe.port}", parts.path or "/", parts.query, "")
        )
        name = parts.netloc.rpartition("@")[2]
        headers = {"host": name, "accept-encoding": "identity"}
        if self._may_know(safe):
            headers.update(self._headers)
        request = self._client.stream(
            "GET", direct, headers=headers, extensions={"sni_hostname": safe.host}
        )
        async with request as response:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return str(response.headers["location"])
            self._check(response)
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > self._max_bytes:
                    raise _too_long()
            mime = str(response.headers.get("content-type", "application/octet-stream"))
            return FetchedMedia(bytes(data), mime.partition(";")[0].strip().lower())

    def _may_know(self, safe: SafeURL) -> bool:
        """Return whether this host may see the vendor's credentials."""
        names = {safe.host, f"{safe.host}:{safe.port}"}
        if not names & self._auth_hosts:
            return False
        return safe.scheme == "https" or bool(names & self._allow_hosts)

    def _check(self, response: Any) -> None:
        status = response.status_code
        if status != 200:
            raise MediaFetchError(
                f"the media's server answered {status}",
                retryable=status in (408, 429) or status >= 500,
                status_code=status,
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            raise MediaFetchError("the media came compressed, unasked", retryable=False)
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise _too_long()


def _too_long() -> MediaFetchError:
    return MediaFetchError("the media is longer than allowed", retryable=False)
