"""The app: one ASGI callable in front of a kit."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit._clock import SystemClock
from roomkit._logging import ids, log_failure
from roomkit.asgi._health import Health
from roomkit.asgi._intake import Intake
from roomkit.asgi._life import Life, Phase, speak_lifespan
from roomkit.asgi._pulse import Pulse
from roomkit.asgi._respond import (
    RETRY_AFTER,
    Answer,
    ClientLeft,
    Refused,
    not_found,
    refused,
    respond,
)
from roomkit.asgi._target import check_public_url, path_within
from roomkit.asgi._tokens import UrlTokens
from roomkit.asgi._webhooks import Bounds, Webhooks
from roomkit.asgi._ws import WebSocketEndpoint
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from typing import Self

    from roomkit._clock import Clock
    from roomkit.asgi._tokens import Tokens
    from roomkit.asgi._types import Receive, Scope, Send
    from roomkit.asgi._ws_auth import Authenticate
    from roomkit.core.framework import RoomKit

logger = logging.getLogger("roomkit.asgi")

MIB = 1024 * 1024
LONGEST_TAIL = 2
"""Segments there may be behind ``/webhooks/{channel_id}``: a kind and a token."""


class App:
    """A kit over HTTP and WebSocket, as a plain ASGI 3 callable; made by ``create_app``.

    ``GET`` and ``POST /webhooks/{channel_id}`` (a second segment where a vendor has several
    kinds of callbacks), WebSocket ``/ws/{channel_id}``, ``GET /health/live`` and
    ``GET /health/ready``; everything else is 404.

    A server that speaks lifespan starts and drains the kit. Mounted in another app it is not
    told of lifespan: use ``async with app.lifespan()`` there.
    """

    def __init__(
        self,
        kit: RoomKit,
        *,
        life: Life,
        health: Health,
        webhooks: Webhooks,
        sockets: WebSocketEndpoint,
    ) -> None:
        self._kit = kit
        self._life = life
        self._health = health
        self._webhooks = webhooks
        self._sockets = sockets

    def __repr__(self) -> str:
        return f"App({self._kit!r}, {self._life.phase.name.lower()})"

    @property
    def kit(self) -> RoomKit:
        """The kit."""
        return self._kit

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._life.phase >= Phase.DRAINING

    # -- life ------------------------------------------------------------------------------

    async def startup(self) -> None:
        """Start the kit and listen for its sockets; again does nothing.

        Raises:
            ConfigurationError: The app was shut down before.
            StoreError: The store cannot be opened.
        """
        await self._life.start()
        await self._sockets.start()

    def leave(self) -> None:
        """Say no to ``/health/ready`` from now on, and go on serving.

        For the seconds a load balancer needs to look elsewhere before ``shutdown``.
        """
        self._life.move_to(Phase.LEAVING)

    def stop_accepting(self) -> None:
        """Answer every new webhook and WebSocket with 503; what is in hand goes on."""
        self._life.move_to(Phase.DRAINING)

    async def shutdown(self, *, drain_timeout: float | None = None) -> None:
        """Take nothing new, end connections, let requests and deliveries finish, close the kit.

        Again does nothing; one that was cancelled goes on.

        Args:
            drain_timeout: Seconds for the requests in hand, and then for deliveries. None: as
                ``create_app`` was told.
        """
        await self._life.end(self._sockets.close, drain_timeout)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Self]:
        """Start on entering, shut down on leaving; for apps that are mounted."""
        await self.startup()
        try:
            yield self
        finally:
            await self.shutdown()

    # -- requests --------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; see the ASGI specification."""
        kind = scope["type"]
        if kind == "http":
            with self._life.hand():
                await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "lifespan":
            await speak_lifespan(receive, send, self.startup, self.shutdown)
        else:
            raise ConfigurationError(f"this app does not speak {kind!r}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_within(scope)
        try:
            answer = await self._answer(scope, receive, path)
        except Refused as refusal:
            answer = refusal.answer
            _log_refusal(path, refusal, self._kit)
        except ClientLeft:
            logger.info("a client left before its request was whole")
            return
        except Exception as exc:  # noqa: BLE001 - the server would log what it quotes
            log_failure(logger, exc, "a request failed")
            answer = Answer(500)
        await respond(scope, send, answer)

    async def _answer(self, scope: Scope, receive: Receive, path: str) -> Answer:
        match path.split("/")[1:]:
            case ["health", what]:
                return await self._health.answer(scope["method"], what)
            case ["webhooks", channel_id, *rest] if channel_id and len(rest) <= LONGEST_TAIL:
                if self.draining:
                    raise refused(503, "the app is draining", retry_after=RETRY_AFTER)
                return await self._webhooks.answer(scope, receive, path, channel_id, rest)
            case _:
                raise not_found()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        match path_within(scope).split("/")[1:]:
            case ["ws", channel_id] if channel_id and not self.draining:
                await self._sockets(scope, receive, send, channel_id)
            case _:
                # Before it was accepted: the server answers 403.
                await receive()
                await send({"type": "websocket.close", "code": 1012 if self.draining else 1008})


def _log_refusal(path: str, refusal: Refused, kit: RoomKit) -> None:
    """Log a refusal. Only a registered channel's id is named: a path may say anything."""
    status = refusal.answer.status
    match path.split("/")[1:]:
        case ["webhooks", channel_id, *_] if kit.get_channel(channel_id) is not None:
            where, extra = f"webhook of channel {channel_id}", ids(channel_id=channel_id)
        case _:
            where, extra = "request", {}
    level = logging.DEBUG if status == 404 else logging.INFO if status < 500 else logging.WARNING
    if status == 401:
        # Somebody tries, or a secret is wrong.
        level = logging.WARNING
    logger.log(level, "a %s was answered %d: %s", where, status, refusal.why, extra=extra)


def create_app(
    kit: RoomKit,
    *,
    public_url: str | None = None,
    authenticate: Authenticate | None = None,
    allowed_origins: Iterable[str] = (),
    max_body: int = MIB,
    body_timeout: float = 10.0,
    unsigned: Tokens | None = None,
    clock: Clock | None = None,
    max_requests: int = 1000,
    max_memory: int = 256 * MIB,
    max_backlog: int = 50_000,
    drain_timeout: float = 10.0,
    close_kit: bool = True,
    websocket: Mapping[str, Any] | None = None,
) -> App:
    """Return a kit as an ASGI app, to mount in another one or to serve alone.

    Args:
        kit: The kit. Its channels are looked up at each request, so they may come later.
        public_url: The URL the app is reached at, with the prefix a proxy or mount adds;
            signatures that cover the URL are checked against it. None: the server's scheme
            and the ``Host`` header count, for an app without a proxy in front.
        authenticate: Who a WebSocket client is: ``(scope) -> Principal | None``, plain or
            async. None: nobody gets in.
        allowed_origins: Origins of web pages that may connect; empty: the app's own host.
        max_body: Bytes of one webhook's body; channels of mail have their own 30 MiB.
        body_timeout: Seconds the whole body may take.
        unsigned: Channel id to the secret token (or several) in its URL, ``?token=`` or the
            last segment. Without one the webhook of a vendor that does not sign refuses
            everything.
        clock: Where the time of freshness checks comes from.
        max_requests: Webhooks in hand at once; more are answered 429.
        max_memory: Bytes of all bodies in hand; more are answered 429.
        max_backlog: Accepted messages that may wait; while more do, webhooks are answered 429.
        drain_timeout: Seconds requests may still take at the end, and then deliveries.
        close_kit: Whether the kit is closed at the end; else it is only drained.
        websocket: Further keyword arguments of the WebSocket endpoint: its bounds.

    Raises:
        ConfigurationError: ``public_url`` is no absolute URL, or a token is empty.
    """
    bounds = Bounds(max_body, body_timeout, max_requests, max_memory, max_backlog)
    sockets = {
        **(websocket or {}),
        "authenticate": authenticate,
        "allowed_origins": tuple(allowed_origins),
    }
    tokens = UrlTokens(unsigned or {})
    life = Life(kit, drain_timeout=drain_timeout, close_kit=close_kit)
    return _wired(kit, life, bounds, tokens, check_public_url(public_url), clock, sockets)


def _wired(
    kit: RoomKit,
    life: Life,
    bounds: Bounds,
    tokens: UrlTokens,
    public_url: str | None,
    clock: Clock | None,
    sockets: Mapping[str, Any],
) -> App:
    """Build the parts of an app and put them together."""
    now = clock or SystemClock()
    pulse = Pulse(kit, life.tasks, now)
    webhooks = Webhooks(
        kit,
        Intake(kit, life.tasks, clock=now),
        pulse,
        tokens,
        bounds,
        public_url=public_url,
        clock=now,
    )
    return App(
        kit,
        life=life,
        health=Health(pulse, lambda: life.phase >= Phase.LEAVING),
        webhooks=webhooks,
        sockets=WebSocketEndpoint(kit, clock=clock, **sockets),
    )
