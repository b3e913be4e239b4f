"""What simulators of speech vendors share: HTTP and WebSockets behind one address."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote

from roomkit.simulators._base import SimReply, SimRequest, Step, VendorSimulator, ok
from roomkit.simulators._live_journal import Journal
from roomkit.simulators._server import served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from roomkit.simulators._live_journal import Talk

_MOST_SOCKETS = 1_000
_CUT_CODE = 1011


class Goodbye(Exception):
    """The other end has closed the socket."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """How a simulator ends a conversation early.

    Attributes:
        code: The close code.
        reason: The close reason.
        after: How many frames of ours go out before.
        frame: What is sent last, such as the vendor's error; or something that is no JSON.
    """

    code: int = _CUT_CODE
    reason: str = ""
    after: int = 0
    frame: str | None = None


@dataclass(eq=False)
class SimSocket:
    """A WebSocket somebody opened.

    Attributes:
        request: The handshake.
        texts: The text frames that came, oldest first.
        audio: The binary frames that came, joined.
        closed: Whether it has ended.
    """

    request: SimRequest
    texts: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    closed: bool = False
    _receive: Any = None
    _send: Any = None
    _talk: Talk | None = None
    _hangup: Hangup | None = None
    _said: int = 0

    @property
    def messages(self) -> list[Any]:
        """The text frames read as JSON.

        Raises:
            ValueError: One is none.
        """
        return [json.loads(text) for text in self.texts]

    async def receive(self) -> str | bytes:
        """Return the next frame.

        Raises:
            Goodbye: There are no more.
        """
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.closed = True
            raise Goodbye
        text = message.get("text")
        if text is not None:
            self.texts.append(text)
            self._note(_kind(text))
            return str(text)
        data = bytes(message.get("bytes") or b"")
        self.audio += data
        self._note("audio")
        return data

    def ended(self) -> None:
        """Note that nothing more will come."""
        self.closed = True
        if self._talk is not None:
            self._talk.ended()

    def _note(self, kind: str) -> None:
        if self._talk is not None:
            self._talk.took(kind)

    async def say(self, message: Mapping[str, Any]) -> None:
        """Send a JSON object, or hang up when the script wants it.

        Raises:
            Goodbye: The conversation has ended.
        """
        if self._hangup is not None and self._said >= self._hangup.after:
            if self._hangup.frame is not None:
                await self._send({"type": "websocket.send", "text": self._hangup.frame})
            await self.hang_up(self._hangup.code, self._hangup.reason)
        self._said += 1
        await self._send({"type": "websocket.send", "text": json.dumps(message)})

    async def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket.

        Raises:
            Goodbye: Always: there is nothing more to do.
        """
        if not self.closed:
            self.closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        raise Goodbye


class SpeechSimulator(VendorSimulator):
    """A vendor whose HTTP and WebSocket endpoints share an address.

    A scripted ``error`` refuses a handshake as it refuses a request, and ``slow`` delays
    it; ``cut`` ends a conversation with 1011 after its first answer, ``not_json`` answers
    with something that is no JSON. ``hang_up`` ends conversations in the vendor's own ways.

    Attributes:
        sockets: Every WebSocket, oldest first; at most 1,000.
        journal: What came, without content.
    """

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.sockets: list[SimSocket] = []
        self.journal: Journal = Journal()
        self._hangups: list[Hangup] = []

    @abstractmethod
    async def converse(self, socket: SimSocket) -> None:
        """Talk to somebody as the vendor would, until one of both says goodbye."""

    @abstractmethod
    def refuse(self, request: SimRequest) -> SimReply | None:
        """Return the vendor's answer to a handshake it would refuse; None accepts it."""

    def hang_up(self, *hangups: Hangup) -> None:
        """Let the next conversations end so, one each; afterwards as usual again."""
        self._hangups.extend(hangups)

    async def heard(
        self, fits: Callable[[list[SimSocket]], bool], *, timeout: float = 10.0
    ) -> None:
        """Wait until what came over the sockets fits.

        Raises:
            TimeoutError: It did not within ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: fits(self.sockets))

    def reset(self) -> None:
        """Forget requests, sockets and what is left of a script."""
        super().reset()
        self.sockets.clear()
        self._hangups.clear()

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._base = await self._stack.enter_async_context(served(self._app, port=self._port))
        return self

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            with contextlib.suppress(Goodbye):
                await self._socket(scope, receive, send)
        else:
            self.journal.note(f"{scope['method']} {scope['path']}")
            await super()._app(scope, receive, send)

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        request = _handshake(scope)
        async with self._news:
            self.requests.append(request)
            step = self._steps.popleft() if self._steps and self.scripted(request) else ok()
            self._news.notify_all()
        if step.kind == "slow":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await self._stopping.wait()
        refusal = self.failure(step) if step.kind == "error" else self.refuse(request)
        if refusal is not None:
            self.journal.note(f"a connection was refused with {refusal.status}")
            await _deny(send, refusal)
            return
        await send({"type": "websocket.accept"})
        socket = SimSocket(
            request,
            _receive=self._noted(receive),
            _send=send,
            _talk=self.journal.talk(request.path),
            _hangup=self._next_hangup(step),
        )
        await self._carry(socket)

    async def _carry(self, socket: SimSocket) -> None:
        if len(self.sockets) < _MOST_SOCKETS:
            self.sockets.append(socket)
        try:
            await self.converse(socket)
        except Goodbye:
            pass
        finally:
            socket.ended()
            async with self._news:
                self._news.notify_all()

    def _next_hangup(self, step: Step) -> Hangup | None:
        if step.kind == "cut":
            return Hangup(after=1)
        if step.kind == "not_json":
            return Hangup(1000, frame="<html>It works!</html>")
        return self._hangups.pop(0) if self._hangups else None

    def _noted(self, receive: Any) -> Any:
        """Return ``receive`` that also wakes who waits for what comes."""

        async def noted() -> Any:
            async with self._news:
                self._news.notify_all()
            return await receive()

        return noted


def _kind(text: str) -> str:
    """Return of which kind a text frame is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "unreadable"
    # Where the vendor gives its messages no type, they carry text.
    return str(data.get("type", "text")) if isinstance(data, dict) else "unreadable"


def _handshake(scope: Any) -> SimRequest:
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return SimRequest(
        method="GET",
        path=unquote(scope["path"]),
        query={name: values[0] for name, values in query.items()},
        headers={k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]},
        body=b"",
    )


async def _deny(send: Any, reply: SimReply) -> None:
    """Answer a handshake with an HTTP status, by the extension of ASGI for it."""
    body = reply.body if isinstance(reply.body, bytes) else b""
    headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in reply.headers.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    start = {"type": "websocket.http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
