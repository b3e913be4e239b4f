"""A small whole world for the sweeps: one kit with everything a call may touch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit import (
    Access,
    AIChannel,
    ChannelType,
    DeliveryStatus,
    HookExecution,
    HookResult,
    HookTrigger,
    Identity,
    InjectedEvent,
    InMemoryLockManager,
    InMemoryStore,
    MockAIProvider,
    MockIdentityResolver,
    MockSMSProvider,
    Participant,
    RoomKit,
    SMSChannel,
    SystemClock,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, make_event
from tests.support.kits import inbound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from roomkit import (
        AIContext,
        AIResponse,
        ConversationStore,
        IdentityResult,
        InboundMessage,
        ProviderResult,
        RoomContext,
        RoomEvent,
    )

    type Call = Callable[["World"], Coroutine[Any, Any, Any]]

KEY = "the-key"

HASTE = 10.0
"""How much faster the world of a sweep turns than ours."""


class WatchedLocks(InMemoryLockManager):
    """The in-memory locks, which know whose lock is held now."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[str] = []

    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Note who holds what."""
        return _Watched(self.held, room_id, super().locked(room_id))


class _Watched:
    def __init__(
        self, held: list[str], room_id: str, lock: AbstractAsyncContextManager[None]
    ) -> None:
        self._held, self._room_id, self._lock = held, room_id, lock

    async def __aenter__(self) -> None:
        await self._lock.__aenter__()
        self._held.append(self._room_id)

    async def __aexit__(self, *exc: Any) -> None:
        self._held.remove(self._room_id)
        await self._lock.__aexit__(*exc)


class HastyClock(SystemClock):
    """A clock whose pauses are short: what comes round once a second comes ten times.

    The time of day stays true, for the servers know it too.
    """

    def monotonic(self) -> float:
        """Return ten seconds for each that passes."""
        return super().monotonic() * HASTE

    async def sleep(self, seconds: float) -> None:
        """Sleep a tenth of the time."""
        await super().sleep(seconds / HASTE)


class World:
    """A kit with the room ``r``: a WebSocket, an SMS vendor, a model, gates and observers.

    Every foreign call suspends at least once.

    Attributes:
        kit: The kit.
        inner: What is stored, however the kit's own store behaves.
        locks: Who holds what.
        sms: The SMS vendor.
        heard: What the connection of the WebSocket got.
    """

    def __init__(self, store: ConversationStore, inner: ConversationStore, **options: Any) -> None:
        self.inner = inner
        self.locks = WatchedLocks()
        resolver = _SlowResolver({"alice": Identity(id="alice-id")})
        options.setdefault("clock", HastyClock())
        options.setdefault("identity_resolver", resolver)
        options.setdefault("identity_channel_types", {ChannelType.SMS})
        self.kit = RoomKit(store, lock_manager=self.locks, **options)
        self.sms = _SlowSMS()
        self.heard: list[RoomEvent] = []
        self.ears: list[str] = []

    async def build(self) -> World:
        """Register everything and fill the rooms."""
        kit = self.furnish().kit
        await kit.create_room("r")
        for channel_id in ("a", "ws", "ai"):
            await kit.attach_channel("r", channel_id)
        await kit.attach_channel("r", "sms", metadata={"phone_number": "alice"})
        await kit.create_room("side")
        await kit.attach_channel("side", "ws")
        await self.inner.create_identity(Identity(id="someone"))
        await self.inner.add_participant(Participant(id="p1", room_id="r", channel_id="a"))
        return self

    def furnish(self) -> World:
        """Register channels, hooks and handlers; for rooms that another world has filled."""
        kit = self.kit
        socket = WebSocketChannel("ws")
        socket.register_connection("c1", self.hear, room_ids="r")
        for channel in (
            socket,
            SMSChannel("sms", provider=self.sms),
            AIChannel("ai", _SlowAI(["answer"])),
            SimpleChannel("a"),
        ):
            kit.register_channel(channel)

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            await asyncio.sleep(0)
            if event.chain_depth or event.room_id != "r":
                return HookResult.allow()
            note = make_event("r", "note", channel_id="a", participant_id=None)
            there = make_event("side", "there", channel_id="a", participant_id=None)
            return HookResult.allow(
                injected=[
                    InjectedEvent(event=note, target_channel_ids=["ws"]),
                    InjectedEvent(event=there, target_channel_ids=["ws"]),
                ]
            )

        for trigger in (
            HookTrigger.AFTER_BROADCAST,
            HookTrigger.ON_ROOM_CREATED,
            HookTrigger.ON_ROOM_CLOSED,
            HookTrigger.ON_CHANNEL_ATTACHED,
            HookTrigger.ON_CHANNEL_DETACHED,
            HookTrigger.ON_CHANNEL_MUTED,
            HookTrigger.ON_ERROR,
        ):
            kit.hook(trigger, HookExecution.ASYNC)(self._observe)
        for event_type in ("event_processed", "room_created", "delivery_failed"):
            kit.on(event_type)(self._told)
        return self

    async def _observe(self, event: RoomEvent, context: RoomContext) -> None:
        await asyncio.sleep(0)

    async def _told(self, event: Any) -> None:
        await asyncio.sleep(0)
        self.ears.append(event.type)

    async def hear(self, connection_id: str, event: RoomEvent) -> None:
        """Get an event as a connection does."""
        await asyncio.sleep(0)
        self.heard.append(event)

    async def messages(self, room_id: str = "r") -> list[RoomEvent]:
        """Return what was said in a room, without system events."""
        events = await self.inner.list_events(room_id, 0, 1000)
        return [event for event in events if event.content.type == "text"]


class _SlowResolver(MockIdentityResolver):
    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        await asyncio.sleep(0)
        return await super().resolve(message, context)


class _SlowSMS(MockSMSProvider):
    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        await asyncio.sleep(0)
        return await super().send(event, to, from_)


class _SlowAI(MockAIProvider):
    async def generate(self, context: AIContext) -> AIResponse:
        await asyncio.sleep(0)
        return await super().generate(context)


def _say(body: str = "hello", **fields: Any) -> Call:
    return lambda world: world.kit.send_event(
        "r", "a", TextContent(body=body), idempotency_key=KEY, **fields
    )


async def _status(world: World) -> None:
    await world.kit.process_inbound(inbound("first"), room_id="r")
    first = (await world.messages())[0].delivery_results.get("sms", {})
    message_id = first.get("provider_message_id", "unknown")
    status = DeliveryStatus(provider="mock", message_id=message_id, status="delivered")
    await world.kit.process_delivery_status(status)


CALLS: dict[str, Call] = {
    "process_inbound": lambda w: w.kit.process_inbound(inbound(idempotency_key=KEY), room_id="r"),
    "process_inbound_routed": lambda w: w.kit.process_inbound(
        inbound(channel_id="sms", idempotency_key=KEY)
    ),
    "process_inbound_first_contact": lambda w: w.kit.process_inbound(
        inbound(channel_id="sms", sender="stranger", idempotency_key=KEY), organization_id="org"
    ),
    "send_event": _say(),
    "process_delivery_status": _status,
    "create_room": lambda w: w.kit.create_room("new", {"k": 1}),
    "get_room": lambda w: w.kit.get_room("r"),
    "update_room_metadata": lambda w: w.kit.update_room_metadata("r", {"k": 1}),
    "close_room": lambda w: w.kit.close_room("r"),
    "check_room_timers": lambda w: w.kit.check_room_timers("r"),
    "check_all_timers": lambda w: w.kit.check_all_timers(),
    "attach_channel": lambda w: w.kit.attach_channel("side", "ai"),
    "detach_channel": lambda w: w.kit.detach_channel("r", "ai"),
    "mute": lambda w: w.kit.mute("r", "ai"),
    "unmute": lambda w: w.kit.unmute("r", "ai"),
    "set_visibility": lambda w: w.kit.set_visibility("r", "ai", "none"),
    "set_access": lambda w: w.kit.set_access("r", "ai", Access.READ_ONLY),
    "update_binding_metadata": lambda w: w.kit.update_binding_metadata("r", "ai", {"k": 1}),
    "ensure_participant": lambda w: w.kit.ensure_participant("r", "a", "p2"),
    "resolve_participant": lambda w: w.kit.resolve_participant("r", "p1", "someone"),
    "get_timeline": lambda w: w.kit.get_timeline("r"),
    "get_binding": lambda w: w.kit.get_binding("r", "a"),
    "list_bindings": lambda w: w.kit.list_bindings("r"),
    "list_tasks": lambda w: w.kit.list_tasks("r"),
    "list_observations": lambda w: w.kit.list_observations("r"),
    "mark_all_read": lambda w: w.kit.mark_all_read("r", "ws"),
    "publish_typing": lambda w: w.kit.publish_typing("r", "alice"),
    "publish_presence": lambda w: w.kit.publish_presence("r", "alice", "online"),
    "publish_reaction": lambda w: w.kit.publish_reaction("r", "alice", "e1", "+"),
    "publish_read_receipt": lambda w: w.kit.publish_read_receipt("r", "alice", "e1"),
    "connect_websocket": lambda w: w.kit.connect_websocket("ws", "c2", w.hear),
    "disconnect_websocket": lambda w: w.kit.disconnect_websocket("ws", "c1"),
    "unregister_channel": lambda w: w.kit.unregister_channel("ai"),
    "drain": lambda w: w.kit.drain(5),
}
"""One call of every public coroutine that touches more than memory of its own."""

KEYED = (
    "process_inbound",
    "process_inbound_routed",
    "process_inbound_first_contact",
    "send_event",
)
"""Those that carry an idempotency key."""


async def make_world(wrap: Callable[[InMemoryStore], ConversationStore], **options: Any) -> World:
    """Return a world on a new store."""
    inner = InMemoryStore()
    return await World(wrap(inner), inner, **options).build()


async def eventually(true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait until something is so; a worker may need a turn of a second, or a few."""
    for _ in range(750):
        if await true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not so in all this time")
