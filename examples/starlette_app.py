"""A chat page in Starlette: people log in with the site's own cookie, and another program posts.

    pip install 'roomkit[simulators]' starlette
    python examples/starlette_app.py

The program serves itself on a free port, is two people with browsers, a foreign page and a program
that posts signed webhooks (Standard Webhooks), and prints what each of them gets; then the server
ends in order. Without Starlette it says what to install, and ends well. To serve it for good, with
the webhooks' secret in HOOK_SECRET and where answers go in HOOK_URL:

    cd examples && uvicorn --factory starlette_app:make_app
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from roomkit import (
    EventType,
    HookExecution,
    HookTrigger,
    HTTPChannel,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import Principal, create_app
from roomkit.providers.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit.simulators import WebhookSimulator, served

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Mount, Route
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed
    from websockets.typing import Origin
except ImportError as exc:
    print(f"{exc}: pip install starlette websockets")
    sys.exit(0)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

LOBBY = "lobby"
COOKIE = "session"


class Sessions:
    """Who is logged in. A real site has these already, and asks for passwords."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    async def log_in(self, request: Request) -> Response:
        """Give somebody who says their name a cookie."""
        name = (await request.json())["name"]
        token = secrets.token_urlsafe()
        self._names[token] = name
        answer = PlainTextResponse(f"welcome, {name}")
        answer.set_cookie(COOKIE, token, httponly=True, samesite="lax")
        return answer

    def name(self, connection: HTTPConnection) -> str | None:
        """Return who sent a cookie of ours."""
        return self._names.get(connection.cookies.get(COOKIE, ""))

    async def authenticate(self, scope: Any) -> Principal | None:
        """Return who opens a WebSocket, by the same cookie."""
        name = self.name(HTTPConnection(scope))
        return Principal(participant_id=name, room_ids=[LOBBY]) if name else None


def make_kit(config: HTTPProviderConfig) -> RoomKit:
    """Return a kit with web pages and another program; who posts first is in the lobby too."""
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("web"))
    kit.register_channel(HTTPChannel("hook", provider=WebhookHTTPProvider(config)))

    @kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)
    async def furnish(event: RoomEvent, context: RoomContext) -> None:
        """Bring web pages and the other program into the lobby."""
        await kit.attach_channel(event.room_id, "web")
        await kit.attach_channel(event.room_id, "hook", metadata={"recipient_id": "orders"})

    return kit


def config_of_environment() -> HTTPProviderConfig:
    """Return the program the environment names."""
    return HTTPProviderConfig(
        webhook_url=os.environ["HOOK_URL"],
        secret=SecretStr(os.environ["HOOK_SECRET"]),
        standard_webhooks=True,
    )


def make_app(kit: RoomKit | None = None) -> Starlette:
    """Return the site: the rooms below ``/rooms``, its own routes beside them."""
    kit = kit or make_kit(config_of_environment())
    sessions = Sessions()
    # Pages of other origins get no WebSocket, or they could use the cookie of who visits them.
    rooms = create_app(kit, authenticate=sessions.authenticate)

    async def said(request: Request) -> Response:
        """Show what was said in the lobby, to those who are logged in."""
        if sessions.name(request) is None:
            return PlainTextResponse("please log in", status_code=401)
        events = await kit.get_timeline(LOBBY)
        return JSONResponse(
            [
                event.content.body
                for event in events
                if event.type is EventType.MESSAGE and isinstance(event.content, TextContent)
            ]
        )

    @asynccontextmanager
    async def lifespan(site: Starlette) -> AsyncIterator[None]:
        """Start and end the rooms with the site: a mounted app is told nothing of it."""
        async with rooms.lifespan():
            if await kit.store.get_room(LOBBY) is None:
                await kit.create_room(LOBBY)
            yield

    site = Starlette(
        routes=[
            Route("/login", sessions.log_in, methods=["POST"]),
            Route("/lobby", said),
            Mount("/rooms", rooms),  # /rooms/webhooks/hook, /rooms/ws/web
        ],
        lifespan=lifespan,
    )
    site.state.rooms = rooms
    return site


class Browser:
    """Somebody's browser, as far as the chat is concerned."""

    def __init__(self, socket: ClientConnection, name: str) -> None:
        self._socket = socket
        self._name = name

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self._socket.send(json.dumps({"type": kind, "room_id": LOBBY, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type."""
        async with asyncio.timeout(10):
            while True:
                frame: dict[str, Any] = json.loads(await self._socket.recv())
                if frame["type"] == kind:
                    return frame

    async def say(self, text: str, ref: str) -> None:
        """Say something in the lobby."""
        await self.send("message", ref=ref, content={"type": "text", "body": text})
        await self.until("ack")

    async def hear(self) -> str:
        """Return what somebody else says next; own words come back too, with their index."""
        while True:
            event = (await self.until("event"))["event"]
            if event["source"]["participant_id"] != self._name:
                body: str = event["content"]["body"]
                return body


async def log_in(page: httpx.AsyncClient, name: str) -> None:
    """Get the site's cookie."""
    await page.post("/login", json={"name": name})


@asynccontextmanager
async def browser(url: str, name: str) -> AsyncIterator[Browser]:
    """Log somebody in and bring them to the lobby."""
    async with httpx.AsyncClient(base_url=url) as page:
        await log_in(page, name)
        cookie = {"Cookie": f"{COOKIE}={page.cookies[COOKIE]}"}
    async with connect(socket_url(url), additional_headers=cookie, origin=Origin(url)) as socket:
        person = Browser(socket, name)
        await person.send("join")
        while "room_id" not in await person.until("ready"):
            pass
        yield person


def socket_url(url: str) -> str:
    """Return where the site's pages open their WebSocket."""
    return url.replace("http", "ws", 1) + "/rooms/ws/web"


async def turned_away(url: str, **options: Any) -> int | None:
    """Open a WebSocket that the site closes again; return the code it gives."""
    async with connect(socket_url(url), **options) as socket:
        try:
            await socket.recv()
        except ConnectionClosed:
            return socket.close_code
    return None


async def visit(program: WebhookSimulator, url: str) -> None:
    """Be two people, a program and two strangers."""
    webhook = f"{url}/rooms/webhooks/hook"
    async with browser(url, "ana") as ana, browser(url, "bob") as bob:
        await ana.say("Has the order left?", ref="1")
        print("bob reads:", await bob.hear())
        print("the program got:", program.sent[0].text)
        posted = await program.receive(webhook, text="It left at nine.", sender="orders")
        print("webhook:", posted.status)
        print("ana reads:", await ana.hear())
    print("without a cookie:", await turned_away(url))
    foreign = Origin("https://elsewhere.example")
    print("from a foreign page:", await turned_away(url, origin=foreign))
    stale = await program.receive(webhook, text="Old news", timestamp=1735689600)
    print("an old signature:", stale.status)
    async with httpx.AsyncClient(base_url=url) as page:
        print("the page without a login:", (await page.get("/lobby")).status_code)
        await log_in(page, "cleo")
        print("on the page:", (await page.get("/lobby")).json())


async def main() -> None:
    """Serve the site, visit it, and let it end."""
    async with WebhookSimulator(standard_webhooks=True) as program:
        site = make_app(make_kit(HTTPProviderConfig(**program.settings)))
        async with served(site) as url:
            await visit(program, url)
        print("ended in order:", site.state.rooms.draining)


if __name__ == "__main__":
    asyncio.run(main())
