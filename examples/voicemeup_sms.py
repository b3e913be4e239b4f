"""Text messages through VoiceMeUp, both ways; a picture that comes in two halves.

    python examples/voicemeup_sms.py

Prints what came in with and without the token, the pieces of the answer, and the picture put
together again. It needs ``roomkit[simulators]``.

With VOICEMEUP_USER, VOICEMEUP_TOKEN, VOICEMEUP_FROM and VOICEMEUP_TO set it sends one real text
and says what VoiceMeUp answered. Without, a simulator on this machine plays VoiceMeUp and a
customer. VoiceMeUp signs nothing: the endpoint asks for a token in its URL.
"""

from __future__ import annotations

import asyncio
import os

from pydantic import SecretStr

from roomkit import InboundMessage, RoomKit, SMSChannel
from roomkit.asgi import create_app
from roomkit.providers.voicemeup import (
    VoiceMeUpConfig,
    VoiceMeUpMMSAggregator,
    VoiceMeUpSMSProvider,
)
from roomkit.simulators import VoiceMeUpSimulator, served
from roomkit.testing import ManualClock, make_event

CUSTOMER = "14155550100"
TOKEN = "hard-to-guess"
PHOTO = "https://example.org/leak.jpg"


async def for_real() -> None:
    """Send one text with the account of the environment."""
    config = VoiceMeUpConfig(
        username=os.environ["VOICEMEUP_USER"],
        auth_token=SecretStr(os.environ["VOICEMEUP_TOKEN"]),
        from_number=os.environ["VOICEMEUP_FROM"],
    )
    provider = VoiceMeUpSMSProvider(config)
    result = await provider.send(make_event(body="Hello"), os.environ["VOICEMEUP_TO"])
    print("VoiceMeUp says:", result)
    await provider.close()


async def simulated() -> None:
    """Let a customer write and answer with a long text."""
    async with VoiceMeUpSimulator() as voicemeup:
        provider = VoiceMeUpSMSProvider(VoiceMeUpConfig(**voicemeup.settings))
        kit = RoomKit()
        kit.register_channel(SMSChannel("sms", provider=provider))
        async with served(create_app(kit, unsigned={"sms": TOKEN})) as url:
            endpoint = f"{url}/webhooks/sms"
            unknown = await voicemeup.receive(endpoint, "Free money")
            answer = await voicemeup.receive(f"{endpoint}?token={TOKEN}", "Help, a leak!")
            print("without the token:", "refused" if unknown.status >= 400 else "let in")
            print("webhook:", answer.status)
            (room,) = await kit.store.list_rooms()
            asked = (await kit.get_timeline(room.id))[-1]
            print("asked:", asked.content.model_dump()["body"])
            result = await provider.send(make_event(body="On our way. " * 100), to=CUSTOMER)
            print("pieces:", len(result.metadata["segment_ids"]))
        await join(voicemeup)


async def join(voicemeup: VoiceMeUpSimulator) -> None:
    """Join the halves of one picture message; wait in vain for those of another."""
    clock, alone = ManualClock(), list[InboundMessage]()
    aggregator = VoiceMeUpMMSAggregator(5.0, alone.append, clock=clock)
    first, second = voicemeup.halves("It drips here", PHOTO, sender=CUSTOMER)
    print("the first half:", aggregator.take(first, "sms"))
    whole = aggregator.take(second, "sms")
    assert whole is not None
    print("the whole:", whole.content.model_dump(include={"caption", "url"}))
    aggregator.take(voicemeup.halves("And here", PHOTO, sender=CUSTOMER)[0], "sms")
    await clock.advance(5)
    print("alone:", [message.content.model_dump()["body"] for message in alone])
    await aggregator.close()


if __name__ == "__main__":
    asyncio.run(for_real() if "VOICEMEUP_TOKEN" in os.environ else simulated())
