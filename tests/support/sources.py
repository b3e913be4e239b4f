"""What tests of sources share: an ``emit`` that keeps messages, and a run with a clean end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage, InboundResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.sources import EmitCallback, SourceProvider


class Collector:
    """Keeps the messages it is given; refuses those that say ``refused``."""

    def __init__(self, refused: str | None = None) -> None:
        self.messages: list[InboundMessage] = []
        self._arrived = asyncio.Queue[str]()
        self._refused = refused

    async def __call__(self, message: InboundMessage) -> InboundResult:
        body = message.content.body if isinstance(message.content, TextContent) else ""
        if body and body == self._refused:
            raise LookupError(f"cannot take {body}")
        self.messages.append(message)
        self._arrived.put_nowait(body)
        return InboundResult()

    @property
    def taken(self) -> list[str]:
        """The texts taken so far."""
        return [m.content.body for m in self.messages if isinstance(m.content, TextContent)]

    async def texts(self, count: int) -> list[str]:
        """Wait for so many more messages; return what they say."""
        async with asyncio.timeout(5):
            return [await self._arrived.get() for _ in range(count)]


class Held:
    """Holds each message up until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.released = asyncio.Event()
        self.messages: list[InboundMessage] = []

    async def __call__(self, message: InboundMessage) -> InboundResult:
        self.messages.append(message)
        self.entered.set()
        await self.released.wait()
        return InboundResult()


class Stopper:
    """Stops the source from inside ``emit``."""

    def __init__(self, source: SourceProvider) -> None:
        self.taken = 0
        self._source = source

    async def __call__(self, message: InboundMessage) -> InboundResult:
        self.taken += 1
        await self._source.stop()
        return InboundResult()


@asynccontextmanager
async def running(source: SourceProvider, emit: EmitCallback) -> AsyncIterator[None]:
    """Run a source and stop it at the end; it must end cleanly."""
    task = asyncio.create_task(source.start(emit))
    try:
        yield
    finally:
        await source.stop()
        async with asyncio.timeout(5):
            await task
