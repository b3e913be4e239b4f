"""The hook engine standing alone: order, filters, decisions, failures, and its one table."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    HOOK_SPECS,
    ChannelDirection,
    ChannelType,
    EventSource,
    HookEngine,
    HookExecution,
    HookRegistration,
    HookResult,
    HookTrigger,
    InjectedEvent,
    Observation,
    Room,
    RoomContext,
    RoomEvent,
    Task,
    TextContent,
)
from roomkit.core.hooks import IdentityHookRegistration, SyncPipelineResult
from roomkit.testing import make_event
from tests.support.kits import ROOM, text

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT = RoomContext(room=Room(id=ROOM))
BEFORE, AFTER = HookTrigger.BEFORE_BROADCAST, HookTrigger.AFTER_BROADCAST
SYNC, ASYNC = HookExecution.SYNC, HookExecution.ASYNC


def gate(
    name: str, log: list[str], answer: HookResult[Any] | None = None, **options: Any
) -> HookRegistration:
    """Return a gate that notes that it ran."""

    async def fn(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
        log.append(name)
        return answer or HookResult.allow()

    return HookRegistration(BEFORE, SYNC, fn, name=name, **options)


async def ask(engine: HookEngine, event: RoomEvent | None = None) -> SyncPipelineResult:
    """Ask the gates about an event of room ``r``."""
    return await engine.run_sync_hooks(ROOM, BEFORE, event or make_event(ROOM), CONTEXT)


class TestRegistration:
    """Plain, mutable data with the documented defaults."""

    def test_defaults(self) -> None:
        hook = HookRegistration(BEFORE, SYNC, print)
        assert (hook.priority, hook.name, hook.timeout, hook.fail_closed) == (0, "", 30.0, False)
        assert (hook.channel_types, hook.channel_ids, hook.directions) == (None, None, None)
        identity = IdentityHookRegistration(HookTrigger.ON_IDENTITY_UNKNOWN, print)  # type: ignore[arg-type]
        assert (identity.channel_types, identity.channel_ids) == (None, None)
        assert (identity.directions, identity.timeout) == (None, 30.0)

    def test_the_result_of_no_gates(self) -> None:
        result = SyncPipelineResult()
        assert result.allowed
        assert (result.event, result.reason, result.blocked_by) == (None, None, None)
        assert result.injected_events == []
        assert result.tasks == []
        assert result.observations == []
        assert result.hook_errors == []

    async def test_plain_strings_work(self) -> None:
        engine = HookEngine()
        log: list[str] = []

        async def fn(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
            log.append("ran")
            return HookResult.allow()

        engine.register(HookRegistration("before_broadcast", "sync", fn))  # type: ignore[arg-type]
        await ask(engine)
        assert log == ["ran"]

    async def test_a_trigger_of_ones_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its name has a dot; a gate may put another payload in place of the one it gets."""
        engine = HookEngine()

        async def round_up(kilos: float, context: RoomContext) -> HookResult[Any]:
            return HookResult.modify(kilos + 0.5)

        engine.register(HookRegistration("orders.check", SYNC, round_up))
        answer = await engine.run_sync_hooks(ROOM, "orders.check", 1.5, CONTEXT)
        assert (answer.allowed, answer.event, answer.hook_errors) == (True, 2.0, [])
        assert caplog.records == []


class TestOrder:
    """Lower priority first; equal ones global before room, then as registered."""

    async def test_it(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.add_room_hook(ROOM, gate("room", log))
        engine.register(gate("late", log, priority=5))
        engine.register(gate("one", log))
        engine.register(gate("two", log))
        engine.add_room_hook(ROOM, gate("room-first", log, priority=-1))
        engine.register(gate("first", log, priority=-1))
        await ask(engine)
        assert log == ["first", "room-first", "one", "two", "room", "late"]

    async def test_a_hook_registered_later_is_seen(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.register(gate("one", log))
        await ask(engine)
        engine.register(gate("zero", log, priority=-1))
        await ask(engine)
        assert log == ["one", "zero", "one"]


class TestRoomHooks:
    """A room's own hooks run there only and can be taken back by name."""

    async def test_scope_and_removal(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.add_room_hook(ROOM, gate("mine", log))
        engine.add_room_hook("other", gate("theirs", log))
        await ask(engine)
        assert log == ["mine"]
        assert engine.remove_room_hook(ROOM, "mine")
        assert not engine.remove_room_hook(ROOM, "mine")
        assert not engine.remove_room_hook("nowhere", "mine")
        await ask(engine)
        assert log == ["mine"]

    async def test_the_first_of_a_name_goes(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        first, second = gate("x", log), gate("x", log, HookResult.block("second"))
        engine.add_room_hook(ROOM, first)
        engine.add_room_hook(ROOM, second)
        assert engine.remove_room_hook(ROOM, "x")
        assert (await ask(engine)).reason == "second"


_SOURCE = {"channel_types": {ChannelType.WEBSOCKET}, "channel_ids": {"channel-1"}}


class TestFilters:
    """Every filter given must pass; None lets everything pass, an empty set nothing."""

    @pytest.mark.parametrize(
        ("filters", "runs"),
        [
            ({}, True),
            (_SOURCE, True),
            ({"directions": {ChannelDirection.INBOUND}}, True),
            ({"channel_types": {"websocket"}}, True),
            ({"channel_types": {ChannelType.SMS}}, False),
            ({"channel_ids": {"channel-2"}}, False),
            ({"directions": {ChannelDirection.OUTBOUND}}, False),
            ({**_SOURCE, "directions": {ChannelDirection.OUTBOUND}}, False),
            ({"channel_ids": set()}, False),
        ],
    )
    async def test_gates_and_observers(self, filters: dict[str, Any], runs: bool) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.register(gate("g", log, **filters))

        async def watch(event: RoomEvent, context: RoomContext) -> None:
            log.append("o")

        engine.register(HookRegistration(AFTER, ASYNC, watch, **filters))
        await ask(engine)
        await engine.run_async_hooks(ROOM, AFTER, make_event(ROOM), CONTEXT)
        assert log == (["g", "o"] if runs else [])

    async def test_payloads_without_a_source_skip_them(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        trigger = HookTrigger.BEFORE_TTS

        async def fn(payload: str, context: RoomContext) -> HookResult[str]:
            log.append(payload)
            return HookResult.modify(payload.upper())

        async def watch(payload: str, context: RoomContext) -> None:
            log.append(payload)

        filters = {"channel_ids": {"nobody"}}
        engine.register(HookRegistration(trigger, SYNC, fn, channel_ids={"nobody"}))
        engine.register(HookRegistration(trigger, ASYNC, watch, **filters))  # type: ignore[arg-type]
        result = await engine.run_sync_hooks(ROOM, trigger, "hi", CONTEXT, skip_event_filter=True)
        assert result.event == "HI"
        await engine.run_async_hooks(ROOM, trigger, "ho", CONTEXT, skip_event_filter=True)
        assert log == ["hi", "ho"]


class TestDecisions:
    """A block ends the walk, a modified event goes on, effects add up."""

    async def test_block(self) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.register(gate("one", log))
        engine.register(gate("two", log, HookResult.block("stop")))
        engine.register(gate("three", log))
        result = await ask(engine)
        assert log == ["one", "two"]
        assert (result.allowed, result.reason, result.blocked_by) == (False, "stop", "two")

    async def test_a_nameless_block(self) -> None:
        engine = HookEngine()
        engine.register(gate("", [], HookResult.block("stop")))
        assert (await ask(engine)).blocked_by == ""

    async def test_modify_feeds_the_next(self) -> None:
        engine = HookEngine()

        async def shout(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.modify(event.saying(TextContent(body=text(event) + "!")))

        engine.register(HookRegistration(BEFORE, SYNC, shout))
        engine.register(HookRegistration(BEFORE, SYNC, shout))
        result = await ask(engine, make_event(ROOM, "hi"))
        assert result.allowed
        assert text(result.event) == "hi!!"

    async def test_a_payload_may_be_replaced_by_its_like(self) -> None:
        """Where a text trigger carries more than a text, a gate may return either."""

        class Line(list[str]):
            """Stands for an event of the voice layer."""

        async def like(payload: Any, context: RoomContext) -> HookResult:
            return HookResult.modify(Line(["clean"]))

        engine = HookEngine()
        trigger = HookTrigger.ON_TRANSCRIPTION
        engine.register(HookRegistration(trigger, SYNC, like))

        changed = await engine.run_sync_hooks(ROOM, trigger, Line(["raw"]), CONTEXT)
        assert changed.event == ["clean"]
        refused = await engine.run_sync_hooks(ROOM, trigger, "raw", CONTEXT)
        assert (refused.event, len(refused.failures)) == ("raw", 1)

    async def test_metadata_adds_up(self) -> None:
        """What gates leave in their results reaches whoever asked them."""
        engine = HookEngine()
        engine.register(gate("one", [], HookResult(action="allow", metadata={"a": 1, "b": 1})))
        engine.register(gate("two", [], HookResult(action="allow", metadata={"b": 2})))
        assert (await ask(engine)).metadata == {"a": 1, "b": 2}

    async def test_effects_add_up_also_of_the_one_that_blocks(self) -> None:
        engine = HookEngine()

        def effects(key: str) -> dict[str, Any]:
            return {
                "injected_events": [InjectedEvent(event=make_event(ROOM, key))],
                "tasks": [Task(id=key, room_id=ROOM, title=key)],
                "observations": [Observation(id=key, room_id=ROOM, channel_id="c", content=key)],
            }

        engine.register(gate("one", [], HookResult(action="allow", **effects("1"))))
        engine.register(gate("two", [], HookResult(action="block", reason="no", **effects("2"))))
        result = await ask(engine)
        assert [text(i.event) for i in result.injected_events] == ["1", "2"]
        assert [t.id for t in result.tasks] == ["1", "2"]
        assert [o.id for o in result.observations] == ["1", "2"]


async def _raises(event: RoomEvent, context: RoomContext) -> HookResult:
    raise LookupError("lost")


async def _hangs(event: RoomEvent, context: RoomContext) -> HookResult:
    await asyncio.Event().wait()
    return HookResult.allow()


async def _says_nothing(event: RoomEvent, context: RoomContext) -> None:
    return


async def _modifies_to_text(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
    return HookResult.modify("text")


def _plain_none(event: RoomEvent, context: RoomContext) -> None:
    return None


async def _cancels_itself(event: RoomEvent, context: RoomContext) -> HookResult:
    raise asyncio.CancelledError


_FAILURES: list[tuple[Callable[..., Any], str]] = [
    (_raises, "lost"),
    (_hangs, "timeout (0.01s)"),
    (_says_nothing, "expected HookResult, got NoneType"),
    (_plain_none, "expected HookResult, got NoneType"),
    (_modifies_to_text, "expected RoomEvent, got str"),
    (_cancels_itself, "CancelledError"),
]


class TestFailures:
    """A gate that fails lets the event pass, unless it was told not to."""

    @pytest.mark.parametrize(("fn", "error"), _FAILURES)
    async def test_open(
        self, fn: Callable[..., Any], error: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.register(HookRegistration(BEFORE, SYNC, fn, name="bad", timeout=0.01))
        engine.register(gate("next", log))
        result = await ask(engine)
        assert result.allowed
        assert log == ["next"]
        assert result.hook_errors == [{"hook": "bad", "error": error}]
        [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert record.name == "roomkit.hooks"
        assert "bad" in record.getMessage()
        assert "lost" not in record.getMessage()

    @pytest.mark.parametrize(("fn", "error"), _FAILURES)
    async def test_closed(self, fn: Callable[..., Any], error: str) -> None:
        engine = HookEngine()
        log: list[str] = []
        engine.register(
            HookRegistration(BEFORE, SYNC, fn, name="bad", timeout=0.01, fail_closed=True)
        )
        engine.register(gate("next", log))
        result = await ask(engine)
        assert (result.allowed, result.reason, result.blocked_by) == (False, "hook_failed", "bad")
        assert result.hook_errors == [{"hook": "bad", "error": error}]
        assert log == []

    async def test_a_plain_function_works(self) -> None:
        engine = HookEngine()

        def plain(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
            return HookResult.block("plainly")

        engine.register(HookRegistration(BEFORE, SYNC, plain))
        assert (await ask(engine)).reason == "plainly"

    async def test_a_cancellation_of_the_caller_passes(self) -> None:
        engine = HookEngine()
        inside = asyncio.Event()

        async def waits(event: RoomEvent, context: RoomContext) -> HookResult:
            inside.set()
            await asyncio.Event().wait()
            return HookResult.allow()

        engine.register(HookRegistration(BEFORE, SYNC, waits))
        task = asyncio.create_task(ask(engine))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestObservers:
    """All at once, each on its own; the caller waits for all."""

    async def test_at_once(self) -> None:
        engine = HookEngine()
        meet = asyncio.Barrier(2)

        async def watch(event: RoomEvent, context: RoomContext) -> str:
            await meet.wait()
            return "ignored"

        for _ in range(2):
            engine.register(HookRegistration(AFTER, ASYNC, watch))
        async with asyncio.timeout(5):
            await engine.run_async_hooks(ROOM, AFTER, make_event(ROOM), CONTEXT)

    @pytest.mark.parametrize("fn", [_raises, _hangs, _cancels_itself])
    async def test_isolation(
        self, fn: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = HookEngine()
        log: list[str] = []

        async def fine(event: RoomEvent, context: RoomContext) -> None:
            await asyncio.sleep(0)
            log.append("fine")

        engine.register(HookRegistration(AFTER, ASYNC, fn, name="bad", timeout=0.01))
        engine.register(HookRegistration(AFTER, ASYNC, fine))
        await engine.run_async_hooks(ROOM, AFTER, make_event(ROOM), CONTEXT)
        assert log == ["fine"]
        assert any("bad" in r.getMessage() for r in caplog.records)

    async def test_the_failures_are_returned(self) -> None:
        engine = HookEngine()
        engine.register(HookRegistration(AFTER, ASYNC, _raises, name="bad"))
        failures = await engine.run_observers(ROOM, AFTER, make_event(ROOM), CONTEXT)
        assert [(f.hook, f.error) for f in failures] == [("bad", "lost")]

    async def test_a_cancellation_takes_them_along(self) -> None:
        engine = HookEngine()
        inside, ended = asyncio.Event(), []

        async def watch(event: RoomEvent, context: RoomContext) -> None:
            inside.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(event)

        for _ in range(2):
            engine.register(HookRegistration(AFTER, ASYNC, watch))
        task = asyncio.create_task(engine.run_async_hooks(ROOM, AFTER, make_event(ROOM), CONTEXT))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(ended) == 2


_BOTH = {HookTrigger.ON_TRANSCRIPTION, HookTrigger.BEFORE_TTS, HookTrigger.ON_REALTIME_TOOL_CALL}


class TestSpecs:
    """One row for each trigger; a hook that would never run is told of, once."""

    def test_a_row_for_every_trigger(self) -> None:
        assert set(HOOK_SPECS) == set(HookTrigger)
        assert len(HOOK_SPECS) == 34
        assert all(spec.summary for spec in HOOK_SPECS.values())

    def test_the_table_is_read_only(self) -> None:
        with pytest.raises(TypeError):
            HOOK_SPECS[BEFORE] = HOOK_SPECS[AFTER]  # type: ignore[index]

    @pytest.mark.parametrize("trigger", list(HookTrigger))
    def test_executions(self, trigger: HookTrigger) -> None:
        executions = HOOK_SPECS[trigger].executions
        if trigger == BEFORE:
            assert executions == {SYNC}
        elif trigger in _BOTH:
            assert executions == {SYNC, ASYNC}
        else:
            assert executions == {ASYNC}

    @pytest.mark.parametrize("trigger", list(HookTrigger))
    @pytest.mark.parametrize("execution", list(HookExecution))
    def test_the_warning(
        self,
        trigger: HookTrigger,
        execution: HookExecution,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        hook = HookRegistration(trigger, execution, print, name="mine")
        HookEngine().register(hook)
        HookEngine().add_room_hook(ROOM, hook)
        if execution in HOOK_SPECS[trigger].executions:
            assert caplog.records == []
            return
        assert len(caplog.records) == 2
        other = "ASYNC" if execution == SYNC else "SYNC"
        for record in caplog.records:
            assert (record.name, record.levelname) == ("roomkit.hooks", "WARNING")
            assert "mine" in record.getMessage()
            assert f"HookExecution.{other}" in record.getMessage()

    def test_an_unknown_trigger(self, caplog: pytest.LogCaptureFixture) -> None:
        HookEngine().register(HookRegistration("on_nothing", SYNC, print))  # type: ignore[arg-type]
        assert "on_nothing" in caplog.text

    def test_matches_is_the_filter(self) -> None:
        hook = HookRegistration(BEFORE, SYNC, print, channel_ids={"a"})
        assert hook.matches(EventSource(channel_id="a", channel_type=ChannelType.SMS))
        assert not hook.matches(EventSource(channel_id="b", channel_type=ChannelType.SMS))
