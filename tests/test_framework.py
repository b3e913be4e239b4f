"""The kit as its users meet it; ``SimpleChannel`` is the channel tests put into rooms."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from roomkit import (
    AudioContent,
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    ChannelType,
    CompositeContent,
    DefaultInboundRoomRouter,
    EventStatus,
    EventType,
    HookEngine,
    HookResult,
    HookTrigger,
    IdentityNotFoundError,
    InboundMessage,
    InboundRoomRouter,
    InMemoryRealtime,
    InMemoryStore,
    InvalidInputError,
    InvalidMetadataError,
    ParticipantNotFoundError,
    RoomClosedError,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomKitError,
    RoomNotFoundError,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    TextContent,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
    WebSocketChannel,
)
from roomkit.core import framework
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound, messages, observe, open_room, text, texts

__all__ = ["SimpleChannel"]


class TestConstruction:
    """A kit needs nothing: no loop, no store, no configuration."""

    def test_defaults(self) -> None:
        kit = RoomKit()
        assert isinstance(kit.store, InMemoryStore)
        assert isinstance(kit.realtime, InMemoryRealtime)
        assert isinstance(kit.hook_engine, HookEngine)
        assert (kit.stt, kit.tts, kit.voice) == (None, None, None)
        assert kit.list_channels() == []

    def test_parameters_come_in_the_documented_order(self) -> None:
        parameters = inspect.signature(RoomKit.__init__).parameters
        positional = {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "self"
        }
        assert list(positional.items()) == [
            ("store", None),
            ("identity_resolver", None),
            ("identity_channel_types", None),
            ("inbound_router", None),
            ("lock_manager", None),
            ("realtime", None),
            ("max_chain_depth", 5),
            ("identity_timeout", 10.0),
            ("process_timeout", 30.0),
            ("stt", None),
            ("tts", None),
            ("voice", None),
        ]

    def test_given_parts_are_used(self) -> None:
        store, realtime = InMemoryStore(), InMemoryRealtime()
        kit = RoomKit(store, realtime=realtime)
        assert kit.store is store
        assert kit.realtime is realtime

    def test_kits_share_nothing(self) -> None:
        first, second = RoomKit(), RoomKit()
        first.register_channel(SimpleChannel("a"))
        assert second.list_channels() == []
        assert first.store is not second.store
        assert first.hook_engine is not second.hook_engine

    def test_properties_are_read_only(self) -> None:
        kit = RoomKit()
        for name in ("store", "hook_engine", "realtime", "stt", "tts", "voice"):
            with pytest.raises(AttributeError):
                setattr(kit, name, None)

    def test_the_representation_tells_no_contents(self) -> None:
        kit = RoomKit()
        kit.register_channel(SimpleChannel("a"))
        assert repr(kit) == "RoomKit(store=InMemoryStore, channels=1)"


class TestErrors:
    """Every typed error is a RoomKitError, at home in ``core.framework`` too."""

    @pytest.mark.parametrize(
        "error",
        [
            RoomNotFoundError,
            ChannelNotFoundError,
            ChannelNotRegisteredError,
            ParticipantNotFoundError,
            IdentityNotFoundError,
            SourceAlreadyAttachedError,
            SourceNotFoundError,
            VoiceNotConfiguredError,
            VoiceBackendNotConfiguredError,
        ],
    )
    def test_tree(self, error: type[Exception]) -> None:
        assert issubclass(error, RoomKitError)
        assert getattr(framework, error.__name__) is error
        assert error.__name__ in framework.__all__

    def test_aliases(self) -> None:
        for name in ("RoomKit", "FrameworkEventHandler", "IdentityHookFn", "RoomKitError"):
            assert name in framework.__all__
        assert hasattr(framework, "DeliveryStatusHandler")

    async def test_an_unregistered_channel(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(ChannelNotRegisteredError, match="'ghost'"):
                await kit.process_inbound(inbound(channel_id="ghost"))

    async def test_an_unknown_room(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("a"))
            with pytest.raises(RoomNotFoundError, match="'nowhere'"):
                await kit.process_inbound(inbound(), room_id="nowhere")

    async def test_send_event(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.send_event("nowhere", "a", TextContent(body="x"))
            await kit.create_room(ROOM)
            with pytest.raises(ChannelNotFoundError):
                await kit.send_event(ROOM, "a", TextContent(body="x"))


class _Fixed(InboundRoomRouter):
    """Sends everything to one room, and remembers what it was asked."""

    def __init__(self, room_id: str | None) -> None:
        self.room_id = room_id
        self.asked: list[tuple[str, str, str | None]] = []

    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        channel_data: dict[str, object] | None = None,
    ) -> str | None:
        self.asked.append((channel_id, channel_type, participant_id))
        return self.room_id


class TestProcessInbound:
    """From a message outside to an event in a room."""

    async def test_the_result(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            result = await kit.process_inbound(inbound("hi", external_id="x-1"), room_id=ROOM)
            assert (result.blocked, result.reason) == (False, None)
            event = result.event
            assert event is not None
            assert (event.index, event.status, event.chain_depth) == (2, EventStatus.DELIVERED, 0)
            assert event.source.participant_id == "alice"
            assert event.source.external_id == "x-1"
            assert event.delivery_results == {"b": {"status": "sent", "attempts": 1}}
            assert await kit.store.get_event(event.id) == event

    async def test_the_router_is_asked_with_what_is_known(self) -> None:
        router = _Fixed(ROOM)
        async with RoomKit(inbound_router=router) as kit:
            await open_room(kit, SimpleChannel("a", ChannelType.SMS))
            result = await kit.process_inbound(inbound())
            assert router.asked == [("a", "sms", "alice")]
            assert result.event is not None
            assert result.event.room_id == ROOM

    async def test_an_explicit_room_goes_before_the_router(self) -> None:
        router = _Fixed("elsewhere")
        async with RoomKit(inbound_router=router) as kit:
            await open_room(kit, SimpleChannel("a"))
            assert (await kit.process_inbound(inbound(), room_id=ROOM)).event is not None
            assert router.asked == []

    async def test_a_routers_unknown_room(self) -> None:
        async with RoomKit(inbound_router=_Fixed("ghost")) as kit:
            kit.register_channel(SimpleChannel("a"))
            with pytest.raises(RoomNotFoundError):
                await kit.process_inbound(inbound())

    async def test_a_first_contact_opens_a_room_with_its_channel(self) -> None:
        async with RoomKit() as kit:
            created = observe(kit, HookTrigger.ON_ROOM_CREATED)
            attached = observe(kit, HookTrigger.ON_CHANNEL_ATTACHED)
            kit.register_channel(SimpleChannel("a"))
            first = await kit.process_inbound(inbound("one"), organization_id="org")
            second = await kit.process_inbound(inbound("two"))
            assert first.event is not None
            assert second.event is not None
            assert first.event.room_id == second.event.room_id
            await kit.drain()
            assert [t.event.room_id for t in created] == [first.event.room_id]
            assert len(attached) == 1
            room = await kit.get_room(first.event.room_id)
            assert (room.organization_id, len(room.id)) == ("org", 32)
            assert [b.channel_id for b in await kit.list_bindings(room.id)] == ["a"]

    async def test_simultaneous_first_contacts_open_one_room(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("a"))
            results = await asyncio.gather(
                *(kit.process_inbound(inbound(f"m{n}")) for n in range(20))
            )
            assert len({r.event.room_id for r in results if r.event is not None}) == 1

    async def test_one_hundred_at_once_are_numbered_without_a_hole(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            results = await asyncio.gather(
                *(kit.process_inbound(inbound(f"m{n}"), room_id=ROOM) for n in range(100))
            )
            assert sorted(r.event.index for r in results if r.event) == list(range(1, 101))

    async def test_channel_errors_come_out_and_nothing_is_stored(self) -> None:
        class Broken(SimpleChannel):
            async def handle_inbound(
                self, message: InboundMessage, context: RoomContext
            ) -> RoomEvent:
                raise LookupError("cannot read it")

        async with RoomKit() as kit:
            errors = observe(kit, HookTrigger.ON_ERROR)
            await open_room(kit, Broken("a"))
            with pytest.raises(LookupError, match="cannot read it"):
                await kit.process_inbound(inbound(), room_id=ROOM)
            assert await messages(kit) == []
            assert len(errors) == 1

    async def test_an_event_for_another_room_stays_here(self) -> None:
        class Lost(SimpleChannel):
            async def handle_inbound(
                self, message: InboundMessage, context: RoomContext
            ) -> RoomEvent:
                return (await super().handle_inbound(message, context)).in_room("elsewhere")

        async with RoomKit() as kit:
            await open_room(kit, Lost("a"))
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert result.event.room_id == ROOM

    async def test_a_message_of_a_channel_not_attached_is_stored_and_reaches_nobody(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, other)
            kit.register_channel(SimpleChannel("a"))
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert not result.blocked
            assert texts(await messages(kit)) == ["hi"]
            assert other.delivered == []

    async def test_metadata_that_json_cannot_carry_is_refused(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            with pytest.raises(InvalidMetadataError):
                await kit.process_inbound(inbound(metadata={"x": object()}), room_id=ROOM)
            with pytest.raises(InvalidInputError, match="idempotency_key"):
                await kit.process_inbound(inbound(idempotency_key="k" * 513), room_id=ROOM)
            assert await messages(kit) == []


class TestIdempotency:
    """Per room and key exactly one event; a repeat gets the first."""

    async def test_a_repeat_gets_the_first(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            first = await kit.process_inbound(inbound("one", idempotency_key="k"), room_id=ROOM)
            again = await kit.process_inbound(inbound("two", idempotency_key="k"), room_id=ROOM)
            assert (again.blocked, again.reason) == (True, "duplicate")
            assert again.event is not None
            assert first.event is not None
            assert again.event.id == first.event.id
            assert texts(await messages(kit)) == ["one"]

    async def test_fifty_at_once_are_one_event(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            results = await asyncio.gather(
                *(
                    kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
                    for _ in range(50)
                )
            )
            assert sorted(r.blocked for r in results) == [False] + [True] * 49
            assert {r.reason for r in results if r.blocked} == {"duplicate"}
            assert len({r.event.id for r in results if r.event}) == 1
            assert len(other.delivered) == 1

    async def test_keys_are_per_room(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await open_room(kit, SimpleChannel("b"), room_id="s")
            for room_id, channel_id in ((ROOM, "a"), ("s", "b")):
                message = inbound(channel_id=channel_id, idempotency_key="k")
                assert not (await kit.process_inbound(message, room_id=room_id)).blocked

    async def test_a_blocked_event_uses_its_key_up(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("no")

            first = await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            again = await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            assert (first.reason, again.reason) == ("no", "duplicate")
            assert len(await messages(kit)) == 1

    async def test_a_repeat_after_the_room_closed_opens_no_other(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("a"))
            first = await kit.process_inbound(inbound(idempotency_key="k"))
            assert first.event is not None
            await kit.close_room(first.event.room_id)
            again = await kit.process_inbound(inbound(idempotency_key="k"))
            assert again.reason == "duplicate"
            assert again.event is not None
            assert again.event.id == first.event.id

    async def test_send_event_with_a_known_key_returns_the_first(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            first = await kit.send_event(ROOM, "a", TextContent(body="1"), idempotency_key="k")
            again = await kit.send_event(ROOM, "a", TextContent(body="2"), idempotency_key="k")
            assert again.id == first.id
            assert text(again) == "1"


class TestSendEvent:
    """Said in a room: the same path as a message, from the gates on."""

    async def test_fields(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a", ChannelType.SMS), other)
            event = await kit.send_event(
                ROOM,
                "a",
                TextContent(body="hi"),
                participant_id="agent",
                metadata={"k": 1},
                parent_event_id="p",
                correlation_id="c",
            )
            assert event.type == EventType.MESSAGE
            assert event.status == EventStatus.DELIVERED
            assert event.source.channel_type == ChannelType.SMS
            assert event.source.direction == "inbound"
            assert event.source.participant_id == "agent"
            assert (event.metadata, event.visibility) == ({"k": 1}, "all")
            assert (event.parent_event_id, event.correlation_id) == ("p", "c")
            assert event.index == 2
            assert texts(other.delivered) == ["hi"]

    async def test_gates_run_and_a_blocked_event_comes_back_blocked(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)

            @kit.hook(HookTrigger.BEFORE_BROADCAST, name="censor")
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("rude")

            event = await kit.send_event(ROOM, "a", TextContent(body="!"))
            assert (event.status, event.blocked_by) == (EventStatus.BLOCKED, "censor")
            assert other.delivered == []

    async def test_the_channel_needs_no_registration(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            await kit.unregister_channel("a")
            await kit.send_event(ROOM, "a", TextContent(body="hi"))
            assert texts(other.delivered) == ["hi"]

    async def test_a_closed_room_refuses(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.close_room(ROOM)
            with pytest.raises(RoomClosedError):
                await kit.send_event(ROOM, "a", TextContent(body="hi"))
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert (result.event, result.blocked, result.reason) == (None, True, "room_closed")

    async def test_a_content_of_parts_travels_whole(self) -> None:
        parts = CompositeContent(
            parts=[TextContent(body="x"), AudioContent(url="https://example.org/a.ogg")]
        )
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            event = await kit.send_event(ROOM, "a", parts)
            assert event.content == parts


class TestRegistry:
    """Channels in the order they came, one an id."""

    async def test_lookups(self) -> None:
        async with RoomKit() as kit:
            a, b = SimpleChannel("a"), WebSocketChannel("b")
            kit.register_channel(a)
            kit.register_channel(b)
            assert kit.get_channel("a") is a
            assert kit.get_channel("ghost") is None
            assert kit.list_channels() == [a, b]

    async def test_registering_again_replaces(self) -> None:
        async with RoomKit() as kit:
            old, new = SimpleChannel("b"), SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), old)
            kit.register_channel(new)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (texts(old.delivered), texts(new.delivered)) == ([], ["hi"])

    def test_the_default_router_is_the_default(self) -> None:
        assert issubclass(DefaultInboundRoomRouter, InboundRoomRouter)
