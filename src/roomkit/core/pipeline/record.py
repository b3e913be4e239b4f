"""Writes down how deliveries ended, many at once.

What ends while nothing waits is written with its event's report; the rest a few milliseconds
later, so that a slow target does not hide what became of the fast ones.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus

if TYPE_CHECKING:
    from roomkit._aio import TaskSet
    from roomkit.core._delivery import Outcome
    from roomkit.core.pipeline.lanes import Entry
    from roomkit.core.services.receipts import Receipts
    from roomkit.store.base import ConversationStore

logger = logging.getLogger("roomkit.pipeline")

FLUSH_AFTER = 0.005
"""Seconds the end of a delivery may wait for others to be written with it."""

FLUSH_SIZE = 200
"""So many are written at once, without waiting."""

KEPT = 10_000
"""So many are kept for another try when the store fails; then the oldest are given up."""

_STATUS = {
    "sent": RecordStatus.DONE,
    "failed": RecordStatus.DEAD,
    "skipped": RecordStatus.SKIPPED,
}


def delivery_id(event_id: str, channel_id: str, kind: DeliveryKind) -> str:
    """Return the id of a delivery: the same for every attempt, also after a crash."""
    return f"{event_id}.{channel_id}.{kind}"


class Recorder:
    """Collects finished deliveries and writes them to the store."""

    def __init__(
        self, store: ConversationStore, tasks: TaskSet, timeout: float, receipts: Receipts
    ) -> None:
        self._store = store
        self._receipts = receipts
        self._tasks = tasks
        self._timeout = timeout
        self._waiting: list[DeliveryFinish] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, entry: Entry, kind: DeliveryKind, outcome: Outcome) -> None:
        """Remember how a delivery ended."""
        event_id, channel_id = entry.event.id, entry.key[1]
        record = outcome.record()
        if not entry.direct:
            entry.node.results[channel_id] = record
        self._waiting.append(
            DeliveryFinish(
                delivery_id(event_id, channel_id, kind),
                event_id,
                channel_id,
                kind,
                _STATUS[outcome.status],
                record,
            )
        )

    def arm(self) -> None:
        """See to it that what was noted is written soon."""
        if self._timer is None and self._waiting:
            delay = 0.0 if len(self._waiting) >= FLUSH_SIZE else FLUSH_AFTER
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._tasks.start(self.flush(), name="roomkit-record")

    async def flush(self) -> None:
        """Write what was noted so far; a failing store gets it again with the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        try:
            await bounded(self._store.finish_deliveries(batch), self._timeout)
            if self._receipts.has_early:
                await self._apply_early(batch)
        except Exception:
            logger.exception("%d delivery results could not be written yet", len(batch))
            self._waiting = (batch + self._waiting)[-KEPT:]

    async def _apply_early(self, batch: list[DeliveryFinish]) -> None:
        """Apply statuses that vendors reported before their delivery was written."""
        for finish in batch:
            message_id = (finish.result or {}).get("provider_message_id")
            if message_id is not None:
                await self._receipts.apply_early(message_id)
