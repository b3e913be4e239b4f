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
from roomkit.core._delivery import SKIPPED, Outcome
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus, delivery_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roomkit._aio import TaskSet
    from roomkit.core.pipeline.lanes import Entry
    from roomkit.core.pipeline.settlement import Node
    from roomkit.core.services.receipts import Receipts
    from roomkit.store.base import ConversationStore
    from roomkit.store.durable import LaneKey

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

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
    "retrying": RecordStatus.PENDING,
}


def _put_off(batch: list[DeliveryFinish]) -> set[LaneKey]:
    """Return the lanes that finishes have given back."""
    return {
        (finish.room_id, finish.channel_id)
        for finish in batch
        if finish.status is RecordStatus.PENDING
    }


_POINTLESS = Outcome(SKIPPED)


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
        self._writing: list[list[DeliveryFinish]] = []
        self._fresh: dict[Node, dict[str, dict[str, Any]]] = {}
        self._written: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._freed: Callable[[set[LaneKey], set[LaneKey]], None] | None = None

    def on_written(self, freed: Callable[[set[LaneKey], set[LaneKey]], None]) -> None:
        """Call ``freed(put_off, waiting)`` after each write to a store that keeps records.

        ``put_off`` are the lanes given back with it, ``waiting`` those with work left that is
        nobody's.
        """
        self._freed = freed

    def unwritten(self) -> set[str]:
        """Return the ids of deliveries whose end is not written yet."""
        return {finish.id for batch in (self._waiting, *self._writing) for finish in batch}

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
        if entry.kinds is not None and kind not in entry.kinds:
            # A delivery that was not planned has no record: its result is all there is.
            self._append(entry, kind, outcome, record, None)
            return
        result = record if kind is DeliveryKind.DELIVER or outcome.status != "sent" else None
        self._append(entry, kind, outcome, result, entry.owner)

    def end_quietly(self, entry: Entry, kind: DeliveryKind) -> None:
        """End a planned delivery that another one of the same entry has made pointless."""
        self._append(entry, kind, _POINTLESS, None, entry.owner)

    def give_back(self, lane: LaneKey, event_id: str, kind: DeliveryKind, owner: str) -> None:
        """Make a claimed delivery, and what follows it in its lane, claimable again."""
        self._waiting.append(
            DeliveryFinish(
                delivery_id(event_id, lane[1], kind),
                event_id,
                lane[1],
                kind,
                RecordStatus.PENDING,
                owner=owner,
                retry_in=0.0,
                room_id=lane[0],
            )
        )

    def _append(
        self,
        entry: Entry,
        kind: DeliveryKind,
        outcome: Outcome,
        result: dict[str, Any] | None,
        owner: str | None,
    ) -> None:
        room_id, channel_id = entry.key
        event_id = entry.event.id
        self._waiting.append(
            DeliveryFinish(
                delivery_id(event_id, channel_id, kind),
                event_id,
                channel_id,
                kind,
                _STATUS[outcome.status],
                result,
                owner,
                outcome.attempts,
                outcome.retry_in,
                outcome.error,
                room_id,
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
        self._writing.append(batch)
        try:
            if batch:
                waiting = await bounded(self._store.finish_deliveries(batch), self._timeout)
                if self._freed is not None:
                    self._freed(_put_off(batch), set(waiting))
            if self._receipts.has_early:
                written += [dict(finish.result) for finish in batch if finish.result]
                await self._apply_early(written)
        except BaseException as exc:
            self._waiting = (batch + self._waiting)[-KEPT:]
            if not isinstance(exc, Exception):
                raise
            log_failure(logger, exc, "%d delivery results could not be written yet", len(batch))
        finally:
            # By identity: two empty ones are equal.
            self._writing = [other for other in self._writing if other is not batch]

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
