"""What the in-memory store keeps of one room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.context import RoomContext

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import RoomClaim


def due_time(room: Room) -> float | None:
    """Return when the next timer of a room runs out, in seconds since the epoch."""
    try:
        due = room.timers.due_at(room.status)
        return None if due is None else due.timestamp()
    except OverflowError:
        return None


class RoomRecord:
    """A room and all that belongs to it; also of a room not created yet.

    The Room it shows is made when somebody looks: any change before that costs a flag. Two
    looks without a change between them give the same object, so its identity is the version
    of everything a context shows.

    Attributes:
        id: The room's id.
        seq: Its place among all rooms, by creation.
        status: The status it is filed under.
        organization_id: The tenant it is filed under.
        created: When it was made, in seconds since the epoch.
        due: Its entry in the heap of timers.
        timed: Whether it has timers that a message starts.
        log: Its events, each at its index.
        keys: Idempotency key to the index of its event.
        markers: Channel id to the index of the last event read.
        version: Moves with every change of bindings or event contents.
        sent: Vendors' message ids of its deliveries.
        claim: What ``open_room`` made it for.
        people: Channel id to the person and channel type its binding is filed under.
    """

    __slots__ = (
        "_activity",
        "_crowd",
        "_room",
        "_stale",
        "_visible",
        "bindings",
        "claim",
        "created",
        "due",
        "id",
        "keys",
        "log",
        "markers",
        "observations",
        "organization_id",
        "participants",
        "people",
        "sent",
        "seq",
        "status",
        "tasks",
        "timed",
        "version",
    )

    def __init__(self, room_id: str, version: int) -> None:
        self.id = room_id
        self.version = version
        self.seq = -1
        self.status: str = ""
        self.organization_id: str | None = None
        self.created = 0.0
        self.due: float | None = None
        self.timed = False
        self.claim: RoomClaim | None = None
        self.log: list[RoomEvent] = []
        self.bindings: dict[str, ChannelBinding] = {}
        # Most rooms never need these.
        self.participants: dict[str, Participant] | None = None
        self.keys: dict[str, int] | None = None
        self.markers: dict[str, int] | None = None
        self.tasks: dict[str, Task] | None = None
        self.observations: dict[str, Observation] | None = None
        self.sent: list[str] | None = None
        self.people: dict[str, tuple[str, str]] | None = None
        self._visible: dict[str, list[int]] | None = None
        self._crowd: list[Participant] | None = None
        self._room: Room | None = None
        self._activity: datetime | None = None
        self._stale = False

    @property
    def exists(self) -> bool:
        """Whether the room itself was created, not only something of it."""
        return self._room is not None

    # -- the room -----------------------------------------------------------------------

    def keep(self, room: Room) -> None:
        """Take over a room as its caller left it, but for the counters."""
        count = len(self.log)
        self._room = room.counted(count, max(0, count - 1))
        self._activity = None
        self._stale = False
        timers = room.timers
        self.timed = (
            timers.inactive_after_seconds is not None or timers.closed_after_seconds is not None
        )

    def touch(self, at: datetime) -> None:
        """Note a message said at ``at``; activity never goes back."""
        room = self._room
        if room is None:
            return
        last = self._activity or room.timers.last_activity_at
        try:
            newer = last is None or at > last
        except TypeError:  # one of them is without a timezone: compared as numbers
            newer = last is None or at.timestamp() > last.timestamp()
        if newer:
            self._activity = at
            self._stale = True

    def moved(self) -> None:
        """Note a change of bindings or participants: a context would look different now."""
        self._stale = True
        self._crowd = None

    def room(self) -> Room | None:
        """Return the room as it stands, or None when it was never created."""
        room = self._room
        if room is not None and self._stale:
            count = len(self.log)
            activity, self._activity = self._activity, None
            room = self._room = room.counted(count, max(0, count - 1), activity)
            self._stale = False
        return room

    def due_time(self) -> float | None:
        """Return when its next timer runs out, in seconds since the epoch."""
        room = self.room() if self.timed else None
        return None if room is None else due_time(room)

    def clear(self) -> None:
        """Let go of everything: a heap may hold a deleted room's record a little longer."""
        self.log = []
        self.bindings = {}
        self.participants = self.tasks = self.observations = None
        self.keys = self.markers = None
        self.sent = None
        self.people = None
        self._visible = None
        self._crowd = None
        self._room = None

    # -- what belongs to it --------------------------------------------------------------

    def append(self, event: RoomEvent) -> RoomEvent:
        """Put an event at the end and return it as it stands there."""
        log = self.log
        index = len(log)
        if event.index != index:
            event = event.numbered(index)
        log.append(event)
        key = event.idempotency_key
        if key:
            if self.keys is None:
                self.keys = {}
            self.keys.setdefault(key, index)
        if self._visible is not None:
            self._visible.setdefault(event.visibility, []).append(index)
        self._stale = True
        return event

    def replace(self, index: int, event: RoomEvent) -> None:
        """Put a changed event in the place of the one at ``index``."""
        if event.index != index:
            event = event.numbered(index)
        if event.room_id != self.id:
            event = event.in_room(self.id)
        if self._visible is not None and event.visibility != self.log[index].visibility:
            self._visible = None
        self.log[index] = event
        self._stale = True

    def by_key(self, key: str) -> RoomEvent | None:
        """Return the first event under an idempotency key."""
        index = self.keys.get(key) if self.keys else None
        return None if index is None else self.log[index]

    def visible_as(self, visibility: str) -> list[int]:
        """Return the indexes of the events of exactly this visibility."""
        if self._visible is None:
            self._visible = {}
            for index, event in enumerate(self.log):
                self._visible.setdefault(event.visibility, []).append(index)
        return self._visible.get(visibility, [])

    def observe(self, observation: Observation) -> None:
        """Keep an observation, in place of one of the same id."""
        if self.observations is None:
            self.observations = {}
        self.observations[observation.id] = observation

    def mark(self, channel_id: str, index: int) -> None:
        """Remember that a channel has read up to an event."""
        if self.markers is None:
            self.markers = {}
        self.markers[channel_id] = index

    def unread(self, channel_id: str) -> int:
        """Return how many events follow the last one a channel has read."""
        marker = -1 if self.markers is None else self.markers.get(channel_id, -1)
        return len(self.log) - 1 - marker

    def context(self, recent: int) -> RoomContext | None:
        """Return the room with its members and newest events."""
        room = self.room()
        if room is None:
            return None
        log = self.log
        return RoomContext.of(
            room,
            list(self.bindings.values()),
            self._people() if self.participants else [],
            log[max(0, len(log) - recent) :] if recent > 0 else [],
        )

    def _people(self) -> list[Participant]:
        """Return the participants in one list that all contexts share until somebody joins.

        A crowd is too much to copy for each message. Who changes the list of a context, which
        they should not, does no lasting harm: a list of another length is made anew.
        """
        people, known = self._crowd, self.participants or {}
        if people is None or len(people) != len(known):
            people = self._crowd = list(known.values())
        return people

    def shows(self, context: RoomContext) -> bool:
        """Return whether nothing has moved since a context was taken."""
        return not self._stale and context.room is self._room
