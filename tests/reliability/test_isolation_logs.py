"""What people say, where they live and what must stay secret: in no log above DEBUG.

Canaries stand for all three. Every way to fail is walked with errors whose texts quote them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    AIChannel,
    ChannelType,
    DeliveryStatus,
    EventType,
    HookExecution,
    HookResult,
    HookTrigger,
    InjectedEvent,
    InMemoryLockManager,
    InMemoryRealtime,
    InMemoryStore,
    LockTimeoutError,
    MockAIProvider,
    MockIdentityResolver,
    MockSMSProvider,
    ProviderResult,
    RoomKit,
    RoomKitError,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.sources.base import BaseSourceProvider
from roomkit.testing import FaultStore, SimpleChannel, make_event
from tests.reliability._steps import idle
from tests.support.kits import inbound, open_room
from tests.support.warp import run_warped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from roomkit import RoomContext, RoomEvent

SAID = "canary-words"
ADDRESS = "canary-address"
SECRET = "canary-secret"
CANARIES = (SAID, ADDRESS, SECRET)


class Quoting(Exception):
    """A foreign error that tells everything it knows."""

    def __init__(self) -> None:
        super().__init__(f"cannot send {SAID!r} to {ADDRESS!r} with token={SECRET}")


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def leaks(self, level: int = logging.DEBUG) -> list[str]:
        """Return the lines above a level that hold a canary, in text, traceback or extras."""
        found = []
        for record in self.records:
            if record.levelno <= level:
                continue
            line = self.format(record) + repr(sorted(map(str, record.__dict__.items())))
            if any(canary in line for canary in CANARIES):
                found.append(line)
        return found

    def above_debug(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.levelno > logging.DEBUG]


@pytest.fixture
def logs() -> Iterator[_Collector]:
    """Everything the library and asyncio log, at every level."""
    collector = _Collector()
    loggers = [logging.getLogger(name) for name in ("roomkit", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(collector)
        logger.setLevel(logging.DEBUG)
    yield collector
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(collector)
        logger.setLevel(level)


async def fail(*_: Any, **__: Any) -> Any:
    """Fail as badly as foreign code can."""
    raise Quoting


def say(body: str = SAID, **fields: Any) -> Any:
    return inbound(body, sender=ADDRESS, **fields)


@pytest.fixture
async def kit() -> AsyncIterator[RoomKit]:
    """A kit with the room ``r`` and the channel ``a``."""
    kit = RoomKit()
    await open_room(kit, SimpleChannel("a"))
    yield kit
    await kit.drain(5)
    await kit.close()


class TestFailures:
    """Every failing part is told of by kind and ids, never by what it was about."""

    @pytest.mark.parametrize(
        "channel",
        [
            pytest.param(lambda: SimpleChannel("x", deliver_script=fail), id="deliver"),
            pytest.param(lambda: SimpleChannel("x", react_script=fail), id="on_event"),
            pytest.param(lambda: AIChannel("x", MockAIProvider.failing(Quoting())), id="model"),
            pytest.param(
                lambda: AIChannel("x", MockAIProvider.failing(Quoting(), streaming=True)),
                id="stream",
            ),
            pytest.param(
                lambda: SMSChannel("x", provider=MockSMSProvider(results=[Quoting()])),
                id="vendor",
            ),
            pytest.param(
                lambda: SMSChannel(
                    "x",
                    provider=MockSMSProvider(
                        results=[ProviderResult(success=False, error=SECRET)]
                    ),
                ),
                id="refused",
            ),
        ],
    )
    async def test_a_target(self, kit: RoomKit, logs: _Collector, channel: Any) -> None:
        kit.register_channel(channel())
        await kit.attach_channel("r", "x", metadata={"phone_number": ADDRESS})
        await kit.process_inbound(say(), room_id="r")
        await kit.drain(5)
        assert logs.leaks() == []
        assert logs.above_debug(), "nobody would know of the failure"

    async def test_a_socket(self, kit: RoomKit, logs: _Collector) -> None:
        kit.register_channel(WebSocketChannel("ws", max_failures=1))
        await kit.attach_channel("r", "ws")
        await kit.connect_websocket("ws", "c1", fail, on_close=fail)
        await kit.process_inbound(say(), room_id="r")
        await kit.drain(5)
        await idle()
        assert logs.leaks() == []
        assert logs.above_debug()

    @pytest.mark.parametrize(
        "trigger",
        [
            HookTrigger.BEFORE_BROADCAST,
            HookTrigger.AFTER_BROADCAST,
            HookTrigger.ON_ERROR,
            HookTrigger.ON_CHANNEL_MUTED,
        ],
    )
    async def test_a_hook(self, kit: RoomKit, logs: _Collector, trigger: HookTrigger) -> None:
        gate = trigger == HookTrigger.BEFORE_BROADCAST
        kit.hook(trigger, HookExecution.SYNC if gate else HookExecution.ASYNC)(fail)
        kit.register_channel(SimpleChannel("x", deliver_script=fail))
        await kit.attach_channel("r", "x")
        await kit.process_inbound(say(), room_id="r")
        await kit.mute("r", "x")
        await kit.drain(5)
        assert logs.leaks() == []
        assert logs.above_debug()

    async def test_handlers(self, kit: RoomKit, logs: _Collector) -> None:
        kit.on("event_processed")(fail)
        kit.on_delivery_status(fail)
        await kit.process_inbound(say(), room_id="r")
        status = DeliveryStatus(
            provider="x", message_id="m", status="failed", recipient=ADDRESS, error_message=SECRET
        )
        await kit.process_delivery_status(status)
        await kit.drain(5)
        assert logs.leaks() == []
        assert len(logs.above_debug()) == 2

    async def test_what_comes_in(self, kit: RoomKit, logs: _Collector) -> None:
        class Broken(SimpleChannel):
            handle_inbound = fail

        kit.register_channel(Broken("x"))
        await kit.attach_channel("r", "x")
        with pytest.raises(Quoting):
            await kit.process_inbound(say(channel_id="x"), room_id="r")
        await kit.drain(5)
        assert logs.leaks() == []
        assert logs.above_debug()

    async def test_routing_and_identity(self, logs: _Collector) -> None:
        class Resolver(MockIdentityResolver):
            resolve = fail

        class Router:
            route = fail

        for options in (
            {"identity_resolver": Resolver()},
            {"inbound_router": Router()},
        ):
            kit = RoomKit(**options)
            await open_room(kit, SimpleChannel("a"))
            with pytest.raises(Quoting):
                await kit.process_inbound(
                    say(), room_id=None if "inbound_router" in options else "r"
                )
            await kit.drain(5)
            await kit.close()
        assert logs.leaks() == []
        assert logs.above_debug()

    async def test_an_injected_event_nobody_can_store(self, logs: _Collector) -> None:
        store = FaultStore(InMemoryStore())
        kit = RoomKit(store)
        await open_room(kit, SimpleChannel("a"))
        await kit.create_room("s")

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow(injected=[InjectedEvent(event=make_event("s", SAID))])

        store.fail_at(store.counts["commit"] + 2, Quoting, method="commit")
        await kit.process_inbound(say(), room_id="r")
        await kit.drain(5)
        await kit.close()
        assert store.fired
        assert logs.leaks() == []
        assert logs.above_debug()

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_every_call_of_the_store(self, logs: _Collector, when: Any) -> None:
        for number in range(1, 100):
            inner = InMemoryStore()
            store = FaultStore(inner)
            kit = RoomKit(store)
            b = SimpleChannel("b", react_script=lambda *_: "answer")
            await open_room(kit, SimpleChannel("a"), b)
            made = len(store.calls)
            store.fail_at(made + number, Quoting, when)
            with suppress(Quoting):
                await kit.process_inbound(say(idempotency_key="k"), room_id="r")
            await kit.drain(5)
            fired = bool(store.fired)
            store.reset()
            await kit.close()
            if not fired:
                break
        assert number > 5
        assert logs.leaks() == []
        assert logs.above_debug()

    async def test_locks_realtime_and_closing(self, logs: _Collector) -> None:
        class Lock:
            async def __aenter__(self) -> None: ...

            async def __aexit__(self, *exc: Any) -> None:
                raise Quoting

        class Locks(InMemoryLockManager):
            def locked(self, room_id: str) -> Any:
                return Lock()

        class Realtime(InMemoryRealtime):
            close = fail

        class Unclosable(SimpleChannel):
            close = fail

        kit = RoomKit(lock_manager=Locks(), realtime=Realtime())
        await open_room(kit, SimpleChannel("a"), Unclosable("b"), Unclosable("c"))
        await kit.subscribe_room("r", fail)
        await kit.publish_typing("r", ADDRESS, data={"text": SAID})
        assert not (await kit.process_inbound(say(), room_id="r")).blocked
        await idle()
        with pytest.raises(Quoting):
            await kit.close()
        assert logs.leaks() == []
        assert len(logs.above_debug()) >= 3

    async def test_a_source(self, kit: RoomKit, logs: _Collector) -> None:
        class Broken(BaseSourceProvider):
            @property
            def name(self) -> str:
                return "broken"

            async def start(self, emit: Any) -> None:
                raise Quoting

            stop = fail

        await kit.attach_source("a", Broken(), auto_restart=False)
        await idle()
        source = Waiting()
        kit.register_channel(SimpleChannel("x"))
        await kit.attach_source("x", source)
        await idle()
        await kit.detach_source("x")
        assert logs.leaks() == []
        assert logs.above_debug()


class Waiting(BaseSourceProvider):
    """A source that runs until it is cancelled and cannot be stopped otherwise."""

    @property
    def name(self) -> str:
        """A name."""
        return "waiting"

    async def start(self, emit: Any) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Fail."""
        raise Quoting


class TestRefusals:
    """The engine's own errors and refusals name ids, and nothing else."""

    async def test_errors(self, kit: RoomKit, logs: _Collector) -> None:
        calls = [
            kit.process_inbound(say(channel_id="nobody")),
            kit.process_inbound(say(), room_id="nowhere"),
            kit.process_inbound(say(metadata={"x": {SAID: object()}}), room_id="r"),
            kit.process_inbound(say(idempotency_key=ADDRESS * 100), room_id="r"),
            kit.send_event("r", "nobody", TextContent(body=SAID)),
            kit.send_event("r", "a", TextContent(body=SAID), metadata={"x": float("nan")}),
        ]
        texts = []
        for call in calls:
            try:
                await call
            except RoomKitError as exc:
                texts.append(str(exc) + repr(exc))
        assert len(texts) >= 4
        assert [t for t in texts if SAID in t.replace(f"metadata.x.{SAID}", "")] == []
        assert [t for t in texts if ADDRESS in t] == []
        await kit.close_room("r")
        with pytest.raises(RoomKitError) as caught:
            await kit.send_event("r", "a", TextContent(body=SAID))
        assert SAID not in str(caught.value)
        edit = say(event_type=EventType.EDIT)
        await kit.process_inbound(edit, room_id="r")
        assert logs.leaks() == []

    def test_a_first_contact_whose_lock_is_busy(self, logs: _Collector) -> None:
        """The lock of a first contact stands for an address, and does not say which."""

        async def scenario() -> None:
            taken: list[str] = []

            class Busy(InMemoryLockManager):
                def locked(self, room_id: str) -> Any:
                    taken.append(room_id)
                    return _Never()

            kit = RoomKit(lock_manager=Busy(), lock_timeout=1.0)
            kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
            with pytest.raises(LockTimeoutError) as caught:
                await kit.process_inbound(say(channel_id="sms"))
            assert ADDRESS not in str(caught.value)
            assert not any(ADDRESS in name for name in taken)
            await kit.close()

        run_warped(scenario())
        assert logs.leaks() == []


class _Never:
    async def __aenter__(self) -> None:
        await asyncio.Event().wait()

    async def __aexit__(self, *exc: Any) -> None: ...


class TestReprs:
    """Objects that hold secrets or conversations do not spell them out."""

    async def test_what_holds_a_conversation(self, kit: RoomKit) -> None:
        channels = [
            SMSChannel("sms", provider=MockSMSProvider(), from_number=ADDRESS),
            AIChannel("ai", MockAIProvider([SAID]), system_prompt=SECRET),
            WebSocketChannel("ws"),
        ]
        for channel in channels:
            kit.register_channel(channel)
        await kit.process_inbound(say(), room_id="r")
        held = [kit, kit.store, kit.hook_engine, kit.realtime, *channels, ChannelType.SMS]
        assert [thing for thing in held if any(c in repr(thing) for c in CANARIES)] == []
