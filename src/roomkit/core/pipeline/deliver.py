"""Deliver: one entry of a lane, at its turn, as the room stands then."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded
from roomkit._logging import ids, log_failure
from roomkit.core._delivery import FAILED, RETRY, SENT, SKIPPED, Adapted, Outcome
from roomkit.core.pipeline.history import history_for
from roomkit.core.retry import retry_delay
from roomkit.core.services.scope import Scope, enter_scope
from roomkit.core.visibility import visible_to
from roomkit.exceptions import StoreError
from roomkit.models.channel import RetryPolicy
from roomkit.models.enums import ChannelCategory
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.reasons import Reason
from roomkit.store.commit import DeliveryKind, delivery_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from roomkit.channels.base import Channel
    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.lanes import Entry, Lanes
    from roomkit.core.pipeline.lease import Lease
    from roomkit.core.pipeline.record import Recorder
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.event import RoomEvent
    from roomkit.store.commit import DeliveryView

logger: logging.Logger = logging.getLogger("roomkit.delivery")

FRESH = 0.1
"""Seconds for which a recorded delivery may rely on what its commit saw of the room."""


_COUNTED = {SENT: "delivered", FAILED: "failed", SKIPPED: "skipped"}

STORE_RETRY = 1.0
"""Seconds a recorded delivery waits when the store failed before it could begin."""


class ClaimLost(Exception):
    """What was done belongs to another worker by now; nothing of it was written."""


class Deliverer:
    """Works off lane entries.

    Args:
        parts: The engine's collaborators.
        recorder: Writes down how each ended.
        respond: Brings a channel's answer into the room.
        lease: Says whether recorded deliveries may begin.
    """

    def __init__(
        self,
        parts: Parts,
        recorder: Recorder,
        respond: Callable[[Entry, ChannelBinding, ChannelOutput], Awaitable[None]],
        lease: Lease,
    ) -> None:
        self._parts = parts
        self._recorder = recorder
        self._respond = respond
        self._lease = lease
        self._lanes: Lanes | None = None
        self.put_off: Callable[[float], None] = _nothing

    def bind(self, lanes: Lanes) -> None:
        """Remember the lanes whose entries come here."""
        self._lanes = lanes

    async def work(self, entry: Entry) -> None:
        """Bring one event to one channel; how it went is recorded, never raised."""
        # The lane's task has a context of its own: nothing to restore afterwards.
        scope = Scope(entry.node.root, entry.event.chain_depth, owner=asyncio.current_task())
        enter_scope(scope)
        channel_id = entry.key[1]
        try:
            if entry.kinds is not None:
                await self._work_recorded(entry)
                return
            channel = self._parts.registry.channels.get(channel_id)
            if channel is None or channel.reacts or self._moved(entry):
                await self._work(entry)
            else:
                # Nothing moved since it was planned, and it is only to be delivered.
                await self._send(entry, channel, entry.adapted, entry.binding)
        except Exception as exc:  # noqa: BLE001 - the store failed; the lane must go on
            outcome = Outcome(FAILED, type(exc).__name__, exception=exc)
            self._end(entry, DeliveryKind.DELIVER, outcome)
        finally:
            # A task that its own context leads back to would stay until the next collection.
            scope.owner = None

    def _moved(self, entry: Entry) -> bool:
        """Return whether the room may have changed since the delivery was planned."""
        if entry.version is None:
            return True
        if entry.kinds is not None and time.monotonic() - entry.planned_at > FRESH:
            return True  # other processes may have changed it, and ours does not know
        return entry.version != self._parts.store.peek_version(entry.key[0])

    # -- deliveries a store keeps records of ----------------------------------------------

    async def _work_recorded(self, entry: Entry) -> None:
        """Do what is still pending of an entry; each record ends, or waits for a retry."""
        if not self._lease.held or entry.owner != self._lease.owner:
            self._leave(entry)
            return
        if entry.key[1] not in self._parts.registry.channels:
            # Unregistered here; another process may have it.
            self._put_back(entry, Reason.NOT_REGISTERED)
            return
        try:
            await self._work(entry)
        except ClaimLost:
            self._leave(entry)
        except Exception as exc:  # noqa: BLE001 - the store failed: the record says what is left
            log_failure(logger, exc, "a delivery to %s could not begin", entry.key[1])
            self._put_back(entry, type(exc).__name__)

    def _put_back(self, entry: Entry, error: str) -> None:
        """Let what is pending of an entry be tried again, without an attempt being spent."""
        pending = entry.pending()
        if pending:
            # The lane is given back as a whole: to react comes first.
            kind = DeliveryKind.REACT if DeliveryKind.REACT in pending else entry.first()
            tried = entry.tried.get(kind, 0)
            self._end(entry, kind, Outcome(RETRY, error, attempts=tried, retry_in=STORE_RETRY))

    def _leave(self, entry: Entry) -> None:
        if self._lanes is not None:
            self._lanes.leave_quietly(entry.key)

    # -- the work -------------------------------------------------------------------------

    async def _work(self, entry: Entry) -> None:
        room_id, channel_id = entry.key
        channel = self._parts.registry.channels.get(channel_id)
        if channel is None:
            logger.warning(
                "channel %s is attached but not registered; skipped",
                channel_id,
                extra=ids(room_id=room_id, channel_id=channel_id, event_id=entry.event.id),
            )
            self._skip(entry, Reason.NOT_REGISTERED)
            return
        binding, adapted = entry.binding, entry.adapted
        if self._moved(entry):
            view = await bounded(
                self._parts.store.load_delivery(room_id, entry.event.id, channel_id),
                self._parts.limits.foreign,
            )
            stale = _stale(entry, view)
            if stale is not None or view.binding is None or view.event is None:
                self._skip(entry, stale)
                return
            binding = view.binding
            if view.event.content is not adapted.event.content:
                adapted = Adapted(view.event, adapted.source_binding)
        if entry.wants(DeliveryKind.REACT, channel.reacts) and not await self._react(
            entry, channel, binding, adapted
        ):
            return
        if entry.wants(DeliveryKind.DELIVER, binding.category == ChannelCategory.TRANSPORT):
            await self._send(entry, channel, adapted, binding)
            if DeliveryKind.DELIVER in entry.pending():
                return  # put off: the record waits, and is not to be ended
        self._end_rest(entry)

    def _skip(self, entry: Entry, reason: str | None) -> None:
        """End everything that was to be done, since nothing of it may be done any more."""
        self._end(entry, entry.first(), Outcome(SKIPPED, reason))
        self._end_rest(entry)

    def _end_rest(self, entry: Entry) -> None:
        """End the records of what a channel does not do after all."""
        for kind in entry.pending():
            entry.ended.add(kind)
            self._recorder.end_quietly(entry, kind)

    async def _send(
        self, entry: Entry, channel: Channel, adapted: Adapted, binding: ChannelBinding
    ) -> None:
        """Deliver to a channel that is delivered to."""
        if binding.category == ChannelCategory.TRANSPORT:
            kind = DeliveryKind.DELIVER
            key = delivery_id(entry.event.id, entry.key[1], kind)
            tried = None if entry.kinds is None else entry.tried.get(kind, 0)
            outcome = await self._parts.sender.deliver(
                channel, adapted, binding, entry.context, key, tried
            )
            self._end(entry, kind, outcome)

    async def _react(
        self, entry: Entry, channel: Channel, binding: ChannelBinding, adapted: Adapted
    ) -> bool:
        """Let the channel react; return whether its delivery may follow."""
        kind = DeliveryKind.REACT
        if self._superseded(entry, channel):
            self._end(entry, kind, Outcome(SKIPPED, Reason.SUPERSEDED))
            return True
        event = await adapted.for_target(self._parts.sender.transcoder, binding)
        if event is None:
            self._end(entry, kind, Outcome(FAILED, Reason.TRANSCODING_FAILED))
            self._end_rest(entry)
            return False
        context = await history_for(self._parts.store, entry.context, event, binding)
        key = delivery_id(entry.event.id, entry.key[1], kind)
        tried = None if entry.kinds is None else entry.tried.get(kind, 0)
        outcome = await self._parts.sender.react(channel, event, binding, context, key, tried)
        if outcome.status == SENT and not entry.direct:
            try:
                await self._respond(entry, binding, outcome.output)
            except ClaimLost:
                raise
            except Exception as exc:  # noqa: BLE001 - a late answer must not stop the lane
                outcome = self._unanswered(entry, exc, tried)
        if outcome.status != SENT:
            self._end(entry, kind, outcome)
            if outcome.status != RETRY:
                self._end_rest(entry)
            return False
        if kind in entry.pending():
            # It had nothing to say: an answer would have ended the record in its commit.
            entry.ended.add(kind)
            self._note(entry, kind, outcome)
        return True

    def _unanswered(self, entry: Entry, error: Exception, tried: int | None) -> Outcome:
        """Return the outcome of a reaction whose answer could not be stored."""
        attempts = 1 + (tried or 0)
        outcome = Outcome(FAILED, str(error), attempts=attempts, exception=error)
        if tried is not None and isinstance(error, (StoreError, TimeoutError)):
            # The room or the store was busy: the same answer may be stored later.
            policy = entry.binding.retry_policy or RetryPolicy()
            if attempts <= policy.max_retries:
                outcome.status, outcome.error = RETRY, type(error).__name__
                outcome.retry_in = retry_delay(policy, None, attempts - 1)
        return outcome

    def _superseded(self, entry: Entry, channel: Channel) -> bool:
        """Return whether a channel that only answers the latest has a later one waiting."""
        if getattr(channel, "backlog", "each") != "latest" or self._lanes is None:
            return False
        return any(
            other is not entry and not other.direct for other in self._lanes.queued(entry.key)
        )

    def _end(self, entry: Entry, kind: DeliveryKind, outcome: Outcome) -> None:
        """Write down how it ended, and tell about a failure."""
        node, channel_id = entry.node, entry.key[1]
        if outcome.status == RETRY:
            self._put_off(entry, kind, outcome)
            return
        entry.ended.add(kind)
        self._parts.counters[_COUNTED[outcome.status]] += 1
        if entry.kinds is not None and outcome.status == FAILED:
            self._parts.counters["dead"] += 1
        if not entry.direct:
            if outcome.status == SENT:
                node.sent.append(channel_id)
            elif outcome.status == FAILED:
                node.failed[channel_id] = str(outcome.error)
                if entry.kinds is not None:
                    node.dead[channel_id] = (str(kind), outcome.attempts)
            else:
                node.skipped[channel_id] = str(outcome.error)
        self._note(entry, kind, outcome)
        if outcome.status == FAILED:
            self._aside(
                entry,
                self._parts.errors.report(
                    f"channel {channel_id}",
                    outcome.exception or str(outcome.error),
                    room_id=entry.key[0],
                    channel_id=channel_id,
                    event_id=entry.event.id,
                ),
            )

    def _note(self, entry: Entry, kind: DeliveryKind, outcome: Outcome) -> None:
        self._recorder.note(entry, kind, outcome)
        if self._lanes is not None and not self._lanes.starting:
            self._recorder.arm()

    def _put_off(self, entry: Entry, kind: DeliveryKind, outcome: Outcome) -> None:
        """Give the lane back until the next attempt is due."""
        room_id, channel_id = entry.key
        wait = outcome.retry_in or 0.0
        logger.info(
            "delivery to %s is put off (%s); it is due again in %.1f s",
            channel_id,
            type(outcome.exception).__name__ if outcome.exception else outcome.error,
            wait,
            extra=ids(
                room_id=room_id,
                channel_id=channel_id,
                event_id=entry.event.id,
                attempt=outcome.attempts,
            ),
        )
        self._note(entry, kind, outcome)
        if self._lanes is not None:
            self._lanes.leave(entry.key)
        self.put_off(wait)
        told = {"kind": str(kind), "attempts": outcome.attempts, "error": str(outcome.error)}
        if self._parts.bus.heard(FrameworkEventType.DELIVERY_SCHEDULED):
            self._aside(
                entry,
                self._parts.bus.emit(
                    FrameworkEventType.DELIVERY_SCHEDULED,
                    room_id=room_id,
                    channel_id=channel_id,
                    event_id=entry.event.id,
                    data={**told, "retry_in": wait},
                ),
            )

    def _aside(self, entry: Entry, coro: Coroutine[Any, Any, None]) -> None:
        """Run something for foreign eyes without holding the lane up."""
        scope = Scope(entry.node.root, entry.event.chain_depth)
        self._parts.tasks.start(_scoped(scope, coro), name="roomkit-error-report")


def _nothing(_seconds: float) -> None:
    """Do nothing."""


async def _scoped(scope: Scope, coro: Coroutine[Any, Any, None]) -> None:
    scope.owner = asyncio.current_task()
    enter_scope(scope)
    await coro


def _stale(entry: Entry, view: DeliveryView) -> str | None:
    """Return why a delivery planned earlier must not be made any more."""
    event: RoomEvent | None = view.event
    if event is None:
        return Reason.EVENT_MISSING
    if event.metadata.get("deleted") is True:
        return Reason.EVENT_DELETED
    binding = view.binding
    if binding is None:
        return Reason.DETACHED
    if entry.direct:
        return None
    if not binding.can_receive:
        return Reason.NO_ACCESS
    if not visible_to(event.visibility, binding):
        return Reason.NOT_VISIBLE
    return None
