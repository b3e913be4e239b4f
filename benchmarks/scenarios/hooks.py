"""What hooks add to a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.floors import MessageFloor
from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.hook import HookResult

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

GATES = 50
OBSERVERS = 10


async def _with_hooks(gates: int, observers: int) -> tuple[Room, list[int]]:
    room, ran = await Room.make(), [0, 0]

    async def gate(event: RoomEvent, context: RoomContext) -> HookResult[Any]:
        ran[0] += 1
        return HookResult.allow()

    async def observer(event: RoomEvent, context: RoomContext) -> None:
        ran[1] += 1

    for _ in range(gates):
        room.kit.hook(HookTrigger.BEFORE_BROADCAST, HookExecution.SYNC)(gate)
    for _ in range(observers):
        room.kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(observer)
    return room, ran


@scenario("gates", "one more sync hook", target=1.0)
async def sync_hooks() -> Figure:
    """Gates that let the event pass."""
    room, ran = await _with_hooks(GATES + 1, 0)
    one, _ = await _with_hooks(1, 0)
    spent, without = await race(1000, room.say, one.say)
    await room.verify()
    check(ran == [room.said * (GATES + 1), 0], f"hooks ran {ran} times")
    return Figure((spent - without) / GATES)


@scenario("observers", "one more async hook", target=1.5)
async def async_hooks() -> Figure:
    """Observers that do not wait for anything."""
    room, ran = await _with_hooks(0, OBSERVERS + 2)
    two, _ = await _with_hooks(0, 2)
    spent, without = await race(1000, room.say, two.say)
    await room.verify()
    check(ran == [0, room.said * (OBSERVERS + 2)], f"hooks ran {ran} times")
    return Figure((spent - without) / OBSERVERS)


@scenario("hooks", "inbound with 50 sync + 10 async hooks", target=55.0 + 50 * 1.0 + 10 * 1.5)
async def hooks() -> Figure:
    """A message under everybody's eyes."""
    room, ran = await _with_hooks(GATES, OBSERVERS)
    spent, floor = await race(1000, room.say, MessageFloor())
    await room.verify()
    check(ran == [room.said * GATES, room.said * OBSERVERS], f"hooks ran {ran} times")
    return Figure(spent, floor)
