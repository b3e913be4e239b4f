"""The life of a kit: opened on first use, drained, closed once and in order."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    ChannelNotRegisteredError,
    HookExecution,
    HookResult,
    HookTrigger,
    InMemoryRealtime,
    InMemoryStore,
    KitClosedError,
    RoomContext,
    RoomEvent,
    RoomKit,
    SourceProvider,
    SQLiteStore,
    TextContent,
    WrongLoopError,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound, messages, open_room, texts

if TYPE_CHECKING:
    from roomkit.sources.base import EmitCallback


class Closes(SimpleChannel):
    """Notes that it was closed, and may fail."""

    def __init__(self, name: str, log: list[str], error: Exception | None = None) -> None:
        super().__init__(name)
        self.log = log
        self.error = error

    async def close(self) -> None:
        self.log.append(self.channel_id)
        if self.error is not None:
            raise self.error


class Store(InMemoryStore):
    """Counts how often it is opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    async def open(self) -> None:
        self.log.append("open")

    async def close(self) -> None:
        self.log.append("close")


class Realtime(InMemoryRealtime):
    """Notes that it was closed."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    async def close(self) -> None:
        self.log.append("realtime")
        await super().close()


class Voice:
    """Notes that it was closed."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def connect(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("nobody connects")

    async def disconnect(self, session: Any) -> None:
        raise AssertionError("nobody disconnects")

    async def close(self) -> None:
        self.log.append("voice")


class Source(SourceProvider):
    """Runs until stopped, and notes that."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self._stop = asyncio.Event()

    @property
    def name(self) -> str:
        return "source"

    async def start(self, emit: EmitCallback) -> None:
        await self._stop.wait()

    async def stop(self) -> None:
        self.log.append("source")
        self._stop.set()


class TestClose:
    """Sources first, then channels as registered, then voice, then realtime."""

    async def test_order(self) -> None:
        log: list[str] = []
        kit = RoomKit(voice=Voice(log), realtime=Realtime(log))
        for name in ("b", "a"):
            kit.register_channel(Closes(name, log))
        await kit.attach_source("a", Source(log))
        await kit.close()
        assert log == ["source", "b", "a", "voice", "realtime"]

    async def test_every_failure_is_survived_and_the_first_raised(self) -> None:
        log: list[str] = []
        kit = RoomKit(voice=Voice(log), realtime=Realtime(log))
        kit.register_channel(Closes("a", log, OSError("first")))
        kit.register_channel(Closes("b", log, LookupError("second")))
        with pytest.raises(OSError, match="first"):
            await kit.close()
        assert log == ["a", "b", "voice", "realtime"]

    async def test_once(self) -> None:
        log: list[str] = []
        kit = RoomKit()
        kit.register_channel(Closes("a", log))
        await kit.close()
        await kit.close()
        assert log == ["a"]

    async def test_with_block(self) -> None:
        log: list[str] = []
        kit = RoomKit()
        kit.register_channel(Closes("a", log))

        async def use() -> None:
            async with kit as entered:
                assert entered is kit
                raise LookupError

        with pytest.raises(LookupError):
            await use()
        assert log == ["a"]

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("create_room", ()),
            ("get_room", (ROOM,)),
            ("process_inbound", (inbound(),)),
            ("send_event", (ROOM, "a", TextContent(body="x"))),
            ("attach_channel", (ROOM, "a")),
            ("list_tasks", (ROOM,)),
            ("publish_typing", (ROOM, "u")),
            ("source_health", ("a",)),
        ],
    )
    async def test_a_closed_kit_says_so(self, method: str, arguments: tuple[Any, ...]) -> None:
        kit = RoomKit()
        await kit.close()
        with pytest.raises(KitClosedError):
            await getattr(kit, method)(*arguments)
        with pytest.raises(KitClosedError):
            async with kit:
                raise AssertionError("not entered")


class TestStore:
    """The kit opens its store on first use and closes only what it opened."""

    async def test_opened_once_and_closed(self) -> None:
        store = Store()
        kit = RoomKit(store)
        assert store.log == []
        await asyncio.gather(kit.create_room("x"), kit.create_room("y"))
        await kit.close()
        assert store.log == ["open", "close"]

    async def test_an_unused_one_is_left_alone(self) -> None:
        store = Store()
        await RoomKit(store).close()
        assert store.log == []


class TestDrain:
    """Deliveries under way are waited for, as long as one likes."""

    async def test_it_waits_for_deliveries(self) -> None:
        free = asyncio.Event()

        async def wait(*call: object) -> None:
            await free.wait()

        async with RoomKit(settle_timeout=0.01) as kit:
            slow = SimpleChannel("b", deliver_script=[wait])
            await open_room(kit, SimpleChannel("a"), slow)
            assert await kit.drain()
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert not await kit.drain(0.01)
            asyncio.get_running_loop().call_soon(free.set)
            assert await kit.drain(5)
            assert result.event is not None
            stored = await kit.store.get_event(result.event.id)
            assert stored is not None
            assert stored.delivery_results["b"]["status"] == "sent"

    async def test_closing_waits_a_while_then_stops_them(self) -> None:
        cancelled = []

        async def forever(*call: object) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        kit = RoomKit(settle_timeout=0.01)
        await open_room(kit, SimpleChannel("a"), SimpleChannel("b", deliver_script=[forever]))
        await kit.process_inbound(inbound("hi"), room_id=ROOM)
        async with asyncio.timeout(5):
            await kit.close(drain_timeout=0.01)
        assert cancelled == [True]

    async def test_closing_lets_what_is_quick_finish(self) -> None:
        kit = RoomKit(settle_timeout=0.01)
        slow = SimpleChannel("b", delay=0.05)
        done: list[RoomEvent] = []

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def observer(event: RoomEvent, context: RoomContext) -> None:
            done.append(event)

        await open_room(kit, SimpleChannel("a"), slow)
        await kit.process_inbound(inbound("hi"), room_id=ROOM)
        assert done == []
        await kit.close()
        assert len(done) == 1


class TestCloseFromWithin:
    """Closing inside a callback does not wait for that callback."""

    @pytest.mark.parametrize("place", ["gate", "channel", "observer", "handler"])
    async def test_it_ends(self, place: str) -> None:
        log: list[str] = []
        kit = RoomKit()

        async def close(*call: object) -> None:
            await kit.close(drain_timeout=0.05)

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            if place == "gate":
                await close()
            return HookResult.allow()

        if place == "observer":
            kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(close)
        if place == "handler":
            kit.on("event_processed")(close)
        script = [close] if place == "channel" else []
        await open_room(kit, Closes("a", log), SimpleChannel("b", deliver_script=script))
        async with asyncio.timeout(5):
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
        assert log == ["a"]
        with pytest.raises(KitClosedError):
            await kit.get_room(ROOM)
        stored = await kit.store.list_events(ROOM)
        assert texts(stored) == ["hi"]


class TestLoops:
    """A kit serves the loop it is first used on."""

    def test_a_second_loop_is_refused_while_the_first_lives(self) -> None:
        kit = RoomKit()
        first = asyncio.new_event_loop()
        try:
            first.run_until_complete(kit.create_room("x"))

            async def elsewhere() -> None:
                with pytest.raises(WrongLoopError, match="another event loop"):
                    await kit.create_room("y")

            asyncio.run(elsewhere())
        finally:
            first.close()

    def test_an_idle_kit_may_move_when_its_loop_is_closed(self) -> None:
        kit = RoomKit()
        asyncio.run(kit.create_room("x"))

        async def elsewhere() -> str:
            return (await kit.get_room("x")).id

        assert asyncio.run(elsewhere()) == "x"

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_forked_child_needs_a_kit_of_its_own(self) -> None:
        kit = RoomKit()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(kit.create_room("x"))
            except WrongLoopError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestUnregister:
    """A channel taken out is closed; its bindings stay."""

    async def test_closed_and_gone(self) -> None:
        log: list[str] = []
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("b"), Closes("a", log))
            await kit.unregister_channel("a")
            assert log == ["a"]
            assert kit.get_channel("a") is None
            assert (await kit.get_binding(ROOM, "a")).channel_id == "a"
            result = await kit.process_inbound(inbound(channel_id="b"), room_id=ROOM)
            assert result.event is not None
            assert result.event.delivery_results["a"]["status"] == "skipped"
            assert result.event.delivery_results["a"]["error"] == "channel_not_registered"
            with pytest.raises(ChannelNotRegisteredError):
                await kit.unregister_channel("a")

    async def test_a_failing_close_comes_out_but_it_is_gone(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, Closes("a", [], OSError("stuck")))
            with pytest.raises(OSError, match="stuck"):
                await kit.unregister_channel("a")
            assert kit.list_channels() == []
            assert await messages(kit) == []


class TestStoresOfOthers:
    """A kit closes only the store it opened itself."""

    async def test_a_store_its_user_opened_stays_open(self) -> None:
        """Two kits come and go, and the store is still the user's."""
        async with SQLiteStore(":memory:") as store:
            for number in range(2):
                async with RoomKit(store) as kit:
                    await kit.create_room(f"r{number}")
            assert [room.id for room in await store.list_rooms()] == ["r0", "r1"]

    async def test_a_store_the_kit_opened_is_closed(self) -> None:
        """Nobody else would."""
        store = SQLiteStore(":memory:")
        async with RoomKit(store) as kit:
            await kit.create_room("r")
        with pytest.raises(RuntimeError):
            await store.list_rooms()
