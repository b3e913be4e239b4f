"""One message after the other into one room."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks.floors import MessageFloor
from benchmarks.measure import each, race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import CountingChannel, Room, message
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.hook import HookResult

if TYPE_CHECKING:
    from typing import Any

    from roomkit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

CALLS = 1500
HISTORY = 50_000
KEYS = 50_000


@scenario("inbound", "inbound, 1 room, 1 channel", target=55.0)
async def inbound() -> Figure:
    """A message nobody else is there to get."""
    room = await Room.make()
    spent, floor = await race(CALLS, room.say, MessageFloor())
    await room.verify()
    return Figure(spent, floor)


@scenario("inbound_delivered", "  plus a delivery to another channel", target=None)
async def inbound_delivered() -> Figure:
    """A message that one other channel gets."""
    target = CountingChannel("other")
    room = await Room.make(targets=(target,))
    spent, floor = await race(CALLS, room.say, MessageFloor())
    await room.verify()
    check(target.count == room.said, f"{target.count} of {room.said} delivered")
    check(target.out_of_order == 0, "delivered out of order")
    return Figure(spent, floor)


@scenario("inbound_history", "  with 50,000 events of history", target=55.0)
async def inbound_history() -> Figure:
    """The same in a room with a long past."""
    room = await Room.make(history=HISTORY)
    fresh = await Room.make()
    spent, small, floor = await race(CALLS, room.say, fresh.say, MessageFloor())
    await room.verify()
    return Figure(spent, floor, small)


@scenario("inbound_recent", "  plus a hook that reads recent_events", target=90.0)
async def inbound_recent() -> Figure:
    """A gate that looks at each of the newest 50 events."""
    room, fresh = await Room.make(history=HISTORY), await Room.make(history=100)
    seen = [_reads_recent(room.kit), _reads_recent(fresh.kit)]
    spent, small, floor = await race(CALLS, room.say, fresh.say, MessageFloor())
    await room.verify()
    check(all(counts == {50} for counts in seen), f"the hook saw {seen} recent events")
    return Figure(spent, floor, small)


def _reads_recent(kit: RoomKit) -> set[int]:
    seen: set[int] = set()

    async def gate(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
        seen.add(sum(1 for earlier in context.recent_events if earlier.index < event.index))
        return HookResult.allow()

    kit.hook(HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC)(gate)
    return seen


@scenario("duplicates", "50 % duplicates, 50,000 keys", target=55.0)
async def duplicates() -> Figure:
    """Every message comes twice; mean of both."""
    room = await Room.make(history=KEYS, keys=True)
    floor = MessageFloor()
    numbers, floor_numbers = itertools.count(), itertools.count()

    async def twice() -> None:
        key = f"new-{next(numbers)}"
        first = await room.kit.process_inbound(message(key=key))
        again = await room.kit.process_inbound(message(key=key))
        room.said += 1
        check(again.blocked and again.reason == "duplicate", "a repeat was let in")
        check(again.event is not None and again.event == first.event, "not the first event")

    async def floor_twice() -> None:
        key = f"new-{next(floor_numbers)}"
        await floor.take(key)
        await floor.take(key)

    spent, bare = await race(CALLS // 2, twice, floor_twice)
    await room.verify()
    return Figure(spent / 2, bare / 2)


@scenario("duplicate", "  a duplicate alone", target=30.0)
async def duplicate() -> Figure:
    """A message whose key the room has known for long."""
    room = await Room.make(history=KEYS, keys=True)
    fresh = await Room.make(history=100, keys=True)

    async def repeat(room: Room) -> None:
        result = await room.kit.process_inbound(message(key="key-77"))
        check(result.reason == "duplicate", "a repeat was let in")
        event = result.event
        check(event is not None and event.idempotency_key == "key-77", "not the first event")

    spent, small = await race(CALLS, lambda: repeat(room), lambda: repeat(fresh))
    await room.verify()
    return Figure(spent, None, small)


@scenario("lifecycle", "create + attach + detach + close", target=80.0)
async def lifecycle() -> Figure:
    """The life of a room nobody says anything in."""
    kit = (await Room.make()).kit
    names = itertools.count()

    async def live() -> None:
        room_id = f"room-{next(names)}"
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "ws")
        await kit.detach_channel(room_id, "ws")
        await kit.close_room(room_id)

    (spent,) = await race(CALLS // 3, each(live))
    closed = await kit.get_room("room-0")
    check(closed.status == "closed" and closed.event_count == 2, "the room was not closed")
    return Figure(spent)
