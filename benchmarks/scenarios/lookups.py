"""Questions to large tables: pages, counts, rooms, timers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room
from roomkit import RoomKit
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.inbound_router import DefaultInboundRoomRouter
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelType
from roomkit.models.room import Room as StoredRoom
from roomkit.models.room import RoomTimers
from roomkit.store.memory import InMemoryStore

if TYPE_CHECKING:
    from roomkit.store.base import ConversationStore

EVENTS = 100_000
ROOMS = 10_000
CALLS = 3000


@scenario("timeline", "timeline page of 100,000 events", target=15.0)
async def timeline() -> Figure:
    """Fifty events from the middle."""
    large, small = await Room.make(history=EVENTS), await Room.make(history=200)
    before = await large.kit.get_timeline("room", offset=EVENTS // 2, limit=50)
    check([e.index for e in before] == list(range(EVENTS // 2, EVENTS // 2 + 50)), "wrong page")
    log = await large.kit.store.list_events("room", limit=EVENTS)

    async def bare() -> object:
        return log[EVENTS // 2 : EVENTS // 2 + 50]

    spent, few, floor = await race(
        CALLS,
        lambda: large.kit.get_timeline("room", offset=EVENTS // 2, limit=50),
        lambda: small.kit.get_timeline("room", offset=100, limit=50),
        bare,
    )
    return Figure(spent, floor, few)


@scenario("unread", "  unread count", target=2.0)
async def unread() -> Figure:
    """How many of them a channel has not read."""
    large, small = await Room.make(history=EVENTS), await Room.make(history=100)
    for room, place in ((large, EVENTS // 2), (small, 50)):
        (event,) = await room.kit.store.list_events("room", offset=place, limit=1)
        await room.kit.mark_read("room", "ws", event.id)
    check(
        await large.kit.store.get_unread_count("room", "ws") == EVENTS // 2, "wrong unread count"
    )
    spent, few = await race(
        CALLS,
        lambda: large.kit.store.get_unread_count("room", "ws"),
        lambda: small.kit.store.get_unread_count("room", "ws"),
    )
    return Figure(spent, None, few)


async def _numbers(rooms: int) -> ConversationStore:
    """Return a store of rooms that each stand for one phone number of the same channel."""
    store = InMemoryStore()
    for number in range(rooms):
        await store.create_room(StoredRoom(id=f"room-{number}"))
        await store.add_binding(
            ChannelBinding(
                channel_id="sms",
                room_id=f"room-{number}",
                channel_type=ChannelType.SMS,
                participant_id=f"+1555{number:06}",
                metadata={"phone_number": f"+1555{number:06}"},
            )
        )
    return store


async def _route(sender: str, sender_in_small: str, expected: str | None) -> Figure:
    large = DefaultInboundRoomRouter(await _numbers(ROOMS))
    small = DefaultInboundRoomRouter(await _numbers(10))
    found = await large.route("sms", ChannelType.SMS, sender)
    check(found == expected, f"routed to {found}")
    spent, few = await race(
        CALLS,
        lambda: large.route("sms", ChannelType.SMS, sender),
        lambda: small.route("sms", ChannelType.SMS, sender_in_small),
    )
    return Figure(spent, None, few)


@scenario("route_known", "route among 10,000 rooms: known sender", target=8.0)
async def route_known() -> Figure:
    """One of many people who write to the same number."""
    return await _route("+1555007777", "+1555000007", "room-7777")


@scenario("route_unknown", "  unknown sender", target=8.0)
async def route_unknown() -> Figure:
    """Somebody who has never written."""
    return await _route("+19990000000", "+19990000000", None)


@scenario("route_own", "  a channel of its own", target=8.0)
async def route_own() -> Figure:
    """A channel that is in one room, among many channels that are in one each."""
    stores = []
    for rooms in (ROOMS, 10):
        store = InMemoryStore()
        for number in range(rooms):
            await store.create_room(StoredRoom(id=f"room-{number}"))
            await store.add_binding(
                ChannelBinding(
                    channel_id=f"ws-{number}",
                    room_id=f"room-{number}",
                    channel_type=ChannelType.WEBSOCKET,
                )
            )
        stores.append(store)
    large, small = (DefaultInboundRoomRouter(store) for store in stores)
    found = await large.route("ws-7777", ChannelType.WEBSOCKET, "user")
    check(found == "room-7777", f"routed to {found}")
    spent, few = await race(
        CALLS,
        lambda: large.route("ws-7777", ChannelType.WEBSOCKET, "user"),
        lambda: small.route("ws-7", ChannelType.WEBSOCKET, "user"),
    )
    return Figure(spent, None, few)


@scenario("latest_room", "find_latest_room, 10,000 rooms", target=6.0)
async def latest_room() -> Figure:
    """The newest room of a person."""
    large, small = await _numbers(ROOMS), await _numbers(10)
    room = await large.find_latest_room("+1555007777", "sms", "active")
    check(room is not None and room.id == "room-7777", "wrong room")
    spent, few = await race(
        CALLS,
        lambda: large.find_latest_room("+1555007777", "sms", "active"),
        lambda: small.find_latest_room("+1555000007", "sms", "active"),
    )
    return Figure(spent, None, few)


async def _timed(rooms: int) -> RoomKit:
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("ws"))
    now = datetime.now(UTC)
    for number in range(rooms):
        timers = RoomTimers(
            inactive_after_seconds=3600, last_activity_at=now + timedelta(seconds=number)
        )
        await kit.store.create_room(StoredRoom(id=f"room-{number}", timers=timers))
    return kit


@scenario("timers", "timers of 10,000 rooms, none due, a sweep", target=20.0)
async def timers() -> Figure:
    """Looking for rooms that have been silent for too long."""
    large, small = await _timed(ROOMS), await _timed(10)
    check(await large.check_all_timers() == [], "a room was due")
    spent, few = await race(CALLS, large.check_all_timers, small.check_all_timers)
    return Figure(spent, None, few)
