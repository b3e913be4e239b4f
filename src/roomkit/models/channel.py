"""A channel's place in a room: binding, capabilities, limits and what it answers with."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from roomkit.models._copy import Shared, SharedDict, SharedList, built, changed
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
    DeliveryMode,
)
from roomkit.models.event import RoomEvent, utc_now
from roomkit.models.task import Observation, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RateLimit(BaseModel, defer_build=True):
    """How fast a channel may send; every window given is enforced.

    Rates below one a second work: ``max_per_hour=30`` is one every two minutes.

    Attributes:
        max_per_second: Messages a second; None for no such window.
        max_per_minute: Messages a minute; None for no such window.
        max_per_hour: Messages an hour; None for no such window.
    """

    max_per_second: float | None = Field(default=None, gt=0.0)
    max_per_minute: float | None = Field(default=None, gt=0.0)
    max_per_hour: float | None = Field(default=None, gt=0.0)


class RetryPolicy(BaseModel, defer_build=True):
    """How often and how patiently a failed delivery is tried again.

    Attributes:
        max_retries: Attempts after the first.
        base_delay_seconds: The first wait.
        max_delay_seconds: The longest wait.
        exponential_base: How the wait grows from one attempt to the next.
    """

    max_retries: int = Field(default=3, ge=0)
    base_delay_seconds: float = Field(default=1.0, gt=0.0)
    max_delay_seconds: float = Field(default=60.0, gt=0.0)
    exponential_base: float = Field(default=2.0, gt=0.0)

    def delay_for(self, retry: int) -> float:
        """Return the seconds to wait before retry number ``retry``, counted from 0."""
        try:
            delay = self.base_delay_seconds * self.exponential_base**retry
        except OverflowError:
            return self.max_delay_seconds
        return min(delay, self.max_delay_seconds)


class ChannelCapabilities(BaseModel, defer_build=True):
    """What a channel can carry as it is; the rest is transcoded for it.

    Attributes:
        media_types: The kinds of content it carries as they are.
        max_length: The most characters of a text; None for no limit.
        supports_threading: Whether an answer can be tied to a thread.
        supports_reactions: Whether it shows reactions.
        supports_edit: Whether a sent message can be changed.
        supports_delete: Whether a sent message can be taken back.
        supports_read_receipts: Whether it reports what was read.
        supports_typing: Whether it shows that somebody writes.
        supports_templates: Whether it sends texts a vendor has approved.
        supports_rich_text: Whether it formats text.
        supports_buttons: Whether it shows buttons.
        max_buttons: The most buttons of a message; None for no limit.
        supports_cards: Whether it shows cards.
        supports_quick_replies: Whether it shows suggested answers.
        supports_media: Whether it carries files.
        supported_media_types: MIME types of files it takes; empty for any.
        max_media_size_bytes: The largest file in bytes; None for no limit.
        supports_audio: Whether it carries recordings.
        max_audio_duration_seconds: The longest recording in seconds; None for no limit.
        supported_audio_formats: MIME types or names of the formats of recordings; empty for any.
        supports_video: Whether it carries films.
        max_video_duration_seconds: The longest film in seconds; None for no limit.
        supported_video_formats: MIME types of films; empty for any.
        delivery_mode: Which of a room's events it is sent.
        custom: Whatever else a channel of yours wants to say about itself.
    """

    media_types: list[ChannelMediaType] = Field(default_factory=lambda: [ChannelMediaType.TEXT])
    max_length: int | None = Field(default=None, gt=0)
    supports_threading: bool = False
    supports_reactions: bool = False
    supports_edit: bool = False
    supports_delete: bool = False
    supports_read_receipts: bool = False
    supports_typing: bool = False
    supports_templates: bool = False
    supports_rich_text: bool = False
    supports_buttons: bool = False
    max_buttons: int | None = Field(default=None, gt=0)
    supports_cards: bool = False
    supports_quick_replies: bool = False
    supports_media: bool = False
    supported_media_types: list[str] = Field(default_factory=list)
    max_media_size_bytes: int | None = Field(default=None, gt=0)
    supports_audio: bool = False
    max_audio_duration_seconds: int | None = Field(default=None, gt=0)
    supported_audio_formats: list[str] = Field(default_factory=list)
    supports_video: bool = False
    max_video_duration_seconds: int | None = Field(default=None, gt=0)
    supported_video_formats: list[str] = Field(default_factory=list)
    delivery_mode: DeliveryMode = DeliveryMode.BROADCAST
    custom: dict[str, Any] = Field(default_factory=dict)


class ChannelBinding(BaseModel, defer_build=True):
    """A channel in a room.

    Attributes:
        channel_id: The channel.
        room_id: The room.
        channel_type: What it speaks.
        category: TRANSPORT is delivered to, INTELLIGENCE reacts.
        direction: An OUTBOUND binding receives nothing.
        access: What it may do here.
        muted: What it says is suppressed; it still receives.
        visibility: Who sees what it says; see ``RoomEvent.visibility``.
        participant_id: The one person it stands for, if any.
        last_read_index: The last event read through it, when known.
        attached_at: Since when.
        capabilities: What it can carry.
        rate_limit: How fast to send to it.
        retry_policy: How to repeat failed deliveries.
        metadata: Its address (such as ``phone_number``) and settings (such as
            ``system_prompt``).
    """

    channel_id: str
    room_id: str
    channel_type: ChannelType
    category: ChannelCategory = ChannelCategory.TRANSPORT
    direction: ChannelDirection = ChannelDirection.BIDIRECTIONAL
    access: Access = Access.READ_WRITE
    muted: bool = False
    visibility: str = "all"
    participant_id: str | None = None
    last_read_index: int | None = Field(default=None, ge=0)
    attached_at: datetime = Field(default_factory=utc_now)
    capabilities: ChannelCapabilities = Field(default_factory=ChannelCapabilities)
    rate_limit: RateLimit | None = None
    retry_policy: RetryPolicy | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def can_send(self) -> bool:
        """Whether what the channel says reaches the room."""
        return not self.muted and self.access not in (Access.READ_ONLY, Access.NONE)

    @property
    def can_receive(self) -> bool:
        """Whether the room's events reach the channel (visibility aside)."""
        return (
            self.access not in (Access.WRITE_ONLY, Access.NONE)
            and self.direction != ChannelDirection.OUTBOUND
        )

    def with_muted(self, muted: bool) -> ChannelBinding:
        """Return this binding muted or not."""
        return changed(self, muted=muted)

    def with_access(self, access: Access) -> ChannelBinding:
        """Return this binding with other access."""
        return changed(self, access=access)

    def with_visibility(self, visibility: str) -> ChannelBinding:
        """Return this binding with other visibility."""
        return changed(self, visibility=visibility)

    def with_metadata(self, metadata: Mapping[str, Any]) -> ChannelBinding:
        """Return this binding with some metadata added."""
        return changed(self, metadata={**self.metadata, **metadata})

    def for_participant(self, participant_id: str) -> ChannelBinding:
        """Return this binding standing for one person."""
        return changed(self, participant_id=participant_id)

    def snapshot(self) -> ChannelBinding:
        """Return a shallow copy the caller may assign to."""
        return changed(self)


class ChannelOutput(BaseModel, defer_build=True):
    """What a channel answers to an event.

    Attributes:
        responded: Whether ``response_events`` count.
        response_events: Events to feed back into the room.
        tasks: Tasks to store.
        observations: Observations to store.
        metadata_updates: Collected in ``BroadcastResult.metadata_updates``.
    """

    responded: bool = False
    response_events: list[RoomEvent] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    observations: list[Observation] = Field(default_factory=list)
    metadata_updates: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def answer(
        cls,
        event: RoomEvent,
        tasks: Sequence[Task] = (),
        observations: Sequence[Observation] = (),
    ) -> ChannelOutput:
        """Return the answer ``event``, made of values that were checked before."""
        return built(
            cls,
            {
                "responded": True,
                "response_events": [event],
                "tasks": [*tasks],
                "observations": [*observations],
                "metadata_updates": {},
            },
        )

    @staticmethod
    def empty() -> ChannelOutput:
        """Return the answer that says nothing. It is shared and refuses to be changed."""
        return _EMPTY


class _EmptyOutput(Shared, ChannelOutput):
    """The shared empty output; nothing in it can be filled either."""


_EMPTY = _EmptyOutput.model_construct(
    responded=False,
    response_events=SharedList(),
    tasks=SharedList(),
    observations=SharedList(),
    metadata_updates=SharedDict(),
)
