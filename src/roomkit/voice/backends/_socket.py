"""One face for the WebSocket connections people have: of websockets, Starlette and plain ASGI.

Nothing here imports one of them. Whatever they raise becomes ``ConnectionLost``, so nobody
above has to know their errors.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

GOING_AWAY = 1001
"""Close code: the backend closes."""
TOO_BIG = 1009
"""Close code: a frame larger than allowed."""
FAILED = 1011
"""Close code: our own side failed."""
BUSY = 1013
"""Close code: no room for one more, or too slow; try again later."""
BAD_START = 4400
"""Close code: the first frame asks for something there is not."""
UNAUTHORIZED = 4401
"""Close code: not let in."""
FORBIDDEN = 4403
"""Close code: let in, but no session for them."""
START_TIMEOUT = 4408
"""Close code: no ``start`` in time."""
SILENT = 4409
"""Close code: nothing was heard of the client for too long."""


class ConnectionLost(Exception):
    """The other side has gone; the text is the kind of the error only."""


@dataclass(frozen=True)
class VoiceHandshake:
    """What is known of a client that wants a session.

    Attributes:
        path: The path it asked for, without the query.
        headers: Of the upgrade request, by lower-case name.
        room: The room named in ``start``, when one was.
        token: The token of ``start``: a browser can set no headers.
        parameters: What else came with ``start``: Twilio's ``customParameters``.
        codec: How it sends and wants audio: ``pcm_s16le`` or ``mulaw``.
        sample_rate: Hertz.
        call_id: The telephone call, such as Twilio's ``callSid``.
        stream_id: The stream within the call.
    """

    path: str
    headers: Mapping[str, str] = field(repr=False)
    room: str | None = None
    token: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    codec: str = "pcm_s16le"
    sample_rate: int = 16000
    call_id: str | None = None
    stream_id: str | None = None


@dataclass(frozen=True)
class VoiceCaller:
    """Who a client is, and where it may speak.

    Attributes:
        participant_id: Who.
        room_id: Where.
        metadata: Put into the session's metadata, beside the sample rates.
    """

    participant_id: str
    room_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Socket(ABC):
    """A WebSocket as the backends use one."""

    path: str
    headers: Mapping[str, str]

    async def open(self) -> None:
        """Accept the connection, where that is still to be done."""

    @abstractmethod
    async def receive(self) -> str | bytes | None:
        """Return the next message; None when the other side has said good-bye.

        Raises:
            ConnectionLost: It went without.
        """

    @abstractmethod
    async def send(self, message: str | bytes) -> None:
        """Send one message.

        Raises:
            ConnectionLost: There is nobody to send to.
        """

    @abstractmethod
    async def close(self, code: int = 1000) -> None:
        """Say good-bye; never raises but for a cancellation."""


class _IteratedSocket(Socket):
    """A connection that is iterated for its messages: websockets', or one made like it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._messages: AsyncIterator[str | bytes] = aiter(connection)
        request = getattr(connection, "request", None)
        self.path = str(getattr(request, "path", "/")).partition("?")[0]
        found = getattr(request, "headers", None)
        items = found.items() if isinstance(found, Mapping) else ()
        self.headers = _lower(items)

    async def receive(self) -> str | bytes | None:
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            return None
        except Exception as exc:
            raise ConnectionLost(type(exc).__name__) from exc

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except Exception as exc:
            raise ConnectionLost(type(exc).__name__) from exc

    async def close(self, code: int = 1000) -> None:
        try:
            await self._connection.close(code)
        except Exception:  # noqa: BLE001 - it is gone, which is what was wanted
            return


class _AsgiSocket(Socket):
    """The three things an ASGI server gives; a Starlette WebSocket offers the same."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[Any]],
        *,
        accepted: bool = False,
    ) -> None:
        self._receive = receive
        self._send = send
        self._accepted = accepted
        self._gone = False
        self.path = str(scope.get("path", "/"))
        self.headers = _lower(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope.get("headers", ())
        )

    async def open(self) -> None:
        if self._accepted:
            return
        message = await self._next()
        if message.get("type") != "websocket.connect":
            raise ConnectionLost("no websocket.connect")
        await self._give({"type": "websocket.accept"})
        self._accepted = True

    async def receive(self) -> str | bytes | None:
        while True:
            message = await self._next()
            if message.get("type") == "websocket.disconnect":
                self._gone = True
                return None
            data: str | bytes | None = message.get("bytes")
            if data is None:
                data = message.get("text")
            if data is not None:
                return data

    async def send(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self._give({"type": "websocket.send", kind: message})

    async def close(self, code: int = 1000) -> None:
        if self._gone:
            return
        try:
            if not self._accepted:
                # Before it is accepted this is the way to refuse: the client gets HTTP 403.
                await self._next()
            await self._give({"type": "websocket.close", "code": code})
        except ConnectionLost:
            return
        finally:
            self._gone = True

    async def _next(self) -> Mapping[str, Any]:
        try:
            message: Mapping[str, Any] = await self._receive()
        except Exception as exc:
            self._gone = True
            raise ConnectionLost(type(exc).__name__) from exc
        return message

    async def _give(self, message: dict[str, Any]) -> None:
        if self._gone:
            raise ConnectionLost("closed")
        try:
            await self._send(message)
        except Exception as exc:
            self._gone = True
            raise ConnectionLost(type(exc).__name__) from exc


def adapt(connection: Any) -> Socket:
    """Return the one face of a connection.

    Args:
        connection: A connection of websockets (or anything iterated for its messages, with
            ``send`` and ``close``); a Starlette or FastAPI WebSocket, accepted or not; or the
            tuple ``(scope, receive, send)`` of ASGI.

    Raises:
        InvalidInputError: It is none of these.
    """
    if isinstance(connection, tuple) and len(connection) == 3:
        return _AsgiSocket(*connection)
    scope = getattr(connection, "scope", None)
    if isinstance(scope, Mapping) and callable(getattr(connection, "receive", None)):
        state = getattr(getattr(connection, "application_state", None), "name", "CONNECTING")
        return _AsgiSocket(
            scope, connection.receive, connection.send, accepted=state == "CONNECTED"
        )
    if hasattr(connection, "__aiter__") and callable(getattr(connection, "send", None)):
        return _IteratedSocket(connection)
    raise InvalidInputError(
        "connection must be a websockets connection, a Starlette WebSocket or the ASGI tuple "
        f"(scope, receive, send), not {type(connection).__name__}"
    )


class Line:
    """The sending side of a socket: one message at a time, none for ever.

    Args:
        socket: Where to.
        timeout: Seconds one send may take.
    """

    def __init__(self, socket: Socket, timeout: float) -> None:
        self._socket = socket
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def send(
        self, *messages: str | bytes | None, unless: Callable[[], bool] | None = None
    ) -> None:
        """Send messages behind each other, nothing of anybody else in between.

        Args:
            messages: None among them stand for nothing.
            unless: Asked when it is their turn; True: they are out of date, send nothing.

        Raises:
            ConnectionLost: The other side has gone, or takes nothing.
        """
        async with self._turn:
            if unless is not None and unless():
                return
            try:
                async with asyncio.timeout(self._timeout):
                    for message in messages:
                        if message is not None:
                            await self._socket.send(message)
            except TimeoutError as exc:
                raise ConnectionLost("too slow") from exc


def _lower(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in items}
