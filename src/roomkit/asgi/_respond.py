"""What is answered, and how it goes out."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.asgi._types import Scope, Send

RETRY_AFTER = 5
"""Seconds after which a caller may come again, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    Attributes:
        status: The HTTP status.
        body: The body; None for the status in words.
        content_type: The body's type.
        headers: Further headers, their names in lower case.
        close: Whether the connection ends with it.
    """

    status: int
    body: bytes | None = None
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


class Refused(Exception):
    """A request is answered with something else than what it asked for.

    Attributes:
        answer: What goes out.
        why: A few words for the log, without anything the client said.
    """

    def __init__(self, answer: Answer, why: str) -> None:
        super().__init__(why)
        self.answer = answer
        self.why = why


class ClientLeft(Exception):
    """The client went away before its request was whole."""


def refused(
    status: int,
    why: str,
    *,
    allow: frozenset[str] | None = None,
    retry_after: int | None = None,
    close: bool = False,
) -> Refused:
    """Return the refusal of a request.

    Args:
        status: The HTTP status.
        why: A few words for the log.
        allow: The methods there are, for 405.
        retry_after: Seconds after which to come again.
        close: Whether the connection ends, its request not being read to its end.
    """
    headers: list[tuple[str, str]] = []
    if allow is not None:
        headers.append(("allow", ", ".join(sorted(allow))))
    if retry_after is not None:
        headers.append(("retry-after", str(retry_after)))
    return Refused(Answer(status, headers=tuple(headers), close=close), why)


def not_found() -> Refused:
    """Return the one answer to everything that is not there."""
    return refused(404, "nothing is there")


async def respond(scope: Scope, send: Send, answer: Answer) -> None:
    """Send an answer; a client that has left meanwhile is no error."""
    body = _phrase(answer.status) if answer.body is None else answer.body
    headers = [("cache-control", "no-store"), *answer.headers]
    if answer.status == HTTPStatus.NO_CONTENT:
        body = b""
    else:
        headers += [("content-type", answer.content_type), ("content-length", str(len(body)))]
    if answer.close and str(scope.get("http_version", "1.1")).startswith("1"):
        headers.append(("connection", "close"))
    start = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }
    if scope["method"] == "HEAD":
        body = b""
    try:
        await send(start)
        await send({"type": "http.response.body", "body": body})
    except OSError:
        # The way a server says that nobody is there to hear it.
        return


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
