"""RCS through Telnyx: cards and buttons, the answer to one, typing, and SMS standing in.

    python examples/telnyx_rcs.py

Prints how each phone was reached, the cards and buttons it was shown, what was tapped, and the
signals. It needs ``roomkit[simulators,signatures]``.

With TELNYX_API_KEY, TELNYX_AGENT, TELNYX_PROFILE and TELNYX_TO set it sends one real message and
says what Telnyx answered. Without, a simulator on this machine plays Telnyx and two phones, one of
them without RCS.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import InboundMessage, RichContent, WebhookRequest
from roomkit.providers.telnyx import TelnyxRCSConfig, TelnyxRCSProvider
from roomkit.simulators import TelnyxSimulator
from roomkit.testing import make_event

PHONE, OLD_PHONE = "+14155550100", "+14155550111"
HELLO = make_event(body="Your table is ready.")
MENU = make_event(
    content=RichContent(
        body="Tonight:",
        cards=[
            {"title": "Soup", "subtitle": "of the day", "buttons": [{"text": "Soup, please"}]},
            {"title": "Fish", "image_url": "https://example.org/fish.jpg"},
        ],
        buttons=[{"text": "Our page", "url": "https://example.org/"}],
        quick_replies=["Later"],
    )
)


async def for_real() -> None:
    """Send one message with the account of the environment."""
    config = TelnyxRCSConfig(
        api_key=SecretStr(os.environ["TELNYX_API_KEY"]),
        agent_id=os.environ["TELNYX_AGENT"],
        messaging_profile_id=os.environ["TELNYX_PROFILE"],
    )
    provider = TelnyxRCSProvider(config)
    print("Telnyx says:", await provider.send(HELLO, os.environ["TELNYX_TO"]))
    await provider.close()


async def simulated() -> None:
    """Play both ends."""
    async with TelnyxSimulator(without_rcs=[OLD_PHONE]) as telnyx:
        provider = TelnyxRCSProvider(TelnyxRCSConfig(**telnyx.rcs_settings), telnyx.public_key)
        for phone in (PHONE, OLD_PHONE):
            able = await provider.check_capability(phone)
            result = await provider.send(HELLO, phone)
            print(f"{phone}: RCS {able}, sent by {result.channel_used}")
        alone = await provider.send(HELLO, OLD_PHONE, fallback=False)
        print("without fallback:", alone.error)
        await show_menu(telnyx, provider)
        await tap(telnyx, provider)
        await provider.close()


async def show_menu(telnyx: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
    """Type, then send cards with buttons under them."""
    await provider.send_typing(PHONE)
    await provider.send(MENU, PHONE)
    shown = telnyx.sent[-1].data["agent_message"]["content_message"]
    cards = shown["rich_card"]["carousel_card"]["card_contents"]
    print("cards:", ", ".join(card["title"] for card in cards))
    print("below:", ", ".join(kind for s in shown["suggestions"] for kind in s))


async def tap(telnyx: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
    """Read the callback of a tapped button, as an endpoint does."""
    tapped = {"text": "Soup, please", "postback_data": "Soup, please"}
    payload = telnyx.inbound_rcs(suggestion_response=tapped, message_id="tap-1")
    body, headers = telnyx.callback("message.received", payload)
    request = WebhookRequest("POST", "https://example.org/", headers, {}, body, channel_id="rcs")
    handler = provider.webhook()
    await handler.verify(request)
    (message,) = handler.read(request)
    assert isinstance(message, InboundMessage)
    await provider.mark_read(["tap-1"], PHONE, message.sender_id)
    print("tapped:", message.content.model_dump()["body"])
    signals = [r.json["agent_message"].get("event") for r in telnyx.requests if r.body]
    print("signals:", ", ".join(signal["event_type"] for signal in signals if signal))


if __name__ == "__main__":
    asyncio.run(for_real() if "TELNYX_API_KEY" in os.environ else simulated())
