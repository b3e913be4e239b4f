"""Text messages through Telnyx, both ways: a question, a long answer in pieces, and its receipts.

    python examples/telnyx_sms.py

Prints what came in, how a busy vendor is told, the lengths of the pieces, the receipts, and the
refusal of a forgery. It needs ``roomkit[simulators,signatures]``.

With TELNYX_API_KEY, TELNYX_FROM and TELNYX_TO set it sends one real text and says what Telnyx
answered. Without, a simulator on this machine plays Telnyx and a customer: it checks requests as
strictly as the vendor and signs its callbacks with a key of its own.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import DeliveryStatus, RoomKit, SMSChannel
from roomkit.asgi import create_app
from roomkit.providers.telnyx import TelnyxConfig, TelnyxSMSProvider
from roomkit.simulators import TelnyxSimulator, error, served
from roomkit.testing import make_event

CUSTOMER = "+14155550100"
ANSWER = make_event(body="We open at nine \u2615. " * 40)


async def for_real() -> None:
    """Send one text with the account of the environment."""
    config = TelnyxConfig(
        api_key=SecretStr(os.environ["TELNYX_API_KEY"]), from_number=os.environ["TELNYX_FROM"]
    )
    provider = TelnyxSMSProvider(config)
    result = await provider.send(make_event(body="Hello from RoomKit"), os.environ["TELNYX_TO"])
    print("Telnyx says:", result)
    await provider.close()


async def simulated() -> None:
    """Let a customer write, answer, and hear what became of the answer."""
    async with TelnyxSimulator() as telnyx:
        provider = TelnyxSMSProvider(TelnyxConfig(**telnyx.settings), telnyx.public_key)
        kit = RoomKit()
        kit.register_channel(SMSChannel("sms", provider=provider))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            print("status:", *filter(None, (status.status, status.error_message)))

        async with served(create_app(kit)) as url:
            await visit(telnyx, provider, kit, f"{url}/webhooks/sms")


async def visit(
    telnyx: TelnyxSimulator, provider: TelnyxSMSProvider, kit: RoomKit, endpoint: str
) -> None:
    """Do what customers, Telnyx and forgers do."""
    answer = await telnyx.receive(endpoint, "Are you open?", sender=CUSTOMER)
    (room,) = await kit.store.list_rooms()
    asked = (await kit.get_timeline(room.id))[-1]
    print("webhook:", answer.status, asked.content.model_dump()["body"])

    telnyx.script(error(429, retry_after=3))
    busy = await provider.send(ANSWER, to=CUSTOMER)
    print("busy:", busy.error, busy.metadata["retry_after"])
    result = await provider.send(ANSWER, to=CUSTOMER)
    print("pieces:", [len(message.text) for message in telnyx.sent])

    await telnyx.status(result.provider_message_id or "", "delivered", url=endpoint)
    await telnyx.status(telnyx.sent[-1].id, "delivery_failed", url=endpoint)
    async with TelnyxSimulator(seed=bytes(32)) as somebody_else:
        forged = await somebody_else.receive(endpoint, "Free money")
    print("forged:", forged.status)


if __name__ == "__main__":
    asyncio.run(for_real() if "TELNYX_API_KEY" in os.environ else simulated())
