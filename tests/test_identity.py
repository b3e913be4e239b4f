"""The identity resolver that ships with the library says what it was told."""

from __future__ import annotations

import pytest

from roomkit.identity.base import IdentityResolver
from roomkit.identity.mock import MockIdentityResolver
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import Identity
from roomkit.models.room import Room

ANN = Identity(id="ann", display_name="Ann")
BOB = Identity(id="bob")


def message_from(sender_id: str) -> InboundMessage:
    return InboundMessage(channel_id="sms", sender_id=sender_id, content=TextContent(body="hi"))


@pytest.fixture
def context() -> RoomContext:
    return RoomContext(room=Room(id="r"))


class TestMockIdentityResolver:
    """Senders are looked up by their raw address, certain ones first."""

    async def test_a_mapped_sender_is_identified(self, context: RoomContext) -> None:
        result = await MockIdentityResolver({"+1": ANN}).resolve(message_from("+1"), context)
        assert result.status is IdentificationStatus.IDENTIFIED
        assert result.identity is ANN
        assert result.candidates == []

    async def test_an_ambiguous_sender_gets_its_candidates(self, context: RoomContext) -> None:
        resolver = MockIdentityResolver(ambiguous={"+1": [ANN, BOB]})
        result = await resolver.resolve(message_from("+1"), context)
        assert result.status is IdentificationStatus.AMBIGUOUS
        assert result.identity is None
        assert result.candidates == [ANN, BOB]

    async def test_the_mapping_comes_before_the_ambiguous(self, context: RoomContext) -> None:
        resolver = MockIdentityResolver({"+1": BOB}, {"+1": [ANN, BOB]})
        assert (await resolver.resolve(message_from("+1"), context)).identity is BOB

    async def test_everybody_else_is_unknown(self, context: RoomContext) -> None:
        result = await MockIdentityResolver({"+1": ANN}).resolve(message_from("+2"), context)
        assert result.status is IdentificationStatus.UNKNOWN

    async def test_what_everybody_else_is_can_be_chosen(self, context: RoomContext) -> None:
        resolver = MockIdentityResolver(unknown_status=IdentificationStatus.REJECTED)
        result = await resolver.resolve(message_from("+2"), context)
        assert result.status is IdentificationStatus.REJECTED

    async def test_people_can_be_added_later(self, context: RoomContext) -> None:
        known: dict[str, Identity] = {}
        resolver = MockIdentityResolver(known)
        known["+1"] = ANN
        assert (await resolver.resolve(message_from("+1"), context)).identity is ANN

    async def test_address_and_channel_type_are_left_to_the_engine(
        self, context: RoomContext
    ) -> None:
        result = await MockIdentityResolver({"+1": ANN}).resolve(message_from("+1"), context)
        assert result.address is None
        assert result.channel_type is None


class TestIdentityResolver:
    def test_it_cannot_be_used_without_resolve(self) -> None:
        with pytest.raises(TypeError, match="resolve"):
            IdentityResolver()  # type: ignore[abstract]
