"""Tells about changes of rooms and channels: lifecycle hooks, then the framework event.

The timeline's system event is part of the change's own commit; what happens here is for
observers and runs outside the room lock, at most once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._logging import ids
from roomkit.core.services.guard import active_hold
from roomkit.core.services.store_calls import answered
from roomkit.models.context import RoomContext

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit.core.hooks import HookEngine, HookFailure
    from roomkit.core.services.errors import ErrorReporter
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.models.enums import HookTrigger
    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore

logger: logging.Logger = logging.getLogger("roomkit.framework")


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change to tell about.

    Attributes:
        event: What the hooks get.
        trigger: Whom to tell; None for nobody.
        framework: The framework event's type; None for none.
        channel_id: Set on the framework event.
        data: The framework event's data.
    """

    event: RoomEvent
    trigger: HookTrigger | None = None
    framework: str | None = None
    channel_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Announcer:
    """Runs lifecycle hooks and emits the framework event that belongs to them."""

    def __init__(
        self,
        hooks: HookEngine,
        bus: FrameworkBus,
        errors: ErrorReporter,
        store: ConversationStore,
        tasks: TaskSet,
    ) -> None:
        self._hooks = hooks
        self._bus = bus
        self._errors = errors
        self._store = store
        self._tasks = tasks

    def heard(self, room_id: str, trigger: HookTrigger | None, framework: str | None) -> bool:
        """Return whether anybody would hear of a change; if not, nothing need be built."""
        return (trigger is not None and self._hooks.observed(room_id, trigger)) or (
            framework is not None and self._bus.heard(framework)
        )

    async def announce(self, news: Announcement) -> None:
        """Tell about a change; returns when all hooks and handlers have ended.

        Called from inside a gate, they run once the room's lock is free.
        """
        hooked = news.trigger is not None and self._hooks.observed(
            news.event.room_id, news.trigger
        )
        if not hooked and (news.framework is None or not self._bus.heard(news.framework)):
            return
        hold = active_hold()
        if hold is not None:
            hold.defer(lambda: self._tasks.start(self._tell(news, hooked)))
        else:
            await self._tell(news, hooked)

    async def _tell(self, news: Announcement, hooked: bool) -> None:
        event = news.event
        if hooked and news.trigger is not None:
            await self.observe(news.trigger, event)
        if news.framework is not None:
            await self._bus.emit(
                news.framework,
                room_id=event.room_id,
                channel_id=news.channel_id,
                data=news.data,
            )

    async def observe(
        self, trigger: HookTrigger, event: RoomEvent, context: RoomContext | None = None
    ) -> None:
        """Run the observers of a trigger for an event, with a fresh context unless given."""
        if not self._hooks.observed(event.room_id, trigger):
            return
        context = context or await self._context(event.room_id)
        if context is None:
            return
        failures = await self._hooks.run_observers(event.room_id, trigger, event, context)
        await self.report_failures(failures, event)

    async def report_failures(self, failures: list[HookFailure], event: RoomEvent) -> None:
        """Tell ON_ERROR about observers that failed; they were logged when they did."""
        for failure in failures:
            await self._errors.report(
                f"hook {failure.hook}",
                failure.error,
                room_id=event.room_id,
                event_id=event.id,
                kind=failure.kind,
                logged=True,
            )

    async def _context(self, room_id: str) -> RoomContext | None:
        try:
            return await answered(self._store.load_context(room_id))
        except Exception:  # noqa: BLE001 - hooks get what can be had
            logger.warning("no full context for hooks", extra=ids(room_id=room_id))
        room = await answered(self._store.get_room(room_id))
        return None if room is None else RoomContext.of(room, [], [], [])
