"""A shop's chat in FastAPI: text messages by webhook, clerks by WebSocket, and routes of its own.

    pip install 'roomkit[simulators]' fastapi
    python examples/fastapi_app.py

The program serves itself on a free port, is a customer with a telephone and a clerk with a
browser, and prints what each of them gets; then the server ends in order. A simulator plays
Twilio. Without FastAPI it says what to install, and ends well. To serve it for good, with the
account of TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM, behind the proxy of PUBLIC_URL:

    cd examples && uvicorn --factory fastapi_app:make_app
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import BaseModel, SecretStr

from roomkit import (
    EventType,
    HookExecution,
    HookTrigger,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomNotFoundError,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import Principal, create_app
from roomkit.providers.twilio import TwilioConfig, TwilioSMSProvider
from roomkit.simulators import TwilioSimulator, served

try:
    from fastapi import FastAPI, HTTPException
    from websockets.asyncio.client import connect
except ImportError as exc:
    print(f"{exc}: pip install fastapi websockets")
    sys.exit(0)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLERKS = {"token-of-cleo": "cleo"}
"""Made up for the example; a real program asks its sessions or its identity provider."""
CUSTOMER = "+14155550100"


class Line(BaseModel):
    """One thing that was said, as the shop's own pages show it."""

    index: int
    by: str
    text: str


class News(BaseModel):
    """What the shop has to say to a customer."""

    text: str


async def authenticate(scope: Any) -> Principal | None:
    """Let clerks in, by their token; each may enter the rooms they take part in."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value.decode("latin-1").removeprefix("Bearer ").encode()
            for token, clerk in CLERKS.items():
                if hmac.compare_digest(given, token.encode()):
                    return Principal(participant_id=clerk)
    return None


def make_kit(config: TwilioConfig) -> RoomKit:
    """Return a kit with a telephone and a desk, where every customer gets a room with clerks."""
    kit = RoomKit()
    kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
    kit.register_channel(WebSocketChannel("desk"))

    @kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)
    async def staff(event: RoomEvent, context: RoomContext) -> None:
        """Bring the clerks into the room of a new customer."""
        await kit.attach_channel(event.room_id, "desk")
        for clerk in CLERKS.values():
            await kit.ensure_participant(event.room_id, "desk", clerk)

    return kit


def config_of_environment() -> TwilioConfig:
    """Return the account the environment names."""
    return TwilioConfig(
        account_sid=os.environ["TWILIO_ACCOUNT_SID"],
        auth_token=SecretStr(os.environ["TWILIO_AUTH_TOKEN"]),
        from_number=os.environ["TWILIO_FROM"],
    )


def make_app(kit: RoomKit | None = None) -> FastAPI:
    """Return the shop's app: the rooms below ``/rooms``, its own routes beside them."""
    kit = kit or make_kit(config_of_environment())
    public = os.environ.get("PUBLIC_URL")
    rooms = create_app(
        kit, public_url=f"{public}/rooms" if public else None, authenticate=authenticate
    )

    @asynccontextmanager
    async def lifespan(site: FastAPI) -> AsyncIterator[None]:
        """Start and end the rooms with the site: a mounted app is told nothing of it."""
        async with rooms.lifespan():
            yield

    site = FastAPI(title="Shop", lifespan=lifespan)
    site.state.rooms = rooms
    site.mount("/rooms", rooms)  # /rooms/webhooks/sms, /rooms/ws/desk, /rooms/health/ready

    @site.get("/talks")
    async def talks() -> list[str]:
        """List the rooms, the newest first."""
        return [room.id for room in await kit.store.list_rooms()]

    @site.get("/talks/{room_id}")
    async def talk(room_id: str) -> list[Line]:
        """Show what was said in a room."""
        try:
            events = await kit.get_timeline(room_id)
        except RoomNotFoundError:
            raise HTTPException(404, "no such talk") from None
        return [
            Line(index=event.index, by=event.source.channel_id, text=event.content.body)
            for event in events
            if event.type is EventType.MESSAGE and isinstance(event.content, TextContent)
        ]

    @site.post("/talks/{room_id}", status_code=201)
    async def tell(room_id: str, news: News) -> Line:
        """Say something to the customer from the shop's own pages."""
        try:
            event = await kit.send_event(room_id, "desk", TextContent(body=news.text))
        except RoomNotFoundError:
            raise HTTPException(404, "no such talk") from None
        return Line(index=event.index, by="desk", text=news.text)

    return site


async def answer_at_the_desk(url: str, room_id: str) -> None:
    """Be a clerk: see what the customer wrote, and answer."""
    bearer = {"Authorization": "Bearer token-of-cleo"}
    async with connect(url, additional_headers=bearer) as socket:

        async def until(kind: str) -> dict[str, Any]:
            while True:
                frame: dict[str, Any] = json.loads(await socket.recv())
                if frame["type"] == kind:
                    return frame

        await socket.send(json.dumps({"type": "join", "room_id": room_id, "after": -1}))
        while (frame := await until("event"))["event"]["content"]["type"] != "text":
            pass
        print("cleo reads:", frame["event"]["content"]["body"])
        words = {"type": "text", "body": "We open at nine."}
        reply = {"type": "message", "room_id": room_id, "ref": "1", "content": words}
        await socket.send(json.dumps(reply))
        await until("ack")


async def visit(twilio: TwilioSimulator, url: str, kit: RoomKit) -> None:
    """Be a customer, a clerk, the shop's own page and a forger, one after the other."""
    webhook = f"{url}/rooms/webhooks/sms"
    asked = await twilio.receive(webhook, text="When do you open?", sender=CUSTOMER)
    print("webhook:", asked.status)
    async with httpx.AsyncClient(base_url=url) as page:
        (room_id,) = (await page.get("/talks")).json()
        socket_url = url.replace("http", "ws", 1) + "/rooms/ws/desk"
        await answer_at_the_desk(socket_url, room_id)
        told = await page.post(f"/talks/{room_id}", json={"text": "On Sunday at ten."})
        print("the shop's own page:", told.status_code)
        await kit.drain()
        print("the customer got:", " | ".join(message.text for message in twilio.sent))
        shown = (await page.get(f"/talks/{room_id}")).json()
        print("the page shows:", [line["text"] for line in shown])
        print("an unknown room:", (await page.get("/talks/none")).status_code)
        print("ready:", (await page.get("/rooms/health/ready")).status_code)
    forged = await twilio.receive(webhook, text="Free money", token="wrong")
    print("forged:", forged.status)
    assert [line["by"] for line in shown] == ["sms", "desk", "desk"], shown


async def main() -> None:
    """Serve the app, visit it, and let it end."""
    async with TwilioSimulator() as twilio:
        kit = make_kit(TwilioConfig(**twilio.settings))
        site = make_app(kit)
        async with served(site) as url:
            await visit(twilio, url, kit)
        print("ended in order:", site.state.rooms.draining)


if __name__ == "__main__":
    asyncio.run(main())
