"""Mail through SendGrid, both ways: a question, an answer, what became of it, and a reply.

    python examples/sendgrid_email.py

Prints the mails of both sides with their threads, the event of the answer, and a webhook refused.
It needs ``roomkit[simulators,signatures]``.

With SENDGRID_API_KEY, SENDGRID_FROM and SENDGRID_TO set it sends one real mail and says what
SendGrid answered. Without, a simulator on this machine plays SendGrid and a customer: it checks
requests as strictly as the vendor and signs its events.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import (
    DeliveryStatus,
    EmailChannel,
    InboundMessage,
    RoomKit,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.sendgrid import SendGridConfig, SendGridEmailProvider
from roomkit.simulators import SendGridSimulator, served

# Inbound Parse signs nothing by itself: whoever knows this token may post mail.
TOKEN = "a-long-token-nobody-guesses"
CUSTOMER = "ana@example.org"


def make_kit(config: SendGridConfig) -> RoomKit:
    """Return a kit with a desk and a mail address."""
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(EmailChannel("mail", provider=SendGridEmailProvider(config)))
    return kit


async def say(kit: RoomKit, room_id: str, text: str) -> None:
    """Write from the desk."""
    message = InboundMessage(channel_id="desk", sender_id="clerk", content=TextContent(body=text))
    await kit.process_inbound(message, room_id=room_id)


async def for_real() -> None:
    """Send one mail with the account of the environment."""
    config = SendGridConfig(
        api_key=SecretStr(os.environ["SENDGRID_API_KEY"]),
        from_email=os.environ["SENDGRID_FROM"],
        default_subject="Our opening hours",
    )
    async with make_kit(config) as kit:
        room = await kit.create_room()
        await kit.attach_channel(room.id, "desk")
        address = {"email_address": os.environ["SENDGRID_TO"]}
        await kit.attach_channel(room.id, "mail", metadata=address)
        await say(kit, room.id, "We open at nine.")
        stored = (await kit.get_timeline(room.id))[-1]
        print("SendGrid says:", stored.delivery_results["mail"])


async def simulated() -> None:
    """Let a customer write, answer, and hear what became of the answer."""
    async with SendGridSimulator() as sendgrid:
        kit = make_kit(SendGridConfig(**sendgrid.settings))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            print("event:", status.status)

        async with served(create_app(kit, unsigned={"mail": TOKEN})) as url:
            await visit(sendgrid, kit, f"{url}/webhooks/mail")


async def visit(sendgrid: SendGridSimulator, kit: RoomKit, endpoint: str) -> None:
    """Do what the customer, SendGrid and a stranger do."""
    posted = f"{endpoint}?token={TOKEN}"
    answer = await sendgrid.receive(
        posted, text="Are you open?", subject="Hours", sender=CUSTOMER, message_id="1@example.org"
    )
    print("mail came in:", answer.status)
    (room,) = await kit.store.list_rooms()
    await kit.attach_channel(room.id, "desk")
    await say(kit, room.id, "We open at nine.")
    sent = sendgrid.sent[-1]
    print(f"to {sent.to}: {sent.text}")
    events = f"{endpoint}/events?token={TOKEN}"
    await sendgrid.status(sent.id, "delivered", url=events)

    reply = f"Thank you!\n\nOn 21 Nov 2026, at 10:00, the shop wrote:\n\n> {sent.text}\n"
    await sendgrid.receive(
        posted, text=reply, subject="Re: Hours", sender=CUSTOMER, references=["1@example.org"]
    )
    mails = [e for e in await kit.get_timeline(room.id) if e.source.channel_id == "mail"]
    for mail in mails:
        print(f"in thread {mail.channel_data.thread_id}: {getattr(mail.content, 'body', '')}")
    print("quoted lines kept aside:", len(mails[-1].metadata["quoted"].splitlines()))
    print("rooms:", len(await kit.store.list_rooms()))
    forged = await sendgrid.receive(f"{endpoint}?token=wrong", text="Free money")
    print("without the token:", forged.status)


if __name__ == "__main__":
    asyncio.run(for_real() if "SENDGRID_API_KEY" in os.environ else simulated())
