"""What every channel must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.channels.base import Channel
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelType, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._suite import PATIENCE, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ChannelConformance(Suite, ABC):
    """What the engine counts on. Implement ``make_channel``."""

    recipient = "recipient-1"
    """The address a binding of the channel gets, where it needs one."""

    @abstractmethod
    async def make_channel(self) -> Channel:
        """Return a new channel whose deliveries succeed."""

    @pytest_asyncio.fixture
    async def channel(self) -> AsyncIterator[Channel]:
        """A channel of the test's own."""
        channel = await self.make_channel()
        yield channel
        await channel.close()

    def binding(self, channel: Channel) -> ChannelBinding:
        """Return a place of the channel in room-1."""
        key = channel.recipient_key
        return ChannelBinding(
            channel_id=channel.channel_id,
            room_id="room-1",
            channel_type=channel.channel_type,
            category=channel.category,
            capabilities=channel.capabilities(),
            metadata={} if key is None else {key: self.recipient},
        )

    def context(self, channel: Channel, *events: RoomEvent) -> RoomContext:
        """Return room-1 with the channel in it."""
        return RoomContext(
            room=Room(id="room-1"),
            bindings=[self.binding(channel)],
            recent_events=list(events),
        )

    async def test_it_says_what_it_is(self, channel: Channel) -> None:
        """Id, type, category and capabilities are there, and the last always the same."""
        assert channel.channel_id
        assert channel.channel_type in list(ChannelType)
        assert channel.category in list(ChannelCategory)
        assert isinstance(channel.capabilities(), ChannelCapabilities)
        assert channel.capabilities() == channel.capabilities()
        assert isinstance(channel.info, dict)

    async def test_a_message_becomes_an_event(self, channel: Channel) -> None:
        """Content, key, sender and metadata of a message are carried into the event."""
        if channel.category == ChannelCategory.INTELLIGENCE:
            pytest.skip("an intelligence receives no messages from outside")
        message = InboundMessage(
            channel_id=channel.channel_id,
            sender_id="ann",
            content=TextContent(body="hello"),
            event_type=EventType.MESSAGE,
            external_id="x-1",
            idempotency_key="k-1",
            metadata={"a": 1},
        )
        event = await channel.handle_inbound(message, self.context(channel))
        assert isinstance(event, RoomEvent)
        assert event.room_id == "room-1"
        assert event.type == "message"
        assert event.content == message.content
        assert event.idempotency_key == "k-1"
        assert event.source.channel_id == channel.channel_id
        assert event.source.participant_id == "ann"
        assert event.source.external_id in ("x-1", None)
        assert event.metadata.items() >= {"a": 1}.items()

    async def test_two_messages_are_two_events(self, channel: Channel) -> None:
        """Each event has an id of its own; a message without sender names nobody."""
        if channel.category == ChannelCategory.INTELLIGENCE:
            pytest.skip("an intelligence receives no messages from outside")
        context = self.context(channel)
        message = InboundMessage(
            channel_id=channel.channel_id, sender_id="", content=TextContent(body="hello")
        )
        one = await channel.handle_inbound(message, context)
        two = await channel.handle_inbound(message, context)
        assert one.id != two.id
        assert not one.source.participant_id

    async def test_delivery_leaves_its_input_alone(self, channel: Channel) -> None:
        """``deliver`` gives an output and changes neither event, binding nor context."""
        event = make_event(index=3)
        binding, context = self.binding(channel), self.context(channel, event)
        before = [value.model_dump() for value in (event, binding, context)]
        async with asyncio.timeout(PATIENCE):
            output = await channel.deliver(event, binding, context)
        assert isinstance(output, ChannelOutput)
        assert [value.model_dump() for value in (event, binding, context)] == before

    async def test_reactions_leave_their_input_alone(self, channel: Channel) -> None:
        """``on_event`` gives an output whose answers are events of this room."""
        event = make_event(index=3)
        binding, context = self.binding(channel), self.context(channel, event)
        before = [value.model_dump() for value in (event, binding, context)]
        async with asyncio.timeout(PATIENCE):
            output = await channel.on_event(event, binding, context)
        assert isinstance(output, ChannelOutput)
        assert [value.model_dump() for value in (event, binding, context)] == before
        assert all(answer.room_id == "room-1" for answer in output.response_events)
        assert all(answer.id != event.id for answer in output.response_events)

    async def test_a_channel_overrides_what_it_says_it_does(self, channel: Channel) -> None:
        """One that does not override ``on_event`` does not claim to react."""
        if type(channel).on_event is Channel.on_event:
            assert channel.reacts is False

    async def test_close_is_idempotent(self, channel: Channel) -> None:
        """Closing twice is fine."""
        await channel.close()
        await channel.close()

    async def test_its_repr_names_it(self, channel: Channel) -> None:
        """``repr`` shows the channel id and no address."""
        assert channel.channel_id in repr(channel)
        assert self.recipient not in repr(channel)
