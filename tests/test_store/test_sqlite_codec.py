"""Models as the SQL stores write them, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Task
from roomkit.store._sql import codec
from roomkit.testing.builders import make_binding, make_event


class _TaggedEvent(RoomEvent):
    """An event a program has derived from ours."""

    tag: str = "mine"


def test_an_event_comes_back_at_its_place() -> None:
    """Index and results are those of their columns, all else is the document's."""
    event = make_event(index=3, metadata={"a": [1, {"b": None}]}, idempotency_key="k")
    again = codec.load_event(codec.dump(event), 7, '{"c":{"status":"sent"}}')
    assert again == event.numbered(7).with_results({"c": {"status": "sent"}})
    assert codec.load_event(codec.dump(event), 3, None) == event
    assert codec.load_event(codec.dump(event), 3, b"{}") == event


def test_a_later_result_counts() -> None:
    """Results that were appended replace those of the same name."""
    event = make_event()
    loaded = codec.load_event(codec.dump(event), 0, '{"c":{"n":1},"d":2,"c":{"n":3}}')
    assert loaded.delivery_results == {"c": {"n": 3}, "d": 2}


def test_a_derived_event_is_written_as_ours() -> None:
    """What is kept in columns is left out of it too."""
    event = _TaggedEvent(**dict(make_event(index=5)))
    assert '"index"' not in codec.dump(event)
    assert codec.load_event(codec.dump(event), 1, None).index == 1


@pytest.mark.parametrize("last", [None, datetime(2026, 1, 2, 3, 4, 5, 678, UTC)])
def test_a_room_comes_back_with_its_columns(last: datetime | None) -> None:
    """Status, counters and the last message are those of their columns."""
    zone = timezone(timedelta(hours=2))
    room = Room(id="r", timers=RoomTimers(last_activity_at=datetime(2026, 1, 1, tzinfo=zone)))
    for given in (last, None if last is None else last.isoformat()):
        again = codec.load_room(
            codec.dump(room), status="paused", event_count=4, last_activity_at=given
        )
        assert (again.status, again.event_count, again.latest_index) == ("paused", 4, 3)
        assert again.timers.last_activity_at == (last or room.timers.last_activity_at)
    empty = codec.load_room(
        codec.dump(room), status="active", event_count=0, last_activity_at=None
    )
    assert empty == room


def test_plain_values_are_written_without_a_warning() -> None:
    """Callers assign texts where a member is declared."""
    task = Task(id="t", room_id="r", title="x")
    task.status = "completed"  # type: ignore[assignment]  # what callers do
    assert codec.load_task(codec.dump(task)).status == "completed"


def test_equal_capabilities_are_shared() -> None:
    """A thousand bindings of one channel hold one object; others hold theirs."""
    text = codec.dump(make_binding("a"))
    one, two = codec.load_binding(text), codec.load_binding(codec.dump(make_binding("b")))
    assert one.capabilities is two.capabilities
    other = make_binding("c", capabilities=ChannelCapabilities(max_length=5))
    assert codec.load_binding(codec.dump(other)).capabilities.max_length == 5
    assert codec.load_binding(text).capabilities.max_length is None


def test_what_json_cannot_carry() -> None:
    """Numbers without a value become null; all else is refused without being quoted."""
    loaded = codec.load_event(codec.dump(make_event(metadata={"n": math.nan})), 0, None)
    assert loaded.metadata == {"n": None}
    assert codec.dump_json({"n": math.inf}) == '{"n":null}'
    assert codec.dump_results({}) is None
    for broken in (make_event(body="secret \ud800"), make_event(metadata={"x": object()})):
        with pytest.raises(InvalidInputError) as told:
            codec.dump(broken)
        assert "secret" not in str(told.value)
        assert told.value.__cause__ is None
    with pytest.raises(InvalidInputError):
        codec.dump_json({"x": object()})
