"""A personal WhatsApp account: how provider, source and channel go together.

    python examples/whatsapp_personal.py

Prints what is sent to a group, and what is said while the account is away.

Linking an account takes a phone and the package neonize, so this program plays the account's
client itself, in a few lines. With WHATSAPP_PERSONAL_DB set to a path (and the extra
``whatsapp-personal``) it links a real one: scan the codes it prints, then write to it.
"""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

from roomkit import (
    CompositeContent,
    InboundMessage,
    MediaContent,
    RichContent,
    RoomKit,
    TextContent,
    WebSocketChannel,
    WhatsAppPersonalChannel,
)
from roomkit.providers.whatsapp.personal import WhatsAppPersonalProvider
from roomkit.sources import NeonizeSource, SourceStatus

GROUP = "12025550123-1612345678@g.us"


class PlayedSource:
    """As much of a linked source as the provider asks for; it prints instead of sending."""

    status = SourceStatus.CONNECTED

    def __init__(self) -> None:
        self.client = self
        self._sent = 0

    async def send_message(self, to: Any, text: str) -> Any:
        """Print a text."""
        return self._note("text", text)

    async def send_image(self, to: Any, file: Any, *, caption: str) -> Any:
        """Print a picture's caption."""
        return self._note("image", caption)

    async def send_composing(self, jid: Any, *, media: str) -> None:
        """Print that somebody types."""
        print("typing...")

    def _note(self, kind: str, words: str) -> Any:
        self._sent += 1
        print(f"{kind}: {words}")
        return SimpleNamespace(ID=f"WA{self._sent}")


async def played() -> None:
    """Send a few things to a group nobody is in."""
    source = PlayedSource()
    provider = WhatsAppPersonalProvider(cast("Any", source))
    provider.on_sent = lambda event_id, message_id: print("  as", message_id)
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(WhatsAppPersonalChannel("wa", provider=provider))
    async with kit:
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        await kit.attach_channel(room.id, "wa", metadata={"phone_number": GROUP})
        await provider.send_typing(GROUP)
        picture = MediaContent(url="https://example.org/boat.png", mime_type="image/png")
        for content in (
            TextContent(body="The boat is ready."),
            CompositeContent(parts=[TextContent(body="Here she is"), picture]),
            RichContent(body="**Sails** at nine", plain_text="Sails at nine"),
        ):
            message = InboundMessage(channel_id="desk", sender_id="ana", content=content)
            await kit.process_inbound(message, room_id=room.id)
        source.status = SourceStatus.RECONNECTING
        late = InboundMessage(
            channel_id="desk", sender_id="ana", content=TextContent(body="Anybody?")
        )
        await kit.process_inbound(late, room_id=room.id)
        print("while away:", (await kit.get_timeline(room.id))[-1].delivery_results["wa"]["error"])


async def linked(path: str) -> None:
    """Link an account and answer what is written to it, until interrupted."""

    async def show(kind: str, data: dict[str, Any]) -> None:
        print(kind, data.get("codes", [""])[0])

    source = NeonizeSource(path, channel_id="wa", on_event=show)
    kit = RoomKit()
    kit.register_channel(WhatsAppPersonalChannel("wa", provider=WhatsAppPersonalProvider(source)))
    async with kit:
        await kit.attach_source("wa", source)
        await asyncio.Event().wait()


if __name__ == "__main__":
    database = os.environ.get("WHATSAPP_PERSONAL_DB")
    asyncio.run(linked(database) if database else played())
