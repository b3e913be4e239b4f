"""What the steps hand to each other, and the collaborators they share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkit.models.delivery import InboundResult
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.channels.base import Channel
    from roomkit.core._delivery import Sender
    from roomkit.core.hooks import HookEngine, HookFailure
    from roomkit.core.inbound_router import InboundRoomRouter
    from roomkit.core.services.announcer import Announcer
    from roomkit.core.services.ephemeral import Ephemera
    from roomkit.core.services.errors import ErrorReporter
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.guard import RoomGuard
    from roomkit.core.services.registry import ChannelRegistry
    from roomkit.core.services.scope import Root
    from roomkit.core.services.streams import DeltaStreams
    from roomkit.core.services.timeline import Timeline
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.store.base import ConversationStore


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the engine, in seconds unless said.

    Attributes:
        max_chain_depth: Events of this depth are stored BLOCKED.
        identity: For the identity resolver.
        process: From holding the room lock to the end of the gates.
        commit: For one commit.
        settle: How long ``process_inbound`` waits for deliveries.
        foreign: For any other call into foreign code.
        lane: Entries of one lane, a count; past it new messages wait, then are refused.
    """

    max_chain_depth: int = 5
    identity: float = 10.0
    process: float = 30.0
    commit: float = 10.0
    settle: float = 30.0
    foreign: float = 30.0
    lane: int = 1000

    @property
    def loop_cap(self) -> int:
        """How many answers one message from outside may set off."""
        return self.max_chain_depth * 10


@dataclass(frozen=True, slots=True)
class Parts:
    """The collaborators every step may use; built once by RoomKit."""

    store: ConversationStore
    timeline: Timeline
    guard: RoomGuard
    hooks: HookEngine
    bus: FrameworkBus
    announcer: Announcer
    errors: ErrorReporter
    registry: ChannelRegistry
    router: InboundRoomRouter
    sender: Sender
    streams: DeltaStreams
    ephemera: Ephemera
    clock: Clock
    tasks: TaskSet
    limits: Limits
    counters: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Arrival:
    """A message in front of its room: parsed and its sender looked up, nothing stored yet."""

    channel: Channel
    message: InboundMessage
    event: RoomEvent
    context: RoomContext
    joining: Joining | None = None


@dataclass(frozen=True, slots=True)
class Joining:
    """A participant to be added or identified with the message.

    Attributes:
        participant: As they will be stored when they are new.
        identified: Whether their identity is known.
    """

    participant: Participant
    identified: bool


@dataclass(slots=True)
class Admission:
    """An event that passed (or was stopped by) the gates and is about to be committed.

    Attributes:
        event: As it will be stored, its index provisional.
        context: The room before it.
        root: What it stems from.
        blocked: Whether it is stored BLOCKED, with ``reason`` and ``blocked_by``.
        blocked_by: The gate's raw name; may be empty.
        target: The earlier event it edits or deletes, as it will stand.
        before: System events that precede it.
        participants: Stored with it.
        injected: Events that follow it, with their targets.
        tasks: Stored with it.
        observations: Stored with it.
        failures: Gates that failed.
        room: The room's new state, when the message changes it.
        parent_channel_id: Who said what it answers, where a DIRECT binding needs to know.
    """

    event: RoomEvent
    context: RoomContext
    root: Root
    blocked: bool = False
    reason: str | None = None
    blocked_by: str | None = None
    target: RoomEvent | None = None
    before: tuple[RoomEvent, ...] = ()
    participants: tuple[Participant, ...] = ()
    injected: list[InjectedEvent] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    failures: list[HookFailure] = field(default_factory=list)
    room: Room | None = None
    parent_channel_id: str | None = None

    @property
    def source_binding(self) -> ChannelBinding | None:
        """The binding the event came by, if its channel is attached."""
        return self.context.get_binding(self.event.source.channel_id)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not stored; for a repeat, the event it repeats."""

    reason: str
    event: RoomEvent | None = None

    def result(self) -> InboundResult:
        """Return it as the caller of ``process_inbound`` sees it."""
        return InboundResult(event=self.event, blocked=True, reason=str(self.reason))


def duplicate_of(event: RoomEvent) -> Refusal:
    """Return the refusal of a repeat."""
    return Refusal(Reason.DUPLICATE, event)
