"""Promises of the documents that no other test shows."""

from __future__ import annotations

import pytest

from roomkit import (
    InboundMessage,
    MockSMSProvider,
    ProviderResult,
    RetryPolicy,
    RoomKit,
    SMSChannel,
    TextContent,
)
from roomkit.testing import SimpleChannel


class KeyedProvider(MockSMSProvider):
    """A vendor that recognises a delivery's id."""

    sends_idempotency_key = True


class TestAmbiguous:
    """What a vendor may have taken is repeated only where it recognises a repeat."""

    @pytest.mark.parametrize(
        ("kind", "sends", "status"),
        [(MockSMSProvider, 1, "failed"), (KeyedProvider, 2, "sent")],
        ids=["without a key", "with a key"],
    )
    async def test_it_is_repeated_only_with_a_key(
        self, kind: type[MockSMSProvider], sends: int, status: str
    ) -> None:
        """The same lost answer: one send and a failure, or a second send under the same id."""
        lost = ProviderResult(success=False, error="timeout", metadata={"ambiguous": True})
        phone = kind(results=[lost])
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("web"))
            kit.register_channel(SMSChannel("sms", provider=phone))
            room = await kit.create_room()
            await kit.attach_channel(room.id, "web")
            await kit.attach_channel(
                room.id,
                "sms",
                metadata={"phone_number": "+15550100"},
                retry_policy=RetryPolicy(max_retries=3, base_delay_seconds=0.001),
            )
            result = await kit.process_inbound(
                InboundMessage(channel_id="web", sender_id="ana", content=TextContent(body="Hi")),
                room_id=room.id,
            )
            assert result.event is not None
            (event,) = [e for e in await kit.get_timeline(room.id) if e.id == result.event.id]
        assert len(phone.sent) == sends
        assert event.delivery_results["sms"]["status"] == status
