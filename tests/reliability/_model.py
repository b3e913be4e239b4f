"""A kit in a hundred lines: what the state machine holds the real one against."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkit import Access, ChannelCategory

TRANSPORTS = ("a", "b", "c")
BOT = "bot"
INACTIVE, CLOSED = 30, 90
_READS = (Access.READ_WRITE, Access.READ_ONLY)
_WRITES = (Access.READ_WRITE, Access.WRITE_ONLY)


@dataclass
class Said:
    """One event: its kind is ``message``, ``edit``, ``delete`` or a system event's type."""

    kind: str
    body: str | None = None
    source: str = "system"
    author: str | None = None
    key: str | None = None
    blocked: bool = False
    edited: bool = False
    deleted: bool = False


@dataclass
class Place:
    """A channel in a room."""

    access: Access
    visibility: str
    muted: bool = False

    def sees(self, channel: str, visibility: str) -> bool:
        """Return whether something of a visibility is shown to the channel here."""
        category = ChannelCategory.INTELLIGENCE if channel == BOT else ChannelCategory.TRANSPORT
        return visibility in ("all", category, channel)


@dataclass
class RoomModel:
    """A room."""

    timed: bool
    status: str = "active"
    places: dict[str, Place] = field(default_factory=dict)
    events: list[Said] = field(default_factory=list)
    last: float | None = None

    @property
    def open(self) -> bool:
        return self.status in ("active", "paused")

    def index_of(self, key: str | None) -> int | None:
        """Return where the event with a key stands."""
        found = [n for n, event in enumerate(self.events) if key and event.key == key]
        return found[0] if found else None


@dataclass
class Model:
    """All rooms, and what each channel was given, in order, as (room, index)."""

    rooms: dict[str, RoomModel] = field(default_factory=dict)
    given: dict[str, list[tuple[str, int]]] = field(
        default_factory=lambda: {name: [] for name in (*TRANSPORTS, BOT)}
    )
    now: float = 0.0

    def say(self, name: str, said: Said, visibility: str = "all") -> None:
        """Let an event pass the gates, store it, deliver it and answer it."""
        room = self.rooms[name]
        body = said.body or ""
        said.blocked = body.startswith("block")
        if body.startswith("modify"):
            said.body = "modified"
        index = self._store(room, said)
        if said.blocked:
            return
        if body.startswith("inject"):
            room.events.append(Said("message", "note", "a", None))
        self._deliver(name, index, said, visibility)
        if body.startswith("inject") and "b" in room.places:
            self.given["b"].append((name, index + 1))
        place = room.places.get(BOT)
        heard = self.given[BOT][-1:] == [(name, index)]
        if heard and body.endswith("?") and place is not None and not place.muted:
            answer = Said("message", f"re: {body}", BOT)
            self._deliver(name, self._store(room, answer), answer, "all")

    def _store(self, room: RoomModel, said: Said) -> int:
        room.events.append(said)
        if said.kind == "message" and not said.blocked:
            room.last = self.now
        return len(room.events) - 1

    def _deliver(self, name: str, index: int, said: Said, visibility: str) -> None:
        places = self.rooms[name].places
        source = places.get(said.source)
        if source is None or source.muted or source.access not in _WRITES:
            return
        for channel, place in places.items():
            if channel != said.source and place.access in _READS:
                words = (visibility, source.visibility)
                if all(place.sees(channel, word) for word in words):
                    self.given[channel].append((name, index))

    def run_timers(self) -> None:
        """Pause and close what has been silent for too long."""
        for room in self.rooms.values():
            silence = self.now - room.last if room.timed and room.last is not None else 0.0
            if room.open and silence > CLOSED:
                room.status = "closed"
            elif room.status == "active" and silence > INACTIVE:
                room.status = "paused"
            else:
                continue
            room.events.append(Said("system"))
