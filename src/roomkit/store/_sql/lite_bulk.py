"""The bulk calls of an SQLite store: one trip to a thread each."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from roomkit.store._sql import codec, lite_commit, lite_find, lite_rooms, lite_rows, lite_work
from roomkit.store._sql.lite_durable import LiteWork
from roomkit.store._sql.window import Change, Delta, Members
from roomkit.store.base import RECENT_EVENTS, normalized_address
from roomkit.store.commit import CommitResult, DeliveryView, OpenedRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room
    from roomkit.store._sql.lite_commit import Committed
    from roomkit.store._sql.lite_find import Look, Row
    from roomkit.store._sql.lite_work import FinishedRoom
    from roomkit.store.commit import CommitBatch, DeliveryFinish, RoomClaim


def room_of(row: Row) -> Room:
    """Return the room of a row of ``lite_find``."""
    doc, status, event_count, last_activity_at = row
    return codec.load_room(
        doc, status=status, event_count=event_count, last_activity_at=last_activity_at
    )


def event_of(row: Row) -> RoomEvent:
    """Return the event of a row of ``lite_find``."""
    doc, index, results = row
    return codec.load_event(doc, index, results)


def text_of(value: str | None) -> str | None:
    """Return an enum member or a text as text."""
    return None if value is None else str(value)


class LiteBulk(LiteWork):
    """The part of ``SQLiteStore`` that the engine lives on."""

    async def _one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a question."""
        return await self._read(lite_find.one, sql, values)

    async def _many(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a question."""
        return await self._read(lite_find.many, sql, values)

    async def _change(
        self, room_id: str, work: Callable[..., int | None], *args: Any
    ) -> int | None:
        """Write something of a room; return its version, None when nothing was done."""
        try:
            version = await self._write(work, *args)
        except asyncio.CancelledError:
            self._windows.forget(room_id)
            raise
        if version is not None:
            self._windows.stale(room_id, version)
        return version

    # -- contexts ------------------------------------------------------------------------

    async def load_context(self, room_id: str, recent: int = RECENT_EVENTS) -> RoomContext | None:
        """Return a room with its bindings, participants and newest events; None if unknown."""
        context, _ = await self.look(room_id)
        if context is None or recent == RECENT_EVENTS:
            return context
        if recent < RECENT_EVENTS:
            shown = context.recent_events
            return context.with_recent(shown[max(0, len(shown) - max(0, recent)) :])
        first = max(0, context.room.event_count - recent)
        rows = await self._read(
            lite_find.events, room_id, first, context.room.event_count - first, None
        )
        return context.with_recent([event_of(row) for row in rows])

    async def reload_context(self, context: RoomContext) -> RoomContext | None:
        """Return the context as it stands now; the same object when nothing moved."""
        found, _ = await self.look(context.room.id, known=context)
        return found

    def peek_context(self, room_id: str) -> RoomContext | None:
        """Return a room as this process knew it at most a second ago; None if unknown."""
        return self._windows.peek_context(room_id)

    def peek_version(self, room_id: str) -> int | None:
        """Return a number that moves with what this process knows of members and edits."""
        return self._windows.peek_version(room_id)

    def peek_guarded(self, room_id: str) -> tuple[RoomContext, int] | None:
        """Return a room as this process knew it last, with the ``CommitBatch.guard`` of it."""
        view = self._windows.view(room_id)
        return None if view is None else (view.context, view.members_version)

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Return a room as it stands now and the event that holds a key, in one question."""
        view = self._windows.view(room_id)
        while True:
            seen = None if view is None else (view.version, view.members_version)
            found = await self._read(lite_find.look, room_id, seen, key, RECENT_EVENTS)
            if found is None:
                self._windows.forget(room_id)
                return None, None
            if found.keyed is not None:
                return None, event_of(found.keyed)
            context = self._windows.merge(room_id, view, _delta(found))
            if context is not None or view is None:
                return context, None
            view = None  # the room is another one by now: all of it is needed

    # -- commits -------------------------------------------------------------------------

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Carry out a batch in one transaction: all of it, or none and the reason."""
        rows = lite_rows.batch_rows(batch)
        try:
            done = await self._write(lite_commit.commit, rows)
        except asyncio.CancelledError:
            self._windows.forget(batch.room_id)
            raise
        if done.duplicate is not None:
            return CommitResult(duplicate_of=event_of(done.duplicate))
        if done.twin is not None:
            return CommitResult(duplicate_of=batch.events[done.twin])
        if done.refused is not None:
            return CommitResult(refused=done.refused)
        events = tuple(
            [
                _placed(event, batch.room_id, index)
                for index, event in enumerate(batch.events, done.start)
            ]
        )
        self._note(batch, rows.members, done, events)
        return CommitResult(events=events, left=done.left)

    def _note(
        self, batch: CommitBatch, members: bool, done: Committed, events: tuple[RoomEvent, ...]
    ) -> None:
        """Tell the window what a commit did."""
        if done.version is not None:
            change = Change(
                done.version,
                events,
                target=batch.target,
                activity_at=batch.activity_at,
                members=members,
            )
            self._windows.take(batch.room_id, change)
        self._note_results(done.finished)

    def _note_results(self, rooms: Mapping[str, FinishedRoom]) -> None:
        for room_id, finished in rooms.items():
            self._windows.take(room_id, Change(finished.version, results=finished.results))

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        """Create a room with its first binding and events, one ACTIVE room a claim."""
        room_id, created = await self._write(
            lite_commit.open_room,
            claim,
            lite_rows.room_row(room),
            lite_rows.binding_row(binding),
            tuple([lite_rows.event_row(event, room.id) for event in events]),
        )
        return OpenedRoom(room_id, created=created)

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Record how deliveries ended; return the lanes that wait for somebody now."""
        if not finishes:
            return ()
        rows = lite_rows.finish_rows(finishes)
        try:
            done = await self._write(lite_work.finish, rows)
        except asyncio.CancelledError:
            for row in rows:
                self._windows.forget(row.room_id)
            raise
        self._note_results(done.rooms)
        return done.lanes

    async def load_delivery(self, room_id: str, event_id: str, channel_id: str) -> DeliveryView:
        """Return an event and a target's binding as they stand now."""
        event, binding = await self._read(lite_find.delivery, room_id, event_id, channel_id)
        return DeliveryView(
            event=None if event is None else event_of(event),
            binding=None if binding is None else codec.load_binding(binding[0]),
        )

    # -- finding -------------------------------------------------------------------------

    async def find_room_for(
        self,
        channel_id: str,
        sender_id: str,
        *,
        recipient_key: str | None,
        statuses: Sequence[str],
    ) -> str | None:
        """Return the room an inbound message of a sender belongs to, or None.

        The first question about a channel and recipient key files the names of its bindings;
        all later ones are answered by an index.
        """
        key = recipient_key or ""
        names = [""]
        if sender_id:
            names.insert(0, f"={normalized_address(sender_id)}")
        states = [str(status) for status in statuses]
        question = (lite_find.room_for, channel_id, key, names, states)
        room_id = await self._read(*question)
        if room_id is lite_find.NOT_FILED:
            await self._write(lite_rooms.file_channel, channel_id, key)
            room_id = await self._read(*question)
        return room_id

    async def find_event_by_key(self, room_id: str, key: str) -> RoomEvent | None:
        """Return the event that holds an idempotency key of a room, or None."""
        row = await self._one(lite_find.BY_KEY, room_id, key)
        return None if row is None else event_of(row)

    async def find_event_by_channel_key(self, channel_id: str, key: str) -> RoomEvent | None:
        """Return the first event that entered by a channel under a key, whatever its room."""
        row = await self._one(lite_find.BY_CHANNEL_KEY, channel_id, key)
        return None if row is None else event_of(row)

    async def find_event_by_provider_message_id(
        self, provider_message_id: str
    ) -> tuple[RoomEvent, str] | None:
        """Return the event a vendor's message id belongs to, with the channel it was sent by."""
        row = await self._read(lite_find.by_message_id, provider_message_id)
        return None if row is None else (event_of(row[:3]), row[3])

    async def find_due_rooms(self, now: datetime) -> list[str]:
        """Return the ids of open rooms whose timers have run out at ``now``, oldest first."""
        return await self._read(lite_find.due_rooms, now.timestamp())


def _placed(event: RoomEvent, room_id: str, index: int) -> RoomEvent:
    """Return an event as it was stored."""
    if event.room_id != room_id:
        event = event.in_room(room_id)
    return event if event.index == index else event.numbered(index)


def _delta(found: Look) -> Delta:
    """Return what a look found out, as the window wants it."""
    members = None
    if found.members is not None:
        room_doc, bindings, participants = found.members
        members = Members(
            room_of((room_doc, found.status, found.event_count, found.last_activity_at)),
            [codec.load_binding(doc) for (doc,) in bindings],
            [codec.load_participant(doc) for (doc,) in participants],
        )
    last = found.last_activity_at
    return Delta(
        found.version,
        found.members_version,
        found.event_count,
        None if last is None else datetime.fromisoformat(last),
        [event_of(row) for row in found.events],
        members,
        found.edits_version,
    )
