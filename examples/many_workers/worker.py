"""One of many workers on a PostgreSQL and a Redis.

Start it as often as you like; the workers share the rooms, and when one dies the others finish
what it had begun. Where the servers are it reads from the environment:

    DATABASE_URL   postgresql://user@host:5432/database
    REDIS_URL      redis://host:6379/0

    python worker.py                          work until told to stop
    python worker.py open ROOM PHONE          make a room with a phone in it
    python worker.py say ROOM TEXT            accept a message for a room, and leave
    python worker.py stats                    what is left to do
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from roomkit import (
    InboundMessage,
    MockSMSProvider,
    ProviderResult,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.core.redis_locks import RedisLockManager
from roomkit.realtime.redis import RedisRealtime
from roomkit.store.postgres import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMANDS = {"open": 2, "say": 2, "stats": 0}
"""What can be asked, and how many words go with it."""


class PrintingSMSProvider(MockSMSProvider):
    """Prints what a vendor's provider would send."""

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Print the message."""
        text = event.content.body if isinstance(event.content, TextContent) else event.type
        print(f"worker {os.getpid()}: to {to}: {text}", flush=True)
        return await super().send(event, to, from_)


@asynccontextmanager
async def make_kit() -> AsyncIterator[RoomKit]:
    """Give a kit on the servers of the environment; it is not started."""
    redis_url = os.environ["REDIS_URL"]
    async with RedisLockManager(redis_url) as locks:
        kit = RoomKit(
            store=PostgresStore(os.environ["DATABASE_URL"]),
            lock_manager=locks,
            realtime=RedisRealtime(redis_url),
            timer_interval=10.0,
        )
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=PrintingSMSProvider()))
        try:
            yield kit
        finally:
            await kit.close()


async def work() -> None:
    """Work until SIGTERM or SIGINT comes; then finish what is in hand."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with make_kit() as kit:
        await kit.start()
        print(f"worker {os.getpid()}: ready", flush=True)
        await stop.wait()
    print(f"worker {os.getpid()}: done", flush=True)


async def ask(command: str, *words: str) -> None:
    """Do one thing and leave the rest to the workers."""
    async with make_kit() as kit:
        if command == "open":
            room_id, phone = words
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "web")
            await kit.attach_channel(room_id, "sms", metadata={"phone_number": phone})
        elif command == "say":
            room_id, text = words
            content = TextContent(body=text)
            message = InboundMessage(channel_id="web", sender_id="ana", content=content)
            await kit.accept(message, room_id=room_id)
        else:
            stats = await kit.stats()
            left = stats.inbox.depth + stats.deliveries.depth
            dead = stats.inbox.dead + stats.deliveries.dead
            # One of them is this program itself.
            print(f"workers: {stats.workers - 1}, left to do: {left}, dead letters: {dead}")


def main() -> int:
    """Do what the command line says."""
    if len(sys.argv) == 1:
        asyncio.run(work())
        return 0
    command, *words = sys.argv[1:]
    if COMMANDS.get(command) != len(words):
        print(__doc__, file=sys.stderr)
        return 2
    asyncio.run(ask(command, *words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
