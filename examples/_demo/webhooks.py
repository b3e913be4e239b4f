"""The HTTP side: an endpoint a gateway posts messages to, and one that receives the replies.

Both are routes of one plain ASGI callable, served by uvicorn on a free port.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Self

import httpx
import uvicorn

from roomkit import (
    HTTPProvider,
    InboundMessage,
    ProviderResult,
    RoomEvent,
    RoomKit,
    TextContent,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BODY = 64 * 1024


class PhoneProvider(HTTPProvider):
    """Posts every event of a room to the phone it is for."""

    def __init__(self) -> None:
        self.url = ""
        self._client = httpx.AsyncClient(timeout=5)

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Post the text; the phone answers with its own id of the message."""
        answer = await self._client.post(
            f"{self.url}/phone/{to}", json={"text": getattr(event.content, "body", "")}
        )
        if answer.is_error:
            return ProviderResult(success=False, error=f"http_{answer.status_code}")
        return ProviderResult(success=True, provider_message_id=answer.json()["id"])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Gateway(uvicorn.Server):
    """The HTTP server of the demo.

    Args:
        kit: Where posted messages go.
        channel_id: The channel they enter by.

    Attributes:
        phone: What arrived at the phone, oldest first.
    """

    def __init__(self, kit: RoomKit, channel_id: str) -> None:
        super().__init__(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                lifespan="off",
                log_level="warning",
                ws="none",
                access_log=False,
            )
        )
        self.phone: list[str] = []
        self._kit = kit
        self._channel_id = channel_id
        self._up = asyncio.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where to post to."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and let ``__aenter__`` return."""
        await super().startup(sockets=sockets)
        self._up.set()

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self.serve(sockets=[self._listener]))
        await self._up.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._serving is not None
        self.should_exit = True
        await self._serving

    async def _app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request: ``POST /webhook`` or ``POST /phone/<who>``."""
        body = await _read(receive)
        if scope["method"] != "POST" or body is None:
            status, answer = 400, {"error": "a small POST is expected"}
        elif scope["path"] == "/webhook":
            status, answer = 200, await self._message(json.loads(body))
        elif scope["path"].startswith("/phone/"):
            self.phone.append(json.loads(body)["text"])
            status, answer = 200, {"id": f"phone-{len(self.phone)}"}
        else:
            status, answer = 404, {"error": "no such path"}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _message(self, posted: dict[str, Any]) -> dict[str, Any]:
        """Bring a posted message into its room; its id makes a repeat harmless."""
        message = InboundMessage(
            channel_id=self._channel_id,
            sender_id=posted["from"],
            content=TextContent(body=posted["text"]),
            external_id=posted["id"],
            idempotency_key=posted["id"],
        )
        result = await self._kit.process_inbound(message, room_id=posted["room"])
        assert result.event is not None
        return {"accepted": not result.blocked, "reason": result.reason, "id": result.event.id}


async def _read(receive: Receive) -> bytes | None:
    """Return the body of a request; None when it is too long."""
    body = b""
    more = True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
        if len(body) > MAX_BODY:
            return None
    return body
