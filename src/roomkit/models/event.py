"""The event: the one kind of thing a room's timeline is made of.

An event that has been handed over is never changed; the named methods below return changed
copies. Content types live in ``roomkit.models.content`` and are re-exported here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from roomkit._ids import new_id
from roomkit.models._copy import built, changed
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.enums import ChannelDirection, ChannelType, EventStatus, EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AudioContent",
    "ChannelData",
    "CompositeContent",
    "DeleteContent",
    "EditContent",
    "EventContent",
    "EventSource",
    "LocationContent",
    "MediaContent",
    "RichContent",
    "RoomEvent",
    "SystemContent",
    "TemplateContent",
    "TextContent",
    "VideoContent",
]


def utc_now() -> datetime:
    """Return the present moment, timezone-aware."""
    return datetime.now(UTC)


class ChannelData(BaseModel, defer_build=True):
    """What a channel wants to remember about an event.

    Attributes:
        provider: The vendor.
        external_id: The vendor's id of the message.
        thread_id: The thread it belongs to, on the channel's side.
        extra: Whatever else the channel needs again.
    """

    provider: str | None = None
    external_id: str | None = None
    thread_id: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


_NO_DATA = ChannelData.model_construct()
"""Shared by the events nobody remembers anything about."""


class EventSource(BaseModel, defer_build=True):
    """Where an event comes from.

    Attributes:
        channel_id: The channel it entered by.
        channel_type: What that channel speaks.
        direction: INBOUND from outside, OUTBOUND for an AI's own words.
        participant_id: Who said it, as far as known.
        external_id: The vendor's id of the message.
        provider: The vendor.
        raw_payload: The vendor's payload, when kept.
        provider_message_id: The vendor's id of the message as sent.
    """

    channel_id: str
    channel_type: ChannelType
    direction: ChannelDirection = ChannelDirection.INBOUND
    participant_id: str | None = None
    external_id: str | None = None
    provider: str | None = None
    raw_payload: dict[str, Any] = Field(default_factory=dict)
    provider_message_id: str | None = None

    @classmethod
    def of_framework(cls, channel_id: str) -> EventSource:
        """Return the source of what the framework itself says."""
        return built(
            cls,
            {
                "channel_id": channel_id,
                "channel_type": ChannelType.SYSTEM,
                "direction": ChannelDirection.INBOUND,
                "participant_id": None,
                "external_id": None,
                "provider": None,
                "raw_payload": {},
                "provider_message_id": None,
            },
        )

    def cleaned(self, **fields: Any) -> EventSource:
        """Return this source with some fields replaced by their sanitised values."""
        return changed(self, **fields)


class RoomEvent(BaseModel, defer_build=True):
    """One thing that happened in a room.

    Attributes:
        id: 32 hexadecimal digits, unique everywhere.
        room_id: The room it belongs to.
        type: What it is about.
        source: Where it comes from.
        content: What it says.
        status: DELIVERED once it is part of the conversation, BLOCKED when a gate refused it.
        blocked_by: The gate (or rule) that refused it.
        visibility: ``all``, ``none``, ``internal``, ``transport``, ``intelligence`` or channel
            ids separated by commas.
        index: Its place in the room: 0, 1, 2, ... without a hole.
        chain_depth: 0 from outside, one more for each answer to an answer.
        parent_event_id: The event it answers.
        correlation_id: Shared by events that belong together.
        idempotency_key: Per room, one event a key.
        created_at: When it was made.
        metadata: Anything JSON can carry.
        channel_data: What its channel remembers about it.
        delivery_results: Channel id to what became of the delivery there.
    """

    id: str = Field(default_factory=new_id)
    room_id: str
    type: EventType = EventType.MESSAGE
    source: EventSource
    content: EventContent
    status: EventStatus = EventStatus.PENDING
    blocked_by: str | None = None
    visibility: str = "all"
    index: int = Field(default=0, ge=0)
    chain_depth: int = Field(default=0, ge=0)
    parent_event_id: str | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    created_at: datetime = Field(default_factory=utc_now)
    metadata: dict[str, Any] = Field(default_factory=dict)
    channel_data: ChannelData = Field(default_factory=ChannelData)
    delivery_results: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def notice(
        cls,
        room_id: str,
        event_type: EventType,
        source: EventSource,
        body: str,
        code: str,
        data: dict[str, Any],
        at: datetime,
    ) -> RoomEvent:
        """Return an internal event of the framework itself, made of values it knows are right."""
        content = {"type": "system", "body": body, "code": code, "data": data}
        return built(
            cls,
            {
                "id": new_id(),
                "room_id": room_id,
                "type": event_type,
                "source": source,
                "content": built(SystemContent, content),
                "status": EventStatus.DELIVERED,
                "blocked_by": None,
                "visibility": "internal",
                "index": 0,
                "chain_depth": 0,
                "parent_event_id": None,
                "correlation_id": None,
                "idempotency_key": None,
                "created_at": at,
                "metadata": {},
                "channel_data": ChannelData(),
                "delivery_results": {},
            },
        )

    def reply(
        self, source: EventSource, content: EventContent, metadata: dict[str, Any], at: datetime
    ) -> RoomEvent:
        """Return a new event that answers this one, made of values that were checked before."""
        return built(
            RoomEvent,
            {
                "id": new_id(),
                "room_id": self.room_id,
                "type": EventType.MESSAGE,
                "source": source,
                "content": content,
                "status": EventStatus.PENDING,
                "blocked_by": None,
                "visibility": "all",
                "index": 0,
                "chain_depth": self.chain_depth + 1,
                "parent_event_id": self.id,
                "correlation_id": self.correlation_id,
                "idempotency_key": None,
                "created_at": at,
                "metadata": metadata,
                "channel_data": _NO_DATA,
                "delivery_results": {},
            },
        )

    def numbered(self, index: int) -> RoomEvent:
        """Return this event at its place in the timeline."""
        return changed(self, index=index)

    def accepted(self, index: int, visibility: str) -> RoomEvent:
        """Return this event as part of the conversation, with the visibility it has there."""
        return changed(self, index=index, visibility=visibility, status=EventStatus.DELIVERED)

    def blocked(self, by: str, index: int | None = None) -> RoomEvent:
        """Return this event refused ``by`` a gate or a rule."""
        return changed(
            self,
            status=EventStatus.BLOCKED,
            blocked_by=by,
            index=self.index if index is None else index,
        )

    def saying(self, content: EventContent) -> RoomEvent:
        """Return this event with other content."""
        return changed(self, content=content)

    def said_by(self, participant_id: str) -> RoomEvent:
        """Return this event with its speaker known."""
        source = changed(self.source, participant_id=participant_id)
        return changed(self, source=source)

    def edited(self, content: EventContent) -> RoomEvent:
        """Return this event after an edit: other content, ``metadata["edited"]`` true."""
        return changed(self, content=content, metadata={**self.metadata, "edited": True})

    def deleted(self) -> RoomEvent:
        """Return this event taken back: ``metadata["deleted"]`` true, content kept."""
        return changed(self, metadata={**self.metadata, "deleted": True})

    def injected_into(self, room_id: str) -> RoomEvent:
        """Return this event as the engine adds it to a room on a hook's behalf."""
        return changed(self, room_id=room_id, status=EventStatus.DELIVERED)

    def visible_as(self, visibility: str) -> RoomEvent:
        """Return this event with another visibility."""
        return changed(self, visibility=visibility)

    def with_metadata(self, **values: Any) -> RoomEvent:
        """Return this event with some metadata added."""
        return changed(self, metadata={**self.metadata, **values})

    def with_results(self, results: Mapping[str, Any]) -> RoomEvent:
        """Return this event with delivery results added."""
        return changed(self, delivery_results={**self.delivery_results, **results})

    def at_depth(self, depth: int) -> RoomEvent:
        """Return this event with another chain depth."""
        return changed(self, chain_depth=depth)

    def answering(self, cause: RoomEvent, *, outbound: bool) -> RoomEvent:
        """Return this event as the answer to ``cause``.

        Its depth becomes at least one more than the cause's; parent and correlation are
        inherited where it has none of its own; ``outbound`` marks an AI's own words.
        """
        source = self.source
        if outbound and source.direction is not ChannelDirection.OUTBOUND:
            source = changed(source, direction=ChannelDirection.OUTBOUND)
        if (
            source is self.source
            and self.room_id == cause.room_id
            and self.chain_depth > cause.chain_depth
            and self.parent_event_id
            and (self.correlation_id or not cause.correlation_id)
        ):
            return self
        return changed(
            self,
            room_id=cause.room_id,
            source=source,
            chain_depth=max(self.chain_depth, cause.chain_depth + 1),
            parent_event_id=self.parent_event_id or cause.id,
            correlation_id=self.correlation_id or cause.correlation_id,
        )

    def answer_from(self, source: EventSource, visibility: str) -> RoomEvent:
        """Return the outline of an answer to this event, to plan whom it would reach."""
        return changed(
            self,
            source=source,
            visibility=visibility,
            index=self.index + 1,
            parent_event_id=self.id,
        )

    def as_from(self, original: RoomEvent) -> RoomEvent:
        """Return this event with the identity of ``original``: what no gate may change.

        Id, room, source, index, depth, key, creation time and, for an edit or delete, its
        target are the original's.
        """
        content = self.content
        before = original.content
        if isinstance(before, (EditContent, DeleteContent)):
            if type(content) is not type(before):
                content = before
            elif content.target_event_id != before.target_event_id:
                content = changed(content, target_event_id=before.target_event_id)
        return changed(
            self,
            id=original.id,
            room_id=original.room_id,
            type=original.type,
            source=original.source,
            content=content,
            index=original.index,
            chain_depth=original.chain_depth,
            idempotency_key=original.idempotency_key,
            created_at=original.created_at,
            blocked_by=original.blocked_by,
            delivery_results=original.delivery_results,
        )

    def renewed(self) -> RoomEvent:
        """Return this event under an id of its own."""
        return changed(self, id=new_id())

    def in_room(self, room_id: str) -> RoomEvent:
        """Return this event as belonging to ``room_id``."""
        return changed(self, room_id=room_id)

    def cleaned(self, **fields: Any) -> RoomEvent:
        """Return this event with some fields replaced by their sanitised values."""
        return changed(self, **fields)
