"""Wrong durable stores: each has one bug that stores of this kind have had."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roomkit.store.commit import CommitResult, RecordStatus, RoomClaim
from roomkit.store.durable import InboxRow
from tests.support.durable_memory import DurableMemoryStore, Queue, Work

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.identity import Identity
    from roomkit.store.commit import CommitBatch, DeliveryFinish, DeliveryPlan, OpenedRoom
    from roomkit.store.durable import DeliveryRecord


class CountIndex(DurableMemoryStore):
    """Numbers events by a count taken before others had their turn."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Count, let others come, and tell what was counted."""
        count = await self.get_event_count(batch.room_id)
        await asyncio.sleep(0)
        result = await super().commit(batch)
        told = tuple(event.numbered(count + n) for n, event in enumerate(result.events))
        return replace(result, events=told)


class AckBeforeCommit(DurableMemoryStore):
    """Says that a batch is stored, and stores it a little later."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._late: list[asyncio.Task[Any]] = []

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Answer at once."""
        count = await self.get_event_count(batch.room_id)
        self._late.append(asyncio.ensure_future(super().commit(batch)))
        return CommitResult(tuple(e.numbered(count + n) for n, e in enumerate(batch.events)))


class BurntKeys(DurableMemoryStore):
    """Takes a key for used as soon as somebody tried to use it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tried: dict[str, RoomEvent] = {}

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Note the keys first."""
        for event in batch.events:
            first = self._tried.setdefault(event.idempotency_key or event.id, event)
            if first is not event:
                return CommitResult(duplicate_of=first)
        return await super().commit(batch)


class FinishWithoutFence(DurableMemoryStore):
    """Lets anybody end a delivery."""

    def fits_alone(self, finish: DeliveryFinish) -> bool:
        """Look at the record only."""
        one = self.deliveries.work.get(finish.id)
        return finish.owner is None or (one is not None and one.status == RecordStatus.PENDING)


class CommitWithoutFence(DurableMemoryStore):
    """Writes a batch also when the deliveries it ends were lost."""

    def fits(self, batch: CommitBatch, finish: DeliveryFinish) -> bool:
        """Not ask."""
        return True


class RowWithoutFence(DurableMemoryStore):
    """Writes a batch also when its inbox row was lost."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """End the row only where it can be."""
        if not self.holds(self.inbox, batch.inbox_id, batch.owner):
            batch = replace(batch, inbox_id=None)
        return await super().commit(batch)


class RowLeftBehind(DurableMemoryStore):
    """Stores an accepted message and forgets to end its row."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Drop it."""
        return await super().commit(replace(batch, inbox_id=None))


class ClaimWithoutLock(DurableMemoryStore):
    """Claims deliveries by what it saw before others had their turn."""

    async def claim_deliveries(self, *args: Any, **options: Any) -> list[DeliveryRecord]:
        """Look, let others come, then claim."""
        with_owners = {one.id: one.owner for one in self.deliveries.work.values()}
        await asyncio.sleep(0)
        _restore(self.deliveries, with_owners)
        return await super().claim_deliveries(*args, **options)


class ReadWithoutLock(DurableMemoryStore):
    """Claims inbox rows in the same way."""

    async def claim_inbox(self, *args: Any, **options: Any) -> list[InboxRow]:
        """Look, let others come, then claim."""
        with_owners = {one.id: one.owner for one in self.inbox.work.values()}
        await asyncio.sleep(0)
        _restore(self.inbox, with_owners)
        return await super().claim_inbox(*args, **options)


def _restore(queue: Queue, owners: dict[str, str | None]) -> None:
    for identifier, owner in owners.items():
        queue.work[identifier].owner = owner


class RestLeftToTheDead(DurableMemoryStore):
    """Takes the head of a dead worker's lane and leaves the rest claimed by the dead."""

    async def claim_deliveries(self, *args: Any, **options: Any) -> list[DeliveryRecord]:
        """Give back what was not taken."""
        before = {one.id: one.owner for one in self.deliveries.work.values()}
        found = await super().claim_deliveries(*args, **options)
        for record in found:
            del before[record.id]
        _restore(self.deliveries, before)
        return found


class Overtaking(DurableMemoryStore):
    """Claims what is planned behind unclaimed work, if it holds anything of the lane."""

    def plan(self, batch: CommitBatch, plan: DeliveryPlan) -> bool:
        """Ask only for something of its own."""
        lane = (batch.room_id, plan.channel_id)
        mine = any(one.owner == batch.owner for one in self.deliveries.lanes().get(lane, []))
        got = super().plan(batch, plan)
        if mine and not got:
            self.deliveries.work[plan.id].owner = batch.owner
        return got or mine


class LaneKept(DurableMemoryStore):
    """Gives back only the delivery that failed, not what stands behind it."""

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Keep the others."""
        before = {one.id: one.owner for one in self.deliveries.work.values()}
        told = await super().finish_deliveries(finishes)
        for finish in finishes:
            before.pop(finish.id, None)
        _restore(self.deliveries, before)
        return told


class LanesUntold(DurableMemoryStore):
    """Does not say which lanes have work left."""

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Say nothing."""
        await super().finish_deliveries(finishes)
        return ()


class ResultsOverwritten(DurableMemoryStore):
    """Writes results into the event as it was before others had their turn."""

    async def finish_deliveries(
        self, finishes: Sequence[DeliveryFinish]
    ) -> Collection[tuple[str, str]]:
        """Read, let others come, then write."""
        events = [await self.get_event(finish.event_id) for finish in finishes]
        await asyncio.sleep(0)
        told = await super().finish_deliveries(finishes)
        for event, finish in zip(events, finishes, strict=True):
            if event is not None and finish.result is not None:
                kept = {**event.delivery_results, finish.channel_id: dict(finish.result)}
                await self.update_event(event.with_results(kept))
        return told


class Immortal(DurableMemoryStore):
    """Takes every worker it has heard of for alive."""

    def _living(self) -> set[str]:
        return set(self.workers)


class Mortal(DurableMemoryStore):
    """Takes every worker for dead."""

    def _living(self) -> set[str]:
        return set()


class Impatient(DurableMemoryStore):
    """Tries again at once, whatever was asked."""

    def _after(self, seconds: float) -> datetime:
        return super()._after(0.0)


class Expiring(DurableMemoryStore):
    """Gives up old work also when somebody has its channel."""

    async def expire_deliveries(self, older_than: float) -> Any:
        """Forget who has what."""
        self.workers = {name: (beat, frozenset()) for name, (beat, _) in self.workers.items()}
        return await super().expire_deliveries(older_than)


class Forgetful(DurableMemoryStore):
    """Releases also what its holder knows of."""

    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        """Not ask."""
        return await super().release_deliveries(owner, (), older_than)


class AcceptWithoutLock(DurableMemoryStore):
    """Looks for a key, lets others come, and accepts."""

    async def accept(self, row: InboxRow, **options: Any) -> tuple[str, bool]:
        """Decide by what was there before."""
        keys = {(one.what.channel_id, one.what.key) for one in self.inbox.work.values()}
        await asyncio.sleep(0)
        if (row.channel_id, row.key) in keys:
            return await super().accept(row, **options)
        now = self.clock.now()
        lane = (row.channel_id, row.sender_id)
        self.inbox.work[row.id] = Work(row.id, "inbox", lane, now, now, row)
        return row.id, True


class UnscopedKeys(DurableMemoryStore):
    """Takes one key on two channels for one message."""

    async def accept(self, row: InboxRow, **options: Any) -> tuple[str, bool]:
        """Look at the key alone."""
        for one in self.inbox.work.values():
            if one.what.key == row.key:
                return one.id, False
        return await super().accept(row, **options)


class ReplacesBegun(DurableMemoryStore):
    """Replaces also what a worker is at."""

    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        """Not ask."""
        told, new = await super().accept(row, delay=delay)
        if replace and not new:
            one = self.inbox.work[told]
            one.what = InboxRow(one.id, *one.lane, row.key, row.payload)
        return told, new or replace


class DeathUncounted(DurableMemoryStore):
    """Does not count the attempt at which a message was given up."""

    async def finish_inbox(self, owner: str, row_id: str, status: Any, **options: Any) -> bool:
        """Take it back."""
        done = await super().finish_inbox(owner, row_id, status, **options)
        if done and status == RecordStatus.DEAD:
            self.inbox.work[row_id].attempts -= 1
        return done


class PurgesByAge(DurableMemoryStore):
    """Removes what was written before a time, whenever it ended."""

    async def purge(self, before: datetime) -> int:
        """Look at the wrong time."""
        for queue in (self.deliveries, self.inbox):
            for one in queue.work.values():
                if one.ended is not None and one.status != RecordStatus.DEAD:
                    one.ended = one.written
        return await super().purge(before)


class UnscopedClaims(DurableMemoryStore):
    """One open room for a sender, whatever the organization."""

    async def open_room(self, claim: RoomClaim, *args: Any, **options: Any) -> OpenedRoom:
        """Leave it out."""
        claim = RoomClaim(None, claim.channel_id, claim.sender_id)
        return await super().open_room(claim, *args, **options)


class UnscopedIdentity(DurableMemoryStore):
    """Finds an address whatever kind of channel it belongs to."""

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Try the others as well."""
        for kind in (channel_type, "sms", "email"):
            found = await super().resolve_identity(kind, address)
            if found is not None:
                return found
        return None


class StaleLook(DurableMemoryStore):
    """Shows what the caller knows already."""

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Not ask."""
        context, event = await super().look(room_id, key=key)
        return known or context, event


class HalfCommit(DurableMemoryStore):
    """Writes the members of a batch before it knows whether it can write the rest."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Begin with the bindings."""
        for binding in batch.bindings:
            await self.add_binding(binding)
        return await super().commit(batch)
