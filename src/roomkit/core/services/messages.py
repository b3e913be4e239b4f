"""Everything that can be said to a kit, handed to the pipeline or the receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from roomkit.models.event import EventSource, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._clock import Clock
    from roomkit.core.services.bindings import Bindings
    from roomkit.core.services.receipts import Receipts
    from roomkit.core.services.rooms import Rooms
    from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult
    from roomkit.models.enums import EventType
    from roomkit.models.event import EventContent


class PipelineLike(Protocol):
    """The pipeline, which lives a floor above."""

    async def receive(
        self,
        message: InboundMessage,
        room_id: str | None = None,
        organization_id: str | None = None,
        *,
        wait: bool = True,
    ) -> InboundResult:
        """Bring a message from outside into its room."""
        ...

    async def send(self, event: RoomEvent) -> RoomEvent:
        """Say something in a room."""
        ...


class Messages:
    """The entrance for messages of every kind."""

    def __init__(
        self,
        pipeline: PipelineLike,
        rooms: Rooms,
        bindings: Bindings,
        receipts: Receipts,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._rooms = rooms
        self._bindings = bindings
        self._receipts = receipts
        self._clock = clock
        self.receive: Callable[..., Awaitable[InboundResult]] = pipeline.receive
        self.status: Callable[[DeliveryStatus], Awaitable[None]] = receipts.process

    async def webhook(self, meta: Any, channel_id: str) -> None:
        """Process a parsed webhook: a message, a delivery status, or nothing of either."""
        if meta.is_inbound:
            await self.receive(meta.to_inbound(channel_id))
        elif meta.is_status:
            await self.status(meta.to_status())

    async def send(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        *,
        event_type: EventType,
        participant_id: str | None,
        **fields: Any,
    ) -> RoomEvent:
        """Build the event and say it in the room."""
        await self._rooms.require(room_id)
        binding = await self._bindings.require(room_id, channel_id)
        event = RoomEvent(
            room_id=room_id,
            type=event_type,
            source=EventSource(
                channel_id=channel_id,
                channel_type=binding.channel_type,
                participant_id=participant_id,
            ),
            content=content,
            created_at=self._clock.now(),
            **fields,
        )
        return await self._pipeline.send(event)
