"""Wrong collaborators: each has one bug that systems of this kind have had."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit import (
    InboundRoomRouter,
    InMemoryLockManager,
    InMemoryStore,
    RoomKit,
)
from roomkit.store.commit import CommitBatch, CommitResult
from roomkit.testing import (
    SimpleChannel,
    StoreWrapper,
    make_event,
    reply,
)
from tests.reliability._steps import HeldChannel, idle
from tests.support.kits import texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from roomkit import (
        ChannelBinding,
        ChannelOutput,
        ConversationStore,
        Room,
        RoomContext,
        RoomEvent,
    )


class NoLock(InMemoryLockManager):
    """Holds nobody back."""

    @asynccontextmanager
    async def _nothing(self) -> AsyncIterator[None]:
        yield

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Let everybody in."""
        return self._nothing()


class WaiterFreesLock(InMemoryLockManager):
    """Who gives up waiting frees the lock of whoever holds it."""

    def __init__(self) -> None:
        super().__init__()
        self._free: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def _hold(self, free: asyncio.Event) -> AsyncIterator[None]:
        try:
            while not free.is_set():
                await free.wait()
            free.clear()
            yield
        finally:
            free.set()

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Hold it without a token of one's own."""
        free = self._free.get(room_id)
        if free is None:
            free = self._free[room_id] = asyncio.Event()
            free.set()
        return self._hold(free)


async def a_moment() -> None:
    """Let a millisecond of the loop's time pass."""
    await asyncio.sleep(0.001)


class CancelledWaiterKeepsLock(InMemoryLockManager):
    """Who gives up waiting has left a token behind."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, list[object]] = {}

    @asynccontextmanager
    async def _hold(self, tokens: list[object]) -> AsyncIterator[None]:
        token = object()
        tokens.append(token)
        while tokens[0] is not token:
            await a_moment()
        try:
            yield
        finally:
            tokens.remove(token)

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Hold it by a token."""
        return self._hold(self._tokens.setdefault(room_id, []))


class CountIndex(StoreWrapper):
    """Numbers events by a count taken before others had their turn."""

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Commit, and tell the wrong numbers."""
        count = await self.get_event_count(batch.room_id)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        result = await super().commit(batch)
        told = tuple(event.numbered(count + n) for n, event in enumerate(result.events))
        return CommitResult(told, result.duplicate_of, result.refused)


class AckBeforeCommit(StoreWrapper):
    """Says that a batch is stored, and then stores only two of three."""

    commits = 0

    async def commit(self, batch: CommitBatch) -> CommitResult:
        """Forget every third batch."""
        self.commits += 1
        if self.commits % 3:
            return await super().commit(batch)
        count = await self.get_event_count(batch.room_id)
        return CommitResult(tuple(e.numbered(count + n) for n, e in enumerate(batch.events)))


class DedupBeforeCommit(StoreWrapper):
    """Takes a key for used as soon as somebody asked for it."""

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self._asked: dict[str, int] = {}

    async def look(
        self, room_id: str, *, known: RoomContext | None = None, key: str | None = None
    ) -> tuple[RoomContext | None, RoomEvent | None]:
        """Remember the question: preparing and admitting ask once each."""
        context, _ = await super().look(room_id, known=known)
        if key is None:
            return context, None
        self._asked[key] = self._asked.get(key, 0) + 1
        return context, make_event(room_id, "first") if self._asked[key] > 2 else None


class ForgottenCounter(StoreWrapper):
    """Has one event more than it counted."""

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Count one less."""
        rooms = await super().list_rooms(offset, limit)
        return [room.counted(room.event_count - 1, room.latest_index) for room in rooms]


class ReusedIndex(StoreWrapper):
    """Gives a number twice."""

    async def list_events(self, *args: Any, **options: Any) -> list[RoomEvent]:
        """Number the last like the one before."""
        events = await super().list_events(*args, **options)
        return [*events[:-1], events[-1].numbered(events[-1].index - 1)] if events else events


class TwoUnderOneKey(StoreWrapper):
    """Keeps a repeat as well."""

    async def list_events(self, *args: Any, **options: Any) -> list[RoomEvent]:
        """Give all events one key."""
        events = await super().list_events(*args, **options)
        return [event.cleaned(idempotency_key="one") for event in events]


class Swallowing(RoomKit):
    """Takes a cancellation for an ordinary failure."""

    async def process_inbound(self, *args: Any, **options: Any) -> Any:
        """Answer, whatever happens."""
        try:
            return await super().process_inbound(*args, **options)
        except BaseException:  # noqa: BLE001 - the bug
            return None


class FirstMatch(InboundRoomRouter):
    """Routes to the first room of the channel, whoever writes."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    async def route(self, channel_id: str, *args: Any, **options: Any) -> str | None:
        """Look at the channel alone."""
        return await self._store.find_room_id_by_channel(channel_id)


class Scribbler(SimpleChannel):
    """Writes into the event it is lent."""

    async def deliver(self, event: RoomEvent, binding: Any, context: Any) -> ChannelOutput:
        """Leave a mark."""
        event.metadata["seen"] = True
        return await super().deliver(event, binding, context)


class OneRoomBrain(SimpleChannel):
    """Remembers its present room in an attribute, across an await."""

    def __init__(self, *, bug: bool) -> None:
        super().__init__("bot", react_script=self._think)
        self._bug = bug
        self._said = ""

    async def _think(self, event: RoomEvent, binding: ChannelBinding, context: Any) -> Any:
        self._said = said = texts([event])[0]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return reply(event, binding, self._said if self._bug else said)


class Overtaking(HeldChannel):
    """Hands deliveries to a task of its own and returns at once."""

    def __init__(self) -> None:
        super().__init__("b", held=False)
        self._tasks: list[asyncio.Task[None]] = []

    async def deliver(self, event: RoomEvent, binding: Any, context: Any) -> ChannelOutput:
        """Let the even ones wait."""
        self._tasks.append(asyncio.ensure_future(self._later(event)))
        await asyncio.sleep(0)
        return await SimpleChannel("x").deliver(event, binding, context)

    async def _later(self, event: RoomEvent) -> None:
        await idle(20 if event.index % 2 else 1)
        self.arrived.append(event)
