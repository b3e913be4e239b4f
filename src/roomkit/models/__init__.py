"""Plain data: what rooms, channels, events and people look like. No I/O, no logging."""

from __future__ import annotations

from roomkit.models.channel import (
    ChannelBinding,
    ChannelCapabilities,
    ChannelOutput,
    RateLimit,
    RetryPolicy,
)
from roomkit.models.context import RoomContext
from roomkit.models.delivery import (
    DeliveryResult,
    DeliveryStatus,
    InboundMessage,
    InboundResult,
    ProviderResult,
)
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
    DeleteType,
    DeliveryMode,
    EventStatus,
    EventType,
    HookExecution,
    HookTrigger,
    IdentificationStatus,
    ParticipantRole,
    ParticipantStatus,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import (
    AudioContent,
    ChannelData,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    EventSource,
    LocationContent,
    MediaContent,
    RichContent,
    RoomEvent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.framework_event import FrameworkEvent, FrameworkEventType
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.identity import Identity, IdentityHookResult, IdentityResult
from roomkit.models.participant import Participant
from roomkit.models.reasons import Reason
from roomkit.models.room import Room, RoomTimers
from roomkit.models.streaming import StreamDelta, StreamEnd
from roomkit.models.task import Observation, Task

__all__ = [
    "Access",
    "AudioContent",
    "ChannelBinding",
    "ChannelCapabilities",
    "ChannelCategory",
    "ChannelData",
    "ChannelDirection",
    "ChannelMediaType",
    "ChannelOutput",
    "ChannelType",
    "CompositeContent",
    "DeleteContent",
    "DeleteType",
    "DeliveryMode",
    "DeliveryResult",
    "DeliveryStatus",
    "EditContent",
    "EventContent",
    "EventSource",
    "EventStatus",
    "EventType",
    "FrameworkEvent",
    "FrameworkEventType",
    "HookExecution",
    "HookResult",
    "HookTrigger",
    "IdentificationStatus",
    "Identity",
    "IdentityHookResult",
    "IdentityResult",
    "InboundMessage",
    "InboundResult",
    "InjectedEvent",
    "LocationContent",
    "MediaContent",
    "Observation",
    "Participant",
    "ParticipantRole",
    "ParticipantStatus",
    "ProviderResult",
    "RateLimit",
    "Reason",
    "RetryPolicy",
    "RichContent",
    "Room",
    "RoomContext",
    "RoomEvent",
    "RoomStatus",
    "RoomTimers",
    "StreamDelta",
    "StreamEnd",
    "SystemContent",
    "Task",
    "TaskStatus",
    "TemplateContent",
    "TextContent",
    "VideoContent",
]
