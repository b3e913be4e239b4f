"""What a channel may ask of the framework it is registered with.

Channels know this abstraction and never RoomKit itself; the engine implements it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.enums import EventType, HookTrigger
    from roomkit.models.event import EventContent, RoomEvent


class DeltaStream(ABC):
    """An answer on its way to channels that show it live.

    Attributes:
        stream_id: Its id; put it into the response event's ``metadata["stream_id"]`` so that
            the engine can end the stream once the whole is stored (or refused).
    """

    stream_id: str

    @abstractmethod
    async def send(self, text: str) -> None:
        """Show the next piece. Never raises and never waits for a slow receiver."""

    @abstractmethod
    async def fail(self) -> None:
        """End the stream without an event: the answer will not come. Idempotent."""


class ChannelHost(ABC):
    """The framework, as seen by a channel."""

    @abstractmethod
    async def process_inbound(
        self, message: InboundMessage, *, room_id: str | None = None
    ) -> InboundResult:
        """Bring a message into its room; see ``RoomKit.process_inbound``."""

    @abstractmethod
    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        event_type: EventType | None = None,
        **options: Any,
    ) -> RoomEvent:
        """Say something in a room; see ``RoomKit.send_event``."""

    @abstractmethod
    async def run_gates(
        self, room_id: str, trigger: HookTrigger, payload: Any
    ) -> tuple[bool, Any]:
        """Ask the sync hooks of a trigger.

        Returns:
            Whether the payload may pass, and the payload as the hooks left it.
        """

    @abstractmethod
    async def run_observers(self, room_id: str, trigger: HookTrigger, payload: Any) -> None:
        """Tell the async hooks of a trigger; returns when all are done or timed out."""

    async def find_sent_message(self, event_id: str, channel_id: str) -> str | None:
        """Return the vendor's id under which a channel sent an event; None if it did not."""
        return None

    @abstractmethod
    async def emit(
        self,
        event_type: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Emit a framework event."""

    @abstractmethod
    def open_stream(
        self,
        cause: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        *,
        before_gates: bool = False,
    ) -> DeltaStream | None:
        """Start to show an answer live.

        Args:
            cause: The event being answered.
            binding: The answering channel's place in the room.
            context: The room as the channel was given it.
            before_gates: Show it although a gate may still refuse the whole.

        Returns:
            None when nobody would see it: no target shows pieces, or a BEFORE_BROADCAST gate
            that applies to this channel must first see the whole.
        """
