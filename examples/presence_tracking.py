"""Who is here: presence is told to whoever listens now, and never stored.

    python examples/presence_tracking.py

Prints what was told, and who is still there.
"""

from __future__ import annotations

import asyncio

from roomkit import EphemeralEvent, RoomKit


async def main() -> None:
    """Keep a list of who is online."""
    online: set[str] = set()
    news: asyncio.Queue[str] = asyncio.Queue()

    async def follow(event: EphemeralEvent) -> None:
        if event.type == "presence_online":
            online.add(event.user_id)
        else:
            online.discard(event.user_id)
        news.put_nowait(f"{event.user_id} {event.type.removeprefix('presence_')}")

    async with RoomKit() as kit:
        room = await kit.create_room()
        subscription = await kit.subscribe_room(room.id, follow)
        for person, status in (("ana", "online"), ("bob", "online"), ("ana", "away")):
            await kit.publish_presence(room.id, person, status)
        told = [await asyncio.wait_for(news.get(), 5) for _ in range(3)]
        await kit.unsubscribe_room(subscription)
        stored = await kit.get_timeline(room.id)

    print("told:", ", ".join(told))
    print("online:", ", ".join(sorted(online)))
    assert told == ["ana online", "bob online", "ana away"]
    assert online == {"bob"}
    assert stored == []


if __name__ == "__main__":
    asyncio.run(main())
