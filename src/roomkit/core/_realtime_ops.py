"""RoomKit's face to ephemeral events: typing, presence, receipts, reactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.core._helpers import HelpersMixin

if TYPE_CHECKING:
    from roomkit.core.services.ephemeral import Ephemera
    from roomkit.realtime.base import EphemeralCallback


class RealtimeOpsMixin(HelpersMixin):
    """Ephemeral events: told to subscribers, never stored. They queue and return at once."""

    _ephemera: Ephemera

    async def publish_typing(
        self,
        room_id: str,
        user_id: str,
        is_typing: bool = True,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Tell a room that somebody types, or no longer does."""
        await self._ready()
        await self._ephemera.typing(room_id, user_id, is_typing, data)

    async def publish_presence(self, room_id: str, user_id: str, status: str) -> None:
        """Tell a room that somebody is ``online``, ``away``, ``offline`` or anything else."""
        await self._ready()
        await self._ephemera.presence(room_id, user_id, status)

    async def publish_read_receipt(self, room_id: str, user_id: str, event_id: str) -> None:
        """Tell a room that somebody has read an event."""
        await self._ready()
        await self._ephemera.read_receipt(room_id, user_id, event_id)

    async def publish_reaction(
        self,
        room_id: str,
        user_id: str,
        target_event_id: str,
        emoji: str,
        action: str = "add",
    ) -> None:
        """Tell a room that somebody reacts to an event (``remove`` takes it back)."""
        await self._ready()
        await self._ephemera.reaction(room_id, user_id, target_event_id, emoji, action)

    async def subscribe_room(self, room_id: str, callback: EphemeralCallback) -> str:
        """Call ``callback`` for each ephemeral event of a room, in order.

        Returns:
            The subscription's id, for ``unsubscribe_room``.
        """
        await self._ready()
        return await self._ephemera.subscribe(room_id, callback)

    async def unsubscribe_room(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none."""
        await self._ready()
        return await self._ephemera.unsubscribe(subscription_id)
