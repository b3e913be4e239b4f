"""An in-memory store that refuses what tables refuse, and lends nothing it keeps."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from roomkit.exceptions import StoreError
from roomkit.store.memory import InMemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import CommitBatch, CommitResult, OpenedRoom, RoomClaim


class TableMemoryStore(InMemoryStore):
    """The default store with unique ids, parents for all children and nothing shared."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[str] = set()

    async def check(self, batch: CommitBatch) -> None:
        """Refuse a batch that the tables would refuse."""
        await self._need(batch.room_id)
        self._unique(batch.tasks, batch.observations)

    async def commit(self, batch: CommitBatch) -> CommitResult:
        await self.check(batch)
        result = await super().commit(batch)
        if result.refused is None and result.duplicate_of is None:
            self.taken |= {one.id for one in (*batch.tasks, *batch.observations)}
        return result

    async def _need(self, room_id: str) -> None:
        if await super().get_room(room_id) is None:
            raise StoreError("there is no such room")

    def _unique(self, *groups: Iterable[Task | Observation]) -> None:
        if any(one.id in self.taken for group in groups for one in group):
            raise StoreError("that id is taken")

    async def create_room(self, room: Room) -> Room:
        if await super().get_room(room.id) is not None:
            raise StoreError("that room exists")
        await super().create_room(deepcopy(room))
        return room

    async def open_room(
        self,
        claim: RoomClaim,
        room: Room,
        binding: ChannelBinding,
        events: Sequence[RoomEvent] = (),
    ) -> OpenedRoom:
        for event in events:
            if await self.get_event(event.id) is not None:
                raise StoreError("that event exists")
        return await super().open_room(claim, room, binding, events)

    async def get_room(self, room_id: str) -> Room | None:
        return deepcopy(await super().get_room(room_id))

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        return [deepcopy(room) for room in await super().list_rooms(offset, limit)]

    async def update_room(self, room: Room) -> Room:
        known = await super().get_room(room.id)
        return room if known is None else await super().update_room(deepcopy(room))

    async def add_event(self, event: RoomEvent) -> RoomEvent:
        await self._need(event.room_id)
        if await self.get_event(event.id) is not None:
            raise StoreError("that event exists")
        if event.idempotency_key and await self.check_idempotency(
            event.room_id, event.idempotency_key
        ):
            raise StoreError("that key is taken")
        return await super().add_event(event)

    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        await self._need(binding.room_id)
        await super().add_binding(deepcopy(binding))
        return binding

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        return deepcopy(await super().get_binding(room_id, channel_id))

    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        known = await self.get_binding(binding.room_id, binding.channel_id)
        return binding if known is None else await super().update_binding(binding)

    async def add_participant(self, participant: Participant) -> Participant:
        await self._need(participant.room_id)
        return await super().add_participant(participant)

    async def update_participant(self, participant: Participant) -> Participant:
        known = await self.get_participant(participant.room_id, participant.id)
        return participant if known is None else await super().update_participant(participant)

    async def create_identity(self, identity: Identity) -> Identity:
        if await self.get_identity(identity.id) is not None:
            raise StoreError("that identity exists")
        return await super().create_identity(identity)

    async def add_task(self, task: Task) -> Task:
        await self._need(task.room_id)
        self._unique([task])
        self.taken.add(task.id)
        await super().add_task(deepcopy(task))
        return task

    async def get_task(self, task_id: str) -> Task | None:
        return deepcopy(await super().get_task(task_id))

    async def update_task(self, task: Task) -> Task:
        if await self.get_task(task.id) is not None:
            self.taken.discard(task.id)
            await super().update_task(task)
        return task

    async def add_observation(self, observation: Observation) -> Observation:
        await self._need(observation.room_id)
        self._unique([observation])
        self.taken.add(observation.id)
        return await super().add_observation(observation)
