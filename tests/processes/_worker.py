"""One worker: a RoomKit of its own in a process of its own, steered over a socket.

Commands and answers are lines of JSON: ``{"id": 7, "do": "inbound", ...}`` is answered by
``{"id": 7, "ok": {...}}`` or ``{"id": 7, "error": "StoreUnavailableError", "text": "..."}``, in
any order. When the other end is gone, so is the worker.

Its channels: ``in``, by which messages come; ``out1`` and ``out2``, which only deliver; and
``bot``, which answers questions. All of them write into the ledger.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from roomkit._clock import SystemClock
from roomkit._scope import current_delivery
from roomkit.channels.base import Channel
from roomkit.core.framework import RoomKit
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelType
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.framework_event import FrameworkEvent, FrameworkEventType
from roomkit.testing.channel import reply
from tests.processes._figures import churn
from tests.processes._ledger import Ledger
from tests.processes._points import AFTER_SEND, BEFORE_SEND, DyingStore, Points

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.core.locks import RoomLockManager
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundResult
    from roomkit.store.base import ConversationStore

type Config = dict[str, Any]

LINE_LIMIT = 1 << 20


class Recording(Channel):
    """A transport whose provider writes every message into the ledger.

    Args:
        channel_id: Its id.
        ledger: Where sends are written.
        points: Where the worker may die.
    """

    channel_type = ChannelType.SMS
    recipient_key: str | None = "phone"

    def __init__(self, channel_id: str, ledger: Ledger, points: Points) -> None:
        super().__init__(channel_id)
        self._ledger = ledger
        self._points = points

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is."""
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=EventSource(
                channel_id=self.channel_id,
                channel_type=self.channel_type,
                participant_id=message.sender_id,
                external_id=message.external_id,
            ),
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
            channel_data=ChannelData(external_id=message.external_id),
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Write the send down; from then on the provider has it."""
        delivery = current_delivery()
        assert delivery is not None
        self._points.reach(BEFORE_SEND)
        self._ledger.note("send", event, self.channel_id, delivery.id, delivery.attempt)
        self._points.reach(AFTER_SEND)
        # A provider's answer never comes in the same step.
        await asyncio.sleep(0)
        return ChannelOutput.empty()


class Bot(Recording):
    """Answers every message that ends with a question mark and is no answer itself."""

    channel_type = ChannelType.AI
    category = ChannelCategory.INTELLIGENCE
    recipient_key = None

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Write down that it was asked, and answer."""
        if event.chain_depth or not self.extract_text(event).endswith("?"):
            return ChannelOutput.empty()
        delivery = current_delivery()
        assert delivery is not None
        self._ledger.note("react", event, self.channel_id, delivery.id, delivery.attempt)
        await asyncio.sleep(0)
        return reply(event, binding, "an answer")


class LaterClock(SystemClock):
    """The system's clock, some seconds ahead.

    Args:
        ahead: How many.
    """

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self._ahead = timedelta(seconds=ahead)

    def now(self) -> datetime:
        """Return the time it will be."""
        return super().now() + self._ahead


def make_store(config: Config) -> ConversationStore:
    """Return the store a configuration names, not yet open."""
    options = dict(config.get("store_options", {}))
    if config["store"] == "sqlite":
        from roomkit.store.sqlite import SQLiteStore

        return SQLiteStore(config["path"], **options)
    from roomkit.store.postgres import PostgresStore

    return PostgresStore(config["dsn"], **options)


def make_locks(config: Config) -> RoomLockManager | None:
    """Return the lock manager a configuration names; None: the default."""
    options = dict(config.get("lock_options", {}))
    if config.get("locks") == "redis":
        from roomkit.core.redis_locks import RedisLockManager

        return RedisLockManager(config["redis"], **options)
    if config.get("locks") == "postgres":
        from roomkit.core.postgres_locks import PostgresLockManager

        return PostgresLockManager(config["dsn"], **options)
    return None


class Worker:
    """A kit and the commands it is given.

    Args:
        config: The store (``store``, ``path`` or ``dsn``, ``store_options``), the locks, the
            ``ledger``, whether it may be told to die (``points``), further options of the kit
            (``kit``), and by how many seconds its clock is ahead (``ahead``).
    """

    def __init__(self, config: Config) -> None:
        self._ledger = Ledger(config["ledger"])
        self._points = Points(self._ledger.mark)
        self._store = make_store(config)
        self._locks = make_locks(config)
        store = DyingStore(self._store, self._points) if config.get("points") else self._store
        clock = LaterClock(config["ahead"]) if config.get("ahead") else None
        self._kit = RoomKit(store, lock_manager=self._locks, clock=clock, **config.get("kit", {}))
        for channel_id in ("in", "out1", "out2"):
            self._kit.register_channel(Recording(channel_id, self._ledger, self._points))
        self._kit.register_channel(Bot("bot", self._ledger, self._points))
        self._kit.on(FrameworkEventType.WORKER_LAPSED)(self._lapsed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.commands: dict[str, Callable[[Config], Awaitable[Config]]] = {
            "accept": self.accept,
            "arm": self.arm,
            "churn": self.churn,
            "dead": self.dead,
            "inbound": self.inbound,
            "purge": self.purge,
            "rooms": self.rooms,
            "stats": self.stats,
        }

    async def _lapsed(self, _event: FrameworkEvent) -> None:
        self._ledger.mark("lapsed")

    # -- the commands ----------------------------------------------------------------------

    async def rooms(self, given: Config) -> Config:
        """Open rooms with their channels; ``phone`` says whose they are."""
        metadata = {"phone": given["phone"]} if "phone" in given else None
        for room_id in given["rooms"]:
            await self._kit.create_room(room_id)
            for channel_id in given["channels"]:
                await self._kit.attach_channel(room_id, channel_id, metadata=metadata)
        return {}

    async def inbound(self, given: Config) -> Config:
        """Bring a message into a room."""
        result = await self._kit.process_inbound(_message(given), room_id=given.get("room"))
        return _told(result)

    async def accept(self, given: Config) -> Config:
        """Accept a message."""
        result = await self._kit.accept(_message(given), room_id=given.get("room"))
        return {"row": result.id, "duplicate": result.duplicate}

    async def arm(self, given: Config) -> Config:
        """Say where to die."""
        self._points.arm(given["point"], given["nth"])
        return {}

    async def stats(self, _given: Config) -> Config:
        """Return the kit's figures."""
        stats = await self._kit.stats()
        return {
            "deliveries": asdict(stats.deliveries),
            "inbox": asdict(stats.inbox),
            "workers": stats.workers,
            "lanes": stats.lanes,
            "waiting": stats.waiting,
            "counters": dict(stats.counters),
        }

    async def dead(self, _given: Config) -> Config:
        """Return why dead letters died."""
        letters = await self._kit.list_dead_letters()
        return {"errors": [letter.error for letter in letters]}

    async def purge(self, given: Config) -> Config:
        """Remove what ended up to a time from now."""
        before = datetime.now(UTC) + timedelta(seconds=given["ahead"])
        return {"removed": await self._kit.purge(before=before)}

    async def churn(self, given: Config) -> Config:
        """Open, use, close and delete rooms."""
        return await churn(self._kit, given["events"], given["rooms"], given["waves"])

    # -- the socket ------------------------------------------------------------------------

    async def serve(self, sock: socket.socket) -> None:
        """Carry out commands until the other end is gone, or says so."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
        try:
            await self._kit.start()
            writer.write(b'{"id": 0, "ok": {}}\n')
            while line := await reader.readline():
                given = json.loads(line)
                if given["do"] == "end":
                    await self._end()
                    break
                task = asyncio.create_task(self._obey(given, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            writer.close()

    async def _obey(self, given: Config, writer: asyncio.StreamWriter) -> None:
        answer: Config = {"id": given["id"]}
        try:
            answer["ok"] = await self.commands[given["do"]](given)
        except Exception as exc:  # noqa: BLE001 - the driver judges
            answer |= {"error": type(exc).__name__, "text": str(exc)}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        if given["do"] == "accept":
            self._points.accepted.set()

    async def _end(self) -> None:
        await self._kit.close()
        close = getattr(self._locks, "close", None)
        if close is not None:
            await close()


def _message(given: Config) -> InboundMessage:
    return InboundMessage(
        channel_id=given.get("channel", "in"),
        sender_id=given["sender"],
        content=TextContent(body=given["body"]),
        idempotency_key=given.get("key"),
        external_id=given.get("external_id"),
    )


def _told(result: InboundResult) -> Config:
    event = result.event
    return {
        "blocked": result.blocked,
        "reason": result.reason,
        "event": None if event is None else event.id,
        "index": None if event is None else event.index,
        "room": None if event is None else event.room_id,
    }


async def _work(config: Config, sock: socket.socket) -> None:
    await Worker(config).serve(sock)


def run(config: Config, sock: socket.socket) -> None:
    """Be a worker until the other end of the socket is gone."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
    asyncio.run(_work(config, sock))


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), socket.socket(fileno=int(os.environ["WORKER_SOCKET"])))
