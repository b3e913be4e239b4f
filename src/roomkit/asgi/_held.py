"""Messages that wait for their other half, where no store keeps them waiting.

A vendor may send one message as two callbacks. The reader of the first half asks to take it in
a little later, that of the second to put the whole in its place. A durable inbox does both; for
other stores the halves wait here, as long as the process lives.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roomkit._logging import ids, log_failure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.models.delivery import InboundMessage

logger = logging.getLogger("roomkit.asgi.webhooks")

MAX_HELD = 1000
"""Messages that wait at once; more are not held back."""


class HeldMessages:
    """Holds messages back for seconds.

    Args:
        take: Brings a message into its room.
        tasks: Owns what waits; at the end the app waits for it.
        clock: Whose seconds they are.
    """

    def __init__(
        self,
        take: Callable[[InboundMessage], Awaitable[object]],
        tasks: TaskSet,
        clock: Clock,
    ) -> None:
        self._take = take
        self._tasks = tasks
        self._clock = clock
        self._held: dict[tuple[str, str], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, message: InboundMessage, seconds: float) -> bool:
        """Take a message in after so many seconds, unless it is replaced before.

        Returns:
            False when too many wait, or the message waits already: it is the caller's then.
        """
        key = _key(message)
        if key in self._held:
            return True
        if len(self._held) >= MAX_HELD:
            return False
        self._held[key] = self._tasks.start(self._wait(message, seconds), name="roomkit-asgi-held")
        return True

    def forget(self, message: InboundMessage) -> None:
        """Forget the message of the same key that waits: this one takes its place."""
        task = self._held.pop(_key(message), None)
        if task is not None:
            task.cancel()

    async def _wait(self, message: InboundMessage, seconds: float) -> None:
        try:
            await self._clock.sleep(seconds)
            self._held.pop(_key(message), None)
            await self._take(message)
        except Exception as exc:  # noqa: BLE001 - nobody is left to be told
            log_failure(
                logger,
                exc,
                "a message that waited for its other half could not be taken in",
                extra=ids(channel_id=message.channel_id),
            )


def _key(message: InboundMessage) -> tuple[str, str]:
    return message.channel_id, message.idempotency_key or ""
