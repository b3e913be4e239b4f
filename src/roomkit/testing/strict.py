"""A store that catches programs which change what they were only lent."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from roomkit.models.context import RoomContext
from roomkit.models.event import RoomEvent
from roomkit.store.commit import CommitBatch, CommitResult, DeliveryView
from roomkit.testing.wrapper import StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from roomkit.store.base import ConversationStore

_SHARED = frozenset(
    {
        "add_event",
        "commit",
        "find_event_by_channel_key",
        "find_event_by_key",
        "find_event_by_provider_message_id",
        "get_event",
        "list_events",
        "load_context",
        "load_delivery",
        "look",
        "reload_context",
        "update_event",
    }
)
"""The calls whose results are snapshots everybody shares; the others give copies."""


class MutationError(AssertionError):
    """A shared snapshot was changed by somebody it was lent to."""


@dataclass(slots=True)
class _Lent:
    value: Any
    name: str
    print: Hashable


class StrictStore(StoreWrapper):
    """A store around another one that reports every change of a shared snapshot.

    Events, contexts and the bindings of a delivery are shared: who gets one reads it, and who
    has handed in an event leaves it alone. Everything else is copied deeply on the way in and
    out, so that nothing but a call changes the store. Use it in tests; it is slow.

    Args:
        inner: The store that does the work.
        remember: How many snapshots are watched at a time; the oldest make room after a
            last look.
    """

    def __init__(self, inner: ConversationStore, *, remember: int = 10_000) -> None:
        super().__init__(inner)
        self._remember = remember
        self._lent: dict[int, _Lent] = {}
        self._found: list[str] = []

    def taken[T](self, value: T) -> T:
        """Return a deep copy; the events handed in are watched from now on."""
        events = value.events if isinstance(value, CommitBatch) else value
        for event in events if isinstance(events, list | tuple) else (events,):
            if isinstance(event, RoomEvent):
                self._watch(event, f"event {event.id} after it was handed to the store")
        return deepcopy(value)

    def given[T](self, name: str, value: T) -> T:
        """Return a shared snapshot itself, watched from now on, and a deep copy otherwise."""
        if name not in _SHARED:
            return deepcopy(value)
        for part, description in _parts(value):
            self._watch(part, description)
        return value

    def _watch(self, value: Any, name: str) -> None:
        if id(value) in self._lent:
            return
        if len(self._lent) >= self._remember:
            oldest = next(iter(self._lent))
            self._look(self._lent.pop(oldest))
        self._lent[id(value)] = _Lent(value, name, _fingerprint(value))

    def _look(self, lent: _Lent) -> None:
        now = _fingerprint(lent.value)
        if now != lent.print:
            self._found.append(f"{lent.name}: {_first_difference(lent.print, now)} changed")
            lent.print = now

    def check(self) -> None:
        """Look at everything lent so far. Each change is reported once.

        Raises:
            MutationError: Something was changed; the text names the objects and fields, not
                their values.
        """
        for lent in self._lent.values():
            self._look(lent)
        found, self._found = self._found, []
        if found:
            raise MutationError("shared snapshots were changed: " + "; ".join(found))

    async def close(self) -> None:
        """Close the inner store, then ``check()``."""
        await super().close()
        self.check()


def _parts(value: Any) -> Iterator[tuple[Any, str]]:
    """Yield everything a result lends, with its name."""
    if isinstance(value, RoomEvent):
        yield value, f"event {value.id} of room {value.room_id}"
    elif isinstance(value, RoomContext):
        yield from _context_parts(value)
    elif isinstance(value, CommitResult):
        yield from _parts((*value.events, value.duplicate_of))
    elif isinstance(value, DeliveryView):
        yield from _parts(value.event)
        if value.binding is not None:
            yield value.binding, f"binding {value.binding.channel_id}"
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)


def _context_parts(context: RoomContext) -> Iterator[tuple[Any, str]]:
    room_id = context.room.id
    yield context, f"the context of room {room_id}"
    yield context.room, f"room {room_id}"
    for binding in context.bindings:
        yield binding, f"binding {binding.channel_id} of room {room_id}"
    for participant in context.participants:
        yield participant, f"participant {participant.id} of room {room_id}"
    yield from _parts(context.recent_events)


def _fingerprint(value: Any) -> Hashable:
    """Return a value that differs when anything inside ``value`` does."""
    if isinstance(value, RoomContext):
        # Its members are watched one by one; here it only counts which they are.
        members = (value.bindings, value.participants, value.recent_events)
        return ("RoomContext", id(value.room), *(tuple(map(id, m)) for m in members))
    if isinstance(value, BaseModel):
        fields = tuple((name, _fingerprint(item)) for name, item in value.__dict__.items())
        return (type(value).__name__, *fields)
    if isinstance(value, Mapping):
        return ("dict", *((key, _fingerprint(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("list", *(_fingerprint(item) for item in value))
    if isinstance(value, set | frozenset):
        return frozenset(_fingerprint(item) for item in value)
    return (type(value).__name__, value) if value.__hash__ is not None else id(value)


def _first_difference(before: Any, after: Any) -> str:
    """Return the path of the first difference of two fingerprints, such as ``metadata.tag``."""
    if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            if old == new:
                continue
            if _is_field(old) and _is_field(new) and old[0] == new[0]:
                inner = _first_difference(old[1], new[1])
                return f"{old[0]}.{inner}" if inner != "content" else str(old[0])
            return "content"
    return "content"


def _is_field(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
