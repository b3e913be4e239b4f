"""The life of a room: active, paused by silence, closed, reopened, archived.

    python examples/room_lifecycle.py

Prints its statuses, what was told of them, and what became of a message to the closed room. The
silence is a clock moved by hand.
"""

from __future__ import annotations

import asyncio

from roomkit import (
    FrameworkEvent,
    InboundMessage,
    ManualClock,
    RoomClosedError,
    RoomKit,
    RoomTimers,
    TextContent,
    WebSocketChannel,
)

NEWS = ("room_created", "room_paused", "room_closed", "room_reopened", "room_archived")


async def main() -> None:
    """Let time pass by hand and see what becomes of a silent room."""
    clock = ManualClock()
    told: list[str] = []
    async with RoomKit(clock=clock) as kit:

        async def note(event: FrameworkEvent) -> None:
            told.append(event.type)

        for name in NEWS:
            kit.on(name)(note)

        kit.register_channel(WebSocketChannel("web"))
        timers = RoomTimers(inactive_after_seconds=60, closed_after_seconds=3600)
        room = await kit.create_room("table-4", timers=timers)
        await kit.attach_channel(room.id, "web")
        hello = InboundMessage(channel_id="web", sender_id="ana", content=TextContent(body="Hi"))
        await kit.process_inbound(hello, room_id=room.id)

        await clock.advance(61)
        statuses = [(await kit.check_room_timers(room.id)).status]
        await clock.advance(3600)
        statuses += [changed.status for changed in await kit.check_all_timers()]
        late = await kit.process_inbound(hello, room_id=room.id)
        statuses.append((await kit.reopen_room(room.id)).status)
        await kit.close_room(room.id)
        statuses.append((await kit.archive_room(room.id)).status)
        try:
            await kit.send_event(room.id, "web", TextContent(body="too late"))
        except RoomClosedError:
            refused = True
        else:
            refused = False

    print("statuses:", ", ".join(statuses))
    print("told:", ", ".join(told))
    print("a message to the closed room:", late.reason)
    assert statuses == ["paused", "closed", "active", "archived"]
    assert told == [*NEWS[:4], "room_closed", "room_archived"]
    assert late.reason == "room_closed"
    assert refused


if __name__ == "__main__":
    asyncio.run(main())
