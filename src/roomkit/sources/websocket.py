"""Messages from a WebSocket server we connect to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._aio import TaskSet, cancel_and_wait
from roomkit._http import bare_url, quiet_loggers
from roomkit._logging import ids
from roomkit.exceptions import MissingDependencyError
from roomkit.models.delivery import InboundMessage
from roomkit.sources.base import (
    BaseSourceProvider,
    EmitCallback,
    SourceStatus,
    message_from_json,
)

if TYPE_CHECKING:
    from roomkit._clock import Clock

# The asyncio client by its own name: older versions keep another one at the package's top.
try:
    import websockets.asyncio.client as websockets
    from websockets.asyncio.client import ClientConnection

    HAS_WEBSOCKETS = True
except ImportError:
    websockets = None  # type: ignore[assignment]
    ClientConnection = None  # type: ignore[assignment, misc]
    HAS_WEBSOCKETS = False

__all__ = [
    "HAS_WEBSOCKETS",
    "ClientConnection",
    "MessageParser",
    "WebSocketSource",
    "default_json_parser",
    "websockets",
]

MessageParser = Callable[[str | bytes], InboundMessage | None]
"""Makes a message of one frame; None means: not a message, skip it."""


def default_json_parser(channel_id: str) -> MessageParser:
    """Return a parser of JSON frames; see ``message_from_json``. It never raises.

    Args:
        channel_id: The channel the messages come by.
    """

    def parse(data: str | bytes) -> InboundMessage | None:
        return message_from_json(channel_id, data)

    return parse


class WebSocketSource(BaseSourceProvider):
    """Connects to a WebSocket server and emits what it sends, frame by frame, in order.

    A frame is read only when the one before has been processed, so a slow room holds the
    server back. A lost connection, closed properly or not, is raised: the kit connects again.

    Args:
        url: ``ws://`` or ``wss://``. It is part of ``name``, which appears in framework
            events: put secrets into ``headers``.
        channel_id: The channel the messages come by.
        parser: Makes messages of frames; default ``default_json_parser``. A frame it fails
            on is logged, counted and skipped.
        headers: Sent with the handshake.
        subprotocols: Offered in the handshake.
        ping_interval: Seconds between keepalive pings; None leaves the library's default.
        ping_timeout: Seconds to wait for an answer to a ping, likewise.
        close_timeout: Seconds for the closing handshake.
        max_size: Bytes of the largest message accepted; a larger one ends the connection.
        origin: Value of the ``Origin`` header.
        clock: What the times of ``healthcheck`` are read from.
    """

    _log: ClassVar[logging.Logger] = logging.getLogger("roomkit.sources.websocket")

    def __init__(
        self,
        url: str,
        channel_id: str,
        *,
        parser: MessageParser | None = None,
        headers: dict[str, str] | None = None,
        subprotocols: Sequence[str] | None = None,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float = 10.0,
        max_size: int = 2**20,
        origin: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock=clock)
        quiet_loggers()
        self._url = url
        self._channel_id: str = channel_id
        self._parser = parser or default_json_parser(channel_id)
        self._headers = headers or {}
        self._subprotocols = subprotocols
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        self._max_size = max_size
        self._origin = origin
        self._ws: ClientConnection | None = None
        self._tasks = TaskSet("websocket-source")

    @property
    def name(self) -> str:
        """Return ``websocket:<url>``, without what may be a secret in it: userinfo and query."""
        return f"websocket:{bare_url(self._url)}"

    async def start(self, emit: EmitCallback) -> None:
        """Connect and emit each frame's message until stopped.

        Raises:
            MissingDependencyError: websockets is not installed.
            Exception: The connection failed or was lost.
        """
        if not HAS_WEBSOCKETS:
            raise MissingDependencyError("websockets", user="WebSocketSource", extra="websocket")
        await self._run(lambda: self._session(emit))

    async def _session(self, emit: EmitCallback) -> None:
        async with AsyncExitStack() as stack:
            connection = websockets.connect(**self._connect_options())
            self._ws = ws = await self._or_stop(stack.enter_async_context(connection))
            self._set_status(SourceStatus.CONNECTED)
            self._log.info("source connected", extra=ids(channel_id=self._channel_id))
            try:
                await self._receive_loop(ws, emit)
            finally:
                self._ws = None
                await self._close(ws)

    def _connect_options(self) -> dict[str, Any]:
        """Return what ``connect`` is called with, leaving out what was not given."""
        options = {
            "uri": self._url,
            "additional_headers": self._headers or None,
            "subprotocols": self._subprotocols,
            "ping_interval": self._ping_interval,
            "ping_timeout": self._ping_timeout,
            "close_timeout": self._close_timeout,
            "max_size": self._max_size,
            "origin": self._origin,
        }
        return {key: value for key, value in options.items() if value is not None}

    async def _receive_loop(self, connection: ClientConnection, emit: EmitCallback) -> None:
        while not self._should_stop():
            try:
                frame = await self._or_stop(connection.recv())
            except TimeoutError:
                # A connection with a receive timeout of its own: look at the signal, go on.
                await asyncio.sleep(0)
                continue
            message = self._parsed(self._parser, frame)
            if message is not None:
                await self._pass_on(message, emit)

    async def stop(self) -> None:
        """Stop and close the connection; errors of closing are not worth an exception."""
        await super().stop()
        connection, self._ws = self._ws, None
        if connection is not None:
            await self._close(connection)

    async def _close(self, connection: ClientConnection) -> None:
        """Close a connection that may have frames nobody will read any more."""
        discarding = self._tasks.start(_discard(connection))
        try:
            await connection.close()
        except Exception as exc:  # noqa: BLE001 - it is gone either way
            self._log.debug(
                "closing failed: %s",
                type(exc).__name__,
                extra=ids(channel_id=self._channel_id),
            )
        finally:
            await cancel_and_wait((discarding,))

    async def send(self, message: str | bytes) -> None:
        """Send a frame to the server: text as a text frame, bytes as a binary one.

        Raises:
            RuntimeError: The source is not connected.
        """
        if self._ws is None:
            raise RuntimeError("WebSocketSource is not connected")
        await self._ws.send(message)


async def _discard(connection: ClientConnection) -> None:
    """Read and forget: a full buffer pauses reading, and with it the closing handshake."""
    while True:
        await asyncio.sleep(0)
        try:
            await connection.recv()
        except RuntimeError:
            # The receive loop still waits for a frame; that wait is just being cancelled.
            continue
        except Exception:  # noqa: BLE001 - closed, which is what we wait for
            return
