"""The checks themselves: books with one thing wrong are found out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.models.content import TextContent
from roomkit.testing import make_event
from tests.processes._checks import (
    Books,
    check_accepted,
    check_answers,
    check_delivered,
    check_doubled,
    check_recovery,
)
from tests.processes._ledger import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.event import RoomEvent

ROOM = "room"
VICTIM, OTHER = 7, 8
BORN = datetime(2026, 1, 1, tzinfo=UTC)
START = BORN.timestamp()
KILLED = {VICTIM: START + 1.0}
KEYS = ("key-0", "key-1")


def _event(index: int, channel: str, **fields: Any) -> RoomEvent:
    fields |= {"room_id": ROOM, "index": index, "id": f"event-{index}", "created_at": BORN}
    return make_event(channel_id=channel, **fields)


def _send(event: int, channel: str, at: float, pid: int = OTHER, delivery: str = "") -> Line:
    delivery = delivery or f"event-{event}.{channel}.deliver"
    return Line("send", START + at, pid, ROOM, f"event-{event}", event, channel, delivery, 1)


def _events() -> list[RoomEvent]:
    """Return two messages, the first a question, and its answer."""
    return [
        _event(0, "in", idempotency_key="key-0", content=TextContent(body="a question?")),
        _event(1, "in", idempotency_key="key-1", content=TextContent(body="no question")),
        _event(2, "bot", chain_depth=1, parent_event_id="event-0"),
    ]


def _lines() -> list[Line]:
    """Return their deliveries to ``in`` and ``out1``; one was made again after a kill."""
    return [
        _send(0, "out1", 0.9, VICTIM),
        _send(0, "out1", 5.5),
        _send(1, "out1", 5.6),
        _send(2, "out1", 5.7),
        _send(2, "in", 5.8),
    ]


def _check(events: list[RoomEvent], lines: list[Line], acks: dict[str, Any]) -> None:
    books = Books({event.id: event for event in events}, {ROOM: events}, lines, KILLED)
    check_accepted(books, KEYS, acks)
    check_answers(books, [ROOM])
    check_delivered(books, ("in", "out1"))
    check_doubled(books)
    check_recovery(books)


def _lose(events: list[RoomEvent], _lines: list[Line], _acks: dict[str, Any]) -> None:
    del events[1]


def _double(events: list[RoomEvent], _lines: list[Line], _acks: dict[str, Any]) -> None:
    events.append(_event(3, "in", idempotency_key="key-1"))


def _invent(events: list[RoomEvent], _lines: list[Line], _acks: dict[str, Any]) -> None:
    events.append(_event(3, "in", idempotency_key="nobody's"))


def _ack_wrongly(_events: list[RoomEvent], _lines: list[Line], acks: dict[str, Any]) -> None:
    acks["key-0"] = ("event-1", 1)


def _leave_unanswered(events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    del events[2], lines[3:]


def _answer_twice(events: list[RoomEvent], _lines: list[Line], _acks: dict[str, Any]) -> None:
    events.append(_event(3, "bot", chain_depth=1, parent_event_id="event-0"))


def _forget(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    del lines[2]


def _swap(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def _echo(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines.append(_send(0, "in", 6.0))


def _make_up(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines.append(_send(9, "out1", 6.0))


def _repeat(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines.append(_send(1, "out1", 6.0))


def _repeat_late(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines[0] = replace(lines[0], at=START - 2.0)


def _rename(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines[1] = replace(lines[1], delivery="another id")


def _stand_still(_events: list[RoomEvent], lines: list[Line], _acks: dict[str, Any]) -> None:
    lines[3] = replace(lines[3], at=START + 12.0)


class TestChecks:
    """What the tests of processes rely on."""

    def test_sound_books_pass(self) -> None:
        """A delivery made again after a kill, under its id, is as it should be."""
        _check(_events(), _lines(), {"key-0": ("event-0", 0)})

    @pytest.mark.parametrize(
        ("spoil", "found"),
        [
            (_lose, "lost"),
            (_double, "doubled"),
            (_invent, "nobody sent"),
            (_ack_wrongly, "acknowledgements are wrong"),
            (_leave_unanswered, "missing"),
            (_answer_twice, "too many"),
            (_forget, "sent 0 times"),
            (_swap, "first after"),
            (_echo, "sent 1 times to in"),
            (_make_up, "no timeline"),
            (_repeat, "again"),
            (_repeat_late, "again"),
            (_rename, "several delivery ids"),
            (_stand_still, "stood still"),
        ],
    )
    def test_each_fault_is_found(self, spoil: Callable[..., None], found: str) -> None:
        """One fault in books that are sound otherwise."""
        events, lines, acks = _events(), _lines(), {"key-0": ("event-0", 0)}
        spoil(events, lines, acks)
        with pytest.raises(AssertionError, match=found):
            _check(events, lines, acks)
