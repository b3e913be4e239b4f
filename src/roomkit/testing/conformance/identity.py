"""What every identity resolver must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import IdentityResult
from roomkit.models.room import Room
from roomkit.testing.conformance._suite import PATIENCE, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.identity.base import IdentityResolver


class IdentityResolverConformance(Suite, ABC):
    """An answer for everybody, the same each time. Implement ``make_resolver``."""

    known = "known-sender"
    """A sender the resolver identifies."""

    known_identity = "known-identity"
    """Whom it identifies them as."""

    unknown = "unknown-sender"
    """A sender it knows nothing about."""

    ambiguous: str | None = None
    """A sender who may be several people, if the resolver can tell."""

    @abstractmethod
    async def make_resolver(self) -> IdentityResolver:
        """Return a new resolver that knows ``known`` and not ``unknown``."""

    @pytest_asyncio.fixture
    async def resolver(self) -> AsyncIterator[IdentityResolver]:
        """A resolver of the test's own."""
        yield await self.make_resolver()

    async def ask(self, resolver: IdentityResolver, sender: str) -> IdentityResult:
        """Ask who a sender is."""
        message = InboundMessage(
            channel_id="sms", sender_id=sender, content=TextContent(body="hello")
        )
        context = RoomContext(room=Room(id="room-1"))
        async with asyncio.timeout(PATIENCE):
            return await resolver.resolve(message, context)

    async def test_a_known_sender_is_identified(self, resolver: IdentityResolver) -> None:
        """With the identity they are."""
        result = await self.ask(resolver, self.known)
        assert isinstance(result, IdentityResult)
        assert result.status == IdentificationStatus.IDENTIFIED
        assert result.identity is not None
        assert result.identity.id == self.known_identity

    async def test_an_unknown_sender_is_nobody(self, resolver: IdentityResolver) -> None:
        """The status says so and no identity comes along; an empty address is fine."""
        for sender in (self.unknown, ""):
            result = await self.ask(resolver, sender)
            assert result.status in set(IdentificationStatus) - {IdentificationStatus.IDENTIFIED}
            assert result.identity is None

    async def test_an_ambiguous_sender_has_candidates(self, resolver: IdentityResolver) -> None:
        """At least two people to choose from."""
        if self.ambiguous is None:
            pytest.skip("the resolver knows nobody twice")
        result = await self.ask(resolver, self.ambiguous)
        assert result.status == IdentificationStatus.AMBIGUOUS
        assert result.identity is None
        assert len({candidate.id for candidate in result.candidates}) >= 2

    async def test_questions_may_overlap(self, resolver: IdentityResolver) -> None:
        """Many at once get the answers they would get one by one."""
        senders = [self.known, self.unknown] * 10
        results = await asyncio.gather(*(self.ask(resolver, sender) for sender in senders))
        statuses = [result.status == IdentificationStatus.IDENTIFIED for result in results]
        assert statuses == [True, False] * 10
