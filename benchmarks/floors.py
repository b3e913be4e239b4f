"""Floors: the same work in a bare loop that does only what must be done.

A floor validates what comes from outside, makes an id and a time, takes a lock, bounds what it
waits for and keeps the event. It has no rooms, no hooks, no order of deliveries and forgets
everything with the process: it is what a ratio is taken to, nothing to be reached.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.models.event import EventContent

TIMEOUT = 30.0


class MessageFloor:
    """Takes one message in and hands it to some receivers, each in its own time.

    Args:
        receivers: What stands for the channels it is delivered to.
        content: What is said.
    """

    def __init__(self, receivers: int = 1, content: EventContent | None = None) -> None:
        self.log: list[RoomEvent] = []
        self.keys: set[str] = set()
        self.delivered = 0
        self._receivers = receivers
        self._content = content
        self._lock = asyncio.Lock()

    async def __call__(self) -> InboundResult:
        """Process one message."""
        return await self.take(None)

    async def take(self, key: str | None) -> InboundResult:
        """Process one message under an idempotency key; a repeat is only recognised."""
        message = InboundMessage(
            channel_id="ws",
            sender_id="user",
            content=self._content or TextContent(body="hello"),
            idempotency_key=key,
        )
        async with self._lock, asyncio.timeout(TIMEOUT):
            event = await self._keep(message)
        if event is None:
            return InboundResult(blocked=True, reason="duplicate")
        await self._deliver(event)
        return InboundResult(event=event)

    async def _keep(self, message: InboundMessage) -> RoomEvent | None:
        key = message.idempotency_key
        if key is not None:
            if key in self.keys:
                return None
            self.keys.add(key)
        event = self._event(message)
        self.log.append(event)
        return event

    def _event(self, message: InboundMessage) -> RoomEvent:
        source = EventSource(
            channel_id=message.channel_id,
            channel_type=ChannelType.WEBSOCKET,
            participant_id=message.sender_id,
        )
        event = RoomEvent(
            id=uuid4().hex,
            room_id="room",
            source=source,
            content=message.content,
            created_at=datetime.now(UTC),
            idempotency_key=message.idempotency_key,
        )
        return event.model_copy(update={"index": len(self.log)})

    async def _deliver(self, event: RoomEvent) -> None:
        if self._receivers == 1:
            async with asyncio.timeout(TIMEOUT):
                await self._send(event)
            return
        loop = asyncio.get_running_loop()
        for _ in range(self._receivers):
            asyncio.Task(self._bounded(event), loop=loop, eager_start=True)

    async def _bounded(self, event: RoomEvent) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self._send(event)

    async def _send(self, event: RoomEvent) -> None:
        self.delivered += 1


def calls(
    function: Callable[[RoomEvent], Awaitable[None]], count: int, event: RoomEvent
) -> Callable[[], Awaitable[None]]:
    """Return an operation that awaits ``function`` once for each of ``count`` receivers."""

    async def run() -> None:
        for _ in range(count):
            await function(event)

    return run
