"""What must hold of every store at every moment, looked up in its contents."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.models.content import SystemContent
from roomkit.models.delivery import InboundResult
from roomkit.models.enums import ChannelType, EventStatus
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room
    from roomkit.store.base import ConversationStore

_PAGE = 500
_TIMER_CLOSE = "room_closed_by_timer"
_REOPENED = "room_reopened"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise.

    Attributes:
        rule: Which one, such as ``gapless``.
        room_id: Where.
        detail: What was found instead; ids and numbers, never texts.
    """

    rule: str
    room_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule} in room {self.room_id}: {self.detail}"


async def check_invariants(
    store: ConversationStore, *, closed: Mapping[str, int] | None = None
) -> list[Violation]:
    """Return every broken promise found in a store's rooms; an empty list is the good news.

    Looked at: indexes run 0, 1, 2, ... in timeline order; ``event_count`` and
    ``latest_index`` agree with the events; an idempotency key and an event id stand for one
    event; an event is found by its id as it is listed, in its own room; the event it answers
    exists; nothing said after a room closed was delivered.

    Args:
        store: The store.
        closed: How many events a room had when it closed, by room id; a room closed by its
            timer tells so itself.
    """
    found: list[Violation] = []
    async for room in _all_rooms(store):
        events = [event async for event in _all_events(store, room.id)]
        end = (closed or {}).get(room.id)
        found += [Violation(rule, room.id, text) for rule, text in _of_room(room, events)]
        found += [Violation("closed", room.id, text) for text in _after_close(room, events, end)]
        found += [
            Violation(rule, room.id, text)
            async for rule, text in _of_lookups(store, room.id, events)
        ]
    return found


async def assert_invariants(
    store: ConversationStore,
    results: Iterable[InboundResult | RoomEvent] = (),
    *,
    closed: Mapping[str, int] | None = None,
) -> None:
    """Check a store, and that it agrees with what callers were told.

    Args:
        store: The store.
        results: What ``process_inbound`` and ``send_event`` returned. An accepted event must
            be in the store under its index; a duplicate names a stored event; what was
            reported blocked was not delivered.
        closed: See ``check_invariants``.

    Raises:
        AssertionError: The text lists every violation.
    """
    found = await check_invariants(store, closed=closed)
    for result in results:
        found += [violation async for violation in _of_result(store, result)]
    if found:
        raise AssertionError("; ".join(map(str, found)))


async def _all_rooms(store: ConversationStore) -> AsyncIterator[Room]:
    offset = 0
    while page := await store.list_rooms(offset, _PAGE):
        offset += len(page)
        for room in page:
            yield room


async def _all_events(store: ConversationStore, room_id: str) -> AsyncIterator[RoomEvent]:
    offset = 0
    while page := await store.list_events(room_id, offset, _PAGE):
        offset += len(page)
        for event in page:
            yield event


def _of_room(room: Room, events: list[RoomEvent]) -> Iterator[tuple[str, str]]:
    """Yield what a room's own events break."""
    for position, event in enumerate(events):
        if event.index != position:
            yield "gapless", f"event {event.id} at {position} has index {event.index}"
            break
    if room.event_count != len(events):
        yield "count", f"event_count is {room.event_count} of {len(events)}"
    if room.latest_index != max(0, len(events) - 1):
        yield "latest", f"latest_index is {room.latest_index} of {len(events)} events"
    keys = Counter(event.idempotency_key for event in events if event.idempotency_key)
    ids = Counter(event.id for event in events)
    yield from (("key", f"{n} events under one key") for n in keys.values() if n > 1)
    yield from (("id", f"event {name} stands {n} times") for name, n in ids.items() if n > 1)
    for event in events:
        if event.room_id != room.id:
            yield "room", f"event {event.id} belongs to room {event.room_id}"


def _after_close(room: Room, events: list[RoomEvent], end: int | None) -> Iterator[str]:
    """Yield what was delivered in a closed room after its end."""
    if room.is_open:
        return
    for position, event in enumerate(events):
        content = event.content
        if isinstance(content, SystemContent):
            if end is None and content.code == _TIMER_CLOSE:
                end = position
            elif content.code == _REOPENED:
                end = None
        if (
            end is not None
            and position >= end
            and event.status == EventStatus.DELIVERED
            and event.source.channel_type != ChannelType.SYSTEM
        ):
            yield f"event {event.id} was delivered after the room had closed"


async def _of_lookups(
    store: ConversationStore, room_id: str, events: list[RoomEvent]
) -> AsyncIterator[tuple[str, str]]:
    """Yield what other calls say differently about a room's events."""
    count = await store.get_event_count(room_id)
    if count != len(events):
        yield "count", f"get_event_count says {count} of {len(events)}"
    ids = {event.id for event in events}
    for event in events:
        if await store.get_event(event.id) != event:
            yield "lookup", f"event {event.id} is listed and found differently"
        parent = event.parent_event_id
        if parent and parent not in ids and await store.get_event(parent) is None:
            yield "parent", f"event {event.id} answers {parent}, which is not there"
        key = event.idempotency_key
        if key and not await store.check_idempotency(room_id, key):
            yield "key", f"the key of event {event.id} is not known"


async def _of_result(
    store: ConversationStore, result: InboundResult | RoomEvent
) -> AsyncIterator[Violation]:
    """Yield how the store contradicts what a caller was told."""
    told = result.event if isinstance(result, InboundResult) else result
    if told is None:
        return
    stored = await store.get_event(told.id)
    if isinstance(result, InboundResult):
        blocked, reason = result.blocked, result.reason
    else:
        blocked, reason = told.status == EventStatus.BLOCKED, None
    if blocked and reason != Reason.DUPLICATE:
        if stored is not None and stored.status == EventStatus.DELIVERED:
            yield Violation("refused", told.room_id, f"event {told.id} was delivered all the same")
    elif stored is None:
        yield Violation("kept", told.room_id, f"event {told.id} was reported and is not there")
    elif (stored.index, stored.room_id) != (told.index, told.room_id):
        detail = f"event {told.id} was reported at {told.index} and is at {stored.index}"
        yield Violation("kept", told.room_id, detail)
