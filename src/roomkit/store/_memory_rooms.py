"""The rooms of the in-memory store and every index over them, kept in step.

Nothing here scans rooms but for questions whose answer is all of them.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from roomkit.models.enums import RoomStatus
from roomkit.store._memory_index import DueHeap, RoomIndex, RouteIndex
from roomkit.store._memory_record import RoomRecord, due_time
from roomkit.store.base import normalized_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.store._memory_index import Rank
    from roomkit.store.commit import RoomClaim

_MEMBER = ""
"""Files a person as a participant; their bindings are filed by channel type."""


def _oldest(record: RoomRecord) -> Rank:
    return (0.0, record.seq)


def _latest(record: RoomRecord) -> Rank:
    return (-record.created, -record.seq)


def _by_seq(record: RoomRecord) -> int:
    return record.seq


class RoomKeys(NamedTuple):
    """What a room is filed under, and when to look at its timers."""

    filed: tuple[str, str | None, float]
    due: float | None


def room_keys(room: Room) -> RoomKeys:
    """Return the keys of a room. All that could fail about filing one fails here."""
    filed = (room.status, room.organization_id, room.created_at.timestamp())
    return RoomKeys(filed, due_time(room))


class RoomTable:
    """All rooms, found by id, channel, person, status, tenant, claim and due time."""

    def __init__(self) -> None:
        self._records: dict[str, RoomRecord] = {}
        self._order: list[RoomRecord] = []
        self._seq = itertools.count()
        self._version = itertools.count(1)
        self._by_status: dict[str, dict[RoomRecord, None]] = {}
        self._by_tenant: dict[str, dict[RoomRecord, None]] = {}
        self._by_channel = RoomIndex(_oldest)
        self._by_person = RoomIndex(_latest)
        self._person_types: dict[str, None] = {}
        self._routes: dict[str, dict[str | None, RouteIndex]] = {}
        self._claims: dict[RoomClaim, RoomRecord] = {}
        self._due = DueHeap()
        self.find = self._records.get

    # -- rooms ---------------------------------------------------------------------------

    def ensure(self, room_id: str) -> RoomRecord:
        """Return the record of a room, a new one if need be."""
        record = self._records.get(room_id)
        if record is None:
            record = self._records[room_id] = RoomRecord(room_id, next(self._version))
        return record

    def put(self, room: Room, keys: RoomKeys | None = None) -> RoomRecord:
        """Create or replace a room.

        Args:
            keys: ``room_keys(room)``, when the caller asked for them already.
        """
        keys = keys or room_keys(room)
        record = self.ensure(room.id)
        if not record.exists:
            record.seq = next(self._seq)
            self._order.append(record)
            self._refile(record, room, keys)
        elif keys.filed != (record.status, record.organization_id, record.created):
            self._unfile(record)
            self._refile(record, room, keys)
        else:
            record.keep(room)
        self._due.watch(record, keys.due)
        return record

    def _refile(self, record: RoomRecord, room: Room, keys: RoomKeys) -> None:
        record.status, record.organization_id, record.created = keys.filed
        record.keep(room)
        self._file(record)

    def touch(self, record: RoomRecord, at: datetime) -> None:
        """Note a message in a room."""
        record.touch(at)
        if record.timed and record.due is None:
            self._due.watch(record, record.due_time())

    def drop(self, room_id: str) -> RoomRecord | None:
        """Remove a room; None when it was never created."""
        record = self._records.get(room_id)
        if record is None or not record.exists:
            return None
        self._unfile(record)
        self._due.forget(record)
        del self._records[room_id]
        del self._order[bisect_left(self._order, record.seq, key=_by_seq)]
        if record.claim is not None:
            del self._claims[record.claim]
        return record

    def compact(self) -> None:
        """Give back the space of dropped rooms."""
        self._records = dict(self._records)
        self.find = self._records.get
        self._claims = dict(self._claims)
        self._by_status = {key: dict(found) for key, found in self._by_status.items()}
        self._by_tenant = {key: dict(found) for key, found in self._by_tenant.items()}
        self._routes = dict(self._routes)
        for routes in self._routes.values():
            for route in routes.values():
                route.compact()
        self._by_channel.compact()
        self._by_person.compact()

    def __len__(self) -> int:
        return len(self._order)

    # -- filing --------------------------------------------------------------------------

    def _file(self, record: RoomRecord) -> None:
        status = record.status
        self._by_status.setdefault(status, {})[record] = None
        if record.organization_id is not None:
            self._by_tenant.setdefault(record.organization_id, {})[record] = None
        for channel_id, binding in record.bindings.items():
            self._by_channel.add((channel_id, status), record)
            self._file_person(record, channel_id, binding)
            for route in self._routes_of(channel_id):
                route.file(record, binding)
        for person in record.participants or ():
            self._by_person.add((person, _MEMBER, status), record)

    def _unfile(self, record: RoomRecord) -> None:
        status = record.status
        self._by_status[status].pop(record)
        if record.organization_id is not None:
            tenant = self._by_tenant[record.organization_id]
            del tenant[record]
            if not tenant:
                del self._by_tenant[record.organization_id]
        for channel_id in record.bindings:
            self._by_channel.remove((channel_id, status), record)
            self._unroute(record, channel_id)
        for person, kind in set((record.people or {}).values()):
            self._by_person.remove((person, kind, status), record)
        record.people = None
        for person in record.participants or ():
            self._by_person.remove((person, _MEMBER, status), record)

    def _file_person(self, record: RoomRecord, channel_id: str, binding: ChannelBinding) -> None:
        person, kind = binding.participant_id, binding.channel_type
        if person is not None:
            if record.people is None:
                record.people = {}
            record.people[channel_id] = (person, kind)
            self._person_types[kind] = None
            self._by_person.add((person, kind, record.status), record)

    def _unfile_person(self, record: RoomRecord, channel_id: str) -> None:
        """Unfile the person of a channel, unless another of its type keeps them."""
        people = record.people
        entry = people.pop(channel_id, None) if people else None
        if people is not None and entry is not None and entry not in people.values():
            self._by_person.remove((*entry, record.status), record)

    # -- members -------------------------------------------------------------------------

    def bind(self, record: RoomRecord, binding: ChannelBinding) -> None:
        """Add a binding, or replace the one of its channel at its place."""
        channel_id = binding.channel_id
        before = record.bindings.get(channel_id)
        record.bindings[channel_id] = binding
        self.changed(record)
        if not record.exists:
            return
        if before is None:
            self._by_channel.add((channel_id, record.status), record)
        else:
            self._unfile_person(record, channel_id)
        self._file_person(record, channel_id, binding)
        for route in self._routes_of(channel_id):
            route.file(record, binding)

    def unbind(self, record: RoomRecord, channel_id: str) -> bool:
        """Remove a binding; False if there was none."""
        if record.bindings.pop(channel_id, None) is None:
            return False
        self.changed(record)
        if record.exists:
            self._by_channel.remove((channel_id, record.status), record)
            self._unfile_person(record, channel_id)
            self._unroute(record, channel_id)
        return True

    def join(self, record: RoomRecord, participant: Participant) -> None:
        """Add a participant, or replace the one of the same id at their place."""
        if record.participants is None:
            record.participants = {}
        record.participants[participant.id] = participant
        record.moved()
        if record.exists:
            self._by_person.add((participant.id, _MEMBER, record.status), record)

    def changed(self, record: RoomRecord) -> None:
        """Move a room's version: its bindings or the content of an event have changed."""
        record.version = next(self._version)
        record.moved()

    # -- questions -----------------------------------------------------------------------

    def page(self, offset: int, limit: int) -> list[RoomRecord]:
        """Return some rooms, oldest first."""
        offset = max(0, offset)
        return self._order[offset : offset + max(0, limit)]

    def matching(
        self, organization_id: str | None, status: str | None, metadata: dict[str, Any] | None
    ) -> list[RoomRecord]:
        """Return the rooms that match every filter given, oldest first."""
        candidates: Iterable[RoomRecord] = self._order
        if organization_id is not None:
            candidates = self._by_tenant.get(organization_id, {})
        elif status is not None:
            candidates = self._by_status.get(status, {})
        found = [
            record
            for record in candidates
            if (status is None or record.status == status)
            and (not metadata or _has_metadata(record, metadata))
        ]
        if candidates is not self._order:
            found.sort(key=_by_seq)
        return found

    def bound_to(self, channel_id: str, status: str | None) -> RoomRecord | None:
        """Return the oldest room of a channel."""
        return self._best(
            self._by_channel,
            _oldest,
            [(channel_id, state) for state in self._statuses(status)],
        )

    def latest_of(
        self, person: str, channel_type: str | None, status: str | None
    ) -> RoomRecord | None:
        """Return the newest room a person takes part in."""
        types = self._person_types if channel_type is None else (channel_type,)
        kinds = (_MEMBER, *types)
        return self._best(
            self._by_person,
            _latest,
            [(person, kind, state) for state in self._statuses(status) for kind in kinds],
        )

    def route(
        self, channel_id: str, sender_id: str, recipient_key: str | None, statuses: Sequence[str]
    ) -> RoomRecord | None:
        """Return the room that names the sender, else the oldest that names nobody."""
        routes = self._routes.get(channel_id)
        route = None if routes is None else routes.get(recipient_key)
        if route is None:
            route = self._build_route(channel_id, recipient_key)
        return route.find(normalized_address(sender_id) if sender_id else None, statuses)

    def due(self, now: datetime) -> list[RoomRecord]:
        """Return the rooms whose timers have run out, oldest first."""
        seconds = now.timestamp()
        found = []
        for record in self._due.take(seconds):
            due = record.due_time()
            if due is not None and due < seconds:
                found.append(record)
            self._due.watch(record, due)
        found.sort(key=_by_seq)
        return found

    def claimed(self, claim: RoomClaim) -> RoomRecord | None:
        """Return the ACTIVE room of a claim."""
        record = self._claims.get(claim)
        return record if record is not None and record.status == RoomStatus.ACTIVE else None

    def claim(self, claim: RoomClaim, record: RoomRecord) -> None:
        """Give a claim to a room; the one that had it keeps nothing of it."""
        before = self._claims.get(claim)
        if before is not None:
            before.claim = None
        if record.claim is not None:
            self._claims.pop(record.claim, None)
        record.claim = claim
        self._claims[claim] = record

    # -- helpers -------------------------------------------------------------------------

    def _statuses(self, status: str | None) -> Iterable[str]:
        return self._by_status if status is None else (status,)

    @staticmethod
    def _best(index: RoomIndex, rank: Any, keys: list[tuple[str, ...]]) -> RoomRecord | None:
        """Return the best-ranked room under several keys."""
        found = [record for key in keys if (record := index.first(key)) is not None]
        return min(found, key=rank, default=None)

    def _routes_of(self, channel_id: str) -> Iterable[RouteIndex]:
        routes = self._routes.get(channel_id)
        return () if routes is None else routes.values()

    def _build_route(self, channel_id: str, recipient_key: str | None) -> RouteIndex:
        """Return the index of a channel, kept from now on if the channel has rooms."""
        route = RouteIndex(recipient_key, _oldest)
        for status in self._by_status:
            for record in self._by_channel.rooms((channel_id, status)):
                route.file(record, record.bindings[channel_id])
        if len(route):
            self._routes.setdefault(channel_id, {})[recipient_key] = route
        return route

    def _unroute(self, record: RoomRecord, channel_id: str) -> None:
        """Take a room out of a channel's routes; a channel without rooms needs none."""
        routes = self._routes.get(channel_id)
        if routes is None:
            return
        for route in routes.values():
            route.remove(record)
        if not any(map(len, routes.values())):
            del self._routes[channel_id]


def _has_metadata(record: RoomRecord, wanted: dict[str, Any]) -> bool:
    room = record.room()
    metadata = {} if room is None else room.metadata
    return all(key in metadata and metadata[key] == value for key, value in wanted.items())
