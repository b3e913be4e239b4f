"""RoomKit's face to work that outlives a process: the inbox, the worker, dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core._helpers import HelpersMixin

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.core.pipeline.desk import KitStats, WorkDesk
    from roomkit.models.delivery import AcceptResult, InboundMessage
    from roomkit.store.durable import DeadLetter


class WorkOpsMixin(HelpersMixin):
    """What a kit with a durable store does besides answering calls."""

    _work: WorkDesk

    async def start(self) -> None:
        """Open the store and go on with what was left to do; starting again does nothing.

        From now on this kit, besides its own deliveries, makes those whose process is gone,
        repeats those that are due again, takes accepted messages in and, with
        ``timer_interval``, checks room timers. Without it a kit works, but leaves all of that
        to kits that are started. ``async with kit`` starts it.

        Raises:
            StoreError: The store cannot be opened; the text says why.
        """
        await self._ready()
        self._work.start()

    async def accept(
        self,
        message: InboundMessage,
        *,
        room_id: str | None = None,
        organization_id: str | None = None,
        raw: bytes | None = None,
        position: int = 0,
        not_before: datetime | None = None,
        replace: bool = False,
    ) -> AcceptResult:
        """Keep a message now and bring it into its room as soon as may be.

        When this returns, the message survives any crash: it is what a webhook should await
        before it answers. It is then processed as by ``process_inbound``, by any started kit
        on this store, in the order in which messages of one channel and sender were accepted.
        One that fails is tried again, and becomes a dead letter in the end.

        Args:
            message: The message. Repeats are known by its ``idempotency_key``, else by its
                ``external_id``, else by ``raw``; without any of these each call is a message
                of its own.
            room_id: The room, when the caller knows it; see ``process_inbound``.
            organization_id: The tenant a new room belongs to.
            raw: The body the message came in, for vendors that give no id.
            position: Its place among the messages of that body.
            not_before: When to take it in at the earliest, timezone-aware.
            replace: Whether it takes the place of a message of the same key that still waits.

        Returns:
            The row's id, and whether it was a duplicate.

        Raises:
            ConfigurationError: The store keeps no inbox.
            ChannelNotRegisteredError: No such channel.
            InvalidInputError: The message cannot be stored; nothing was.
            StoreUnavailableError: The store cannot be reached; repeat the call.
        """
        await self._ready()
        return await self._work.accept(
            message,
            room_id=room_id,
            organization_id=organization_id,
            raw=raw,
            position=position,
            not_before=not_before,
            replace=replace,
        )

    async def stats(self) -> KitStats:
        """Return the depth, lag, attempts and dead letters of both queues, and counters."""
        await self._ready()
        return await self._work.stats()

    async def list_dead_letters(
        self,
        *,
        kind: str | None = None,
        room_id: str | None = None,
        channel_id: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Return deliveries, reactions and accepted messages that were given up, latest first.

        Args:
            kind: Only ``deliver``, ``react`` or ``inbox``.
            room_id: Only of this room.
            channel_id: Only of this channel.
            offset: How many to leave out.
            limit: How many at most.
        """
        await self._ready()
        return await self._work.list_dead(kind, room_id, channel_id, offset, limit)

    async def retry_dead_letter(self, letter_id: str) -> bool:
        """Try given-up work again, after what its lane has in hand; False if there is none.

        Raises:
            ConfigurationError: The store keeps no records.
        """
        await self._ready()
        return await self._work.retry_dead(letter_id)

    async def discard_dead_letter(self, letter_id: str) -> bool:
        """Give work up for good; False if there is no dead letter of this id.

        Raises:
            ConfigurationError: The store keeps no records.
        """
        await self._ready()
        return await self._work.discard_dead(letter_id)

    async def purge(self, *, before: datetime) -> int:
        """Remove delivery records and inbox rows that ended before a time; return how many.

        Events stay, and so do their idempotency keys: a repeat of an old message is still
        known. Dead letters stay until they are retried or discarded.

        Raises:
            InvalidInputError: ``before`` has no timezone.
        """
        await self._ready()
        return await self._work.purge(before)
