"""The default store: everything in this process, gone with it, every call O(1) or a slice.

No call suspends, so each one is a transaction: nobody sees half of it.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from roomkit.store._memory_commit import plan, refusal
from roomkit.store._memory_identities import IdentityBook
from roomkit.store._memory_index import ChannelKeys
from roomkit.store._memory_rooms import RoomTable
from roomkit.store._memory_sent import SentMessages
from roomkit.store.base import RECENT_EVENTS, ConversationStore
from roomkit.store.commit import CommitResult, DeliveryView, OpenedRoom

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store._memory_commit import Plan
    from roomkit.store._memory_record import RoomRecord
    from roomkit.store.commit import CommitBatch, DeliveryFinish, RoomClaim

_COMPACT_AFTER = 256


class InMemoryStore(ConversationStore):
    """Conversations in dicts and lists: for tests, and for programs that may forget.

    Rooms, bindings, participants and tasks are copied (shallowly) on the way in and out;
    events are shared, since nobody changes them. Things may belong to rooms that were never
    created. ``update_*`` of an unknown room, binding, participant or task adds it. Where an
    event id was stored twice it means the later one.
    """

    durable = False

    def __init__(self) -> None:
        self._rooms = RoomTable()
        self._events: dict[str, tuple[RoomRecord, int]] = {}
        self._channel_keys = ChannelKeys()
        self._sent = SentMessages()
        self._tasks: dict[str, RoomRecord] = {}
        self._identities = IdentityBook()
        self._dropped = 0

    # -- rooms ---------------------------------------------------------------------------

    async def create_room(self, room: Room) -> Room:
        """Store a room and return it."""
        self._rooms.put(room)
        return room

    async def get_room(self, room_id: str) -> Room | None:
        """Return a copy of a room, or None."""
        record = self._rooms.find(room_id)
        room = None if record is None else record.room()
        return None if room is None else room.snapshot()

    async def update_room(self, room: Room) -> Room:
        """Store a changed room, but for its counters, and return it."""
        self._rooms.put(room)
        return room

    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; identities stay. False if unknown."""
        record = self._rooms.drop(room_id)
        if record is None:
            return False
        for event in record.log:
            place = self._events.get(event.id)
            if place is not None and place[0] is record:
                del self._events[event.id]
            if event.idempotency_key:
                self._channel_keys.remove(event.source.channel_id, event.idempotency_key, event.id)
        self._sent.forget(record)
        for task_id in record.tasks or ():
            del self._tasks[task_id]
        record.clear()
        self._compact()
        return True

    def _compact(self) -> None:
        """Now and then give back what dicts keep of removed entries."""
        self._dropped += 1
        if self._dropped > len(self._rooms) + _COMPACT_AFTER:
            self._dropped = 0
            self._rooms.compact()
            self._channel_keys.compact()
            self._events = dict(self._events)
            self._sent.compact()
            self._tasks = dict(self._tasks)

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Return a page of rooms, in the order they were created."""
        return _rooms(self._rooms.page(offset, limit))

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        """Return the rooms that match all given filters, in the order they were created."""
        return _rooms(self._rooms.matching(organization_id, status, metadata_filter))

    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        """Return the newest room a person takes part in, or None."""
        record = self._rooms.latest_of(participant_id, channel_type, status)
        room = None if record is None else record.room()
        return None if room is None else room.snapshot()

    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        """Return the oldest room a channel is attached to, or None."""
        record = self._rooms.bound_to(channel_id, status)
        return None if record is None else record.id

    # -- events --------------------------------------------------------------------------

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        """Append an event under the next index of its room and return it as stored."""
        return self._append(self._rooms.ensure(event.room_id), event)

    def _append(self, record: RoomRecord, event: RoomEvent) -> RoomEvent:
        event = record.append(event)
        self._events[event.id] = (record, event.index)
        if event.idempotency_key:
            self._channel_keys.add(event.source.channel_id, event.idempotency_key, event.id)
        return event

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event, or None."""
        place = self._events.get(event_id)
        return None if place is None else place[0].log[place[1]]

    async def update_event(self, event: RoomEvent) -> RoomEvent:
        """Store a changed event at its place, under the key it came with."""
        self._replace(event)
        return event

    def _replace(self, event: RoomEvent, *, edited: bool = False) -> None:
        place = self._events.get(event.id)
        if place is not None:
            record, index = place
            if edited:  # what became of its deliveries meanwhile stays
                event = event.with_results(record.log[index].delivery_results)
            record.replace(index, event)
            self._rooms.changed(record)

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Return a page of a timeline in index order."""
        record = self._rooms.find(room_id)
        if record is None:
            return []
        offset = max(0, offset)
        end = offset + max(0, limit)
        if visibility_filter is None:
            return record.log[offset:end]
        indexes = record.visible_as(visibility_filter)[offset:end]
        return [record.log[index] for index in indexes]

    async def check_idempotency(self, room_id: str, key: str) -> bool:
        """Return whether the room has an event of this key."""
        record = self._rooms.find(room_id)
        return record is not None and record.keys is not None and key in record.keys

    async def get_event_count(self, room_id: str) -> int:
        """Return how many events the room's timeline holds."""
        record = self._rooms.find(room_id)
        return 0 if record is None else len(record.log)

    # -- bindings ------------------------------------------------------------------------

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a binding, replacing one of the same room and channel."""
        self._rooms.bind(self._rooms.ensure(binding.room_id), binding.snapshot())
        return binding

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a copy of a binding, or None."""
        record = self._rooms.find(room_id)
        binding = None if record is None else record.bindings.get(channel_id)
        return None if binding is None else binding.snapshot()

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a changed binding and return it."""
        return await self.add_binding(binding)

    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Remove a binding; False if there was none."""
        record = self._rooms.find(room_id)
        return record is not None and self._rooms.unbind(record, channel_id)

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return copies of a room's bindings in the order they were attached."""
        record = self._rooms.find(room_id)
        return [] if record is None else [b.snapshot() for b in record.bindings.values()]

    # -- participants --------------------------------------------------------------------

    async def add_participant(self, participant: Participant) -> Participant:
        """Store a participant, replacing one of the same room and id."""
        self._rooms.join(self._rooms.ensure(participant.room_id), participant.snapshot())
        return participant

    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a copy of a participant, or None."""
        record = self._rooms.find(room_id)
        if record is None or record.participants is None:
            return None
        participant = record.participants.get(participant_id)
        return None if participant is None else participant.snapshot()

    async def update_participant(self, participant: Participant) -> Participant:
        """Store a changed participant and return it."""
        return await self.add_participant(participant)

    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return copies of a room's participants in the order they joined."""
        record = self._rooms.find(room_id)
        if record is None or record.participants is None:
            return []
        return [participant.snapshot() for participant in record.participants.values()]

    # -- identities ----------------------------------------------------------------------

    async def create_identity(self, identity: Identity) -> Identity:
        """Store an identity; its ``channel_addresses`` resolve to it from now on."""
        self._identities.put(identity)
        return identity

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return a copy of an identity, or None."""
        return self._identities.get(identity_id)

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return a copy of whom an address belongs to, or None."""
        return self._identities.resolve(channel_type, address)

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Give an identity an address; a no-op for an unknown identity."""
        self._identities.link(identity_id, channel_type, address)

    # -- tasks and observations ----------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        """Store a task, replacing one of the same id."""
        self._put_task(self._rooms.ensure(task.room_id), task.snapshot())
        return task

    def _put_task(self, record: RoomRecord, task: Task) -> None:
        before = self._tasks.get(task.id)
        if before is not None and before is not record and before.tasks is not None:
            del before.tasks[task.id]
        self._tasks[task.id] = record
        if record.tasks is None:
            record.tasks = {}
        record.tasks[task.id] = task

    async def get_task(self, task_id: str) -> Task | None:
        """Return a copy of a task, or None."""
        record = self._tasks.get(task_id)
        if record is None or record.tasks is None:
            return None
        return record.tasks[task_id].snapshot()

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Return copies of a room's tasks, oldest first, all or of one status."""
        record = self._rooms.find(room_id)
        if record is None or record.tasks is None:
            return []
        return [
            task.snapshot()
            for task in record.tasks.values()
            if status is None or task.status == status
        ]

    async def update_task(self, task: Task) -> Task:
        """Store a changed task and return it."""
        return await self.add_task(task)

    async def add_observation(self, observation: Observation) -> Observation:
        """Store an observation, replacing one of the same room and id."""
        self._rooms.ensure(observation.room_id).observe(copy(observation))
        return observation

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return copies of a room's observations, oldest first."""
        record = self._rooms.find(room_id)
        if record is None or record.observations is None:
            return []
        return [copy(observation) for observation in record.observations.values()]

    # -- read tracking -------------------------------------------------------------------

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read; an unknown one: it has read none."""
        record = self._rooms.find(room_id)
        if record is None:
            return
        place = self._events.get(event_id)
        if place is not None and place[0] is record:
            record.mark(channel_id, place[1])
        elif record.markers is not None:
            record.markers.pop(channel_id, None)

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read all; a no-op for an empty room."""
        record = self._rooms.find(room_id)
        if record is not None and record.log:
            record.mark(channel_id, len(record.log) - 1)

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many events follow the last one read; all when none was."""
        record = self._rooms.find(room_id)
        return 0 if record is None else record.unread(channel_id)

    # -- bulk calls ----------------------------------------------------------------------

    async def load_context(self, room_id: str, recent: int = RECENT_EVENTS) -> RoomContext | None:
        """Return a room with its bindings, participants and newest events, all shared."""
        record = self._rooms.find(room_id)
        return None if record is None else record.context(recent)

    async def reload_context(self, context: RoomContext) -> RoomContext | None:
        """Return the context as it stands now; the same object when nothing moved."""
        record = self._rooms.find(context.room.id)
        if record is None:
            return None
        return context if record.shows(context) else record.context(RECENT_EVENTS)

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Carry out a batch: all of it, or none and the reason."""
        record = self._rooms.find(batch.room_id)
        refused = refusal(batch, record)
        if refused is not None:
            return refused
        todo = plan(batch)
        if record is None:
            record = self._rooms.ensure(batch.room_id)
        room_id = batch.room_id
        stored = tuple(
            [
                self._append(record, event if event.room_id == room_id else event.in_room(room_id))
                for event in batch.events
            ]
        )
        if batch.target is not None:
            self._replace(batch.target, edited=True)
        if batch.room is not None:
            self._rooms.put(batch.room, todo.room_keys)
        if batch.activity_at is not None:
            self._rooms.touch(record, batch.activity_at)
        self._apply(record, batch, todo)
        if batch.finishes:
            self._finish(batch.finishes)
        return CommitResult(events=stored)

    def _apply(self, record: RoomRecord, batch: CommitBatch, todo: Plan) -> None:
        for participant in todo.participants:
            self._rooms.join(record, participant)
        for binding in todo.bindings:
            self._rooms.bind(record, binding)
        for channel_id in batch.removed_bindings:
            self._rooms.unbind(record, channel_id)
        for task in todo.tasks:
            self._put_task(self._rooms.ensure(task.room_id), task)
        for observation in todo.observations:
            self._rooms.ensure(observation.room_id).observe(observation)

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        """Create a room with its first binding and events, one ACTIVE room a claim."""
        known = self._rooms.claimed(claim)
        if known is not None:
            return OpenedRoom(known.id, created=False)
        bound = binding.snapshot()
        record = self._rooms.put(room)
        self._rooms.claim(claim, record)
        self._rooms.bind(record, bound)
        for event in events:
            self._append(record, event)
        return OpenedRoom(record.id, created=True)

    async def find_room_for(
        self,
        channel_id: str,
        sender_id: str,
        *,
        recipient_key: str | None,
        statuses: Sequence[str],
    ) -> str | None:
        """Return the room an inbound message of a sender belongs to, or None."""
        record = self._rooms.route(channel_id, sender_id, recipient_key, statuses)
        return None if record is None else record.id

    async def find_event_by_key(self, room_id: str, key: str) -> RoomEvent | None:
        """Return the event that holds an idempotency key of a room, or None."""
        record = self._rooms.find(room_id)
        return None if record is None else record.by_key(key)

    async def find_event_by_channel_key(self, channel_id: str, key: str) -> RoomEvent | None:
        """Return the first event that entered by a channel under a key, whatever its room."""
        event_id = self._channel_keys.get(channel_id, key)
        return None if event_id is None else await self.get_event(event_id)

    async def find_event_by_provider_message_id(
        self, provider_message_id: str
    ) -> tuple[RoomEvent, str] | None:
        """Return the event a vendor's message id belongs to, with the channel it was sent by."""
        sent = self._sent.find(provider_message_id)
        event = None if sent is None else await self.get_event(sent[0])
        return None if sent is None or event is None else (event, sent[1])

    async def find_due_rooms(self, now: datetime) -> list[str]:
        """Return the ids of open rooms whose timers have run out at ``now``, oldest first."""
        return [record.id for record in self._rooms.due(now)]

    async def load_delivery(self, room_id: str, event_id: str, channel_id: str) -> DeliveryView:
        """Return an event and a target's binding as they stand now, shared."""
        place = self._events.get(event_id)
        record = self._rooms.find(room_id)
        return DeliveryView(
            event=None if place is None else place[0].log[place[1]],
            binding=None if record is None else record.bindings.get(channel_id),
        )

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Record how deliveries ended, in ``delivery_results`` of their events."""
        self._finish(finishes)
        return ()

    def _finish(self, finishes: Iterable[DeliveryFinish]) -> None:
        by_event: dict[str, dict[str, Any]] = {}
        for finish in finishes:
            if finish.result is not None:
                by_event.setdefault(finish.event_id, {})[finish.channel_id] = dict(finish.result)
        for event_id, results in by_event.items():
            self.keep_results(event_id, results)

    @property
    def immediate(self) -> bool:
        """Whether nothing on top of this store (a subclass, a patch) makes it wait."""
        methods = (self.commit, self.finish_deliveries)
        ours = (InMemoryStore.commit, InMemoryStore.finish_deliveries)
        return tuple(getattr(method, "__func__", None) for method in methods) == ours

    def keep_results(
        self, event_id: str, results: dict[str, dict[str, Any]]
    ) -> tuple[RoomEvent | None, RoomEvent | None]:
        """Record at once how deliveries of an event ended, in its ``delivery_results``."""
        place = self._events.get(event_id)
        if place is None:
            return None, None
        record, index = place
        before = record.log[index]
        after = before.with_results(results)
        record.replace(index, after)
        for channel_id, result in results.items():
            message_id = result.get("provider_message_id")
            if message_id:
                self._sent.remember(record, message_id, event_id, channel_id)
        return before, record.log[index]

    def peek_version(self, room_id: str) -> int | None:
        """Return a number that moves with bindings and event contents; None if unknown."""
        record = self._rooms.find(room_id)
        return None if record is None else record.version


def _rooms(records: Iterable[RoomRecord]) -> list[Room]:
    return [room.snapshot() for record in records if (room := record.room()) is not None]
