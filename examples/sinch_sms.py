"""Text messages through Sinch, both ways: pictures, delivery reports, and a rotated secret.

    python examples/sinch_sms.py

Prints what came in, how many batches the answer took, the reports, and the refusal of a forged
one. It needs ``roomkit[simulators]``.

With SINCH_PLAN, SINCH_TOKEN, SINCH_FROM and SINCH_TO set it sends one real text and says what
Sinch answered. Without, a simulator on this machine plays Sinch and a customer.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import CompositeContent, DeliveryStatus, MediaContent, RoomKit, SMSChannel
from roomkit.asgi import create_app
from roomkit.providers.sinch import SinchConfig, SinchSMSProvider
from roomkit.simulators import SinchSimulator, served
from roomkit.testing import make_event

CUSTOMER = "14155550100"
PHOTOS = [f"https://example.org/{name}.jpg" for name in ("front", "back")]
ALBUM = make_event(
    content=CompositeContent(
        parts=[MediaContent(url=url, mime_type="image/jpeg") for url in PHOTOS]
    )
)


async def for_real() -> None:
    """Send one text with the account of the environment."""
    config = SinchConfig(
        service_plan_id=os.environ["SINCH_PLAN"],
        api_token=SecretStr(os.environ["SINCH_TOKEN"]),
        from_number=os.environ["SINCH_FROM"],
    )
    provider = SinchSMSProvider(config)
    result = await provider.send(make_event(body="Hello from RoomKit"), os.environ["SINCH_TO"])
    print("Sinch says:", result)
    await provider.close()


async def simulated() -> None:
    """Let a customer write, answer with pictures, and hear what became of them."""
    async with SinchSimulator(webhook_secret="old-secret") as sinch:
        settings = sinch.settings | {
            "webhook_secret": "new-secret",
            "previous_secrets": ["old-secret"],
        }
        provider = SinchSMSProvider(SinchConfig(**settings))
        kit = RoomKit()
        kit.register_channel(SMSChannel("sms", provider=provider))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            print("status:", *filter(None, (status.status, status.error_message)))

        async with served(create_app(kit)) as url:
            await visit(sinch, provider, kit, f"{url}/webhooks/sms")


async def visit(
    sinch: SinchSimulator, provider: SinchSMSProvider, kit: RoomKit, endpoint: str
) -> None:
    """Do what customers, Sinch and forgers do."""
    answer = await sinch.receive(endpoint, "Any photos?", sender=CUSTOMER)
    (room,) = await kit.store.list_rooms()
    asked = (await kit.get_timeline(room.id))[-1]
    print("webhook:", answer.status, asked.content.model_dump()["body"])

    result = await provider.send(ALBUM, to=CUSTOMER)
    print("batches:", 1 + len(result.metadata["additional_message_ids"]))
    print("pictures:", [media for message in sinch.sent for media in message.media] == PHOTOS)
    await sinch.status(sinch.sent[0].id, "delivered", url=endpoint)
    await sinch.status(sinch.sent[1].id, "expired", url=endpoint)
    async with SinchSimulator(webhook_secret="guessed") as somebody_else:
        forged = await somebody_else.receive(endpoint, "Free money")
    print("forged:", forged.status)


if __name__ == "__main__":
    asyncio.run(for_real() if "SINCH_TOKEN" in os.environ else simulated())
