"""A store around another store: the base of stores that watch, fail or refuse for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from roomkit.store.base import RECENT_EVENTS, ConversationStore
from roomkit.store.durable import DurableStore

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import (
        CommitBatch,
        CommitResult,
        DeliveryFinish,
        DeliveryView,
        OpenedRoom,
        RecordStatus,
        RoomClaim,
    )
    from roomkit.store.durable import DeadLetter, DeliveryRecord, InboxRow, LaneKey, WorkStats


class StoreWrapper(ConversationStore):
    """Passes every call on to another store, in three steps a subclass may change.

    ``taken`` sees what callers hand in, ``around`` makes the call, ``given`` sees what they
    get back. Around a ``DurableStore`` it is one itself, whatever the subclass: the queues of
    work pass through the same three steps. Methods the other store has beyond these are reached
    unchanged.

    Args:
        inner: The store that does the work; a subclass takes it first, or as ``inner``.

    Attributes:
        inner: The same.
    """

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Return a wrapper that is a ``DurableStore`` exactly when the inner store is."""
        inner = args[0] if args else options.get("inner")
        if isinstance(inner, DurableStore):
            return super().__new__(_durable(cls))
        return super().__new__(cls)

    def __init__(self, inner: ConversationStore) -> None:
        self.inner = inner
        self.durable: bool = inner.durable
        self.shared: bool = inner.shared

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            # Not there before __init__ has run; copy and pickle ask that early.
            raise AttributeError(name)
        return getattr(self.inner, name)

    def taken[T](self, value: T) -> T:
        """Return what the inner store gets in the place of a value handed in."""
        return value

    def given[T](self, name: str, value: T) -> T:
        """Return what the caller of a method gets in the place of its result."""
        return value

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make a call of the inner store and return its result."""
        return await call

    async def _call[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        return self.given(name, await self.around(name, call))

    # -- rooms ---------------------------------------------------------------------------

    async def create_room(self, room: Room) -> Room:
        """Pass on."""
        return await self._call("create_room", self.inner.create_room(self.taken(room)))

    async def get_room(self, room_id: str) -> Room | None:
        """Pass on."""
        return await self._call("get_room", self.inner.get_room(room_id))

    async def update_room(self, room: Room) -> Room:
        """Pass on."""
        return await self._call("update_room", self.inner.update_room(self.taken(room)))

    async def delete_room(self, room_id: str) -> bool:
        """Pass on."""
        return await self._call("delete_room", self.inner.delete_room(room_id))

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Pass on."""
        return await self._call("list_rooms", self.inner.list_rooms(offset, limit))

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        """Pass on."""
        call = self.inner.find_rooms(organization_id, status, metadata_filter)
        return await self._call("find_rooms", call)

    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        """Pass on."""
        call = self.inner.find_latest_room(participant_id, channel_type, status)
        return await self._call("find_latest_room", call)

    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        """Pass on."""
        call = self.inner.find_room_id_by_channel(channel_id, status)
        return await self._call("find_room_id_by_channel", call)

    # -- events --------------------------------------------------------------------------

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        """Pass on."""
        return await self._call("add_event", self.inner.add_event(self.taken(event)))

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Pass on."""
        return await self._call("get_event", self.inner.get_event(event_id))

    async def update_event(self, event: RoomEvent) -> RoomEvent:
        """Pass on."""
        return await self._call("update_event", self.inner.update_event(self.taken(event)))

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        """Pass on."""
        call = self.inner.list_events(room_id, offset, limit, visibility_filter)
        return await self._call("list_events", call)

    async def check_idempotency(self, room_id: str, key: str) -> bool:
        """Pass on."""
        return await self._call("check_idempotency", self.inner.check_idempotency(room_id, key))

    async def get_event_count(self, room_id: str) -> int:
        """Pass on."""
        return await self._call("get_event_count", self.inner.get_event_count(room_id))

    # -- bindings ------------------------------------------------------------------------

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Pass on."""
        return await self._call("add_binding", self.inner.add_binding(self.taken(binding)))

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Pass on."""
        return await self._call("get_binding", self.inner.get_binding(room_id, channel_id))

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Pass on."""
        return await self._call("update_binding", self.inner.update_binding(self.taken(binding)))

    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Pass on."""
        return await self._call("remove_binding", self.inner.remove_binding(room_id, channel_id))

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Pass on."""
        return await self._call("list_bindings", self.inner.list_bindings(room_id))

    # -- participants --------------------------------------------------------------------

    async def add_participant(self, participant: Participant) -> Participant:
        """Pass on."""
        call = self.inner.add_participant(self.taken(participant))
        return await self._call("add_participant", call)

    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Pass on."""
        call = self.inner.get_participant(room_id, participant_id)
        return await self._call("get_participant", call)

    async def update_participant(self, participant: Participant) -> Participant:
        """Pass on."""
        call = self.inner.update_participant(self.taken(participant))
        return await self._call("update_participant", call)

    async def list_participants(self, room_id: str) -> list[Participant]:
        """Pass on."""
        return await self._call("list_participants", self.inner.list_participants(room_id))

    # -- identities ----------------------------------------------------------------------

    async def create_identity(self, identity: Identity) -> Identity:
        """Pass on."""
        call = self.inner.create_identity(self.taken(identity))
        return await self._call("create_identity", call)

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Pass on."""
        return await self._call("get_identity", self.inner.get_identity(identity_id))

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Pass on."""
        call = self.inner.resolve_identity(channel_type, address)
        return await self._call("resolve_identity", call)

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Pass on."""
        call = self.inner.link_address(identity_id, channel_type, address)
        await self._call("link_address", call)

    # -- tasks and observations ----------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        """Pass on."""
        return await self._call("add_task", self.inner.add_task(self.taken(task)))

    async def get_task(self, task_id: str) -> Task | None:
        """Pass on."""
        return await self._call("get_task", self.inner.get_task(task_id))

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        """Pass on."""
        return await self._call("list_tasks", self.inner.list_tasks(room_id, status))

    async def update_task(self, task: Task) -> Task:
        """Pass on."""
        return await self._call("update_task", self.inner.update_task(self.taken(task)))

    async def add_observation(self, observation: Observation) -> Observation:
        """Pass on."""
        call = self.inner.add_observation(self.taken(observation))
        return await self._call("add_observation", call)

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Pass on."""
        return await self._call("list_observations", self.inner.list_observations(room_id))

    # -- read tracking -------------------------------------------------------------------

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Pass on."""
        await self._call("mark_read", self.inner.mark_read(room_id, channel_id, event_id))

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Pass on."""
        await self._call("mark_all_read", self.inner.mark_all_read(room_id, channel_id))

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Pass on."""
        call = self.inner.get_unread_count(room_id, channel_id)
        return await self._call("get_unread_count", call)

    # -- bulk calls ----------------------------------------------------------------------

    async def load_context(self, room_id: str, recent: int = RECENT_EVENTS) -> RoomContext | None:
        """Pass on."""
        return await self._call("load_context", self.inner.load_context(room_id, recent))

    async def reload_context(self, context: RoomContext) -> RoomContext | None:
        """Pass on; the context itself, since its identity tells whether it is still good."""
        return await self._call("reload_context", self.inner.reload_context(context))

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Pass on."""
        return await self._call("commit", self.inner.commit(self.taken(batch)))

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        """Pass on."""
        call = self.inner.open_room(
            claim, self.taken(room), self.taken(binding), self.taken(events)
        )
        return await self._call("open_room", call)

    async def find_room_for(
        self,
        channel_id: str,
        sender_id: str,
        *,
        recipient_key: str | None,
        statuses: Sequence[str],
    ) -> str | None:
        """Pass on."""
        call = self.inner.find_room_for(
            channel_id, sender_id, recipient_key=recipient_key, statuses=statuses
        )
        return await self._call("find_room_for", call)

    async def find_event_by_key(self, room_id: str, key: str) -> RoomEvent | None:
        """Pass on."""
        return await self._call("find_event_by_key", self.inner.find_event_by_key(room_id, key))

    async def find_event_by_channel_key(self, channel_id: str, key: str) -> RoomEvent | None:
        """Pass on."""
        call = self.inner.find_event_by_channel_key(channel_id, key)
        return await self._call("find_event_by_channel_key", call)

    async def find_event_by_provider_message_id(
        self, provider_message_id: str
    ) -> tuple[RoomEvent, str] | None:
        """Pass on."""
        call = self.inner.find_event_by_provider_message_id(provider_message_id)
        return await self._call("find_event_by_provider_message_id", call)

    async def find_due_rooms(self, now: datetime) -> list[str]:
        """Pass on."""
        return await self._call("find_due_rooms", self.inner.find_due_rooms(now))

    async def load_delivery(self, room_id: str, event_id: str, channel_id: str) -> DeliveryView:
        """Pass on."""
        call = self.inner.load_delivery(room_id, event_id, channel_id)
        return await self._call("load_delivery", call)

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Pass on."""
        call = self.inner.finish_deliveries(self.taken(finishes))
        return await self._call("finish_deliveries", call)

    def peek_context(self, room_id: str) -> RoomContext | None:
        """Pass on; nothing can be awaited here, so ``around`` does not see it."""
        return self.inner.peek_context(room_id)

    def peek_guarded(self, room_id: str) -> tuple[RoomContext, int] | None:
        """Pass on; nothing can be awaited here, so ``around`` does not see it."""
        return self.inner.peek_guarded(room_id)

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Pass on; ``known`` itself, since its identity tells whether it is still good."""
        return await self._call("look", self.inner.look(room_id, known=known, key=key))

    def peek_version(self, room_id: str) -> int | None:
        """Pass on; nothing can be awaited here, so ``around`` does not see it."""
        return self.inner.peek_version(room_id)

    async def open(self) -> bool:
        """Pass on."""
        return await self._call("open", self.inner.open())

    async def close(self) -> None:
        """Pass on."""
        await self._call("close", self.inner.close())


class _DurableWrapper(StoreWrapper, DurableStore):
    """What a wrapper around a durable store passes on besides."""

    inner: DurableStore

    # -- workers -------------------------------------------------------------------------

    async def beat(
        self, owner: str, channels: Collection[str] = (), *, instead_of: str | None = None
    ) -> None:
        """Pass on."""
        await self._call("beat", self.inner.beat(owner, channels, instead_of=instead_of))

    async def retire(self, owner: str) -> None:
        """Pass on."""
        await self._call("retire", self.inner.retire(owner))

    # -- deliveries ----------------------------------------------------------------------

    async def claim_deliveries(
        self,
        owner: str,
        channels: Collection[str],
        *,
        lanes: Collection[LaneKey] | None = None,
        limit: int = 100,
        per_lane: int = 100,
    ) -> list[DeliveryRecord]:
        """Pass on."""
        call = self.inner.claim_deliveries(
            owner, channels, lanes=lanes, limit=limit, per_lane=per_lane
        )
        return await self._call("claim_deliveries", call)

    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        """Pass on."""
        call = self.inner.release_deliveries(owner, known, older_than)
        return await self._call("release_deliveries", call)

    async def expire_deliveries(self, older_than: float) -> list[DeadLetter]:
        """Pass on."""
        call = self.inner.expire_deliveries(older_than)
        return await self._call("expire_deliveries", call)

    # -- the inbox -----------------------------------------------------------------------

    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        """Pass on."""
        call = self.inner.accept(self.taken(row), delay=delay, replace=replace)
        return await self._call("accept", call)

    async def claim_inbox(
        self, owner: str, channels: Collection[str], *, limit: int = 100, per_sender: int = 20
    ) -> list[InboxRow]:
        """Pass on."""
        call = self.inner.claim_inbox(owner, channels, limit=limit, per_sender=per_sender)
        return await self._call("claim_inbox", call)

    async def finish_inbox(
        self,
        owner: str,
        row_id: str,
        status: RecordStatus,
        *,
        error: str | None = None,
        retry_in: float | None = None,
    ) -> bool:
        """Pass on."""
        call = self.inner.finish_inbox(owner, row_id, status, error=error, retry_in=retry_in)
        return await self._call("finish_inbox", call)

    async def release_inbox(self, owner: str) -> None:
        """Pass on."""
        await self._call("release_inbox", self.inner.release_inbox(owner))

    # -- dead letters and figures ----------------------------------------------------------

    async def list_dead_letters(
        self,
        *,
        kind: str | None = None,
        room_id: str | None = None,
        channel_id: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Pass on."""
        call = self.inner.list_dead_letters(
            kind=kind, room_id=room_id, channel_id=channel_id, offset=offset, limit=limit
        )
        return await self._call("list_dead_letters", call)

    async def retry_dead_letter(self, letter_id: str) -> bool:
        """Pass on."""
        return await self._call("retry_dead_letter", self.inner.retry_dead_letter(letter_id))

    async def discard_dead_letter(self, letter_id: str) -> bool:
        """Pass on."""
        return await self._call("discard_dead_letter", self.inner.discard_dead_letter(letter_id))

    async def work_stats(self) -> WorkStats:
        """Pass on."""
        return await self._call("work_stats", self.inner.work_stats())

    async def purge(self, before: datetime) -> int:
        """Pass on."""
        return await self._call("purge", self.inner.purge(before))

    async def wait_for_work(self, timeout: float) -> None:
        """Pass on; it is no call that could fail, so ``around`` does not see it."""
        await self.inner.wait_for_work(timeout)


def _durable[T: StoreWrapper](cls: type[T]) -> type[T]:
    """Return the class that is both: a given wrapper, and durable; made once for each."""
    if issubclass(cls, _DurableWrapper):
        return cls
    if issubclass(_DurableWrapper, cls):
        return cast("type[T]", _DurableWrapper)
    found = cls.__dict__.get("_durable_twin")
    if found is None:
        names = {"__module__": cls.__module__, "__doc__": cls.__doc__}
        found = type(cls.__name__, (cls, _DurableWrapper), names)
        cls._durable_twin = found  # type: ignore[attr-defined]  # kept with its class
    return cast("type[T]", found)
