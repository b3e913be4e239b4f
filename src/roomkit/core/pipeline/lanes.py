"""Lanes: for each room and target a queue of deliveries, worked off one by one, in order.

Lanes of different targets run at the same time. A lane exists only while it has work; its
task belongs to the kit, runs in a clean context and is started after the room's lock is free.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancel_and_wait
from roomkit._logging import ids
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from roomkit.core._delivery import Adapted
    from roomkit.core.pipeline.settlement import Node
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

logger = logging.getLogger("roomkit.pipeline")

FAIR_SHARE = 0.002
"""Seconds a lane may work without letting the loop run."""

CLOSE_WAIT = 5.0
"""Seconds a cancelled lane may take to end."""


class Entry:
    """One event in one lane.

    Attributes:
        key: The room and the channel.
        node: The event's node; ``done`` is called on it once.
        event: What is delivered: the node's own event, or one injected with it.
        adapted: The event as its targets get it, shared by them.
        binding: The target when it was planned.
        context: The room as the channel will see it.
        version: The store's version of the room then; None when it cannot tell.
        direct: Injected: no access, mute or visibility applies.
    """

    __slots__ = ("adapted", "binding", "context", "direct", "event", "key", "node", "version")

    def __init__(
        self,
        key: tuple[str, str],
        node: Node,
        event: RoomEvent,
        adapted: Adapted,
        binding: ChannelBinding,
        context: RoomContext,
        version: int | None,
        direct: bool,
    ) -> None:
        self.key = key
        self.node = node
        self.event = event
        self.adapted = adapted
        self.binding = binding
        self.context = context
        self.version = version
        self.direct = direct


class _Lane:
    __slots__ = ("queue", "task")

    def __init__(self) -> None:
        self.queue: deque[Entry] = deque()
        self.task: asyncio.Task[None] | None = None


class Lanes:
    """All lanes of a kit.

    Args:
        work: Delivers one entry; it raises nothing but cancellation.
        limit: Entries of one lane past which its room counts as overloaded.
        waiting: Called when a lane first has to wait for something.

    Attributes:
        starting: More than 0 while lanes make their first, eager steps.
    """

    def __init__(
        self, work: Callable[[Entry], Awaitable[None]], limit: int, waiting: Callable[[], None]
    ) -> None:
        self._work = work
        self._waiting = waiting
        self.starting = 0
        self._limit = limit
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._full: dict[str, int] = {}
        self._relief: dict[str, asyncio.Event] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def depth(self) -> int:
        """How many entries wait or are being worked on."""
        return sum(len(lane.queue) for lane in self._lanes.values())

    def put(self, entry: Entry) -> None:
        """Append an entry to its lane; called in commit order, under the room's lock."""
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = _Lane()
        lane.queue.append(entry)
        if len(lane.queue) == self._limit:
            room = entry.key[0]
            self._full[room] = self._full.get(room, 0) + 1

    def start(self, entries: Iterable[Entry]) -> None:
        """Run the lanes of these entries, each up to where it first has to wait."""
        if self._closed:
            for entry in entries:
                self._give_up(entry)
            return
        loop = asyncio.get_running_loop()
        waits = False
        self.starting += 1
        for entry in entries:
            lane = self._lanes.get(entry.key)
            if lane is None or lane.task is not None:
                continue
            # Marks the lane as running while the eager task makes its first steps.
            lane.task = _STARTING
            task = asyncio.Task(
                self._run(entry.key, lane), loop=loop, eager_start=True, context=Context()
            )
            if not task.done():
                lane.task = task
                waits = True
        self.starting -= 1
        if waits:
            self._waiting()

    async def _run(self, key: tuple[str, str], lane: _Lane) -> None:
        queue = lane.queue
        began = time.perf_counter()
        while queue:
            entry = queue[0]
            try:
                await self._work(entry)
            except BaseException as exc:
                # The kit is closing, foreign code cancelled its own task, or the engine itself
                # failed: whoever waits for these events must not wait for ever, and what comes
                # next gets a new lane.
                self._lanes.pop(key, None)
                while queue:
                    left = queue[0]
                    self._leave(key, queue)
                    self._give_up(left)
                if not isinstance(exc, Exception):
                    raise
                logger.exception("a lane failed", extra=ids(room_id=key[0], channel_id=key[1]))
                return
            self._leave(key, queue)
            entry.node.done()
            if queue and time.perf_counter() - began > FAIR_SHARE:
                await asyncio.sleep(0)
                began = time.perf_counter()
        # No await between the empty queue and this: nothing can have been put in between.
        self._lanes.pop(key, None)

    @staticmethod
    def _give_up(entry: Entry) -> None:
        """Settle an entry that will not be worked on by this process."""
        entry.node.failed[entry.key[1]] = Reason.SHUTDOWN
        entry.node.done()

    def _leave(self, key: tuple[str, str], queue: deque[Entry]) -> None:
        queue.popleft()
        if len(queue) == self._limit - 1:
            room = key[0]
            self._full[room] -= 1
            if not self._full[room]:
                del self._full[room]
                relief = self._relief.pop(room, None)
                if relief is not None:
                    relief.set()

    def overloaded(self, room_id: str) -> bool:
        """Return whether a lane of the room has reached the limit."""
        return room_id in self._full

    async def relieved(self, room_id: str, timeout: float) -> float:
        """Wait until no lane of the room is at the limit.

        Returns:
            The seconds that are left of ``timeout``; 0.0 when they ran out first.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                while room_id in self._full:
                    relief = self._relief.setdefault(room_id, asyncio.Event())
                    await relief.wait()
        except TimeoutError:
            return 0.0
        return max(0.0, end - loop.time())

    def queued(self, key: tuple[str, str]) -> Iterable[Entry]:
        """Return the entries of a lane, the one being worked on first."""
        lane = self._lanes.get(key)
        return tuple(lane.queue) if lane is not None else ()

    def running(self) -> list[asyncio.Task[Any]]:
        """Return the tasks of lanes that wait for something."""
        return [
            lane.task
            for lane in self._lanes.values()
            if lane.task is not None and lane.task is not _STARTING
        ]

    async def close(self, *, but: asyncio.Task[Any] | None = None) -> None:
        """Stop every lane; what was not delivered is left (a durable store still has it)."""
        self._closed = True
        left = self.depth
        await cancel_and_wait((task for task in self.running() if task is not but), CLOSE_WAIT)
        if left:
            logger.warning("closed with %d deliveries not made", left, extra=ids())
        self._lanes.clear()
        self._full.clear()
        for relief in self._relief.values():
            relief.set()
        self._relief.clear()


_STARTING: Any = object()
"""Stands for a lane's task while that makes its first, eager steps."""
