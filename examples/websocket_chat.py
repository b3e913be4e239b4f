"""Two people in a room over WebSockets: the protocol roomkit.v1 on a real server.

Ana says who she is in a header, Bob in his first frame, as a browser would. They read each other,
Bob's connection breaks while Ana goes on, and he comes back to what he missed. A stranger is told
why she does not get in.

    python examples/websocket_chat.py

Prints what each of them heard, and how the stranger was closed. It needs ``roomkit[simulators]``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from roomkit import RoomKit, WebSocketChannel
from roomkit.asgi import Principal, create_app
from roomkit.simulators import served

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

ROOM = "lobby"
TOKENS = {"token-of-ana": "ana", "token-of-bob": "bob"}
"""Made up for the example; a real program asks its sessions or its identity provider."""


async def authenticate(scope: Any) -> Principal | None:
    """Return who a client is by its token, and the rooms they may enter."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value.decode("latin-1").removeprefix("Bearer ")
            for token, person in TOKENS.items():
                if hmac.compare_digest(given.encode(), token.encode()):
                    return Principal(participant_id=person, room_ids=[ROOM])
    return None


class Person:
    """Somebody at a client. It remembers the last index it was shown, to come back to it."""

    def __init__(self, socket: ClientConnection, last: int | None = None) -> None:
        self._socket = socket
        self.last = last

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def next(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type."""
        async with asyncio.timeout(10):
            while True:
                frame: dict[str, Any] = json.loads(await self._socket.recv())
                if frame["type"] == kind:
                    return frame

    async def join(self) -> None:
        """Enter the room, where the last connection left off."""
        after = {} if self.last is None else {"after": self.last}
        await self.send("join", room_id=ROOM, **after)

    async def say(self, text: str, ref: str) -> dict[str, Any]:
        """Say something; return the acknowledgement. The same ref again says nothing new."""
        content = {"type": "text", "body": text}
        await self.send("message", room_id=ROOM, ref=ref, content=content)
        return await self.next("ack")

    async def hear(self) -> str:
        """Return who said what in the next event."""
        frame = await self.next("event")
        self.last = frame["index"]
        event = frame["event"]
        return f"{event['source']['participant_id']}: {event['content']['body']}"


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


async def chat(url: str) -> None:
    """Play the scene."""
    async with connect(url, additional_headers=bearer("token-of-ana")) as ana_socket:
        ana = Person(ana_socket)
        await ana.join()
        async with connect(url, subprotocols=[Subprotocol("roomkit.v1")]) as bob_socket:
            bob = Person(bob_socket)
            await bob.send("auth", token="token-of-bob")
            await bob.join()
            while "room_id" not in await bob.next("ready"):
                pass
            await ana.say("Hello Bob!", ref="1")
            print("bob heard", await bob.hear())
            await bob.send("typing", room_id=ROOM)
            print("ana saw that", (await ana.next("ephemeral"))["participant_id"], "types")
        first = await ana.say("Are you there?", ref="2")
        again = await ana.say("Are you there?", ref="2")
        print("sent twice, stored once:", first == again)
        async with connect(url, additional_headers=bearer("token-of-bob")) as bob_socket:
            bob = Person(bob_socket, last=bob.last)
            await bob.join()
            print("bob came back to", await bob.hear())
    async with connect(url, additional_headers=bearer("wrong")) as stranger:
        try:
            await stranger.recv()
        except ConnectionClosed:
            print("the stranger was closed with", stranger.close_code)
    assert first == again
    assert stranger.close_code == 4401


async def main() -> None:
    """Open the room and let everybody in."""
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("web"))
    await kit.create_room(ROOM)
    await kit.attach_channel(ROOM, "web")
    async with served(create_app(kit, authenticate=authenticate)) as url:
        await chat(url.replace("http", "ws", 1) + "/ws/web")


if __name__ == "__main__":
    asyncio.run(main())
