"""What must be true in the end: the store, the callers and the ledger must agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from roomkit.channels.base import Channel
from roomkit.models.enums import EventStatus, EventType
from roomkit.testing import check_invariants
from tests.processes._ledger import read_ledger
from tests.processes._load import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore
    from tests.processes._driver import Fleet
    from tests.processes._ledger import Line

RECOVERED_WITHIN = 6.0
"""Seconds after a kill in which deliveries of the victim go on: 4 s until it counts as dead, 1 s
until somebody looks, and the work itself."""

BUSY_WITHIN = 12.0
"""The same where several tests share a few cores."""

UNRECORDED = 2.0
"""Seconds a send may have been made before a kill and still be unrecorded."""

PAGE = 500


@dataclass
class Books:
    """Everything that was stored and everything that was sent.

    Attributes:
        events: The messages of all rooms, by id.
        rooms: The same, by room, in timeline order.
        lines: The ledger.
        killed: When each worker ended, by process id.
    """

    events: dict[str, RoomEvent]
    rooms: dict[str, list[RoomEvent]]
    lines: list[Line]
    killed: Mapping[int, float]
    sends: dict[tuple[str, str], list[Line]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for line in self.lines:
            if line.what == "send":
                self.sends[line.event, line.channel].append(line)

    @property
    def doubled(self) -> int:
        """How many deliveries were made more than once."""
        return sum(len(lines) > 1 for lines in self.sends.values())


async def open_books(store: ConversationStore, fleet: Fleet) -> Books:
    """Read the store, whose invariants must hold, and the ledger."""
    broken = await check_invariants(store)
    assert not broken, [str(violation) for violation in broken[:10]]
    rooms: dict[str, list[RoomEvent]] = {}
    for room_id in await _room_ids(store):
        rooms[room_id] = await _messages(store, room_id)
    events = {event.id: event for found in rooms.values() for event in found}
    return Books(events, rooms, read_ledger(fleet.ledger), fleet.killed)


async def _room_ids(store: ConversationStore) -> list[str]:
    found: list[str] = []
    while page := await store.list_rooms(offset=len(found), limit=PAGE):
        found += [room.id for room in page]
    return found


async def _messages(store: ConversationStore, room_id: str) -> list[RoomEvent]:
    found: list[RoomEvent] = []
    while page := await store.list_events(room_id, offset=len(found), limit=PAGE):
        found += page
    assert all(event.status != EventStatus.BLOCKED for event in found)
    return [event for event in found if event.type == EventType.MESSAGE]


def check_accepted(books: Books, keys: Iterable[str], acks: Mapping[str, tuple[str, int]]) -> None:
    """Every key is exactly one event, and the one that callers were told of."""
    asked = [event for event in books.events.values() if not event.chain_depth]
    found = Counter(event.idempotency_key for event in asked)
    wanted = set(keys)
    lost = wanted - found.keys()
    assert not lost, f"{len(lost)} messages lost, such as {min(lost)}"
    doubled = [key for key, count in found.items() if count > 1]
    assert not doubled, f"{len(doubled)} messages doubled, such as {doubled[0]}"
    assert not found.keys() - wanted, "messages nobody sent"
    places = {event.idempotency_key: (event.id, event.index) for event in asked}
    wrong = {key for key, told in acks.items() if places.get(key) != told}
    assert not wrong, f"{len(wrong)} acknowledgements are wrong, such as {min(wrong)}"


def check_answers(books: Books, with_bot: Iterable[str]) -> None:
    """In these rooms every question has exactly one answer of the bot; there are no others."""
    answered = set(with_bot)
    for room_id, events in books.rooms.items():
        asked = [
            event.id
            for event in events
            if not event.chain_depth and Channel.extract_text(event).endswith("?")
        ]
        answers: Counter[str | None] = Counter(
            event.parent_event_id for event in events if event.source.channel_id == "bot"
        )
        expected: Counter[str | None] = Counter(asked if room_id in answered else ())
        assert answers == expected, f"answers in {room_id}: {answers - expected} too many, " + (
            f"{expected - answers} missing"
        )


def check_delivered(books: Books, channels: Iterable[str] = CHANNELS) -> None:
    """Every message reached every target but its source, first deliveries in index order."""
    targets = tuple(channels)
    for event in books.events.values():
        for channel_id in targets:
            due = channel_id != event.source.channel_id
            made = len(books.sends.get((event.id, channel_id), ()))
            assert bool(made) == due, (
                f"event {event.index} of {event.room_id}: sent {made} times to {channel_id}"
            )
    last: dict[tuple[str, str], int] = {}
    for (event_id, channel_id), lines in books.sends.items():
        assert event_id in books.events, f"{channel_id} got an event that is in no timeline"
        first = lines[0]
        event = books.events[event_id]
        assert (first.index, first.room) == (event.index, event.room_id)
        lane = (first.room, channel_id)
        assert last.get(lane, -1) < first.index, (
            f"{channel_id} of {first.room} got {first.index} first after {last[lane]}"
        )
        last[lane] = first.index


def check_doubled(books: Books) -> None:
    """A delivery was made again only where its end was lost, and under the same delivery id.

    That is: the worker that made it was killed moments later, or had given its claims up.
    """
    lapsed = {line.pid for line in books.lines if line.what == "lapsed"}
    ids: dict[str, tuple[str, str]] = {}
    for place, lines in books.sends.items():
        assert len({line.delivery for line in lines}) == 1, f"several delivery ids for {place}"
        assert ids.setdefault(lines[0].delivery, place) == place, "a delivery id used twice"
        for earlier, later in pairwise(lines):
            end = books.killed.get(earlier.pid)
            excused = end is not None and earlier.at <= end <= later.at
            excused = excused and end - earlier.at <= UNRECORDED  # type: ignore[operator]
            assert excused or earlier.pid in lapsed, (
                f"{earlier.channel} of {earlier.room} got {earlier.index} again "
                f"{later.at - earlier.at:.3f} s later; the first worker ended: {end}"
            )


def check_recovery(
    books: Books, upsets: Iterable[float] = (), within: float = RECOVERED_WITHIN
) -> float:
    """No lane ever stood still for longer than it takes to recover.

    A lane stands still from its last delivery, the event it waits for, or the last upset,
    whichever is latest, to its next (first) delivery.

    Args:
        books: The books.
        upsets: Unix times after which recovering may begin anew, besides those of kills.
        within: The seconds it may take.

    Returns:
        The longest it took.
    """
    upset = sorted([*books.killed.values(), *upsets])
    lanes: dict[tuple[str, str], float] = {}
    longest = 0.0
    for (event_id, channel_id), lines in books.sends.items():
        event, first = books.events[event_id], lines[0].at
        lane = (event.room_id, channel_id)
        born = max(event.created_at.timestamp(), lanes.get(lane, 0.0))
        took = first - max([born, *(at for at in upset if at <= first)])
        assert took <= within, (
            f"{channel_id} of {event.room_id} stood still for {took:.1f} s before {event.index}"
        )
        longest = max(longest, took)
        lanes[lane] = first
    return longest
