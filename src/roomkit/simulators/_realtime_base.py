"""What simulators of live models share: a socket, its callers, and how lines are lost."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from array import array
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

from roomkit._lazy import require
from roomkit.simulators._live_journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

RATE = 24000
"""Hertz of what live models say."""


class LiveClient(Protocol):
    """Somebody who is connected."""

    ws: Any

    @property
    def ready(self) -> bool:
        """Whether they have said what they want."""
        ...


class RealtimeSimulator[C: LiveClient](ABC):
    """A live model on a local WebSocket. An async context manager.

    Args:
        port: The port of 127.0.0.1; 0 takes a free one.

    Attributes:
        heard: The audio of each utterance, as it came.
        handshakes: How many handshakes came, refused ones too.
        journal: What came, without content.
    """

    vendor: ClassVar[str]
    """The vendor's word, as in ``roomkit sim <vendor>``."""

    def __init__(self, *, port: int = 0) -> None:
        self.heard: list[bytes] = []
        self.handshakes: int = 0
        self.journal: Journal = Journal()
        self._port = port
        self._count = 0
        self._texts: deque[str] = deque()
        self._refusals: deque[int] = deque()
        self._stalls = 0
        self._callers: list[C] = []
        self._news = asyncio.Condition()
        self._stack = AsyncExitStack()
        self._base: str | None = None

    @abstractmethod
    def _client(self, ws: Any) -> C:
        """Return who has connected."""

    @abstractmethod
    def _refusal(self, request: Any) -> tuple[int, str] | None:
        """Return the HTTP status and text a handshake is refused with; None accepts it."""

    @abstractmethod
    async def _take(self, caller: C, frame: str | bytes) -> str:
        """Take a frame of a client, note it, and return of which kind it was."""

    @abstractmethod
    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the clients' messages of one kind."""

    async def _welcome(self, caller: C) -> bool:
        """Greet who has connected; False sends them away."""
        return True

    def _options(self) -> dict[str, Any]:
        """Return what the server is started with, beside the usual; ``ssl`` makes it https."""
        return {}

    async def __aenter__(self) -> Self:
        server = require("websockets.asyncio.server", user=type(self).__name__,
                         extra="simulators", dist="websockets")  # fmt: skip
        try:
            options = self._options()
            serving = await server.serve(
                self._talk,
                "127.0.0.1",
                self._port,
                process_request=self._admit,
                compression=None,
                close_timeout=1,
                **options,
            )
        except BaseException:
            await self._stack.aclose()
            raise
        self._stack.push_async_callback(serving.wait_closed)
        self._stack.callback(serving.close)
        scheme = "https" if "ssl" in options else "http"
        self._base = f"{scheme}://127.0.0.1:{serving.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._base = None
        for caller in self._callers:
            caller.ws.transport.resume_reading()
        await self._stack.aclose()

    @property
    def api_base(self) -> str:
        """Scheme, host and port.

        Raises:
            RuntimeError: The simulator is not running.
        """
        if self._base is None:
            raise RuntimeError("the simulator is not running; use `async with`")
        return self._base

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the vendor's provider."""

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._callers)

    # -- the play ------------------------------------------------------------------------

    def hears(self, *texts: str) -> None:
        """Say what the next utterances will be understood as."""
        self._texts.extend(texts)

    def refuse(self, *statuses: int) -> None:
        """Refuse the next handshakes with these HTTP statuses."""
        self._refusals.extend(statuses)

    def stall(self, count: int = 1) -> None:
        """Take the next connections, and answer nothing there."""
        self._stalls += count

    def cut(self) -> None:
        """Cut every connection without a word."""
        for caller in list(self._callers):
            caller.ws.transport.abort()

    def freeze(self) -> None:
        """Read nothing more of any client, as the far end of a half-open connection."""
        for caller in self._callers:
            caller.ws.transport.pause_reading()

    async def arrived(self, kind: str, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until so many messages of a kind have come.

        Raises:
            TimeoutError: They did not within ``timeout`` seconds.
        """
        await self._until(lambda: len(self.of(kind)) >= count, timeout)

    async def connected(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until so many clients are connected and set up; 0: until all have left.

        Raises:
            TimeoutError: They were not within ``timeout`` seconds.
        """
        await self._until(lambda: sum(caller.ready for caller in self._callers) == count, timeout)

    async def _until(self, true: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(true)

    # -- connections ---------------------------------------------------------------------

    def _admit(self, connection: Any, request: Any) -> Any:
        self.handshakes += 1
        if self._refusals:
            refusal: tuple[int, str] | None = (self._refusals.popleft(), "refused\n")
        else:
            refusal = self._refusal(request)
        if refusal is None:
            return None
        self.journal.note(f"a connection was refused with {refusal[0]}")
        return connection.respond(*refusal)

    async def _talk(self, ws: Any) -> None:
        caller = self._client(ws)
        talk = self.journal.talk(urlsplit(ws.request.path).path)
        self._callers.append(caller)
        try:
            if self._stalls:
                self._stalls -= 1
                await ws.wait_closed()
            if await self._welcome(caller):
                await self._listen_to(caller, talk.took)
        except self._closed_error():
            pass
        finally:
            talk.ended()
            async with self._news:
                self._callers.remove(caller)
                self._news.notify_all()

    async def _listen_to(self, caller: C, took: Callable[[str], None]) -> None:
        async for frame in caller.ws:
            took(await self._take(caller, frame))
            async with self._news:
                self._news.notify_all()

    def _closed_error(self) -> type[Exception]:
        closed: type[Exception] = require(
            "websockets.exceptions", user=type(self).__name__, extra="simulators"
        ).ConnectionClosed
        return closed

    def _new_number(self) -> int:
        self._count += 1
        return self._count


def tone(milliseconds: int, *, hertz: float = 440.0, rate: int = RATE) -> bytes:
    """Return a tone as 16-bit PCM: what the simulators speak, and what they take for speech.

    Args:
        milliseconds: Its length.
        hertz: Its pitch.
        rate: Samples a second.
    """
    count = rate * milliseconds // 1000
    step = 2 * math.pi * hertz / rate
    return array("h", (int(8000 * math.sin(step * at)) for at in range(count))).tobytes()
