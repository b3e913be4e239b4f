"""The worker: goes on with what was left, by this process or another.

Deliveries that wait for another attempt, those of a process that is gone, and those left
behind because a lane was full are claimed here, lane by lane, and put into this process's own
lanes. Room timers and messages accepted into the inbox are seen to in the same round.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet, bounded
from roomkit._logging import ids, log_failure
from roomkit.core._delivery import Adapted
from roomkit.core.pipeline.lanes import Entry
from roomkit.core.pipeline.rounds import Rounds
from roomkit.core.pipeline.settlement import Node
from roomkit.core.services.scope import Root
from roomkit.core.services.store_calls import answered
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.reasons import Reason
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable

    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.lanes import Lanes
    from roomkit.core.pipeline.lease import Lease
    from roomkit.core.pipeline.record import Recorder
    from roomkit.core.pipeline.report import Reporter
    from roomkit.models.context import RoomContext
    from roomkit.store.durable import DeadLetter, DeliveryRecord, DurableStore, LaneKey

logger: logging.Logger = logging.getLogger("roomkit.worker")

POLL = 1.0
"""Seconds after which a worker looks for work in any case."""

CLAIM_LANES = 50
"""Lanes claimed at once."""

CLAIM_DEPTH = 20
"""Records claimed of each: its lane begins the sooner, and asks for more when they are done."""

LOADS = 8
"""Lanes whose claimed records are read side by side."""

FORGOTTEN_AFTER = 120.0
"""Seconds after which a record this worker holds without knowing of it is given back."""

BUSY_LANES = 1000
"""So many lanes of its own, and a worker takes no more from others."""

SWEEP = 60.0
"""Seconds between two looks for records nobody can work on."""

ORPHAN_AFTER = 3600.0
"""Seconds after which a record dies whose channel no living worker has."""

CLAIM_TIMEOUT = 5.0
"""Seconds a claim may take; after that it is not known what was claimed."""


COUNTED = (
    "delivered",
    "failed",
    "skipped",
    "put_off",
    "recovered",
    "dead",
    "lapsed",
    "accepted",
    "taken_in",
)
"""What a kit counts from its making on."""


class Worker:
    """Claims work and sees to what is due.

    Args:
        parts: The engine's collaborators.
        lease: Under which id work is claimed.
        lanes: Where it is done.
        recorder: Writes down how it ended.
        reporter: Tells about it.
    """

    def __init__(
        self, parts: Parts, lease: Lease, lanes: Lanes, recorder: Recorder, reporter: Reporter
    ) -> None:
        self._parts = parts
        self._lease = lease
        self._lanes = lanes
        self._recorder = recorder
        self._reporter = reporter
        self._tasks = TaskSet("roomkit-worker")
        self._rounds = Rounds("roomkit-worker", self._round, POLL, parts.clock)
        self._others: list[Rounds] = []
        self._woken = [self._rounds]
        self._started = False
        self._warned = False
        self._claim_lock = asyncio.Lock()
        self._swept_at = float("-inf")
        self.counters: Counter[str] = parts.counters
        self.counters.update(dict.fromkeys(COUNTED, 0))
        lease.lapsed = self._lapsed
        lease.confirmed = self._confirmed
        recorder.on_written(self._written)
        lanes.drained = self._drained

    @property
    def started(self) -> bool:
        """Whether ``start`` was called, and ``stop`` was not."""
        return self._started

    def add(self, rounds: Rounds, *, woken: bool = False) -> None:
        """Let other rounds begin and end with this worker's own.

        Args:
            rounds: Which.
            woken: Whether they look for work other processes may leave.
        """
        self._others.append(rounds)
        if woken:
            self._woken.append(rounds)

    def start(self) -> None:
        """Look for work from now on; nothing happens when it does."""
        if self._started:
            return
        self._started = True
        for rounds in self._others:
            rounds.start(self._tasks)
        if self._lease.queue is not None:
            self._rounds.start(self._tasks)
            self._tasks.start(self._listen(self._lease.queue), name="roomkit-listen")

    async def stop(self, *, but: Collection[asyncio.Task[object]] = ()) -> None:
        """Look for no more work; what was claimed is in the lanes."""
        self._started = False
        # A claim under way is awaited: cut off, it would not be known what it claimed.
        async with self._claim_lock:
            await self._tasks.cancel(but=but, timeout=CLAIM_TIMEOUT)

    def poke(self) -> None:
        """Look for work now."""
        for rounds in self._woken:
            rounds.poke()

    def expect(self, seconds: float) -> None:
        """Look for work in so many seconds: a delivery was put off until then."""
        self.counters["put_off"] += 1
        if self._started:
            if seconds < POLL:
                self._rounds.poke_in(seconds)
        elif not self._warned:
            self._warned = True
            logger.warning(
                "a delivery waits for another attempt, but this kit was not started: use "
                "'async with kit', or await kit.start()"
            )

    # -- the round ------------------------------------------------------------------------

    async def _listen(self, queue: DurableStore) -> None:
        while True:
            try:
                await queue.wait_for_work(POLL)
            except Exception as exc:  # noqa: BLE001 - the round polls anyway
                logger.debug("waiting for work failed: %s", type(exc).__name__)
                await asyncio.sleep(POLL)
            else:
                self.poke()

    async def _round(self) -> bool:
        """Claim what is due; return whether there may be more of it."""
        queue = self._lease.queue
        if queue is None or not self._lease.held:
            return False
        again = await self._claim(None)
        await self._sweep(queue)
        return again

    async def _sweep(self, queue: DurableStore) -> None:
        now = self._parts.clock.monotonic()
        if now - self._swept_at < SWEEP:
            return
        self._swept_at = now
        for letter in await answered(queue.expire_deliveries(ORPHAN_AFTER)):
            await self.tell_dead(letter)
        async with self._claim_lock:
            owner = self._lease.owner
            known = self._lanes.held() | self._recorder.unwritten()
            if owner is not None:
                release = queue.release_deliveries(owner, known, FORGOTTEN_AFTER)
                if count := await answered(release):
                    logger.warning("%d deliveries had been claimed and forgotten", count)

    async def tell_dead(self, letter: DeadLetter) -> None:
        """Tell that something was given up that no lane has told of."""
        self.counters["dead"] += 1
        logger.error(
            "given up: %s",
            letter.error,
            extra=ids(
                room_id=letter.room_id, channel_id=letter.channel_id, event_id=letter.event_id
            ),
        )
        told = FrameworkEventType
        await self._parts.bus.emit(
            told.INBOX_DEAD if letter.kind == "inbox" else told.DELIVERY_DEAD,
            room_id=letter.room_id,
            channel_id=letter.channel_id,
            event_id=letter.event_id,
            data={
                "id": letter.id,
                "kind": letter.kind,
                "attempts": letter.attempts,
                "error": letter.error,
            },
        )

    # -- deliveries -----------------------------------------------------------------------

    def _written(self, put_off: set[LaneKey], waiting: set[LaneKey]) -> None:
        """Called when ends of deliveries were written: look at what they left behind."""
        self._lanes.unpark(put_off)
        if waiting:
            self._tasks.start(self._claim_left(waiting), name="roomkit-claim")

    def left(self, lanes: set[LaneKey]) -> None:
        """Called when a commit did not get lanes: look again, now that it is done.

        Their head may be nobody's. A kit that was started finds that in its next round, and
        the owner of a lane when it ends what it has; one that was not has only this look.
        """
        for lane in lanes:
            self._lanes.expect_more(lane)
        if not self._started:
            self._tasks.start(self._claim_left(lanes), name="roomkit-claim")

    def _drained(self, lane: LaneKey) -> None:
        """Called when a lane has ended here that may have records left: claim them."""
        self._tasks.start(self._claim_left({lane}), name="roomkit-claim")

    async def _claim_left(self, lanes: set[LaneKey]) -> None:
        try:
            await self._claim(lanes)
        except Exception as exc:  # noqa: BLE001 - the next round claims them
            log_failure(logger, exc, "deliveries left behind could not be claimed yet")

    async def _claim(self, lanes: set[LaneKey] | None) -> bool:
        """Claim lanes and let them run; return whether there may be more."""
        queue, owner = self._lease.queue, self._lease.owner
        channels = tuple(self._parts.registry.channels)
        room = BUSY_LANES - len(self._lanes)
        if queue is None or owner is None or not channels or (lanes is None and room <= 0):
            return False
        async with self._claim_lock:
            if not self._lease.held or owner != self._lease.owner:
                return False
            limit = min(CLAIM_LANES, max(room, len(lanes or ())))
            self._lanes.claiming()
            entries: list[Entry] = []
            sound = False
            try:
                claim = queue.claim_deliveries(
                    owner, channels, lanes=lanes, limit=limit, per_lane=CLAIM_DEPTH
                )
                records = await bounded(claim, CLAIM_TIMEOUT)
                entries = await self._entries(records, owner)
                sound = True
            finally:
                if owner != self._lease.owner:
                    entries = []  # given up meanwhile
                sound = self._lanes.claimed(entries) and sound
                if not sound:
                    # It is not known what was claimed: all claims are given up.
                    self._lease.renew()
        self.counters["recovered"] += len(records)
        return lanes is None and len({(r.room_id, r.channel_id) for r in records}) >= limit

    async def _entries(self, records: list[DeliveryRecord], owner: str) -> list[Entry]:
        """Return lane entries for claimed records; an event's two kinds are one entry."""
        lanes: dict[LaneKey, dict[str, list[DeliveryRecord]]] = {}
        for record in records:
            lane = lanes.setdefault((record.room_id, record.channel_id), {})
            lane.setdefault(record.event_id, []).append(record)
        turns = asyncio.Semaphore(LOADS)

        async def load(room_id: str, groups: Iterable[list[DeliveryRecord]]) -> list[Entry]:
            async with turns:
                context = await answered(self._parts.store.load_context(room_id))
                found = [await self._entry(group, context, owner) for group in groups]
            return [entry for entry in found if entry is not None]

        loads = [load(key[0], groups.values()) for key, groups in lanes.items()]
        return [entry for found in await asyncio.gather(*loads) for entry in found]

    async def _entry(
        self, group: list[DeliveryRecord], context: RoomContext | None, owner: str
    ) -> Entry | None:
        """Return one entry; None when its room or event is gone, which ends its records."""
        first = group[0]
        store = self._parts.store
        view = await answered(store.load_delivery(first.room_id, first.event_id, first.channel_id))
        event, binding = view.event, view.binding
        if context is None or event is None or binding is None:
            reason = Reason.DETACHED if event is not None else Reason.EVENT_MISSING
            await answered(store.finish_deliveries([_skipped(r, owner, reason) for r in group]))
            return None
        node = Node(event, context, Root(), None, self._reporter.settled)
        node.recovered = True
        node.from_outside = event.chain_depth == 0
        return Entry(
            (first.room_id, first.channel_id),
            node,
            event,
            Adapted(event, context.get_binding(event.source.channel_id)),
            binding,
            context,
            None,
            first.direct,
            frozenset(record.kind for record in group),
            {record.kind: record.attempts for record in group},
            owner,
        )
        # The node's own count of one stands for this entry: nothing else is waited for.

    def _lapsed(self) -> None:
        """Called when the lease's id was given up: others may go on with what it held."""
        self.counters["lapsed"] += 1
        self._lanes.leave_all()
        bus = self._parts.bus
        if bus.heard(FrameworkEventType.WORKER_LAPSED):
            told = bus.emit(FrameworkEventType.WORKER_LAPSED, data={"owner": self._lease.owner})
            self._parts.tasks.start(told, name="roomkit-lapsed")

    def _confirmed(self) -> None:
        """Called after each beat: the store answers, so what it refused before may go now."""
        if len(self._recorder):
            self._recorder.arm()


def _skipped(record: DeliveryRecord, owner: str, reason: str) -> DeliveryFinish:
    result = None
    if record.kind is DeliveryKind.DELIVER:
        result = {"status": "skipped", "attempts": record.attempts, "error": str(reason)}
    return DeliveryFinish(
        record.id,
        record.event_id,
        record.channel_id,
        record.kind,
        RecordStatus.SKIPPED,
        result,
        owner,
        record.attempts,
        error=str(reason),
        room_id=record.room_id,
    )
