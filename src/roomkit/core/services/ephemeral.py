"""Typing, presence, read receipts and reactions: published, never stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.realtime.base import EphemeralEvent, EphemeralEventType

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.realtime.base import EphemeralCallback, RealtimeBackend

_PRESENCE = {
    "online": EphemeralEventType.PRESENCE_ONLINE,
    "away": EphemeralEventType.PRESENCE_AWAY,
    "offline": EphemeralEventType.PRESENCE_OFFLINE,
}


class Ephemera:
    """Publishes ephemeral events of rooms."""

    def __init__(self, backend: RealtimeBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    async def typing(
        self, room_id: str, user_id: str, is_typing: bool, data: dict[str, Any] | None
    ) -> None:
        """Tell that somebody types, or no longer does."""
        kind = EphemeralEventType.TYPING_START if is_typing else EphemeralEventType.TYPING_STOP
        await self._publish(room_id, kind, user_id, data or {})

    async def presence(self, room_id: str, user_id: str, status: str) -> None:
        """Tell that somebody is online, away, offline or anything else."""
        kind = _PRESENCE.get(status)
        if kind is None:
            await self._publish(room_id, EphemeralEventType.CUSTOM, user_id, {"status": status})
        else:
            await self._publish(room_id, kind, user_id, {})

    async def read_receipt(self, room_id: str, user_id: str, event_id: str) -> None:
        """Tell that somebody has read an event."""
        await self._publish(
            room_id, EphemeralEventType.READ_RECEIPT, user_id, {"event_id": event_id}
        )

    async def reaction(
        self, room_id: str, user_id: str, target_event_id: str, emoji: str, action: str
    ) -> None:
        """Tell that somebody reacts to an event, or takes the reaction back."""
        data = {"target_event_id": target_event_id, "emoji": emoji, "action": action}
        await self._publish(room_id, EphemeralEventType.REACTION, user_id, data)

    async def subscribe(self, room_id: str, callback: EphemeralCallback) -> str:
        """Call ``callback`` for every ephemeral event of a room; return the subscription."""
        return await self._backend.subscribe_to_room(room_id, callback)

    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none."""
        return await self._backend.unsubscribe(subscription_id)

    async def _publish(
        self, room_id: str, kind: EphemeralEventType, user_id: str, data: dict[str, Any]
    ) -> None:
        event = EphemeralEvent(
            room_id=room_id, type=kind, user_id=user_id, data=data, timestamp=self._clock.now()
        )
        await self._backend.publish_to_room(room_id, event)
