"""A store as somebody else may write one: the 36 abstract methods, as plainly as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.store.base import ConversationStore

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task


class MinimalStore(ConversationStore):
    """Lists and scans: slow, and easy to believe."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.events: list[RoomEvent] = []
        self.bindings: dict[tuple[str, str], ChannelBinding] = {}
        self.participants: dict[tuple[str, str], Participant] = {}
        self.identities: dict[str, Identity] = {}
        self.addresses: dict[tuple[str, str], str] = {}
        self.tasks: dict[str, Task] = {}
        self.observations: list[Observation] = []
        self.markers: dict[tuple[str, str], str] = {}

    # -- rooms ---------------------------------------------------------------------------

    async def create_room(self, room: Room) -> Room:
        self.rooms[room.id] = room.snapshot()
        return room

    async def get_room(self, room_id: str) -> Room | None:
        room = self.rooms.get(room_id)
        return None if room is None else room.snapshot()

    async def update_room(self, room: Room) -> Room:
        self.rooms[room.id] = room.snapshot()
        return room

    async def delete_room(self, room_id: str) -> bool:
        if self.rooms.pop(room_id, None) is None:
            return False
        self.events = [e for e in self.events if e.room_id != room_id]
        self.observations = [o for o in self.observations if o.room_id != room_id]
        self.tasks = {k: t for k, t in self.tasks.items() if t.room_id != room_id}
        for table in (self.bindings, self.participants, self.markers):
            for key in [key for key in table if key[0] == room_id]:
                table.pop(key)  # type: ignore[attr-defined]
        return True

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        return [room.snapshot() for room in self.rooms.values()][offset : offset + limit]

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: str | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> list[Room]:
        return [
            room.snapshot()
            for room in self.rooms.values()
            if organization_id in (None, room.organization_id)
            and status in (None, room.status)
            and (metadata_filter or {}).items() <= room.metadata.items()
        ]

    async def find_latest_room(
        self, participant_id: str, channel_type: str | None = None, status: str | None = None
    ) -> Room | None:
        found = [
            room
            for room in self.rooms.values()
            if status in (None, room.status)
            and (
                (room.id, participant_id) in self.participants
                or any(
                    b.participant_id == participant_id and channel_type in (None, b.channel_type)
                    for b in self.bindings.values()
                    if b.room_id == room.id
                )
            )
        ]
        newest = max(
            enumerate(found), key=lambda item: (item[1].created_at, item[0]), default=None
        )
        return None if newest is None else newest[1].snapshot()

    async def find_room_id_by_channel(
        self, channel_id: str, status: str | None = None
    ) -> str | None:
        for room in self.rooms.values():
            if (room.id, channel_id) in self.bindings and status in (None, room.status):
                return room.id
        return None

    # -- events --------------------------------------------------------------------------

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        stored = event.numbered(await self.get_event_count(event.room_id))
        self.events.append(stored)
        return stored

    async def get_event(self, event_id: str) -> RoomEvent | None:
        return next((e for e in reversed(self.events) if e.id == event_id), None)

    async def update_event(self, event: RoomEvent) -> RoomEvent:
        for place, stored in enumerate(self.events):
            if stored.id == event.id:
                self.events[place] = event.numbered(stored.index)
        return event

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
    ) -> list[RoomEvent]:
        return [
            e
            for e in self.events
            if e.room_id == room_id and visibility_filter in (None, e.visibility)
        ][offset : offset + limit]

    async def check_idempotency(self, room_id: str, key: str) -> bool:
        return bool(key) and any(
            e.room_id == room_id and e.idempotency_key == key for e in self.events
        )

    async def get_event_count(self, room_id: str) -> int:
        return sum(e.room_id == room_id for e in self.events)

    # -- bindings and participants -------------------------------------------------------

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        self.bindings[binding.room_id, binding.channel_id] = binding.snapshot()
        return binding

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        binding = self.bindings.get((room_id, channel_id))
        return None if binding is None else binding.snapshot()

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        return await self.add_binding(binding)

    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        return self.bindings.pop((room_id, channel_id), None) is not None

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        return [b.snapshot() for b in self.bindings.values() if b.room_id == room_id]

    async def add_participant(self, participant: Participant) -> Participant:
        self.participants[participant.room_id, participant.id] = participant.snapshot()
        return participant

    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        participant = self.participants.get((room_id, participant_id))
        return None if participant is None else participant.snapshot()

    async def update_participant(self, participant: Participant) -> Participant:
        return await self.add_participant(participant)

    async def list_participants(self, room_id: str) -> list[Participant]:
        return [p.snapshot() for p in self.participants.values() if p.room_id == room_id]

    # -- identities ----------------------------------------------------------------------

    async def create_identity(self, identity: Identity) -> Identity:
        self.identities[identity.id] = identity
        for channel_type, addresses in identity.channel_addresses.items():
            for address in addresses:
                self.addresses[channel_type, address] = identity.id
        return identity

    async def get_identity(self, identity_id: str) -> Identity | None:
        return self.identities.get(identity_id)

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        return self.identities.get(self.addresses.get((channel_type, address), ""))

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        identity = self.identities.get(identity_id)
        if identity is not None:
            known = identity.channel_addresses.setdefault(channel_type, [])
            if address not in known:
                known.append(address)
            self.addresses[channel_type, address] = identity_id

    # -- tasks and observations ----------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        self.tasks[task.id] = task.snapshot()
        return task

    async def get_task(self, task_id: str) -> Task | None:
        task = self.tasks.get(task_id)
        return None if task is None else task.snapshot()

    async def list_tasks(self, room_id: str, status: str | None = None) -> list[Task]:
        return [
            t.snapshot()
            for t in self.tasks.values()
            if t.room_id == room_id and status in (None, t.status)
        ]

    async def update_task(self, task: Task) -> Task:
        return await self.add_task(task)

    async def add_observation(self, observation: Observation) -> Observation:
        self.observations.append(observation)
        return observation

    async def list_observations(self, room_id: str) -> list[Observation]:
        return [o for o in self.observations if o.room_id == room_id]

    # -- read tracking -------------------------------------------------------------------

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        self.markers[room_id, channel_id] = event_id

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        events = await self.list_events(room_id, 0, len(self.events))
        if events:
            self.markers[room_id, channel_id] = events[-1].id

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        events = await self.list_events(room_id, 0, len(self.events))
        ids = [event.id for event in events]
        marker = self.markers.get((room_id, channel_id))
        return len(ids) - 1 - ids.index(marker) if marker in ids else len(ids)
