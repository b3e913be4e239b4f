"""What tests of durable work share: one database, several kits on it, one clock."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit import RoomKit
from roomkit.exceptions import StoreUnavailableError
from roomkit.testing import FaultStore, ManualClock, SimpleChannel
from tests.support.kits import ROOM, messages, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from roomkit import InboundMessage, RoomContext, RoomEvent
    from roomkit.models.room import RoomTimers
    from roomkit.store.durable import DurableStore
    from roomkit.testing.faults import Fault, When

PATIENCE = 10.0
"""Seconds of real time after which a test gives up waiting."""

GLANCE = 0.005
"""Seconds between two looks at a condition, and between two rounds of a worker."""


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until a condition (plain or async) holds; return what it gave."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = holds()
            if isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(GLANCE)


class Watched(FaultStore):
    """One kit's store: it fails as told, counts, and lets workers look all the time.

    Attributes:
        done: How often each method has returned.
        deaf: Whether the kit's beats do not get through any more.
        silent: Whether it never tells that there is work.
        retired: Whether the kit has said goodbye.
    """

    def __init__(self, inner: DurableStore, *, shared_object: bool) -> None:
        super().__init__(inner)
        self.done: dict[str, int] = {}
        self.deaf = False
        self.silent = False
        self.retired = False
        self._shared_object = shared_object

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make the call, giving way to others first, as a store behind a network does."""
        if self.deaf and name == "beat":
            call.close()
            raise StoreUnavailableError("nobody hears this worker")
        try:
            await asyncio.sleep(0)
        except BaseException:
            call.close()
            raise
        result = await super().around(name, call)
        self.done[name] = self.done.get(name, 0) + 1
        self.retired |= name == "retire"
        return result

    async def wait_for_work(self, timeout: float) -> None:
        """Return early for no reason, which is allowed."""
        if self.silent:
            await asyncio.Event().wait()
        await asyncio.sleep(min(timeout, GLANCE))

    async def open(self) -> bool:
        """Open, unless several kits use this very object."""
        return False if self._shared_object else await super().open()

    async def close(self) -> None:
        """Close, unless several kits use this very object."""
        if not self._shared_object:
            await super().close()

    def fail_next(self, method: str, fault: Fault, when: When = "before", after: int = 0) -> None:
        """Let the next call of a method fail, or a later one."""
        self.fail_at(self.counts[method] + 1 + after, fault, when, method=method)

    @property
    def beats(self) -> int:
        """How many beats got through."""
        return self.done.get("beat", 0)

    def beaten_since(self, beats: int) -> bool:
        """Return whether another beat got through, or no more is to be expected."""
        return self.beats > beats or not self.alive

    @property
    def alive(self) -> bool:
        """Whether the kit goes on beating."""
        return self.beats > 0 and not self.retired and not self.deaf


class Doorway(SimpleChannel):
    """A channel whose ``handle_inbound`` can be held up, or made to fail, message by message.

    Args:
        channel_id: Its id.

    Attributes:
        arrived: What came to the door, in order, repeats included.
    """

    def __init__(self, channel_id: str = "a", **options: Any) -> None:
        super().__init__(channel_id, **options)
        self.arrived: list[str] = []
        self._held: dict[str, asyncio.Event] = {}
        self._errors: dict[str, deque[Exception]] = {}

    def hold(self, body: str) -> asyncio.Event:
        """Let a message wait at the door until the event is set."""
        return self._held.setdefault(body, asyncio.Event())

    def fail(self, body: str, errors: Iterable[Exception]) -> None:
        """Let a message fail with one error after the other, before it gets through."""
        self._errors[body] = deque(errors)

    def knocked(self, times: int) -> bool:
        """Return whether messages came so many times in all."""
        return len(self.arrived) == times

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Let the message in as it was told."""
        event = await super().handle_inbound(message, context)
        [body] = texts([event]) or [""]
        self.arrived.append(body)
        if body in self._held:
            await self._held[body].wait()
        if self._errors.get(body):
            raise self._errors[body].popleft()
        return event


class World:
    """One database, the kits on it, and the clock all of them go by.

    Args:
        make: Opens the database once more, as another process would.
        one_object: Whether ``make`` gives the same store each time.
    """

    def __init__(
        self, make: Callable[[ManualClock], DurableStore], *, one_object: bool = False
    ) -> None:
        self.clock = ManualClock()
        self.kits: list[RoomKit] = []
        self.stores: list[Watched] = []
        self._make = make
        self._one_object = one_object

    def store(self) -> Watched:
        """Return the database as one process sees it."""
        store = Watched(self._make(self.clock), shared_object=self._one_object)
        self.stores.append(store)
        return store

    def kit(
        self, *channels: SimpleChannel, store: Watched | None = None, **options: Any
    ) -> RoomKit:
        """Return a process with these channels; it is not started yet."""
        kit = RoomKit(store or self.store(), clock=self.clock, **options)
        for channel in channels:
            kit.register_channel(channel)
        self.kits.append(kit)
        return kit

    async def room(
        self,
        kit: RoomKit,
        *channel_ids: str,
        room_id: str = ROOM,
        timers: RoomTimers | None = None,
    ) -> None:
        """Create a room with some of a kit's channels."""
        await kit.create_room(room_id, timers=timers)
        for channel_id in channel_ids:
            await kit.attach_channel(room_id, channel_id)

    async def forward(self, seconds: int) -> None:
        """Let time pass, second by second: each second every living kit has beaten once."""
        for _ in range(seconds):
            before = [(store, store.beats) for store in self.stores if store.alive]
            await self.clock.advance(1.0)
            for store, beats in before:
                await until(partial(store.beaten_since, beats))

    async def close(self) -> None:
        """Close every kit; one that is closed already does not mind."""
        for kit in self.kits:
            await kit.close()


def watched(kit: RoomKit) -> Watched:
    """Return a kit's store."""
    assert isinstance(kit.store, Watched)
    return kit.store


async def looked(kit: RoomKit, times: int = 3, what: str = "claim_inbox") -> None:
    """Wait until a kit has looked for work some more times."""
    store = watched(kit)
    goal = store.done.get(what, 0) + times
    await until(lambda: store.done.get(what, 0) >= goal)


async def said(kit: RoomKit, room_id: str = ROOM) -> list[str]:
    """Return the texts of a room, in order."""
    return texts(await messages(kit, room_id))


async def comes(kit: RoomKit, *bodies: str, room_id: str = ROOM) -> None:
    """Wait until a room holds just these texts, in this order."""
    expected = list(bodies)

    async def there() -> bool:
        return len(await said(kit, room_id)) >= len(expected)

    await until(there)
    assert await said(kit, room_id) == expected


async def idle(kit: RoomKit) -> None:
    """Wait until no accepted message waits any more."""

    async def empty() -> bool:
        return (await kit.stats()).inbox.depth == 0

    await until(empty)


async def dead(kit: RoomKit, count: int = 1) -> list[Any]:
    """Wait for so many dead letters of the inbox, and return them, latest first."""

    async def there() -> bool:
        return len(await kit.list_dead_letters(kind="inbox")) >= count

    await until(there)
    found = await kit.list_dead_letters(kind="inbox")
    assert len(found) == count
    return found
