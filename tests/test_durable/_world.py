"""What tests of durable delivery share: kits on one store, and processes that die."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit import RoomKit, StoreUnavailableError
from roomkit.testing import ManualClock, StoreWrapper
from tests.support.durable_memory import DurableMemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from roomkit.channels.base import Channel
    from roomkit.store.base import ConversationStore


class Mortal(StoreWrapper):
    """The store as one process sees it, until that process dies: then no call ever returns."""

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self.dead = False
        self.revived = asyncio.Event()
        self.hanging: set[str] = set()
        self.stalled: dict[str, asyncio.Event] = {}  # before the call has its effect
        self.slow: dict[str, asyncio.Event] = {}  # after it
        self.late: set[str] = set()
        self.later: list[Coroutine[Any, Any, Any]] = []
        self.raising: dict[str, Exception] = {}
        self.after: dict[str, Exception] = {}

    def revive(self) -> None:
        """Let the process go on: it was only paused, and finds its connections broken."""
        self.dead = False
        self.revived.set()

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make the call, unless the process is dead or the test says how it fails."""
        if self.dead or name in self.hanging:
            call.close()
            await self.revived.wait()
            raise ConnectionError("the process was away for too long")
        if name in self.raising:
            call.close()
            raise self.raising[name]
        if name in self.stalled:
            await self.stalled[name].wait()
        if name in self.late:
            # The connection broke, and the server has not seen the statement yet.
            self.late.discard(name)
            self.later.append(call)
            raise StoreUnavailableError("the connection was lost")
        result = await call
        if name in self.slow:
            await self.slow[name].wait()
        if name in self.after:
            raise self.after.pop(name)
        return result


class World:
    """One durable store, and the kits of several processes on it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = DurableMemoryStore(self.clock)
        self.kits: list[RoomKit] = []
        self.views: dict[RoomKit, Mortal] = {}

    async def kit(self, *channels: Channel, start: bool = True, **options: Any) -> RoomKit:
        """Return the kit of another process, with these channels."""
        view = Mortal(self.store)
        kit = RoomKit(view, clock=self.clock, **options)
        for channel in channels:
            kit.register_channel(channel)
        if start:
            await kit.start()
        self.kits.append(kit)
        self.views[kit] = view
        return kit

    def kill(self, kit: RoomKit) -> None:
        """Let a process die: nothing of it reaches the store any more."""
        self.views[kit].dead = True
        self.kits.remove(kit)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass in steps; after each, what waits a few milliseconds is written."""
        while seconds > 0:
            await settle(1)
            await self.clock.advance(min(step, seconds))
            seconds -= step
        await settle(1)

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Let time pass until something holds; fail when it never does."""
        for _ in range(int(seconds / 0.25)):
            await settle()
            if condition():
                return
            await self.clock.advance(0.25)
        assert condition(), "it never came to that"


async def settle(rounds: int = 2) -> None:
    """Let the loop run what can run, and what waits five milliseconds to be written."""
    for _ in range(rounds):
        await asyncio.sleep(0.007)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Give a world, and close its kits at the end."""
    here = World()
    try:
        yield here
    finally:
        for kit in here.kits:
            await kit.close(drain_timeout=0.05)
        # The dead ones hang in calls nobody will answer.
        me = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not me]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
