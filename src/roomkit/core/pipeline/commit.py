"""Commit: admitted events become part of the timeline, and their deliveries enter the lanes.

What is stored together: the events with the system events before and the injected ones after
them, the target of an edit, participants, effects and the planned deliveries. The lanes are
filled before anybody else can commit to the room, and run once its lock is free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.core._delivery import Adapted
from roomkit.core.event_router import plan_targets
from roomkit.core.pipeline.context import Admission
from roomkit.core.pipeline.lanes import Entry
from roomkit.core.pipeline.settlement import Node
from roomkit.exceptions import EventRefusedError
from roomkit.models.enums import EventType
from roomkit.models.reasons import Reason
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.core.pipeline.booking import Booking, BookingDesk
    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.lanes import Lanes
    from roomkit.core.pipeline.report import Reporter
    from roomkit.core.services.guard import Hold
    from roomkit.core.services.scope import Root
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.task import Observation, Task
    from roomkit.store.commit import CommitResult, DeliveryFinish


class Committed:
    """What a commit gave: the result, and a node for each admitted event that was stored."""

    __slots__ = ("nodes", "result")

    def __init__(self, result: CommitResult, nodes: list[Node]) -> None:
        self.result: CommitResult = result
        self.nodes: list[Node] = nodes


class Committer:
    """Writes admitted events and hands them to the lanes."""

    def __init__(self, parts: Parts, lanes: Lanes, reporter: Reporter, desk: BookingDesk) -> None:
        self._parts = parts
        self._lanes = lanes
        self._reporter = reporter
        self._desk = desk

    async def commit(
        self,
        admissions: Sequence[Admission],
        hold: Hold,
        *,
        room_id: str,
        parent: Node | None = None,
        tasks: Sequence[Task] = (),
        observations: Sequence[Observation] = (),
        open_required: bool = True,
        then: Callable[[], None] | None = None,
        finishes: Sequence[DeliveryFinish] = (),
        inbox_id: str | None = None,
        guard: int | None = None,
    ) -> Committed:
        """Store admitted events in one batch, under the room's lock.

        Args:
            admissions: In order; all of one room.
            hold: The lock of ``room_id``: the lanes run after its release.
            parent: The cause's node, for answers.
            tasks: Effects of the answering channel, stored with its answers.
            observations: Likewise.
            open_required: Refuse when the room was closed meanwhile.
            then: Called in one piece with the commit, when it was made.
            finishes: Deliveries that end with it.
            inbox_id: The inbox row that ends with it.
            guard: Refuse when the room has changed since it was peeked at.
        """
        events: list[RoomEvent] = []
        for admission in admissions:
            events += admission.before
            events.append(admission.event)
            events += [
                injected.event.injected_into(room_id)
                for injected in admission.injected
                if injected.event.room_id == room_id
            ]
        nodes: list[Node] = []
        booking = self._book(admissions)

        def settle_in(result: CommitResult) -> None:
            self._enter_lanes(admissions, result, hold, parent, nodes, booking)
            if booking is not None:
                booking.settle(room_id, result)
            if then is not None:
                then()

        batch = self._batch(admissions, tuple(events), room_id, tasks, observations, open_required)
        if booking is not None:
            batch = replace(
                batch,
                deliveries=tuple(booking.plans),
                owner=booking.owner,
                finishes=tuple(finishes),
                inbox_id=inbox_id,
                guard=guard,
            )
        result = await self._parts.timeline.commit(batch, settle_in)
        return Committed(result, nodes)

    async def commit_injected(
        self, injected: InjectedEvent, context: RoomContext, hold: Hold, root: Root
    ) -> Node | None:
        """Store one event for just the channels it names; no gates, access or visibility.

        None when it repeats a key of the room: then it is there already.
        """
        nodes: list[Node] = []
        event = injected.event.injected_into(injected.event.room_id)

        def settle_in(result: CommitResult) -> None:
            admission = Admission(event, context, root)
            node = self._node(admission, result.events[0], None)
            node.from_outside = False
            nodes.append(node)
            stored = result.events[0]
            entries = self._injected(admission, node, injected, stored, result, booking)
            self._enqueue(entries, nodes, hold)
            if booking is not None:
                booking.settle(event.room_id, result)

        booking = self._desk.open()
        batch = CommitBatch(room_id=event.room_id, events=(event,))
        if booking is not None:
            for binding in _bound(context, injected):
                booking.plan(event, binding, direct=True)
            batch = replace(batch, deliveries=tuple(booking.plans), owner=booking.owner)
        result = await self._parts.timeline.commit(batch, settle_in)
        if result.refused is not None:
            raise EventRefusedError(str(result.refused), event.room_id)
        return nodes[0] if nodes else None

    def _enqueue(self, entries: list[Entry], nodes: list[Node], hold: Hold) -> None:
        """Put entries into their lanes now, and start those when the lock is free."""
        for entry in entries:
            entry.node.add()
            self._lanes.put(entry)

        def start() -> None:
            self._lanes.start(entries)
            for node in nodes:
                node.done()

        hold.defer(start)

    def _batch(
        self,
        admissions: Sequence[Admission],
        events: tuple[RoomEvent, ...],
        room_id: str,
        tasks: Sequence[Task],
        observations: Sequence[Observation],
        open_required: bool,
    ) -> CommitBatch:
        if len(admissions) == 1:
            one = admissions[0]
            said = one.event.type == EventType.MESSAGE and not one.blocked
            target, room, participants = one.target, one.room, one.participants
            all_tasks = (*one.tasks, *tasks)
            all_observations = (*one.observations, *observations)
        else:
            said = any(a.event.type == EventType.MESSAGE and not a.blocked for a in admissions)
            target = next((a.target for a in admissions if a.target is not None), None)
            room, participants = None, ()
            all_tasks = (*(task for a in admissions for task in a.tasks), *tasks)
            all_observations = (*(o for a in admissions for o in a.observations), *observations)
        return CommitBatch(
            room_id=room_id,
            events=events,
            open_required=open_required,
            target=target,
            participants=participants,
            room=room,
            activity_at=self._parts.clock.now() if said else None,
            tasks=all_tasks,
            observations=all_observations,
        )

    def _book(self, admissions: Sequence[Admission]) -> Booking | None:
        """Plan the delivery records of a batch, where the store keeps them."""
        booking = self._desk.open()
        if booking is None:
            return None
        for admission in admissions:
            event = admission.event
            for binding in self._targets(admission):
                booking.plan(event, binding, direct=False)
            for injected in admission.injected:
                if injected.event.room_id == event.room_id:
                    for binding in _bound(admission.context, injected):
                        booking.plan(injected.event, binding, direct=True)
        return booking

    def _targets(self, admission: Admission) -> list[ChannelBinding]:
        """Return whom the event goes to; by its provisional index, as its records were."""
        source = admission.source_binding
        if admission.blocked or source is None:
            return []
        return plan_targets(
            admission.event,
            source,
            admission.context.bindings,
            parent_channel_id=admission.parent_channel_id,
        )

    def _enter_lanes(
        self,
        admissions: Sequence[Admission],
        result: CommitResult,
        hold: Hold,
        parent: Node | None,
        nodes: list[Node],
        booking: Booking | None,
    ) -> None:
        """Fill the lanes with what was just stored; they start when the lock is free."""
        entries: list[Entry] = []
        stored = iter(result.events)
        for admission in admissions:
            for _ in admission.before:
                next(stored)
            event = next(stored)
            node = self._node(admission, event, parent)
            nodes.append(node)
            entries += self._entries(admission, node, result, booking)
            for injected in admission.injected:
                if injected.event.room_id == event.room_id:
                    more = next(stored)
                    entries += self._injected(admission, node, injected, more, result, booking)
        self._enqueue(entries, nodes, hold)

    def _node(self, admission: Admission, event: RoomEvent, parent: Node | None) -> Node:
        node = Node(
            event,
            admission.context,
            admission.root,
            parent,
            self._reporter.settled,
        )
        node.failures = admission.failures
        node.tasks = tuple(admission.tasks)
        node.observations = tuple(admission.observations)
        if admission.blocked:
            node.blocked_reason = admission.reason
            node.blocked_by = admission.blocked_by
            if admission.reason == Reason.CHAIN_DEPTH:
                node.stopped = [event]
        return node

    def _entries(
        self, admission: Admission, node: Node, result: CommitResult, booking: Booking | None
    ) -> list[Entry]:
        event = node.event
        targets = self._targets(admission)
        if not targets:
            return []
        adapted = Adapted(event, admission.source_binding)
        room_id, context = event.room_id, node.context
        version = self._parts.store.peek_version(room_id)
        if booking is not None:
            return _booked(
                booking, result, node, event, adapted, targets, context, version, direct=False
            )
        return [
            Entry(
                (room_id, binding.channel_id),
                node,
                event,
                adapted,
                binding,
                context,
                version,
                False,
            )
            for binding in targets
        ]

    def _injected(
        self,
        admission: Admission,
        node: Node,
        injected: InjectedEvent,
        event: RoomEvent,
        result: CommitResult,
        booking: Booking | None,
    ) -> list[Entry]:
        adapted = Adapted(event, None)
        context = node.context.with_recent([*node.context.recent_events, event])
        version = self._parts.store.peek_version(event.room_id)
        targets = _bound(admission.context, injected)
        if booking is not None:
            return _booked(
                booking, result, node, event, adapted, targets, context, version, direct=True
            )
        return [
            Entry(
                (event.room_id, binding.channel_id),
                node,
                event,
                adapted,
                binding,
                context,
                version,
                True,
            )
            for binding in targets
        ]


def _booked(
    booking: Booking,
    result: CommitResult,
    node: Node,
    event: RoomEvent,
    adapted: Adapted,
    targets: list[ChannelBinding],
    context: RoomContext,
    version: int | None,
    *,
    direct: bool,
) -> list[Entry]:
    """Return the entries of what this process begins; the rest waits in its records."""
    entries = []
    for binding in targets:
        channel_id = binding.channel_id
        kinds = booking.begins(event, channel_id, result)
        if not kinds:
            node.scheduled.add(channel_id)
            continue
        entries.append(
            Entry(
                (event.room_id, channel_id),
                node,
                event,
                adapted,
                binding,
                context,
                version,
                direct,
                kinds,
                owner=booking.owner,
            )
        )
    return entries


def _bound(context: RoomContext, injected: InjectedEvent) -> list[ChannelBinding]:
    """Return the bindings an injected event names, in the order it names them."""
    found = []
    for channel_id in injected.target_channel_ids or ():
        binding = context.get_binding(channel_id)
        if binding is not None:
            found.append(binding)
    return found
