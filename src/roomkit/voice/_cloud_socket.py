"""A WebSocket to a cloud speech vendor: one task writes, the caller reads, every wait ends.

Whatever goes wrong is a ProviderError that names the vendor, the cause and no secret.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancel_and_wait
from roomkit._http import without_urls
from roomkit.exceptions import ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
    from types import ModuleType

CLOSE_SECONDS = 0.25
"""For a goodbye; what is still open then is cut. Who interrupts a speaker waits for it."""

_SOURCE_SECONDS = 1.0

_LONGEST_TEXT = 300
_SHORTEST_HIDDEN = 4
# The peer, or what we received of it, is wrong in a way that a new connection does not mend.
_FINAL_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
_ABNORMAL = 1006
_MOST_AHEAD = 4 * 1024 * 1024
_FRAME_COST = 64
_CODE = re.compile(r"[A-Z]{2,10}-[0-9]{2,6}(?![0-9])")


class SocketLost(ProviderError):
    """A WebSocket ended before the conversation did, or its server does not answer.

    Attributes:
        closed: Whether the connection is known to be gone.
    """

    closed: bool = False


class Turn(Enum):
    """What ``Pieces.next`` gives instead of a piece."""

    LATE = "late"
    """None came within the time; the next call goes on waiting for it."""
    END = "end"
    """There are no more."""


class Pieces[T]:
    """An iterator asked with patience: a piece that comes late is not lost.

    Args:
        source: The iterator; it stays its owner's to close.

    Attributes:
        over: Whether there are no more.
        failure: What the source raised.
    """

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._asked: asyncio.Task[T | Turn] | None = None
        self.over = False
        self.failure: BaseException | None = None

    async def next(self, seconds: float | None = None) -> T | Turn:
        """Return the next piece, END, or LATE when it does not come within ``seconds``.

        Raises:
            Exception: What the source raised.
        """
        if self.over:
            return Turn.END
        if self._asked is None:
            self._asked = asyncio.create_task(self._one(), name="speech:source")
        await asyncio.wait((self._asked,), timeout=seconds)
        if not self._asked.done():
            return Turn.LATE
        asked, self._asked = self._asked, None
        if asked.cancelled():
            self.failure = ProviderError("the source of a speech stream was cancelled")
            raise self.failure
        self.failure = asked.exception()
        piece = asked.result()
        self.over = piece is Turn.END
        return piece

    async def _one(self) -> T | Turn:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return Turn.END

    async def close(self) -> None:
        """Stop waiting for the source."""
        self.over = True
        if self._asked is not None:
            await cancel_and_wait((self._asked,), _SOURCE_SECONDS)
            self._asked = None


class CloudSocket:
    """A WebSocket whose failures are ProviderErrors.

    Args:
        connection: Of the websockets library.
        errors: That library's module of exceptions.
        vendor: For error texts.
        idle: Seconds a frame may take to be sent.
    """

    def __init__(self, connection: Any, errors: ModuleType, vendor: str, idle: float) -> None:
        self._connection = connection
        self._errors = errors
        self._vendor = vendor
        self._idle = idle

    async def send(self, data: str | bytes) -> None:
        """Send a frame.

        Raises:
            SocketLost: The connection is gone, or the server has stopped reading.
        """
        try:
            async with asyncio.timeout(self._idle):
                await self._connection.send(data)
        except TimeoutError as exc:
            raise self.lost("has stopped reading") from exc
        except self._errors.ConnectionClosed as exc:
            raise self._closed(exc) from exc

    async def send_json(self, data: Mapping[str, Any]) -> None:
        """Send a JSON object as a text frame; see ``send``."""
        await self.send(json.dumps(data))

    async def receive(self) -> str | bytes | None:
        """Return the next frame; None once the server has said goodbye properly.

        Raises:
            SocketLost: The connection broke, or the server gave a reason for closing it.
        """
        try:
            frame: str | bytes = await self._connection.recv()
        except self._errors.ConnectionClosedOK:
            return None
        except self._errors.ConnectionClosed as exc:
            raise self._closed(exc) from exc
        return frame

    async def close(self) -> None:
        """Say goodbye, for a moment at most, then cut the connection. Idempotent."""
        try:
            # The library's own limit does not count while the other end reads nothing.
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.close()
        except TimeoutError:
            pass
        finally:
            self._connection.transport.abort()

    def lost(self, what: str, *, retryable: bool = True, closed: bool = False) -> SocketLost:
        """Return the error of a server that did what ``what`` says."""
        error = SocketLost(
            f"{self._vendor} {what}", retryable=retryable, provider=self._vendor.lower()
        )
        error.closed = closed
        return error

    def _closed(self, exc: Any) -> SocketLost:
        frame = exc.rcvd or exc.sent
        code = _ABNORMAL if frame is None else frame.code
        # Explanations may quote what was said; codes such as NET-0001 do not.
        found = _CODE.match(exc.rcvd.reason) if exc.rcvd is not None else None
        what = f"closed the connection with {code}" if exc.rcvd else "lost the connection"
        error = self.lost(
            f"{what}: {found[0]}" if found else what,
            retryable=code not in _FINAL_CLOSES,
            closed=True,
        )
        error.error_type = found[0] if found else None
        return error


class Exchange:
    """One conversation over a socket: one task writes, one reads ahead, the caller is told.

    What was read ahead is bounded: beyond 4 MiB the server has to wait.

    Args:
        socket: The socket; ``close`` closes it.
        first_answer: Seconds until the first answer, once everything has been written.
        idle: Seconds between one sign of progress and the next, likewise.
    """

    def __init__(self, socket: CloudSocket, *, first_answer: float, idle: float) -> None:
        self.socket = socket
        self.written = False
        self._first = first_answer
        self._idle = idle
        self._deadline: float | None = None
        self._answered = False
        self._writing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._frames: deque[str | bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def start(self, writer: Coroutine[Any, Any, None]) -> None:
        """Run what writes; its end is the end of what is to be said."""
        self._reading = asyncio.create_task(self._read(), name="speech:read")
        self._writing = asyncio.create_task(writer, name="speech:write")
        for task in (self._reading, self._writing):
            task.add_done_callback(lambda _: self._news.set())

    async def _read(self) -> None:
        # All the time: before 14.1 the library forgets what is unread when a connection ends.
        while (frame := await self.socket.receive()) is not None:
            self._frames.append(frame)
            self._size += len(frame) + _FRAME_COST
            self._news.set()
            while self._size > _MOST_AHEAD:
                self._room.clear()
                await self._room.wait()

    @property
    def unread(self) -> bool:
        """Whether the server has said something that was not read yet."""
        return bool(self._frames)

    async def next(self) -> str | bytes | None:
        """Return the next frame; None when the server has said goodbye.

        Raises:
            SocketLost: The connection broke, or no progress was made in time.
            Exception: What the writer's source raised.
        """
        reading, writing = self._reading, self._writing
        if reading is None or writing is None:
            return None
        while True:
            self._news.clear()
            if writing.done() and self._deadline is None:
                self._finish_writing(writing)
            if self._frames:
                frame = self._frames.popleft()
                self._size -= len(frame) + _FRAME_COST
                self._room.set()
                return frame
            if reading.done():
                reading.result()
                return None
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._news.wait()
            except TimeoutError as exc:
                raise self.socket.lost("does not answer any more") from exc

    def progress(self) -> None:
        """Note that the server does what it shall: it has the idle time again."""
        self._answered = True
        if self._deadline is not None:
            self._deadline = asyncio.get_running_loop().time() + self._idle

    def _finish_writing(self, writing: asyncio.Task[None]) -> None:
        """Look how writing ended, once; from now on the server is waited for."""
        seconds = self._idle if self._answered else self._first
        self._deadline = asyncio.get_running_loop().time() + seconds
        if writing.cancelled():
            raise self.socket.lost("is not written to any more: the writer was cancelled")
        error = writing.exception()
        # A broken connection is told by the reader: it knows the server's last words.
        if error is not None and not (isinstance(error, SocketLost) and error.closed):
            raise error
        self.written = error is None

    async def close(self) -> None:
        """Stop writing and reading, and close the socket. Idempotent."""
        tasks = [task for task in (self._writing, self._reading) if task is not None]
        self._frames.clear()
        try:
            await cancel_and_wait(tasks)
        finally:
            for task in tasks:
                if not task.cancelled():
                    task.exception()
            await self.socket.close()


def clean(text: str, hidden: Sequence[str] = ()) -> str:
    """Return a vendor's explanation short, in one line, without URLs and hidden texts."""
    for secret in hidden:
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, "[hidden]")
    return without_urls(" ".join(text.split()))[:_LONGEST_TEXT]


def json_or_none(body: str | bytes) -> Any:
    """Return what a JSON text says; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def json_object(frame: str | bytes, vendor: str) -> dict[str, Any]:
    """Return a text frame as a JSON object.

    Raises:
        ProviderError: It is none: whoever answers is not this vendor.
    """
    data = json_or_none(frame) if isinstance(frame, str) else None
    if not isinstance(data, dict):
        raise ProviderError(
            f"the server does not speak {vendor}'s protocol; check the base_url",
            provider=vendor.lower(),
        )
    return data
