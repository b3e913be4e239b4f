"""A Messenger bot: buttons, a postback, a split answer, a reaction, and a closed window.

    python examples/facebook_messenger.py

Prints Meta's challenge, the buttons and the one pressed, the reaction, and the refusal of a day
later. It needs ``roomkit[simulators]``.

With MESSENGER_TOKEN, MESSENGER_APP_SECRET and MESSENGER_VERIFY_TOKEN set it serves the page's
endpoint on port 8000 (path /webhooks/fb; put TLS in front). Without, a simulator on this machine
plays Messenger and a person: it checks requests as strictly as the vendor and signs its callbacks.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from pydantic import SecretStr

from roomkit import (
    EphemeralEvent,
    InboundMessage,
    MessengerChannel,
    RichContent,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.messenger import FacebookMessengerProvider, MessengerConfig
from roomkit.simulators import MessengerSimulator, served

if TYPE_CHECKING:
    from roomkit import EventContent

PERSON = "222"
OFFER = RichContent(
    body="We open at nine. Shall we keep a table?",
    buttons=[{"text": "Yes, please", "payload": "TABLE"}, {"text": "No, thanks"}],
)


def make_kit(config: MessengerConfig) -> RoomKit:
    """Return a kit with a desk and a page."""
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(MessengerChannel("fb", provider=FacebookMessengerProvider(config)))
    return kit


async def say(kit: RoomKit, room_id: str, content: EventContent) -> None:
    """Write from the desk."""
    message = InboundMessage(channel_id="desk", sender_id="clerk", content=content)
    await kit.process_inbound(message, room_id=room_id)


async def visit(messenger: MessengerSimulator, kit: RoomKit, endpoint: str) -> None:
    """Do what Meta and a person do."""
    opened = await messenger.challenge(endpoint)
    print("challenge:", opened.status)
    await messenger.receive(endpoint, text="When do you open?", sender=PERSON)
    (room,) = await kit.store.list_rooms()
    await kit.attach_channel(room.id, "desk")

    await say(kit, room.id, OFFER)
    payload = messenger.sent[-1].data["message"]["attachment"]["payload"]
    print("buttons:", ", ".join(button["title"] for button in payload["buttons"]))

    await messenger.postback(endpoint, title="Yes, please", payload="TABLE", sender=PERSON)
    pressed = (await kit.get_timeline(room.id))[-1]
    print("pressed:", pressed.metadata["postback_payload"])

    loved = asyncio.Event()

    async def on_signal(signal: EphemeralEvent) -> None:
        print("reaction:", signal.data["emoji"].encode("ascii", "namereplace").decode())
        loved.set()

    await kit.subscribe_room(room.id, on_signal)
    target = pressed.source.external_id or ""
    await messenger.reaction(endpoint, message_id=target, sender=PERSON)
    await asyncio.wait_for(loved.wait(), 10)

    messenger.outside_window.add(PERSON)
    await say(kit, room.id, TextContent(body="See you at nine!"))
    late = (await kit.get_timeline(room.id))[-1].delivery_results["fb"]
    print("a day later:", late["error"])


async def simulated() -> None:
    """Play it all on this machine."""
    async with MessengerSimulator() as messenger:
        kit = make_kit(MessengerConfig(**messenger.settings))
        async with served(create_app(kit)) as url:
            await visit(messenger, kit, f"{url}/webhooks/fb")


async def for_real() -> None:
    """Serve the page of the environment until interrupted."""
    config = MessengerConfig(
        page_access_token=SecretStr(os.environ["MESSENGER_TOKEN"]),
        app_secret=SecretStr(os.environ["MESSENGER_APP_SECRET"]),
        verify_token=SecretStr(os.environ["MESSENGER_VERIFY_TOKEN"]),
    )
    async with served(create_app(make_kit(config)), port=8000) as url:
        print("serving", f"{url}/webhooks/fb")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(for_real() if "MESSENGER_TOKEN" in os.environ else simulated())
