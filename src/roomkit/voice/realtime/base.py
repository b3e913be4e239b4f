"""The session of a caller with a live model."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Any


@unique
class RealtimeSessionState(StrEnum):
    """Where a session is; ENDED is terminal.

    Attributes:
        CONNECTING: The model is not reached yet.
        ACTIVE: Both can speak.
        ENDED: Over, for good.
    """

    CONNECTING = "connecting"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass
class RealtimeSession:
    """One person's live link with a model.

    Attributes:
        id: The session.
        room_id: The room it speaks in.
        participant_id: Who speaks.
        channel_id: The realtime voice channel.
        state: Where it is. CONNECTING also while a provider connects again: audio of that
            time is dropped.
        provider_session_id: The vendor's own id of it.
        created_at: Since when, timezone-aware.
        metadata: What the application gave, the very mapping.
    """

    id: str
    room_id: str
    participant_id: str
    channel_id: str
    state: RealtimeSessionState = RealtimeSessionState.CONNECTING
    provider_session_id: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    metadata: dict[str, Any] = field(default_factory=dict)
