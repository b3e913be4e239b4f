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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from roomkit._aio import cancel_and_wait
from roomkit._logging import ids
from roomkit.models.reasons import Reason
from roomkit.store.commit import DeliveryKind, delivery_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from roomkit.core._delivery import Adapted
    from roomkit.core.pipeline.settlement import Node
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.store.durable import LaneKey

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

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
        kinds: What is to be done, where a store keeps records of it; None: what fits.
        tried: How often each kind was tried before.
        owner: The worker that holds its records.
        ended: The kinds whose records have ended.
        planned_at: When it was planned, by the loop's time.
    """

    __slots__ = (
        "adapted",
        "binding",
        "context",
        "direct",
        "ended",
        "event",
        "key",
        "kinds",
        "node",
        "owner",
        "planned_at",
        "tried",
        "version",
    )

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
        kinds: frozenset[DeliveryKind] | None = None,
        tried: Mapping[DeliveryKind, int] | None = None,
        owner: str | None = None,
    ) -> None:
        self.key: tuple[str, str] = key
        self.node: Node = node
        self.event: RoomEvent = event
        self.adapted: Adapted = adapted
        self.binding: ChannelBinding = binding
        self.context: RoomContext = context
        self.version: int | None = version
        self.direct: bool = direct
        self.kinds: frozenset[DeliveryKind] | None = kinds
        self.tried: Mapping[DeliveryKind, int] = tried or _UNTRIED
        self.owner: str | None = owner
        self.ended: set[DeliveryKind] = set()
        self.planned_at: float = time.monotonic() if kinds is not None else 0.0

    def wants(self, kind: DeliveryKind, fits: bool) -> bool:
        """Return whether this is to be done: planned and not done yet, and the target can."""
        return fits and (self.kinds is None or (kind in self.kinds and kind not in self.ended))

    def pending(self) -> set[DeliveryKind]:
        """Return the kinds whose records have not ended; none without records."""
        return set() if self.kinds is None else set(self.kinds - self.ended)

    def first(self) -> DeliveryKind:
        """Return what stands for the whole when nothing of it is done."""
        if self.kinds is None or DeliveryKind.DELIVER in self.kinds:
            return DeliveryKind.DELIVER
        return DeliveryKind.REACT


class Flight:
    """A commit under way, whose deliveries will enter their lanes when it is done.

    Attributes:
        owner: The worker it claims them for.
        left: The lanes that were left meanwhile: what comes for them must not enter.
    """

    __slots__ = ("__weakref__", "left", "owner")

    def __init__(self, owner: str | None) -> None:
        self.owner: str | None = owner
        self.left: set[LaneKey] = set()


class _Lane:
    __slots__ = ("left", "queue", "successors", "task")

    def __init__(self) -> None:
        self.queue: deque[Entry] = deque()
        self.task: asyncio.Task[None] | None = None
        self.left = False
        # What was claimed anew while the last entry of a lane that was left still runs.
        self.successors: list[Entry] = []


class Lanes:
    """All lanes of a kit.

    Args:
        work: Delivers one entry; it raises nothing but cancellation.
        limit: Entries of one lane past which its room counts as overloaded.
        waiting: Called when a lane first has to wait for something.
        recorded: Whether a store keeps records of the deliveries: what is not done here is
            then not lost, and no room is ever overloaded.

    Attributes:
        starting: More than 0 while lanes make their first, eager steps.
        drained: Called with a lane that has ended here, and may have records left.
    """

    def __init__(
        self,
        work: Callable[[Entry], Awaitable[None]],
        limit: int,
        waiting: Callable[[], None],
        *,
        recorded: bool = False,
    ) -> None:
        self._work = work
        self._waiting = waiting
        self._recorded = recorded
        self._flights: WeakSet[Flight] = WeakSet()
        self._parked: set[LaneKey] = set()
        self._claiming = 0
        self._held_back: list[Entry] = []
        self._more: set[LaneKey] = set()
        self.drained: Callable[[LaneKey], None] = _nothing
        self.starting: int = 0
        self._limit = limit
        self._lanes: dict[LaneKey, _Lane] = {}
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
        if len(lane.queue) == self._limit and not self._recorded:
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
            if self._claiming:
                # What is being claimed may belong before it: the whole lane waits.
                if lane.queue[0] is entry:
                    self._held_back.append(entry)
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
            if lane.left:
                self._drop(key, lane)
                return
            self._leave(key, queue)
            entry.node.done()
            if queue and time.perf_counter() - began > FAIR_SHARE:
                await asyncio.sleep(0)
                began = time.perf_counter()
        # No await between the empty queue and this: nothing can have been put in between.
        self._lanes.pop(key, None)
        if key in self._more:
            self._more.discard(key)
            self.drained(key)

    def _give_up(self, entry: Entry) -> None:
        """Settle an entry that will not be worked on by this process."""
        if self._recorded:
            entry.node.scheduled.add(entry.key[1])
        else:
            entry.node.failed[entry.key[1]] = Reason.SHUTDOWN
        entry.node.done()

    # -- lanes whose deliveries a store keeps records of ----------------------------------

    def depart(self, owner: str | None) -> Flight:
        """Return the flight of a commit that is about to begin."""
        flight = Flight(owner)
        self._flights.add(flight)
        return flight

    def open_to(self, key: LaneKey) -> bool:
        """Return whether a lane takes new entries; else they wait in their records."""
        if self._closed or key in self._parked:
            return False
        lane = self._lanes.get(key)
        return lane is None or not (lane.left or len(lane.queue) >= self._limit)

    def leave(self, key: LaneKey) -> None:
        """Give a lane back: its entries wait in their records until somebody claims them.

        It takes nothing until ``unpark``: by then the store knows. The entry being worked on
        ends first.
        """
        self._parked.add(key)
        self._abandon(key)

    def leave_quietly(self, key: LaneKey) -> None:
        """Give a lane back whose records belong to another by now."""
        self._abandon(key)

    def expect_more(self, key: LaneKey) -> None:
        """Remember that a lane of this process has records it does not hold."""
        if key in self._lanes:
            self._more.add(key)

    def unpark(self, keys: Iterable[LaneKey]) -> None:
        """Let lanes that were left take entries again."""
        self._parked.difference_update(keys)

    def leave_all(self) -> None:
        """Give every lane back: whoever claims their records goes on with them."""
        for key in tuple(self._lanes):
            self._abandon(key)

    def _abandon(self, key: LaneKey) -> None:
        for flight in self._flights:
            flight.left.add(key)
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.left = True
        successors, lane.successors = lane.successors, []
        for entry in successors:
            self._schedule(entry)
        if lane.task is None:
            self._drop(key, lane)

    def _drop(self, key: LaneKey, lane: _Lane) -> None:
        """Forget a lane; its entries count as scheduled for later."""
        if self._lanes.get(key) is lane:
            del self._lanes[key]
            self._more.discard(key)
        while lane.queue:
            self._schedule(lane.queue.popleft())
        if lane.successors:
            fresh = self._lanes[key] = _Lane()
            fresh.queue.extend(lane.successors)
            self._more.add(key)
            # Not from within: the lane that ends here is still the running task's.
            first = [lane.successors[0]]
            asyncio.get_running_loop().call_soon(self.start, first, context=Context())

    @staticmethod
    def _schedule(entry: Entry) -> None:
        """Settle an entry that waits in its record for somebody to claim it."""
        entry.node.scheduled.add(entry.key[1])
        entry.node.done()

    def held(self) -> set[str]:
        """Return the ids of all records whose deliveries wait or are made here."""
        return {
            delivery_id(entry.event.id, entry.key[1], kind)
            for lane in self._lanes.values()
            for entry in (*lane.queue, *lane.successors)
            for kind in entry.kinds or ()
        }

    def claiming(self) -> None:
        """Hold back lanes that would begin from now on: what comes first is being looked up."""
        self._claiming += 1

    def claimed(self, entries: list[Entry]) -> bool:
        """Let the lanes run that were held back, after what was claimed for them.

        Returns:
            False when a lane is running already: then what was claimed for it is not done, and
            all claims of this process must be given up.
        """
        sound = True
        self._claiming -= 1
        fresh: dict[LaneKey, list[Entry]] = {}
        for entry in entries:
            fresh.setdefault(entry.key, []).append(entry)
        for key, found in fresh.items():
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane()
            elif lane.left:
                lane.successors += found
                continue
            elif lane.task is not None:
                sound = False
                continue
            lane.queue.extendleft(reversed(found))
            self._more.add(key)
        if not self._claiming:
            held, self._held_back = self._held_back, []
            self.start(held)
        self.start([found[0] for found in fresh.values()])
        return sound

    def _leave(self, key: tuple[str, str], queue: deque[Entry]) -> None:
        queue.popleft()
        if len(queue) == self._limit - 1 and not self._recorded:
            room = key[0]
            self._full[room] -= 1
            if not self._full[room]:
                del self._full[room]
                relief = self._relief.pop(room, None)
                if relief is not None:
                    relief.set()

    def overloaded(self, room_id: str) -> bool:
        """Return whether a lane of the room has reached the limit; never where records wait."""
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
        self._more.clear()
        self._full.clear()
        for relief in self._relief.values():
            relief.set()
        self._relief.clear()


def _nothing(_lane: LaneKey) -> None:
    """Do nothing."""


_UNTRIED: Mapping[DeliveryKind, int] = MappingProxyType({})

_STARTING: Any = object()
"""Stands for a lane's task while that makes its first, eager steps."""
