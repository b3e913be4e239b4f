"""Ephemeral events inside one process: a bounded queue and one task a subscription.

Not for several processes; publisher and subscribers share one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet, resume
from roomkit._ids import new_id
from roomkit._logging import ids, log_failure
from roomkit.exceptions import ConfigurationError
from roomkit.realtime.base import RealtimeBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.realtime.base import EphemeralCallback, EphemeralEvent

logger: logging.Logger = logging.getLogger("roomkit.realtime")

CALLBACK_TIMEOUT = 30.0
"""Seconds a callback may take by default."""

STOP_TIMEOUT = 5.0
"""Seconds ``unsubscribe`` and ``close`` wait for callbacks they have cancelled."""

_TURN = 64
"""Events a subscription handles before others get the loop, if nothing else suspends it."""


type _Rest = tuple[CoroutineType[Any, Any, Any], Any]
"""A coroutine that waits, and what it yielded."""


class _Subscription:
    """One callback, what waits for it, and the task that hands it over."""

    __slots__ = ("callback", "channel", "closed", "dropped", "id", "task", "waiting", "wakeup")

    task: asyncio.Task[None]

    def __init__(self, channel: str, callback: Callable[[EphemeralEvent], Any]) -> None:
        self.id = new_id()
        self.channel = channel
        self.callback = callback
        self.waiting: dict[str, EphemeralEvent] = {}
        self.wakeup: asyncio.Future[None] | None = None
        self.closed = False
        self.dropped = 0

    def stop(self, current: asyncio.Task[Any] | None) -> bool:
        """End it; True when its task was cancelled and may still be at work."""
        self.closed = True
        self.waiting.clear()
        # From inside its own callback the loop just ends, so that the callback can finish.
        if self.task is current or self.task.done():
            return False
        self.task.cancel()
        return True


class InMemoryRealtime(RealtimeBackend):
    """The default backend: everything in this process, nothing kept.

    Args:
        max_queue_size: Events that may wait for one subscription; one more drops the oldest.
        callback_timeout: Seconds a callback may take; then it is cancelled and the
            subscription goes on with the next event.

    Callbacks may also be plain functions. Each runs in its subscription's own task, one
    event at a time.

    Raises:
        ValueError: ``max_queue_size`` is below 1.
    """

    def __init__(
        self, max_queue_size: int = 100, *, callback_timeout: float = CALLBACK_TIMEOUT
    ) -> None:
        if max_queue_size < 1:
            raise ValueError("max_queue_size must be at least 1")
        self._max_queue_size = max_queue_size
        self._callback_timeout = callback_timeout
        self._channels: dict[str, dict[str, _Subscription]] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._tasks = TaskSet("realtime")
        self._dropped = 0
        self._closed = False

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are now."""
        return len(self._subscriptions)

    @property
    def dropped(self) -> int:
        """How many events were dropped so far because a subscription was too slow."""
        return self._dropped

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Queue an event for each subscription of ``channel``; a closed backend ignores it."""
        subscriptions = self._channels.get(channel)
        if subscriptions is None:
            return
        event_id = event.id
        for subscription in subscriptions.values():
            wakeup = subscription.wakeup
            if wakeup is None:
                self._queue(subscription, event)
                continue
            # It sleeps, so nothing waits for it.
            subscription.wakeup = None
            subscription.waiting[event_id] = event
            if not wakeup.done():
                wakeup.set_result(None)

    def _queue(self, subscription: _Subscription, event: EphemeralEvent) -> None:
        """Put an event behind those that wait; one that waits already keeps its place."""
        waiting = subscription.waiting
        if event.id in waiting:
            return
        if len(waiting) >= self._max_queue_size:
            self._drop_oldest(subscription)
        waiting[event.id] = event

    def _drop_oldest(self, subscription: _Subscription) -> None:
        del subscription.waiting[next(iter(subscription.waiting))]
        self._dropped += 1
        subscription.dropped += 1
        if subscription.dropped == 1:
            logger.warning(
                "subscription %s is too slow, its oldest events are dropped",
                subscription.id,
                extra=ids(subscription_id=subscription.id),
            )

    async def subscribe(
        self, channel: str, callback: EphemeralCallback | Callable[[EphemeralEvent], None]
    ) -> str:
        """Have ``callback`` called with each event of ``channel`` from now on.

        Raises:
            ConfigurationError: The backend was closed.
        """
        if self._closed:
            raise ConfigurationError("this realtime backend was closed; make a new one")
        subscription = _Subscription(channel, callback)
        self._subscriptions[subscription.id] = subscription
        self._channels.setdefault(channel, {})[subscription.id] = subscription
        subscription.task = self._tasks.start(
            self._consume(subscription), name=f"realtime:{subscription.id}"
        )
        return subscription.id

    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; its callback is cancelled and not called again.

        Returns once the callback has ended, or after 5 seconds if it resists; at once when
        called from inside that callback. False when there is no such subscription.
        """
        subscription = self._subscriptions.pop(subscription_id, None)
        if subscription is None:
            return False
        peers = self._channels[subscription.channel]
        del peers[subscription_id]
        if not peers:
            del self._channels[subscription.channel]
        if subscription.stop(asyncio.current_task()):
            await asyncio.wait((subscription.task,), timeout=STOP_TIMEOUT)
        return True

    async def close(self) -> None:
        """End all subscriptions, waiting at most 5 seconds for their callbacks. Idempotent."""
        self._closed = True
        current = asyncio.current_task()
        subscriptions = list(self._subscriptions.values())
        self._subscriptions.clear()
        self._channels.clear()
        for subscription in subscriptions:
            subscription.stop(current)
        if not await self._tasks.wait(STOP_TIMEOUT, but=(current,)):
            logger.warning("%d realtime callbacks did not end when cancelled", len(self._tasks))

    async def _consume(self, subscription: _Subscription) -> None:
        """Hand waiting events over, one after the other, until the subscription ends."""
        waiting = subscription.waiting
        create_future = asyncio.get_running_loop().create_future
        handled = 0
        while not subscription.closed:
            if not waiting:
                handled = 0
                subscription.wakeup = wakeup = create_future()
                await wakeup
                continue
            handled += 1
            if handled % _TURN == 0:
                await asyncio.sleep(0)
                continue
            event = waiting.pop(next(iter(waiting)))
            rest = self._call(subscription, event)
            if rest is not None:
                await self._finish(subscription, event, rest)

    def _call(self, subscription: _Subscription, event: EphemeralEvent) -> _Rest | None:
        """Run the callback as far as it gets without waiting; return what is left of it."""
        try:
            result = subscription.callback(event)
            if result is None:
                return None
            if type(result) is not CoroutineType:
                result = _awaited(result)
            return result, result.send(None)
        except StopIteration:
            return None
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - foreign code
            self._report(subscription, event, exc)
            return None

    async def _finish(
        self, subscription: _Subscription, event: EphemeralEvent, rest: _Rest
    ) -> None:
        """Await what is left of a callback, within its time."""
        try:
            await resume(*rest, self._callback_timeout)
        except Exception as exc:  # noqa: BLE001 - a callback is foreign code
            self._report(subscription, event, exc)
        except asyncio.CancelledError as exc:
            if subscription.closed or subscription.task.cancelling():
                raise
            # Something the callback awaited was cancelled, not this subscription.
            self._report(subscription, event, exc)

    @staticmethod
    def _report(subscription: _Subscription, event: EphemeralEvent, error: BaseException) -> None:
        extra = ids(subscription_id=subscription.id, room_id=event.room_id, ephemeral_id=event.id)
        log_failure(logger, error, "a realtime callback failed", extra=extra)


async def _awaited(awaitable: Awaitable[Any]) -> None:
    """Make a coroutine of whatever else a callback gave back to wait for."""
    await awaitable
