"""Report: once an event and its answers are delivered, tell everybody who watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.core.services.scope import Scope, enter_scope
from roomkit.models.enums import ChannelType, EventStatus, EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.framework_event import FrameworkEventType as Told

if TYPE_CHECKING:
    from typing import Any

    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.record import Recorder
    from roomkit.core.pipeline.settlement import Node
    from roomkit.models.task import Observation, Task

_KEYWORDS = ("stop", "start", "help")
_PHONES = (ChannelType.SMS, ChannelType.MMS, ChannelType.RCS)


class Reporter:
    """Tells observers and framework-event handlers what became of an event.

    It runs in a task of the kit, after the answers' own reports.
    """

    def __init__(self, parts: Parts, recorder: Recorder, *, recorded: bool = False) -> None:
        self._parts = parts
        self._recorder = recorder
        self._recorded = recorded

    def settled(self, node: Node) -> None:
        """Called by a node when its deliveries and answers are done."""
        if self._recorded:
            # Records are written soon, many at once; nobody waits for it.
            self._recorder.arm()
            if self._watched(node):
                self._parts.tasks.start(self._report(node), name="roomkit-report")
            else:
                node.finish()
        elif self._recorder.flush_now() and not self._watched(node):
            node.finish()
        else:
            self._parts.tasks.start(self._report(node), name="roomkit-report")

    def _watched(self, node: Node) -> bool:
        """Return whether anybody would hear of this event."""
        if node.failed or node.skipped or node.stopped or node.failures:
            return True
        if node.recovered:
            return bool(node.sent) and self._parts.bus.heard(Told.DELIVERY_SUCCEEDED)
        if node.tasks or node.observations:
            return True
        if (
            node.event.metadata
            and _keyword(node.event)
            and self._parts.bus.heard(Told.KEYWORD_RECEIVED)
        ):
            return True
        if node.blocked_reason is not None:
            return self._parts.bus.heard(Told.EVENT_BLOCKED)
        return self._parts.bus.heard(Told.EVENT_PROCESSED) or self._parts.hooks.observed(
            node.event.room_id, HookTrigger.AFTER_BROADCAST
        )

    async def _report(self, node: Node) -> None:
        # The task's context is clean: nothing to restore afterwards.
        scope = Scope(node.root, node.event.chain_depth, owner=asyncio.current_task())
        enter_scope(scope)
        try:
            if len(self._recorder) and not self._recorded:
                await self._recorder.flush()
            await self._tell_hook_errors(node)
            if node.from_outside:
                await self._tell_deliveries(node)
            await self._tell_dead(node)
            if node.recovered:
                return
            for event in node.stopped or ():
                await self._emit(
                    Told.CHAIN_DEPTH_EXCEEDED,
                    node,
                    event_id=event.id,
                    channel_id=event.source.channel_id,
                    data={
                        "chain_depth": event.chain_depth,
                        "max_chain_depth": self._parts.limits.max_chain_depth,
                    },
                )
            await self._tell_effects(node)
            if word := _keyword(node.event):
                await self._emit(
                    Told.KEYWORD_RECEIVED,
                    node,
                    channel_id=node.event.source.channel_id,
                    data={"keyword": word},
                )
            if node.blocked_reason is not None:
                data = {"reason": node.blocked_reason, "blocked_by": node.blocked_by}
                await self._emit(Told.EVENT_BLOCKED, node, data=data)
                return
            await self._parts.announcer.observe(
                HookTrigger.AFTER_BROADCAST, node.event, node.context
            )
            if node.from_outside:
                await self._emit(Told.EVENT_PROCESSED, node)
        finally:
            scope.owner = None
            node.finish()

    async def _tell_hook_errors(self, node: Node) -> None:
        for failure in node.failures:
            data = {"hook": failure.hook, "error": failure.error}
            await self._emit(Told.HOOK_ERROR, node, data=data)
        await self._parts.announcer.report_failures(node.failures, node.event)

    async def _tell_deliveries(self, node: Node) -> None:
        bus = self._parts.bus
        if node.failed and not node.recovered and bus.heard(Told.BROADCAST_PARTIAL_FAILURE):
            data: dict[str, Any] = {
                "failed": len(node.failed),
                "total": len(node.failed) + len(node.sent),
                "errors": dict(node.failed),
            }
            await self._emit(Told.BROADCAST_PARTIAL_FAILURE, node, data=data)
        if bus.heard(Told.DELIVERY_SUCCEEDED):
            for channel_id in node.sent:
                await self._emit(Told.DELIVERY_SUCCEEDED, node, channel_id=channel_id)
        for channel_id, error in node.failed.items():
            await self._emit(
                Told.DELIVERY_FAILED, node, channel_id=channel_id, data={"error": error}
            )
        for channel_id, reason in node.skipped.items():
            await self._emit(
                Told.DELIVERY_SKIPPED, node, channel_id=channel_id, data={"reason": reason}
            )

    async def _tell_dead(self, node: Node) -> None:
        for channel_id, (kind, attempts) in node.dead.items():
            error = node.failed.get(channel_id, "")
            data = {"kind": kind, "attempts": attempts, "error": error}
            await self._emit(Told.DELIVERY_DEAD, node, channel_id=channel_id, data=data)

    async def _tell_effects(self, node: Node) -> None:
        for task in node.tasks:
            await self._parts.announcer.observe(
                HookTrigger.ON_TASK_CREATED, _task_event(node.event, task)
            )
        for observation in node.observations:
            await self._parts.announcer.observe(
                HookTrigger.ON_OBSERVATION, _observation_event(node.event, observation)
            )

    async def _emit(
        self,
        event_type: Told,
        node: Node,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        await self._parts.bus.emit(
            event_type,
            room_id=node.event.room_id,
            channel_id=channel_id,
            event_id=event_id or node.event.id,
            data=data,
        )


def _keyword(event: RoomEvent) -> str | None:
    """Return what a phone's owner asked the sender by one word; None for an ordinary message."""
    word = event.metadata.get("keyword")
    if word in _KEYWORDS and event.source.channel_type in _PHONES:
        return str(word)
    return None


def _task_event(cause: RoomEvent, task: Task) -> RoomEvent:
    """Return the unstored event that tells ON_TASK_CREATED of a task."""
    return RoomEvent(
        room_id=cause.room_id,
        type=EventType.TASK_CREATED,
        source=cause.source,
        content=cause.content,
        status=EventStatus.DELIVERED,
        visibility="internal",
        metadata={"task_id": task.id, "task_title": task.title},
    )


def _observation_event(cause: RoomEvent, observation: Observation) -> RoomEvent:
    """Return the unstored event that tells ON_OBSERVATION of an observation."""
    return RoomEvent(
        room_id=cause.room_id,
        type=EventType.OBSERVATION,
        source=cause.source,
        content=cause.content,
        status=EventStatus.DELIVERED,
        visibility="internal",
        metadata={"observation_id": observation.id, "category": observation.category},
    )
