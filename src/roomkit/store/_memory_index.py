"""The indexes of the in-memory store: rooms filed under keys, the best one at hand.

Each index keeps its own keys and ranks: what callers do to the objects they hold moves
nothing here. Whatever is taken out leaves at most as much dead weight as there is live.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from roomkit.store.base import names_person

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.store._memory_record import RoomRecord

type Rank = tuple[float, int]
"""What rooms are ordered by, the lowest first; no two rooms share one."""

_SLACK = 16


class RoomHeap:
    """Rooms of which only the best-ranked is ever asked for.

    Removed rooms stay in the heap until they surface, or until they outnumber the others.
    """

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, RoomRecord]] = []
        self._live: dict[RoomRecord, Rank] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[RoomRecord]:
        return iter(self._live)

    def add(self, record: RoomRecord, rank: Rank) -> None:
        """Take a room in; again with another rank moves it."""
        self._live[record] = rank
        heapq.heappush(self._heap, (rank, record))
        self._trim()

    def discard(self, record: RoomRecord) -> None:
        """Let a room go, if it is here."""
        self._live.pop(record, None)
        self._trim()

    def first(self) -> RoomRecord | None:
        """Return the best-ranked room."""
        heap = self._heap
        while heap:
            rank, record = heap[0]
            if self._live.get(record) == rank:
                return record
            heapq.heappop(heap)
        return None

    def _trim(self) -> None:
        if len(self._heap) > 2 * len(self._live) + _SLACK:
            self._live = dict(self._live)
            self._heap = [(rank, record) for record, rank in self._live.items()]
            heapq.heapify(self._heap)


class RoomIndex:
    """Keys to the rooms filed under them.

    A key of one room, the usual case, costs no more than an entry of a dict.

    Args:
        rank: The order of the rooms of a key; asked only when a room is filed.
    """

    __slots__ = ("_filed", "_rank")

    def __init__(self, rank: Callable[[RoomRecord], Rank]) -> None:
        self._rank = rank
        self._filed: dict[Hashable, RoomRecord | RoomHeap] = {}

    def __len__(self) -> int:
        return len(self._filed)

    def add(self, key: Hashable, record: RoomRecord) -> None:
        """File a room; once more changes nothing."""
        filed = self._filed.get(key)
        if filed is None:
            self._filed[key] = record
        elif isinstance(filed, RoomHeap):
            filed.add(record, self._rank(record))
        elif filed is not record:
            heap = self._filed[key] = RoomHeap()
            heap.add(filed, self._rank(filed))
            heap.add(record, self._rank(record))

    def remove(self, key: Hashable, record: RoomRecord) -> None:
        """Take a room out from under a key, if it is there."""
        filed = self._filed.get(key)
        if filed is record:
            del self._filed[key]
        elif isinstance(filed, RoomHeap):
            filed.discard(record)
            if not filed:
                del self._filed[key]

    def first(self, key: Hashable) -> RoomRecord | None:
        """Return the best-ranked room of a key."""
        filed = self._filed.get(key)
        return filed.first() if isinstance(filed, RoomHeap) else filed

    def rooms(self, key: Hashable) -> tuple[RoomRecord, ...]:
        """Return all rooms of a key, in no order."""
        filed = self._filed.get(key)
        if filed is None:
            return ()
        return tuple(filed) if isinstance(filed, RoomHeap) else (filed,)

    def compact(self) -> None:
        """Give back the space of removed keys."""
        self._filed = dict(self._filed)


class RouteIndex:
    """Whose room is whose, for one channel: the rooms that name a person, and the others.

    Args:
        recipient_key: The binding metadata key that holds the recipient's address.
        rank: The order of the rooms.
    """

    __slots__ = ("_names", "_recipient_key", "_rooms")

    def __init__(self, recipient_key: str | None, rank: Callable[[RoomRecord], Rank]) -> None:
        self._recipient_key = recipient_key
        self._rooms = RoomIndex(rank)
        self._names: dict[RoomRecord, tuple[str | None, ...]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def file(self, record: RoomRecord, binding: ChannelBinding) -> None:
        """File a room by the names on its binding, in place of those it had."""
        self.remove(record)
        names = tuple(names_person(binding, self._recipient_key)) or (None,)
        self._names[record] = names
        for name in names:
            self._rooms.add((record.status, name), record)

    def remove(self, record: RoomRecord) -> None:
        """Take a room out; to be done before its status changes."""
        for name in self._names.pop(record, ()):
            self._rooms.remove((record.status, name), record)

    def find(self, sender: str | None, statuses: Sequence[str]) -> RoomRecord | None:
        """Return the first room that names the sender, else the first that names nobody."""
        names = (None,) if sender is None else (sender, None)
        for name in names:
            for status in statuses:
                record = self._rooms.first((status, name))
                if record is not None:
                    return record
        return None

    def compact(self) -> None:
        """Give back the space of removed rooms."""
        self._names = dict(self._names)
        self._rooms.compact()


class DueHeap:
    """When the timers of which room run out, earliest first.

    A room has one living entry, never later than its time: who looks one up derives the true
    time again, so a message that puts a room off costs nothing here.
    """

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, RoomRecord]] = []
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def watch(self, record: RoomRecord, due: float | None) -> None:
        """Look at a room no later than ``due`` (seconds since the epoch; None: never)."""
        if due is None or (record.due is not None and record.due <= due):
            return
        if record.due is None:
            self._live += 1
        record.due = due
        heapq.heappush(self._heap, (due, record.seq, record))
        self._trim()

    def forget(self, record: RoomRecord) -> None:
        """Stop looking at a room."""
        if record.due is not None:
            record.due = None
            self._live -= 1
            self._trim()

    def take(self, now: float) -> list[RoomRecord]:
        """Remove and return the rooms to look at by ``now``."""
        heap = self._heap
        taken: list[RoomRecord] = []
        while heap and heap[0][0] <= now:
            due, _, record = heapq.heappop(heap)
            if record.due == due:
                record.due = None
                self._live -= 1
                taken.append(record)
        return taken

    def _trim(self) -> None:
        if len(self._heap) > 2 * self._live + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            heapq.heapify(self._heap)


class ChannelKeys:
    """(Channel, idempotency key) to the events that entered under it, the first one first."""

    __slots__ = ("_ids", "_later")

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, str]] = {}
        # The same key in several rooms is rare: only these pay for a list.
        self._later: dict[tuple[str, str], list[str]] = {}

    def add(self, channel_id: str, key: str, event_id: str) -> None:
        """Note an event under the key it entered with."""
        ids = self._ids.get(channel_id)
        if ids is None:
            ids = self._ids[channel_id] = {}
        if ids.setdefault(key, event_id) is not event_id:
            self._later.setdefault((channel_id, key), []).append(event_id)

    def get(self, channel_id: str, key: str) -> str | None:
        """Return the id of the first event under a key."""
        ids = self._ids.get(channel_id)
        return None if ids is None else ids.get(key)

    def remove(self, channel_id: str, key: str, event_id: str) -> None:
        """Forget an event; the next one under the key takes its place."""
        ids = self._ids.get(channel_id, {})
        later = self._later.get((channel_id, key), [])
        if ids.get(key) != event_id:
            if event_id in later:
                later.remove(event_id)
        elif later:
            ids[key] = later.pop(0)
        else:
            del ids[key]
            if not ids:
                del self._ids[channel_id]
        if not later:
            self._later.pop((channel_id, key), None)

    def compact(self) -> None:
        """Give back the space of removed keys."""
        self._ids = {channel_id: dict(ids) for channel_id, ids in self._ids.items()}
