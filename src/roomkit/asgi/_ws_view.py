"""What a WebSocket channel's clients may see of a room: decided here, without any I/O.

A client sees what the engine would deliver to its channel, and besides what was said through
that channel itself, which the engine never gives back. Where the timeline alone does not tell
whom an event was meant for, the doubt is decided against showing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from roomkit.core.visibility import INTERNAL, NONE, visible_to
from roomkit.models.content import DeleteContent, EditContent, SystemContent
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelType,
    EventStatus,
    ParticipantStatus,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from roomkit.asgi.principal import Principal
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

METADATA_KEYS = frozenset({"edited", "interrupted", "stream_id"})
"""What clients get of an event's metadata unless told otherwise: the rest is the server's."""

_SILENT = frozenset({Access.READ_ONLY, Access.NONE})
_SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an event is shown to: everybody of the channel, one participant, or nobody."""

    everybody: bool = False
    participant_id: str | None = None

    def __bool__(self) -> bool:
        return self.everybody or self.participant_id is not None

    def includes(self, participant_id: str) -> bool:
        """Return whether a participant is among them."""
        return self.everybody or self.participant_id == participant_id

    def within(self, other: Audience) -> Audience:
        """Return those who are in both."""
        if self.everybody:
            return other
        if other.everybody or self == other:
            return self
        return NOBODY


NOBODY = Audience()
EVERYBODY = Audience(everybody=True)


def audience(
    event: RoomEvent, binding: ChannelBinding | None, *, speaks: bool, told: bool = False
) -> Audience:
    """Return whom of a channel's clients an event is shown to.

    Args:
        event: As stored. For an edit or delete the audience of its target counts as well.
        binding: The channel's place in the room now.
        speaks: Whether the event's source could speak when it was said.
        told: Whether the event was delivered to the channel, so that it was meant for it.
    """
    if binding is None or not binding.can_receive or withdrawn(event):
        return NOBODY
    if told or was_delivered(event, binding.channel_id):
        return EVERYBODY
    visible = visible_to(event.visibility, binding)
    if visible and speaks:
        return EVERYBODY
    if event.source.channel_id != binding.channel_id or event.visibility in (NONE, INTERNAL):
        return NOBODY
    # What a person says for others' ears, or while muted, they still see themselves.
    return Audience(participant_id=event.source.participant_id)


def was_delivered(event: RoomEvent, channel_id: str) -> bool:
    """Return whether an event's record says that it was meant for a channel."""
    result = event.delivery_results.get(channel_id)
    return isinstance(result, dict) and result.get("status") != _SKIPPED


def withdrawn(event: RoomEvent) -> bool:
    """Return whether an event is no part of the conversation: blocked, or taken back."""
    return event.status == EventStatus.BLOCKED or event.metadata.get("deleted") is True


def target_of(event: RoomEvent) -> str | None:
    """Return the event an edit or delete is about, which it must not give away."""
    content = event.content
    return content.target_event_id if isinstance(content, EditContent | DeleteContent) else None


class Door:
    """Says who may be in a room by a channel; in doubt not.

    Args:
        context: The room as it stands.
        channel_id: The channel.
    """

    __slots__ = ("_binding", "_room_id", "_statuses")

    def __init__(self, context: RoomContext, channel_id: str) -> None:
        self._room_id = context.room.id
        self._binding = context.get_binding(channel_id)
        self._statuses = {person.id: person.status for person in context.participants}

    def admits(self, principal: Principal) -> bool:
        """Return whether somebody may be in."""
        person, binding = principal.participant_id, self._binding
        if binding is None or binding.participant_id not in (None, person):
            return False
        status = self._statuses.get(person)
        if status == ParticipantStatus.BANNED:
            return False
        if principal.room_ids is not None:
            return self._room_id in principal.room_ids
        if binding.participant_id is not None:
            return True
        return status in (ParticipantStatus.ACTIVE, ParticipantStatus.INACTIVE)


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a channel stands at some point, and whether that is certain."""

    muted: bool
    access: str
    certain: bool = True

    @property
    def can_speak(self) -> bool:
        return not self.muted and self.access not in _SILENT


_OPEN = _Standing(muted=False, access=str(Access.READ_WRITE))


class Speakers:
    """Which channels could speak in a room at some point of its timeline.

    A muted or read-only channel's message is stored as any other and reaches nobody. That it
    reached somebody is recorded once it is delivered; before that, and where there was nobody
    else to reach, the state of its channel decides. Every change of that is an event of the
    timeline, so the state can be walked along it: forwards exactly, backwards as far as the
    changes tell what was before them.

    Args:
        context: The room; the walk begins at its end.
        channel_id: The channel whose clients look.
    """

    __slots__ = ("_alone", "_channel_id", "_known")

    def __init__(self, context: RoomContext, channel_id: str) -> None:
        self._channel_id = channel_id
        # Without another channel to deliver to nothing can be on record.
        self._alone = not any(
            binding.category == ChannelCategory.TRANSPORT and binding.channel_id != channel_id
            for binding in context.bindings
        )
        self._known = {
            binding.channel_id: _Standing(binding.muted, str(binding.access))
            for binding in context.bindings
        }

    def can_speak(self, event: RoomEvent) -> bool:
        """Return whether what an event's source says at this point reaches the room."""
        source_id = event.source.channel_id
        standing = self._known.get(source_id)
        if standing is None:
            return False
        if event.delivery_results:
            return True
        return standing.can_speak and (
            standing.certain or (self._alone and source_id == self._channel_id)
        )

    def rewind(self, event: RoomEvent) -> None:
        """Step back over an event."""
        change = _change(event)
        if change is None:
            return
        code, channel_id, data = change
        after = self._known.get(channel_id, _OPEN)
        if code == "channel_access_changed":
            before = replace(after, access=str(data.get("old_access")))
        elif code in ("channel_muted", "channel_unmuted"):
            # As a rule; a muted channel may also be muted again.
            before = replace(after, muted=code == "channel_unmuted", certain=False)
        else:
            # How an earlier binding stood is not told.
            before = replace(_OPEN, certain=False)
        self._known[channel_id] = before

    def advance(self, event: RoomEvent, context: RoomContext) -> None:
        """Step on over an event.

        Args:
            event: The next one.
            context: The room as it stands now: a channel may be muted as it is attached.
        """
        change = _change(event)
        if change is None:
            return
        code, channel_id, data = change
        before = self._known.pop(channel_id, _OPEN)
        if code == "channel_detached":
            return
        if code == "channel_attached":
            binding = context.get_binding(channel_id)
            muted = binding is not None and binding.muted
            after = _Standing(muted, str(data.get("access")))
        elif code == "channel_access_changed":
            after = replace(before, access=str(data.get("access")))
        else:
            after = replace(before, muted=code == "channel_muted")
        self._known[channel_id] = after


_CHANGES = frozenset(
    {
        "channel_attached",
        "channel_detached",
        "channel_muted",
        "channel_unmuted",
        "channel_access_changed",
    }
)


def _change(event: RoomEvent) -> tuple[str, str, dict[str, Any]] | None:
    """Return what the framework says about a channel of the room; None for anything else."""
    content = event.content
    if event.source.channel_type != ChannelType.SYSTEM or not isinstance(content, SystemContent):
        return None
    channel_id = content.data.get("channel_id")
    if content.code not in _CHANGES or not isinstance(channel_id, str):
        return None
    return content.code, channel_id, content.data


def event_json(event: RoomEvent, metadata_keys: Collection[str]) -> dict[str, Any]:
    """Return an event as clients get it.

    Vendors' payloads and ids, idempotency keys and the results of other channels'
    deliveries stay on the server.
    """
    source = event.source
    shown = {key: event.metadata[key] for key in metadata_keys if key in event.metadata}
    return {
        "id": event.id,
        "room_id": event.room_id,
        "type": str(event.type),
        "source": {
            "channel_id": source.channel_id,
            "channel_type": str(source.channel_type),
            "direction": str(source.direction),
            "participant_id": source.participant_id,
        },
        "content": event.content.model_dump(mode="json"),
        "index": event.index,
        "parent_event_id": event.parent_event_id,
        "correlation_id": event.correlation_id,
        "created_at": event.created_at.isoformat(),
        "metadata": shown,
    }
