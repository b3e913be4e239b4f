"""How far an event has come: a node counts what is still to be done for it and its answers.

Nodes form a tree: an answer's node belongs to its cause's. A node is settled when its own
deliveries and all its children are; only then are its observers told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit.store.base import RECENT_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.core.hooks import HookFailure
    from roomkit.core.services.scope import Root
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Observation, Task


class Node:
    """One committed event on its way.

    Attributes:
        event: As stored.
        root: What it stems from.
        parent: The cause's node, for an answer.
        from_outside: Whether it was no answer: then deliveries are announced one by one.
        sent: Channels it was delivered to.
        failed: Channel id to error, for those it was not.
        results: Channel id to the record of its delivery.
        final: The event as stored with all results, once they are written.
        scheduled: Channels whose delivery was left to its record: it is made later, or by
            another process.
        dead: Channel id to kind and attempts, for deliveries that ended in the dead letters.
        recovered: Whether the event was told of before, and only what was left of its
            deliveries is made.
    """

    __slots__ = (
        "_context",
        "_finished",
        "_pending",
        "_settled",
        "_shown",
        "_waiter",
        "blocked_by",
        "blocked_reason",
        "dead",
        "event",
        "failed",
        "failures",
        "final",
        "from_outside",
        "observations",
        "parent",
        "recovered",
        "results",
        "root",
        "scheduled",
        "sent",
        "skipped",
        "stopped",
        "tasks",
    )

    def __init__(
        self,
        event: RoomEvent,
        context: RoomContext,
        root: Root,
        parent: Node | None,
        settled: Callable[[Node], None],
    ) -> None:
        self.event: RoomEvent = event
        self._context = context
        self._shown: RoomContext | None = None
        self.root: Root = root
        self.parent: Node | None = parent
        self.from_outside: bool = parent is None
        self.sent: list[str] = []
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.final: RoomEvent | None = None
        self.scheduled: set[str] = set()
        self.dead: dict[str, tuple[str, int]] = {}
        self.recovered: bool = False
        self.tasks: tuple[Task, ...] = ()
        self.observations: tuple[Observation, ...] = ()
        self.failures: list[HookFailure] = []
        self.blocked_reason: str | None = None
        self.blocked_by: str | None = None
        self.stopped: list[RoomEvent] | None = None
        self._settled = settled
        # One for the commit itself: nothing settles before everything is in its lane.
        self._pending = 1
        self._finished = False
        self._waiter: asyncio.Future[None] | None = None
        if parent is not None:
            parent.add()

    @property
    def context(self) -> RoomContext:
        """The room, its newest events ending with this one; made when first looked at."""
        if self._shown is None:
            before = self._context
            recent = [*before.recent_events[1 - RECENT_EVENTS :], self.event]
            self._shown = before.with_recent(recent)
        return self._shown

    @property
    def finished(self) -> bool:
        """Whether everything is done and told."""
        return self._finished

    @property
    def pending(self) -> int:
        """How many deliveries and answers are still under way."""
        return self._pending

    def add(self, count: int = 1) -> None:
        """Count more things to be done."""
        self._pending += count

    def done(self) -> None:
        """Count one thing done; the last one settles the node."""
        self._pending -= 1
        if self._pending == 0:
            self._settled(self)

    def finish(self) -> None:
        """Mark everything done and told; the cause goes on."""
        self._finished = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.parent is not None:
            self.parent.done()

    def as_settled(self) -> RoomEvent:
        """Return the event with what is known of its deliveries."""
        if self._finished and self.final is not None:
            return self.final
        return self.event.with_results(self.results) if self.results else self.event

    async def wait(self, timeout: float | None) -> bool:
        """Wait until all is done and told; False when the time ran out first."""
        if self._finished:
            return True
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._waiter,), timeout=timeout)
        return self._finished
