"""Text messages through Twilio, both ways: a question, an answer, its receipt, and a STOP.

    python examples/twilio_sms.py

Prints the answer to the webhook, the text that was sent and what it takes, its receipt, the
refusal of a forgery, and what follows a STOP. It needs ``roomkit[simulators]``.

With TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM and TWILIO_TO set it sends one real text
and says what Twilio answered. Without, a simulator on this machine plays Twilio and a customer: it
checks requests as strictly as the vendor and signs its callbacks.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import (
    DeliveryStatus,
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.sms import count_segments
from roomkit.providers.twilio import TwilioConfig, TwilioSMSProvider
from roomkit.simulators import TwilioSimulator, served

CUSTOMER = "+14155550100"
ANSWER = "We open at nine \u2615 and close at five."


def make_kit(config: TwilioConfig) -> RoomKit:
    """Return a kit with a desk and a phone number."""
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
    return kit


async def say(kit: RoomKit, room_id: str, text: str) -> None:
    """Write from the desk."""
    message = InboundMessage(channel_id="desk", sender_id="clerk", content=TextContent(body=text))
    await kit.process_inbound(message, room_id=room_id)


async def for_real() -> None:
    """Send one text with the account of the environment."""
    config = TwilioConfig(
        account_sid=os.environ["TWILIO_ACCOUNT_SID"],
        auth_token=SecretStr(os.environ["TWILIO_AUTH_TOKEN"]),
        from_number=os.environ["TWILIO_FROM"],
    )
    async with make_kit(config) as kit:
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        phone = {"phone_number": os.environ["TWILIO_TO"]}
        await kit.attach_channel(room.id, "sms", metadata=phone)
        await say(kit, room.id, ANSWER)
        stored = (await kit.get_timeline(room.id))[-1]
        print("Twilio says:", stored.delivery_results["sms"])


async def simulated() -> None:
    """Let a customer write, answer, and hear what became of the answer."""
    async with TwilioSimulator() as twilio:
        kit = make_kit(TwilioConfig(**twilio.settings))

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def consent(event: RoomEvent, context: RoomContext) -> HookResult:
            if keyword := event.metadata.get("keyword"):
                print("keyword:", keyword)
            return HookResult.allow()

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            print("status:", status.status)

        async with served(create_app(kit)) as url:
            endpoint = f"{url}/webhooks/sms"
            await visit(twilio, kit, endpoint)


async def visit(twilio: TwilioSimulator, kit: RoomKit, endpoint: str) -> None:
    """Do what customers, Twilio and forgers do."""
    answer = await twilio.receive(endpoint, text="Are you open?", sender=CUSTOMER)
    print("webhook:", answer.status, answer.text[-11:])
    (room,) = await kit.store.list_rooms()
    await kit.attach_channel(room.id, "desk")
    await say(kit, room.id, ANSWER)
    sent = twilio.sent[-1]
    print("to the customer:", sent.text)
    print("takes:", count_segments(sent.text))
    status = await twilio.status(sent.id, "delivered", url=endpoint)
    print("webhook:", status.status)
    forged = await twilio.receive(endpoint, text="Free money", token="wrong")
    print("forged:", forged.status)
    await twilio.receive(endpoint, text="STOP", sender=CUSTOMER)
    await say(kit, room.id, "Are you sure?")
    refused = (await kit.get_timeline(room.id))[-1].delivery_results["sms"]
    print("after STOP:", refused["error"])


if __name__ == "__main__":
    asyncio.run(for_real() if "TWILIO_AUTH_TOKEN" in os.environ else simulated())
