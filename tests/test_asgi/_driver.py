"""A client of an ASGI callable, without a server between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.test_asgi._vendor import callback, sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    type ASGI = Callable[[Any, Any, Any], Awaitable[None]]

HOST = "hooks.test"
ORIGIN = f"http://{HOST}"


@dataclass
class Answered:
    """What came back.

    Attributes:
        status: The HTTP status; 0 when there was no answer.
        headers: Their names in lower case.
        body: All of it.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def http_scope(
    method: str, target: str, headers: Iterable[tuple[str, str]] = (), root_path: str = ""
) -> dict[str, Any]:
    """Return the scope of a request to ``target``, a path with an optional query."""
    parts = urlsplit(target)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": root_path,
        "headers": [
            (b"host", HOST.encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers),
        ],
    }


class Client:
    """Calls an app.

    Args:
        app: The app.
        root_path: What it is mounted at, as its server or framework says.
    """

    def __init__(self, app: ASGI, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        chunks: Iterable[bytes | Awaitable[Any] | None] | None = None,
        scope: dict[str, Any] | None = None,
    ) -> Answered:
        """Make one request and return its answer.

        Args:
            method: ``GET``, ``POST``, ...
            target: The path with its query.
            body: The body in one piece.
            headers: Further ones.
            chunks: The body in pieces instead, asked for one by one; None: the client leaves
                there; an awaitable: the client waits for it there.
            scope: What to change in the scope.
        """
        coming = iter([body] if chunks is None else chunks)
        upcoming: list[Any] = [*islice(coming, 1)]
        answered = Answered()

        async def receive() -> dict[str, Any]:
            while upcoming:
                piece = upcoming.pop()
                upcoming.extend(islice(coming, 1))
                if piece is None:
                    return {"type": "http.disconnect"}
                if isinstance(piece, bytes):
                    return {"type": "http.request", "body": piece, "more_body": bool(upcoming)}
                await piece
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                answered.body += message.get("body", b"")

        full = http_scope(method, target, headers, self._root_path) | (scope or {})
        async with asyncio.timeout(20):
            await self._app(full, receive, send)
        return answered

    async def get(self, target: str, **options: Any) -> Answered:
        """Make a GET request."""
        return await self.request("GET", target, **options)

    async def call(
        self,
        *items: dict[str, Any],
        target: str = "/webhooks/sms",
        base: str = ORIGIN,
        body: bytes | None = None,
    ) -> Answered:
        """Send a callback as the vendor does, signed for the URL it knows."""
        body = callback(*items) if body is None else body
        signature = sign(f"{base}{target}", body)
        return await self.request("POST", target, body, headers=[("X-Signature", signature)])
