"""What vendors report later about messages we sent."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded
from roomkit._logging import ids
from roomkit._sanitize import clean_json
from roomkit.core.services.store_calls import answered
from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import EventType, HookTrigger
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.core.services.announcer import Announcer
    from roomkit.core.services.errors import ErrorReporter
    from roomkit.core.services.guard import RoomGuard
    from roomkit.core.services.timeline import Timeline
    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore

logger: logging.Logger = logging.getLogger("roomkit.delivery")

DeliveryStatusHandler = Callable[[DeliveryStatus], Any]
"""``(status) -> None``, plain or async."""

HANDLER_TIMEOUT = 30.0
EARLY_SECONDS = 600.0
EARLY_LIMIT = 10_000
EARLY_LOOKS = 100

_RANKS = {"queued": 0, "accepted": 0, "sending": 0, "sent": 1, "delivered": 2, "read": 3}
_FINAL = frozenset({"failed", "undelivered", "rejected", "expired"})


class Receipts:
    """Matches delivery statuses with events, and tells handlers.

    A status that comes before its delivery is recorded is kept for ten minutes (a bounded
    number of them) and applied when a later one finds the event. A lower status never
    replaces a higher one; a failure is final.
    """

    def __init__(
        self,
        store: ConversationStore,
        announcer: Announcer,
        errors: ErrorReporter,
        timeline: Timeline,
        clock: Clock,
        guard: RoomGuard,
    ) -> None:
        self._store = store
        self._guard = guard
        self._announcer = announcer
        self._errors = errors
        self._timeline = timeline
        self._clock = clock
        self._handlers: list[DeliveryStatusHandler] = []
        self._early: OrderedDict[str, tuple[float, DeliveryStatus]] = OrderedDict()
        self._looked = 0

    def add_handler(self, handler: DeliveryStatusHandler) -> None:
        """Call ``handler`` for every status, after those added before it."""
        self._handlers.append(handler)

    async def process(self, status: DeliveryStatus) -> None:
        """Record a status on its event and tell handlers and ON_DELIVERY_STATUS hooks."""
        found = await answered(self._store.find_event_by_provider_message_id(status.message_id))
        if found is None:
            self._keep(status)
        else:
            await self._record(*found, status)
        for handler in self._handlers:
            await self._call(handler, status)
        await self._observe(found[0].room_id if found is not None else "", found, status)

    async def apply_early(self, provider_message_id: str) -> None:
        """Apply a status that came before the delivery it is about was recorded."""
        if provider_message_id not in self._early:
            return
        found = await answered(self._store.find_event_by_provider_message_id(provider_message_id))
        kept = None if found is None else self._early.pop(provider_message_id, None)
        if found is not None and kept is not None:
            await self._record(*found, kept[1])

    async def look_again(self) -> bool:
        """Apply statuses that came before another process had recorded their delivery.

        Returns:
            False: there is nothing more to do at once.
        """
        if self._looked >= len(self._early):
            self._looked = 0
        waiting = list(self._early)[self._looked : self._looked + EARLY_LOOKS]
        self._looked += len(waiting)
        for message_id in waiting:
            await self.apply_early(message_id)
        return False

    @property
    def has_early(self) -> bool:
        """Whether any status waits for its delivery."""
        return bool(self._early)

    def _keep(self, status: DeliveryStatus) -> None:
        now = self._clock.monotonic()
        while self._early:
            oldest, (since, _) = next(iter(self._early.items()))
            if now - since < EARLY_SECONDS and len(self._early) < EARLY_LIMIT:
                break
            del self._early[oldest]
        known = self._early.get(status.message_id)
        if known is None or _outranks(status.status, known[1].status):
            self._early[status.message_id] = (now, status)

    async def _record(self, event: RoomEvent, channel_id: str, status: DeliveryStatus) -> None:
        """Let a status follow the ones before it, one at a time."""
        async with self._guard.hold(event.room_id):
            now = await answered(self._store.get_event(event.id))
            before = {} if now is None else now.delivery_results.get(channel_id) or {}
            if now is None or not _outranks(status.status, str(before.get("status", ""))):
                return
            after = {**before, "status": status.status}
            if status.error_code is not None:
                after["error"] = status.error_code
            # This channel's result only: others may be written at this moment.
            kind = DeliveryKind.DELIVER
            finish = DeliveryFinish(
                f"{event.id}.{channel_id}.{kind}",
                event.id,
                channel_id,
                kind,
                RecordStatus.DONE,
                after,
            )
            await answered(self._store.finish_deliveries([finish]))

    async def _call(self, handler: DeliveryStatusHandler, status: DeliveryStatus) -> None:
        try:
            answer = handler(status)
            if inspect.isawaitable(answer):
                await bounded(_await(answer), HANDLER_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
            name = getattr(handler, "__name__", type(handler).__name__)
            logger.error("delivery status handler %s failed: %s", name, type(exc).__name__)
            await self._errors.report(f"delivery status handler {name}", exc, logged=True)

    async def _observe(
        self, room_id: str, found: tuple[RoomEvent, str] | None, status: DeliveryStatus
    ) -> None:
        if not room_id or found is None:
            logger.debug("a delivery status belongs to no known event", extra=ids())
            return
        data = clean_json(status.model_dump(exclude={"raw"}))
        event = self._timeline.system_event(
            room_id,
            EventType.DELIVERY_RECEIPT,
            f"a delivery is {status.status}",
            "delivery_status",
            {**data, "event_id": found[0].id, "channel_id": found[1]},
        )
        await self._announcer.observe(HookTrigger.ON_DELIVERY_STATUS, event)


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _outranks(new: str, old: str) -> bool:
    """Return whether a status replaces another: sent < delivered < read, a failure is final."""
    if old in _FINAL:
        return False
    if new in _FINAL:
        return old != "read"
    if new not in _RANKS:
        return old not in _RANKS
    return _RANKS[new] > _RANKS.get(old, -1)
