"""Writes down how deliveries ended, many at once.

What ends while nothing waits is written with its event's report; the rest a few milliseconds
later, so that a slow target does not hide what became of the fast ones.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit._logging import log_failure
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus

if TYPE_CHECKING:
    from typing import Any

    from roomkit._aio import TaskSet
    from roomkit.core._delivery import Outcome
    from roomkit.core.pipeline.lanes import Entry
    from roomkit.core.pipeline.settlement import Node
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
    """Collects finished deliveries and writes them to the store.

    An ``immediate`` store gets them event by event, as plain results and without waiting; it
    has no records that could end.
    """

    def __init__(
        self, store: ConversationStore, tasks: TaskSet, timeout: float, receipts: Receipts
    ) -> None:
        self._store = store
        self._receipts = receipts
        self._tasks = tasks
        self._timeout = timeout
        self._waiting: list[DeliveryFinish] = []
        self._fresh: dict[Node, dict[str, dict[str, Any]]] = {}
        self._written: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._fresh) + len(self._written)

    def note(self, entry: Entry, kind: DeliveryKind, outcome: Outcome) -> None:
        """Remember how a delivery ended."""
        channel_id = entry.key[1]
        record = outcome.record()
        if not entry.direct:
            node = entry.node
            node.results[channel_id] = record
            if self._store.immediate:
                fresh = self._fresh.get(node)
                if fresh is None:
                    fresh = self._fresh[node] = {}
                fresh[channel_id] = record
                return
        event_id = entry.event.id
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
        if self._timer is None and (self._waiting or self._fresh):
            delay = 0.0 if len(self) >= FLUSH_SIZE else FLUSH_AFTER
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._tasks.start(self.flush(), name="roomkit-record")

    def flush_now(self) -> bool:
        """Write what can be written without waiting; return whether nothing is left to do."""
        if self._fresh:
            early = self._receipts.has_early
            fresh, self._fresh = self._fresh, {}
            for node, results in fresh.items():
                self._write(node, results)
                if early:
                    self._written += results.values()
        if self._waiting or self._written:
            return False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return True

    async def flush(self) -> None:
        """Write what was noted so far; a failing store gets it again with the next."""
        if self.flush_now():
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        written, self._written = self._written, []
        try:
            if batch:
                await bounded(self._store.finish_deliveries(batch), self._timeout)
            if self._receipts.has_early:
                written += [dict(finish.result) for finish in batch if finish.result]
                await self._apply_early(written)
        except BaseException as exc:
            self._waiting = (batch + self._waiting)[-KEPT:]
            if not isinstance(exc, Exception):
                raise
            log_failure(logger, exc, "%d delivery results could not be written yet", len(batch))

    async def _apply_early(self, written: list[dict[str, Any]]) -> None:
        """Apply statuses that vendors reported before their delivery was written."""
        for result in written:
            message_id = result.get("provider_message_id")
            if message_id is not None:
                await self._receipts.apply_early(message_id)

    def _write(self, node: Node, results: dict[str, dict[str, Any]]) -> None:
        before, after = self._store.keep_results(node.event.id, results)
        if before is node.event or before is node.final:
            node.final = after
