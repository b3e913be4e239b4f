"""The channel: an endpoint that messages enter and leave a room by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
)

if TYPE_CHECKING:
    from roomkit.channels.host import ChannelHost
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.streaming import StreamDelta, StreamEnd
    from roomkit.providers.webhook import WebhookHandler


class Channel(ABC):
    """Base of every channel.

    A subclass sets ``channel_type`` and implements ``handle_inbound`` and ``deliver``; one
    that answers overrides ``on_event``. The engine calls these outside the room lock, each
    with a timeout, for one (room, channel) pair one event at a time and in index order.

    Args:
        channel_id: Unique within a kit.

    Attributes:
        channel_type: What it speaks.
        category: Whether it carries messages or answers by itself.
        direction: Which way messages go, seen from the room.
        recipient_key: The binding metadata key that holds the recipient's address, for
            channels that need one; it also tells the default router whose room a binding is.
        shows_deltas: Whether ``deliver_delta`` shows pieces of an answer still being made.
        sends_idempotency_key: Whether the vendor recognises a repeated delivery by its id,
            which makes repeating an unclear send safe.
    """

    channel_type: ChannelType
    category: ChannelCategory = ChannelCategory.TRANSPORT
    direction: ChannelDirection = ChannelDirection.BIDIRECTIONAL
    recipient_key: str | None = None
    shows_deltas: bool = False
    sends_idempotency_key: bool = False

    def __init__(self, channel_id: str) -> None:
        self.channel_id = channel_id
        self._provider: Any = None
        self._host: ChannelHost | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channel_id!r})"

    @property
    def info(self) -> dict[str, Any]:
        """Facts about the channel, for people and logs."""
        return {}

    def reply_address(self, message: InboundMessage) -> str:
        """Return the address an answer to ``message`` goes to: the sender's, unless overridden.

        A first contact's room is bound to it, and later messages of the same address find that
        room. Where people write in a common conversation it is the conversation's.
        """
        return message.sender_id

    @abstractmethod
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message from outside is."""

    @abstractmethod
    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Bring an event to the outside; raise when that failed.

        Args:
            event: Already transcoded to what the channel can carry.
            binding: The channel's place in the room.
            context: The room, its newest events ending with this one.
        """

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """React to an event; the default says nothing."""
        return ChannelOutput.empty()

    async def deliver_delta(self, delta: StreamDelta | StreamEnd, binding: ChannelBinding) -> None:
        """Show a piece of an answer still being made; the default does not."""
        return

    @property
    def reacts(self) -> bool:
        """Whether the channel overrides ``on_event``; others are never asked."""
        return type(self).on_event is not Channel.on_event

    def capabilities(self) -> ChannelCapabilities:
        """Return what the channel can carry; one shared object a channel is best."""
        return _TEXT_ONLY

    def webhook(self) -> WebhookHandler | None:
        """Return the reader of the callbacks that belong to this channel; None for none."""
        return None

    def set_framework(self, host: ChannelHost) -> None:
        """Remember the framework; called by ``register_channel``."""
        self._host = host

    async def close(self) -> None:
        """Close the provider, if there is one."""
        if self._provider is not None:
            await self._provider.close()

    @staticmethod
    def extract_text(event: RoomEvent) -> str:
        """Return the body of a text event, and an empty string for any other."""
        return event.content.body if isinstance(event.content, TextContent) else ""


# Not validated: nothing is built for it before somebody makes a channel.
_TEXT_ONLY = ChannelCapabilities.model_construct(media_types=[ChannelMediaType.TEXT])
