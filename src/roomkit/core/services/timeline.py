"""The only writer of timelines: every event of every kind is committed here.

A commit and what must follow it at once (putting its deliveries into their lanes) are one
unit: it is awaited to its end even when the caller is cancelled, and a commit whose answer
was lost is looked up before anybody is told that it failed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, bounded, shielded
from roomkit._logging import ids
from roomkit.exceptions import CommitOutcomeUnknown, StoreError, StoreUnavailableError
from roomkit.models.event import EventSource, RoomEvent
from roomkit.store.commit import CommitResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock
    from roomkit.models.enums import EventType
    from roomkit.store.base import ConversationStore
    from roomkit.store.commit import CommitBatch

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

SYSTEM_CHANNEL = "system"
"""The channel id of the framework's own events."""

_SYSTEM_SOURCE = EventSource.of_framework(SYSTEM_CHANNEL)


class Timeline:
    """Writes timelines through ``ConversationStore.commit``.

    Args:
        store: Where to.
        clock: Stamps system events.
        timeout: Seconds a commit may take.

    Attributes:
        on_unknown: Called when it is not known whether a batch was stored.
    """

    def __init__(self, store: ConversationStore, clock: Clock, timeout: float) -> None:
        self._store = store
        self._clock = clock
        self._timeout = timeout
        self.on_unknown: Callable[[], None] = _nothing

    def system_event(
        self, room_id: str, event_type: EventType, body: str, code: str, data: dict[str, Any]
    ) -> RoomEvent:
        """Return an event the framework itself puts on a timeline: internal, never delivered."""
        return RoomEvent.notice(
            room_id, event_type, _SYSTEM_SOURCE, body, code, data, self._clock.now()
        )

    async def commit(
        self, batch: CommitBatch, then: Callable[[CommitResult], None] | None = None
    ) -> CommitResult:
        """Store a batch whole or not at all.

        Args:
            batch: What becomes true.
            then: Called with the result before anybody else runs, when it was stored.

        Raises:
            CommitOutcomeUnknown: The store did not answer in time.
            Exception: Whatever the store raised; then nothing was stored.
        """
        if self._store.immediate:
            # It never suspends, so nothing can come in between.
            return await self._write(batch, then)
        task = asyncio.Task(
            self._write(batch, then), loop=asyncio.get_running_loop(), eager_start=True
        )
        if task.done():
            return task.result()
        result: CommitResult = await shielded(task)
        return result

    async def _write(
        self, batch: CommitBatch, then: Callable[[CommitResult], None] | None
    ) -> CommitResult:
        try:
            result = await bounded(self._store.commit(batch), self._timeout)
        except DeadlineExceeded as exc:
            self.on_unknown()
            raise CommitOutcomeUnknown(
                f"the store did not answer a commit to room {batch.room_id!r} within "
                f"{self._timeout:g} s; repeat with the same idempotency key"
            ) from exc
        except (Exception, asyncio.CancelledError) as exc:
            # Nobody of ours cancels this task: it was the store, or the loop is ending.
            found = await self._look_up(batch, exc)
            if found is None:
                if batch.deliveries and _may_follow(exc):
                    # It may still be carried out, with claims this process knows nothing of.
                    self.on_unknown()
                raise
            result = found
        if then is not None and result.duplicate_of is None and result.refused is None:
            then(result)
        return result

    async def _look_up(self, batch: CommitBatch, error: BaseException) -> CommitResult | None:
        """Return the result of a commit whose answer was lost; None if it was not made."""
        if not batch.events:
            return None
        stored = []
        try:
            for event in batch.events:
                known = await bounded(self._store.get_event(event.id), self._timeout)
                if known is None:
                    return None
                stored.append(known)
        except Exception as exc:
            self.on_unknown()
            raise CommitOutcomeUnknown(
                f"a commit to room {batch.room_id!r} failed and could not be looked up; "
                "repeat with the same idempotency key"
            ) from exc
        if batch.deliveries:
            # It is not known which of them were claimed for this process.
            self.on_unknown()
        logger.warning(
            "a commit was made although the store reported %s",
            type(error).__name__,
            extra=ids(room_id=batch.room_id, event_id=stored[0].id),
        )
        return CommitResult(events=tuple(stored))


def _may_follow(error: BaseException) -> bool:
    """Return whether a commit that failed so may yet be carried out."""
    return isinstance(error, StoreUnavailableError) or not isinstance(error, StoreError)


def _nothing() -> None:
    """Do nothing."""
