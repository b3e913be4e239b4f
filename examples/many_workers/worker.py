"""One of many workers: text messages and clerks, on a PostgreSQL and a Redis.

Start it as often as you like, behind one address; the workers share the rooms, and when one dies
the others finish what it had begun. Each serves webhooks and WebSockets:

    roomkit serve worker:make_app --port 8001

    python worker.py open ROOM PHONE          make a room with a phone in it
    python worker.py say ROOM TEXT            accept a message for a room, and leave
    python worker.py stats                    what is left to do

It reads from the environment:

    DATABASE_URL   postgresql://user@host:5432/database
    REDIS_URL      redis://host:6379/0
    CLERK_TOKEN    lets clerks in at /ws/desk; without it nobody gets in
    PUBLIC_URL     what the telephone's vendor calls, such as https://rooms.example.org
    TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM
                   the account that sends, and whose webhook is /webhooks/sms; without them
                   what would be sent is printed

It needs ``roomkit[postgres,redis,serve]``, and httpx for Twilio.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from roomkit import (
    HookExecution,
    HookTrigger,
    InboundMessage,
    MockSMSProvider,
    ProviderResult,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    SMSProvider,
    TextContent,
    WebSocketChannel,
)
from roomkit.asgi import App, Principal, create_app
from roomkit.core.redis_locks import RedisLockManager
from roomkit.providers.twilio import TwilioConfig, TwilioSMSProvider
from roomkit.realtime.redis import RedisRealtime
from roomkit.store.postgres import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMANDS = {"open": 2, "say": 2, "stats": 0}
"""What can be asked, and how many words go with it."""
CLERK = "clerk"


class PrintingSMSProvider(MockSMSProvider):
    """Prints what a vendor's provider would send."""

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Print the message."""
        text = event.content.body if isinstance(event.content, TextContent) else event.type
        print(f"worker {os.getpid()}: to {to}: {text}", flush=True)
        return await super().send(event, to, from_)


class SharedKit(RoomKit):
    """A kit on the servers of the environment; it ends its connection for locks with itself."""

    def __init__(self) -> None:
        redis_url = os.environ["REDIS_URL"]
        self.redis_locks = RedisLockManager(redis_url)
        super().__init__(
            store=PostgresStore(os.environ["DATABASE_URL"]),
            lock_manager=self.redis_locks,
            realtime=RedisRealtime(redis_url),
            timer_interval=10.0,
        )

    async def close(self, *, drain_timeout: float = 5.0) -> None:
        """Finish what is in hand, and close everything. Idempotent."""
        try:
            await super().close(drain_timeout=drain_timeout)
        finally:
            await self.redis_locks.close()


def make_provider() -> SMSProvider:
    """Return what sends text messages: the account of the environment, or a printer."""
    token = os.environ.get("TWILIO_AUTH_TOKEN")
    if not token:
        return PrintingSMSProvider()
    config = TwilioConfig(
        account_sid=os.environ.get("TWILIO_ACCOUNT_SID", ""),
        auth_token=SecretStr(token),
        from_number=os.environ.get("TWILIO_FROM", ""),
        api_base=os.environ.get("TWILIO_API_BASE") or None,
    )
    return TwilioSMSProvider(config)


def make_kit() -> RoomKit:
    """Return a kit with a telephone and a desk, the same in every worker."""
    kit = SharedKit()
    kit.register_channel(WebSocketChannel("desk"))
    kit.register_channel(SMSChannel("sms", provider=make_provider()))

    @kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)
    async def staff(event: RoomEvent, context: RoomContext) -> None:
        """Bring the clerk into each new room, in the worker that opened it."""
        await kit.attach_channel(event.room_id, "desk")
        await kit.ensure_participant(event.room_id, "desk", CLERK)

    return kit


async def authenticate(scope: Any) -> Principal | None:
    """Let in whoever shows the clerk's token, in the header or the first frame."""
    wanted = os.environ.get("CLERK_TOKEN")
    for name, value in scope["headers"]:
        if wanted and name == b"authorization":
            given = value.decode("latin-1").removeprefix("Bearer ")
            if hmac.compare_digest(given.encode(), wanted.encode()):
                return Principal(participant_id=CLERK)
    return None


def make_app() -> App:
    """Return what ``roomkit serve`` serves."""
    public_url = os.environ.get("PUBLIC_URL") or None
    return create_app(make_kit(), public_url=public_url, authenticate=authenticate)


@asynccontextmanager
async def visiting() -> AsyncIterator[RoomKit]:
    """Give a kit that leaves the work to the workers."""
    kit = make_kit()
    try:
        yield kit
    finally:
        await kit.close()


async def ask(command: str, *words: str) -> None:
    """Do one thing, and leave the rest to the workers."""
    async with visiting() as kit:
        if command == "open":
            room_id, phone = words
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "sms", metadata={"phone_number": phone})
        elif command == "say":
            room_id, text = words
            content = TextContent(body=text)
            message = InboundMessage(channel_id="desk", sender_id=CLERK, content=content)
            await kit.accept(message, room_id=room_id)
        else:
            stats = await kit.stats()
            left = stats.inbox.depth + stats.deliveries.depth
            dead = stats.inbox.dead + stats.deliveries.dead
            # One of them is this program itself.
            print(f"workers: {stats.workers - 1}, left to do: {left}, dead letters: {dead}")


def main() -> int:
    """Do what the command line says."""
    command, *words = sys.argv[1:] or [""]
    if COMMANDS.get(command) != len(words):
        print(__doc__, file=sys.stderr)
        return 2
    asyncio.run(ask(command, *words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
