"""What an operator asks of the queues: figures, dead letters, tidying up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_text
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.store.durable import QueueStats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from roomkit.core.pipeline.inbox import Inbox
    from roomkit.core.pipeline.lanes import Lanes
    from roomkit.core.pipeline.lease import Lease
    from roomkit.core.pipeline.worker import Worker
    from roomkit.models.delivery import AcceptResult, InboundMessage
    from roomkit.store.durable import DeadLetter, DurableStore


@dataclass(frozen=True, slots=True)
class KitStats:
    """A kit and its queues at a moment.

    Attributes:
        deliveries: Delivery records of all processes; zeros where the store keeps none.
        inbox: Accepted messages of all processes; likewise.
        workers: Processes that work on this store now.
        lanes: Lanes (a room and a channel each) with work in this process.
        waiting: Deliveries of this process that wait or are being made.
        worker: This process's id as a worker; None without a durable store.
        started: Whether this kit recovers, retries and drains the inbox.
        counters: What this process did since it was made: ``delivered``, ``failed``,
            ``skipped``, ``put_off``, ``recovered``, ``dead``, ``lapsed``, ``accepted``,
            ``taken_in``.
    """

    deliveries: QueueStats = field(default_factory=QueueStats)
    inbox: QueueStats = field(default_factory=QueueStats)
    workers: int = 0
    lanes: int = 0
    waiting: int = 0
    worker: str | None = None
    started: bool = False
    counters: Mapping[str, int] = field(default_factory=dict)


class WorkDesk:
    """The queues, as RoomKit's users handle them.

    Args:
        lease: Knows the store's queues.
        lanes: This process's deliveries.
        worker: Its rounds.
        inbox: Accepts messages.
    """

    def __init__(self, lease: Lease, lanes: Lanes, worker: Worker, inbox: Inbox) -> None:
        self._lease = lease
        self._lanes = lanes
        self._worker = worker
        self._inbox = inbox

    def start(self) -> None:
        """Look for work from now on."""
        self._worker.start()

    async def accept(self, message: InboundMessage, **options: Any) -> AcceptResult:
        """Keep a message that is to enter a room."""
        return await self._inbox.accept(message, **options)

    async def stats(self) -> KitStats:
        """Return the figures of this moment."""
        queue = self._lease.queue
        deliveries, inbox, workers = QueueStats(), QueueStats(), 0
        if queue is not None:
            work = await answered(queue.work_stats())
            deliveries, inbox, workers = work.deliveries, work.inbox, work.workers
        return KitStats(
            deliveries=deliveries,
            inbox=inbox,
            workers=workers,
            lanes=len(self._lanes),
            waiting=self._lanes.depth,
            worker=self._lease.owner,
            started=self._worker.started,
            counters=dict(self._worker.counters),
        )

    async def list_dead(
        self,
        kind: str | None,
        room_id: str | None,
        channel_id: str | None,
        offset: int,
        limit: int,
    ) -> list[DeadLetter]:
        """Return what was given up, latest first; nothing where the store keeps no records."""
        if self._lease.queue is None:
            return []
        return await answered(
            self._lease.queue.list_dead_letters(
                kind=kind, room_id=room_id, channel_id=channel_id, offset=offset, limit=limit
            )
        )

    async def retry_dead(self, letter_id: str) -> bool:
        """Let a dead letter be tried again."""
        found = await answered(self._queue().retry_dead_letter(clean_text(letter_id)))
        if found:
            self._worker.poke()
        return found

    async def discard_dead(self, letter_id: str) -> bool:
        """Give a dead letter up for good."""
        return await answered(self._queue().discard_dead_letter(clean_text(letter_id)))

    async def purge(self, before: datetime) -> int:
        """Remove records that ended before a time."""
        if before.tzinfo is None:
            raise InvalidInputError("before needs a timezone")
        if self._lease.queue is None:
            return 0
        return await answered(self._lease.queue.purge(before))

    def _queue(self) -> DurableStore:
        if self._lease.queue is None:
            raise ConfigurationError(
                "this kit's store keeps no delivery records, so it has no dead letters; use "
                "SQLiteStore or PostgresStore"
            )
        return self._lease.queue
