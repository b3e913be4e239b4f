"""RCS: the base class and the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.models.delivery import ProviderResult
from roomkit.providers.rcs import MockRCSProvider, RCSProvider
from roomkit.providers.rcs.base import RCSDeliveryResult
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent


class FlareRCSProvider(RCSProvider):
    """The least an RCS provider must be."""

    @property
    def sender_id(self) -> str:
        return "flare"

    async def send(self, event: RoomEvent, to: str, *, fallback: bool = True) -> RCSDeliveryResult:
        return RCSDeliveryResult(success=True)


class TestRCSProvider:
    """A vendor fills in agent and ``send``; the rest has documented answers."""

    async def test_the_optional_parts_say_that_they_are_missing(self) -> None:
        provider = FlareRCSProvider()
        assert provider.supports_fallback
        with pytest.raises(
            NotImplementedError,
            match=r"^FlareRCSProvider does not support RCS capability checking$",
        ):
            await provider.check_capability("+15145550100")
        with pytest.raises(NotImplementedError):
            await provider.parse_webhook({})
        with pytest.raises(NotImplementedError, match="webhook signature verification"):
            provider.verify_signature(b"", "")

    def test_a_result_went_by_rcs_unless_it_says_otherwise(self) -> None:
        result = RCSDeliveryResult(success=True)
        assert isinstance(result, ProviderResult)
        assert (result.channel_used, result.fallback) == ("rcs", False)


class TestMockRCSProvider:
    """Plays phones with RCS, phones without, and a broken vendor."""

    async def test_phones_with_rcs(self) -> None:
        provider = MockRCSProvider()
        event = an_event()
        first = await provider.send(event, "+15145550100")
        second = await provider.send(event, "+15145550100", fallback=False)
        assert provider.sender_id == "mock_rcs_agent"
        assert (first.provider_message_id, first.channel_used) == ("mock_rcs_1", "rcs")
        assert (second.provider_message_id, second.fallback) == ("mock_rcs_2", False)
        assert provider.calls == [
            {"event": event, "to": "+15145550100", "fallback": True},
            {"event": event, "to": "+15145550100", "fallback": False},
        ]
        assert await provider.check_capability("+15145550100")

    async def test_phones_without_rcs(self) -> None:
        provider = MockRCSProvider("agent", simulate_fallback=True)
        allowed = await provider.send(an_event(), "a")
        refused = await provider.send(an_event(), "a", fallback=False)
        assert provider.sender_id == "agent"
        assert allowed.provider_message_id == "mock_sms_1"
        assert (allowed.channel_used, allowed.fallback) == ("sms", True)
        assert refused.provider_message_id == "mock_rcs_2"
        assert (refused.channel_used, refused.fallback) == ("rcs", False)
        assert not await provider.check_capability("a")

    async def test_a_broken_vendor(self) -> None:
        provider = MockRCSProvider(simulate_failure=True)
        result = await provider.send(an_event(), "a")
        assert (result.success, result.error) == (False, "simulated_failure")
        assert result.provider_message_id is None
        assert len(provider.calls) == 1

    async def test_scripted_results_keep_their_facts(self) -> None:
        """A plain result comes out as an RCS one; an RCS one as it is."""
        own = RCSDeliveryResult(success=True, channel_used="sms", fallback=True)
        plain = ProviderResult(success=False, error="rate_limit", metadata={"retry_after": 1.0})
        provider = MockRCSProvider(results=[plain, own])
        first = await provider.send(an_event(), "a")
        assert isinstance(first, RCSDeliveryResult)
        assert (first.error, first.metadata) == ("rate_limit", {"retry_after": 1.0})
        assert await provider.send(an_event(), "a") is own

    async def test_reset_counts_ids_from_one(self) -> None:
        provider = MockRCSProvider()
        await provider.send(an_event(), "a")
        provider.reset()
        assert (await provider.send(an_event(), "a")).provider_message_id == "mock_rcs_1"
