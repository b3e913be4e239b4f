"""What the in-memory store does with a batch before it writes: refuse it, or copy it.

Both come first, so that nothing can fail halfway.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.models.enums import EventStatus, EventType
from roomkit.models.reasons import Reason
from roomkit.models.room import OPEN_STATUSES
from roomkit.store._memory_rooms import room_keys
from roomkit.store.commit import CommitResult

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.task import Observation, Task
    from roomkit.store._memory_record import RoomRecord
    from roomkit.store._memory_rooms import RoomKeys
    from roomkit.store.commit import CommitBatch


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch will write besides its events, copied from its caller."""

    bindings: list[ChannelBinding]
    participants: list[Participant]
    tasks: list[Task]
    observations: list[Observation]
    room_keys: RoomKeys | None


_NOTHING = Plan([], [], [], [], None)


def plan(batch: CommitBatch) -> Plan:
    """Return copies of what the caller may go on to change."""
    changes = (batch.bindings, batch.participants, batch.tasks, batch.observations, batch.room)
    if not any(changes):
        return _NOTHING
    return Plan(
        [binding.snapshot() for binding in batch.bindings],
        [participant.snapshot() for participant in batch.participants],
        [task.snapshot() for task in batch.tasks],
        [copy(observation) for observation in batch.observations],
        None if batch.room is None else room_keys(batch.room),
    )


def refusal(batch: CommitBatch, record: RoomRecord | None) -> CommitResult | None:
    """Return why a batch must not be written, or None.

    A key the room holds already comes first; then a key that stands twice in the batch
    (``duplicate_of`` is the first of the two, which is not written either); then the status.
    """
    batch_keys: dict[str, RoomEvent] | None = None
    must_be_open = False
    for event in batch.events:
        key = event.idempotency_key
        if key:
            first = None if record is None else record.by_key(key)
            if batch_keys is None:
                batch_keys = {}
            first = first or batch_keys.get(key)
            if first is not None:
                return CommitResult(duplicate_of=first)
            batch_keys[key] = event
        if event.type != EventType.SYSTEM and event.status != EventStatus.BLOCKED:
            must_be_open = batch.open_required
    if must_be_open and (record is None or record.status not in OPEN_STATUSES):
        return CommitResult(refused=Reason.ROOM_CLOSED)
    return None
