"""Traffic: messages, callers that repeat what was not acknowledged, and a hand that kills."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.processes._driver import WorkerFailed, WorkerGone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.processes._driver import Fleet, Worker

PASSING = frozenset(
    {
        "CommitOutcomeUnknown",
        "LockTimeoutError",
        "StoreUnavailableError",
    }
)
"""Errors after which a caller is right to repeat the message."""

REFUSED_FOR_NOW = frozenset({"process_timeout", "lock_timeout", "overloaded", "lease_lost"})

TARGETS = ("out1", "out2")
CHANNELS = ("in", *TARGETS)


@dataclass(frozen=True, slots=True)
class Message:
    """What a sender says, under a key of its own.

    Attributes:
        key: Its idempotency key; of an accepted message without one, its external id.
        room: Where it goes; None lets the router choose.
        sender: Who says it.
        asks: Whether the bot is to answer.
    """

    key: str
    room: str | None
    sender: str = "someone"
    asks: bool = False

    def fields(self) -> dict[str, Any]:
        """Return it as a worker wants it."""
        body = f"{self.key}?" if self.asks else self.key
        return {"room": self.room, "sender": self.sender, "body": body, "key": self.key}


def some_messages(
    count: int | None, rooms: Sequence[str], *, ask: int = 5, prefix: str = "key"
) -> Iterator[Message]:
    """Yield messages to random rooms, each fifth a question; without a count without end."""
    numbers = itertools.count() if count is None else range(count)
    for number in numbers:
        yield Message(f"{prefix}-{number}", random.choice(rooms), asks=number % ask == 0)


@dataclass
class Traffic:
    """Sends messages until each is acknowledged, and notes what the callers saw.

    Attributes:
        fleet: The workers.
        callers: Messages on their way at the same time.
        twice: The share of messages sent a second time.
        acks: The event and its index, by key.
        called: Seconds each call took that ended with an answer or an error.
        errors: How often each error came.
        acked_at: When acknowledgements came, in Unix time.
    """

    fleet: Fleet
    callers: int = 32
    twice: float = 0.2
    acks: dict[str, tuple[str, int]] = field(default_factory=dict)
    called: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    acked_at: list[float] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, count: int) -> None:
        """Return once so many messages have been acknowledged in all."""
        while len(self.acks) < count:
            self._news.clear()
            await self._news.wait()

    async def run(self, messages: Iterable[Message]) -> float:
        """Send everything; return the seconds it took."""
        began = time.monotonic()
        waiting = iter(messages)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.callers):
                group.create_task(self._caller(waiting))
        return time.monotonic() - began

    async def _caller(self, waiting: Iterable[Message]) -> None:
        for message in waiting:
            again = random.random() < self.twice
            if again and random.random() < 0.5:
                # The repeat races the first one.
                await asyncio.gather(self.send(message), self.send(message))
                continue
            await self.send(message)
            if again:
                await self.send(message)

    async def send(self, message: Message) -> None:
        """Send a message to one worker after another until one acknowledges it."""
        worker: Worker | None = None
        while True:
            began = time.monotonic()
            try:
                worker = self.fleet.any(worker)
                told = await worker.ask("inbound", **message.fields())
            except WorkerGone:
                await asyncio.sleep(0.01)
                continue
            except WorkerFailed as error:
                self.called.append(time.monotonic() - began)
                self._count(error.kind)
                if error.kind not in PASSING:
                    raise
                await asyncio.sleep(0.05)
                continue
            self.called.append(time.monotonic() - began)
            if told["reason"] in REFUSED_FOR_NOW:
                self._count(told["reason"])
                await asyncio.sleep(0.05)
                continue
            assert told["reason"] in (None, "duplicate"), told
            self._acknowledged(message, told)
            return

    def _acknowledged(self, message: Message, told: dict[str, Any]) -> None:
        self.acked_at.append(time.time())
        seen = (told["event"], told["index"])
        first = self.acks.setdefault(message.key, seen)
        self._news.set()
        assert first == seen, f"{message.key} was acknowledged as {first} and as {seen}"

    def _count(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1


async def kill_every(fleet: Fleet, seconds: float) -> None:
    """Kill a worker each so many seconds, and start another one at once; until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await kill_one(fleet)


async def kill_one(fleet: Fleet) -> None:
    """Kill a worker and start another one."""
    fleet.any().kill()
    await fleet.start()


async def kill_as_it_goes(fleet: Fleet, traffic: Traffic, marks: Iterable[int]) -> None:
    """Kill a worker each time so many messages have been acknowledged in all."""
    for mark in marks:
        await traffic.reached(mark)
        await kill_one(fleet)
