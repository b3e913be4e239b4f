"""Looking at a room and writing its timeline: one round trip each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import StoreError
from roomkit.store._sql.codec import load_binding, load_event, load_participant
from roomkit.store._sql.pg_base import PostgresPart, no_room
from roomkit.store._sql.pg_ends import take_results
from roomkit.store._sql.pg_errors import TakenError
from roomkit.store._sql.pg_rows import (
    binding_json,
    claim_key,
    event_columns,
    index_key,
    joined,
    listed,
    room_json,
    room_of,
)
from roomkit.store._sql.window import Change, Delta, Members
from roomkit.store.base import RECENT_EVENTS
from roomkit.store.commit import CommitBatch, CommitResult, OpenedRoom

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room
    from roomkit.store._sql.window import RoomView
    from roomkit.store.commit import DeliveryFinish, RoomClaim

_LOOK: Final = "SELECT * FROM roomkit_look($1, $2, $3, $4)"
_OPEN: Final = "SELECT * FROM roomkit_open_room($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


class TimelinePart(PostgresPart):
    """Contexts, commits and ends of deliveries."""

    # -- looking -------------------------------------------------------------------------

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Return a room as it stands now and the event that holds a key, in one question."""
        filed = None if key is None else index_key(key)
        view = self._windows.view(room_id)
        context, row = await self._look(room_id, view, filed)
        if context is None and row is not None:
            context, row = await self._look(room_id, None, filed)
        if row is None or row["key_index"] is None:
            return context, None
        return context, load_event(row["key_doc"], row["key_index"], row["key_results"])

    async def _look(
        self, room_id: str, view: RoomView | None, key: str | None
    ) -> tuple[RoomContext | None, Any]:
        version, members = (0, 0) if view is None else (view.version, view.members_version)
        row = await self._db.read("fetchrow", _LOOK, (room_id, version, members, key))
        if row["version"] is None:
            self._windows.forget(room_id)
            return None, None
        return self._windows.merge(room_id, view, _delta(row)), row

    async def load_context(self, room_id: str, recent: int = RECENT_EVENTS) -> RoomContext | None:
        """Return a room with its bindings, participants and newest events; None if unknown."""
        context, _ = await self.look(room_id)
        if context is None or recent == RECENT_EVENTS:
            return context
        if recent <= 0:
            return context.with_recent([])
        if recent < RECENT_EVENTS:
            return context.with_recent(context.recent_events[-recent:])
        count = context.room.event_count
        first = max(0, count - recent)
        return context.with_recent(await self.list_events(room_id, first, count - first))

    async def reload_context(self, context: RoomContext) -> RoomContext | None:
        """Return the context as it stands now; the same object when nothing moved."""
        return (await self.look(context.room.id, known=context))[0]

    def peek_context(self, room_id: str) -> RoomContext | None:
        """Return a room as this process knew it at most a second ago; None if unknown."""
        return self._windows.peek_context(room_id)

    def peek_version(self, room_id: str) -> int | None:
        """Return a number that moves with members and edits, as far as this process knows."""
        return self._windows.peek_version(room_id)

    def peek_guarded(self, room_id: str) -> tuple[RoomContext, int] | None:
        """Return a room as this process knew it last, with the ``CommitBatch.guard`` of it."""
        return self._windows.peek_guarded(room_id)

    # -- writing -------------------------------------------------------------------------

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Carry out a batch: all of it, or none and the reason; in one round trip.

        Those that come at the same time, for different rooms, share it.

        Raises:
            StoreError: There is no such room, or something of the batch is stored already.
            StoreUnavailableError: The database is away; when the connection broke while the
                commit ran, it may have been carried out.
        """
        repeat = _repeated(batch.events)
        try:
            row = await self._groups.commit(batch, repeated=repeat is not None)
        except TakenError as error:
            raise StoreError(
                f"an event, delivery, task or observation of this batch for room "
                f"{batch.room_id!r} is stored already: nothing was written"
            ) from error
        outcome = row["outcome"]
        if outcome == "ok":
            return self._committed(batch, row)
        if outcome == "duplicate":
            first = load_event(row["first_doc"], row["first_index"], row["first_results"])
            return CommitResult(duplicate_of=first)
        if outcome == "repeated":
            return CommitResult(duplicate_of=repeat)
        if outcome == "no_room":
            raise no_room(batch.room_id)
        return CommitResult(refused=outcome)

    def _committed(self, batch: CommitBatch, row: Any) -> CommitResult:
        """Tell the window and whom it may concern; return the numbered events."""
        room_id, first = batch.room_id, row["first_index"]
        events = tuple(
            [
                (event if event.room_id == room_id else event.in_room(room_id)).numbered(index)
                for index, event in enumerate(batch.events, first)
            ]
        )
        members = bool(
            batch.room is not None
            or batch.bindings
            or batch.participants
            or batch.removed_bindings
        )
        self._windows.take(
            room_id,
            Change(
                row["version"],
                events=events,
                target=batch.target,
                activity_at=batch.activity_at,
                members=members,
            ),
        )
        if row["rooms"]:
            told = (row["rooms"], row["versions"], row["ended"])
            take_results(self._windows, batch.finishes, told)
        if row["wake"]:
            self._bell.ring()
        unclaimed = row["unclaimed"]
        return CommitResult(events=events, left=frozenset(unclaimed) if unclaimed else frozenset())

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Record how deliveries ended; return their lanes with something due and unclaimed."""
        return await self._ends.finish(finishes) if finishes else ()

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        """Create a room with its first binding and events, one ACTIVE room a claim."""
        members = joined([("bindings", listed([binding_json(binding)]))])
        try:
            row = await self._db.write(
                "fetchrow",
                _OPEN,
                (claim_key(claim), room.id, room_json(room), members, *event_columns(events)),
            )
        except TakenError as error:
            raise StoreError(
                f"room {room.id!r}, or one of its first events, exists already"
            ) from error
        return OpenedRoom(row["room_id"], created=row["created"])

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        """Append an event under the next index of its room and return the stored copy.

        Raises:
            StoreError: Its room does not exist, its id is taken, or the room has an event of
                its idempotency key.
        """
        batch = CommitBatch(event.room_id, (event,))
        try:
            row = await self._groups.commit(batch, repeated=False)
        except TakenError as error:
            raise StoreError(f"event {event.id!r} exists already: choose another id") from error
        if row["outcome"] == "no_room":
            raise no_room(event.room_id)
        if row["outcome"] != "ok":
            raise StoreError(
                f"room {event.room_id!r} has an event of the idempotency key of {event.id!r}"
            )
        stored = event.numbered(row["first_index"])
        self._windows.take(event.room_id, Change(row["version"], events=(stored,)))
        return stored

    async def update_event(self, event: RoomEvent) -> RoomEvent:
        """Store a changed event at its place; nothing happens when it is unknown."""
        _, _, _, _, docs, results = event_columns((event,))
        row = await self._db.write(
            "fetchrow",
            "SELECT * FROM roomkit_update_event($1, $2, $3, $4)",
            (event.id, event.visibility, (docs or [""])[0], (results or [None])[0]),
        )
        if row["room"] is not None:
            self._windows.stale(row["room"], row["moved"])
        return event


def _repeated(events: Sequence[RoomEvent]) -> RoomEvent | None:
    """Return the first of two events of a batch that carry the same key, or None."""
    if len(events) < 2:
        return None
    seen: dict[str, RoomEvent] = {}
    for event in events:
        key = event.idempotency_key
        if key:
            if key in seen:
                return seen[key]
            seen[key] = event
    return None


def _delta(row: Any) -> Delta:
    """Return what a look found out."""
    members = None
    if row["doc"] is not None:
        members = Members(
            room_of(row),
            [load_binding(doc) for doc in row["bindings"]],
            [load_participant(doc) for doc in row["participants"]],
        )
    events: list[RoomEvent] = []
    if row["places"]:
        found = zip(row["docs"], row["places"], row["results"], strict=True)
        events = [load_event(doc, index, results) for doc, index, results in found]
    return Delta(
        version=row["version"],
        members_version=row["members_version"],
        event_count=row["event_count"],
        last_activity_at=row["last_activity_at"],
        events=events,
        members=members,
        edits_version=row["edits_version"],
    )
