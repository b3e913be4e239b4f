"""Sources: connections that push messages in, each run by a supervised task."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._aio import bounded, cancel_and_wait
from roomkit._logging import brief, ids
from roomkit.exceptions import (
    CommitOutcomeUnknown,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    StoreUnavailableError,
)
from roomkit.models.framework_event import FrameworkEventType as Told
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.core.services.errors import ErrorReporter
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.sources.base import EmitCallback, SourceHealth, SourceProvider, SourceStatus

logger: logging.Logger = logging.getLogger("roomkit.sources")

HEALTHY_AFTER = 60.0
"""Seconds of run after which a source's failures before it no longer count."""

RETRY_DELAYS = (0.5, 2.0, 8.0)
"""Seconds between the tries to bring in a message the kit could not take."""

_PASSING = frozenset({Reason.OVERLOADED, Reason.LOCK_TIMEOUT})

STOP_TIMEOUT = 10.0
"""Seconds a source may take to stop."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How a failing source is started again.

    Attributes:
        enabled: Whether it is at all.
        delay: Seconds before the first restart; doubled each time.
        max_delay: The longest wait.
        max_attempts: Starts in a row before giving up; None for no limit.
    """

    enabled: bool = True
    delay: float = 5.0
    max_delay: float = 300.0
    max_attempts: int | None = None


@dataclass(slots=True)
class _Running:
    source: SourceProvider
    task: asyncio.Task[None]


class Sources:
    """The sources of a kit, one a channel id.

    Args:
        receive: Brings an emitted message in.
        bus: Told of what happens to sources.
        errors: Told of their failures.
        tasks: Owns their tasks.
        clock: Times restarts.
    """

    def __init__(
        self,
        receive: Callable[[InboundMessage], Awaitable[InboundResult]],
        bus: FrameworkBus,
        errors: ErrorReporter,
        tasks: TaskSet,
        clock: Clock,
    ) -> None:
        self._receive = receive
        self._bus = bus
        self._errors = errors
        self._tasks = tasks
        self._clock = clock
        self._running: dict[str, _Running] = {}

    async def attach(
        self,
        channel_id: str,
        source: SourceProvider,
        policy: RestartPolicy,
        max_concurrent_emits: int | None,
    ) -> None:
        """Start a source; one whose task has ended is replaced.

        Raises:
            SourceAlreadyAttachedError: A living source is attached.
        """
        known = self._running.get(channel_id)
        if known is not None and not known.task.done():
            raise SourceAlreadyAttachedError(
                f"source {known.source.name!r} is already attached to channel {channel_id!r}"
            )
        emit = self._emitter(max_concurrent_emits)
        task = self._tasks.start(
            self._supervise(channel_id, source, emit, policy), name=f"source:{channel_id}"
        )
        if not task.done():
            self._running[channel_id] = _Running(source, task)
        await self._bus.emit(
            Told.SOURCE_ATTACHED, channel_id=channel_id, data={"source_name": source.name}
        )

    def _emitter(self, limit: int | None) -> EmitCallback:
        if limit is None:
            return self._receive_patiently
        slots = asyncio.Semaphore(limit)

        async def emit(message: InboundMessage) -> InboundResult:
            async with slots:
                return await self._receive_patiently(message)

        return emit

    async def _receive_patiently(self, message: InboundMessage) -> InboundResult:
        """Bring a message in, trying again while the kit cannot take it just now.

        A source has nobody to hand a refused message back to, so what passes is waited out.
        """
        for delay in RETRY_DELAYS:
            try:
                result = await self._receive(message)
            except StoreUnavailableError:
                pass
            except CommitOutcomeUnknown:
                # Without a key a repeat might store it twice.
                if message.idempotency_key is None:
                    raise
            else:
                if result.reason not in _PASSING:
                    return result
            await self._clock.sleep(delay)
        return await self._receive(message)

    async def _supervise(
        self,
        channel_id: str,
        source: SourceProvider,
        emit: EmitCallback,
        policy: RestartPolicy,
    ) -> None:
        """Run a source, starting it again as its policy says."""
        # Its first step must not run inside attach(): a source that fails at once would end
        # before it was ever listed.
        await asyncio.sleep(0)
        attempt, delay = 0, policy.delay
        while True:
            began = self._clock.monotonic()
            try:
                await source.start(emit)
            except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
                error = exc
            else:
                self._running.pop(channel_id, None)
                return
            if self._clock.monotonic() - began >= HEALTHY_AFTER:
                attempt, delay = 0, policy.delay
            attempt += 1
            await self._failed(channel_id, source, error, attempt)
            if not policy.enabled:
                return
            if policy.max_attempts is not None and attempt >= policy.max_attempts:
                await self._bus.emit(
                    Told.SOURCE_EXHAUSTED,
                    channel_id=channel_id,
                    data={
                        "source_name": source.name,
                        "attempts": attempt,
                        "last_error": brief(error),
                    },
                )
                return
            await self._clock.sleep(delay)
            delay = min(2 * delay, policy.max_delay)

    async def _failed(
        self, channel_id: str, source: SourceProvider, error: Exception, attempt: int
    ) -> None:
        logger.error(
            "source of channel %s failed (attempt %d): %s",
            channel_id,
            attempt,
            type(error).__name__,
            extra=ids(channel_id=channel_id, attempt=attempt),
        )
        await self._bus.emit(
            Told.SOURCE_ERROR,
            channel_id=channel_id,
            data={"source_name": source.name, "error": brief(error), "attempt": attempt},
        )
        await self._errors.report(
            f"source {channel_id}", error, channel_id=channel_id, logged=True
        )

    async def detach(self, channel_id: str) -> None:
        """Stop a source and forget it.

        Raises:
            SourceNotFoundError: There is none.
        """
        running = self._running.pop(channel_id, None)
        if running is None:
            raise SourceNotFoundError(f"no source is attached to channel {channel_id!r}")
        try:
            await bounded(running.source.stop(), STOP_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - it is cancelled next, whatever it says
            logger.warning(
                "source of channel %s did not stop cleanly: %s",
                channel_id,
                type(exc).__name__,
                extra=ids(channel_id=channel_id),
            )
        if running.task is not asyncio.current_task():
            await cancel_and_wait((running.task,), STOP_TIMEOUT)
        await self._bus.emit(
            Told.SOURCE_DETACHED,
            channel_id=channel_id,
            data={"source_name": running.source.name},
        )

    async def health(self, channel_id: str) -> SourceHealth | None:
        """Return how a source is doing, or None."""
        running = self._running.get(channel_id)
        return await running.source.healthcheck() if running is not None else None

    def statuses(self) -> dict[str, SourceStatus]:
        """Return every attached source's status."""
        return {key: running.source.status for key, running in self._running.items()}

    def attached(self) -> list[str]:
        """Return the channel ids that have a source."""
        return list(self._running)
