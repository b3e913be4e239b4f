"""The indexes of InMemoryStore against stores that have none.

One machine does the same to the store and to ``MinimalStore``, which scans for every answer,
then now and then asks both everything an index answers; at the end it rebuilds the store from
scratch and asks again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Task
from roomkit.store.commit import (
    CommitBatch,
    CommitResult,
    DeliveryFinish,
    DeliveryKind,
    RecordStatus,
    RoomClaim,
)
from roomkit.store.memory import InMemoryStore
from roomkit.testing import make_binding, make_event
from tests.support.minimal_store import MinimalStore

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from roomkit.models.event import RoomEvent
    from roomkit.store.base import ConversationStore

START = datetime(2026, 1, 1, tzinfo=UTC)

ROOMS = ["r0", "r1", "r2"]
CHANNELS = ["sms", "ws"]
PEOPLE = ["ann", "bob"]
KEYS = ["k1", "k2"]
TYPES = [ChannelType.SMS, ChannelType.WEBSOCKET]
STATUSES = list(RoomStatus)
TENANTS = [None, "org"]

rooms = st.sampled_from(ROOMS)
channels = st.sampled_from(CHANNELS)
people = st.none() | st.sampled_from(PEOPLE)
moments = st.integers(0, 40).map(lambda seconds: START + timedelta(seconds=seconds))
timers = st.builds(
    RoomTimers,
    inactive_after_seconds=st.none() | st.integers(0, 20),
    closed_after_seconds=st.none() | st.integers(0, 20),
    last_activity_at=st.none() | moments,
)


def run[T](call: Coroutine[Any, Any, T]) -> T:
    """Run a call to its end in one step: neither store may ever suspend."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("the call suspended")


def answers(store: ConversationStore) -> dict[str, Any]:
    """Ask a store everything an index answers."""
    asked: dict[str, Any] = {"rooms": [r.id for r in run(store.list_rooms(0, 99))]}
    for status, tenant in product([None, *STATUSES], TENANTS):
        found = run(store.find_rooms(organization_id=tenant, status=status))
        asked[f"find {status} {tenant}"] = [room.id for room in found]
        found = run(store.find_rooms(tenant, status, {"tag": 1}))
        asked[f"find tagged {status} {tenant}"] = [room.id for room in found]
    for status, channel in product([None, *STATUSES], CHANNELS):
        bound = run(store.find_room_id_by_channel(channel, status))
        asked[f"bound {channel} {status}"] = bound
    for person, kind, status in product(PEOPLE, [None, *TYPES], [None, *STATUSES]):
        room = run(store.find_latest_room(person, kind, status))
        asked[f"latest {person} {kind} {status}"] = None if room is None else room.id
    for channel, sender, key in product(CHANNELS, ["", "ANN", "bob", "eve"], [None, "to"]):
        for statuses in (["active"], ["paused", "active"]):
            routed = run(
                store.find_room_for(channel, sender, recipient_key=key, statuses=statuses)
            )
            asked[f"route {channel} {sender} {key} {statuses}"] = routed
    for seconds in (0, 15, 30, 61):
        due = run(store.find_due_rooms(START + timedelta(seconds=seconds)))
        asked[f"due {seconds}"] = sorted(due)
    for room_id in ROOMS:
        asked[f"room {room_id}"] = of_room(store, room_id)
    return asked


def of_room(store: ConversationStore, room_id: str) -> list[Any]:
    """Ask a store everything about one room."""
    context = run(store.load_context(room_id, recent=3))
    visible = run(store.list_events(room_id, 1, 2, visibility_filter="internal"))
    return [
        context,
        run(store.list_events(room_id, 1, 3)),
        [event.id for event in visible],
        run(store.get_event_count(room_id)),
        [run(store.get_unread_count(room_id, channel)) for channel in CHANNELS],
        [run(store.check_idempotency(room_id, key)) for key in KEYS],
        [run(store.find_event_by_key(room_id, key)) for key in KEYS],
        run(store.list_bindings(room_id)),
        run(store.list_participants(room_id)),
        run(store.list_tasks(room_id)),
        [run(store.get_event(event.id)) for event in run(store.list_events(room_id, 0, 99))],
    ]


class Machine(RuleBasedStateMachine):
    """Random lives of a few rooms."""

    def __init__(self) -> None:
        super().__init__()
        self.store = InMemoryStore()
        self.oracle = MinimalStore()
        self.claims: dict[RoomClaim, str] = {}
        self.channel_keys: list[tuple[str, str, str, str]] = []
        self.sent: dict[str, tuple[str, str, str]] = {}
        self.count = 0

    def both(self, name: str, *arguments: Any) -> Any:
        """Call both stores; they must agree on the answer."""
        one = run(getattr(self.store, name)(*arguments))
        two = run(getattr(self.oracle, name)(*arguments))
        assert one == two
        return one

    def exists(self, room_id: str) -> bool:
        return run(self.oracle.get_room(room_id)) is not None

    @initialize()
    def begin_with_rooms(self) -> None:
        for room_id in ROOMS[:2]:
            self.both("create_room", Room(id=room_id, created_at=START, updated_at=START))

    @rule(
        room_id=rooms,
        tenant=st.sampled_from(TENANTS),
        status=st.sampled_from(STATUSES),
        timers=timers,
        created=st.sampled_from([START, START + timedelta(seconds=1)]),
        tag=st.integers(0, 1),
    )
    def create_or_replace(
        self,
        room_id: str,
        tenant: str | None,
        status: RoomStatus,
        timers: RoomTimers,
        created: datetime,
        tag: int,
    ) -> None:
        room = Room(
            id=room_id,
            organization_id=tenant,
            status=status,
            timers=timers,
            created_at=created,
            updated_at=created,
            metadata={"tag": tag},
        )
        if self.exists(room_id):
            room = self.counted(room)
            self.both("update_room", room)
        else:
            self.both("create_room", self.counted(room))

    def counted(self, room: Room) -> Room:
        """Give the oracle, which owns no counters, what the store knows by itself."""
        count = run(self.oracle.get_event_count(room.id))
        return room.counted(count, max(0, count - 1))

    @rule(room_id=rooms, status=st.sampled_from([s.value for s in STATUSES]))
    def change_status_of_a_room_in_hand(self, room_id: str, status: str) -> None:
        """The caller assigns to the very object it got, and hands it back twice."""
        for store in (self.store, self.oracle):
            room = run(store.get_room(room_id))
            if room is not None:
                room.status = status  # type: ignore[assignment]  # what callers do
                run(store.update_room(room))
                run(store.update_room(room))

    @rule(room_id=rooms)
    def delete_room(self, room_id: str) -> None:
        if self.both("delete_room", room_id):
            self.claims = {c: r for c, r in self.claims.items() if r != room_id}
            self.channel_keys = [k for k in self.channel_keys if k[0] != room_id]
            self.sent = {m: s for m, s in self.sent.items() if s[0] != room_id}

    @rule(
        room_id=rooms,
        channel=channels,
        person=people,
        kind=st.sampled_from(TYPES),
        recipient=people,
        category=st.sampled_from(["transport", "transport", "intelligence"]),
    )
    def bind(
        self,
        room_id: str,
        channel: str,
        person: str | None,
        kind: ChannelType,
        recipient: str | None,
        category: str,
    ) -> None:
        if self.exists(room_id):
            binding = ChannelBinding(
                channel_id=channel,
                room_id=room_id,
                channel_type=kind,
                participant_id=person,
                category=category,
                metadata={} if recipient is None else {"to": recipient},
            )
            self.both("add_binding", binding)

    @rule(room_id=rooms, channel=channels)
    def unbind(self, room_id: str, channel: str) -> None:
        self.both("remove_binding", room_id, channel)

    @rule(room_id=rooms, person=st.sampled_from(PEOPLE))
    def join(self, room_id: str, person: str) -> None:
        if self.exists(room_id):
            joined = Participant(id=person, room_id=room_id, channel_id="c")
            self.both("add_participant", joined)

    @rule(
        room_id=rooms,
        keys=st.lists(st.none() | st.sampled_from(KEYS), min_size=1, max_size=2),
        channel=channels,
        visibility=st.sampled_from(["all", "internal"]),
        open_required=st.booleans(),
        activity=st.none() | moments,
    )
    def commit(
        self,
        room_id: str,
        keys: list[str | None],
        channel: str,
        visibility: str,
        open_required: bool,
        activity: datetime | None,
    ) -> None:
        if not self.exists(room_id):
            return
        events = tuple(
            make_event(room_id, channel_id=channel, idempotency_key=key, visibility=visibility)
            for key in keys
        )
        batch = CommitBatch(room_id, events, open_required=open_required)
        result = run(self.store.commit(batch))
        if len(set(keys)) < len(keys) and None not in keys and not result.events:
            return
        assert result == run(self.oracle.commit(batch))
        self.note(result)
        if activity is not None and result.events:
            self.touch(room_id, activity)

    def note(self, result: CommitResult) -> None:
        for event in result.events:
            if event.idempotency_key:
                key = (event.room_id, event.source.channel_id, event.idempotency_key, event.id)
                self.channel_keys.append(key)

    def touch(self, room_id: str, activity: datetime) -> None:
        """Move the activity of both; only the store takes care that it never goes back."""
        run(self.store.commit(CommitBatch(room_id, activity_at=activity)))
        room = run(self.oracle.get_room(room_id))
        assert room is not None
        last = room.timers.last_activity_at
        if last is None or activity > last:
            run(self.oracle.update_room(room.touched(activity)))

    def some_event(self, room_id: str, choice: int) -> RoomEvent | None:
        events = run(self.oracle.list_events(room_id, 0, 999))
        return events[choice % len(events)] if events else None

    @rule(
        room_id=rooms, choice=st.integers(0, 99), visibility=st.sampled_from(["all", "internal"])
    )
    def change_event(self, room_id: str, choice: int, visibility: str) -> None:
        event = self.some_event(room_id, choice)
        if event is not None:
            self.both("update_event", event.deleted().visible_as(visibility))

    @rule(room_id=rooms, choice=st.integers(0, 99), channel=channels)
    def finish(self, room_id: str, choice: int, channel: str) -> None:
        event = self.some_event(room_id, choice)
        if event is None:
            return
        self.count += 1
        result = {"provider_message_id": f"m{self.count}"}
        kind, status = DeliveryKind.DELIVER, RecordStatus.DONE
        ended = DeliveryFinish("d", event.id, channel, kind, status, result)
        self.both("finish_deliveries", [ended])
        self.sent[f"m{self.count}"] = (room_id, event.id, channel)

    @rule(room_id=rooms, channel=channels, choice=st.none() | st.integers(0, 99))
    def read(self, room_id: str, channel: str, choice: int | None) -> None:
        event = None if choice is None else self.some_event(room_id, choice)
        if event is not None:
            self.both("mark_read", room_id, channel, event.id)
        elif choice is None:
            self.both("mark_all_read", room_id, channel)

    @rule(room_id=rooms, name=st.sampled_from(["t1", "t2"]))
    def add_task(self, room_id: str, name: str) -> None:
        if self.exists(room_id):
            self.both("add_task", Task(id=f"{room_id}-{name}", room_id=room_id, title="x"))

    @rule(room_id=rooms, sender=st.sampled_from(PEOPLE), channel=channels)
    def open_room(self, room_id: str, sender: str, channel: str) -> None:
        if self.exists(room_id):
            return
        claim = RoomClaim(None, channel, sender)
        holder = self.claims.get(claim)
        known = run(self.oracle.get_room(holder)) if holder is not None else None
        room, event = Room(id=room_id, created_at=START), make_event(room_id)
        binding = make_binding(channel, room_id)
        opened = run(self.store.open_room(claim, room, binding, [event]))
        if known is not None and known.status == RoomStatus.ACTIVE:
            assert (opened.room_id, opened.created) == (holder, False)
        else:
            assert (opened.room_id, opened.created) == (room_id, True)
            run(self.oracle.open_room(claim, room, binding, [event]))
            self.claims[claim] = room_id

    @rule()
    def every_answer_is_the_plain_one(self) -> None:
        assert answers(self.store) == answers(self.oracle)

    @rule()
    def keys_and_vendors_ids_lead_to_their_events(self) -> None:
        for channel, key in product(CHANNELS, KEYS):
            ids = [k[3] for k in self.channel_keys if k[1:3] == (channel, key)]
            event = run(self.store.find_event_by_channel_key(channel, key))
            assert (None if event is None else event.id) == (ids[0] if ids else None)
        for number in range(1, self.count + 1):
            found = run(self.store.find_event_by_provider_message_id(f"m{number}"))
            told = None if found is None else (found[0].room_id, found[0].id, found[1])
            assert told == self.sent.get(f"m{number}")

    def teardown(self) -> None:
        self.keys_and_vendors_ids_lead_to_their_events()
        self.every_answer_is_the_plain_one()
        assert answers(rebuilt(self.store)) == answers(self.store)


def rebuilt(store: InMemoryStore) -> InMemoryStore:
    """Return a store with the same contents, built from scratch."""
    fresh = InMemoryStore()
    for room in run(store.list_rooms(0, 99)):
        run(fresh.create_room(room))
        for binding in run(store.list_bindings(room.id)):
            run(fresh.add_binding(binding))
        for participant in run(store.list_participants(room.id)):
            run(fresh.add_participant(participant))
        for task in run(store.list_tasks(room.id)):
            run(fresh.add_task(task))
        events = run(store.list_events(room.id, 0, 9999))
        for event in events:
            run(fresh.add_event(event))
        for channel in CHANNELS:
            unread = run(store.get_unread_count(room.id, channel))
            if unread < len(events):
                run(fresh.mark_read(room.id, channel, events[-1 - unread].id))
    return fresh


TestIndexes = Machine.TestCase
TestIndexes.settings = settings(max_examples=80, stateful_step_count=50)
