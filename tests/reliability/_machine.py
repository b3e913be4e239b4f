"""A whole kit and its model as a machine: any calls, in any order; both tell the same story."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from roomkit import (
    Access,
    ChannelCategory,
    ChannelNotFoundError,
    DeleteContent,
    EditContent,
    EventStatus,
    EventType,
    HookResult,
    HookTrigger,
    InboundResult,
    InjectedEvent,
    InMemoryStore,
    InvalidTransitionError,
    ManualClock,
    Reason,
    RoomClosedError,
    RoomEvent,
    RoomKit,
    RoomTimers,
    TextContent,
)
from roomkit.testing import SimpleChannel, StoreWrapper, assert_invariants, make_event
from tests.reliability._model import (
    BOT,
    CLOSED,
    INACTIVE,
    TRANSPORTS,
    Model,
    Place,
    RoomModel,
    Said,
)
from tests.support.kits import inbound
from tests.support.warp import WarpLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit import ChannelBinding, ConversationStore, RoomContext

CHANNELS = st.sampled_from((*TRANSPORTS, BOT))
SPEAKERS = st.sampled_from(TRANSPORTS)
BODIES = st.sampled_from(
    ("hello", "really?", "block it", "modify it", "inject", "raise", "inject?")
)
KEYS = st.sampled_from((None, None, "k1", "k2", "k3"))
PEOPLE = st.sampled_from(("ann", "bob"))
VISIBILITIES = st.sampled_from(("all", "all", "transport", "intelligence", "none", "b"))
ACCESS = st.sampled_from((Access.READ_WRITE, *Access))
PICK = st.integers(0, 1000)


def answer(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> str | None:
    """Answer questions."""
    body = event.content.body if isinstance(event.content, TextContent) else ""
    return f"re: {body}" if body.endswith("?") else None


async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
    """Do what the text says."""
    body = event.content.body if isinstance(event.content, TextContent) else ""
    if body.startswith("block"):
        return HookResult.block("no")
    if body.startswith("raise"):
        raise ValueError("a gate that fails lets pass")
    if body.startswith("modify"):
        return HookResult.modify(event.saying(TextContent(body="modified")))
    if body.startswith("inject"):
        note = make_event(event.room_id, "note", channel_id="a", participant_id=None)
        return HookResult.allow(injected=[InjectedEvent(event=note, target_channel_ids=["b"])])
    return HookResult.allow()


class KitMachine(RuleBasedStateMachine):
    """Rooms come and go, people talk, and everything else that a kit can be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.clock = ManualClock()
        self.model = Model()
        self.told: list[InboundResult | RoomEvent] = []
        self.channels = {
            name: SimpleChannel(
                name,
                category=ChannelCategory.INTELLIGENCE
                if name == BOT
                else ChannelCategory.TRANSPORT,
                react_script=answer if name == BOT else None,
            )
            for name in (*TRANSPORTS, BOT)
        }
        self.begin()

    loop_factory: ClassVar[Callable[[], asyncio.AbstractEventLoop]] = WarpLoop
    """Makes the loop; a store with threads or sockets needs one that really waits."""

    def make_store(self) -> ConversationStore:
        """Return the store on which it all happens; asked again at each new beginning."""
        return InMemoryStore()

    def wrap(self, store: ConversationStore) -> ConversationStore:
        """Return the store the kit gets."""
        return store

    def begin(self) -> None:
        """Make a kit on the store."""
        self.store = self.make_store()
        self.runner.run(self.store.open())
        self.kit = RoomKit(self.wrap(self.store), clock=self.clock)
        for channel in self.channels.values():
            self.kit.register_channel(channel)
        self.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)

    def run[T](self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a call and everything that follows from it."""

        async def running() -> T:
            result = await coro
            assert await self.kit.drain(60)
            return result

        return self.runner.run(running())

    async def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)

    def room(self, pick: int) -> str:
        """Return one of the rooms."""
        names = list(self.model.rooms)
        return names[pick % len(names)]

    def teardown(self) -> None:
        """Compare everything once more, and close."""
        for name in self.model.rooms:
            self.compare(name)
        self.run(assert_invariants(self.store, self.told))
        self.end()
        self.runner.close()

    def end(self) -> None:
        """Close kit and store."""
        self.runner.run(self.kit.close())
        self.runner.run(self.store.close())

    # -- rooms and channels ----------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """A kit without rooms has little to tell."""
        self.create(timed=True)
        for name in (*TRANSPORTS, BOT):
            self.attach(0, name, Access.READ_WRITE, "all")

    @precondition(lambda self: len(self.model.rooms) < 3)
    @rule(timed=st.booleans())
    def create(self, timed: bool) -> None:
        name = f"room{len(self.model.rooms)}"
        timers = RoomTimers(inactive_after_seconds=INACTIVE, closed_after_seconds=CLOSED)
        self.run(self.kit.create_room(name, timers=timers if timed else None))
        self.model.rooms[name] = RoomModel(timed)

    @rule(pick=PICK, channel=CHANNELS, access=ACCESS, visibility=VISIBILITIES)
    def attach(self, pick: int, channel: str, access: Access, visibility: str) -> None:
        name = self.room(pick)
        self.run(self.kit.attach_channel(name, channel, access=access, visibility=visibility))
        self.model.rooms[name].places[channel] = Place(access, visibility)
        self.noted(name, "channel_attached")

    @rule(pick=PICK, channel=CHANNELS)
    def detach(self, pick: int, channel: str) -> None:
        name = self.room(pick)
        was_there = self.model.rooms[name].places.pop(channel, None) is not None
        assert self.run(self.kit.detach_channel(name, channel)) == was_there
        if was_there:
            self.noted(name, "channel_detached")

    @rule(pick=PICK, channel=CHANNELS, muted=st.booleans())
    def mute(self, pick: int, channel: str, muted: bool) -> None:
        call = self.kit.mute if muted else self.kit.unmute
        kind = "channel_muted" if muted else "channel_unmuted"
        self.change(pick, channel, call(self.room(pick), channel), kind, "muted", muted)

    @rule(pick=PICK, channel=CHANNELS, access=ACCESS)
    def set_access(self, pick: int, channel: str, access: Access) -> None:
        call = self.kit.set_access(self.room(pick), channel, access)
        self.change(pick, channel, call, "channel_updated", "access", access)

    @rule(pick=PICK, channel=CHANNELS, visibility=VISIBILITIES)
    def set_visibility(self, pick: int, channel: str, visibility: str) -> None:
        call = self.kit.set_visibility(self.room(pick), channel, visibility)
        self.change(pick, channel, call, "channel_updated", "visibility", visibility)

    def change(
        self, pick: int, channel: str, call: Any, kind: str, attribute: str, value: Any
    ) -> None:
        name = self.room(pick)
        place = self.model.rooms[name].places.get(channel)
        if place is None:
            with pytest.raises(ChannelNotFoundError):
                self.run(call)
            return
        assert getattr(self.run(call), attribute) == value
        setattr(place, attribute, value)
        self.noted(name, kind)

    def noted(self, name: str, kind: str) -> None:
        self.model.rooms[name].events.append(Said(kind))
        self.compare(name)

    # -- messages --------------------------------------------------------------------------

    @rule(pick=PICK, channel=SPEAKERS, sender=PEOPLE, body=BODIES, key=KEYS)
    def receive(self, pick: int, channel: str, sender: str, body: str, key: str | None) -> None:
        name = self.room(pick)
        message = inbound(body, channel, sender, idempotency_key=key)
        result = self.run(self.kit.process_inbound(message, room_id=name))
        self.judge(name, result, Said("message", body, channel, sender, key))

    @rule(pick=PICK, which=PICK, channel=SPEAKERS, sender=PEOPLE, key=KEYS, delete=st.booleans())
    def alter(
        self, pick: int, which: int, channel: str, sender: str, key: str | None, delete: bool
    ) -> None:
        name = self.room(pick)
        room = self.model.rooms[name]
        stored = self.timeline(name)
        if not stored:
            return
        index = which % len(stored)
        target = stored[index].id
        content: Any = DeleteContent(target_event_id=target)
        if not delete:
            content = EditContent(target_event_id=target, new_content=TextContent(body="edited"))
        kind = EventType.DELETE if delete else EventType.EDIT
        message = inbound(content, channel, sender, event_type=kind, idempotency_key=key)
        result = self.run(self.kit.process_inbound(message, room_id=name))
        said = Said(kind.value, None, channel, sender, key)
        if room.open and room.index_of(key) is None and room.events[index].author != sender:
            assert (result.blocked, result.reason) == (True, Reason.NOT_AUTHOR)
            self.compare(name)
            return
        self.judge(name, result, said, room.events[index])

    @rule(pick=PICK, channel=CHANNELS, body=BODIES, key=KEYS, visibility=VISIBILITIES)
    def send(self, pick: int, channel: str, body: str, key: str | None, visibility: str) -> None:
        name = self.room(pick)
        room = self.model.rooms[name]
        call = self.kit.send_event(
            name, channel, TextContent(body=body), visibility=visibility, idempotency_key=key
        )
        first = room.index_of(key)
        if channel not in room.places:
            with pytest.raises(ChannelNotFoundError):
                self.run(call)
        elif first is None and not room.open:
            with pytest.raises(RoomClosedError):
                self.run(call)
        else:
            event = self.run(call)
            self.told.append(event)
            if first is None:
                first = len(room.events)
                self.model.say(name, Said("message", body, channel, None, key), visibility)
            assert event.index == first
            assert (event.status == EventStatus.BLOCKED) == room.events[first].blocked
        self.compare(name)

    def judge(
        self, name: str, result: InboundResult, said: Said, meant: Said | None = None
    ) -> None:
        """Compare a result with the model's; ``meant`` is what an edit or delete is about."""
        room = self.model.rooms[name]
        self.told.append(result)
        first = room.index_of(said.key)
        if first is not None:
            assert (result.blocked, result.reason) == (True, Reason.DUPLICATE)
            assert result.event is not None
            assert result.event.index == first
        elif not room.open:
            assert (result.blocked, result.reason) == (True, Reason.ROOM_CLOSED)
        else:
            index = len(room.events)
            self.model.say(name, said)
            if meant is not None:
                meant.deleted |= said.kind == "delete"
                if said.kind == "edit":
                    meant.body, meant.edited = "edited", True
            assert result.event is not None
            assert result.event.index == index
            assert (result.blocked, result.reason) == (
                (True, "no") if said.blocked else (False, None)
            )
        self.compare(name)

    # -- life ------------------------------------------------------------------------------

    @rule(pick=PICK, to=st.sampled_from(("close", "reopen", "reopen", "archive")))
    def move(self, pick: int, to: str) -> None:
        name = self.room(pick)
        room = self.model.rooms[name]
        call = getattr(self.kit, f"{to}_room")(name)
        allowed = {
            "close": ("active", "paused", "closed"),
            "reopen": ("paused", "closed"),
            "archive": ("closed",),
        }
        if room.status not in allowed[to] or (to == "archive" and name == "room0"):
            if to == "archive" and room.status == "closed":
                call.close()
                return
            with pytest.raises(InvalidTransitionError):
                self.run(call)
            return
        self.run(call)
        room.status = {"close": "closed", "reopen": "active", "archive": "archived"}[to]
        if to == "reopen":
            room.events.append(Said("system"))
        self.compare(name)

    @rule(seconds=st.sampled_from((1, 29, 31, 91)))
    def wait(self, seconds: int) -> None:
        self.runner.run(self.pass_time(seconds))
        self.model.now += seconds
        before = {name: room.status for name, room in self.model.rooms.items()}
        self.model.run_timers()
        moved = self.run(self.kit.check_all_timers())
        after = {name: room.status for name, room in self.model.rooms.items()}
        assert {room.id for room in moved} == {n for n in before if before[n] != after[n]}
        for name in self.model.rooms:
            self.compare(name)

    # -- comparison ------------------------------------------------------------------------

    def timeline(self, name: str) -> list[RoomEvent]:
        return self.runner.run(self.store.list_events(name, 0, 10_000))

    def compare(self, name: str) -> None:
        """See that the kit tells of a room what the model does."""
        room = self.model.rooms[name]
        stored = self.timeline(name)
        assert [describe(event) for event in stored] == [expected(said) for said in room.events]
        real = self.runner.run(self.kit.get_room(name))
        assert (real.status, real.event_count) == (room.status, len(room.events))
        for channel_id, channel in self.channels.items():
            got = channel.received if channel_id == BOT else channel.delivered
            assert [(event.room_id, event.index) for event in got] == self.model.given[channel_id]


def describe(event: RoomEvent) -> tuple[Any, ...]:
    """Return of a stored event what the model knows."""
    body = event.content.body if isinstance(event.content, TextContent) else None
    person = event.source.participant_id
    key = event.idempotency_key
    if event.type == EventType.SYSTEM:
        key = None  # of the framework's own, such as that of a silence that ended
    return (
        event.type.value,
        body,
        event.source.channel_id,
        person,
        key,
        event.status == EventStatus.BLOCKED,
        bool(event.metadata.get("edited")),
        bool(event.metadata.get("deleted")),
    )


def expected(said: Said) -> tuple[Any, ...]:
    """Return the same of a model's event."""
    return (
        said.kind,
        said.body,
        said.source,
        said.author,
        said.key,
        said.blocked,
        said.edited,
        said.deleted,
    )


def walks(examples: int, steps: int) -> settings:
    """Return how far machines walk.

    Nothing is shrunk: with a whole kit in each step that takes minutes, and the first failure,
    with its seed printed, is short enough to follow.
    """
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )


class _Beats(StoreWrapper):
    """Knows whether a worker is just saying that it lives."""

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self.told = asyncio.Event()
        self.told.set()

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        if name != "beat":
            return await call
        self.told.clear()
        try:
            return await call
        finally:
            self.told.set()


class RestartingMachine(KitMachine):
    """The same on a store that outlives its kit: now and then both end and begin anew."""

    loop_factory = asyncio.SelectorEventLoop

    def wrap(self, store: ConversationStore) -> ConversationStore:
        """Watch its beats."""
        self.beats = _Beats(store)
        return self.beats

    async def pass_time(self, seconds: int) -> None:
        """Let time pass as slowly as a worker needs to show that it lives."""
        for _ in range(seconds):
            await self.clock.advance(1)
            async with asyncio.timeout(10):
                await self.beats.told.wait()

    @rule()
    def restart(self) -> None:
        self.end()
        self.begin()
        for name in self.model.rooms:
            self.compare(name)
