"""The rooms a process remembers: what it may answer by itself, and what it must ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.store._sql.window import Change, Delta, Members, RoomWindows
from roomkit.testing.builders import make_binding, make_event

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent


class Seconds:
    """A clock to be set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def members(count: int = 0) -> Members:
    """Return a room of some events with a binding and a participant."""
    return Members(
        Room(id="r").counted(count, max(0, count - 1)),
        [make_binding("a", room_id="r")],
        [Participant(id="p", room_id="r", channel_id="a")],
    )


def events(first: int, count: int) -> list[RoomEvent]:
    """Return numbered events."""
    return [make_event(room_id="r", body=str(n)).numbered(n) for n in range(first, first + count)]


def filled(count: int = 3, **options: object) -> RoomWindows:
    """Return windows that hold room r at version 10 with some events."""
    windows = RoomWindows(**options)  # type: ignore[arg-type]
    delta = Delta(10, 9, count, events=events(0, count), members=members(count))
    assert windows.merge("r", None, delta) is not None
    return windows


class TestLooks:
    """What the answers of the database become."""

    def test_nothing_moved_is_the_same_object(self) -> None:
        """A context is built once, and shared until something moves."""
        windows = filled()
        first = windows.peek_context("r")
        assert windows.merge("r", windows.view("r"), Delta(10, 9, 3)) is first

    def test_only_what_moved_is_needed(self) -> None:
        """New and changed events join those that are known; the newest 50 stay."""
        windows = filled(50)
        before = windows.peek_context("r")
        assert before is not None
        edited = before.recent_events[20].numbered(20).saying(make_event(body="new").content)
        delta = Delta(14, 9, 53, events=[edited, *events(50, 3)], edits_version=12)
        after = windows.merge("r", windows.view("r"), delta)
        assert after is not None
        assert [event.index for event in after.recent_events] == list(range(3, 53))
        assert after.recent_events[17] is edited
        assert after.recent_events[0] is before.recent_events[3]
        assert after.bindings is before.bindings
        assert after.room.event_count == 53
        assert after.room.latest_index == 52

    def test_an_answer_that_does_not_fit_is_asked_again(self) -> None:
        """Without the members or an event it would need, nothing is shown and all forgotten."""
        for delta in (Delta(11, 11, 3), Delta(12, 9, 5, events=events(4, 1))):
            windows = filled()
            assert windows.merge("r", windows.view("r"), delta) is None
            assert windows.view("r") is None

    def test_an_old_answer_does_not_undo_a_new_one(self) -> None:
        """A look that was overtaken shows what is known by now."""
        windows = filled()
        asked = windows.view("r")
        windows.take("r", Change(11, events=events(3, 1)))
        newest = windows.peek_context("r")
        assert newest is not None
        assert windows.merge("r", asked, Delta(10, 9, 3)) is newest
        assert newest.room.event_count == 4

    def test_a_room_made_again_is_read_anew(self) -> None:
        """Nothing of the room that had the id before is shown."""
        windows = filled(5)
        again = Delta(1000, 1000, 2, events=events(0, 2), members=members(2))
        context = windows.merge("r", windows.view("r"), again)
        assert context is not None
        assert context.recent_events == list(again.events)


class TestOwnWrites:
    """What this process wrote it need not read."""

    def test_a_commit_follows(self) -> None:
        """Its events, results and activity are seen at once, without a question."""
        windows = filled()
        new = events(3, 2)
        at = new[0].created_at
        windows.take("r", Change(11, events=new, activity_at=at))
        windows.take("r", Change(12, results={new[0].id: {"a": {"ok": True}}}))
        context = windows.peek_context("r")
        assert context is not None
        assert context.room.event_count == 5
        assert context.room.timers.last_activity_at == at
        assert context.recent_events[3].delivery_results == {"a": {"ok": True}}

    def test_told_out_of_order(self) -> None:
        """A later change waits for the earlier one; then both are there."""
        windows = filled()
        first, second = events(3, 2)
        windows.take("r", Change(12, events=[second]))
        context = windows.peek_context("r")
        assert context is not None
        assert context.room.event_count == 3
        windows.take("r", Change(11, events=[first]))
        context = windows.peek_context("r")
        assert context is not None
        assert context.recent_events[-2:] == [first, second]

    def test_what_others_wrote_between_is_read(self) -> None:
        """A change with a gap before it is not shown; a look brings the gap and then it too."""
        windows = filled()
        theirs, ours = events(3, 2)
        windows.take("r", Change(12, events=[ours]))
        context = windows.merge("r", windows.view("r"), Delta(11, 9, 4, events=[theirs]))
        assert context is not None
        assert context.recent_events[-2:] == [theirs, ours]

    def test_changes_that_wait_are_bounded(self) -> None:
        """Of a thousand with a gap before them few are kept."""
        windows = filled()
        for version in range(12, 1012):
            windows.take("r", Change(version))
        windows.take("r", Change(11))
        view = windows.view("r")
        assert view is not None
        assert view.version < 100

    def test_members_and_unknown_writes_must_be_asked(self) -> None:
        """Until the next look nothing is peeked at; nor does an older answer count."""
        for note in (
            lambda windows: windows.take("r", Change(11, members=True)),
            lambda windows: windows.stale("r", 11),
        ):
            windows = filled()
            asked = windows.view("r")
            note(windows)
            assert windows.peek_context("r") is None
            assert windows.peek_version("r") is None
            windows.merge("r", asked, Delta(10, 9, 3))
            assert windows.peek_context("r") is None
            fresh = Delta(11, 11, 3, members=members(3))
            assert windows.merge("r", windows.view("r"), fresh) is windows.peek_context("r")
            assert windows.peek_version("r") == 11

    def test_the_version_moves_with_contents_only(self) -> None:
        """Edits and members move it; new events and results do not."""
        windows = filled()
        before = windows.peek_version("r")
        context = windows.peek_context("r")
        assert context is not None
        windows.take("r", Change(11, events=events(3, 1)))
        windows.take("r", Change(12, results={context.recent_events[0].id: {"a": {}}}))
        assert windows.peek_version("r") == before
        target = context.recent_events[0].deleted()
        windows.take("r", Change(13, target=target))
        assert windows.peek_version("r") == 13
        context = windows.peek_context("r")
        assert context is not None
        assert context.recent_events[0].metadata == {"deleted": True}
        assert context.recent_events[0].delivery_results == {"a": {}}
        windows.merge("r", windows.view("r"), Delta(14, 9, 4, edits_version=14))
        assert windows.peek_version("r") == 14


class TestBounds:
    """It stays small, and tells old from new."""

    def test_what_was_not_verified_lately_is_not_peeked_at(self) -> None:
        """A second after the last look or own write the room has to be asked for."""
        clock = Seconds()
        windows = filled(monotonic=clock)
        clock.now += 0.9
        assert windows.peek_context("r") is not None
        windows.take("r", Change(11))
        clock.now += 0.9
        assert windows.peek_context("r") is not None
        clock.now += 0.2
        assert windows.peek_context("r") is None
        assert windows.view("r") is not None

    def test_the_least_used_room_goes_first(self) -> None:
        """Of three rooms in a window of two the one that was not used is gone."""
        windows = RoomWindows(2)
        for name in ("one", "two"):
            windows.merge(name, None, Delta(1, 1, 0, members=members()))
        windows.view("one")
        windows.merge("three", None, Delta(1, 1, 0, members=members()))
        assert len(windows) == 2
        assert windows.view("two") is None
        assert windows.view("one") is not None
        windows.forget("one")
        assert windows.peek_context("one") is None
        windows.clear()
        assert len(windows) == 0
