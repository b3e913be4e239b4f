"""What the framework tells about itself: each type, its fields, its data, its order."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    ChannelCategory,
    ChannelOutput,
    ChannelType,
    EditContent,
    EventSource,
    FrameworkEvent,
    FrameworkEventType,
    HookResult,
    HookTrigger,
    InvalidInputError,
    ManualClock,
    RoomEvent,
    RoomKit,
    RoomTimers,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, Ears, inbound, messages, open_room

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage

_NAMES = [
    "room_created",
    "room_closed",
    "room_paused",
    "room_channel_attached",
    "room_channel_detached",
    "event_processed",
    "event_blocked",
    "hook_error",
    "broadcast_partial_failure",
    "delivery_succeeded",
    "delivery_failed",
    "chain_depth_exceeded",
    "identity_timeout",
    "process_timeout",
    "channel_connected",
    "channel_disconnected",
    "voice_connected",
    "voice_disconnected",
    "source_attached",
    "source_detached",
    "source_error",
    "source_exhausted",
]


def facts(event: FrameworkEvent) -> tuple[str | None, str | None, str | None, dict[str, Any]]:
    """Return room, channel and event id, and the data."""
    return event.room_id, event.channel_id, event.event_id, event.data


class TestTypes:
    """Every name of the contract is known; ours come on top."""

    def test_names(self) -> None:
        assert set(_NAMES) <= set(FrameworkEventType)
        ours = set(FrameworkEventType) - set(_NAMES)
        assert ours == {
            "room_resumed",
            "room_archived",
            "room_reopened",
            "delivery_skipped",
            "keyword_received",
            "delivery_scheduled",
            "delivery_dead",
            "inbox_dead",
            "worker_lapsed",
            "inbound_failed",
            "channel_unregistered",
        }

    def test_an_unknown_name_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        kit = RoomKit()

        @kit.on("room_exploded")
        async def handler(event: FrameworkEvent) -> None:
            raise AssertionError("never")

        [record] = caplog.records
        assert (record.name, record.levelname) == ("roomkit.framework", "WARNING")
        assert "room_exploded" in record.getMessage()

    def test_a_known_name_is_not(self, caplog: pytest.LogCaptureFixture) -> None:
        Ears(RoomKit())
        assert caplog.records == []


class TestHandlers:
    """One after the other, in the order they came; a failing one goes no further."""

    async def test_order_and_isolation(self, caplog: pytest.LogCaptureFixture) -> None:
        async with RoomKit() as kit:
            calls: list[str] = []

            @kit.on("room_created")
            async def first(event: FrameworkEvent) -> None:
                await asyncio.sleep(0)
                calls.append("first")

            @kit.on("room_created")
            async def broken(event: FrameworkEvent) -> None:
                calls.append("broken")
                raise LookupError("a secret")

            @kit.on("room_created")
            def plain(event: FrameworkEvent) -> None:
                calls.append("plain")

            await kit.create_room(ROOM)
            assert calls == ["first", "broken", "plain"]
            [record] = [r for r in caplog.records if r.levelno >= logging.ERROR]
            assert record.name == "roomkit.framework"
            assert "handler failed" in record.getMessage()
            assert "a secret" not in record.getMessage()

    async def test_only_the_exact_type(self) -> None:
        async with RoomKit() as kit:
            calls: list[str] = []

            @kit.on("room_closed")
            async def handler(event: FrameworkEvent) -> None:
                calls.append(event.type)

            await kit.create_room(ROOM)
            await kit.close_room(ROOM)
            assert calls == ["room_closed"]

    async def test_any_awaitable_is_awaited(self) -> None:
        async with RoomKit() as kit:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            calls: list[FrameworkEvent] = []

            def handler(event: FrameworkEvent) -> asyncio.Future[None]:
                calls.append(event)
                return done

            kit.on("room_created")(handler)
            await kit.create_room(ROOM)
            assert len(calls) == 1

    async def test_the_clock_stamps(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            await clock.advance(5)
            await kit.create_room(ROOM)
            assert ears.heard[0].timestamp == clock.now()
            assert isinstance(ears.heard[0].timestamp, datetime)

    async def test_a_handler_may_use_the_kit(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SimpleChannel("a"))

            @kit.on("room_created")
            async def handler(event: FrameworkEvent) -> None:
                assert event.room_id is not None
                await kit.attach_channel(event.room_id, "a")

            await kit.create_room(ROOM)
            assert (await kit.get_binding(ROOM, "a")).channel_id == "a"


class TestRooms:
    """A room's life."""

    async def test_created_and_closed(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            await kit.create_room(ROOM)
            await kit.close_room(ROOM)
            assert ears.types == ["room_created", "room_closed"]
            assert [facts(event) for event in ears.heard] == [
                (ROOM, None, None, {"room_id": ROOM})
            ] * 2

    async def test_archived_and_reopened(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            await kit.create_room(ROOM)
            await kit.close_room(ROOM)
            await kit.reopen_room(ROOM)
            await kit.close_room(ROOM)
            await kit.archive_room(ROOM)
            assert ears.types[2:] == ["room_reopened", "room_closed", "room_archived"]
            assert {event.room_id for event in ears.heard} == {ROOM}

    async def test_paused_and_closed_by_timer(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            ears = Ears(kit)
            timers = RoomTimers(inactive_after_seconds=10, closed_after_seconds=20)
            await kit.create_room(ROOM, timers=timers)
            kit.register_channel(SimpleChannel("a"))
            await kit.attach_channel(ROOM, "a")
            await kit.process_inbound(inbound(), room_id=ROOM)
            ears.clear()
            for seconds in (11, 10):
                await clock.advance(seconds)
                await kit.check_room_timers(ROOM)
            assert ears.types == ["room_paused", "room_closed"]
            assert [facts(event) for event in ears.heard] == [
                (ROOM, None, None, {"reason": "timer"})
            ] * 2

    async def test_resumed(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock, resume_paused_rooms=True) as kit:
            ears = Ears(kit)
            await kit.create_room(ROOM, timers=RoomTimers(inactive_after_seconds=10))
            kit.register_channel(SimpleChannel("a"))
            await kit.attach_channel(ROOM, "a")
            await kit.process_inbound(inbound())
            await clock.advance(11)
            assert (await kit.check_room_timers(ROOM)).status == "paused"
            result = await kit.process_inbound(inbound("back"))
            assert result.event is not None
            assert result.event.room_id == ROOM
            assert (await kit.get_room(ROOM)).status == "active"
            await kit.drain()
            assert [event.room_id for event in ears.of("room_resumed")] == [ROOM]

    async def test_channels_attached_and_detached(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            await open_room(kit, SimpleChannel("a"), visibility="transport")
            await kit.detach_channel(ROOM, "a")
            await kit.detach_channel(ROOM, "a")
            assert [(e.type, *facts(e)) for e in ears.heard[1:]] == [
                (
                    "room_channel_attached",
                    ROOM,
                    "a",
                    None,
                    {"access": "read_write", "visibility": "transport"},
                ),
                ("room_channel_detached", ROOM, "a", None, {}),
            ]

    async def test_an_update_of_a_binding_tells_nothing(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            ears = Ears(kit)
            await kit.mute(ROOM, "a")
            await kit.unmute(ROOM, "a")
            await kit.update_binding_metadata(ROOM, "a", {"k": 1})
            await kit.update_room_metadata(ROOM, {"k": 1})
            assert ears.heard == []


class TestMessages:
    """A message's way."""

    async def test_processed_and_delivered(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            ears = Ears(kit)
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            event_id = result.event.id
            assert [(e.type, *facts(e)) for e in ears.heard] == [
                ("delivery_succeeded", ROOM, "b", event_id, {}),
                ("event_processed", ROOM, None, event_id, {}),
            ]

    async def test_blocked(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            ears = Ears(kit)

            @kit.hook(HookTrigger.BEFORE_BROADCAST, name="censor")
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("rude")

            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert [(e.type, *facts(e)) for e in ears.heard] == [
                (
                    "event_blocked",
                    ROOM,
                    None,
                    result.event.id,
                    {"reason": "rude", "blocked_by": "censor"},
                )
            ]

    async def test_a_nameless_gate_blocks_by_its_reason_but_is_told_raw(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            ears = Ears(kit)

            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("rude")

            kit.add_room_hook(ROOM, HookTrigger.BEFORE_BROADCAST, "sync", gate)  # type: ignore[arg-type]
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert result.event.blocked_by == "rude"
            [told] = ears.of("event_blocked")
            assert told.data == {"reason": "rude", "blocked_by": ""}

    async def test_hook_errors(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            ears = Ears(kit)

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def broken(event: RoomEvent, context: RoomContext) -> HookResult:
                raise LookupError("what is that?")

            @kit.hook(HookTrigger.BEFORE_BROADCAST, timeout=0.01)
            async def slow(event: RoomEvent, context: RoomContext) -> HookResult:
                await asyncio.Event().wait()
                return HookResult.allow()

            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert [facts(event) for event in ears.of("hook_error")] == [
                (ROOM, None, result.event.id, {"hook": "broken", "error": "what is that?"}),
                (ROOM, None, result.event.id, {"hook": "slow", "error": "timeout (0.01s)"}),
            ]

    async def test_partial_failure(self) -> None:
        async with RoomKit() as kit:
            down = SimpleChannel("b", deliver_script=[OSError("no route")])
            await open_room(kit, SimpleChannel("a"), down, SimpleChannel("c"))
            ears = Ears(kit)
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            event_id = result.event.id
            assert [(e.type, *facts(e)) for e in ears.heard] == [
                (
                    "broadcast_partial_failure",
                    ROOM,
                    None,
                    event_id,
                    {"failed": 1, "total": 2, "errors": {"b": "no route"}},
                ),
                ("delivery_succeeded", ROOM, "c", event_id, {}),
                ("delivery_failed", ROOM, "b", event_id, {"error": "no route"}),
                ("event_processed", ROOM, None, event_id, {}),
            ]

    async def test_a_target_that_is_not_registered_is_skipped(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            await kit.unregister_channel("b")
            ears = Ears(kit)
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            [told] = ears.of("delivery_skipped")
            assert facts(told) == (
                ROOM,
                "b",
                result.event.id,
                {"reason": "channel_not_registered"},
            )

    async def test_the_depth_limit(self) -> None:
        async with RoomKit(max_chain_depth=2) as kit:
            await open_room(kit, SimpleChannel("a"), _echo("x"), _echo("y"))
            ears = Ears(kit)
            await kit.process_inbound(inbound(), room_id=ROOM)
            stopped = [event for event in await messages(kit) if event.status == "blocked"]
            assert {event.blocked_by for event in stopped} == {"event_chain_depth_limit"}
            told = ears.of("chain_depth_exceeded")
            assert {facts(event)[:3] for event in told} == {
                (ROOM, event.source.channel_id, event.id) for event in stopped
            }
            assert all(e.data == {"chain_depth": 2, "max_chain_depth": 2} for e in told)
            observations = await kit.list_observations(ROOM)
            assert {o.id for o in observations} == {f"obs_{event.id}" for event in stopped}
            assert {o.category for o in observations} == {"event_chain_depth_exceeded"}
            assert all(o.metadata["max_chain_depth"] == 2 for o in observations)
            assert {o.metadata["source_channel"] for o in observations} == {"x", "y"}

    async def test_refusals_tell_nothing(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            ears = Ears(kit)
            await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            ghost = EditContent(target_event_id="ghost", new_content=TextContent(body="x"))
            refused = await kit.process_inbound(inbound(ghost, event_type="edit"), room_id=ROOM)
            assert refused.reason == "target_event_not_found"
            assert ears.heard == []

    async def test_an_inbound_failure(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, _Unreadable("a"))
            ears = Ears(kit)
            with pytest.raises(InvalidInputError):
                await kit.process_inbound(inbound(), room_id=ROOM)
            [told] = ears.heard
            assert told.type == "inbound_failed"
            assert facts(told) == (
                ROOM,
                "a",
                None,
                {"where": "channel a", "error_type": "InvalidInputError"},
            )

    async def test_an_answer_tells_no_deliveries_of_its_own(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), _echo("x"), SimpleChannel("b"))
            ears = Ears(kit)
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert {event.event_id for event in ears.heard} == {result.event.id}
            assert ears.types.count("event_processed") == 1


def _echo(channel_id: str) -> SimpleChannel:
    async def answer(
        event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        source = EventSource(channel_id=channel_id, channel_type=ChannelType.AI)
        said = RoomEvent(room_id=event.room_id, source=source, content=TextContent(body="echo"))
        return ChannelOutput(responded=True, response_events=[said])

    return SimpleChannel(
        channel_id,
        ChannelType.AI,
        category=ChannelCategory.INTELLIGENCE,
        react_script=lambda *call: answer(*call),
    )


class _Unreadable(SimpleChannel):
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        raise InvalidInputError("not a message")


class TestChannels:
    """Live connections and the registry."""

    async def test_connections(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            kit.register_channel(WebSocketChannel("ws"))

            async def send(connection_id: str, event: RoomEvent) -> None:
                raise AssertionError("nothing is sent")

            await kit.connect_websocket("ws", "c-1", send)
            await kit.disconnect_websocket("ws", "c-1")
            await kit.disconnect_websocket("ghost", "c-2")
            assert [(e.type, *facts(e)) for e in ears.heard] == [
                ("channel_connected", None, "ws", None, {"connection_id": "c-1"}),
                ("channel_disconnected", None, "ws", None, {"connection_id": "c-1"}),
                ("channel_disconnected", None, "ghost", None, {"connection_id": "c-2"}),
            ]

    async def test_unregistered(self) -> None:
        async with RoomKit() as kit:
            ears = Ears(kit)
            kit.register_channel(SimpleChannel("a"))
            await kit.unregister_channel("a")
            [told] = ears.heard
            assert (told.type, *facts(told)) == ("channel_unregistered", None, "a", None, {})
