"""What hooks and channels get to see of a room."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from roomkit.models._copy import built
from roomkit.models.channel import ChannelBinding
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room

if TYPE_CHECKING:
    from roomkit.models.enums import ChannelType


class RoomContext(BaseModel):
    """A snapshot of a room: read it, do not change it.

    Attributes:
        room: The room.
        bindings: Its channels, in the order they were attached.
        participants: Its people; several contexts may share the list.
        recent_events: The newest 50 events, oldest first.
    """

    # The engine never validates one; its schema holds nearly all others and is large.
    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True)

    room: Room
    bindings: list[ChannelBinding] = Field(default_factory=list)
    participants: list[Participant] = Field(default_factory=list)
    recent_events: list[RoomEvent] = Field(default_factory=list)

    @classmethod
    def of(
        cls,
        room: Room,
        bindings: list[ChannelBinding],
        participants: list[Participant],
        recent_events: list[RoomEvent],
    ) -> RoomContext:
        """Return a context of values that were checked before."""
        return built(
            cls,
            {
                "room": room,
                "bindings": bindings,
                "participants": participants,
                "recent_events": recent_events,
            },
        )

    def grown(self, by: int) -> RoomContext:
        """Return this context as it will be once ``by`` more events are stored."""
        room = self.room
        room = room.counted(room.event_count + by, room.event_count + by - 1)
        return RoomContext.of(room, self.bindings, self.participants, self.recent_events)

    def with_recent(self, recent_events: list[RoomEvent]) -> RoomContext:
        """Return this context with other recent events."""
        return RoomContext.of(self.room, self.bindings, self.participants, recent_events)

    def other_channels(self, exclude_channel_id: str) -> list[ChannelBinding]:
        """Return every binding but one."""
        return [b for b in self.bindings if b.channel_id != exclude_channel_id]

    def channels_by_type(self, channel_type: ChannelType) -> list[ChannelBinding]:
        """Return the bindings of one channel type."""
        return [b for b in self.bindings if b.channel_type == channel_type]

    def get_binding(self, channel_id: str) -> ChannelBinding | None:
        """Return the binding of a channel, or None."""
        for binding in self.bindings:
            if binding.channel_id == channel_id:
                return binding
        return None
