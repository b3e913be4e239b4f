"""The frames of ``roomkit.v1``: JSON objects with a ``type``, checked before anything is done.

What a client sends becomes one of the small classes here, or a ``FrameError`` that names the
field and never quotes it. What goes out is encoded once, however many clients get it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from roomkit._sanitize import clean_text
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    TextContent,
    VideoContent,
)
from roomkit.models.enums import DeleteType, EventType

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL = "roomkit.v1"
"""The protocol's name, also as a WebSocket subprotocol."""

LONGEST_ID = 256
"""Characters of a room's or event's id, or of a ref."""

LONGEST_TOKEN = 16 * 1024
DEEPEST = 32
"""Levels of lists and objects a frame may have."""

_LARGEST_INDEX = 2**53
_SAYABLE = (
    TextContent,
    RichContent,
    MediaContent,
    LocationContent,
    AudioContent,
    VideoContent,
)


class FrameError(Exception):
    """A frame cannot be used.

    Attributes:
        code: ``malformed``, ``unknown_type``, ``invalid_content`` or ``content_not_allowed``.
        detail: What is wrong, in words that quote nothing of it.
        ref: The frame's ref, where it has a usable one.
    """

    def __init__(self, code: str, detail: str, ref: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.ref = ref


@dataclass(frozen=True, slots=True)
class Auth:
    """A token, as the very first frame."""

    token: str

    def __repr__(self) -> str:
        return "Auth(...)"


@dataclass(frozen=True, slots=True)
class Join:
    """Enter a room; ``after``: show what came after this index first."""

    room_id: str
    after: int | None


@dataclass(frozen=True, slots=True)
class Leave:
    """Hear no more of a room."""

    room_id: str


@dataclass(frozen=True, slots=True)
class Say:
    """Say something, once per ``ref``."""

    room_id: str
    content: EventContent
    ref: str

    @property
    def event_type(self) -> EventType:
        """What kind of event the content makes."""
        if isinstance(self.content, EditContent):
            return EventType.EDIT
        if isinstance(self.content, DeleteContent):
            return EventType.DELETE
        return EventType.MESSAGE


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody types, or no longer does."""

    room_id: str
    typing: bool


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody has read an event."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for a pong."""


type Request = Auth | Join | Leave | Say | Typing | Read | Ping


class Frame(NamedTuple):
    """An encoded frame and its length in bytes."""

    text: str
    size: int


def encode(kind: str, /, **values: Any) -> Frame:
    """Return a frame of this type.

    Raises:
        ValueError: A value is none JSON can carry.
    """
    body = {"type": kind, **values}
    text = clean_text(json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    return Frame(text, len(text) if text.isascii() else len(text.encode()))


def too_long(text: str, limit: int) -> bool:
    """Return whether a frame has more bytes than a limit."""
    if len(text) > limit:
        return True
    return not text.isascii() and len(text.encode("utf-8", "replace")) > limit


def parse(text: str) -> Request:
    """Return what a client's frame asks for.

    Raises:
        FrameError: It is none of the protocol.
    """
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise FrameError("malformed", "the frame is not JSON") from None
    if not isinstance(body, dict):
        raise FrameError("malformed", "the frame is not an object")
    ref = body.get("ref")
    ref = ref if _is_id(ref) else None
    if not _shallow(body):
        raise FrameError("malformed", f"the frame is nested deeper than {DEEPEST} levels", ref)
    kind = body.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise FrameError("unknown_type", "the frame has no type of this protocol", ref)
    try:
        return reader(body)
    except FrameError as exc:
        exc.ref = ref
        raise


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and infinities are no JSON")


def _shallow(body: Any) -> bool:
    """Return whether a JSON value has at most ``DEEPEST`` levels, without recursion."""
    level = [body]
    for _ in range(DEEPEST):
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inside.extend(value.values())
            elif isinstance(value, list):
                inside.extend(value)
        if not inside:
            return True
        level = inside
    return not any(isinstance(value, dict | list) for value in level)


def _is_id(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_ID
        and value.isprintable()
        and clean_text(value) == value
    )


def _id(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not _is_id(value):
        raise FrameError("malformed", f"{field} must be a text of 1 to {LONGEST_ID} characters")
    return str(value)


def _auth(body: dict[str, Any]) -> Auth:
    token = body.get("token")
    if (
        not isinstance(token, str)
        or not 0 < len(token) <= LONGEST_TOKEN
        or not (token.isascii() and token.isprintable() and " " not in token)
    ):
        raise FrameError("malformed", "token must be visible ASCII characters")
    return Auth(token)


def _join(body: dict[str, Any]) -> Join:
    after = body.get("after")
    if after is not None and (type(after) is not int or not -1 <= after <= _LARGEST_INDEX):
        raise FrameError("malformed", "after must be an index, or -1 for the beginning")
    return Join(_id(body, "room_id"), after)


def _leave(body: dict[str, Any]) -> Leave:
    return Leave(_id(body, "room_id"))


def _say(body: dict[str, Any]) -> Say:
    room_id, ref = _id(body, "room_id"), _id(body, "ref")
    try:
        content = _contents().validate_python(body.get("content"))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        # Places are our own field names; a key of the client's own must not be quoted.
        place = ".".join(str(part) for part in first["loc"] if str(part).isidentifier())[:80]
        raise FrameError("invalid_content", f"content.{place}: {first['type']}") from None
    except RecursionError:
        raise FrameError("invalid_content", "content is nested too deeply") from None
    _check_sayable(content)
    return Say(room_id, content, ref)


def _check_sayable(content: EventContent) -> None:
    """Refuse what only the engine or a vendor says, and rights taken from the payload."""
    if isinstance(content, EditContent):
        if content.edit_source not in (None, "sender"):
            raise FrameError("content_not_allowed", "edit_source must be absent or 'sender'")
        _check_plain(content.new_content)
    elif isinstance(content, DeleteContent):
        if content.delete_type != DeleteType.SENDER:
            raise FrameError("content_not_allowed", "delete_type must be 'sender'")
    else:
        _check_plain(content)


def _check_plain(content: EventContent) -> None:
    if isinstance(content, CompositeContent):
        for part in content.parts:
            _check_plain(part)
    elif not isinstance(content, _SAYABLE):
        raise FrameError("content_not_allowed", f"a client cannot say {content.type} here")


def _typing(body: dict[str, Any]) -> Typing:
    typing = body.get("typing", True)
    if not isinstance(typing, bool):
        raise FrameError("malformed", "typing must be true or false")
    return Typing(_id(body, "room_id"), typing)


def _read(body: dict[str, Any]) -> Read:
    return Read(_id(body, "event_id"))


def _ping(_body: dict[str, Any]) -> Ping:
    return Ping()


@lru_cache(maxsize=1)
def _contents() -> TypeAdapter[EventContent]:
    return TypeAdapter(EventContent)


_READERS: dict[str, Callable[[dict[str, Any]], Request]] = {
    "auth": _auth,
    "join": _join,
    "leave": _leave,
    "message": _say,
    "typing": _typing,
    "read": _read,
    "ping": _ping,
}
