"""Which event a vendor's message id belongs to, forgotten with the event's room."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.store._memory_record import RoomRecord


class SentMessages:
    """Vendors' message ids and the deliveries they stand for."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str]] = {}

    def find(self, message_id: str) -> tuple[str, str] | None:
        """Return the event and the channel a message id was given for, or None."""
        return self._places.get(message_id)

    def remember(
        self, record: RoomRecord, message_id: str, event_id: str, channel_id: str
    ) -> None:
        """Remember what a vendor calls a delivery of one of the room's events."""
        if message_id not in self._places:
            if record.sent is None:
                record.sent = []
            record.sent.append(message_id)
        self._places[message_id] = (event_id, channel_id)

    def forget(self, record: RoomRecord) -> None:
        """Forget the deliveries of a room."""
        for message_id in record.sent or ():
            self._places.pop(message_id, None)

    def compact(self) -> None:
        """Give back what a table that was once larger still holds."""
        self._places = dict(self._places)
