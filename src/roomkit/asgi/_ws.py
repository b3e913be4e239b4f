"""The WebSocket protocol ``roomkit.v1``, as a plain ASGI endpoint.

Browsers and programs join rooms through a ``WebSocketChannel``: messages, typing, read
receipts, answers while they are made, and what was missed after a reconnect. The frames are
described in ``docs/websocket-protocol.md``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet, close_all
from roomkit._clock import SystemClock
from roomkit._ids import new_id
from roomkit._logging import ids
from roomkit.asgi._ws_auth import Authenticator, ClientGone, Origins, Refusal, check_query
from roomkit.asgi._ws_frames import PROTOCOL
from roomkit.asgi._ws_limits import Bounds, Close
from roomkit.asgi._ws_requests import Reasons, Services
from roomkit.asgi._ws_rooms import Rooms
from roomkit.asgi._ws_session import Session
from roomkit.asgi._ws_view import METADATA_KEYS
from roomkit.exceptions import ChannelNotRegisteredError, KitClosedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from roomkit._clock import Clock
    from roomkit.asgi._types import Receive, Scope, Send
    from roomkit.asgi._ws_auth import Authenticate
    from roomkit.asgi._ws_session import End
    from roomkit.asgi.principal import Principal
    from roomkit.core.framework import RoomKit
    from roomkit.models.event import RoomEvent

logger = logging.getLogger("roomkit.asgi.ws")

CLOSE_TIMEOUT = 5.0
"""Seconds all clients together may take to be told that the endpoint closes."""


@dataclass(frozen=True, slots=True)
class WebSocketStats:
    """How an endpoint is doing.

    Attributes:
        connections: Clients that are in now.
        rooms: Rooms with at least one of them.
        too_slow: Clients closed so far because they did not take what was sent.
        dropped: Pieces and ephemeral events left out so far because a client was slow.
    """

    connections: int
    rooms: int
    too_slow: int
    dropped: int


class WebSocketEndpoint:
    """Serves ``roomkit.v1`` to the clients of a kit's WebSocket channels.

    Args:
        kit: The kit.
        authenticate: ``(scope) -> Principal | None``, plain or async, called with the ASGI
            scope of the handshake. When it returns None and the client sent no
            ``Authorization`` header, the client may send a token in its first frame: the
            callback is called again, with the token as ``Authorization: Bearer`` header and
            as ``scope["roomkit.token"]``. Without a callback nobody gets in.
        allowed_origins: Web pages that may connect, such as ``https://chat.example.org``;
            empty: those of the host asked for; ``*``: any.
        clock: Whose time counts. Default: the system's.
        metadata_keys: What clients get of an event's metadata.
        **bounds: See ``Bounds``.

    Raises:
        ConfigurationError: An allowed origin is none.
        InvalidInputError: A bound is not above 0.
        TypeError: There is no bound of a given name.
    """

    def __init__(
        self,
        kit: RoomKit,
        *,
        authenticate: Authenticate | None = None,
        allowed_origins: Iterable[str] = (),
        clock: Clock | None = None,
        metadata_keys: Collection[str] = METADATA_KEYS,
        **bounds: Any,
    ) -> None:
        clock = clock or SystemClock()
        self._kit = kit
        self._bounds = Bounds(**bounds)
        self._origins = Origins(allowed_origins)
        self._authenticator = Authenticator(authenticate, self._bounds, clock)
        self._tasks = TaskSet("roomkit-ws")
        self._rooms = Rooms(
            kit,
            clock=clock,
            poll=self._bounds.poll,
            metadata_keys=frozenset(metadata_keys),
            tasks=self._tasks,
        )
        self._services = Services(kit, self._rooms, Reasons(), self._bounds, clock)
        self._sessions: dict[str, Session] = {}
        self._of_participant: Counter[tuple[str, str]] = Counter()
        self._waiting: set[asyncio.Timeout] = set()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._too_slow = 0
        self._dropped = 0

    def __repr__(self) -> str:
        return f"WebSocketEndpoint(connections={len(self._sessions)}, rooms={len(self._rooms)})"

    @property
    def stats(self) -> WebSocketStats:
        """How it is doing."""
        dropped = self._dropped + sum(session.dropped for session in self._sessions.values())
        return WebSocketStats(len(self._sessions), len(self._rooms), self._too_slow, dropped)

    async def start(self) -> None:
        """Hear from now on what is delivered to the kit's WebSocket channels.

        Where several processes share rooms each should call it as it starts: deliveries of a
        room are made in one process, and that one tells the others. Without it an endpoint
        begins with its first client, and other processes notice by their poll.
        """
        for channel in self._kit.list_channels():
            await self._rooms.listen(channel.channel_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, channel_id: str) -> None:
        """Serve one client of a channel until one side ends; see the ASGI specification."""
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        self._open += 1
        self._idle.clear()
        try:
            await self._serve(scope, receive, send, channel_id)
        except ClientGone:
            logger.debug("a client left before it was in")
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def close(self) -> None:
        """End every connection (1001) and listen to no room any more. Idempotent."""
        self._closing = True
        for session in list(self._sessions.values()):
            session.end(Close.GOING_AWAY, "going away")
        now = asyncio.get_running_loop().time()
        for limit in list(self._waiting):
            limit.reschedule(now)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("%d WebSocket clients did not end in time", self._open)
        await close_all([self._rooms.close, self._tasks.cancel])

    # -- one client ------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send, channel_id: str) -> None:
        offered = scope.get("subprotocols") or ()
        handshake = _Handshake(send, PROTOCOL if PROTOCOL in offered else None)
        try:
            self._check(scope, offered)
            principal = await self._authenticator.by_handshake(scope)
            await handshake.accept()
            if principal is None:
                principal = await self._first_frame(scope, receive)
            await self._let_in(channel_id, principal)
        except Refusal as refusal:
            await handshake.refuse(refusal)
            return
        await self._run(Session(self._services, channel_id, principal, receive, send), channel_id)

    async def _first_frame(self, scope: Scope, receive: Receive) -> Principal:
        """Wait for a client to say who it is, unless the endpoint closes meanwhile."""
        try:
            async with asyncio.timeout(None) as limit:
                self._waiting.add(limit)
                try:
                    return await self._authenticator.by_first_frame(scope, receive)
                finally:
                    self._waiting.discard(limit)
        except TimeoutError:
            raise Refusal(Close.GOING_AWAY, "going away") from None

    def _check(self, scope: Scope, offered: Collection[str]) -> None:
        """Refuse what can be refused without asking who it is."""
        if self._closing:
            raise Refusal(Close.GOING_AWAY, "going away")
        if self._open > self._bounds.max_connections:
            logger.warning("a WebSocket was refused: %d are open", self._open - 1)
            raise Refusal(Close.TOO_SLOW, "too many connections; try again later")
        self._origins.check(scope)
        check_query(scope)
        if offered and PROTOCOL not in offered:
            raise Refusal(Close.PROTOCOL, f"this endpoint speaks {PROTOCOL}")

    async def _let_in(self, channel_id: str, principal: Principal) -> None:
        """Refuse a client that is known by now, or make ready for it."""
        if self._closing:
            raise Refusal(Close.GOING_AWAY, "going away")
        of_one = self._of_participant[channel_id, principal.participant_id]
        if of_one >= self._bounds.max_per_participant:
            raise Refusal(Close.TOO_SLOW, "too many connections of yours")
        try:
            if not await self._rooms.listen(channel_id):
                raise Refusal(Close.FORBIDDEN, "not here")
        except KitClosedError:
            raise Refusal(Close.GOING_AWAY, "going away") from None

    async def _run(self, session: Session, channel_id: str) -> None:
        session_id = new_id()
        person = (channel_id, session.principal.participant_id)
        self._sessions[session_id] = session
        self._of_participant[person] += 1
        try:
            # Known to the channel, for its count and for who watches connections come and go;
            # what is to be shown comes from the hubs.
            await self._kit.connect_websocket(
                channel_id,
                session_id,
                _nothing,
                room_id=(),
                on_close=lambda _id, _reason: session.end(Close.GOING_AWAY, "going away"),
            )
            end = await session.run()
            self._note(end, channel_id)
        except (KitClosedError, ChannelNotRegisteredError):
            logger.debug("a client came as its channel went")
        finally:
            del self._sessions[session_id]
            self._dropped += session.dropped
            self._of_participant[person] -= 1
            if not self._of_participant[person]:
                del self._of_participant[person]
            await self._disconnect(channel_id, session_id)

    async def _disconnect(self, channel_id: str, session_id: str) -> None:
        try:
            await self._kit.disconnect_websocket(channel_id, session_id)
        except KitClosedError:
            logger.debug("a client left as the kit closed")

    def _note(self, end: End, channel_id: str) -> None:
        if end.code is Close.TOO_SLOW:
            self._too_slow += 1
        if end.code is not None:
            logger.info(
                "a WebSocket client was closed with %d: %s",
                end.code,
                end.reason,
                extra=ids(channel_id=channel_id),
            )


class _Handshake:
    """The answer to a client's handshake.

    A refused client is accepted all the same: of a refused handshake it could not read why.
    """

    def __init__(self, send: Send, subprotocol: str | None) -> None:
        self._send = send
        self._message: dict[str, Any] = {"type": "websocket.accept"}
        if subprotocol is not None:
            self._message["subprotocol"] = subprotocol
        self._accepted = False

    async def accept(self) -> None:
        """Accept it, once.

        Raises:
            ClientGone: Nobody is there any more.
        """
        if not self._accepted:
            self._accepted = True
            await self._tell(self._message)

    async def refuse(self, refusal: Refusal) -> None:
        """Accept it and close it.

        Raises:
            ClientGone: Nobody is there any more.
        """
        await self.accept()
        await self._tell(
            {"type": "websocket.close", "code": int(refusal.code), "reason": str(refusal)}
        )

    async def _tell(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except Exception as exc:
            # Each server has its own error for a client that has left.
            raise ClientGone from exc


def _nothing(_connection_id: str, _event: RoomEvent) -> None:
    """Send nothing."""
