"""What every provider that carries messages must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from inspect import iscoroutine
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import MediaContent
from roomkit.models.delivery import ProviderResult
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._suite import PATIENCE, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.event import RoomEvent
    from roomkit.providers.base import Provider


class ProviderConformance(Suite, ABC):
    """One message a call, an answer each time. Implement ``make_provider``."""

    recipient = "+15551234567"
    """An address the provider accepts."""

    @abstractmethod
    async def make_provider(self) -> Provider:
        """Return a new provider whose vendor (or stand-in) accepts everything."""

    async def make_refused(self) -> Provider | None:
        """Return a provider whose vendor refuses everything; None if that cannot be made."""
        return None

    def event(self) -> RoomEvent:
        """Return something the provider can send."""
        return make_event(body="hello")

    @pytest_asyncio.fixture
    async def provider(self) -> AsyncIterator[Provider]:
        """A provider of the test's own."""
        provider = await self.make_provider()
        yield provider
        await provider.close()

    async def test_a_send_succeeds(self, provider: Provider) -> None:
        """The answer is a successful result under the vendor's id, without an error."""
        async with asyncio.timeout(PATIENCE):
            result = await provider.send(self.event(), self.recipient)
        assert isinstance(result, ProviderResult)
        assert result.success
        assert result.error is None

    async def test_sends_may_overlap(self, provider: Provider) -> None:
        """Several at once each get an answer of their own."""
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(
                *(provider.send(self.event(), self.recipient) for _ in range(5))
            )
        ids = [r.provider_message_id for r in results if r.provider_message_id is not None]
        assert all(result.success for result in results)
        assert len(set(ids)) == len(ids)

    async def test_a_send_leaves_its_event_alone(self, provider: Provider) -> None:
        """The event is shared: nothing in it changes."""
        event = self.event()
        before = event.model_dump()
        await provider.send(event, self.recipient)
        assert event.model_dump() == before

    async def test_content_it_cannot_carry_is_answered(self, provider: Provider) -> None:
        """Whatever comes, the answer is a result: nothing but a failure of ours raises."""
        media = MediaContent(url="https://example.org/a.pdf", mime_type="application/pdf")
        async with asyncio.timeout(PATIENCE):
            result = await provider.send(make_event(content=media), self.recipient)
        assert isinstance(result, ProviderResult)
        assert result.success or result.error

    async def test_a_refusal_is_an_answer(self) -> None:
        """A vendor that says no gives ``success=False`` and a short code, no exception."""
        provider = await self.make_refused()
        if provider is None:
            pytest.skip("no vendor that refuses")
        try:
            result = await provider.send(self.event(), self.recipient)
            assert not result.success
            assert result.error
            assert len(result.error) <= 80
        finally:
            await provider.close()

    async def test_it_says_what_it_is(self, provider: Provider) -> None:
        """A name, and capabilities that are always the same; neither needs the vendor."""
        assert isinstance(provider.name, str)
        assert provider.name
        capabilities = provider.capabilities()
        assert capabilities is None or isinstance(capabilities, ChannelCapabilities)
        assert provider.capabilities() is capabilities

    async def test_signals_it_lacks_are_refused_politely(self, provider: Provider) -> None:
        """The optional calls can be made; False means there is no such signal."""
        async with asyncio.timeout(PATIENCE):
            answers = [
                await provider.send_typing(self.recipient, is_typing=True),
                await provider.mark_read(["m-1"], self.recipient, self.recipient),
                await provider.send_reaction(self.recipient, self.recipient, "m-1", "+"),
            ]
        assert all(answer in (True, False, None) for answer in answers)

    async def test_it_keeps_its_secrets(self, provider: Provider) -> None:
        """``repr`` holds none of the secrets named in ``secrets``."""
        assert not any(secret in repr(provider) for secret in self.secrets)

    secrets: tuple[str, ...] = ()
    """Tokens, passwords and keys the provider was made with."""

    async def test_close_is_idempotent(self, provider: Provider) -> None:
        """Closing twice is fine, and closing is asynchronous."""
        closing = provider.close()
        assert iscoroutine(closing)
        await closing
        await provider.close()
