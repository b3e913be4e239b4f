"""What an ephemeral event is, and what carries it from a publisher to its subscribers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from roomkit._ids import new_id


class EphemeralEventType(StrEnum):
    """The kinds of things worth hearing at once and not worth keeping.

    Attributes:
        TYPING_START: Somebody began to write.
        TYPING_STOP: Somebody stopped writing.
        PRESENCE_ONLINE: Somebody is here.
        PRESENCE_AWAY: Somebody is here and not looking.
        PRESENCE_OFFLINE: Somebody is gone.
        READ_RECEIPT: Somebody has read up to an event.
        REACTION: Somebody added or took back a reaction.
        CUSTOM: Whatever your program means by it.
    """

    TYPING_START = "typing_start"
    TYPING_STOP = "typing_stop"
    PRESENCE_ONLINE = "presence_online"
    PRESENCE_AWAY = "presence_away"
    PRESENCE_OFFLINE = "presence_offline"
    READ_RECEIPT = "read_receipt"
    REACTION = "reaction"
    CUSTOM = "custom"


@dataclass
class EphemeralEvent:
    """Something that happens in a room without becoming part of its timeline.

    All subscribers share one instance: read it, do not change it.

    Attributes:
        room_id: The room.
        type: What happens.
        user_id: Who does it.
        id: Unique; an event already waiting for a subscriber is not queued for it twice.
        channel_id: The channel it came by, when that matters.
        data: Details, such as ``{"event_id": ...}`` of a read receipt. JSON values only, if
            the backend crosses processes.
        timestamp: When, timezone-aware.
    """

    room_id: str
    type: EphemeralEventType
    user_id: str
    id: str = field(default_factory=new_id)
    channel_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping JSON can carry; ``from_dict`` reads it back."""
        return {
            "id": self.id,
            "room_id": self.room_id,
            "type": self.type.value,
            "user_id": self.user_id,
            "channel_id": self.channel_id,
            "data": self.data,
            "timestamp": self.timestamp.isoformat(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EphemeralEvent:
        """Return the event ``to_dict`` described.

        Raises:
            KeyError: One of the keys is missing (``channel_id`` and ``data`` may be).
            ValueError: The type is unknown or the timestamp unreadable.
        """
        return cls(
            room_id=data["room_id"],
            type=EphemeralEventType(data["type"]),
            user_id=data["user_id"],
            id=data["id"],
            channel_id=data.get("channel_id"),
            data=data.get("data") or {},
            timestamp=datetime.fromisoformat(data["timestamp"]),
        )


EphemeralCallback = Callable[[EphemeralEvent], Coroutine[Any, Any, None]]
"""What a subscriber gives: an async function of one event."""


class RealtimeBackend(ABC):
    """Carries ephemeral events to whoever listens on a channel now.

    Promises of every implementation: ``publish`` queues and returns, it never waits for a
    callback; each subscription gets its events in the order they were published; what a
    subscription cannot take in time is dropped, oldest first; a callback that fails or hangs
    costs its own event, never the subscription. Nothing is kept for later listeners.

    "Channel" here is a plain topic name, such as ``room:<room_id>``.
    """

    @abstractmethod
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Queue an event for everyone subscribed to ``channel`` now; nobody is fine too."""

    @abstractmethod
    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        """Have ``callback`` called with each event of ``channel`` from now on.

        Returns:
            The id to ``unsubscribe`` with.
        """

    @abstractmethod
    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; events still waiting for it are lost.

        A callback may end its own subscription: it then runs to its end and is not called
        again.

        Returns:
            False when there is no such subscription (any more).
        """

    async def close(self) -> None:
        """End all subscriptions; the default has nothing to do. Idempotent."""
        return

    async def publish_to_room(self, room_id: str, event: EphemeralEvent) -> None:
        """Publish on the channel ``room:<room_id>``."""
        await self.publish(f"room:{room_id}", event)

    async def subscribe_to_room(self, room_id: str, callback: EphemeralCallback) -> str:
        """Subscribe to the channel ``room:<room_id>``."""
        return await self.subscribe(f"room:{room_id}", callback)
