"""What a registered channel may ask of the kit."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from roomkit._clock import SystemClock
from roomkit._sanitize import clean_json
from roomkit.channels.host import ChannelHost, GateAnswer
from roomkit.core.services.store_calls import STORE_TIMEOUT, answered
from roomkit.core.services.timeline import Timeline
from roomkit.exceptions import RoomNotFoundError
from roomkit.models.enums import EventType
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.channels.host import DeltaStream
    from roomkit.core.hooks import HookEngine
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.guard import RoomGuard
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
        publish_typing: ``RoomKit.publish_typing``; None: nobody is told.
        timeline: Writes events; None: one of its own on ``store``.
        guard: Holds rooms; None: what is written at the same moment may be overwritten.
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
        publish_typing: Callable[..., Awaitable[None]] | None = None,
        timeline: Timeline | None = None,
        guard: RoomGuard | None = None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._hooks = hooks
        self._store = store
        self._bus = bus
        self._streams = streams
        self._write_records = write_records
        self._publish_typing = publish_typing
        self._timeline = timeline or Timeline(store, SystemClock(), STORE_TIMEOUT)
        self._guard = guard

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
        answer = await self.ask_gates(room_id, trigger, payload)
        return answer.allowed, answer.payload

    async def ask_gates(self, room_id: str, trigger: HookTrigger, payload: Any) -> GateAnswer:
        """Ask the sync hooks of a trigger about a payload; say why and what they added."""
        if not self._hooks.has_gates(room_id, trigger):
            return GateAnswer(True, payload)
        result = await self._hooks.run_sync_hooks(
            room_id, trigger, payload, await self._context(room_id), skip_event_filter=True
        )
        return GateAnswer(result.allowed, result.event, result.reason, result.metadata)

    async def run_observers(self, room_id: str, trigger: HookTrigger, payload: Any) -> None:
        """Tell the async hooks of a trigger about a payload."""
        if self._hooks.observed(room_id, trigger):
            await self._hooks.run_observers(
                room_id, trigger, payload, await self._context(room_id), skip_event_filter=True
            )

    async def publish_typing(
        self,
        room_id: str,
        user_id: str,
        is_typing: bool = True,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Tell a room that somebody types, or no longer does."""
        if self._publish_typing is not None:
            await self._publish_typing(room_id, user_id, is_typing, data)

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

    async def find_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a channel's place in a room as it is now; None if it has none."""
        return await answered(self._store.get_binding(room_id, channel_id))

    def is_observed(self, room_id: str, trigger: HookTrigger) -> bool:
        """Return whether anybody would hear of a trigger."""
        return self._hooks.observed(room_id, trigger)

    async def update_event_metadata(self, event_id: str, values: dict[str, Any]) -> bool:
        """Add to the metadata of a stored event; return whether it was there."""
        event = await answered(self._store.get_event(event_id))
        if event is None:
            return False
        holding = nullcontext() if self._guard is None else self._guard.hold(event.room_id)
        async with holding:
            # Once more: it may have been edited while we waited for the room.
            event = await answered(self._store.get_event(event_id))
            if event is None:
                return False
            # What did not come from outside is clean already; heard text did.
            target = event.with_metadata(**clean_json(values))
            result = await self._timeline.commit(CommitBatch(event.room_id, target=target))
        return result.refused is None

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
