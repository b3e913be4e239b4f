"""What endpoints on the same rooms tell each other, beside the rooms' own ephemeral events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.realtime.base import EphemeralEvent, EphemeralEventType

if TYPE_CHECKING:
    from datetime import datetime

_MARK = "roomkit.v1"


def wire_topic(room_id: str) -> str:
    """Return the realtime channel endpoints tell each other about a room on."""
    return f"{_MARK}:{room_id}"


@dataclass(frozen=True, slots=True)
class Wire:
    """News of a room for the endpoints of other processes.

    Attributes:
        origin: The endpoint it comes from.
        channel_id: The WebSocket channel it is about.
        events: Ids and indexes of events delivered to the channel. None at all: something was
            stored.
        piece: A piece of an answer still being made.
    """

    origin: str
    channel_id: str
    events: tuple[tuple[str, int], ...] = ()
    piece: StreamDelta | StreamEnd | None = None

    def event(self, room_id: str, at: datetime) -> EphemeralEvent:
        """Return it as an ephemeral event of a room."""
        data: dict[str, Any] = {
            "origin": self.origin,
            "channel_id": self.channel_id,
            "events": [list(pair) for pair in self.events],
        }
        piece = self.piece
        if isinstance(piece, StreamDelta):
            data["delta"] = [piece.channel_id, piece.stream_id, piece.seq, piece.text]
        elif piece is not None:
            data["end"] = [piece.channel_id, piece.stream_id, piece.event_id, piece.retracted]
        return EphemeralEvent(
            room_id=room_id,
            type=EphemeralEventType.CUSTOM,
            user_id=self.origin,
            channel_id=self.channel_id,
            data={_MARK: data},
            timestamp=at,
        )


def read_wire(event: EphemeralEvent) -> Wire | None:
    """Return what an ephemeral event tells endpoints; None when it is none of theirs."""
    data = event.data.get(_MARK) if event.type == EphemeralEventType.CUSTOM else None
    if not isinstance(data, dict):
        return None
    try:
        return _wire(event, data)
    except (KeyError, TypeError, ValueError):
        return None


def _wire(event: EphemeralEvent, data: dict[str, Any]) -> Wire:
    room_id = event.room_id
    piece: StreamDelta | StreamEnd | None = None
    if "delta" in data:
        channel_id, stream_id, seq, text = data["delta"]
        piece = StreamDelta(room_id, channel_id, stream_id, seq, text)
    elif "end" in data:
        channel_id, stream_id, event_id, retracted = data["end"]
        piece = StreamEnd(room_id, channel_id, stream_id, event_id, retracted)
    events = tuple((event_id, index) for event_id, index in data.get("events", ()))
    return Wire(data["origin"], data["channel_id"], events, piece)
