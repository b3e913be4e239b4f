"""Each outward await sleeps for ever: calls return in time, the room goes on, closing ends.

Time is the loop's own and jumps, so the bounds are exact and cost nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    AIToolCall,
    ChannelType,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundRoomRouter,
    InMemoryRealtime,
    InMemoryStore,
    MockAIProvider,
    MockIdentityResolver,
    MockSMSProvider,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, assert_invariants
from tests.reliability._steps import SHORT, TIMEOUTS, UNSET, HeldChannel, hang, idle
from tests.support.kits import inbound, messages, open_room, texts
from tests.support.warp import elapsed, run_warped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit import AIContext, AIResponse, RoomContext, RoomEvent

CLOSE_BOUND = 40.0
"""Seconds for four parts that each take their bound."""


class Knob:
    """Whether the thing under test hangs now."""

    def __init__(self) -> None:
        self.hangs = True

    async def __call__(self, *_: Any, **__: Any) -> None:
        if self.hangs:
            await hang()


class Setting:
    """One kit in which one thing hangs."""

    def __init__(self, name: str) -> None:
        self.knob = Knob()
        self.store = InMemoryStore()
        self.b = SimpleChannel("b")
        self.kit = RoomKit(self.store, **TIMEOUTS, **_options(name, self.knob))

    async def build(self, name: str) -> Setting:
        await open_room(self.kit, SimpleChannel("a"), self.b)
        if name in _PREPARE:
            await _PREPARE[name](self.kit, self.knob)
        return self


class _Router(InboundRoomRouter):
    def __init__(self, knob: Knob) -> None:
        self._knob = knob

    async def route(self, *args: Any, **options: Any) -> str:
        await self._knob()
        return "r"


class _Resolver(MockIdentityResolver):
    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self._knob = knob

    async def resolve(self, message: Any, context: Any) -> Any:
        await self._knob()
        return await super().resolve(message, context)


class _Parser(SimpleChannel):
    def __init__(self, knob: Knob) -> None:
        super().__init__("x")
        self._knob = knob

    async def handle_inbound(self, message: Any, context: Any) -> RoomEvent:
        await self._knob()
        return await super().handle_inbound(message, context)


class _Thinker(MockAIProvider):
    def __init__(self, knob: Knob, **options: Any) -> None:
        super().__init__(**options)
        self._knob = knob

    async def generate(self, context: AIContext) -> AIResponse:
        await self._knob()
        return await super().generate(context)

    async def generate_structured_stream(self, context: AIContext) -> Any:
        async for event in super().generate_structured_stream(context):
            yield event
            await self._knob()


class _Vendor(MockSMSProvider):
    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self._knob = knob

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> Any:
        await self._knob()
        return await super().send(event, to, from_)


async def _attach(kit: RoomKit, channel: Any, **options: Any) -> None:
    kit.register_channel(channel)
    await kit.attach_channel("r", channel.channel_id, **options)


async def _socket(kit: RoomKit, knob: Knob) -> None:
    await _attach(kit, WebSocketChannel("ws", send_timeout=SHORT))
    await kit.connect_websocket("ws", "c1", knob, room_id="r")


async def _hook(kit: RoomKit, knob: Knob, trigger: HookTrigger) -> None:
    @kit.hook(trigger, HookExecution.ASYNC, timeout=SHORT)
    async def watch(event: RoomEvent, context: RoomContext) -> None:
        await knob()


async def _gate(kit: RoomKit, knob: Knob) -> None:
    @kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=1.0)
    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        await knob()
        return HookResult.allow()


async def _handler(kit: RoomKit, knob: Knob) -> None:
    kit.on("event_processed")(knob)


async def _tool(kit: RoomKit, knob: Knob) -> None:
    async def run(name: str, arguments: dict[str, Any]) -> str:
        await knob()
        return "done"

    calls = [AIToolCall(id="1", name="look", arguments={})]
    channel = AIChannel("ai", MockAIProvider(tool_calls=calls), tool_handler=run, tool_timeout=1.0)
    tool = {"name": "look", "description": "looks", "parameters": {"type": "object"}}
    await _attach(kit, channel, metadata={"tools": [tool]})


async def _stream(kit: RoomKit, knob: Knob) -> None:
    await _attach(kit, WebSocketChannel("ws"))
    await kit.connect_websocket(
        "ws", "c1", lambda *_: None, room_id="r", stream_fn=lambda *_: None
    )
    await _attach(kit, AIChannel("ai", _Thinker(knob, streaming=True)))


_OPTIONS: dict[str, Callable[[Knob], dict[str, Any]]] = {
    "router": lambda knob: {"inbound_router": _Router(knob)},
    "resolver": lambda knob: {
        "identity_resolver": _Resolver(knob),
        "identity_channel_types": {ChannelType.WEBSOCKET},
    },
}
_PREPARE: dict[str, Callable[[RoomKit, Knob], Coroutine[Any, Any, None]]] = {
    "gate": _gate,
    "handle_inbound": lambda kit, knob: _attach(kit, _Parser(knob)),
    "on_event": lambda kit, knob: _attach(kit, SimpleChannel("c", react_script=knob)),
    "deliver": lambda kit, knob: _attach(kit, SimpleChannel("c", deliver_script=knob)),
    "vendor": lambda kit, knob: _attach(
        kit, SMSChannel("sms", provider=_Vendor(knob)), metadata={"phone_number": "1"}
    ),
    "socket": _socket,
    "model": lambda kit, knob: _attach(kit, AIChannel("ai", _Thinker(knob))),
    "stream": _stream,
    "tool": _tool,
    "observer": lambda kit, knob: _hook(kit, knob, HookTrigger.AFTER_BROADCAST),
    "handler": _handler,
}


def _options(name: str, knob: Knob) -> dict[str, Any]:
    """Return what the kit is given for the thing that hangs."""
    return _OPTIONS[name](knob) if name in _OPTIONS else {}


# What comes before the commit: nothing is stored, or the message is let in all the same.
EARLY = {"router": UNSET, "resolver": SHORT, "handle_inbound": UNSET, "gate": SHORT}
# What comes after it: the message is accepted, and the next one is not held up.
LATE = [name for name in _PREPARE if name not in EARLY]


def entry(name: str, body: str = "hello") -> Any:
    """Return a call that comes across the thing that hangs."""
    message = inbound(body, channel_id="x" if name == "handle_inbound" else "a")
    return message, None if name == "router" else "r"


class TestBeforeTheCommit:
    """A call that hangs before the commit ends in time and leaves nothing."""

    @pytest.mark.parametrize("name", EARLY)
    def test_it_ends_in_time(self, name: str) -> None:
        async def scenario() -> None:
            setting = await Setting(name).build(name)
            kit = setting.kit
            message, room_id = entry(name)
            began = elapsed()
            task = asyncio.ensure_future(kit.process_inbound(message, room_id=room_id))
            await idle()
            if name != "gate":
                # No lock is held meanwhile: others go on.
                await kit.send_event("r", "a", TextContent(body="others"))
                assert elapsed() == began
            await asyncio.wait((task,))
            assert elapsed() - began <= EARLY[name] + 0.5
            error = task.exception()
            if name in ("router", "handle_inbound"):
                assert isinstance(error, TimeoutError)
                assert "hello" not in texts(await messages(kit))
            else:
                # An unknown sender is let in, and a gate that fails lets pass.
                assert not task.result().blocked
            setting.knob.hangs = False
            again = await kit.process_inbound(message, room_id=room_id)
            assert not again.blocked
            await kit.close()
            await assert_invariants(setting.store)

        run_warped(scenario())


class TestAfterTheCommit:
    """What hangs after the commit holds up neither the room nor its caller for long."""

    @pytest.mark.parametrize("name", LATE)
    def test_the_room_goes_on(self, name: str) -> None:
        async def scenario() -> None:
            setting = await Setting(name).build(name)
            kit = setting.kit
            began = elapsed()
            first = asyncio.ensure_future(kit.process_inbound(inbound("one"), room_id="r"))
            await idle()
            second = asyncio.ensure_future(kit.process_inbound(inbound("two"), room_id="r"))
            await idle()
            # Both are committed and delivered to whom nothing hangs, at once.
            assert [t for t in texts(await messages(kit)) if t in ("one", "two")] == ["one", "two"]
            assert texts(setting.b.delivered)[:2] == ["one", "two"]
            assert elapsed() == began
            results = await asyncio.gather(first, second)
            assert [result.blocked for result in results] == [False, False]
            assert elapsed() - began <= SHORT + 0.5
            await kit.close()
            await assert_invariants(setting.store, results)

        run_warped(scenario())

    @pytest.mark.parametrize("name", LATE)
    def test_it_heals(self, name: str) -> None:
        """Once it answers again, it is served as if nothing had been."""

        async def scenario() -> None:
            setting = await Setting(name).build(name)
            kit = setting.kit
            await kit.process_inbound(inbound("one"), room_id="r")
            setting.knob.hangs = False
            assert await kit.drain(200)
            began = elapsed()
            result = await kit.process_inbound(inbound("two"), room_id="r")
            assert not result.blocked
            assert elapsed() == pytest.approx(began, abs=0.1)
            assert result.event is not None
            failed = [r for r in result.event.delivery_results.values() if r["status"] != "sent"]
            assert failed == []
            await kit.close()

        run_warped(scenario())

    @pytest.mark.parametrize("name", [*LATE, "gate"])
    def test_closing_ends(self, name: str) -> None:
        async def scenario() -> None:
            setting = await Setting(name).build(name)
            before = asyncio.all_tasks()
            task = asyncio.ensure_future(setting.kit.process_inbound(inbound(), room_id="r"))
            await idle()
            began = elapsed()
            await setting.kit.close(drain_timeout=1.0)
            assert elapsed() - began <= 10.0
            await asyncio.wait((task,))
            assert elapsed() - began <= 10.0
            await idle()
            assert asyncio.all_tasks() - before == set()

        run_warped(scenario())


class TestClosing:
    """Closing gives each part its bound, and every part its turn."""

    def test_everything_that_closes_hangs(self) -> None:
        async def scenario() -> None:
            class Hung(SimpleChannel):
                async def close(self) -> None:
                    self.closed = True
                    await hang()

            class Store(InMemoryStore):
                closed = False

                async def close(self) -> None:
                    self.closed = True
                    await hang()

            class Realtime(InMemoryRealtime):
                closed = False

                async def close(self) -> None:
                    self.closed = True
                    await hang()

            store, realtime = Store(), Realtime()
            channels = [Hung("a"), Hung("b")]
            kit = RoomKit(store, realtime=realtime)
            await open_room(kit, *channels)
            began = elapsed()
            with pytest.raises(TimeoutError):
                await kit.close()
            assert elapsed() - began <= CLOSE_BOUND
            assert [store.closed, realtime.closed, *(c.closed for c in channels)] == [True] * 4

        run_warped(scenario())

    def test_a_delivery_that_swallows_its_cancellation(self) -> None:
        async def scenario() -> None:
            go = asyncio.Event()

            async def stubborn(*_: Any) -> None:
                while not go.is_set():
                    try:
                        await go.wait()
                    except asyncio.CancelledError:
                        continue

            kit = RoomKit(delivery_timeout=1e6)
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b", deliver_script=stubborn))
            task = asyncio.ensure_future(kit.process_inbound(inbound(), room_id="r"))
            await idle()
            began = elapsed()
            await kit.close(drain_timeout=1.0)
            assert elapsed() - began <= 10.0
            go.set()
            await task

        run_warped(scenario())

    def test_messages_under_way_are_let_go(self) -> None:
        async def scenario() -> None:
            b = HeldChannel("b")
            kit = RoomKit(delivery_timeout=1e6, settle_timeout=1e6)
            await open_room(kit, SimpleChannel("a"), b)
            callers = [
                asyncio.ensure_future(kit.process_inbound(inbound(f"m{n}"), room_id="r"))
                for n in range(5)
            ]
            await idle()
            began = elapsed()
            await kit.close(drain_timeout=3.0)
            results = await asyncio.gather(*callers)
            assert elapsed() - began == pytest.approx(3.0)
            # They were stored: nobody is told otherwise.
            assert [result.blocked for result in results] == [False] * 5

        run_warped(scenario())
