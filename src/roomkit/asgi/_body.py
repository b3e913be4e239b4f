"""Reading a request's body: at most so much, at most so long, at most so many at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from roomkit._aio import DeadlineExceeded, bounded
from roomkit.asgi._respond import RETRY_AFTER, ClientLeft, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from roomkit.asgi._types import Receive

MAX_DIGITS = 18
"""More digits than any length has."""


class Memory:
    """The bytes all bodies together may take.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Give one request a share, taken back when it ends."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.size

    def take(self, size: int) -> bool:
        """Take some bytes; False when they are not there."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True


class Share:
    """What one request holds of the memory.

    Attributes:
        size: How many bytes.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold more.

        Raises:
            Refused: (429) All is taken.
        """
        if not self._memory.take(size):
            raise refused(429, "too many bodies at once", retry_after=RETRY_AFTER, close=True)
        self.size += size


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    limit: int,
    seconds: float,
    share: Share,
) -> bytes:
    """Return a request's body.

    A body that is too long is read on for a while and dropped, so that the client is there to
    read the answer.

    Args:
        receive: Gives the body.
        headers: The request's headers.
        limit: How many bytes it may have.
        seconds: How long all of it may take.
        share: Counts what is held.

    Raises:
        Refused: (400) Its length is no number, (408) it took too long, (413) it is too long,
            (429) too much is held already.
        ClientLeft: The client went away.
    """
    declared = _declared(headers.get("content-length"))
    if declared is not None and declared > 2 * limit:
        raise refused(413, "the body is too long", close=True)
    try:
        return await bounded(_read(receive, limit, share), seconds)
    except DeadlineExceeded:
        raise refused(408, "the body took too long", close=True) from None


async def _read(receive: Receive, limit: int, share: Share) -> bytes:
    body = bytearray()
    while True:
        chunk, more = await _next(receive)
        if len(body) + len(chunk) > limit:
            await _drop(receive, limit, more=more)
        share.grow(len(chunk))
        if not more and not body:
            return chunk
        body += chunk
        if not more:
            return bytes(body)


async def _drop(receive: Receive, limit: int, *, more: bool) -> None:
    """Read on without keeping anything, as far as another limit.

    Raises:
        Refused: (413) Always.
    """
    dropped = 0
    while more and dropped <= limit:
        chunk, more = await _next(receive)
        dropped += len(chunk)
    raise refused(413, "the body is too long", close=more)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return bytes(message.get("body", b"")), bool(message.get("more_body", False))


def _declared(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise refused(400, "the length of the body is no number", close=True)
    return int(text)
