"""Pieces of an answer that is still being made, on their way to channels that show them live.

They are never stored. The whole answer follows as an event whose
``metadata["stream_id"]`` is the same id.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamDelta:
    """The next piece of text of one answer.

    Attributes:
        room_id: The room.
        channel_id: Who is answering.
        stream_id: The answer.
        seq: 0, 1, 2, ... without a hole.
        text: The piece.
    """

    room_id: str
    channel_id: str
    stream_id: str
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """No more pieces come.

    Attributes:
        room_id: The room.
        channel_id: Who was answering.
        stream_id: The answer.
        event_id: The stored event, or None when the answer failed or was taken back.
        retracted: A gate refused the whole: what was shown must be taken away.
    """

    room_id: str
    channel_id: str
    stream_id: str
    event_id: str | None
    retracted: bool = False
