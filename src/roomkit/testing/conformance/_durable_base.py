"""The base of the suite of durable stores: time, a second store, and short words for work."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
)
from roomkit.store.durable import DEAD_AFTER, DurableStore, InboxRow
from roomkit.testing.builders import make_event
from roomkit.testing.conformance._store_base import StoreSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from roomkit.store.commit import CommitResult
    from roomkit.store.durable import DeadLetter, DeliveryRecord

GONE = DEAD_AFTER + 1.0
"""Seconds of silence after which nobody takes a worker for alive."""

ROOM = "room-1"
LANE = (ROOM, "c")


class DurableSuite(StoreSuite):
    """A durable store for each test, whose time can be moved and which may have a twin."""

    @abstractmethod
    async def make_store(self) -> DurableStore:
        """Return a new, empty store; it is opened for the test and closed after it."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Let time pass for the stores of the present test.

        Where the clock is not ours to move, what the store has written is made so much older.
        """

    async def another(self, store: DurableStore) -> DurableStore:
        """Return a second store object on the same database, as another process has one.

        The suite closes it. Tests that need one are skipped when there is none, as by default.
        """
        pytest.skip("this store cannot be opened twice")

    @pytest_asyncio.fixture
    async def second(self, store: DurableStore) -> AsyncIterator[DurableStore]:
        """Another store on the database of ``store``."""
        second = await self.another(store)
        await second.open()
        yield second
        await second.close()

    async def later(self, store: DurableStore, seconds: float, *workers: str) -> None:
        """Let time pass; only the workers named are alive afterwards, if it was long."""
        await self.advance(seconds)
        await alive(store, *workers)


async def alive(store: DurableStore, *workers: str, channels: Iterable[str] = ()) -> None:
    """Let workers beat."""
    for worker in workers:
        await store.beat(worker, tuple(channels))


def work_id(name: str) -> str:
    """Return the id of work a test calls by a name: 32 hexadecimal digits."""
    return name.encode().hex().ljust(32, "0")


def name_of(identifier: str) -> str:
    """Return what a test calls the work of an id."""
    return bytes.fromhex(identifier).rstrip(b"\0").decode()


def names(work: Iterable[DeliveryRecord | InboxRow | DeadLetter]) -> list[str]:
    """Return what a test calls some work, in order."""
    return [name_of(one.id) for one in work]


def planned(
    name: str,
    channel_id: str = "c",
    *,
    kind: DeliveryKind = DeliveryKind.DELIVER,
    direct: bool = False,
    claim: bool = True,
) -> DeliveryPlan:
    """Return a delivery of the event ``e-<name>``."""
    return DeliveryPlan(work_id(name), f"e-{name}", channel_id, kind, direct, claim)


async def post(
    store: DurableStore,
    *deliveries: str,
    owner: str | None = None,
    channel_id: str = "c",
    room_id: str = ROOM,
    claim: bool = True,
) -> list[str]:
    """Commit one event and delivery for each name, in one batch; return the names left."""
    batch = CommitBatch(
        room_id,
        tuple(make_event(room_id, id=f"e-{name}") for name in deliveries),
        deliveries=tuple(planned(name, channel_id, claim=claim) for name in deliveries),
        owner=owner,
    )
    return left(await store.commit(batch))


def left(result: CommitResult) -> list[str]:
    """Return what an owner did not get, sorted; the batch itself must have been written."""
    assert (result.duplicate_of, result.refused) == (None, None)
    return sorted(map(name_of, result.left))


async def take(store: DurableStore, owner: str, *channels: str, **options: Any) -> list[str]:
    """Claim deliveries of some channels (of ``c``, if none is named); return the names."""
    return names(await store.claim_deliveries(owner, channels or ("c",), **options))


def ended(
    name: str,
    owner: str | None,
    status: RecordStatus = RecordStatus.DONE,
    channel_id: str = "c",
    **fields: Any,
) -> DeliveryFinish:
    """Return the end of the delivery a test calls so."""
    return DeliveryFinish(
        work_id(name),
        f"e-{name}",
        channel_id,
        DeliveryKind.DELIVER,
        status,
        owner=owner,
        **fields,
    )


def again(name: str, owner: str, retry_in: float, attempts: int = 1) -> DeliveryFinish:
    """Return that a delivery failed and is to be tried again."""
    return ended(
        name, owner, RecordStatus.PENDING, attempts=attempts, retry_in=retry_in, error="busy"
    )


async def end(store: DurableStore, owner: str, *deliveries: str) -> set[tuple[str, str]]:
    """Say that deliveries are done; return the lanes somebody should look at."""
    return set(await store.finish_deliveries([ended(name, owner) for name in deliveries]))


async def results(store: DurableStore, name: str) -> dict[str, Any]:
    """Return what an event knows of its deliveries."""
    event = await store.get_event(f"e-{name}")
    assert event is not None
    return event.delivery_results


async def pending(store: DurableStore) -> int:
    """Return how many delivery records wait."""
    return (await store.work_stats()).deliveries.depth


def mail(
    name: str, sender: str = "ann", channel_id: str = "c", *, key: str | None = None
) -> InboxRow:
    """Return an accepted message; its key is its name unless said otherwise."""
    return InboxRow(work_id(name), channel_id, sender, key or name, f'{{"body": "{name}"}}')


async def accept(store: DurableStore, *rows: str, sender: str = "ann") -> None:
    """Accept messages of one sender, in order."""
    for name in rows:
        assert await store.accept(mail(name, sender)) == (work_id(name), True)


async def read(store: DurableStore, owner: str, *channels: str, **options: Any) -> list[str]:
    """Claim messages of some channels (of ``c``, if none is named); return their names."""
    return names(await store.claim_inbox(owner, channels or ("c",), **options))
