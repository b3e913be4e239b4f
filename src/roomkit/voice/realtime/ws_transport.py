"""Callers at a WebSocket: ``websockets``' connections, or those of Starlette and FastAPI.

Audio of the caller comes as binary frames or ``{"type": "audio", "data": "<base64>"}``; ours
goes out in the second form. All of it is PCM, 16 bit, little-endian, mono.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._aio import TaskSet, bounded, cancel_and_wait
from roomkit._logging import ids, log_failure
from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.pcm import SampleCarry
from roomkit.voice.realtime.transport import CallbackRealtimeTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime.base import RealtimeSession

logger: logging.Logger = logging.getLogger("roomkit.voice.realtime.ws_transport")

_CLOSE_TIMEOUT = 5.0


class _Wire(Protocol):
    """A connection, whatever library it is of."""

    def frames(self) -> AsyncIterator[str | bytes]:
        """Yield what comes in; the end of the connection is the end, or raises."""
        ...

    async def send(self, text: str) -> None:
        """Send a text frame."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...

    def cut(self) -> None:
        """End the connection without a word, where that is possible; again does nothing."""
        ...


class _PlainWire:
    """An async-iterable connection with ``send`` and ``close``, such as ``websockets``'."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.send = connection.send
        self.close = connection.close

    async def frames(self) -> AsyncIterator[str | bytes]:
        async for frame in self._connection:
            yield frame

    def cut(self) -> None:
        abort = getattr(getattr(self._connection, "transport", None), "abort", None)
        if abort is not None:
            abort()


class _StarletteWire:
    """A connection of Starlette or FastAPI, accepted already."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.send = connection.send_text
        self.close = connection.close

    async def frames(self) -> AsyncIterator[str | bytes]:
        while True:
            message = await self._connection.receive()
            if message["type"] == "websocket.disconnect":
                return
            frame = message.get("bytes")
            if frame is None:
                frame = message.get("text")
            if frame is not None:
                yield frame

    def cut(self) -> None:
        """The server in front owns the socket, and has a limit of its own."""


def _wire(connection: Any) -> _Wire:
    if hasattr(connection, "send_text") and hasattr(connection, "receive"):
        return _StarletteWire(connection)
    if hasattr(connection, "__aiter__") and hasattr(connection, "send"):
        return _PlainWire(connection)
    raise InvalidInputError(
        "WebSocketRealtimeTransport needs a connection that is async-iterable and has send and "
        "close (websockets), or has receive, send_text and close (Starlette); "
        f"got {type(connection).__name__}"
    )


@dataclass(slots=True, eq=False)
class _Line:
    """One session's connection, who listens to it, and what could not be used."""

    session: RealtimeSession
    wire: _Wire
    listener: asyncio.Task[Any] | None = None
    # A frame may end in the middle of a sample; the rest of it comes with the next one.
    carry: SampleCarry = field(default_factory=SampleCarry)
    malformed: int = 0


class WebSocketRealtimeTransport(CallbackRealtimeTransport):
    """Carries sessions over WebSockets the application has accepted.

    A frame that cannot be used is dropped and counted; the first of a session is logged.

    Args:
        max_frame: Bytes of the largest frame that is looked at; a larger one is dropped. (The
            server in front has a bound of its own.)
        send_timeout: Seconds one send may take. A caller who takes longer has left: the
            connection is closed, and ``on_client_disconnected`` is told.

    Raises:
        InvalidInputError: A bound is not positive.
    """

    def __init__(self, *, max_frame: int = 1024 * 1024, send_timeout: float = 10.0) -> None:
        super().__init__()
        if max_frame < 1 or send_timeout <= 0:
            raise InvalidInputError("max_frame and send_timeout must be positive")
        self._max_frame = max_frame
        self._send_timeout = send_timeout
        self._connections: dict[str, _Line] = {}
        self._tasks = TaskSet("ws_rt")

    @property
    def name(self) -> str:
        """``WebSocketRealtimeTransport``."""
        return "WebSocketRealtimeTransport"

    async def accept(self, session: RealtimeSession, connection: Any) -> None:
        """Listen to a connection; it is not greeted.

        Raises:
            InvalidInputError: The connection is of no kind we know, or the session has one.
        """
        if session.id in self._connections:
            raise InvalidInputError(f"session {session.id!r} has a connection already")
        line = _Line(session, _wire(connection))
        self._connections[session.id] = line
        line.listener = self._tasks.start(self._listen(line), name=f"ws_rt_recv:{session.id}")

    async def _listen(self, line: _Line) -> None:
        try:
            async for frame in line.wire.frames():
                audio = line.carry.push(self._audio_of(line, frame) or b"")
                if audio:
                    await self._heard(line.session, audio)
        except Exception as exc:
            logger.debug("a connection broke", exc_info=exc)
        await self._gone(line)

    def _audio_of(self, line: _Line, frame: str | bytes) -> bytes | None:
        """Return the audio a frame carries; None for other or broken ones."""
        if len(frame) > self._max_frame:
            self._refuse(line, f"of {len(frame)} bytes is too large")
            return None
        if not isinstance(frame, str):
            return bytes(frame)
        try:
            message = json.loads(frame)
            if not isinstance(message, dict) or message.get("type") != "audio":
                return None
            return base64.b64decode(message["data"], validate=True)
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
            self._refuse(line, "is neither audio nor JSON we know")
            return None

    def _refuse(self, line: _Line, why: str) -> None:
        """Count a frame that cannot be used; the first is logged."""
        line.malformed += 1
        if line.malformed == 1:
            logger.warning("a frame %s; it is dropped", why, extra=ids(session_id=line.session.id))

    def malformed(self, session: RealtimeSession) -> int | None:
        """Return how many frames of a caller could not be used; None when they have left."""
        line = self._connections.get(session.id)
        return None if line is None else line.malformed

    async def _gone(self, line: _Line) -> None:
        """The caller has left: forget the connection and tell; once."""
        if self._connections.get(line.session.id) is not line:
            return
        del self._connections[line.session.id]
        await self._close_wire(line)
        await self._left(line.session)

    async def _close_wire(self, line: _Line) -> None:
        try:
            await bounded(_closed(line.wire), _CLOSE_TIMEOUT)
        except Exception as exc:
            logger.debug("a connection was not closed properly", exc_info=exc)
        finally:
            # A caller who reads nothing would keep the socket open for ever.
            line.wire.cut()

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Send PCM; a caller who has left gets nothing."""
        data = base64.b64encode(audio).decode("ascii")
        await self._send(session, f'{{"type": "audio", "data": "{data}"}}')

    async def send_message(self, session: RealtimeSession, message: dict[str, Any]) -> None:
        """Send a message as JSON; a caller who has left gets nothing."""
        await self._send(session, json.dumps(message))

    async def _send(self, session: RealtimeSession, text: str) -> None:
        line = self._connections.get(session.id)
        if line is None:
            return
        try:
            await bounded(_sent(line.wire, text), self._send_timeout)
        except TimeoutError:
            logger.warning("a caller takes nothing any more", extra=ids(session_id=session.id))
            # A goodbye would wait behind what is not taken.
            line.wire.cut()
            self._tasks.start(self._drop(line), name=f"ws_rt_drop:{session.id}")
        except Exception as exc:  # noqa: BLE001 - the listener finds out and tells
            log_failure(logger, exc, "sending to a caller", extra=ids(session_id=session.id))

    async def _drop(self, line: _Line) -> None:
        """End the connection of a caller who does not take what is sent."""
        listener = line.listener
        if self._connections.get(line.session.id) is line:
            await self._gone(line)
        if listener is not None:
            await cancel_and_wait([listener], _CLOSE_TIMEOUT)

    async def disconnect(self, session: RealtimeSession) -> None:
        """Close a session's connection; ``on_client_disconnected`` is not told."""
        line = self._connections.pop(session.id, None)
        if line is None:
            return
        try:
            await self._close_wire(line)
        finally:
            if line.listener is not None and line.listener is not asyncio.current_task():
                await cancel_and_wait([line.listener], _CLOSE_TIMEOUT)

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        for line in list(self._connections.values()):
            await self.disconnect(line.session)
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=_CLOSE_TIMEOUT)


async def _sent(wire: _Wire, text: str) -> None:
    await wire.send(text)


async def _closed(wire: _Wire) -> None:
    await wire.close()
