"""The room, its timers and the table of its life."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from roomkit._ids import new_id
from roomkit.exceptions import InvalidTransitionError
from roomkit.models._copy import changed
from roomkit.models.enums import RoomStatus
from roomkit.models.event import utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOM_TRANSITIONS: Mapping[RoomStatus, frozenset[RoomStatus]] = MappingProxyType(
    {
        RoomStatus.ACTIVE: frozenset({RoomStatus.PAUSED, RoomStatus.CLOSED}),
        RoomStatus.PAUSED: frozenset({RoomStatus.ACTIVE, RoomStatus.CLOSED}),
        # Closing a closed room again is harmless and moves closed_at.
        RoomStatus.CLOSED: frozenset({RoomStatus.CLOSED, RoomStatus.ACTIVE, RoomStatus.ARCHIVED}),
        RoomStatus.ARCHIVED: frozenset(),
    }
)
"""Every allowed move of a room; all others raise InvalidTransitionError."""

OPEN_STATUSES = frozenset({RoomStatus.ACTIVE, RoomStatus.PAUSED})
"""In these a room takes new events."""


class RoomTimers(BaseModel, defer_build=True):
    """When a silent room pauses and closes.

    Attributes:
        inactive_after_seconds: Silence after which an ACTIVE room pauses.
        closed_after_seconds: Silence after which a room closes.
        last_activity_at: The latest message; without one no timer runs.
    """

    inactive_after_seconds: int | None = Field(default=None, ge=0)
    closed_after_seconds: int | None = Field(default=None, ge=0)
    last_activity_at: datetime | None = None

    def target(self, status: RoomStatus, now: datetime) -> RoomStatus | None:
        """Return the status this silence leads to at ``now``, or None to stay."""
        if self.last_activity_at is None or status not in OPEN_STATUSES:
            return None
        elapsed = self.elapsed(now)
        if self.closed_after_seconds is not None and elapsed > self.closed_after_seconds:
            return RoomStatus.CLOSED
        if (
            status == RoomStatus.ACTIVE
            and self.inactive_after_seconds is not None
            and elapsed > self.inactive_after_seconds
        ):
            return RoomStatus.PAUSED
        return None

    def elapsed(self, now: datetime) -> float:
        """Return the seconds of silence at ``now``; 0.0 without any activity."""
        if self.last_activity_at is None:
            return 0.0
        return (now - self.last_activity_at).total_seconds()

    def due_at(self, status: RoomStatus) -> datetime | None:
        """Return when the next timer of a room of this status falls due, or None."""
        if self.last_activity_at is None or status not in OPEN_STATUSES:
            return None
        waits = [self.closed_after_seconds]
        if status == RoomStatus.ACTIVE:
            waits.append(self.inactive_after_seconds)
        running = [wait for wait in waits if wait is not None]
        if not running:
            return None
        return self.last_activity_at + timedelta(seconds=min(running))


class Room(BaseModel, defer_build=True):
    """A conversation.

    Attributes:
        id: Chosen by the caller, or 32 hexadecimal digits.
        organization_id: The tenant it belongs to.
        status: ACTIVE, PAUSED, CLOSED or ARCHIVED.
        created_at: When it was made.
        updated_at: When it last changed by hand or timer.
        closed_at: When it closed.
        timers: When silence pauses and closes it.
        metadata: Anything JSON can carry.
        event_count: How many events its timeline holds (owned by the store).
        latest_index: The index of the last one (owned by the store).
    """

    id: str = Field(default_factory=new_id)
    organization_id: str | None = None
    status: RoomStatus = RoomStatus.ACTIVE
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)
    closed_at: datetime | None = None
    timers: RoomTimers = Field(default_factory=RoomTimers)
    metadata: dict[str, Any] = Field(default_factory=dict)
    event_count: int = Field(default=0, ge=0)
    latest_index: int = Field(default=0, ge=0)

    @property
    def is_open(self) -> bool:
        """Whether the room takes new events."""
        return self.status in OPEN_STATUSES

    def moved_to(self, status: RoomStatus, at: datetime) -> Room:
        """Return this room in another status.

        Raises:
            InvalidTransitionError: ``ROOM_TRANSITIONS`` has no such move.
        """
        if status not in ROOM_TRANSITIONS[RoomStatus(self.status)]:
            raise InvalidTransitionError(
                f"room {self.id!r} cannot move from {RoomStatus(self.status).value} "
                f"to {RoomStatus(status).value}"
            )
        if status == RoomStatus.CLOSED:
            return changed(self, status=status, closed_at=at)
        if status == RoomStatus.ACTIVE:
            return changed(self, status=status, updated_at=at, closed_at=None)
        return changed(self, status=status, updated_at=at)

    def touched(self, at: datetime) -> Room:
        """Return this room after a message at ``at``."""
        return changed(self, timers=changed(self.timers, last_activity_at=at))

    def counted(
        self, event_count: int, latest_index: int, activity: datetime | None = None
    ) -> Room:
        """Return this room with the store's counters, and after a message if there was one."""
        if activity is None:
            return changed(self, event_count=event_count, latest_index=latest_index)
        return changed(
            self,
            event_count=event_count,
            latest_index=latest_index,
            timers=changed(self.timers, last_activity_at=activity),
        )

    def timed(self, timers: RoomTimers) -> Room:
        """Return this room with other timers."""
        return changed(self, timers=timers)

    def with_metadata(self, metadata: Mapping[str, Any], at: datetime) -> Room:
        """Return this room with some metadata added."""
        return changed(self, metadata={**self.metadata, **metadata}, updated_at=at)

    def snapshot(self) -> Room:
        """Return a shallow copy the caller may assign to."""
        return changed(self)
