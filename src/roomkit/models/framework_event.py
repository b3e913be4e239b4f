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
    """Every name ``@kit.on(...)`` knows.

    Attributes:
        ROOM_CREATED: A room was created.
        ROOM_CLOSED: A room was closed, by hand or timer.
        ROOM_PAUSED: A room paused by its timer.
        ROOM_RESUMED: A message made a paused room active again.
        ROOM_ARCHIVED: A room was archived.
        ROOM_REOPENED: A closed room was opened again.
        ROOM_CHANNEL_ATTACHED: A channel joined a room.
        ROOM_CHANNEL_DETACHED: A channel left a room.
        EVENT_PROCESSED: An event was committed and all it led to is settled.
        EVENT_BLOCKED: A gate or a limit refused an event.
        KEYWORD_RECEIVED: Somebody sent STOP, START or the like by phone.
        HOOK_ERROR: A hook raised, or ran out of time.
        BROADCAST_PARTIAL_FAILURE: Some deliveries of an event failed.
        DELIVERY_SUCCEEDED: A channel took an event.
        DELIVERY_FAILED: A delivery failed for good.
        DELIVERY_SKIPPED: A delivery was not made, for a reason that is no failure.
        DELIVERY_SCHEDULED: A delivery failed and is tried again later.
        DELIVERY_DEAD: A delivery is a dead letter now.
        INBOX_DEAD: An accepted message could not be processed and is a dead letter now.
        WORKER_LAPSED: This process was too slow to keep its claims; others may take its work.
        CHAIN_DEPTH_EXCEEDED: An answer to an answer was blocked for its depth.
        IDENTITY_TIMEOUT: The identity resolver took too long.
        PROCESS_TIMEOUT: The gates took longer than ``process_timeout``.
        INBOUND_FAILED: A channel could not read what came in.
        CHANNEL_CONNECTED: A socket was connected to a channel.
        CHANNEL_DISCONNECTED: A socket was disconnected from a channel.
        CHANNEL_UNREGISTERED: A channel was taken out of the kit.
        VOICE_CONNECTED: A voice session began.
        VOICE_DISCONNECTED: A voice session ended.
        SOURCE_ATTACHED: A source feeds a channel.
        SOURCE_DETACHED: A source was taken away.
        SOURCE_ERROR: A source failed; it may be started anew.
        SOURCE_EXHAUSTED: A source failed too often and is given up.
    """

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
