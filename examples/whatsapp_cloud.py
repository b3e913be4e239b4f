"""WhatsApp Business: a picture in, a list of choices out, a template when the window is closed.

    python examples/whatsapp_cloud.py

Prints the picture's size, the choices and the one taken, the status, and what a message of the
next day leads to. It needs ``roomkit[simulators]``.

With WHATSAPP_TOKEN, WHATSAPP_NUMBER_ID and WHATSAPP_TO set it sends one real template
("hello_world", which every new account has) and says what Meta answered. Without, a simulator on
this machine plays the Cloud API and a person, as strictly as the vendor.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from pydantic import SecretStr

from roomkit import (
    DeliveryStatus,
    InboundMessage,
    RichContent,
    RoomKit,
    TextContent,
    WebSocketChannel,
    WhatsAppChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.simulators import WhatsAppSimulator, served

if TYPE_CHECKING:
    from roomkit import EventContent

PERSON = "14155550100"
SIZES = RichContent(body="Which size?", quick_replies=["XS", "S", "M", "L", "XL"])


async def say(kit: RoomKit, room_id: str, content: EventContent) -> None:
    """Write from the desk."""
    message = InboundMessage(channel_id="desk", sender_id="clerk", content=content)
    await kit.process_inbound(message, room_id=room_id)


async def visit(
    whatsapp: WhatsAppSimulator, kit: RoomKit, provider: WhatsAppCloudProvider
) -> None:
    """Do what Meta and a person do."""
    picture = (b"\x89PNG a red shirt", "image/png")
    await whatsapp.receive(text="Do you have this?", media=picture, sender=PERSON)
    (room,) = await kit.store.list_rooms()
    asked = (await kit.get_timeline(room.id))[-1]
    await kit.attach_channel(room.id, "desk")
    media_id = asked.metadata["media_id"]
    print("picture:", len(await provider.download_media(media_id)), "bytes")
    await provider.mark_read(asked.source.external_id or "", typing=True)

    await say(kit, room.id, SIZES)
    rows = whatsapp.sent[-1].data["interactive"]["action"]["sections"][0]["rows"]
    print("choices:", ", ".join(row["title"] for row in rows))
    await whatsapp.status(whatsapp.sent[-1].id, "read")
    await whatsapp.receive(text="M", button="M", sender=PERSON)
    print("chosen:", (await kit.get_timeline(room.id))[-1].metadata["interactive_id"])

    whatsapp.outside_window.add(PERSON)
    await say(kit, room.id, TextContent(body="It has come!"))
    late = (await kit.get_timeline(room.id))[-1].delivery_results["wa"]
    print("a day later:", late["error"])
    result = await provider.send_template(PERSON, "order_ready", {"body": ["M", "red"]})
    print("template sent:", result.success)


async def simulated() -> None:
    """Play it all on this machine."""
    async with WhatsAppSimulator() as whatsapp:
        provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**whatsapp.settings))
        kit = RoomKit()
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(WhatsAppChannel("wa", provider=provider))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            print("status:", status.status)

        async with served(create_app(kit)) as url:
            whatsapp.statuses_url = f"{url}/webhooks/wa"
            await visit(whatsapp, kit, provider)


async def for_real() -> None:
    """Send one template with the account of the environment."""
    config = WhatsAppCloudConfig(
        access_token=SecretStr(os.environ["WHATSAPP_TOKEN"]),
        phone_number_id=os.environ["WHATSAPP_NUMBER_ID"],
    )
    provider = WhatsAppCloudProvider(config)
    result = await provider.send_template(os.environ["WHATSAPP_TO"], "hello_world")
    print("Meta says:", result.provider_message_id or result.error)
    await provider.close()


if __name__ == "__main__":
    asyncio.run(for_real() if "WHATSAPP_TOKEN" in os.environ else simulated())
