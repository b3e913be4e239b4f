"""Tells about foreign code that failed and was contained: one log line, ON_ERROR."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING

from roomkit._logging import brief, ids
from roomkit.core.services.guard import active_hold
from roomkit.core.services.store_calls import answered
from roomkit.models.context import RoomContext
from roomkit.models.enums import EventType, HookTrigger
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.core.hooks import HookEngine
    from roomkit.store.base import ConversationStore

logger: logging.Logger = logging.getLogger("roomkit.framework")

_reporting: ContextVar[bool] = ContextVar("roomkit_reporting", default=False)

_SOURCE = EventSource.of_framework("system")


class ErrorReporter:
    """Reports contained failures.

    Args:
        hooks: Runs ON_ERROR.
        store: Gives the hooks their context.
        clock: Stamps the report.
        tasks: Owns reports that must wait until a room lock is free.
    """

    def __init__(
        self, hooks: HookEngine, store: ConversationStore, clock: Clock, tasks: TaskSet
    ) -> None:
        self._hooks = hooks
        self._store = store
        self._clock = clock
        self._tasks = tasks

    async def report(
        self,
        where: str,
        error: BaseException | str,
        *,
        room_id: str = "",
        channel_id: str | None = None,
        event_id: str | None = None,
        kind: str | None = None,
        logged: bool = False,
    ) -> None:
        """Log a failure (unless it was ``logged``) and tell the ON_ERROR hooks.

        The hooks get an unstored event whose ``content.data`` holds ``where``, ``error``,
        ``error_type``, ``channel_id`` and ``event_id``. Called from inside a gate, they run
        once the room's lock is free.
        """
        if kind is None:
            kind = type(error).__name__ if isinstance(error, BaseException) else "error"
        if not logged:
            extra = ids(room_id=room_id or None, channel_id=channel_id, event_id=event_id)
            logger.error("%s failed: %s", where, kind, extra=extra)
            if isinstance(error, BaseException):
                logger.debug("%s failed", where, exc_info=error, extra=extra)
        if _reporting.get() or not self._hooks.observed(room_id, HookTrigger.ON_ERROR):
            # A hook that fails while it is told of a failure would go on for ever.
            return
        text = brief(error) if isinstance(error, BaseException) else error
        data = {
            "where": where,
            "error": text,
            "error_type": kind,
            "channel_id": channel_id,
            "event_id": event_id,
        }
        event = RoomEvent.notice(
            room_id, EventType.SYSTEM, _SOURCE, f"{where} failed", "error", data, self._clock.now()
        )
        hold = active_hold()
        if hold is not None:
            hold.defer(lambda: self._tasks.start(self._tell(event)))
        else:
            await self._tell(event)

    async def _tell(self, event: RoomEvent) -> None:
        token = _reporting.set(True)
        try:
            await self._run_hooks(event)
        finally:
            _reporting.reset(token)

    async def _run_hooks(self, event: RoomEvent) -> None:
        context = None
        if event.room_id:
            try:
                context = await answered(self._store.load_context(event.room_id))
            except Exception:
                logger.debug("no context for an error report", exc_info=True)
        await self._hooks.run_observers(
            event.room_id,
            HookTrigger.ON_ERROR,
            event,
            context or RoomContext.of(Room(id=event.room_id), [], [], []),
        )
