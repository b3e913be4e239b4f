"""What a channel may ask of the framework it is registered with.

Channels know this abstraction and never RoomKit itself; the engine implements it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What the sync hooks of a trigger decided together.

    Attributes:
        allowed: Whether the payload may pass.
        payload: The payload as the hooks left it.
        reason: Why it may not, in the hook's words.
        metadata: What the hooks put into their results' ``metadata``.
    """

    allowed: bool
    payload: Any
    reason: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


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

    async def ask_gates(self, room_id: str, trigger: HookTrigger, payload: Any) -> GateAnswer:
        """Ask the sync hooks of a trigger, and learn their reason and metadata as well.

        The default knows no more than ``run_gates`` tells.
        """
        allowed, left = await self.run_gates(room_id, trigger, payload)
        return GateAnswer(allowed, left)

    @abstractmethod
    async def run_observers(self, room_id: str, trigger: HookTrigger, payload: Any) -> None:
        """Tell the async hooks of a trigger; returns when all are done or timed out."""

    async def publish_typing(
        self,
        room_id: str,
        user_id: str,
        is_typing: bool = True,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Tell a room that somebody types; see ``RoomKit.publish_typing``.

        The default tells nobody.
        """
        return

    async def find_sent_message(self, event_id: str, channel_id: str) -> str | None:
        """Return the vendor's id under which a channel sent an event; None if it did not."""
        return None

    async def find_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a channel's place in a room as it is now; None if it has none.

        The default knows of none.
        """
        return None

    def is_observed(self, room_id: str, trigger: HookTrigger) -> bool:
        """Return whether anybody would hear of a trigger; the default takes it for granted."""
        return True

    async def update_event_metadata(self, event_id: str, values: dict[str, Any]) -> bool:
        """Add to the metadata of a stored event, whose content and place stay.

        Returns:
            Whether the event was there. The default changes nothing.
        """
        return False

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
