"""The inbox: messages accepted now and brought into their rooms as soon as may be.

An accepted message is one row of the store, once per channel and key. Rows of one channel and
sender are taken in their order, and a row ends in the very commit that makes it part of a
room: a crash in between changes nothing, and nothing is taken in twice.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from roomkit._aio import TaskSet
from roomkit._ids import new_id
from roomkit._logging import brief, ids, log_failure
from roomkit.core.pipeline.door import MAX_KEY_LENGTH, check_key, clean_message
from roomkit.core.pipeline.rounds import Rounds
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import (
    ChannelNotRegisteredError,
    CommitOutcomeUnknown,
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
)
from roomkit.models.channel import RetryPolicy
from roomkit.models.delivery import AcceptResult, InboundMessage
from roomkit.models.reasons import Reason
from roomkit.store.commit import RecordStatus
from roomkit.store.durable import DeadLetter, InboxRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from roomkit.core.pipeline.context import Parts, Refusal
    from roomkit.core.pipeline.lease import Lease
    from roomkit.core.pipeline.worker import Worker
    from roomkit.store.durable import DurableStore

logger: logging.Logger = logging.getLogger("roomkit.worker")

POLL = 1.0
"""Seconds after which the inbox is looked at in any case."""

SENDERS = 100
"""So many senders' messages are taken in at once."""

STOP_WAIT = 2.0
"""Seconds the rows in hand may take when the kit closes; then they are stopped, and wait for
whoever comes next."""

MAX_RETRIES = 8
"""How often a row that failed is tried again; then it is a dead letter."""

# Not the message's fault: the same message may be let in later.
_PASSING = frozenset(
    {Reason.PROCESS_TIMEOUT, Reason.LOCK_TIMEOUT, Reason.OVERLOADED, Reason.LEASE_LOST}
)


class _Payload(BaseModel, defer_build=True):
    """What a row keeps."""

    message: InboundMessage
    room_id: str | None = None
    organization_id: str | None = None


class Inbox:
    """Accepts messages, and takes them in.

    Args:
        parts: The engine's collaborators.
        lease: Under which id rows are claimed.
        worker: Begins and ends the rounds.
        take_in: Brings one message into its room, its row ending with the commit.
    """

    def __init__(
        self,
        parts: Parts,
        lease: Lease,
        worker: Worker,
        take_in: Callable[
            [InboundMessage, str | None, str | None, str], Awaitable[Refusal | None]
        ],
    ) -> None:
        self._parts = parts
        self._lease = lease
        self._worker = worker
        self._take_in = take_in
        self._tasks = TaskSet("roomkit-inbox")
        self._rounds = Rounds("roomkit-inbox", self._round, POLL, parts.clock)
        self._stopping = False
        worker.add(self._rounds, woken=True)

    async def accept(
        self,
        message: InboundMessage,
        *,
        room_id: str | None,
        organization_id: str | None,
        raw: bytes | None,
        position: int,
        not_before: datetime | None,
        replace: bool,
    ) -> AcceptResult:
        """Keep a message; see ``RoomKit.accept``."""
        queue = self._queue()
        self._parts.registry.require(message.channel_id)
        row_id = new_id()
        message = clean_message(message)
        key = _key(message, raw, position) or f"inbox:{row_id}"
        check_key(key)
        if message.idempotency_key is None:
            message = message.cleaned(idempotency_key=key)
        payload = _Payload(message=message, room_id=room_id, organization_id=organization_id)
        row = InboxRow(
            row_id, message.channel_id, message.sender_id, key, payload.model_dump_json()
        )
        delay = 0.0
        if not_before is not None:
            if not_before.tzinfo is None:
                raise InvalidInputError("not_before needs a timezone")
            delay = max(0.0, (not_before - self._parts.clock.now()).total_seconds())
        kept, is_new = await answered(queue.accept(row, delay=delay, replace=replace))
        self._worker.counters["accepted"] += is_new
        if delay:
            if delay < POLL:
                self._rounds.poke_in(delay)
        else:
            self._rounds.poke()
        return AcceptResult(id=kept, duplicate=not is_new)

    def _queue(self) -> DurableStore:
        queue = self._lease.queue
        if queue is None:
            raise ConfigurationError(
                f"accept() needs a store that keeps an inbox, such as SQLiteStore or "
                f"PostgresStore; {type(self._parts.store).__name__} keeps none - use it, or "
                "process_inbound()"
            )
        return queue

    def halt(self) -> None:
        """Begin with no further row."""
        self._stopping = True

    async def stop(self) -> None:
        """Take nothing more in; the row in hand of each sender is ended first."""
        self.halt()
        if not await self._tasks.wait(STOP_WAIT):
            await self._tasks.cancel(timeout=STOP_WAIT)
        if self._lease.queue is not None and self._lease.owner is not None and self._lease.held:
            try:
                # What was claimed and not begun is open to others while deliveries still end.
                await answered(self._lease.queue.release_inbox(self._lease.owner))
            except Exception as exc:  # noqa: BLE001 - it is released when the lease ends
                log_failure(logger, exc, "accepted messages were not given back yet")

    # -- the round ------------------------------------------------------------------------

    async def _round(self) -> bool:
        """Claim rows and begin with them; return whether there may be more."""
        queue, owner = self._lease.queue, self._lease.owner
        free = SENDERS - len(self._tasks)
        channels = tuple(self._parts.registry.channels)
        if queue is None or owner is None or not self._lease.held or free <= 0 or not channels:
            return False
        try:
            rows = await answered(queue.claim_inbox(owner, channels, limit=free))
        except BaseException:
            # It is not known what was claimed: all claims are given up.
            self._lease.renew()
            raise
        if self._stopping or owner != self._lease.owner:
            return False
        by_sender: dict[tuple[str, str], list[InboxRow]] = {}
        for row in rows:
            by_sender.setdefault((row.channel_id, row.sender_id), []).append(row)
        for group in by_sender.values():
            self._tasks.start(self._drain(queue, owner, group), name="roomkit-inbox")
        return len(by_sender) >= free

    async def _drain(self, queue: DurableStore, owner: str, rows: list[InboxRow]) -> None:
        """Take in the rows of one sender, in order, up to the first that must wait."""
        try:
            for row in rows:
                if self._stopping or not self._lease.held or owner != self._lease.owner:
                    return
                if not await self._take(queue, owner, row):
                    break
        except Exception as exc:  # noqa: BLE001 - the store did not take the end of a row
            log_failure(logger, exc, "the inbox could not go on; its claims are given up")
            if owner == self._lease.owner:
                self._lease.renew()
        self._rounds.poke()

    async def _take(self, queue: DurableStore, owner: str, row: InboxRow) -> bool:
        """Take one row in; return whether the next one may follow."""
        try:
            kept = _Payload.model_validate_json(row.payload)
            refusal = await self._take_in(kept.message, kept.room_id, kept.organization_id, row.id)
        except CommitOutcomeUnknown:
            # The row ended if the message was stored; else it is claimed again.
            return False
        except ChannelNotRegisteredError:
            # Unregistered meanwhile; another process may have it.
            return await self._put_off(queue, owner, row, Reason.NOT_REGISTERED)
        except ValidationError:
            # Written by a release that knew more. Pydantic's text would quote the message.
            return await self._bury(queue, owner, row, "unreadable_payload")
        except (InvalidInputError, NotFoundError) as exc:
            return await self._bury(queue, owner, row, brief(exc))
        except Exception as exc:  # noqa: BLE001 - foreign code, or the store
            return await self._put_off(queue, owner, row, type(exc).__name__)
        if refusal is None:
            self._worker.counters["taken_in"] += 1
            return True
        if refusal.reason in _PASSING:
            return await self._put_off(queue, owner, row, str(refusal.reason))
        if refusal.reason == Reason.ROOM_CLOSED:
            return await self._bury(queue, owner, row, str(refusal.reason))
        logger.info(
            "an accepted message was refused: %s",
            refusal.reason,
            extra=ids(channel_id=row.channel_id),
        )
        end = queue.finish_inbox(owner, row.id, RecordStatus.DONE, error=str(refusal.reason))
        return await answered(end)

    async def _put_off(self, queue: DurableStore, owner: str, row: InboxRow, error: str) -> bool:
        """Try a row again later, or give it up; its sender's other rows wait with it."""
        if row.attempts >= MAX_RETRIES:
            return await self._bury(queue, owner, row, error)
        delay = RetryPolicy(max_retries=MAX_RETRIES).delay_for(row.attempts)
        logger.warning(
            "an accepted message could not be taken in (%s); it is tried again in %.0f s",
            error,
            delay,
            extra=ids(channel_id=row.channel_id, attempt=row.attempts + 1),
        )
        pending = RecordStatus.PENDING
        await answered(queue.finish_inbox(owner, row.id, pending, error=error, retry_in=delay))
        return False

    async def _bury(self, queue: DurableStore, owner: str, row: InboxRow, error: str) -> bool:
        """Give a row up: it is a dead letter from now on."""
        if not await answered(queue.finish_inbox(owner, row.id, RecordStatus.DEAD, error=error)):
            return False
        now = self._parts.clock.now()
        attempts = row.attempts + 1
        await self._worker.tell_dead(
            DeadLetter(row.id, "inbox", row.channel_id, None, None, attempts, error, now)
        )
        return True


def _key(message: InboundMessage, raw: bytes | None, position: int) -> str | None:
    """Return the key under which a repeat of the message is known; None when it has none."""
    if message.idempotency_key is not None:
        return message.idempotency_key
    if message.external_id:
        key = f"inbox:{message.channel_id}:{message.external_id}"
        if len(key) <= MAX_KEY_LENGTH:
            return key
        return f"inbox:{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}"
    if raw is not None:
        digest = hashlib.blake2b(raw, digest_size=20)
        digest.update(f"\0{message.channel_id}\0{position}".encode())
        return f"inbox:{digest.hexdigest()}"
    return None
