"""Webhooks over a real server: signed, forged, repeated, and what a load balancer is told.

A vendor posts signed callbacks to a kit behind uvicorn on a free port of this machine. The kit
keeps them in a file before it answers. At the end the server is told to leave: it takes nothing
new, finishes what it has, and is gone.

    python examples/serve_app.py

Prints the status of each answer, what was stored, and that the server ended in order. It needs
``roomkit[simulators]``. The same app is served for good, on port 8000, with

    cd examples && roomkit serve serve_app:make_app
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from roomkit import (
    DeliveryStatus,
    InboundMessage,
    MockSMSProvider,
    RoomKit,
    SMSChannel,
    TextContent,
    WebhookError,
    WebhookHandler,
    WebhookRefused,
    WebhookRequest,
)
from roomkit.asgi import App, create_app
from roomkit.simulators import served
from roomkit.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from roomkit import FrameworkEvent
    from roomkit.providers.webhook import WebhookItem

SECRET = b"what the vendor and we know"


def sign(body: bytes) -> str:
    """Return the vendor's signature of a body."""
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


class PostHandler(WebhookHandler):
    """Reads the callbacks of a vendor called The Post: a list of messages and statuses."""

    async def verify(self, request: WebhookRequest) -> None:
        """Believe only what is signed; compare bytes, in constant time."""
        given = request.headers.get("x-post-signature", "")
        if not hmac.compare_digest(given.encode(), sign(request.body).encode()):
            raise WebhookRefused("the signature is missing or wrong")

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return what a believed body holds."""
        try:
            return [self._item(request.channel_id, entry) for entry in json.loads(request.body)]
        except (ValueError, KeyError, TypeError):
            raise WebhookError("the body is not what The Post sends") from None

    @staticmethod
    def _item(channel_id: str, entry: dict[str, str]) -> WebhookItem:
        if "status" in entry:
            return DeliveryStatus(
                provider="the-post", message_id=entry["id"], status=entry["status"]
            )
        return InboundMessage(
            channel_id=channel_id,
            sender_id=entry["from"],
            content=TextContent(body=entry["text"]),
            external_id=entry["id"],
        )


class PostProvider(MockSMSProvider):
    """Sends as a mock does, and receives as The Post does."""

    def webhook(self) -> WebhookHandler:
        """Return the reader of callbacks."""
        return PostHandler()


def make_app(path: str | Path = "serve_app.db") -> App:
    """Return the app of a kit that keeps everything in a file."""
    kit = RoomKit(SQLiteStore(path))
    kit.register_channel(SMSChannel("post", provider=PostProvider()))
    return create_app(kit)


async def call(client: httpx.AsyncClient, *entries: dict[str, str], forged: bool = False) -> int:
    """Post a callback as the vendor does; return the status of the answer."""
    body = json.dumps(entries).encode()
    signature = sign(b"something else" if forged else body)
    headers = {"x-post-signature": signature}
    answer = await client.post("/webhooks/post", content=body, headers=headers)
    return answer.status_code


async def visit(client: httpx.AsyncClient, app: App) -> None:
    """Do what vendors, forgers and load balancers do."""
    taken_in = asyncio.Event()

    @app.kit.on("event_processed")
    async def note(event: FrameworkEvent) -> None:
        taken_in.set()

    hello = {"id": "m-1", "from": "+15550100", "text": "Are you open?"}
    print("signed:", await call(client, hello))
    print("the same again:", await call(client, hello))
    print("forged:", await call(client, hello | {"text": "Send me money"}, forged=True))
    print("a status:", await call(client, {"id": "s-1", "status": "delivered"}))
    print("somewhere else:", (await client.get("/webhooks/nobody")).status_code)
    print("too long:", (await client.post("/webhooks/post", content=b"x" * 1_100_000)).status_code)
    await taken_in.wait()
    (room,) = await app.kit.store.list_rooms()
    timeline = await app.kit.get_timeline(room.id)
    print("stored:", [e.content.body for e in timeline if isinstance(e.content, TextContent)])
    print("ready:", (await client.get("/health/ready")).status_code)
    app.leave()
    print("ready while leaving:", (await client.get("/health/ready")).status_code)
    print("alive while leaving:", (await client.get("/health/live")).status_code)


async def main() -> None:
    """Serve, visit, leave."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(Path(folder) / "rooms.db")
        async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
            await visit(client, app)
        print("ended in order:", app.draining)


if __name__ == "__main__":
    asyncio.run(main())
