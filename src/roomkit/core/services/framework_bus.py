"""Tells handlers registered with ``kit.on`` what the framework does."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded, cancelled_from_within
from roomkit._logging import ids
from roomkit.core.services.guard import active_hold
from roomkit.models.framework_event import FrameworkEvent, FrameworkEventType

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit._clock import Clock

logger: logging.Logger = logging.getLogger("roomkit.framework")

FrameworkEventHandler = Callable[[FrameworkEvent], Awaitable[None]]
"""``async (event) -> None``; a plain function works too."""

HANDLER_TIMEOUT = 30.0
"""Seconds a handler may take."""


class FrameworkBus:
    """Framework events and their handlers.

    Args:
        clock: Stamps the events.
        tasks: Owns handlers that must wait until a room lock is free.
    """

    def __init__(self, clock: Clock, tasks: TaskSet) -> None:
        self._clock = clock
        self._tasks = tasks
        self._handlers: dict[str, list[FrameworkEventHandler]] = {}

    def subscribe(self, event_type: str, handler: FrameworkEventHandler) -> None:
        """Call ``handler`` for every event of this type, after those registered before it."""
        if event_type not in set(FrameworkEventType):
            logger.warning("no framework event is called %r; its handler never runs", event_type)
        self._handlers.setdefault(str(event_type), []).append(handler)

    def heard(self, event_type: str) -> bool:
        """Return whether anybody listens for this type."""
        return event_type in self._handlers

    async def emit(
        self,
        event_type: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Tell the handlers, one after the other; returns when all have ended.

        Their errors are logged and go no further. Called from inside a gate, the handlers run
        once the room's lock is free.
        """
        if event_type not in self._handlers:
            return
        event = FrameworkEvent(
            type=str(event_type),
            room_id=room_id,
            channel_id=channel_id,
            event_id=event_id,
            timestamp=self._clock.now(),
            data=data or {},
        )
        hold = active_hold()
        if hold is not None:
            hold.defer(lambda: self._tasks.start(self._tell(event)))
        else:
            await self._tell(event)

    async def _tell(self, event: FrameworkEvent) -> None:
        for handler in tuple(self._handlers.get(event.type, ())):
            try:
                answer: Any = handler(event)
                if inspect.iscoroutine(answer):
                    await bounded(answer, HANDLER_TIMEOUT)
                elif inspect.isawaitable(answer):
                    async with asyncio.timeout(HANDLER_TIMEOUT):
                        await answer
            except asyncio.CancelledError:
                if not cancelled_from_within():
                    raise
                self._log(event, handler, asyncio.CancelledError())
            except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
                self._log(event, handler, exc)

    @staticmethod
    def _log(event: FrameworkEvent, handler: Any, error: BaseException) -> None:
        name = getattr(handler, "__name__", type(handler).__name__)
        extra = ids(room_id=event.room_id, channel_id=event.channel_id, event_id=event.event_id)
        logger.error(
            "framework event %s: handler failed: %s: %s",
            event.type,
            name,
            type(error).__name__,
            extra=extra,
        )
        logger.debug("handler %s failed", name, exc_info=error, extra=extra)
