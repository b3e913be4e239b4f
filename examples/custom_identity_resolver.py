"""Finding out who writes: an address book, and a question for strangers.

    python examples/custom_identity_resolver.py

Prints who the known number is, how the message of the unknown one ended, and what was asked back.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    EventSource,
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    IdentityResolver,
    IdentityResult,
    InboundMessage,
    InjectedEvent,
    MockSMSProvider,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
)


class AddressBook(IdentityResolver):
    """Knows people by their phone numbers."""

    def __init__(self, people: dict[str, Identity]) -> None:
        self._people = people

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Look a number up."""
        person = self._people.get(message.sender_id)
        if person is None:
            return IdentityResult(status=IdentificationStatus.UNKNOWN)
        return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=person)


def written_by(number: str, text: str) -> InboundMessage:
    """Return a text message."""
    return InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body=text))


async def main() -> None:
    """Let somebody known and somebody unknown write."""
    phone = MockSMSProvider()
    book = AddressBook({"+15550100": Identity(id="ana", display_name="Ana")})
    async with RoomKit(identity_resolver=book) as kit:
        kit.register_channel(SMSChannel("sms", provider=phone))

        @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
        async def ask(
            event: RoomEvent, context: RoomContext, found: IdentityResult
        ) -> IdentityHookResult:
            question = RoomEvent(
                room_id=context.room.id,
                source=EventSource(channel_id="sms", channel_type=event.source.channel_type),
                content=TextContent(body="Who is this, please?"),
            )
            inject = InjectedEvent(event=question, target_channel_ids=["sms"])
            return IdentityHookResult.challenge(inject)

        known = await kit.process_inbound(written_by("+15550100", "Hello"))
        stranger = await kit.process_inbound(written_by("+15550199", "Hi"))

    assert known.event is not None
    print("known number:  ", known.event.source.participant_id)
    print("unknown number:", stranger.reason)
    print("sent to it:    ", phone.sent[0]["event"].content.body, "->", phone.sent[0]["to"])
    assert known.event.source.participant_id == "ana"
    assert stranger.blocked
    assert [call["to"] for call in phone.sent] == ["+15550199"]


if __name__ == "__main__":
    asyncio.run(main())
