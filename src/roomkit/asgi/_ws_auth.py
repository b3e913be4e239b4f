"""Who may connect: the page's origin, and what the application's callback says of the client."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from roomkit._logging import log_failure
from roomkit.asgi._ws_frames import Auth, FrameError, parse, too_long
from roomkit.asgi._ws_limits import Close, within
from roomkit.asgi.principal import Principal
from roomkit.exceptions import ConfigurationError, InvalidReturnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from roomkit._clock import Clock
    from roomkit.asgi._types import Receive, Scope
    from roomkit.asgi._ws_limits import Bounds

    type Authenticate = Callable[[Scope], Principal | Awaitable[Principal | None] | None]

logger = logging.getLogger("roomkit.asgi.ws")

TOKEN_KEY = "roomkit.token"  # nosec B105 - the name of a key
"""Where the callback finds the token of a first frame in its scope, besides the header."""

_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_SECRET_PARAMETERS = frozenset({"auth", "authorization", "jwt", "api_key", "apikey", "secret"})
_LONGEST_QUERY = 16 * 1024


class Refusal(Exception):
    """A client does not get in.

    Attributes:
        code: The close code.
        reason: Why, for the client.
    """

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ClientGone(Exception):
    """The client left before it was in."""


class Origins:
    """Knows which web pages may connect.

    A browser names the page's origin, so that a foreign page cannot use the cookies of
    somebody who visits it. Clients that are no browsers name none and are let through.

    Args:
        allowed: Origins such as ``https://chat.example.org``; ``*`` for any; empty for pages
            of the host that was asked for.

    Raises:
        ConfigurationError: One of them is no origin.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._any = False
        self._allowed: set[tuple[str, str]] = set()
        for given in (allowed,) if isinstance(allowed, str) else allowed:
            if given == "*":
                self._any = True
                continue
            origin = _origin(given)
            if origin is None:
                raise ConfigurationError(
                    f"allowed_origins: {given!r} is no origin; write scheme://host[:port]"
                )
            self._allowed.add(origin)

    def check(self, scope: Scope) -> None:
        """Return when the client's origin may connect.

        Raises:
            Refusal: (4403) It may not.
        """
        given = headers_of(scope, b"origin")
        if not given or self._any:
            return
        origin = _origin(given[0]) if len(given) == 1 else None
        if origin is not None and (origin in self._allowed or self._is_own(origin, scope)):
            return
        logger.warning("a WebSocket of a foreign origin was refused; see allowed_origins")
        raise Refusal(Close.FORBIDDEN, "this origin may not connect")

    def _is_own(self, origin: tuple[str, str], scope: Scope) -> bool:
        hosts = headers_of(scope, b"host")
        if self._allowed or len(hosts) != 1:
            return False
        scheme, address = origin
        return _address(hosts[0].lower(), scheme) == address


def _origin(text: str) -> tuple[str, str] | None:
    """Return an origin as scheme and address, its default port left out."""
    try:
        parts = urlsplit(text.strip().lower())
        usable = parts.scheme and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in text:
        return None
    return parts.scheme, _address(parts.netloc, parts.scheme)


def _address(host: str, scheme: str) -> str:
    return host.removesuffix(f":{_PORTS.get(scheme, '')}")


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def check_query(scope: Scope) -> None:
    """Refuse a URL with a secret in it: servers and proxies write URLs down.

    Raises:
        Refusal: (4401) It has one.
    """
    query = scope.get("query_string", b"")
    names: set[str] = set()
    if len(query) <= _LONGEST_QUERY:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        names = {name.lower() for name, _ in pairs}
    if len(query) > _LONGEST_QUERY or any(
        "token" in name or name in _SECRET_PARAMETERS for name in names
    ):
        logger.warning(
            "a WebSocket with a token in its URL was refused; send it in a header or in the "
            "first frame, and change it: URLs are logged"
        )
        raise Refusal(Close.NOT_AUTHENTICATED, "no tokens in the URL")


class Authenticator:
    """Asks the application who a client is.

    Args:
        authenticate: ``(scope) -> Principal | None``, plain or async; None lets nobody in.
        bounds: How long it may take, and how long a first frame may be.
        clock: Whose time counts.
    """

    def __init__(self, authenticate: Authenticate | None, bounds: Bounds, clock: Clock) -> None:
        self._authenticate = authenticate
        self._bounds = bounds
        self._clock = clock
        if authenticate is None:
            logger.info("no authenticate callback was given: WebSockets are refused (4401)")

    async def by_handshake(self, scope: Scope) -> Principal | None:
        """Return who a client is by its handshake; None when a first frame has to tell.

        Raises:
            Refusal: Nobody gets in, or its ``Authorization`` header did not convince.
        """
        principal = await self._ask(scope)
        if principal is None and headers_of(scope, b"authorization"):
            raise Refusal(Close.NOT_AUTHENTICATED, "not authenticated")
        return principal

    async def by_first_frame(self, scope: Scope, receive: Receive) -> Principal:
        """Return who a client is by the token in its first frame.

        Raises:
            Refusal: It sent none in time, or the token did not convince.
            ClientGone: It left.
        """
        try:
            message = await within(self._clock, self._bounds.auth_timeout, receive())
        except TimeoutError:
            raise Refusal(Close.NOT_AUTHENTICATED, "no auth frame came in time") from None
        if message["type"] != "websocket.receive":
            raise ClientGone
        text = message.get("text") or ""
        if too_long(text, self._bounds.max_frame):
            raise Refusal(Close.TOO_BIG, "the frame is too long")
        try:
            frame = parse(text)
        except FrameError:
            frame = None
        if not isinstance(frame, Auth):
            raise Refusal(Close.NOT_AUTHENTICATED, "the first frame must be auth")
        principal = await self._ask(_with_token(scope, frame.token))
        if principal is None:
            raise Refusal(Close.NOT_AUTHENTICATED, "not authenticated")
        return principal

    async def _ask(self, scope: Scope) -> Principal | None:
        if self._authenticate is None:
            raise Refusal(Close.NOT_AUTHENTICATED, "not authenticated")
        try:
            answer: Any = self._authenticate(scope)
            if isawaitable(answer):
                answer = await within(self._clock, self._bounds.auth_timeout, answer)
            if answer is not None and not isinstance(answer, Principal):
                raise InvalidReturnError(
                    f"authenticate returned {type(answer).__name__}, not Principal or None"
                )
        except Exception as exc:  # noqa: BLE001 - the application's own callback
            log_failure(logger, exc, "the authenticate callback failed")
            raise Refusal(Close.FAILED, "authentication failed") from None
        return answer


def _with_token(scope: Scope, token: str) -> Scope:
    """Return the scope as if the client had sent its token in the usual header."""
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"authorization"]
    headers.append((b"authorization", f"Bearer {token}".encode()))
    return {**scope, "headers": headers, TOKEN_KEY: token}
