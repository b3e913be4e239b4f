"""Places where a worker can be told to die, as if by a power cut.

Everything is done through the public seams: a store around the store, and the channels. A
worker kills itself with SIGKILL, so nothing is cleaned up, flushed or said.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from roomkit.testing import StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit.store.base import ConversationStore
    from roomkit.store.commit import CommitBatch, CommitResult

AFTER_COMMIT = "after a commit, before its lanes"
BEFORE_SEND = "before a send"
AFTER_SEND = "after a send, before it is recorded"
BEFORE_FINISH = "before finishes are written"
DURING_FINISH = "while finishes are being written"
AFTER_FINISH = "after finishes were written"
AFTER_REACT = "after the answer, before its commit"
AFTER_ANSWER = "after the commit of an answer"
AFTER_ACCEPT = "after an accept, before its caller knows"
BEFORE_DRAIN = "after an accept, before it is drained"
BETWEEN_ROWS = "between the commit of an inbox row and the next row"

POINTS = (
    AFTER_COMMIT,
    BEFORE_SEND,
    AFTER_SEND,
    BEFORE_FINISH,
    DURING_FINISH,
    AFTER_FINISH,
    AFTER_REACT,
    AFTER_ANSWER,
    AFTER_ACCEPT,
    BEFORE_DRAIN,
    BETWEEN_ROWS,
)


class Points:
    """Where this worker dies, if anywhere.

    Args:
        mark: Called with ``died: `` and the point just before.

    Attributes:
        accepted: Set once a caller of ``accept`` has been answered.
    """

    def __init__(self, mark: Callable[[str], None]) -> None:
        self.accepted = asyncio.Event()
        self._mark = mark
        self._name: str | None = None
        self._left = 0

    def arm(self, name: str, nth: int) -> None:
        """Die when a point is reached for the nth time from now on."""
        assert name in POINTS, name
        self._name, self._left = name, nth

    def armed(self, name: str) -> bool:
        """Return whether this is where the worker is to die."""
        return self._name == name

    def due(self, name: str) -> bool:
        """Count a point; return whether this is the time to die there."""
        if self._name != name:
            return False
        self._left -= 1
        return self._left == 0

    def reach(self, name: str) -> None:
        """Count a point, and die there when it is time."""
        if self.due(name):
            self.die()

    def die(self) -> None:
        """End this process at once."""
        self._mark(f"died: {self._name}")
        os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(StoreWrapper):
    """A store around another one, at whose calls the worker may die.

    Args:
        inner: The store that does the work.
        points: Where.
    """

    def __init__(self, inner: ConversationStore, points: Points) -> None:
        super().__init__(inner)
        self._points = points

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Commit, and die before or after it if so told."""
        answer = bool(batch.finishes and batch.events)
        if answer:
            self._points.reach(AFTER_REACT)
        result = await super().commit(batch)
        if answer:
            self._points.reach(AFTER_ANSWER)
        elif batch.inbox_id is not None:
            self._points.reach(BETWEEN_ROWS)
        elif batch.events:
            self._points.reach(AFTER_COMMIT)
        return result

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make the call, and die before, during or after it if so told."""
        if name == "claim_inbox" and self._points.armed(BEFORE_DRAIN):
            await self._points.accepted.wait()
            self._points.reach(BEFORE_DRAIN)
        if name != "finish_deliveries":
            result = await call
            if name == "accept":
                self._points.reach(AFTER_ACCEPT)
            return result
        self._points.reach(BEFORE_FINISH)
        if self._points.due(DURING_FINISH):
            # Some steps of the loop: the statement is on its way, no answer has come.
            under_way = asyncio.ensure_future(call)
            for _ in range(3):
                await asyncio.sleep(0)
            self._points.die()
            await under_way
        result = await call
        self._points.reach(AFTER_FINISH)
        return result
