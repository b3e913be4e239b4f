"""RCS through Twilio: a template with buttons, the answer to one, and whether SMS stood in.

    python examples/twilio_rcs.py

Prints the addresses that were written to, the template, the button pressed, and what delivered it.
It needs ``roomkit[simulators]``.

With TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_MESSAGING_SERVICE and TWILIO_TO set it sends one
real message and says what Twilio answered. Without, a simulator on this machine plays Twilio and a
phone.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import (
    DeliveryStatus,
    HookResult,
    HookTrigger,
    RCSChannel,
    RoomContext,
    RoomEvent,
    RoomKit,
    TemplateContent,
    TextContent,
)
from roomkit.asgi import create_app
from roomkit.providers.twilio import TwilioRCSConfig, TwilioRCSProvider
from roomkit.simulators import TwilioSimulator, served
from roomkit.testing import make_event

PHONE = "+14155550100"
HELLO = make_event(content=TextContent(body="Your table is ready."))
BOOKING = make_event(
    content=TemplateContent(
        template_id="HX00000000000000000000000000000001",
        parameters={"1": "Ana"},
        body="Ana, is eight o'clock fine?",
    )
)


async def for_real() -> None:
    """Send one message with the account of the environment."""
    config = TwilioRCSConfig(
        account_sid=os.environ["TWILIO_ACCOUNT_SID"],
        auth_token=SecretStr(os.environ["TWILIO_AUTH_TOKEN"]),
        messaging_service_sid=os.environ["TWILIO_MESSAGING_SERVICE"],
    )
    provider = TwilioRCSProvider(config)
    print("Twilio says:", await provider.send(HELLO, os.environ["TWILIO_TO"]))
    await provider.close()


async def simulated() -> None:
    """Play both ends."""
    async with TwilioSimulator() as twilio:
        provider = TwilioRCSProvider(TwilioRCSConfig(**twilio.rcs_settings))
        kit = RoomKit()
        kit.register_channel(RCSChannel("rcs", provider=provider))

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def show(event: RoomEvent, context: RoomContext) -> HookResult:
            pressed = event.metadata["button_payload"]
            print(f"{event.metadata['phone_number']} pressed {pressed}:", event.content.type)
            return HookResult.allow()

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            way = "rcs" if status.sender.startswith("rcs:") else "sms"
            print(f"{status.status} by {way}")

        async with served(create_app(kit)) as url:
            await visit(twilio, provider, f"{url}/webhooks/rcs")


async def visit(twilio: TwilioSimulator, provider: TwilioRCSProvider, endpoint: str) -> None:
    """Send a text and a template; press a button; tell what became of them."""
    may_be_sms = await provider.send(HELLO, PHONE)
    await provider.send(HELLO, PHONE, fallback=False)
    template = await provider.send(BOOKING, PHONE)
    print("to:", ", ".join(message.to for message in twilio.sent))
    print("template:", twilio.sent[-1].data["ContentVariables"])
    await twilio.receive(endpoint, sender=PHONE, rcs=True, button=("Yes", "confirm-8pm"))
    await twilio.status(
        may_be_sms.provider_message_id or "", "delivered", url=endpoint, by_sms=True
    )
    await twilio.status(template.provider_message_id or "", "read", url=endpoint)


if __name__ == "__main__":
    asyncio.run(for_real() if "TWILIO_AUTH_TOKEN" in os.environ else simulated())
