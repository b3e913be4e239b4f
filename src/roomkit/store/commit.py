"""The one way to write a timeline: a batch that is stored whole or not at all.

``Timeline`` builds a ``CommitBatch``; ``ConversationStore.commit`` carries it out in one
transaction and answers with a ``CommitResult``. Both are plain values, without behaviour of a
store in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task


@unique
class DeliveryKind(StrEnum):
    """What a delivery record asks of its channel.

    Attributes:
        REACT: Let the channel look at the event and answer.
        DELIVER: Send the event through the channel.
    """

    REACT = "react"
    DELIVER = "deliver"


@unique
class RecordStatus(StrEnum):
    """Where a delivery record stands.

    Attributes:
        PENDING: Still to be done, or to be tried again.
        DONE: Done.
        DEAD: Failed for good: a dead letter.
        SKIPPED: Not done, for a reason that is no failure.
    """

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"
    SKIPPED = "skipped"


def delivery_id(event_id: str, channel_id: str, kind: DeliveryKind) -> str:
    """Return the id of a delivery: the same for every attempt, also after a crash."""
    return f"{event_id}.{channel_id}.{kind}"


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """One delivery to be made of a committed event.

    Attributes:
        id: The delivery id; the same over every attempt and crash.
        event_id: The event of the same batch.
        channel_id: The target.
        kind: Deliver to it, or let it react.
        direct: An injected event: no access, mute or visibility applies.
        claim: Whether the batch's owner can take it on at once; False leaves it to be claimed
            later, by whom it may concern.
    """

    id: str
    event_id: str
    channel_id: str
    kind: DeliveryKind
    direct: bool = False
    claim: bool = True


@dataclass(frozen=True, slots=True)
class DeliveryFinish:
    """How a delivery ended, or (PENDING) that it is to be tried again.

    Attributes:
        id: The delivery id.
        event_id: Its event.
        channel_id: Its target.
        kind: What was asked.
        status: DONE, DEAD or SKIPPED; PENDING when it waits for another attempt: then its
            whole lane is given back, unclaimed, and is claimed again when that is due.
        result: What ``event.delivery_results[channel_id]`` will say; None for reactions.
        owner: Who claimed it: the fence. A record that is no longer pending, or claimed by
            another, stays as it is and its result is dropped. None is not fenced: a later
            word on a delivery that has ended already.
        attempts: How often it has been tried in all.
        retry_in: For PENDING: the seconds until the next attempt.
        error: What it failed with: a code, never message text or an address.
        room_id: The room, where the caller knows it.
    """

    id: str
    event_id: str
    channel_id: str
    kind: DeliveryKind
    status: RecordStatus
    result: Mapping[str, Any] | None = None
    owner: str | None = None
    attempts: int = 0
    retry_in: float | None = None
    error: str | None = None
    room_id: str = ""


@dataclass(frozen=True, slots=True)
class CommitBatch:
    """Everything that becomes true together.

    Attributes:
        room_id: The room whose row is locked.
        events: New events, unnumbered, in order; each with its own idempotency key.
        open_required: Refuse unless the room is ACTIVE or PAUSED; SYSTEM and BLOCKED events
            are exempt.
        target: An earlier event as it stands after the edit or delete of this batch; its
            ``delivery_results`` are the store's own.
        participants: Added or replaced.
        bindings: Added or replaced.
        removed_bindings: Channel ids that leave the room.
        room: The room with other status, metadata or timers; counters are the store's.
        activity_at: When the message was said; moves ``last_activity_at``.
        tasks: Added.
        observations: Added.
        deliveries: Planned deliveries of ``events``.
        finishes: Deliveries that end with this batch.
        inbox_id: The inbox row that ends with it.
        owner: The process that writes it: it claims ``deliveries`` whose lanes are free, and
            holds the claims of ``finishes`` and ``inbox_id``.
        guard: What ``peek_guarded`` gave with the context the batch was made from: refused
            ``stale_context`` when the room's document, bindings or participants have changed
            since. None: not asked.
    """

    room_id: str
    events: tuple[RoomEvent, ...] = ()
    open_required: bool = False
    target: RoomEvent | None = None
    participants: tuple[Participant, ...] = ()
    bindings: tuple[ChannelBinding, ...] = ()
    removed_bindings: tuple[str, ...] = ()
    room: Room | None = None
    activity_at: datetime | None = None
    tasks: tuple[Task, ...] = ()
    observations: tuple[Observation, ...] = ()
    deliveries: tuple[DeliveryPlan, ...] = ()
    finishes: tuple[DeliveryFinish, ...] = ()
    inbox_id: str | None = None
    owner: str | None = None
    guard: int | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Attributes:
        events: The stored events, numbered, in the order of the batch.
        duplicate_of: The event that holds the key already; then nothing was written.
        refused: Why nothing was written, such as ``room_closed``, ``lease_lost`` or
            ``stale_context``.
        left: The delivery ids of the batch that its owner did not get: their lanes belong to
            another process, wait for a retry, or were not asked for.
    """

    events: tuple[RoomEvent, ...] = field(default=())
    duplicate_of: RoomEvent | None = None
    refused: str | None = None
    left: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RoomClaim:
    """Who a new room is opened for: one open room a claim, over every process.

    Attributes:
        organization_id: Whose customer the sender is, where that matters.
        channel_id: The channel they write to.
        sender_id: Their address.
    """

    organization_id: str | None
    channel_id: str
    sender_id: str


@dataclass(frozen=True, slots=True)
class OpenedRoom:
    """What ``open_room`` gave: the room, and whether this call made it.

    Attributes:
        room_id: The room.
        created: Whether this call made it.
    """

    room_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """What a lane needs to know at its turn.

    Attributes:
        event: The event as it stands now, or None when it is gone.
        binding: The target's binding as it stands now, or None when detached.
    """

    event: RoomEvent | None
    binding: ChannelBinding | None
