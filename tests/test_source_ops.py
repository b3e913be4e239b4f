"""Sources run by a kit: started, started again, given up, replaced, detached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    HookTrigger,
    ManualClock,
    RoomContext,
    RoomEvent,
    RoomKit,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    SourceProvider,
    SourceStatus,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, Ears, inbound, messages, observe, open_room, system, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit import EmitCallback


class Scripted(SourceProvider):
    """Each start runs the next step; then it stays connected until stopped."""

    def __init__(
        self, *steps: Exception | Callable[[EmitCallback], Awaitable[None]] | None
    ) -> None:
        self.starts = 0
        self.stops = 0
        self._steps = list(steps)
        self._stopped = asyncio.Event()
        self._status = SourceStatus.STOPPED

    @property
    def name(self) -> str:
        return "scripted"

    @property
    def status(self) -> SourceStatus:
        return self._status

    async def start(self, emit: EmitCallback) -> None:
        self.starts += 1
        self._status = SourceStatus.CONNECTED
        if self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                self._status = SourceStatus.ERROR
                raise step
            if step is None:
                return
            await step(emit)
            return
        await self._stopped.wait()

    async def stop(self) -> None:
        self.stops += 1
        self._status = SourceStatus.STOPPED
        self._stopped.set()


async def turn(times: int = 10) -> None:
    """Let what is ready run."""
    for _ in range(times):
        await asyncio.sleep(0)


class TestAttach:
    """One living source a channel id."""

    async def test_attached_and_detached(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            source = Scripted()
            await kit.attach_source("a", source)
            await turn()
            assert kit.list_sources() == {"a": SourceStatus.CONNECTED}
            health = await kit.source_health("a")
            assert health is not None
            assert health.status == SourceStatus.CONNECTED
            await kit.detach_source("a")
            assert (source.starts, source.stops) == (1, 1)
            assert kit.list_sources() == {}
            assert await kit.source_health("a") is None
            assert [(e.type, e.channel_id, e.data) for e in ears.heard] == [
                ("source_attached", "a", {"source_name": "scripted"}),
                ("source_detached", "a", {"source_name": "scripted"}),
            ]

    async def test_a_living_one_is_not_replaced(self) -> None:
        async with RoomKit() as kit:
            await kit.attach_source("a", Scripted())
            with pytest.raises(SourceAlreadyAttachedError, match="'a'"):
                await kit.attach_source("a", Scripted())

    async def test_what_is_not_there(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(SourceNotFoundError, match="'a'"):
                await kit.detach_source("a")

    async def test_a_clean_end_is_forgotten(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            await kit.attach_source("a", Scripted(None))
            await turn()
            assert kit.list_sources() == {}
            assert ears.types == ["source_attached"]

    async def test_closing_the_kit_detaches(self) -> None:
        kit = RoomKit()
        ears = Ears(kit)
        source = Scripted()
        await kit.attach_source("a", source)
        await turn()
        await kit.close()
        assert source.stops == 1
        assert ears.types == ["source_attached", "source_detached"]


class TestRestart:
    """A failing source is started again, with growing delays, as often as wanted."""

    async def test_delays_grow_to_the_longest(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            source = Scripted(*(OSError(f"lost {n}") for n in range(4)))
            await kit.attach_source("a", source, restart_delay=2, max_restart_delay=5)
            starts = []
            for seconds in (0, 1.9, 0.1, 3.9, 0.1, 4.9, 0.1, 4.9, 0.1):
                await clock.advance(seconds)
                starts.append(source.starts)
            assert starts == [1, 1, 2, 2, 3, 3, 4, 4, 5]
            assert [e.data for e in ears.of("source_error")] == [
                {"source_name": "scripted", "error": f"lost {n}", "attempt": n + 1}
                for n in range(4)
            ]

    async def test_given_up(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            errors = observe(kit, HookTrigger.ON_ERROR)
            source = Scripted(*(OSError(f"lost {n}") for n in range(9)))
            await kit.attach_source("a", source, restart_delay=1, max_restart_attempts=3)
            await clock.advance(100)
            assert source.starts == 3
            [exhausted] = ears.of("source_exhausted")
            assert exhausted.channel_id == "a"
            assert exhausted.data == {
                "source_name": "scripted",
                "attempts": 3,
                "last_error": "lost 2",
            }
            assert kit.list_sources() == {"a": SourceStatus.ERROR}
            assert len(errors) == 3
            assert system(errors[0].event)[1]["where"] == "source a"

    async def test_not_at_all(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            source = Scripted(OSError("lost"))
            await kit.attach_source("a", source, auto_restart=False)
            await clock.advance(1000)
            assert source.starts == 1
            assert ears.types == ["source_attached", "source_error"]

    async def test_a_dead_one_is_replaced(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.attach_source("a", Scripted(OSError("lost")), auto_restart=False)
            await clock.advance(1)
            living = Scripted()
            await kit.attach_source("a", living)
            await turn()
            assert living.starts == 1
            assert kit.list_sources() == {"a": SourceStatus.CONNECTED}

    async def test_a_dead_one_can_be_detached(self) -> None:
        async with RoomKit() as kit:
            await kit.attach_source("a", Scripted(OSError("lost")), auto_restart=False)
            await turn()
            await kit.detach_source("a")
            assert kit.list_sources() == {}

    async def test_one_waiting_for_its_restart_is_alive(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            source = Scripted(OSError("lost"))
            await kit.attach_source("a", source)
            await clock.advance(1)
            with pytest.raises(SourceAlreadyAttachedError):
                await kit.attach_source("a", Scripted())
            await kit.detach_source("a")
            await clock.advance(100)
            assert source.starts == 1

    @pytest.mark.parametrize(("run", "attempts"), [(59.0, [1, 2]), (60.0, [1, 1])])
    async def test_a_healthy_run_starts_the_count_anew(
        self, run: float, attempts: list[int]
    ) -> None:
        clock = ManualClock()

        async def runs(emit: EmitCallback) -> None:
            await clock.sleep(run)
            raise OSError("lost later")

        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            await kit.attach_source("a", Scripted(OSError("lost"), runs), restart_delay=1)
            await clock.advance(1)
            await clock.advance(run)
            assert [e.data["attempt"] for e in ears.of("source_error")] == attempts


class TestEmit:
    """Messages enter like any other, so many at a time."""

    @pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (None, 5)])
    async def test_at_a_time(self, limit: int | None, most: int) -> None:
        free = asyncio.Event()
        running = highest = 0

        async def five(emit: EmitCallback) -> None:
            await asyncio.gather(*(emit(inbound(f"m{n}", sender=f"u{n}")) for n in range(5)))

        async def slow(*call: object) -> None:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            await free.wait()
            running -= 1

        async with RoomKit() as kit:
            for number in range(5):
                await kit.create_room(f"r{number}")
            kit.register_channel(SimpleChannel("a"))
            kit.register_channel(SimpleChannel("b", deliver_script=slow))
            for number in range(5):
                room_id = f"r{number}"
                await kit.attach_channel(room_id, "a", participant_id=f"u{number}")
                await kit.attach_channel(room_id, "b")
            await kit.attach_source("a", Scripted(five), max_concurrent_emits=limit)
            await turn(50)
            assert highest == most
            free.set()
            await turn(100)
            for number in range(5):
                assert texts(await messages(kit, f"r{number}")) == [f"m{number}"]

    async def test_emit_returns_the_result(self) -> None:
        results = []

        async def one(emit: EmitCallback) -> None:
            results.append(await emit(inbound("hi")))

        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.attach_source("a", Scripted(one))
            await turn(50)
            assert [r.blocked for r in results] == [False]
            assert texts(await messages(kit)) == ["hi"]

    async def test_detached_from_inside_emit(self) -> None:
        done = asyncio.Event()

        async def one(emit: EmitCallback) -> None:
            await emit(inbound("bye"))

        async with RoomKit() as kit:
            ears = Ears(kit)
            source = Scripted(one)

            async def leave(event: RoomEvent, binding: object, context: RoomContext) -> None:
                await kit.detach_source("a")
                done.set()

            await open_room(kit, SimpleChannel("a"), SimpleChannel("b", deliver_script=[leave]))
            await kit.attach_source("a", source)
            async with asyncio.timeout(5):
                await done.wait()
            assert source.stops == 1
            assert kit.list_sources() == {}
            assert len(ears.of("source_detached")) == 1
            assert texts(await messages(kit, ROOM)) == ["bye"]
