"""RoomKit's face to rooms: their life, their people, what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.core._helpers import HelpersMixin

if TYPE_CHECKING:
    from roomkit.core.services.room_desk import RoomDesk
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room, RoomTimers
    from roomkit.models.task import Observation, Task


class RoomLifecycleMixin(HelpersMixin):
    """Rooms, participants, timelines and read marks."""

    _room_desk: RoomDesk

    async def create_room(
        self,
        room_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        organization_id: str | None = None,
        timers: RoomTimers | None = None,
    ) -> Room:
        """Create a room.

        Args:
            room_id: Default: 32 hexadecimal digits.
            metadata: Anything JSON can carry.
            organization_id: The tenant it belongs to.
            timers: When silence pauses and closes it.

        Raises:
            InvalidMetadataError: JSON cannot carry the metadata.
        """
        await self._ready()
        return await self._room_desk.rooms.create(room_id, metadata, organization_id, timers)

    async def get_room(self, room_id: str) -> Room:
        """Return a room.

        Raises:
            RoomNotFoundError: No such room.
        """
        await self._ready()
        return await self._room_desk.rooms.require(room_id)

    async def close_room(self, room_id: str) -> Room:
        """Close a room: it takes no new events. Closing again moves ``closed_at``.

        Raises:
            RoomNotFoundError: No such room.
            InvalidTransitionError: It is archived.
        """
        await self._ready()
        return await self._room_desk.rooms.close(room_id)

    async def archive_room(self, room_id: str) -> Room:
        """Archive a closed room for good.

        Raises:
            RoomNotFoundError: No such room.
            InvalidTransitionError: It is not closed.
        """
        await self._ready()
        return await self._room_desk.rooms.archive(room_id)

    async def reopen_room(self, room_id: str) -> Room:
        """Make a paused or closed room active again.

        Raises:
            RoomNotFoundError: No such room.
            InvalidTransitionError: It is active or archived.
        """
        await self._ready()
        return await self._room_desk.rooms.reopen(room_id)

    async def check_room_timers(self, room_id: str) -> Room:
        """Pause or close a room whose silence has lasted long enough; return it as it is now.

        Raises:
            RoomNotFoundError: No such room.
        """
        await self._ready()
        return await self._room_desk.rooms.check_timers(room_id)

    async def check_all_timers(self) -> list[Room]:
        """Check the timers of every open room; return the rooms that changed."""
        await self._ready()
        return await self._room_desk.rooms.check_all_timers()

    async def update_room_metadata(self, room_id: str, metadata: dict[str, Any]) -> Room:
        """Merge metadata into a room; given keys replace, the others stay.

        Raises:
            RoomNotFoundError: No such room.
            InvalidMetadataError: JSON cannot carry the metadata.
        """
        await self._ready()
        return await self._room_desk.rooms.update_metadata(room_id, metadata)

    async def ensure_participant(
        self,
        room_id: str,
        channel_id: str,
        participant_id: str,
        display_name: str | None = None,
    ) -> Participant:
        """Return a participant of a room, adding them when they are not there."""
        await self._ready()
        return await self._room_desk.participants.ensure(
            room_id, channel_id, participant_id, display_name
        )

    async def resolve_participant(
        self,
        room_id: str,
        participant_id: str,
        identity_id: str,
        resolved_by: str = "manual",
    ) -> Participant:
        """Link a participant to an identity by somebody's decision.

        Raises:
            ParticipantNotFoundError: Nobody of this id is in the room.
            IdentityNotFoundError: The store has no such identity.
        """
        await self._ready()
        return await self._room_desk.participants.resolve(
            room_id, participant_id, identity_id, resolved_by
        )

    async def get_timeline(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Return a page of a room's events in index order.

        Args:
            room_id: The room.
            offset: How many to skip.
            limit: How many at most.
            visibility_filter: Only events of exactly this visibility.

        Raises:
            RoomNotFoundError: No such room.
        """
        await self._ready()
        return await self._room_desk.timeline(room_id, offset, limit, visibility_filter)

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Return a room's tasks, oldest first, all or of one status."""
        await self._ready()
        return await self._room_desk.tasks(room_id, status)

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return a room's observations, oldest first."""
        await self._ready()
        return await self._room_desk.observations(room_id)

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read."""
        await self._ready()
        await self._room_desk.mark_read(room_id, channel_id, event_id)

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read everything."""
        await self._ready()
        await self._room_desk.mark_all_read(room_id, channel_id)
