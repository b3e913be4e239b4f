"""What a registered channel may ask of the kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.channels.host import ChannelHost
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import RoomNotFoundError
from roomkit.models.enums import EventType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.channels.host import DeltaStream
    from roomkit.core.hooks import HookEngine
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.streams import DeltaStreams
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.enums import HookTrigger
    from roomkit.models.event import EventContent, RoomEvent
    from roomkit.store.base import ConversationStore


class EngineHost(ChannelHost):
    """The engine behind the ChannelHost abstraction.

    Args:
        receive: ``RoomKit.process_inbound``.
        send: ``RoomKit.send_event``.
        hooks: Runs gates and observers.
        store: Gives them their context.
        bus: Emits framework events.
        streams: Shows answers being made.
        write_records: Writes what is known of deliveries and not yet stored.
    """

    def __init__(
        self,
        receive: Callable[..., Awaitable[InboundResult]],
        send: Callable[..., Awaitable[RoomEvent]],
        hooks: HookEngine,
        store: ConversationStore,
        bus: FrameworkBus,
        streams: DeltaStreams,
        write_records: Callable[[], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        self._hooks = hooks
        self._store = store
        self._bus = bus
        self._streams = streams
        self._write_records = write_records

    async def process_inbound(
        self, message: InboundMessage, *, room_id: str | None = None
    ) -> InboundResult:
        """Bring a message into its room."""
        return await self._receive(message, room_id=room_id)

    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        event_type: EventType | None = None,
        **options: Any,
    ) -> RoomEvent:
        """Say something in a room."""
        return await self._send(
            room_id, channel_id, content, event_type or EventType.MESSAGE, **options
        )

    async def run_gates(
        self, room_id: str, trigger: HookTrigger, payload: Any
    ) -> tuple[bool, Any]:
        """Ask the sync hooks of a trigger about a payload."""
        if not self._hooks.has_gates(room_id, trigger):
            return True, payload
        result = await self._hooks.run_sync_hooks(
            room_id, trigger, payload, await self._context(room_id), skip_event_filter=True
        )
        return result.allowed, result.event

    async def run_observers(self, room_id: str, trigger: HookTrigger, payload: Any) -> None:
        """Tell the async hooks of a trigger about a payload."""
        if self._hooks.observed(room_id, trigger):
            await self._hooks.run_observers(
                room_id, trigger, payload, await self._context(room_id), skip_event_filter=True
            )

    async def find_sent_message(self, event_id: str, channel_id: str) -> str | None:
        """Return the vendor's id under which a channel sent an event; None if it did not."""
        for attempt in (1, 2):
            event = await answered(self._store.get_event(event_id))
            result = None if event is None else event.delivery_results.get(channel_id)
            found = None if result is None else result.get("provider_message_id")
            if found is not None or attempt == 2:
                return found
            # It may have been sent a moment ago, and not be written yet.
            await self._write_records()
        return None

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
        await self._bus.emit(
            event_type, room_id=room_id, channel_id=channel_id, event_id=event_id, data=data
        )

    def open_stream(
        self,
        cause: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        *,
        before_gates: bool = False,
    ) -> DeltaStream | None:
        """Start to show an answer live."""
        return self._streams.open(cause, binding, context, before_gates=before_gates)

    async def _context(self, room_id: str) -> RoomContext:
        context = await answered(self._store.load_context(room_id))
        if context is None:
            raise RoomNotFoundError(f"room {room_id!r} does not exist")
        return context
