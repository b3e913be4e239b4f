"""A vendor's wish to wait is honoured, up to a bound."""

from __future__ import annotations

from roomkit import (
    InboundMessage,
    ManualClock,
    MockSMSProvider,
    ProviderResult,
    RetryPolicy,
    RoomKit,
    SMSChannel,
    TextContent,
)
from roomkit.testing import SimpleChannel


class TestRetryAfter:
    """No answer of a vendor can stop a lane for ever."""

    async def test_an_absurd_wait_is_an_hour(self) -> None:
        """A vendor that asks for thirty years gets the second attempt after an hour."""
        clock = ManualClock()
        refusal = ProviderResult(success=False, error="busy", metadata={"retry_after": 1e9})
        provider = MockSMSProvider(results=[refusal])
        kit = RoomKit(clock=clock, settle_timeout=0.01)
        kit.register_channel(SimpleChannel("a"))
        kit.register_channel(SMSChannel("sms", provider=provider))
        await kit.create_room("r")
        await kit.attach_channel("r", "a")
        await kit.attach_channel(
            "r",
            "sms",
            metadata={"phone_number": "+15550100"},
            retry_policy=RetryPolicy(max_retries=1),
        )
        message = InboundMessage(channel_id="a", sender_id="x", content=TextContent(body="hi"))
        await kit.process_inbound(message)
        await clock.advance(3599)
        assert len(provider.sent) == 1
        await clock.advance(1)
        assert len(provider.sent) == 2
        assert await kit.drain(5)
        (event,) = [e for e in await kit.get_timeline("r") if e.type == "message"]
        assert event.delivery_results["sms"]["status"] == "sent"
        assert event.delivery_results["sms"]["attempts"] == 2
        await kit.close()
