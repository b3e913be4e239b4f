"""Models as the rows an SQLite store writes, made before a call is handed to its thread.

So a caller may go on to change what it gave, and what cannot be stored fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from roomkit.exceptions import InvalidInputError
from roomkit.models.enums import EventStatus, EventType
from roomkit.models.room import RoomTimers
from roomkit.store._sql.codec import dump, dump_json, dump_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import RoomStatus
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import CommitBatch, DeliveryFinish


class RoomRow(NamedTuple):
    """A room's columns, but for its counters."""

    id: str
    organization_id: str | None
    status: str
    created_at: float
    last_activity_at: str | None
    inactive_after: int | None
    closed_after: int | None
    due_at: float | None
    doc: str


class EventRow(NamedTuple):
    """An event's columns, but for its place."""

    id: str
    channel_id: str
    key: str | None
    visibility: str
    results: str | None
    doc: str


class BindingRow(NamedTuple):
    """A binding's columns and what its names are made of."""

    room_id: str
    channel_id: str
    channel_type: str
    participant_id: str | None
    doc: str
    binding: ChannelBinding


class ParticipantRow(NamedTuple):
    """A participant's columns."""

    room_id: str
    id: str
    doc: str


class FinishRow(NamedTuple):
    """The end of a delivery.

    ``name`` is its channel as a JSON string, ``result`` JSON text; ``message_id`` what the
    vendor calls the message.
    """

    id: str
    event_id: str
    channel_id: str
    status: str
    owner: str | None
    attempts: int
    retry_in: float | None
    error: str | None
    room_id: str
    result: str | None
    message_id: str | None
    given: Mapping[str, Any] | None


@dataclass(slots=True)
class BatchRows:
    """A batch as rows.

    Attributes:
        batch: What it was made of.
        events: Its events, each within the batch's room.
        must_be_open: Whether a room that takes no events refuses it.
        target: The edited event.
        room: The room's new document.
        activity_at: When its message was said, in seconds since the epoch and ISO 8601.
        bindings: Added or replaced.
        participants: Added or replaced.
        tasks: Id, room id, status, document.
        observations: Id, room id, document.
        finishes: Deliveries that end.
        members: Whether the room's document, bindings or participants change.
    """

    batch: CommitBatch
    events: tuple[EventRow, ...]
    must_be_open: bool
    target: EventRow | None
    room: RoomRow | None
    activity_at: tuple[float, str] | None
    bindings: tuple[BindingRow, ...]
    participants: tuple[ParticipantRow, ...]
    tasks: tuple[tuple[str, str, str, str], ...]
    observations: tuple[tuple[str, str, str], ...]
    finishes: tuple[FinishRow, ...]

    @property
    def members(self) -> bool:
        """Whether the room's document, bindings or participants change."""
        return bool(self.room or self.bindings or self.participants or self.batch.removed_bindings)

    @property
    def touches_room(self) -> bool:
        """Whether anything of it belongs to the room itself."""
        return bool(
            self.events
            or self.target
            or self.activity_at
            or self.members
            or self.batch.deliveries
            or self.tasks
            or self.observations
        )


def room_row(room: Room) -> RoomRow:
    """Return a room's columns."""
    timers = room.timers
    last = timers.last_activity_at
    return RoomRow(
        room.id,
        room.organization_id,
        str(room.status),
        room.created_at.timestamp(),
        None if last is None else last.isoformat(),
        timers.inactive_after_seconds,
        timers.closed_after_seconds,
        _due_at(timers, room.status),
        dump(room),
    )


def _due_at(timers: RoomTimers, status: RoomStatus) -> float | None:
    try:
        due = timers.due_at(status)
        return None if due is None else due.timestamp()
    except OverflowError:  # beyond the end of the calendar: never
        return None


def due_after(
    status: str, inactive: int | None, closed: int | None, last_activity_at: datetime
) -> float | None:
    """Return when a room's next timer runs out after a message, in seconds since the epoch."""
    if inactive is None and closed is None:
        return None
    timers = RoomTimers(
        inactive_after_seconds=inactive,
        closed_after_seconds=closed,
        last_activity_at=last_activity_at,
    )
    return _due_at(timers, status)  # type: ignore[arg-type]  # compared as text


def event_row(event: RoomEvent, room_id: str | None = None) -> EventRow:
    """Return an event's columns, as an event of ``room_id`` if given."""
    if room_id is not None and event.room_id != room_id:
        event = event.in_room(room_id)
    return EventRow(
        event.id,
        event.source.channel_id,
        event.idempotency_key or None,
        event.visibility,
        dump_results(event.delivery_results),
        dump(event),
    )


def binding_row(binding: ChannelBinding, room_id: str | None = None) -> BindingRow:
    """Return a binding's columns."""
    return BindingRow(
        room_id or binding.room_id,
        binding.channel_id,
        str(binding.channel_type),
        binding.participant_id or None,
        dump(binding),
        binding.snapshot(),
    )


def participant_row(participant: Participant, room_id: str | None = None) -> ParticipantRow:
    """Return a participant's columns."""
    return ParticipantRow(room_id or participant.room_id, participant.id, dump(participant))


def task_row(task: Task) -> tuple[str, str, str, str]:
    """Return a task's columns: id, room id, status, document."""
    return (task.id, task.room_id, str(task.status), dump(task))


def observation_row(observation: Observation) -> tuple[str, str, str]:
    """Return an observation's columns: id, room id, document."""
    return (observation.id, observation.room_id, dump(observation))


def finish_rows(finishes: Sequence[DeliveryFinish]) -> tuple[FinishRow, ...]:
    """Return what ended deliveries change."""
    return tuple([_finish_row(finish) for finish in finishes])


def _finish_row(finish: DeliveryFinish) -> FinishRow:
    result = finish.result
    message_id = text = None
    if result is not None:
        result = dict(result)
        text = f"{dump_json(finish.channel_id)}:{dump_json(result)}"
        message_id = result.get("provider_message_id") or None
    return FinishRow(
        finish.id,
        finish.event_id,
        finish.channel_id,
        str(finish.status),
        finish.owner,
        finish.attempts,
        finish.retry_in,
        finish.error,
        finish.room_id,
        text,
        None if message_id is None else str(message_id),
        result,
    )


def batch_rows(batch: CommitBatch) -> BatchRows:
    """Return a batch as rows.

    Raises:
        InvalidInputError: It plans a delivery of an event it does not hold, holds another
            room, or something JSON cannot carry.
    """
    room_id = batch.room_id
    if batch.room is not None and batch.room.id != room_id:
        raise InvalidInputError(
            f"a batch of room {room_id!r} holds the room {batch.room.id!r}: they must be the same"
        )
    if batch.deliveries:
        _check_plans(batch)
    at = batch.activity_at
    return BatchRows(
        batch,
        tuple([event_row(event, room_id) for event in batch.events]),
        batch.open_required and _must_be_open(batch.events),
        None if batch.target is None else event_row(batch.target, room_id),
        None if batch.room is None else room_row(batch.room),
        None if at is None else (at.timestamp(), at.isoformat()),
        tuple([binding_row(binding, room_id) for binding in batch.bindings]),
        tuple([participant_row(participant, room_id) for participant in batch.participants]),
        tuple([task_row(task) for task in batch.tasks]),
        tuple([observation_row(observation) for observation in batch.observations]),
        finish_rows(batch.finishes),
    )


def _check_plans(batch: CommitBatch) -> None:
    known = [event.id for event in batch.events]
    for plan in batch.deliveries:
        if plan.event_id not in known:
            raise InvalidInputError(
                f"delivery {plan.id!r} is planned for event {plan.event_id!r}, which is not in "
                "its batch"
            )


def _must_be_open(events: Sequence[RoomEvent]) -> bool:
    for event in events:
        if event.type != EventType.SYSTEM and event.status != EventStatus.BLOCKED:
            return True
    return False
