"""Rooms: made, changed, timed, closed; their people, their tasks, what was read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    ROOM_TRANSITIONS,
    HookExecution,
    HookResult,
    HookTrigger,
    InvalidMetadataError,
    InvalidTransitionError,
    ManualClock,
    MediaContent,
    Room,
    RoomEvent,
    RoomKit,
    RoomNotFoundError,
    RoomStatus,
    RoomTimers,
    TextContent,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, inbound, observe, open_room, system

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext


class TestCreate:
    """A room comes into being and is told about; its timeline starts empty."""

    async def test_defaults(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            room = await kit.create_room()
            assert len(room.id) == 32
            assert int(room.id, 16)
            assert room.status == RoomStatus.ACTIVE
            assert (room.event_count, room.latest_index) == (0, 0)
            assert (room.metadata, room.timers) == ({}, RoomTimers())
            assert (room.created_at, room.updated_at) == (clock.now(), clock.now())
            assert (room.closed_at, room.organization_id) == (None, None)
            assert await kit.get_timeline(room.id) == []

    async def test_given_fields(self) -> None:
        async with RoomKit() as kit:
            timers = RoomTimers(closed_after_seconds=5)
            room = await kit.create_room("x", {"topic": "t"}, organization_id="org", timers=timers)
            assert (room.id, room.metadata, room.organization_id) == ("x", {"topic": "t"}, "org")
            assert (await kit.get_room("x")).timers == timers

    async def test_the_hook(self) -> None:
        async with RoomKit() as kit:
            told = observe(kit, HookTrigger.ON_ROOM_CREATED)
            await kit.create_room(ROOM)
            [(event, context)] = told
            assert system(event) == ("room_created", {"room_id": ROOM})
            assert event.source.channel_id == event.source.channel_type == "system"
            assert (event.visibility, event.status) == ("internal", "delivered")
            assert context.room.id == ROOM

    async def test_metadata_that_json_cannot_carry(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(InvalidMetadataError):
                await kit.create_room(ROOM, {"x": {1, 2}})
            with pytest.raises(RoomNotFoundError):
                await kit.get_room(ROOM)

    async def test_what_is_returned_is_the_callers_own(self) -> None:
        async with RoomKit() as kit:
            room = await kit.create_room(ROOM)
            room.status = RoomStatus.ARCHIVED
            assert (await kit.get_room(ROOM)).status == RoomStatus.ACTIVE

    async def test_a_changed_room_can_be_written_back(self) -> None:
        async with RoomKit() as kit:
            room = await kit.create_room(ROOM)
            room.timers = RoomTimers(closed_after_seconds=3)
            await kit.store.update_room(room)
            assert (await kit.get_room(ROOM)).timers.closed_after_seconds == 3


class TestTransitions:
    """The table says which moves there are; every other raises and changes nothing."""

    @staticmethod
    async def _room(kit: RoomKit, status: RoomStatus) -> None:
        await kit.create_room(ROOM)
        await kit.store.update_room(Room(id=ROOM, status=status))

    @pytest.mark.parametrize("old", list(RoomStatus))
    @pytest.mark.parametrize("new", list(RoomStatus))
    def test_the_table(self, old: RoomStatus, new: RoomStatus) -> None:
        room = Room(id=ROOM, status=old)
        at = room.created_at + timedelta(seconds=1)
        if new in ROOM_TRANSITIONS[old]:
            assert room.moved_to(new, at).status == new
        else:
            with pytest.raises(InvalidTransitionError, match=f"from {old} to {new}"):
                room.moved_to(new, at)
        assert room.status == old

    def test_the_moves(self) -> None:
        assert {old: set(new) for old, new in ROOM_TRANSITIONS.items()} == {
            "active": {"paused", "closed"},
            "paused": {"active", "closed"},
            "closed": {"closed", "active", "archived"},
            "archived": set(),
        }

    @pytest.mark.parametrize("old", list(RoomStatus))
    @pytest.mark.parametrize(
        ("method", "new"),
        [
            ("close_room", RoomStatus.CLOSED),
            ("archive_room", RoomStatus.ARCHIVED),
            ("reopen_room", RoomStatus.ACTIVE),
        ],
    )
    async def test_the_kits_methods_walk_it(
        self, old: RoomStatus, method: str, new: RoomStatus
    ) -> None:
        async with RoomKit() as kit:
            await self._room(kit, old)
            if new in ROOM_TRANSITIONS[old]:
                assert (await getattr(kit, method)(ROOM)).status == new
            else:
                with pytest.raises(InvalidTransitionError):
                    await getattr(kit, method)(ROOM)
                assert (await kit.get_room(ROOM)).status == old

    @pytest.mark.parametrize("method", ["close_room", "archive_room", "reopen_room", "get_room"])
    async def test_no_such_room(self, method: str) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError, match="nowhere"):
                await getattr(kit, method)("nowhere")


class TestClose:
    """A closed room keeps what it has and takes nothing new."""

    async def test_fields_hook_and_timeline(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            told = observe(kit, HookTrigger.ON_ROOM_CLOSED)
            made = await kit.create_room(ROOM)
            await clock.advance(3)
            room = await kit.close_room(ROOM)
            assert (room.status, room.closed_at) == (RoomStatus.CLOSED, clock.now())
            assert room.updated_at == made.updated_at
            assert system(told[0].event) == ("room_closed", {"room_id": ROOM})
            assert await kit.get_timeline(ROOM) == []

    async def test_closing_again_moves_the_time(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.create_room(ROOM)
            await kit.close_room(ROOM)
            await clock.advance(3)
            assert (await kit.close_room(ROOM)).closed_at == clock.now()

    async def test_a_reopened_room_takes_messages_again(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.close_room(ROOM)
            refused = await kit.process_inbound(inbound(), room_id=ROOM)
            room = await kit.reopen_room(ROOM)
            assert refused.reason == "room_closed"
            assert room.closed_at is None
            assert [e.content.code for e in await kit.get_timeline(ROOM)][-1] == "room_reopened"
            assert not (await kit.process_inbound(inbound(), room_id=ROOM)).blocked

    async def test_a_new_message_opens_another_room(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.close_room(ROOM)
            result = await kit.process_inbound(inbound())
            assert result.event is not None
            assert result.event.room_id != ROOM

    async def test_an_archived_room_forgets_its_hooks(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.allow()

            kit.add_room_hook(
                ROOM, HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC, gate, name="g"
            )
            await kit.close_room(ROOM)
            await kit.archive_room(ROOM)
            assert not kit.remove_room_hook(ROOM, "g")


class TestTimers:
    """Silence pauses a room, more silence closes it; strictly longer than the bound."""

    @staticmethod
    async def _silent(
        kit: RoomKit, *, inactive: int | None = None, closed: int | None = None
    ) -> None:
        timers = RoomTimers(inactive_after_seconds=inactive, closed_after_seconds=closed)
        await kit.create_room(ROOM, timers=timers)
        kit.register_channel(SimpleChannel("a"))
        await kit.attach_channel(ROOM, "a")
        await kit.process_inbound(inbound(), room_id=ROOM)

    async def test_pause_then_close(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await self._silent(kit, inactive=10, closed=20)
            await clock.advance(10)
            assert (await kit.check_room_timers(ROOM)).status == RoomStatus.ACTIVE
            await clock.advance(1)
            paused = await kit.check_room_timers(ROOM)
            assert (paused.status, paused.updated_at) == (RoomStatus.PAUSED, clock.now())
            await clock.advance(9)
            assert (await kit.check_room_timers(ROOM)).status == RoomStatus.PAUSED
            await clock.advance(1)
            closed = await kit.check_room_timers(ROOM)
            assert (closed.status, closed.closed_at) == (RoomStatus.CLOSED, clock.now())

    async def test_closing_goes_before_pausing(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await self._silent(kit, inactive=10, closed=20)
            await clock.advance(21)
            assert (await kit.check_room_timers(ROOM)).status == RoomStatus.CLOSED

    async def test_system_events_and_hooks(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            paused = observe(kit, HookTrigger.ON_ROOM_PAUSED)
            closed = observe(kit, HookTrigger.ON_ROOM_CLOSED)
            await self._silent(kit, inactive=10, closed=20)
            await clock.advance(11)
            await kit.check_room_timers(ROOM)
            await clock.advance(10)
            room = await kit.check_room_timers(ROOM)
            timeline = await kit.get_timeline(ROOM)
            assert [(e.type, *system(e)) for e in timeline[-2:]] == [
                (
                    "system",
                    "room_paused_by_timer",
                    {"elapsed_seconds": 11.0, "threshold": 10},
                ),
                (
                    "system",
                    "room_closed_by_timer",
                    {"elapsed_seconds": 21.0, "threshold": 20},
                ),
            ]
            assert room.event_count == len(timeline)
            assert system(paused[0].event) == (
                "room_paused_by_timer",
                {"elapsed_seconds": 11.0},
            )
            assert system(closed[0].event) == (
                "room_closed_by_timer",
                {"elapsed_seconds": 21.0},
            )

    async def test_without_activity_no_timer_runs(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.create_room(ROOM, timers=RoomTimers(closed_after_seconds=1))
            await clock.advance(1000)
            assert (await kit.check_room_timers(ROOM)).status == RoomStatus.ACTIVE
            assert await kit.check_all_timers() == []

    @pytest.mark.parametrize("status", [RoomStatus.CLOSED, RoomStatus.ARCHIVED])
    async def test_a_closed_room_stays(self, status: RoomStatus) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await self._silent(kit, inactive=1, closed=2)
            await kit.close_room(ROOM)
            if status == RoomStatus.ARCHIVED:
                await kit.archive_room(ROOM)
            before = await kit.get_room(ROOM)
            await clock.advance(100)
            assert await kit.check_room_timers(ROOM) == before

    async def test_all_rooms(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await self._silent(kit, inactive=10)
            for room_id, wait in (("s", 5), ("t", 50)):
                timers = RoomTimers(closed_after_seconds=wait)
                await kit.create_room(room_id, timers=timers)
                await kit.attach_channel(room_id, "a")
                await kit.process_inbound(inbound(), room_id=room_id)
            await clock.advance(11)
            changed = await kit.check_all_timers()
            assert {room.id: room.status for room in changed} == {ROOM: "paused", "s": "closed"}
            assert await kit.check_all_timers() == []

    async def test_a_paused_room_takes_no_first_contact(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await self._silent(kit, inactive=10)
            await clock.advance(11)
            await kit.check_room_timers(ROOM)
            result = await kit.process_inbound(inbound())
            assert result.event is not None
            assert result.event.room_id != ROOM
            again = await kit.process_inbound(inbound(), room_id=ROOM)
            assert not again.blocked
            assert (await kit.get_room(ROOM)).status == RoomStatus.PAUSED

    async def test_no_such_room(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.check_room_timers("nowhere")


class TestMetadata:
    """Given keys replace, the others stay."""

    async def test_merge(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.create_room(ROOM, {"a": 1, "b": 2})
            await clock.advance(1)
            room = await kit.update_room_metadata(ROOM, {"b": 3, "c": 4})
            assert room.metadata == {"a": 1, "b": 3, "c": 4}
            assert room.updated_at == clock.now()
            assert await kit.get_timeline(ROOM) == []

    async def test_errors(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.update_room_metadata("nowhere", {})
            await kit.create_room(ROOM)
            with pytest.raises(InvalidMetadataError):
                await kit.update_room_metadata(ROOM, {"x": object()})


class TestActivity:
    """``last_activity_at`` moves with whatever is said, and with nothing else."""

    async def test_it_moves(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
            assert (await kit.get_room(ROOM)).timers.last_activity_at is None
            start = clock.now()
            await clock.advance(1)
            await kit.process_inbound(inbound(), room_id=ROOM)
            await clock.advance(1)
            await kit.mute(ROOM, "b")
            assert (await kit.get_room(ROOM)).timers.last_activity_at == start + timedelta(
                seconds=1
            )
            await kit.send_event(ROOM, "a", TextContent(body="x"))
            assert (await kit.get_room(ROOM)).timers.last_activity_at == start + timedelta(
                seconds=2
            )

    async def test_not_with_a_blocked_event(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("no")

            await kit.process_inbound(inbound(), room_id=ROOM)
            assert (await kit.get_room(ROOM)).timers.last_activity_at is None

    async def test_media_that_cannot_be_carried_is_still_said(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            media = MediaContent(url="https://example.org/x.png", mime_type="image/png")
            await kit.process_inbound(inbound(media), room_id=ROOM)
            assert (await kit.get_room(ROOM)).timers.last_activity_at is not None
            [delivered] = other.delivered
            assert delivered.content == TextContent(body="[Media: https://example.org/x.png]")
