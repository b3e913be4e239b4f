"""What this process remembers of rooms it has just used, so that a look re-reads only changes.

A room's row carries three numbers, all moved by the transaction that makes the change:

- ``version`` grows by one with *every* change: events, results, bindings, participants, the
  room itself. Each event carries the version of its last change (insert, edit, results).
- ``members_version`` is the version at the last change of the room's document, its bindings
  or its participants.
- ``edits_version`` is the version at the last edit or delete of an event's content. A database
  may leave it out: then other processes' edits move nothing here, our own do.

A new room's ``version`` must start above any that an earlier room of the same id can have
reached (the time in microseconds does), or a room that was deleted and made again would be
taken for the old one.

How a store uses it: ``view = windows.view(room_id)``; one SELECT of the row, of the events
whose version is above ``view.version`` among the newest 50, and of the members when
``members_version`` is above ``view.members_version`` (everything when there is no view);
then ``windows.merge(room_id, view, delta)`` gives the context. After a commit or finish of its
own, ``windows.take(room_id, change)``; after any other write, ``windows.stale(room_id,
version)``. It is used from one thread (the event loop's) and never waits.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.context import RoomContext
from roomkit.store.base import RECENT_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room

FRESH_FOR = 1.0
"""Seconds for which a room counts as known without asking."""

_AHEAD = 64
"""Changes of our own, of one room, that may wait for an earlier one to be told."""


@dataclass(frozen=True, slots=True)
class Members:
    """Everything of a room but its events.

    Attributes:
        room: The room with its counters and last activity.
        bindings: In the order they were attached.
        participants: In the order they joined.
    """

    room: Room
    bindings: list[ChannelBinding]
    participants: list[Participant]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one SELECT found out about a room, against a view (or from nothing).

    Attributes:
        version: The row's.
        members_version: The row's.
        event_count: The row's.
        last_activity_at: The row's.
        events: Those of the newest 50 whose version is above the view's, in index order; all
            of them without a view.
        members: Present when ``members_version`` is above the view's, or without a view.
        edits_version: The row's, 0 where it has none.
    """

    version: int
    members_version: int
    event_count: int
    last_activity_at: datetime | None = None
    events: Sequence[RoomEvent] = ()
    members: Members | None = None
    edits_version: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit or finish of this process did to a room.

    Attributes:
        version: The row's version after it.
        events: What was appended, numbered.
        target: The edited event; its delivery results are left as they are.
        results: Event id to what was added to its delivery results.
        activity_at: When its message was said.
        members: Whether the room, a binding or a participant changed: the next look reads
            them anew.
    """

    version: int
    events: Sequence[RoomEvent] = ()
    target: RoomEvent | None = None
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    activity_at: datetime | None = None
    members: bool = False


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room as it stood at a version; never changed.

    Attributes:
        version: The row's version then.
        members_version: The version its members are of.
        contents_version: Moves with members and with edits of events, not with new ones.
        context: What is shown of it; the same object as long as nothing moved.
    """

    version: int
    members_version: int
    contents_version: int
    context: RoomContext


@dataclass(slots=True)
class _Entry:
    """A room in the window.

    Attributes:
        view: The newest that was seen; None while none is good enough.
        seen: When it was last known to be true, on the window's clock.
        least: Views of a lower version are not kept: a later write is known.
        moved: The version of the latest change of contents this process made.
        ahead: Own changes that wait for an earlier one, by version.
    """

    view: RoomView | None = None
    seen: float = 0.0
    least: int = 0
    moved: int = 0
    ahead: dict[int, Change] = field(default_factory=dict)


class RoomWindows:
    """The rooms this process used last: a bounded table, least recently used first out."""

    def __init__(
        self, limit: int = 2000, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember at most ``limit`` rooms; ``monotonic`` tells seconds."""
        self._limit = max(1, limit)
        self._now = monotonic
        self._rooms: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rooms)

    # -- questions -----------------------------------------------------------------------

    def view(self, room_id: str) -> RoomView | None:
        """Return what is known of a room, to ask the database for what moved since."""
        entry = self._rooms.get(room_id)
        if entry is None:
            return None
        self._rooms.move_to_end(room_id)
        return entry.view

    def peek_context(self, room_id: str) -> RoomContext | None:
        """Return the room as it was known at most about a second ago, or None."""
        entry = self._rooms.get(room_id)
        if entry is None or entry.view is None or entry.view.version < entry.moved:
            return None
        if self._now() - entry.seen > FRESH_FOR:
            return None
        return entry.view.context

    def peek_version(self, room_id: str) -> int | None:
        """Return a number that moves with members and edited events; None: it must be asked."""
        entry = self._rooms.get(room_id)
        if entry is None or entry.view is None or entry.view.version < entry.moved:
            return None
        return entry.view.contents_version

    def peek_guarded(self, room_id: str) -> tuple[RoomContext, int] | None:
        """Return the room as it was last known, with the version its members are of.

        None when it is unknown, or a later change of members is known of.
        """
        view = self.view(room_id)
        entry = self._rooms.get(room_id)
        if entry is None or view is None or view.version < entry.moved:
            return None
        return view.context, view.members_version

    # -- what was learnt -----------------------------------------------------------------

    def merge(self, room_id: str, view: RoomView | None, delta: Delta) -> RoomContext | None:
        """Take in the answer of a look and return the room as it stands.

        Args:
            room_id: The room.
            view: What the SELECT was asked against; the present one may be newer.
            delta: Its answer.

        Returns:
            The context: the view's own object when nothing moved, a newer one when this
            process learnt more meanwhile. None when the answer does not fit the view (it was
            not of the same room any more): ask again without a view.
        """
        merged = _merged(view, delta)
        if merged is None:
            self.forget(room_id)
            return None
        entry = self._entry(room_id)
        present = entry.view
        if present is not None and present.version > merged.version:
            return present.context
        if merged.version < entry.least:
            return merged.context
        if present is None or present.version < merged.version:
            entry.view = merged
        entry.seen = self._now()
        self._catch_up(entry)
        return merged.context if entry.view is None else entry.view.context

    def take(self, room_id: str, change: Change) -> None:
        """Take in what this process wrote; what does not follow directly waits or is re-read."""
        entry = self._rooms.get(room_id)
        if entry is None:
            return
        if change.members or change.target is not None:
            entry.moved = max(entry.moved, change.version)
        view = entry.view
        if view is None or change.version <= view.version:
            return
        if len(entry.ahead) >= _AHEAD:  # somebody else wrote between: only a look can tell
            entry.ahead.clear()
        entry.ahead[change.version] = change
        if change.version == view.version + 1:
            self._catch_up(entry)
            if entry.view is not view:
                entry.seen = self._now()

    def stale(self, room_id: str, version: int) -> None:
        """Note a write that is not described: the next look must read up to ``version``."""
        entry = self._entry(room_id)
        entry.least = max(entry.least, version)
        entry.moved = max(entry.moved, version)

    def forget(self, room_id: str) -> None:
        """Forget a room, such as one that is gone."""
        self._rooms.pop(room_id, None)

    def clear(self) -> None:
        """Forget all rooms."""
        self._rooms.clear()

    # -- helpers -------------------------------------------------------------------------

    def _entry(self, room_id: str) -> _Entry:
        entry = self._rooms.get(room_id)
        if entry is None:
            entry = self._rooms[room_id] = _Entry()
            if len(self._rooms) > self._limit:
                self._rooms.popitem(last=False)
        else:
            self._rooms.move_to_end(room_id)
        return entry

    @staticmethod
    def _catch_up(entry: _Entry) -> None:
        """Apply the own changes that follow the view without a gap; drop those it holds."""
        view, ahead = entry.view, entry.ahead
        while ahead and view is not None:
            change = ahead.pop(view.version + 1, None)
            following = None if change is None else _applied(view, change)
            if following is None:
                break
            view = following
        entry.view = view
        if ahead and view is not None and min(ahead) <= view.version:
            known = view.version
            entry.ahead = {version: ahead[version] for version in ahead if version > known}


def _merged(view: RoomView | None, delta: Delta) -> RoomView | None:
    """Return a view with the answer of a look in it; None when they do not fit."""
    if view is not None and view.version == delta.version:
        return view
    members = delta.members
    count = delta.event_count
    if members is not None:
        room, bindings, participants = members.room, members.bindings, members.participants
    elif view is not None and delta.members_version <= view.members_version:
        context = view.context
        room = context.room.counted(count, max(0, count - 1), delta.last_activity_at)
        bindings, participants = context.bindings, context.participants
    else:
        return None
    recent = _recent(view, delta)
    if recent is None:
        return None
    contents = max(delta.members_version, delta.edits_version)
    if view is not None:
        contents = max(contents, view.contents_version)
    return RoomView(
        delta.version,
        delta.members_version,
        contents,
        RoomContext.of(room, bindings, participants, recent),
    )


def _recent(view: RoomView | None, delta: Delta) -> list[RoomEvent] | None:
    """Return the newest events after a look, oldest first; None when some are missing."""
    if view is None:
        return list(delta.events)
    first = max(0, delta.event_count - RECENT_EVENTS)
    events = {event.index: event for event in view.context.recent_events}
    for event in delta.events:
        events[event.index] = event
    try:
        return [events[index] for index in range(first, delta.event_count)]
    except KeyError:
        return None


def _applied(view: RoomView, change: Change) -> RoomView | None:
    """Return a view after an own change that follows it; None when it must be read."""
    if change.members:
        return None
    context = view.context
    room, recent = context.room, context.recent_events
    if change.events and change.events[0].index != room.event_count:
        return None
    if change.target is not None or change.results:
        recent = [_changed(event, change) for event in recent]
    if change.events:
        recent = [*recent, *change.events][-RECENT_EVENTS:]
    count = room.event_count + len(change.events)
    activity = _later(room.timers.last_activity_at, change.activity_at)
    if count != room.event_count or activity is not None:
        room = room.counted(count, max(0, count - 1), activity)
    contents = view.contents_version if change.target is None else change.version
    return RoomView(
        change.version,
        view.members_version,
        contents,
        RoomContext.of(room, context.bindings, context.participants, recent),
    )


def _changed(event: RoomEvent, change: Change) -> RoomEvent:
    """Return a recent event after a change."""
    target = change.target
    if target is not None and target.id == event.id:
        event = target.numbered(event.index).with_results(event.delivery_results)
    results = change.results.get(event.id)
    return event if results is None else event.with_results(results)


def _later(last: datetime | None, at: datetime | None) -> datetime | None:
    """Return ``at`` when it is later than ``last``, else None."""
    if at is None or (last is not None and at.timestamp() <= last.timestamp()):
        return None
    return at
