"""A worker that dies at a named point: what is committed is delivered, in order (T13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.processes._checks import (
    BUSY_WITHIN,
    check_accepted,
    check_answers,
    check_delivered,
    check_doubled,
    check_recovery,
    open_books,
)
from tests.processes._driver import Fleet, WorkerGone
from tests.processes._load import CHANNELS, Message
from tests.processes._points import (
    AFTER_ACCEPT,
    AFTER_COMMIT,
    AFTER_SEND,
    BEFORE_DRAIN,
    BEFORE_FINISH,
    BEFORE_SEND,
    BETWEEN_ROWS,
    POINTS,
)
from tests.processes._worker import make_store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.processes._checks import Books
    from tests.processes._driver import Nursery, Worker
    from tests.processes._worker import Config

ROOM = "room"
ACCEPTING = {AFTER_ACCEPT, BEFORE_DRAIN, BETWEEN_ROWS}
"""Points on the way through the inbox."""

AGAIN = {
    AFTER_COMMIT: {0},
    BEFORE_SEND: {0},
    AFTER_SEND: {1},
    BEFORE_FINISH: {1, 2, 3, 4, 5},  # the answer may be out as well
    AFTER_ACCEPT: {0},
    BEFORE_DRAIN: {0},
    BETWEEN_ROWS: {0, 1, 2},
}
"""How many deliveries the provider may see twice; elsewhere it depends on who was faster."""


def _places(place: Config, folder: Path, request: pytest.FixtureRequest) -> dict[str, Config]:
    """Return a store of its own for each point, and make a folder for it."""
    places: dict[str, Config] = {}
    for number, point in enumerate(POINTS):
        (folder / f"at-{number}").mkdir()
        if place["store"] == "sqlite":
            places[point] = {"store": "sqlite", "path": str(folder / f"{number}.db")}
        else:
            server = request.getfixturevalue("postgres_server")
            places[point] = {"store": "postgres", "dsn": server.create_database()}
    return places


async def _accept(worker: Worker, message: Message) -> bool:
    """Let a worker accept a message; return whether it knew it already."""
    return bool((await worker.ask("accept", **message.fields()))["duplicate"])


async def _feed(fleet: Fleet, victim: Worker, point: str) -> list[Message]:
    """Talk to the victim until it dies, then to its successor; return what was said."""
    messages = [Message(f"key-{n}", ROOM, asks=True) for n in range(9)]
    for message in messages[:3]:
        await victim.ask("inbound", **message.fields())
    await fleet.idle(20.0)
    await victim.ask("arm", point=point, nth=1)
    said = 3
    try:
        while said < 6:
            if point in ACCEPTING:
                await _accept(victim, messages[said])
            else:
                await victim.ask("inbound", **messages[said].fields())
            said += 1
        # It may die of what it has accepted, a moment later.
        async with asyncio.timeout(20.0):
            await victim.gone.wait()
    except WorkerGone:
        pass
    await victim.gone.wait()
    (successor,) = await fleet.start()
    if point in ACCEPTING:
        for number, message in enumerate(messages[said:], start=said):
            known = await _accept(successor, message)
            # The victim may have kept the row its caller never heard of, and no other.
            assert known <= (number == said)
            assert known or number != said or point != AFTER_ACCEPT
    else:
        # What follows is committed while the lanes are still the victim's.
        for message in messages[said:]:
            await successor.ask("inbound", **message.fields())
    return messages


async def _die_at(nursery: Nursery, folder: Path, place: Config, point: str) -> None:
    """Let a worker die at a point and another one go on; check what came of it."""
    async with Fleet(nursery, folder, place) as fleet:
        (victim,) = await fleet.start(points=True)
        await victim.ask("rooms", rooms=[ROOM], channels=[*CHANNELS, "bot"])
        messages = await _feed(fleet, victim, point)
        await fleet.idle(30.0)
        await fleet.end()
        store = make_store(place)
        await store.open()
        try:
            books = await open_books(store, fleet)
        finally:
            await store.close()
        _judge(books, messages, point)


def _judge(books: Books, messages: list[Message], point: str) -> None:
    deaths = [line.what for line in books.lines if line.what.startswith("died")]
    assert deaths == [f"died: {point}"]
    check_accepted(books, [message.key for message in messages], {})
    check_answers(books, [ROOM])
    check_delivered(books)
    check_doubled(books)
    check_recovery(books, within=BUSY_WITHIN)
    if point in AGAIN:
        assert books.doubled in AGAIN[point], f"{books.doubled} deliveries made again"
    if point in ACCEPTING:
        asked = [event for event in books.rooms[ROOM] if not event.chain_depth]
        keys = [event.idempotency_key for event in asked]
        assert keys == [message.key for message in messages], "not in the order accepted"


class TestCrashPoints:
    """Between any two steps the power may go."""

    async def test_what_is_committed_is_delivered_in_order(
        self,
        nursery: Nursery,
        tmp_path: Path,
        place: Config,
        request: pytest.FixtureRequest,
    ) -> None:
        """At each point a worker dies; the next one finishes its work, each answer is one."""
        places = _places(place, tmp_path, request)
        # Mostly they wait for a lease to run out: all at once that takes seconds.
        outcomes = await asyncio.gather(
            *(
                _die_at(nursery, tmp_path / f"at-{number}", places[point], point)
                for number, point in enumerate(POINTS)
            ),
            return_exceptions=True,
        )
        failed = []
        for point, outcome in zip(POINTS, outcomes, strict=True):
            if isinstance(outcome, Exception):
                outcome.add_note(f"the worker was to die {point}")
                failed.append(outcome)
            elif outcome is not None:
                raise outcome
        if failed:
            raise ExceptionGroup("crash points", failed)
