"""What a store that outlives the process adds: the work that is still to be done.

Two queues are kept beside the conversations. **Delivery records** are written by the commit of
their event; those of one room and channel are a *lane*, done strictly in order, by one process
at a time. **Inbox rows** are messages accepted but not yet part of a room; those of one channel
and sender are done in order too.

Who works is a *worker*: it beats once a second, and one that has not for ``DEAD_AFTER`` seconds
(by the store's own clock) has lost its claims to whoever comes first. Everything a worker
finishes is fenced by its id, so a worker that comes back too late changes nothing.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.store.base import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from roomkit.store.commit import DeliveryKind, RecordStatus

DEAD_AFTER = 4.0
"""Seconds without a beat after which a worker's claims are open to others."""

LaneKey = tuple[str, str]
"""A room id and a channel id."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery that a worker has claimed.

    Attributes:
        id: The delivery id, the same over every attempt.
        room_id: The room.
        event_id: The event to deliver.
        channel_id: The target.
        kind: Deliver to it, or let it react.
        direct: An injected event: no access, mute or visibility applies.
        attempts: How often it was tried before.
    """

    id: str
    room_id: str
    event_id: str
    channel_id: str
    kind: DeliveryKind
    direct: bool = False
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class InboxRow:
    """An accepted message on its way in.

    Attributes:
        id: 32 hexadecimal digits.
        channel_id: The channel it came by.
        sender_id: Its sender: rows of one channel and sender are done in order.
        key: Unique per channel.
        payload: The message and what was said about it, as JSON text.
        attempts: How often it was tried before.
    """

    id: str
    channel_id: str
    sender_id: str
    key: str
    payload: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that was given up: a delivery, a reaction or an inbox row.

    Attributes:
        id: What ``retry_dead_letter`` and ``discard_dead_letter`` take.
        kind: ``deliver``, ``react`` or ``inbox``.
        channel_id: The target, or for ``inbox`` where it came by.
        room_id: The room; None for ``inbox``.
        event_id: The event; None for ``inbox``.
        attempts: How often it was tried.
        error: Why it was given up.
        died_at: When.
    """

    id: str
    kind: str
    channel_id: str
    room_id: str | None
    event_id: str | None
    attempts: int
    error: str | None
    died_at: datetime


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue at a moment.

    Attributes:
        depth: Rows not yet done or dead.
        due: Those of them that wait for nothing but a worker (or are being worked on).
        lag: Seconds the oldest of ``depth`` has been waiting since it was written; 0.0 if none.
        attempts: Failed attempts of the rows of ``depth``.
        dead: Dead letters.
    """

    depth: int = 0
    due: int = 0
    lag: float = 0.0
    attempts: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class WorkStats:
    """Both queues at a moment, over all processes.

    Attributes:
        deliveries: Deliveries and reactions.
        inbox: Accepted messages.
        workers: Workers that are alive.
    """

    deliveries: QueueStats
    inbox: QueueStats
    workers: int


class DurableStore(ConversationStore):
    """A store that survives its process and keeps the queues of work.

    Its ``commit`` is one transaction under the room's row lock, and besides what the base
    says it:

    - writes ``batch.deliveries`` as pending records. A record is claimed for ``batch.owner``
      when its plan says ``claim``, the batch has an owner, and every pending record of its
      lane is claimed by that owner already (or there is none); else it is unclaimed and its
      id is in ``result.left``;
    - ends ``batch.finishes`` as ``finish_deliveries`` does, but refuses the whole batch with
      ``lease_lost`` when one with an owner is no longer pending and claimed by that owner;
    - ends the inbox row ``batch.inbox_id``, likewise refusing when it is not claimed by
      ``batch.owner``.

    So within a lane the pending records are, in order, first those of one owner, then
    unclaimed ones.

    ``finish_deliveries`` changes only records that are pending and claimed by
    ``finish.owner``; a finish without owner changes no record, only the event's results. A
    PENDING finish sets attempts, error and the time of the next attempt, and makes all
    pending records of the lane that the owner holds unclaimed. It returns the lanes among
    its finishes whose first pending record is unclaimed and due.
    """

    durable = True

    # -- workers -------------------------------------------------------------------------

    @abstractmethod
    async def beat(
        self, owner: str, channels: Collection[str] = (), *, instead_of: str | None = None
    ) -> None:
        """Say that a worker lives, and which channels it has.

        Args:
            owner: The worker; new ones are added.
            channels: The channel ids it can deliver to.
            instead_of: An earlier id of the same worker, given up: it is forgotten, and so its
                claims are open to others at once.
        """

    @abstractmethod
    async def retire(self, owner: str) -> None:
        """Forget a worker: its claims become unclaimed."""

    # -- deliveries ----------------------------------------------------------------------

    @abstractmethod
    async def claim_deliveries(
        self,
        owner: str,
        channels: Collection[str],
        *,
        lanes: Collection[LaneKey] | None = None,
        limit: int = 100,
        per_lane: int = 100,
    ) -> list[DeliveryRecord]:
        """Claim the records of lanes whose first pending one is due and nobody's.

        Nobody's: unclaimed, or claimed by a worker that is dead or forgotten. Lanes are taken
        in the order of their oldest record.

        Args:
            owner: The worker.
            channels: Only lanes of these channels.
            lanes: Only these lanes; None for any.
            limit: How many lanes at most.
            per_lane: How many records of each lane at most, from its head, up to the first
                that is not due.

        Returns:
            The records, each lane's in order.
        """

    @abstractmethod
    async def release_deliveries(
        self, owner: str, known: Collection[str], older_than: float
    ) -> int:
        """Make unclaimed what a worker holds without knowing of it; return how many.

        Args:
            owner: The worker.
            known: The delivery ids it knows it holds.
            older_than: Only records written that many seconds ago.
        """

    @abstractmethod
    async def expire_deliveries(self, older_than: float) -> list[DeadLetter]:
        """Let records die that wait for a channel no living worker has.

        Args:
            older_than: Only records written that many seconds ago that are nobody's.

        Returns:
            What died, with the error ``channel_not_registered``; at most 1,000.
        """

    # -- the inbox -----------------------------------------------------------------------

    @abstractmethod
    async def accept(
        self, row: InboxRow, *, delay: float = 0.0, replace: bool = False
    ) -> tuple[str, bool]:
        """Keep a message that is to enter a room, once per (channel, key).

        Args:
            row: The message.
            delay: Seconds to wait before it is due.
            replace: Whether a row of the same key that is pending, unclaimed and never tried
                gets the new payload and delay.

        Returns:
            The row's id, and whether it is new (or was replaced); False for a repeat.
        """

    @abstractmethod
    async def claim_inbox(
        self, owner: str, channels: Collection[str], *, limit: int = 100, per_sender: int = 20
    ) -> list[InboxRow]:
        """Claim rows of senders whose first pending row is due and nobody's.

        Args:
            owner: The worker.
            channels: Only rows of these channels.
            limit: How many senders at most, oldest row first.
            per_sender: How many rows of each at most, from the first on, up to the first that
                is not due.

        Returns:
            The rows, each sender's in order.
        """

    @abstractmethod
    async def finish_inbox(
        self,
        owner: str,
        row_id: str,
        status: RecordStatus,
        *,
        error: str | None = None,
        retry_in: float | None = None,
    ) -> bool:
        """End a claimed row without a commit, or (PENDING) try it again later.

        Attempts are counted by PENDING and DEAD. PENDING makes every row of the sender that
        the worker holds unclaimed.

        Returns:
            False when the row is not the worker's any more; then nothing changed.
        """

    @abstractmethod
    async def release_inbox(self, owner: str) -> None:
        """Make all inbox rows of a worker unclaimed."""

    # -- dead letters and figures ----------------------------------------------------------

    @abstractmethod
    async def list_dead_letters(
        self,
        *,
        kind: str | None = None,
        room_id: str | None = None,
        channel_id: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Return work that was given up, latest first."""

    @abstractmethod
    async def retry_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter pending, due and untried; False if there is none of this id."""

    @abstractmethod
    async def discard_dead_letter(self, letter_id: str) -> bool:
        """Make a dead letter SKIPPED; False if there is none of this id."""

    @abstractmethod
    async def work_stats(self) -> WorkStats:
        """Return figures of both queues."""

    @abstractmethod
    async def purge(self, before: datetime) -> int:
        """Remove delivery records and inbox rows that ended before a time; return how many.

        Events and their idempotency keys stay: a repeat of a purged message is still known.
        Dead letters stay too, until they are retried or discarded.
        """

    # -- waking up -----------------------------------------------------------------------

    async def wait_for_work(self, timeout: float) -> None:
        """Return when another process may have left work, or after ``timeout`` seconds.

        It may return early for no reason. The default just waits: polling is the fence, and a
        store that can be told sooner overrides this.
        """
        await asyncio.sleep(timeout)
