"""Several observers of one moment: each on its own, although they may share a task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookEngine, HookExecution, HookRegistration, HookTrigger, Room, RoomContext
from roomkit.testing import make_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit import RoomEvent

CONTEXT = RoomContext(room=Room(id="room-1"))
AFTER = HookTrigger.AFTER_BROADCAST

mark: ContextVar[Any] = ContextVar("mark", default="none")

type Observer = Callable[[RoomEvent, RoomContext], Awaitable[None]]


def watched(*observers: Observer) -> HookEngine:
    """Return an engine with these observers, in this order."""
    engine = HookEngine()
    for place, fn in enumerate(observers):
        engine.register(HookRegistration(AFTER, HookExecution.ASYNC, fn, name=f"o{place}"))
    return engine


async def tell(engine: HookEngine) -> list[str]:
    """Tell the observers, and return the names of those that failed."""
    failures = await engine.run_observers("room-1", AFTER, make_event("room-1"), CONTEXT)
    return [failure.hook for failure in failures]


def seeing(seen: list[Any]) -> Observer:
    """Return an observer that notes the mark it sees."""

    async def observe(event: RoomEvent, context: RoomContext) -> None:
        seen.append(mark.get())

    return observe


def leaving(value: Any) -> Observer:
    """Return an observer that leaves a mark."""

    async def observe(event: RoomEvent, context: RoomContext) -> None:
        mark.set(value)

    return observe


class TestContextVariables:
    """An observer sees the context variables as they were when the moment was told."""

    async def test_marks_do_not_reach_the_next(self) -> None:
        """What one leaves in its context is unknown to the others and to the teller."""
        mark.set("teller")
        seen: list[Any] = []
        await tell(watched(leaving("a"), seeing(seen), leaving("b"), seeing(seen)))
        assert seen == ["teller", "teller"]
        assert mark.get() == "teller"

    async def test_marks_of_one_who_waits_stay_with_it(self) -> None:
        """Also when the mark is left after a pause, by one that had the task alone."""
        mark.set("teller")
        seen: list[Any] = []

        async def waits(event: RoomEvent, context: RoomContext) -> None:
            mark.set("first")
            await asyncio.sleep(0)
            seen.append(mark.get())
            mark.set("second")

        await tell(watched(waits, waits, seeing(seen)))
        assert seen == ["teller", "first", "first"]

    async def test_a_mark_put_back_is_no_mark(self) -> None:
        """Set and reset within one task works, and the next sees what was there."""
        seen: list[Any] = []

        async def sets(event: RoomEvent, context: RoomContext) -> None:
            token = mark.set("for now")
            mark.reset(token)

        mark.set("teller")
        assert await tell(watched(sets, sets, seeing(seen))) == []
        assert seen == ["teller"]

    async def test_values_that_refuse_to_be_compared(self) -> None:
        """A value whose comparison raises counts as changed."""

        class Odd:
            __hash__ = object.__hash__

            def __eq__(self, other: object) -> bool:
                raise ValueError("not comparable")

        first, seen = Odd(), list[Any]()
        mark.set(first)
        assert await tell(watched(leaving(Odd()), seeing(seen))) == []
        assert len(seen) == 1
        assert seen[0] is first


class TestAllAtOnce:
    """Nobody waits for another observer."""

    async def test_each_begins_before_any_goes_on(self) -> None:
        """Those that wait let the others begin, in the order of registration."""
        log: list[str] = []

        def waiting(name: str) -> Observer:
            async def observe(event: RoomEvent, context: RoomContext) -> None:
                log.append(f"{name} begins")
                await asyncio.sleep(0)
                log.append(f"{name} ends")

            return observe

        async def quick(event: RoomEvent, context: RoomContext) -> None:
            log.append("quick")

        await tell(watched(waiting("a"), quick, waiting("b"), quick))
        assert log[:4] == ["a begins", "quick", "b begins", "quick"]
        assert sorted(log[4:]) == ["a ends", "b ends"]

    async def test_very_many_that_wait(self) -> None:
        """Their number is not bounded by the depth of the stack."""
        gate, ended = asyncio.Event(), list[int]()

        async def waits(event: RoomEvent, context: RoomContext) -> None:
            await gate.wait()
            ended.append(1)

        telling = asyncio.create_task(tell(watched(*[waits] * 3000)))
        await asyncio.sleep(0)
        gate.set()
        assert await telling == []
        assert len(ended) == 3000

    async def test_one_that_waits_has_its_task_alone(self) -> None:
        """Cancelling the task of one that waits does not reach the others."""
        tasks: list[asyncio.Task[Any] | None] = []
        gate, ended = asyncio.Event(), list[str]()

        async def waits(event: RoomEvent, context: RoomContext) -> None:
            tasks.append(asyncio.current_task())
            await gate.wait()
            ended.append("waited")

        telling = asyncio.create_task(tell(watched(waits, waits)))
        await asyncio.sleep(0)
        first, second = tasks
        assert first is not None
        assert first is not second
        first.cancel()
        gate.set()
        await telling
        assert ended == ["waited"]

    async def test_one_that_cancels_its_own_task(self) -> None:
        """It meant itself: the next observers run to their ends."""
        ended: list[str] = []

        async def gives_up(event: RoomEvent, context: RoomContext) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        async def waits(event: RoomEvent, context: RoomContext) -> None:
            await asyncio.sleep(0)
            ended.append("waited")

        await tell(watched(gives_up, waits))
        assert ended == ["waited"]

    async def test_cancelled_teller_takes_all_along(self) -> None:
        """Whoever still waits is cancelled with the one who told them."""
        cancelled: list[str] = []

        async def waits(event: RoomEvent, context: RoomContext) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append("yes")
                raise

        telling = asyncio.create_task(tell(watched(waits, waits)))
        await asyncio.sleep(0)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        assert cancelled == ["yes", "yes"]


class TestFailures:
    """One that fails leaves the others alone and is named."""

    async def test_in_the_order_of_registration(self) -> None:
        """Whenever they failed: at once or later."""

        async def late(event: RoomEvent, context: RoomContext) -> None:
            await asyncio.sleep(0)
            raise RuntimeError("late")

        async def soon(event: RoomEvent, context: RoomContext) -> None:
            raise RuntimeError("soon")

        seen: list[Any] = []
        assert await tell(watched(late, soon, seeing(seen), late)) == ["o0", "o1", "o3"]
        assert len(seen) == 1
