"""The path of a message, in order: prepare, admit, commit, deliver in lanes, report.

Messages from outside, ``send_event``, answers, injected events and identity challenges all
take it; they differ only in where they enter and in who is told of a refusal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from roomkit._aio import DeadlineExceeded, bounded
from roomkit.core.pipeline import edits
from roomkit.core.pipeline.answers import Answers
from roomkit.core.pipeline.booking import BookingDesk
from roomkit.core.pipeline.commit import Committer
from roomkit.core.pipeline.context import Admission, Refusal, duplicate_of
from roomkit.core.pipeline.deliver import Deliverer
from roomkit.core.pipeline.desk import WorkDesk
from roomkit.core.pipeline.door import clean_event, clean_message
from roomkit.core.pipeline.identify import Challenged
from roomkit.core.pipeline.inbox import Inbox
from roomkit.core.pipeline.lanes import Lanes
from roomkit.core.pipeline.lease import Lease
from roomkit.core.pipeline.prepare import Preparation, resumes
from roomkit.core.pipeline.record import Recorder
from roomkit.core.pipeline.report import Reporter
from roomkit.core.pipeline.rounds import Rounds
from roomkit.core.pipeline.settlement import Node
from roomkit.core.pipeline.targets import ABOUT_OTHERS, Targets
from roomkit.core.pipeline.worker import POLL, Worker
from roomkit.core.services.announcer import Announcement
from roomkit.core.services.scope import (
    Root,
    Scope,
    current_scope,
    deepened,
    enter_scope,
    leave_scope,
    root_of,
)
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import (
    EventRefusedError,
    LockTimeoutError,
    RoomClosedError,
    RoomNotFoundError,
)
from roomkit.models.delivery import TARGET_MESSAGE, InboundResult
from roomkit.models.enums import HookTrigger, RoomStatus
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.channels.base import Channel
    from roomkit.core.pipeline.admit import Gatekeeper
    from roomkit.core.pipeline.context import Joining, Parts
    from roomkit.core.pipeline.identify import Identifier
    from roomkit.core.pipeline.lanes import Entry
    from roomkit.core.services.guard import Hold
    from roomkit.core.services.receipts import Receipts
    from roomkit.core.services.rooms import Rooms
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

LEASE_TRIES = 3
"""How often an event is admitted when the lease of its room is lost, or what was known of it was
out of date."""

_AGAIN = frozenset({Reason.LEASE_LOST, Reason.STALE})

TURN = 0.001
"""Seconds all callers together may work in one turn of the loop; then each stops after the
message in hand."""


class Pipeline:
    """Runs the path of every event.

    Args:
        parts: The engine's collaborators.
        gatekeeper: Admits events.
        identifier: Identifies senders.
        rooms: Opens rooms for first contacts.
        receipts: Keeps delivery statuses that come too early.
        resume_paused: Whether a message wakes a paused room.
    """

    def __init__(
        self,
        parts: Parts,
        gatekeeper: Gatekeeper,
        identifier: Identifier,
        rooms: Rooms,
        receipts: Receipts,
        *,
        resume_paused: bool = False,
    ) -> None:
        self._parts = parts
        self._gatekeeper = gatekeeper
        self._resume_paused = resume_paused
        self._preparation = Preparation(parts, identifier, rooms)
        self._targets = Targets(parts)
        self._recorder = Recorder(parts.store, parts.tasks, parts.limits.commit, receipts)
        registry = parts.registry
        self.lease: Lease = Lease(parts.store, parts.clock, lambda: registry.channels.keys())
        recorded = self.lease.queue is not None
        self._reporter = Reporter(parts, self._recorder, recorded=recorded)
        deliverer = Deliverer(parts, self._recorder, self.respond, self.lease)
        self.lanes: Lanes = Lanes(
            deliverer.work, parts.limits.lane, self._recorder.arm, recorded=recorded
        )
        deliverer.bind(self.lanes)
        desk = BookingDesk(self.lanes, self.lease, self._recorder, registry)
        self._committer = Committer(parts, self.lanes, self._reporter, desk)
        self.worker: Worker = Worker(parts, self.lease, self.lanes, self._recorder, self._reporter)
        self.inbox: Inbox = Inbox(parts, self.lease, self.worker, self.take_in)
        self.desk: WorkDesk = WorkDesk(self.lease, self.lanes, self.worker, self.inbox)
        if recorded:
            self.worker.add(Rounds("roomkit-receipts", receipts.look_again, POLL, parts.clock))
        deliverer.put_off = self.worker.expect
        desk.left = self.worker.left
        parts.timeline.on_unknown = self.lease.renew
        self._answers = Answers(parts, gatekeeper, self._committer, self._after_commit)
        self._turn_began = 0.0
        self._turning: asyncio.AbstractEventLoop | None = None

    # -- messages from outside -----------------------------------------------------------

    async def receive(
        self,
        message: InboundMessage,
        room_id: str | None = None,
        organization_id: str | None = None,
        *,
        wait: bool = True,
    ) -> InboundResult:
        """Bring a message from outside into its room; see ``RoomKit.process_inbound``."""
        channel = self._parts.registry.require(message.channel_id)
        message = clean_message(message)
        scope = current_scope()
        if self._too_deep(scope):
            return Refusal(Reason.CHAIN_DEPTH).result()
        outcome = await self._arrive(channel, message, room_id, organization_id, scope)
        if room_id is None and _is_closed(outcome):
            # The room closed while the message was on its way to it: it gets a new one.
            outcome = await self._arrive(channel, message, None, organization_id, scope)
        if isinstance(outcome, Refusal):
            return outcome.result()
        await self._settle(outcome, scope, wait=wait)
        event = outcome.as_settled()
        if outcome.blocked_reason is not None:
            return InboundResult(event=event, blocked=True, reason=outcome.blocked_reason)
        return InboundResult(event=event)

    async def take_in(
        self,
        message: InboundMessage,
        room_id: str | None,
        organization_id: str | None,
        inbox_id: str,
    ) -> Refusal | None:
        """Bring an accepted message into its room, up to the commit that ends its inbox row.

        Returns:
            None once it is committed; else why it was not, its row untouched.
        """
        channel = self._parts.registry.require(message.channel_id)
        message = clean_message(message)
        for _ in range(LEASE_TRIES):
            outcome = await self._arrive(
                channel, message, room_id, organization_id, None, inbox_id
            )
            if room_id is not None or not _is_closed(outcome):
                break
        return outcome if isinstance(outcome, Refusal) else None

    async def _arrive(
        self,
        channel: Channel,
        message: InboundMessage,
        room_id: str | None,
        organization_id: str | None,
        scope: Scope | None,
        inbox_id: str | None = None,
    ) -> Node | Refusal:
        """Take a message through prepare, admit and commit once."""
        if message.event_type in ABOUT_OTHERS and TARGET_MESSAGE in message.metadata:
            resolved = await self._targets.resolve(message, room_id)
            if isinstance(resolved, Refusal):
                return resolved
            message, room_id = resolved
        arrived = await self._preparation.arrive(channel, message, room_id, organization_id)
        if isinstance(arrived, Refusal):
            return arrived
        if isinstance(arrived, Challenged):
            return await self._challenge(arrived)
        event = deepened(arrived.event, scope)
        return await self._enter(
            event,
            arrived.context,
            root_of(scope),
            scope,
            joining=arrived.joining,
            inbox_id=inbox_id,
        )

    async def send(self, event: RoomEvent) -> RoomEvent:
        """Say something in a room; see ``RoomKit.send_event``."""
        scope = current_scope()
        if self._too_deep(scope):
            raise EventRefusedError(str(Reason.CHAIN_DEPTH), event.room_id)
        event = deepened(clean_event(event), scope)
        outcome = await self._enter(event, None, root_of(scope), scope)
        if isinstance(outcome, Refusal):
            if outcome.reason == Reason.DUPLICATE and outcome.event is not None:
                return outcome.event
            if outcome.reason == Reason.ROOM_CLOSED:
                raise RoomClosedError(f"room {event.room_id!r} is closed")
            raise EventRefusedError(str(outcome.reason), event.room_id)
        await self._settle(outcome, scope)
        return outcome.as_settled()

    async def _enter(
        self,
        event: RoomEvent,
        context: RoomContext | None,
        root: Root,
        scope: Scope | None,
        *,
        joining: Joining | None = None,
        inbox_id: str | None = None,
    ) -> Node | Refusal:
        """Admit and commit one event from outside; the lanes run when this returns."""
        # What foreign code of the engine sends must not wait for lanes it may itself hold up.
        waits = scope is None
        tries = LEASE_TRIES
        left = self._parts.limits.settle
        trusting = joining is None
        try:
            while True:
                if waits and self.lanes.overloaded(event.room_id):
                    left = await self.lanes.relieved(event.room_id, left)
                    if left <= 0:
                        return Refusal(Reason.OVERLOADED)
                outcome = await self._locked(
                    event, context, root, joining, waits, inbox_id, trusting
                )
                if isinstance(outcome, Node):
                    return outcome
                if outcome.reason in _AGAIN:
                    tries -= 1
                    context, trusting = None, False
                elif outcome.reason != Reason.OVERLOADED:
                    return outcome
                if tries == 0:
                    return outcome
        except LockTimeoutError:
            return Refusal(Reason.LOCK_TIMEOUT)
        except DeadlineExceeded as exc:
            await self._expired(event, exc, root, scope)
            return Refusal(Reason.PROCESS_TIMEOUT)

    async def _locked(
        self,
        event: RoomEvent,
        context: RoomContext | None,
        root: Root,
        joining: Joining | None,
        waits: bool,
        inbox_id: str | None,
        trusting: bool,
    ) -> Node | Refusal:
        """Admit and commit under the room lock; nothing else happens there."""
        room_id = event.room_id
        async with self._parts.guard.hold(room_id) as hold:
            if waits and self.lanes.overloaded(room_id):
                # Others were faster while this one waited for the lock.
                return Refusal(Reason.OVERLOADED)
            known = self._known(event) if trusting else None
            admission = await bounded(
                self._admit(event, context, root, hold, joining, known),
                self._parts.limits.process,
            )
            if isinstance(admission, Refusal):
                return admission
            if self._parts.guard.lost(room_id):
                logger.warning("the lease of room %s was lost before the commit", room_id)
                return Refusal(Reason.LEASE_LOST)
            # Part of the commit: a caller cancelled meanwhile must not take it along.
            after = partial(self._after_commit, (admission,), hold)
            committed = await self._committer.commit(
                (admission,),
                hold,
                room_id=room_id,
                then=after,
                inbox_id=inbox_id,
                guard=None if known is None else known[1],
            )
            result = committed.result
            if result.duplicate_of is not None:
                if result.duplicate_of.idempotency_key != event.idempotency_key:
                    # Another process was faster with an injected event: without it, then.
                    return Refusal(Reason.LEASE_LOST)
                return duplicate_of(result.duplicate_of)
            if result.refused is not None:
                return Refusal(result.refused)
            return committed.nodes[0]

    async def _admit(
        self,
        event: RoomEvent,
        context: RoomContext | None,
        root: Root,
        hold: Hold,
        joining: Joining | None,
        known: tuple[RoomContext, int] | None,
    ) -> Admission | Refusal:
        store = self._parts.store
        if known is not None:
            # Repeats and changes of the room are found by the commit itself.
            current: RoomContext | None = known[0]
        else:
            key = event.idempotency_key
            current, first = await store.look(event.room_id, known=context, key=key)
            if first is not None:
                return duplicate_of(first)
        if current is None:
            raise RoomNotFoundError(f"room {event.room_id!r} does not exist")
        if not current.room.is_open:
            return Refusal(Reason.ROOM_CLOSED)
        admission = await self._gatekeeper.admit(
            event, current, root, hold, joining=joining, is_new=True
        )
        if (
            isinstance(admission, Admission)
            and not admission.blocked
            and resumes(current.room, event, enabled=self._resume_paused)
        ):
            # As it stands after the gates, which may have changed it themselves.
            room = await store.get_room(event.room_id) or current.room
            if room.status == RoomStatus.PAUSED:
                admission.room = room.moved_to(RoomStatus.ACTIVE, self._parts.clock.now())
        if isinstance(admission, Admission) and admission.injected:
            await self._gatekeeper.without_repeats((admission,))
        return admission

    def _known(self, event: RoomEvent) -> tuple[RoomContext, int] | None:
        """Return what this process knows of a room, where that will do to admit an event.

        It will when no gate wants to see the room and nothing but whom to deliver to is
        decided by it: the commit then refuses if that has changed.
        """
        if self._resume_paused or edits.target_id(event) is not None:
            return None
        if self._parts.hooks.has_gates(event.room_id, HookTrigger.BEFORE_BROADCAST):
            return None
        known = self._parts.store.peek_guarded(event.room_id)
        return known if known is not None and known[0].room.is_open else None

    def _start_injection(self, injected: InjectedEvent) -> None:
        self._parts.tasks.start(self.inject(injected), name="roomkit-inject")

    def _after_commit(self, admissions: Sequence[Admission], hold: Hold) -> None:
        """See to what a commit leads to besides its deliveries, once the lock is free."""
        for admission in admissions:
            if admission.room is not None:
                news = Announcement(admission.event, framework=FrameworkEventType.ROOM_RESUMED)
                hold.defer(partial(self._start_announcing, news))
            for injected in admission.injected:
                if injected.event.room_id != admission.event.room_id:
                    hold.defer(partial(self._start_injection, injected))

    def _start_announcing(self, news: Announcement) -> None:
        self._parts.tasks.start(self._parts.announcer.announce(news))

    async def _expired(
        self, event: RoomEvent, error: DeadlineExceeded, root: Root, scope: Scope | None
    ) -> None:
        hold, owner = (None, None) if scope is None else (scope.hold, scope.owner)
        token = enter_scope(Scope(root, event.chain_depth, hold, owner))
        room_id, event_id = event.room_id, event.id
        try:
            await self._parts.bus.emit(
                FrameworkEventType.PROCESS_TIMEOUT,
                room_id=room_id,
                event_id=event_id,
                data={"timeout": self._parts.limits.process},
            )
            await self._parts.errors.report("gates", error, room_id=room_id, event_id=event_id)
        finally:
            leave_scope(token)

    def _too_deep(self, scope: Scope | None) -> bool:
        """Return whether what led here was stopped itself: a chain must end somewhere."""
        return scope is not None and scope.depth >= self._parts.limits.max_chain_depth

    async def _settle(self, node: Node, scope: Scope | None, *, wait: bool = True) -> None:
        """Wait for the deliveries, unless foreign code of the engine is what waits."""
        if scope is None:
            if wait and not node.finished:
                await node.wait(self._parts.limits.settle)
            # Fairness by time: callers that never wait must still let the loop run.
            if time.perf_counter() - self._turn_began > TURN:
                await self._next_turn()

    async def _next_turn(self) -> None:
        """Let the loop run. The time counts anew for all who come back in the same turn."""
        loop = asyncio.get_running_loop()
        if self._turning is not loop:
            self._turning = loop
            loop.call_soon(self._begin_turn)
        await asyncio.sleep(0)

    def _begin_turn(self) -> None:
        self._turning = None
        self._turn_began = time.perf_counter()

    # -- injected events -----------------------------------------------------------------

    async def _challenge(self, challenged: Challenged) -> Refusal:
        """Send the question of a withheld message."""
        if challenged.inject is not None:
            await self.inject(challenged.inject)
        return challenged.refusal

    async def inject(self, injected: InjectedEvent) -> None:
        """Add an event to a room in a commit of its own, for just the channels it names."""
        scope = current_scope()
        event = clean_event(injected.event)
        if await answered(self._parts.store.get_event(event.id)) is not None:
            # One object used twice, by a hook or a challenge: each is an event of its own.
            event = event.renewed()
        async with self._parts.guard.hold(event.room_id) as hold:
            context = await answered(self._parts.store.load_context(event.room_id))
            if context is None:
                logger.warning("an injected event names a room that does not exist")
                return
            node = await self._committer.commit_injected(
                injected.carrying(event), context, hold, root_of(scope)
            )
        if node is not None:
            await self._settle(node, scope)

    async def respond(self, entry: Entry, binding: ChannelBinding, output: ChannelOutput) -> None:
        """Bring what a channel answered into the room; see ``Answers.respond``."""
        await self._answers.respond(entry, binding, output)

    # -- the end -------------------------------------------------------------------------

    async def drain(self, timeout: float | None, *, but: asyncio.Task[object] | None) -> bool:
        """Wait until every lane and report is done; False when the time ran out first."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while True:
            waiting = [task for task in self.lanes.running() if task is not but]
            left = None if end is None else max(0.0, end - loop.time())
            if not waiting:
                if await self._parts.tasks.wait(left, but=(but,)):
                    if not [task for task in self.lanes.running() if task is not but]:
                        await self._recorder.flush()
                        return True
                    continue
                return False
            if left == 0.0:
                return False
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def write_records(self) -> None:
        """Write what is known of deliveries and not yet stored."""
        await self._recorder.flush()

    async def stop_working(self, *, but: asyncio.Task[object] | None) -> None:
        """Take on nothing more of what others left, and no more accepted messages."""
        self.inbox.halt()
        await self.worker.stop(but=() if but is None else (but,))
        await self.inbox.stop()

    async def close(self, *, but: asyncio.Task[object] | None) -> None:
        """Stop the lanes and write what is known of their deliveries; give the rest back."""
        await self.lanes.close(but=but)
        await self._recorder.flush()
        await self.lease.end()


def _is_closed(outcome: Node | Refusal) -> bool:
    return isinstance(outcome, Refusal) and outcome.reason == Reason.ROOM_CLOSED
