"""Deliver: one entry of a lane, at its turn, as the room stands then."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded
from roomkit._logging import ids
from roomkit.core._delivery import FAILED, SENT, SKIPPED, Adapted, Outcome
from roomkit.core.pipeline.history import history_for
from roomkit.core.pipeline.record import delivery_id
from roomkit.core.services.scope import Scope, enter_scope
from roomkit.core.visibility import visible_to
from roomkit.models.enums import ChannelCategory
from roomkit.models.reasons import Reason
from roomkit.store.commit import DeliveryKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from roomkit.channels.base import Channel
    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.lanes import Entry, Lanes
    from roomkit.core.pipeline.record import Recorder
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.event import RoomEvent
    from roomkit.store.commit import DeliveryView

logger = logging.getLogger("roomkit.delivery")


class Deliverer:
    """Works off lane entries.

    Args:
        parts: The engine's collaborators.
        recorder: Writes down how each ended.
        respond: Brings a channel's answer into the room.
    """

    def __init__(
        self,
        parts: Parts,
        recorder: Recorder,
        respond: Callable[[Entry, ChannelBinding, ChannelOutput], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._recorder = recorder
        self._respond = respond
        self._lanes: Lanes | None = None

    def bind(self, lanes: Lanes) -> None:
        """Remember the lanes whose entries come here."""
        self._lanes = lanes

    async def work(self, entry: Entry) -> None:
        """Bring one event to one channel; how it went is recorded, never raised."""
        # The lane's task has a context of its own: nothing to restore afterwards.
        scope = Scope(entry.node.root, entry.event.chain_depth, owner=asyncio.current_task())
        enter_scope(scope)
        room_id, channel_id = entry.key
        try:
            channel = self._parts.registry.channels.get(channel_id)
            if (
                channel is None
                or channel.reacts
                or entry.version is None
                or entry.version != self._parts.store.peek_version(room_id)
            ):
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

    async def _work(self, entry: Entry) -> None:
        room_id, channel_id = entry.key
        channel = self._parts.registry.channels.get(channel_id)
        if channel is None:
            logger.warning(
                "channel %s is attached but not registered; skipped",
                channel_id,
                extra=ids(room_id=room_id, channel_id=channel_id, event_id=entry.event.id),
            )
            self._end(entry, DeliveryKind.DELIVER, Outcome(SKIPPED, Reason.NOT_REGISTERED))
            return
        binding, adapted = entry.binding, entry.adapted
        if entry.version is None or entry.version != self._parts.store.peek_version(room_id):
            view = await bounded(
                self._parts.store.load_delivery(room_id, entry.event.id, channel_id),
                self._parts.limits.foreign,
            )
            stale = _stale(entry, view)
            if stale is not None or view.binding is None or view.event is None:
                self._end(entry, DeliveryKind.DELIVER, Outcome(SKIPPED, stale))
                return
            binding = view.binding
            if view.event.content is not adapted.event.content:
                adapted = Adapted(view.event, adapted.source_binding)
        if channel.reacts and not await self._react(entry, channel, binding, adapted):
            return
        await self._send(entry, channel, adapted, binding)

    async def _send(
        self, entry: Entry, channel: Channel, adapted: Adapted, binding: ChannelBinding
    ) -> None:
        """Deliver to a channel that is delivered to."""
        if binding.category == ChannelCategory.TRANSPORT:
            key = delivery_id(entry.event.id, entry.key[1], DeliveryKind.DELIVER)
            outcome = await self._parts.sender.deliver(
                channel, adapted, binding, entry.context, key
            )
            self._end(entry, DeliveryKind.DELIVER, outcome)

    async def _react(
        self, entry: Entry, channel: Channel, binding: ChannelBinding, adapted: Adapted
    ) -> bool:
        """Let the channel react; return whether its delivery may follow."""
        if self._superseded(entry, channel):
            self._end(entry, DeliveryKind.REACT, Outcome(SKIPPED, Reason.SUPERSEDED))
            return True
        event = await adapted.for_target(self._parts.sender.transcoder, binding)
        if event is None:
            self._end(entry, DeliveryKind.REACT, Outcome(FAILED, Reason.TRANSCODING_FAILED))
            return False
        context = await history_for(self._parts.store, entry.context, event, binding)
        key = delivery_id(entry.event.id, entry.key[1], DeliveryKind.REACT)
        outcome = await self._parts.sender.react(channel, event, binding, context, key)
        if outcome.status == SENT and not entry.direct:
            try:
                await self._respond(entry, binding, outcome.output)
            except Exception as exc:  # noqa: BLE001 - a late answer must not stop the lane
                outcome = Outcome(FAILED, str(exc), attempts=1, exception=exc)
        if outcome.status != SENT:
            self._end(entry, DeliveryKind.REACT, outcome)
            return False
        return True

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
        if not entry.direct:
            if outcome.status == SENT:
                node.sent.append(channel_id)
            elif outcome.status == FAILED:
                node.failed[channel_id] = str(outcome.error)
            else:
                node.skipped[channel_id] = str(outcome.error)
        self._recorder.note(entry, kind, outcome)
        if self._lanes is not None and not self._lanes.starting:
            self._recorder.arm()
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

    def _aside(self, entry: Entry, coro: Coroutine[Any, Any, None]) -> None:
        """Run something for foreign eyes without holding the lane up."""
        scope = Scope(entry.node.root, entry.event.chain_depth)
        self._parts.tasks.start(_scoped(scope, coro), name="roomkit-error-report")


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
