"""What the framework tells about itself: one type, one factory an event, nothing else.

A factory is called only when somebody listens; the data keys of an event are spelled here
and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum, unique
from typing import Any

from pydantic import BaseModel, Field

from roomkit.models.event import utc_now


@unique
class FrameworkEventType(StrEnum):
    """Every name ``@kit.on(...)`` knows."""

    ROOM_CREATED = "room_created"
    ROOM_CLOSED = "room_closed"
    ROOM_PAUSED = "room_paused"
    ROOM_RESUMED = "room_resumed"
    ROOM_ARCHIVED = "room_archived"
    ROOM_REOPENED = "room_reopened"
    ROOM_CHANNEL_ATTACHED = "room_channel_attached"
    ROOM_CHANNEL_DETACHED = "room_channel_detached"
    EVENT_PROCESSED = "event_processed"
    EVENT_BLOCKED = "event_blocked"
    KEYWORD_RECEIVED = "keyword_received"
    HOOK_ERROR = "hook_error"
    BROADCAST_PARTIAL_FAILURE = "broadcast_partial_failure"
    DELIVERY_SUCCEEDED = "delivery_succeeded"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERY_SKIPPED = "delivery_skipped"
    DELIVERY_SCHEDULED = "delivery_scheduled"
    DELIVERY_DEAD = "delivery_dead"
    INBOX_DEAD = "inbox_dead"
    WORKER_LAPSED = "worker_lapsed"
    CHAIN_DEPTH_EXCEEDED = "chain_depth_exceeded"
    IDENTITY_TIMEOUT = "identity_timeout"
    PROCESS_TIMEOUT = "process_timeout"
    INBOUND_FAILED = "inbound_failed"
    CHANNEL_CONNECTED = "channel_connected"
    CHANNEL_DISCONNECTED = "channel_disconnected"
    CHANNEL_UNREGISTERED = "channel_unregistered"
    VOICE_CONNECTED = "voice_connected"
    VOICE_DISCONNECTED = "voice_disconnected"
    SOURCE_ATTACHED = "source_attached"
    SOURCE_DETACHED = "source_detached"
    SOURCE_ERROR = "source_error"
    SOURCE_EXHAUSTED = "source_exhausted"


class FrameworkEvent(BaseModel, defer_build=True):
    """Something the framework did, for logs, metrics and reactions.

    Attributes:
        type: One of ``FrameworkEventType``.
        room_id: The room concerned, if any.
        channel_id: The channel concerned, if any.
        event_id: The room event concerned, if any.
        timestamp: When.
        data: What belongs to the type.
    """

    type: str
    room_id: str | None = None
    channel_id: str | None = None
    event_id: str | None = None
    timestamp: datetime = Field(default_factory=utc_now)
    data: dict[str, Any] = Field(default_factory=dict)
