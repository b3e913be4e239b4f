"""Who an event goes to, and the fan-out to all of them at once.

``plan_targets`` is the pure decision; the engine's lanes carry it out. ``EventRouter`` does
the same standing alone, for a program that wants a broadcast without a kit.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._logging import ids
from roomkit.core._delivery import SENT, Adapted, Outcome, Sender
from roomkit.core.rate_limiter import TokenBucketRateLimiter
from roomkit.core.transcoder import DefaultContentTranscoder
from roomkit.core.visibility import stricter, visible_to
from roomkit.models.enums import Access, ChannelCategory, ChannelDirection, DeliveryMode
from roomkit.models.reasons import Reason
from roomkit.models.task import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.channels.base import Channel
    from roomkit.core.router import ContentTranscoder
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Task

logger: logging.Logger = logging.getLogger("roomkit.event_router")

_READ_WRITE = Access.READ_WRITE
_BOTH_WAYS = ChannelDirection.BIDIRECTIONAL

CHAIN_DEPTH_CATEGORY = "event_chain_depth_exceeded"
"""The category of the observation that tells of an answer stopped by the depth limit."""


def plan_targets(
    event: RoomEvent,
    source_binding: ChannelBinding,
    bindings: Sequence[ChannelBinding],
    *,
    parent_channel_id: str | None = None,
) -> list[ChannelBinding]:
    """Return the bindings an event goes to, in the order they were attached.

    Args:
        event: With its index and the visibility it has in the room.
        source_binding: The binding it came by; muted or without write access it reaches nobody.
        bindings: All of the room.
        parent_channel_id: The author of the event's parent, for DIRECT targets.
    """
    if not source_binding.can_send:
        return []
    visibility = event.visibility
    source_id = event.source.channel_id
    everybody = visibility == "all"
    targets = [
        binding
        for binding in bindings
        if binding.channel_id != source_id
        and (
            (binding.access is _READ_WRITE and binding.direction is _BOTH_WAYS)
            or binding.can_receive
        )
        and (everybody or visible_to(visibility, binding))
    ]
    for binding in targets:
        if binding.capabilities.delivery_mode is not DeliveryMode.BROADCAST:
            return _by_mode(event, targets, parent_channel_id)
    return targets


def _by_mode(
    event: RoomEvent, targets: list[ChannelBinding], parent_channel_id: str | None
) -> list[ChannelBinding]:
    """Keep the one ROUND_ROBIN target whose turn it is, and the DIRECT ones addressed."""
    ring = [
        binding
        for binding in targets
        if binding.capabilities.delivery_mode == DeliveryMode.ROUND_ROBIN
    ]
    chosen = ring[event.index % len(ring)] if ring else None
    named = event.metadata.get("target_channel_ids")
    addressed = set(named) if isinstance(named, (list, tuple)) else set()
    if parent_channel_id is not None:
        addressed.add(parent_channel_id)
    kept = []
    for binding in targets:
        mode = binding.capabilities.delivery_mode
        if (
            mode == DeliveryMode.BROADCAST
            or (mode == DeliveryMode.ROUND_ROBIN and binding is chosen)
            or (mode == DeliveryMode.DIRECT and binding.channel_id in addressed)
        ):
            kept.append(binding)
    return kept


def depth_observation(event: RoomEvent, cause: RoomEvent, limit: int) -> Observation:
    """Return the observation that an answer was stopped by the depth limit."""
    return Observation(
        id=f"obs_{event.id}",
        room_id=event.room_id,
        channel_id=event.source.channel_id,
        content=f"an answer at depth {event.chain_depth} was stopped (limit {limit})",
        category=CHAIN_DEPTH_CATEGORY,
        metadata={
            "chain_depth": event.chain_depth,
            "max_chain_depth": limit,
            "source_channel": cause.source.channel_id,
        },
    )


@dataclass
class BroadcastResult:
    """What a broadcast did, merged in binding order.

    Attributes:
        outputs: What each target's ``on_event`` gave, by channel id; empty where it did not react.
        delivery_outputs: What each ``deliver`` gave, by channel id.
        reentry_events: Answers that go the same way as any message now.
        tasks: What the targets left to be done.
        observations: What the targets noticed, and what the depth limit stopped.
        metadata_updates: What the targets want in the room's metadata.
        blocked_events: Answers stopped by the depth limit.
        errors: Why a target failed, by channel id.
    """

    outputs: dict[str, ChannelOutput] = field(default_factory=dict)
    delivery_outputs: dict[str, ChannelOutput] = field(default_factory=dict)
    reentry_events: list[RoomEvent] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    metadata_updates: dict[str, Any] = field(default_factory=dict)
    blocked_events: list[RoomEvent] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


class EventRouter:
    """Broadcasts an event to a room's channels, each on its own.

    Args:
        channels: The registered channels, by id; looked up at each broadcast.
        transcoder: Makes content fit; default: DefaultContentTranscoder.
        max_chain_depth: Answers of this depth are blocked.
        rate_limiter: Paces channels; default: one of its own.
        sender: Given instead of the two above by the engine.
    """

    def __init__(
        self,
        channels: dict[str, Channel],
        transcoder: ContentTranscoder | None = None,
        max_chain_depth: int = 5,
        rate_limiter: TokenBucketRateLimiter | None = None,
        *,
        sender: Sender | None = None,
    ) -> None:
        self._channels = channels
        self._max_chain_depth = max_chain_depth
        self._sender = sender or Sender(
            transcoder or DefaultContentTranscoder(), rate_limiter or TokenBucketRateLimiter()
        )

    async def broadcast(
        self, event: RoomEvent, source_binding: ChannelBinding, context: RoomContext
    ) -> BroadcastResult:
        """Deliver an event to every other channel of the room that may see it.

        All channels are served at once; one that fails is listed in ``errors`` and leaves the
        others alone. Nothing is stored.
        """
        visibility = stricter(event.visibility, source_binding.visibility, context.bindings)
        if visibility != event.visibility:
            event = event.visible_as(visibility)
        result = BroadcastResult()
        parent = None
        if event.parent_event_id is not None:
            for known in context.recent_events:
                if known.id == event.parent_event_id:
                    parent = known.source.channel_id
        targets = []
        for binding in plan_targets(
            event, source_binding, context.bindings, parent_channel_id=parent
        ):
            channel = self._channels.get(binding.channel_id)
            if channel is None:
                logger.warning(
                    "channel %s is attached but not registered; skipped",
                    binding.channel_id,
                    extra=ids(room_id=event.room_id, channel_id=binding.channel_id),
                )
            else:
                targets.append((channel, binding))
        adapted = Adapted(event, source_binding)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._serve(channel, adapted, binding, context))
                for channel, binding in targets
            ]
        for (_, binding), task in zip(targets, tasks, strict=True):
            self._merge(result, event, binding, *task.result())
        return result

    async def _serve(
        self,
        channel: Channel,
        adapted: Adapted,
        binding: ChannelBinding,
        context: RoomContext,
    ) -> tuple[Outcome | None, Outcome | None]:
        """Return how reacting and delivering went; None for what was not asked."""
        reacted = None
        event = await adapted.for_target(self._sender.transcoder, binding)
        if event is None:
            return None, Outcome("failed", Reason.TRANSCODING_FAILED)
        if channel.reacts:
            reacted = await self._sender.react(channel, event, binding, context, None)
            if reacted.status != SENT:
                return reacted, None
        if binding.category != ChannelCategory.TRANSPORT:
            return reacted, None
        return reacted, await self._sender.deliver(channel, adapted, binding, context, None)

    def _merge(
        self,
        result: BroadcastResult,
        event: RoomEvent,
        binding: ChannelBinding,
        reacted: Outcome | None,
        delivered: Outcome | None,
    ) -> None:
        channel_id = binding.channel_id
        for outcome in (reacted, delivered):
            if outcome is not None and outcome.error is not None:
                result.errors[channel_id] = outcome.error
        if delivered is not None and delivered.status == SENT:
            result.delivery_outputs[channel_id] = delivered.output
        if delivered is not None and delivered.error == Reason.TRANSCODING_FAILED:
            return  # nothing was asked of it
        if reacted is None and delivered is None:
            result.outputs[channel_id] = Outcome(SENT).output
            return
        output = reacted.output if reacted is not None else Outcome(SENT).output
        if reacted is None or reacted.status == SENT:
            result.outputs[channel_id] = output
        result.tasks.extend(output.tasks)
        result.observations.extend(output.observations)
        result.metadata_updates.update(output.metadata_updates)
        if output.responded and not binding.muted:
            self._sort_responses(result, event, output)

    def _sort_responses(
        self, result: BroadcastResult, event: RoomEvent, output: ChannelOutput
    ) -> None:
        for response in output.response_events:
            if response.chain_depth < self._max_chain_depth:
                result.reentry_events.append(response)
                continue
            result.blocked_events.append(response.blocked(Reason.CHAIN_DEPTH))
            result.observations.append(depth_observation(response, event, self._max_chain_depth))
