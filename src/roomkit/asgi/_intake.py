"""From what a webhook held into the kit: messages, statuses and signals, each only once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit._clock import SystemClock
from roomkit._logging import ids, log_failure
from roomkit.asgi._held import HeldMessages
from roomkit.asgi._respond import RETRY_AFTER, Refused, not_found, refused
from roomkit.exceptions import (
    ChannelNotRegisteredError,
    ConflictError,
    EventRefusedError,
    InvalidInputError,
    KitClosedError,
    LockTimeoutError,
    NotFoundError,
    ProviderError,
    StoreError,
    WebhookError,
    WebhookRefused,
)
from roomkit.models.delivery import (
    ACCEPT_NOT_BEFORE,
    ACCEPT_REPLACE,
    DeliveryStatus,
    InboundMessage,
)
from roomkit.models.reasons import Reason
from roomkit.store.durable import DurableStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.core.framework import RoomKit
    from roomkit.models.delivery import InboundResult
    from roomkit.providers.webhook import Signal, WebhookItem

logger = logging.getLogger("roomkit.asgi.webhooks")

STATUS_WAIT = 5.0
"""Seconds statuses may keep a vendor waiting; their handlers may take longer."""

MAX_STATUSES = 1000
"""So many statuses are processed at once."""

_SPOILED = frozenset({400, 500})
"""Answers to an item that do not concern the other items."""

_LATER = frozenset(
    {
        Reason.PROCESS_TIMEOUT,
        Reason.LOCK_TIMEOUT,
        Reason.LEASE_LOST,
        Reason.STALE,
        Reason.SHUTDOWN,
    }
)
"""Refusals that say nothing about the message itself."""


class Intake:
    """Gives the kit what a webhook held.

    Args:
        kit: The kit.
        tasks: Owns what goes on after the answer.
        clock: When a message that is to wait may be taken in.
        status_wait: Seconds the statuses of one request may be waited for.
    """

    def __init__(
        self,
        kit: RoomKit,
        tasks: TaskSet,
        status_wait: float = STATUS_WAIT,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._kit = kit
        self._clock = clock or SystemClock()
        self._held = HeldMessages(self._take, tasks, self._clock)
        self._tasks = tasks
        self._status_wait = status_wait
        self._statuses = 0

    async def take(self, items: Sequence[WebhookItem], raw: bytes, channel_id: str) -> None:
        """Return when everything is kept, so that the vendor need not come again.

        One item that can never be kept does not stop the others.

        Args:
            items: What the body held, in its order.
            raw: The body; a message without an id is known by it.
            channel_id: The channel it came for.

        Raises:
            Refused: (400, 500) An item could not be kept, (429) there is too much to do,
                (503) not now. What was kept is known when the vendor comes again.
        """
        until = asyncio.get_running_loop().time() + self._status_wait
        worst: Refused | None = None
        for position, item in enumerate(items):
            try:
                await self._keep(item, raw, position, until)
            except Exception as exc:
                refusal = self._weighed(exc, channel_id)
                if refusal is None:
                    continue
                if refusal.answer.status not in _SPOILED:
                    raise refusal from exc
                if worst is None or worst.answer.status < refusal.answer.status:
                    worst = refusal
        if worst is not None:
            raise worst

    @staticmethod
    def _weighed(error: Exception, channel_id: str) -> Refused | None:
        """Return what an item's failure means; None: nothing, a repeat would change nothing."""
        refusal = refusal_of(error)
        if refusal.answer.status != 500:
            return refusal
        if isinstance(error, NotFoundError | ConflictError):
            logger.info(
                "an item of a webhook concerns nothing we know, or what is closed: %s",
                type(error).__name__,
                extra=ids(channel_id=channel_id),
            )
            return None
        log_failure(
            logger,
            error,
            "an item of a webhook of channel %s could not be processed",
            channel_id,
            extra=ids(channel_id=channel_id),
        )
        return refusal

    async def _keep(self, item: WebhookItem, raw: bytes, position: int, until: float) -> None:
        if isinstance(item, DeliveryStatus):
            await self._status(item, until)
        elif isinstance(item, InboundMessage):
            await self._message(item, raw, position)
        else:
            await self._signal(item, raw, position)

    async def _message(self, message: InboundMessage, raw: bytes, position: int) -> None:
        message, not_before, replaces = _wishes(message)
        if isinstance(self._kit.store, DurableStore):
            kept = await self._kit.accept(
                message, raw=raw, position=position, not_before=not_before, replace=replaces
            )
            if kept.duplicate and replaces:
                logger.warning(
                    "the second half of a message came too late",
                    extra=ids(channel_id=message.channel_id),
                )
            return
        if message.idempotency_key is None:
            key = _key(message.channel_id, message.external_id, raw, position)
            message = message.cleaned(idempotency_key=key)
        if replaces:
            self._held.forget(message)
        elif not_before is not None:
            seconds = (not_before - self._clock.now()).total_seconds()
            if seconds > 0 and self._held.hold(message, seconds):
                return
        await self._take(message)

    async def _take(self, message: InboundMessage) -> None:
        _judge(await self._kit.process_inbound(message, wait=False))

    async def _signal(self, signal: Signal, raw: bytes, position: int) -> None:
        if isinstance(self._kit.store, DurableStore):
            await self._kit.accept(signal.to_inbound(), raw=raw, position=position)
            return
        key = signal.idempotency_key or _key(signal.channel_id, None, raw, position)
        _judge(await self._kit.process_signal(replace(signal, idempotency_key=key)))

    async def _status(self, status: DeliveryStatus, until: float) -> None:
        """Process a status; handlers that take their time go on after the answer."""
        if self._statuses >= MAX_STATUSES:
            raise refused(429, "too many statuses at once", retry_after=RETRY_AFTER)
        self._statuses += 1
        task = self._tasks.start(self._process(status), name="roomkit-asgi-status")
        if not task.done():
            left = until - asyncio.get_running_loop().time()
            await asyncio.wait((task,), timeout=max(0.0, left))
        if task.done():
            task.result()

    async def _process(self, status: DeliveryStatus) -> None:
        try:
            await self._kit.process_delivery_status(status)
        finally:
            self._statuses -= 1


def _wishes(message: InboundMessage) -> tuple[InboundMessage, datetime | None, bool]:
    """Return a message without what its reader wishes of the inbox, and the wishes."""
    metadata = message.metadata
    if ACCEPT_NOT_BEFORE not in metadata and ACCEPT_REPLACE not in metadata:
        return message, None, False
    wishes = (ACCEPT_NOT_BEFORE, ACCEPT_REPLACE)
    rest = {name: value for name, value in metadata.items() if name not in wishes}
    moment = metadata.get(ACCEPT_NOT_BEFORE)
    try:
        not_before = datetime.fromisoformat(moment) if isinstance(moment, str) else None
    except ValueError:
        raise WebhookError(f"{ACCEPT_NOT_BEFORE} is no ISO 8601 time") from None
    return message.cleaned(metadata=rest), not_before, bool(metadata.get(ACCEPT_REPLACE))


def refusal_of(error: Exception) -> Refused:
    """Return what a vendor is answered when something failed.

    Only what a repeat can mend asks for one with 503 and a time; the rest says 4xx, or 500
    when we do not know.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, WebhookRefused):
        status = error.status if 400 <= error.status < 500 else 401
        return refused(status, "it is not to be believed")
    if isinstance(error, WebhookError):
        return refused(400, "it has the wrong shape")
    if isinstance(error, InvalidInputError):
        return refused(400, "it holds something that cannot be kept")
    if isinstance(error, ChannelNotRegisteredError):
        return not_found()
    if isinstance(error, EventRefusedError) and (later := _later(error.reason)) is not None:
        return later
    if isinstance(error, StoreError | KitClosedError | LockTimeoutError | OSError) or (
        isinstance(error, ProviderError) and error.retryable
    ):
        return refused(503, f"not now: {type(error).__name__}", retry_after=RETRY_AFTER)
    return refused(500, f"it failed: {type(error).__name__}")


def _later(reason: str | None) -> Refused | None:
    """Return what to answer when the same message may be let in later; None: it may not."""
    if reason == Reason.OVERLOADED:
        return refused(429, "the room has too much to do", retry_after=RETRY_AFTER)
    if reason in _LATER:
        return refused(503, f"not now: {reason}", retry_after=RETRY_AFTER)
    return None


def _judge(result: InboundResult | None) -> None:
    """Return when the kit is done with a message, one it refused for good included.

    Raises:
        Refused: (429) or (503), when the same message may be let in later.
    """
    if result is None or not result.blocked:
        return
    later = _later(result.reason)
    if later is not None:
        raise later


def _key(channel_id: str, external_id: str | None, raw: bytes, position: int) -> str:
    """Return the key under which a repeat is known: by its id, else by its place in a body."""
    digest = hashlib.blake2b(digest_size=20)
    if external_id:
        digest.update(f"{channel_id}\0id\0{external_id}".encode())
    else:
        digest.update(f"{channel_id}\0{position}\0".encode())
        digest.update(raw)
    return f"webhook:{digest.hexdigest()}"
