"""Models to JSON text and back, for the stores that keep documents in SQL columns.

What a database counts or changes by itself is kept in columns of its own and left out of the
document: an event's ``index`` and ``delivery_results``, a room's ``status`` and counters. On the
way back they are put into the text before it is parsed, so that a model is built once.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from roomkit.exceptions import InvalidInputError
from roomkit.models.channel import ChannelBinding
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from roomkit.models.channel import ChannelCapabilities

_LEFT_OUT: dict[type[BaseModel], set[str]] = {
    RoomEvent: {"index", "delivery_results"},
    Room: {"status", "event_count", "latest_index"},
}

_SHARED_LIMIT = 256
_capabilities: dict[bytes, ChannelCapabilities] = {}


def dump(model: BaseModel) -> str:
    """Return a model's document as JSON text, without what is kept in columns.

    Of an event that is ``index`` and ``delivery_results``, of a room ``status``,
    ``event_count`` and ``latest_index``. Values of another type than declared (a plain string
    for a status) are written as they are, without a warning.

    Raises:
        InvalidInputError: The model holds something JSON cannot carry.
    """
    try:
        return model.__pydantic_serializer__.to_json(
            model, exclude=_left_out(type(model)), warnings=False
        ).decode()
    except (PydanticSerializationError, UnicodeError) as exc:
        # The cause may quote what it failed on, so it is left behind.
        raise InvalidInputError(
            f"a {type(model).__name__} holds something JSON cannot carry ({type(exc).__name__})"
        ) from None


def _left_out(kind: type[BaseModel]) -> set[str] | None:
    """Return the fields kept in columns, also for what a program derives from our models."""
    for known, fields in _LEFT_OUT.items():
        if issubclass(kind, known):
            return fields
    return None


def dump_json(value: Any) -> str:
    """Return plain data as JSON text; NaN and infinities become null.

    Raises:
        InvalidInputError: It holds something JSON cannot carry.
    """
    try:
        return to_json(value, inf_nan_mode="null").decode()
    except (PydanticSerializationError, UnicodeError) as exc:
        raise InvalidInputError(
            f"a value holds something JSON cannot carry ({type(exc).__name__})"
        ) from None


def dump_results(results: Mapping[str, Any]) -> str | None:
    """Return delivery results as the JSON text of their own column; None when there are none."""
    return dump_json(results) if results else None


def load_json(text: str | bytes) -> Any:
    """Return plain data from JSON text."""
    return from_json(text)


def load_event(text: str, index: int, results: str | bytes | None) -> RoomEvent:
    """Return an event from its document, its place and its delivery results (JSON text)."""
    if isinstance(results, bytes):
        results = results.decode()
    whole = f'{text[:-1]},"index":{index},"delivery_results":{results or "{}"}}}'
    event: RoomEvent = RoomEvent.__pydantic_validator__.validate_json(whole)
    return event


def load_room(
    text: str, *, status: str, event_count: int, last_activity_at: datetime | str | None
) -> Room:
    """Return a room from its document and its columns.

    Args:
        text: The document.
        status: Its status.
        event_count: How many events it has; ``latest_index`` follows from it.
        last_activity_at: The latest message, as a datetime or in ISO 8601; None when the
            document's own still holds.
    """
    whole = (
        f'{text[:-1]},"status":{json.dumps(status)},"event_count":{event_count},'
        f'"latest_index":{max(0, event_count - 1)}}}'
    )
    room: Room = Room.__pydantic_validator__.validate_json(whole)
    if last_activity_at is None:
        return room
    if isinstance(last_activity_at, str):
        last_activity_at = datetime.fromisoformat(last_activity_at)
    if room.timers.last_activity_at == last_activity_at:
        return room
    return room.touched(last_activity_at)


def load_binding(text: str) -> ChannelBinding:
    """Return a binding; bindings of equal capabilities share one object for them.

    Who changes the capabilities of a binding in place, which nobody should, changes them for
    all that share them.
    """
    binding: ChannelBinding = ChannelBinding.__pydantic_validator__.validate_json(text)
    capabilities = binding.capabilities
    key = capabilities.__pydantic_serializer__.to_json(capabilities, warnings=False)
    shared = _capabilities.get(key)
    if shared is None:
        if len(_capabilities) >= _SHARED_LIMIT:
            _capabilities.clear()
        shared = _capabilities[key] = capabilities
    binding.capabilities = shared
    return binding


def load_participant(text: str) -> Participant:
    """Return a participant from its document."""
    participant: Participant = Participant.__pydantic_validator__.validate_json(text)
    return participant


def load_identity(text: str) -> Identity:
    """Return an identity from its document."""
    identity: Identity = Identity.__pydantic_validator__.validate_json(text)
    return identity


def load_task(text: str) -> Task:
    """Return a task from its document."""
    task: Task = Task.__pydantic_validator__.validate_json(text)
    return task


def load_observation(text: str) -> Observation:
    """Return an observation from its document."""
    observation: Observation = Observation.__pydantic_validator__.validate_json(text)
    return observation
