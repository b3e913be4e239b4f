"""Models as the arguments of our SQL, and rows as models."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from roomkit.models.enums import ChannelCategory
from roomkit.store._sql.codec import dump, dump_json, dump_results, load_event, load_room
from roomkit.store.base import normalized_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import CommitBatch, DeliveryFinish, RoomClaim

_LONGEST_KEY = 200
"""Characters up to which a key is kept as it is: an index takes no long ones."""

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def digest(text: str) -> str:
    """Return 32 hexadecimal digits that stand for a text, where it need not be read again."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def index_key(key: str) -> str:
    """Return a key as it is filed: a very long one by its digest."""
    return key if len(key) <= _LONGEST_KEY else f"digest:{digest(key)}"


def claim_key(claim: RoomClaim) -> str:
    """Return what a claim on a new room is filed under."""
    return digest(dump_json([claim.organization_id, claim.channel_id, claim.sender_id]))


def utc(at: datetime) -> datetime:
    """Return a time with a timezone; one without is taken as UTC."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def due_after(room: Room) -> float | None:
    """Return the seconds of silence after which a room's next timer runs out, or None."""
    try:
        due = room.touched(_SOME_TIME).timers.due_at(room.status)
    except OverflowError:  # further away than any date
        return None
    return None if due is None else (due - _SOME_TIME).total_seconds()


def joined(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a JSON object of names and values that are JSON text already."""
    return "{" + ",".join([f'"{name}":{value}' for name, value in pairs]) + "}"


def listed(values: Iterable[str]) -> str:
    """Return a JSON array of values that are JSON text already."""
    return "[" + ",".join(values) + "]"


def room_json(room: Room) -> str:
    """Return a room as ``roomkit_create_room`` and ``roomkit_put_room`` take it."""
    last = room.timers.last_activity_at
    return joined(
        [
            ("status", json.dumps(str(room.status))),
            ("organization_id", json.dumps(room.organization_id)),
            ("created_at", f'"{utc(room.created_at).isoformat()}"'),
            ("last_activity_at", "null" if last is None else f'"{utc(last).isoformat()}"'),
            ("due_after", json.dumps(due_after(room))),
            ("doc", dump(room)),
        ]
    )


def binding_json(binding: ChannelBinding) -> str:
    """Return a binding as ``roomkit_put_members`` takes it."""
    names: dict[str, str] = {}
    if binding.category == ChannelCategory.TRANSPORT:
        for key, value in binding.metadata.items():
            if key and isinstance(value, str) and value:
                names[key] = digest(normalized_address(value))
    named_by = sorted(names)
    if binding.category == ChannelCategory.TRANSPORT and binding.participant_id:
        names[""] = digest(normalized_address(binding.participant_id))
    anybody = "" not in names
    return joined(
        [
            ("channel_id", json.dumps(binding.channel_id)),
            ("channel_type", json.dumps(str(binding.channel_type))),
            ("participant_id", json.dumps(binding.participant_id)),
            ("named_by", json.dumps(named_by) if anybody else "null"),
            ("shape", f'"{digest(json.dumps(named_by))}"' if anybody else "null"),
            ("names", json.dumps(names)),
            ("doc", dump(binding)),
        ]
    )


def participant_json(participant: Participant) -> str:
    """Return a participant as ``roomkit_put_members`` takes it."""
    return joined([("id", json.dumps(participant.id)), ("doc", dump(participant))])


def _task_json(task: Task) -> str:
    return joined(
        [
            ("id", json.dumps(task.id)),
            ("room_id", json.dumps(task.room_id)),
            ("status", json.dumps(str(task.status))),
            ("doc", dump(task)),
        ]
    )


def _observation_json(observation: Observation) -> str:
    return joined(
        [
            ("id", json.dumps(observation.id)),
            ("room_id", json.dumps(observation.room_id)),
            ("doc", dump(observation)),
        ]
    )


def finishes_json(finishes: Sequence[DeliveryFinish]) -> str:
    """Return ends of deliveries as ``roomkit_end`` takes them.

    Of two fenced words on one delivery only the first can count: the later is left out.
    """
    fenced: set[str] = set()
    rows = []
    for n, finish in enumerate(finishes):
        if finish.owner is not None:
            if finish.id in fenced:
                continue
            fenced.add(finish.id)
        row: dict[str, Any] = {
            "n": n,
            "id": finish.id,
            "event": finish.event_id,
            "channel": finish.channel_id,
            "status": str(finish.status),
            "owner": finish.owner,
            "attempts": finish.attempts,
            "retry_in": finish.retry_in or 0.0,
            "error": finish.error,
        }
        if finish.room_id:
            row["room"] = finish.room_id
        if finish.result is not None:
            row["result"] = finish.result
            message_id = finish.result.get("provider_message_id")
            if isinstance(message_id, str) and message_id:
                row["message_id"] = index_key(message_id)
        rows.append(row)
    return dump_json(rows)


def members_json(batch: CommitBatch) -> str | None:
    """Return all members a batch changes as ``roomkit_put_members`` takes them, or None."""
    parts = []
    if batch.bindings:
        last = {binding.channel_id: binding for binding in batch.bindings}
        parts.append(("bindings", listed(binding_json(one) for one in last.values())))
    if batch.removed_bindings:
        parts.append(("removed", json.dumps(list(batch.removed_bindings))))
    if batch.participants:
        people = {participant.id: participant for participant in batch.participants}
        parts.append(("participants", listed(participant_json(one) for one in people.values())))
    if batch.tasks:
        parts.append(("tasks", listed(_task_json(task) for task in batch.tasks)))
    if batch.observations:
        parts.append(("observations", listed(_observation_json(o) for o in batch.observations)))
    return joined(parts) if parts else None


def more_json(batch: CommitBatch, *, repeated: bool) -> str | None:
    """Return what few batches have beside events and deliveries, or None."""
    parts = []
    target = batch.target
    if target is not None:
        edited = [
            ("id", json.dumps(target.id)),
            ("visibility", json.dumps(target.visibility)),
            ("doc", dump(target)),
        ]
        parts.append(("target", joined(edited)))
    if batch.room is not None:
        parts.append(("room", room_json(batch.room)))
    members = members_json(batch)
    if members is not None:
        parts.append(("members", members))
    if batch.finishes:
        parts.append(("finishes", finishes_json(batch.finishes)))
    if batch.inbox_id is not None:
        parts.append(("inbox", json.dumps(batch.inbox_id)))
    if repeated:
        parts.append(("repeated", "true"))
    return joined(parts) if parts else None


def event_columns(events: Sequence[RoomEvent]) -> tuple[list[Any] | None, ...]:
    """Return events as the arrays of ids, keys, channels, visibilities, documents, results.

    No events give six times None, and keys are None when no event has one.
    """
    if not events:
        return (None,) * 6
    keys = [index_key(key) if (key := event.idempotency_key) else None for event in events]
    results = [dump_results(event.delivery_results) for event in events]
    return (
        [event.id for event in events],
        keys if any(keys) else None,
        [event.source.channel_id for event in events],
        [event.visibility for event in events],
        [dump(event) for event in events],
        results if any(results) else None,
    )


def commit_args(batch: CommitBatch, *, repeated: bool) -> tuple[Any, ...]:
    """Return a batch as the arguments of ``roomkit_commit``."""
    must_be_open = batch.open_required and any(
        event.type != "system" and event.status != "blocked" for event in batch.events
    )
    plans = batch.deliveries
    deliveries: tuple[Any, ...] = (None,) * 6
    if plans:
        deliveries = (
            [plan.id for plan in plans],
            [plan.event_id for plan in plans],
            [plan.channel_id for plan in plans],
            [str(plan.kind) for plan in plans],
            [plan.direct for plan in plans],
            [plan.claim for plan in plans],
        )
    return (
        batch.room_id,
        must_be_open,
        batch.owner,
        *event_columns(batch.events),
        None if batch.activity_at is None else utc(batch.activity_at),
        *deliveries,
        batch.guard,
        more_json(batch, repeated=repeated),
    )


def event_of(row: Any) -> RoomEvent:
    """Return the event of a row with ``index``, ``doc`` and ``results``."""
    return load_event(row["doc"], row["index"], row["results"])


def room_of(row: Any) -> Room:
    """Return the room of a row with its document, status, counter and last activity."""
    return load_room(
        row["doc"],
        status=row["status"],
        event_count=row["event_count"],
        last_activity_at=row["last_activity_at"],
    )
