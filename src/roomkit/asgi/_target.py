"""What a request is aimed at: its path within the app, its URL as the vendor knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from roomkit.asgi._respond import refused
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.asgi._types import Scope

MAX_QUERY_FIELDS = 200
"""So many query parameters are read."""

MAX_SEGMENTS = 5
"""No path of ours has more."""


def path_within(scope: Scope) -> str:
    """Return the decoded path below the place the app is mounted at, without a slash at its end.

    Some frameworks leave the mount's path in ``path`` (as ASGI asks), some take it away, and
    some of these add a slash.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path.removesuffix("/")


def check_public_url(url: str | None) -> str | None:
    """Return a base URL without a slash at its end.

    Raises:
        ConfigurationError: It is no absolute http(s) URL, or has a query or fragment.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigurationError(
            "public_url must be the absolute URL this app is reached at, such as "
            "https://hooks.example.org/roomkit"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError("public_url is a prefix: leave out the query and the fragment")
    return url.rstrip("/")


def url_of(scope: Scope, path: str, public_url: str | None) -> str:
    """Return a request's URL, query included, byte for byte as it was called.

    With a public URL nothing the client says about host or scheme counts. Without one, the
    server's scheme and the ``Host`` header do; headers of proxies never.

    Args:
        scope: The request.
        path: Its path within the app.
        public_url: What the app is reached at, as ``check_public_url`` returned it.
    """
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    tail = f"?{query}" if query else ""
    raw = _raw_path(scope)
    if public_url is not None:
        return f"{public_url}{_raw_end(raw, path)}{tail}"
    return f"{scope.get('scheme', 'http')}://{_host(scope)}{raw}{tail}"


def query_of(scope: Scope) -> dict[str, str]:
    """Return the decoded query parameters, the first of each name.

    Raises:
        Refused: There are too many of them.
    """
    text = bytes(scope.get("query_string", b"")).decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise refused(400, "too many query parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers, their names in lower case; several of one name are joined."""
    pairs: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())
    found: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path")
    if raw is None:
        return quote(scope["path"])
    # Some servers leave the query in it.
    return bytes(raw).decode("latin-1").partition("?")[0]


def _raw_end(raw: str, path: str) -> str:
    """Return the end of a raw path that reads as ``path``: the way it was escaped counts."""
    parts = raw.rsplit("/", MAX_SEGMENTS)
    for first in range(len(parts) - 1, 0, -1):
        end = "/" + "/".join(parts[first:])
        if unquote(end).removesuffix("/") == path:
            return end
    return quote(path)


def _host(scope: Scope) -> str:
    for name, value in scope.get("headers", ()):
        if name.lower() == b"host":
            return str(bytes(value).decode("latin-1"))
    server = scope.get("server")
    if not server:
        return "localhost"
    host, port = server
    return str(host) if port is None else f"{host}:{port}"
