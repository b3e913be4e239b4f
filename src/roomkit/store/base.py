"""The store of conversations: 36 abstract methods, and the bulk calls built on them.

A store of one's own needs only the abstract methods; our stores also override the concrete
ones below the line with one transaction each. What a caller gets is a snapshot: it may be
shared, so it is read, not changed (rooms, bindings, participants and tasks are shallow
copies a caller may assign to).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.models.context import RoomContext
from roomkit.models.enums import EventStatus, EventType, RoomStatus
from roomkit.models.reasons import Reason
from roomkit.store._names import names_person as names_person
from roomkit.store._names import normalized_address as normalized_address
from roomkit.store.commit import CommitResult, DeliveryView, OpenedRoom

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import CommitBatch, DeliveryFinish, RoomClaim

RECENT_EVENTS = 50
"""How many events a RoomContext shows."""

KEY_SCAN = 500
"""How far back the default ``find_event_by_key`` looks."""


class ConversationStore(ABC):
    """Keeps rooms, their timelines and everything around them."""

    durable: bool = False
    """Whether what was committed survives the process; True only for a ``DurableStore``."""

    shared: bool = False
    """Whether other machines may use the same conversations at the same time."""

    @property
    def immediate(self) -> bool:
        """Whether ``commit`` never suspends, and ``keep_results`` works.

        True only for a store that lives in this process: the engine then needs no task to
        protect a commit, and no queue for the results of deliveries.
        """
        return False

    def keep_results(
        self, event_id: str, results: dict[str, dict[str, Any]]
    ) -> tuple[RoomEvent | None, RoomEvent | None]:
        """Record at once how deliveries of an event ended; asked of ``immediate`` stores only.

        Returns:
            The event before and after; None when it is unknown (the default knows none).
        """
        return None, None

    # -- rooms ---------------------------------------------------------------------------

    @abstractmethod
    async def create_room(self, room: Room) -> Room:
        """Store a room and return it."""

    @abstractmethod
    async def get_room(self, room_id: str) -> Room | None:
        """Return a room, or None."""

    @abstractmethod
    async def update_room(self, room: Room) -> Room:
        """Store a changed room. ``event_count`` and ``latest_index`` stay the store's own."""

    @abstractmethod
    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; identities stay. False if unknown."""

    @abstractmethod
    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Return a page of rooms, oldest first."""

    @abstractmethod
    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        """Return the rooms that match all given filters; metadata by equal top-level keys."""

    @abstractmethod
    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        """Return the newest room a person takes part in, or None."""

    @abstractmethod
    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        """Return the oldest room a channel is attached to, or None."""

    # -- events --------------------------------------------------------------------------

    @abstractmethod
    async def add_event(self, event: RoomEvent) -> RoomEvent:
        """Append an event under the next index of its room and return the stored copy."""

    @abstractmethod
    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event, or None."""

    @abstractmethod
    async def update_event(self, event: RoomEvent) -> RoomEvent:
        """Store a changed event at its place; nothing happens when it is unknown."""

    @abstractmethod
    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Return a page of a timeline in index order.

        Args:
            visibility_filter: Only events of exactly this visibility; applied before
                ``offset`` and ``limit``.
        """

    @abstractmethod
    async def check_idempotency(self, room_id: str, key: str) -> bool:
        """Return whether the room has an event of this key."""

    @abstractmethod
    async def get_event_count(self, room_id: str) -> int:
        """Return how many events the room's timeline holds."""

    # -- bindings ------------------------------------------------------------------------

    @abstractmethod
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a binding, replacing one of the same room and channel."""

    @abstractmethod
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a binding, or None."""

    @abstractmethod
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Store a changed binding."""

    @abstractmethod
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Remove a binding; False if there was none."""

    @abstractmethod
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return a room's bindings in the order they were attached."""

    # -- participants --------------------------------------------------------------------

    @abstractmethod
    async def add_participant(self, participant: Participant) -> Participant:
        """Store a participant, replacing one of the same room and id."""

    @abstractmethod
    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a participant, or None."""

    @abstractmethod
    async def update_participant(self, participant: Participant) -> Participant:
        """Store a changed participant."""

    @abstractmethod
    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return a room's participants in the order they joined."""

    # -- identities ----------------------------------------------------------------------

    @abstractmethod
    async def create_identity(self, identity: Identity) -> Identity:
        """Store an identity; its ``channel_addresses`` resolve to it from now on."""

    @abstractmethod
    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity, or None."""

    @abstractmethod
    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return whom an address belongs to, or None."""

    @abstractmethod
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Give an identity an address; a no-op for an unknown identity."""

    # -- tasks and observations ----------------------------------------------------------

    @abstractmethod
    async def add_task(self, task: Task) -> Task:
        """Store a task."""

    @abstractmethod
    async def get_task(self, task_id: str) -> Task | None:
        """Return a task, or None."""

    @abstractmethod
    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Return a room's tasks, oldest first, all or of one status."""

    @abstractmethod
    async def update_task(self, task: Task) -> Task:
        """Store a changed task."""

    @abstractmethod
    async def add_observation(self, observation: Observation) -> Observation:
        """Store an observation."""

    @abstractmethod
    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return a room's observations, oldest first."""

    # -- read tracking -------------------------------------------------------------------

    @abstractmethod
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Remember the last event a channel has read; it may go back."""

    @abstractmethod
    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Remember that a channel has read all; a no-op for an empty room."""

    @abstractmethod
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many events follow the last one read; all when none was."""

    # -- bulk calls, built from the above ------------------------------------------------

    async def load_context(self, room_id: str, recent: int = RECENT_EVENTS) -> RoomContext | None:
        """Return a room with its bindings, participants and newest events; None if unknown."""
        room = await self.get_room(room_id)
        if room is None:
            return None
        count = await self.get_event_count(room_id)
        offset = max(0, count - recent)
        events = await self.list_events(room_id, offset=offset, limit=recent) if recent else []
        return RoomContext.of(
            room,
            await self.list_bindings(room_id),
            await self.list_participants(room_id),
            events,
        )

    async def reload_context(self, context: RoomContext) -> RoomContext | None:
        """Return the context as it stands now; the same object when nothing moved."""
        return await self.load_context(context.room.id)

    def peek_context(self, room_id: str) -> RoomContext | None:
        """Return a room as this process knew it within about the last second, or None."""
        return None

    def peek_guarded(self, room_id: str) -> tuple[RoomContext, int] | None:
        """Return a room as this process knew it last, with the ``CommitBatch.guard`` of it."""
        return None

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Return a room as it stands now and the event that holds a key, in one question.

        Args:
            room_id: The room.
            known: What the caller saw before; the same object comes back when nothing moved.
            key: An idempotency key.

        Returns:
            The context (None for an unknown room) and the key's event (None without one).
            With an event the context may be missing: a repeat needs none.
        """
        if key is not None:
            first = await self.find_event_by_key(room_id, key)
            if first is not None:
                return None, first
        if known is not None:
            return await self.reload_context(known), None
        return await self.load_context(room_id), None

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Carry out a batch: all of it, or none and the reason.

        The default composes the abstract methods: it is atomic only under the room lock and
        as long as the process lives. Our stores use one transaction.
        """
        refusal = await self._check(batch)
        if refusal is not None:
            return refusal
        stored = []
        for event in batch.events:
            index = await self.get_event_count(batch.room_id)
            stored.append(await self.add_event(event.numbered(index)))
        if batch.target is not None:
            known = await self.get_event(batch.target.id)
            # What became of its deliveries meanwhile is not the edit's to undo.
            results = {} if known is None else known.delivery_results
            await self.update_event(batch.target.with_results(results))
        await self._apply_members(batch)
        await self._apply_room(batch, len(stored))
        for task in batch.tasks:
            await self.add_task(task)
        for observation in batch.observations:
            await self.add_observation(observation)
        await self.finish_deliveries(batch.finishes)
        return CommitResult(events=tuple(stored))

    async def _check(self, batch: CommitBatch) -> CommitResult | None:
        """Return why a batch must not be written, or None."""
        for event in batch.events:
            if event.idempotency_key:
                first = await self.find_event_by_key(batch.room_id, event.idempotency_key)
                if first is not None:
                    return CommitResult(duplicate_of=first)
        if batch.open_required and any(
            event.type != EventType.SYSTEM and event.status != EventStatus.BLOCKED
            for event in batch.events
        ):
            room = await self.get_room(batch.room_id)
            if room is None or not room.is_open:
                return CommitResult(refused=Reason.ROOM_CLOSED)
        return None

    async def _apply_members(self, batch: CommitBatch) -> None:
        for participant in batch.participants:
            known = await self.get_participant(batch.room_id, participant.id)
            if known is None:
                await self.add_participant(participant)
            else:
                await self.update_participant(participant)
        for binding in batch.bindings:
            await self.add_binding(binding)
        for channel_id in batch.removed_bindings:
            await self.remove_binding(batch.room_id, channel_id)

    async def _apply_room(self, batch: CommitBatch, added: int) -> None:
        room = batch.room
        if not (room or added or batch.activity_at):
            return
        room = room or await self.get_room(batch.room_id)
        if room is None:
            return
        count = await self.get_event_count(batch.room_id)
        room = room.counted(count, max(0, count - 1))
        if batch.activity_at is not None:
            room = room.touched(batch.activity_at)
        await self.update_room(room)

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        """Create a room with its first binding and events, one open room a claim.

        Returns:
            The claim's open room with ``created=False`` when there is one already. A claim
            may be used again once its room is no longer ACTIVE. The default keeps no claims:
            it relies on the arrival lock and the router's second look.
        """
        await self.create_room(room)
        await self.add_binding(binding)
        for event in events:
            await self.add_event(event)
        count = await self.get_event_count(room.id)
        await self.update_room(room.counted(count, max(0, count - 1)))
        return OpenedRoom(room.id, created=True)

    async def find_room_for(
        self,
        channel_id: str,
        sender_id: str,
        *,
        recipient_key: str | None,
        statuses: Sequence[str],
    ) -> str | None:
        """Return the room an inbound message of a sender belongs to, or None.

        First the oldest room whose binding names the sender, then the oldest whose binding
        names nobody. The default scans the rooms of each status.
        """
        sender = normalized_address(sender_id) if sender_id else None
        anybody: str | None = None
        for status in statuses:
            for room in await self.find_rooms(status=status):
                binding = await self.get_binding(room.id, channel_id)
                if binding is None:
                    continue
                names = names_person(binding, recipient_key)
                if sender is not None and sender in names:
                    return room.id
                if not names and anybody is None:
                    anybody = room.id
        return anybody

    async def find_event_by_key(self, room_id: str, key: str) -> RoomEvent | None:
        """Return the event that holds an idempotency key of a room, or None.

        The default looks through the newest 500 events.
        """
        if not await self.check_idempotency(room_id, key):
            return None
        count = await self.get_event_count(room_id)
        offset = max(0, count - KEY_SCAN)
        for event in reversed(await self.list_events(room_id, offset=offset, limit=KEY_SCAN)):
            if event.idempotency_key == key:
                return event
        return None

    async def find_event_by_channel_key(self, channel_id: str, key: str) -> RoomEvent | None:
        """Return the event that entered by a channel under a key, whatever its room.

        The default knows none: a repeat after its room closed then opens a new room.
        """
        return None

    async def find_event_by_provider_message_id(
        self, provider_message_id: str
    ) -> tuple[RoomEvent, str] | None:
        """Return the event a vendor's message id belongs to, with the channel it was sent by.

        The default knows none: a vendor's status then reaches the handlers only.
        """
        return None

    async def find_due_rooms(self, now: datetime) -> list[str]:
        """Return the ids of open rooms whose timers have run out at ``now``.

        The default looks at every open room.
        """
        due: list[str] = []
        for status in (RoomStatus.ACTIVE, RoomStatus.PAUSED):
            rooms = await self.find_rooms(status=status)
            due += [room.id for room in rooms if room.timers.target(room.status, now)]
        return due

    async def load_delivery(self, room_id: str, event_id: str, channel_id: str) -> DeliveryView:
        """Return an event and a target's binding as they stand now."""
        return DeliveryView(
            event=await self.get_event(event_id),
            binding=await self.get_binding(room_id, channel_id),
        )

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Record how deliveries ended, in ``delivery_results`` of their events.

        Returns:
            The lanes (room id, channel id) of these deliveries that have unclaimed records
            left. The default keeps no records: always empty.
        """
        by_event: dict[str, dict[str, Any]] = {}
        for finish in finishes:
            if finish.result is not None:
                by_event.setdefault(finish.event_id, {})[finish.channel_id] = finish.result
        for event_id, results in by_event.items():
            event = await self.get_event(event_id)
            if event is not None:
                await self.update_event(event.with_results(results))
        return ()

    def peek_version(self, room_id: str) -> int | None:
        """Return a number that moves with every change of a room's bindings or event contents.

        None: it cannot tell without asking. A ``DurableStore`` tells what this process knows
        of: others may have written, so it is good for a moment only.
        """
        return None

    async def open(self) -> bool:
        """Get ready; called by the kit on first use. Nothing happens when it is open.

        Returns:
            Whether this call opened it: who opens a store closes it.
        """
        return True

    async def close(self) -> None:
        """Let go of everything; idempotent. A no-op by default."""
