"""What all simulators share: the server, the record of requests, scripted misfortune.

Each vendor's module says what a good request is and what the answers look like. Simulators
share no code with the providers, signatures included: an error in one must not hide in the
other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qs, parse_qsl, unquote

from roomkit._lazy import require
from roomkit.simulators._server import listener, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

_LONGEST_BODY = 64 * 1024 * 1024
_MOST_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class SimRequest:
    """A request as it came in.

    Attributes:
        method: Such as ``POST``.
        path: Percent-decoded, without the query.
        query: The first value of each parameter.
        headers: Keys in lower case.
        body: The raw body.
    """

    method: str
    path: str
    query: dict[str, str] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body read as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, list[str]]:
        """The body read as a form: every value of each field, blank ones too."""
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @property
    def form_pairs(self) -> list[tuple[str, str]]:
        """The fields of a form in the order they came."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)


@dataclass(slots=True)
class SimReply:
    """What to answer.

    Attributes:
        status: The HTTP status.
        body: The whole body, or pieces to send one by one (for ``text/event-stream``).
        headers: Such as ``content-type``.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(
        cls, data: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> SimReply:
        """Return a JSON answer."""
        head = {"content-type": "application/json", **(headers or {})}
        return cls(status, json.dumps(data).encode(), head)

    @classmethod
    def of_text(
        cls, text: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> SimReply:
        """Return a plain text answer."""
        head = {"content-type": "text/plain; charset=utf-8", **(headers or {})}
        return cls(status, text.encode(), head)

    @classmethod
    def of_events(cls, chunks: AsyncIterator[bytes]) -> SimReply:
        """Return a stream of server-sent events, each chunk already framed."""
        return cls(200, chunks, {"content-type": "text/event-stream"})


@dataclass(frozen=True, slots=True)
class Step:
    """One scripted misfortune; see ``error``, ``slow``, ``cut``, ``not_json`` and ``ok``."""

    kind: str
    status: int = 200
    retry_after: float | None = None
    code: str | None = None
    seconds: float = 0.0


def ok() -> Step:
    """Answer this request as usual."""
    return Step("ok")


def error(status: int, *, retry_after: float | None = None, code: str | None = None) -> Step:
    """Answer with an error in the vendor's own shape.

    Args:
        status: The HTTP status.
        retry_after: Seconds the vendor asks to wait, given its own way.
        code: The vendor's error code; by default one that goes with the status.
    """
    return Step("error", status=status, retry_after=retry_after, code=code)


def slow(seconds: float) -> Step:
    """Answer as usual, after so many seconds (or at once when the simulator stops)."""
    return Step("slow", seconds=seconds)


def cut() -> Step:
    """Do what was asked, but cut the connection in the middle of the answer."""
    return Step("cut")


def not_json() -> Step:
    """Do what was asked, but answer 200 with something that is no JSON."""
    return Step("not_json")


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message the vendor accepted.

    Attributes:
        id: The vendor's id of it.
        to: The recipient.
        text: What it says.
        media: Its URLs.
        data: The request's own fields.
    """

    id: str
    to: str
    text: str = ""
    media: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What the endpoint answered to a webhook of ours.

    Attributes:
        status: The HTTP status.
        body: What came with it.
        headers: The headers.
    """

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class VendorSimulator(ABC):
    """One vendor on a socket of 127.0.0.1. Use it as an async context manager.

    Args:
        port: The port; 0 takes a free one.

    Attributes:
        requests: Every request, oldest first.
        sent: Every message accepted, oldest first.
    """

    vendor: ClassVar[str]
    """The vendor's word, as in ``roomkit sim <vendor>``."""

    def __init__(self, *, port: int = 0) -> None:
        self.requests: deque[SimRequest] = deque(maxlen=_MOST_REQUESTS)
        self.sent: list[SentMessage] = []
        self._port = port
        self._steps: deque[Step] = deque()
        self._stack = contextlib.AsyncExitStack()
        self._stopping = asyncio.Event()
        self._news = asyncio.Condition()
        self._base: str | None = None
        self._count = 0

    @property
    def api_base(self) -> str:
        """Scheme, host and port, for a config's ``api_base``.

        Raises:
            RuntimeError: The simulator is not running.
        """
        if self._base is None:
            raise RuntimeError("the simulator is not running; use `async with`")
        return self._base

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the vendor's config, ``api_base`` included."""

    @abstractmethod
    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as the vendor would, refusing what the vendor would refuse."""

    @abstractmethod
    def failure(self, step: Step) -> SimReply:
        """Return the vendor's own form of a scripted ``error``."""

    def scripted(self, request: SimRequest) -> bool:
        """Return whether a scripted step may strike at this request."""
        return True

    def script(self, *steps: Step) -> None:
        """Let the next requests be answered so, one step each; afterwards as usual again."""
        self._steps.extend(steps)

    def new_id(self, prefix: str = "") -> str:
        """Return an id this simulator has not given before: ``<prefix>0001`` and so on."""
        self._count += 1
        return f"{prefix}{self._count:04d}"

    def recipient_of(self, message_id: str, otherwise: str) -> str:
        """Return who an accepted message went to; ``otherwise`` when nobody knows it."""
        return next((m.to for m in self.sent if m.id == message_id), otherwise)

    async def arrived(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until so many requests have come, answered or not.

        Raises:
            TimeoutError: They did not within ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: len(self.requests) >= count)

    async def struck(self, *, timeout: float = 10.0) -> None:
        """Wait until the script has come to its end: every step has found its request.

        Raises:
            TimeoutError: It did not within ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: not self._steps)

    def reset(self) -> None:
        """Forget requests, messages and what is left of a script."""
        self.requests.clear()
        self.sent.clear()
        self._steps.clear()

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        method: str = "POST",
        timeout: float = 10.0,
    ) -> WebhookAnswer:
        """Send a webhook to an endpoint and return its answer, whatever it is.

        Raises:
            httpx.HTTPError: There was no answer.
        """
        httpx = require("httpx", user=type(self).__name__, extra="simulators")
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            answer = await client.request(method, url, content=body, headers=dict(headers))
            return WebhookAnswer(answer.status_code, answer.content, dict(answer.headers))

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        sock = listener(self._port)
        port = await self._stack.enter_async_context(serve(self._app, sock))
        self._base = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._base = None
        self._stopping.set()
        await self._stack.aclose()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        request = SimRequest(
            method=scope["method"],
            path=unquote(scope["path"]),
            query={name: values[0] for name, values in query.items()},
            headers={
                k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]
            },
            body=body,
        )
        async with self._news:
            self.requests.append(request)
            step = self._steps.popleft() if self._steps and self.scripted(request) else ok()
            self._news.notify_all()
        if step.kind == "slow":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await self._stopping.wait()
        reply = self.failure(step) if step.kind == "error" else await self.handle(request)
        if step.kind == "cut":
            await _cut(send, reply)
        elif step.kind == "not_json":
            await _answer(send, SimReply.of_text("<html>It works!</html>"))
        else:
            await _answer(send, reply)


async def _read(receive: Any) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= _LONGEST_BODY:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _head(reply: SimReply, length: int | None) -> dict[str, Any]:
    headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in reply.headers.items()]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _answer(send: Any, reply: SimReply) -> None:
    if isinstance(reply.body, bytes):
        await send(_head(reply, len(reply.body)))
        await send({"type": "http.response.body", "body": reply.body})
        return
    await send(_head(reply, None))
    async with contextlib.aclosing(_generator(reply.body)) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _generator(chunks: AsyncIterator[bytes]) -> Any:
    async for chunk in chunks:
        yield chunk


async def _cut(send: Any, reply: SimReply) -> None:
    """Promise more than is sent and return: the server then closes the connection."""
    body = reply.body if isinstance(reply.body, bytes) else b"data: {"
    half = body[: len(body) // 2] or b"{"
    await send(_head(reply, len(half) + 1000))
    await send({"type": "http.response.body", "body": half, "more_body": True})
