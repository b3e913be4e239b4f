"""What every realtime backend must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest_asyncio

from roomkit.realtime.base import EphemeralEvent, EphemeralEventType
from roomkit.testing.conformance._suite import PATIENCE, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.realtime.base import RealtimeBackend


def signal(user_id: str = "ann", room_id: str = "room") -> EphemeralEvent:
    """Return an ephemeral event."""
    kind = EphemeralEventType.CUSTOM
    return EphemeralEvent(room_id=room_id, type=kind, user_id=user_id, data={"n": [1]})


class Inbox:
    """A subscriber that keeps what it hears."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[EphemeralEvent] = asyncio.Queue()

    async def __call__(self, event: EphemeralEvent) -> None:
        """Hear an event."""
        await self.events.put(event)

    async def next(self) -> EphemeralEvent:
        """Return the next event, waiting for it."""
        async with asyncio.timeout(PATIENCE):
            return await self.events.get()

    async def users(self, count: int) -> list[str]:
        """Return who made the next events."""
        return [(await self.next()).user_id for _ in range(count)]


class RealtimeConformance(Suite, ABC):
    """Queue and return, keep the order, survive callbacks. Implement ``make_realtime``."""

    @abstractmethod
    async def make_realtime(self) -> RealtimeBackend:
        """Return a new backend that takes at least 20 waiting events, ready for use."""

    @pytest_asyncio.fixture
    async def realtime(self) -> AsyncIterator[RealtimeBackend]:
        """A backend of the test's own."""
        realtime = await self.make_realtime()
        yield realtime
        await realtime.close()

    async def test_events_arrive_whole_and_in_order(self, realtime: RealtimeBackend) -> None:
        """Every subscriber of a room hears each event once, as it was published."""
        one, two = Inbox(), Inbox()
        await realtime.subscribe_to_room("room", one)
        await realtime.subscribe_to_room("room", two)
        events = [signal(f"u{n}") for n in range(10)]
        for event in events:
            await realtime.publish_to_room("room", event)
        for inbox in (one, two):
            assert [(await inbox.next()).to_dict() for _ in events] == [
                event.to_dict() for event in events
            ]
            assert inbox.events.empty()

    async def test_channels_are_apart(self, realtime: RealtimeBackend) -> None:
        """Nobody hears what is said elsewhere; a room's channel is ``room:<id>``."""
        room, other = Inbox(), Inbox()
        await realtime.subscribe("room:a", room)
        await realtime.subscribe("room:b", other)
        await realtime.publish_to_room("a", signal("ann"))
        await realtime.publish("room:b", signal("bob"))
        assert await room.users(1) == ["ann"]
        assert await other.users(1) == ["bob"]
        assert room.events.empty()

    async def test_nothing_is_kept_for_later(self, realtime: RealtimeBackend) -> None:
        """A subscriber hears only what is published after it came."""
        await realtime.publish("c", signal("early"))
        inbox = Inbox()
        await realtime.subscribe("c", inbox)
        await realtime.publish("c", signal("late"))
        assert await inbox.users(1) == ["late"]

    async def test_publish_waits_for_no_callback(self, realtime: RealtimeBackend) -> None:
        """A callback that hangs holds up neither publishers nor other subscribers."""
        stuck, inbox = asyncio.Event(), Inbox()

        async def hang(event: EphemeralEvent) -> None:
            await stuck.wait()

        await realtime.subscribe("c", hang)
        await realtime.subscribe("c", inbox)
        async with asyncio.timeout(PATIENCE):
            for n in range(10):
                await realtime.publish("c", signal(f"u{n}"))
        assert await inbox.users(10) == [f"u{n}" for n in range(10)]
        stuck.set()

    async def test_a_failing_callback_costs_its_event_only(
        self, realtime: RealtimeBackend
    ) -> None:
        """The subscription goes on with the next event."""
        inbox = Inbox()

        async def fail_once(event: EphemeralEvent) -> None:
            if event.user_id == "bad":
                raise LookupError("a callback's own error")
            await inbox(event)

        await realtime.subscribe("c", fail_once)
        await realtime.publish("c", signal("bad"))
        await realtime.publish("c", signal("good"))
        assert await inbox.users(1) == ["good"]

    async def test_unsubscribe(self, realtime: RealtimeBackend) -> None:
        """Ends one subscription, once; the others go on."""
        gone, stays = Inbox(), Inbox()
        first = await realtime.subscribe("c", gone)
        second = await realtime.subscribe("c", stays)
        assert first != second
        assert await realtime.unsubscribe(first) is True
        assert await realtime.unsubscribe(first) is False
        assert await realtime.unsubscribe("unknown") is False
        await realtime.publish("c", signal())
        assert await stays.users(1) == ["ann"]
        assert gone.events.empty()

    async def test_a_callback_may_end_its_own_subscription(
        self, realtime: RealtimeBackend
    ) -> None:
        """It runs to its end and is not called again."""
        inbox, done = Inbox(), asyncio.Event()
        name = ""

        async def once(event: EphemeralEvent) -> None:
            await realtime.unsubscribe(name)
            await inbox(event)
            done.set()

        name = await realtime.subscribe("c", once)
        last = Inbox()
        await realtime.subscribe("c", last)
        await realtime.publish("c", signal("one"))
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        await realtime.publish("c", signal("two"))
        assert await last.users(2) == ["one", "two"]
        assert await inbox.users(1) == ["one"]
        assert inbox.events.empty()

    async def test_close_ends_everything(self, realtime: RealtimeBackend) -> None:
        """Closing twice is fine; what is published afterwards reaches nobody."""
        inbox = Inbox()
        name = await realtime.subscribe("c", inbox)
        async with asyncio.timeout(PATIENCE):
            await realtime.close()
            await realtime.close()
        await realtime.publish("c", signal())
        assert await realtime.unsubscribe(name) is False
        assert inbox.events.empty()
