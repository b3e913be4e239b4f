"""Reading what a vendor sent, tolerantly where something is missing and strictly elsewhere.

Absent (or null) means empty; a wrong type is a WebhookError that names the field. No function
here raises anything else, however strange the input, and all take time linear in its length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from roomkit._sanitize import clean_text
from roomkit.exceptions import WebhookError, WebhookRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.providers.webhook import WebhookRequest

MAX_FIELDS = 1000
"""Fields a form may have; vendors send a few dozen."""

_MAX_DEPTH_ERROR = "is nested too deeply"


def read_json(body: bytes, *, expect: type = dict) -> Any:
    """Return a body read as JSON.

    Args:
        body: The raw body, UTF-8.
        expect: ``dict`` or ``list``.

    Raises:
        WebhookError: It is no JSON, or of another type.
    """
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise WebhookError(f"the body {_MAX_DEPTH_ERROR}") from None
    except ValueError:
        raise WebhookError("the body is no JSON") from None
    if not isinstance(data, expect):
        raise WebhookError(f"the body is {_kind(data)}, not {_name(expect)}")
    return data


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, decoded; of a repeated name the last value.

    Raises:
        WebhookError: It is no form, or has more than 1,000 fields.
    """
    try:
        text = body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise WebhookError("the body is no form of up to 1,000 fields") from None
    return dict(pairs)


def fields_of(payload: Any) -> Mapping[str, Any]:
    """Return a payload that is a mapping, as it is.

    Raises:
        WebhookError: It is something else.
    """
    if not isinstance(payload, Mapping):
        raise WebhookError(f"the payload is {_kind(payload)}, not an object")
    return payload


def text_at(payload: Mapping[str, Any], *path: str | int, default: str = "") -> str:
    """Return the text at a path; numbers count as text, absent and null as ``default``.

    Raises:
        WebhookError: It is something else; the error names the path.
    """
    found = value_at(payload, *path)
    if found is None:
        return default
    if isinstance(found, str):
        return clean_text(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise WebhookError(f"{_dotted(path)} is {_kind(found)}, not text")
    try:
        return str(found)
    except ValueError:  # an integer of more digits than Python converts
        raise WebhookError(f"{_dotted(path)} is too long a number") from None


def optional_text_at(payload: Mapping[str, Any], *path: str | int) -> str | None:
    """Return the text at a path; None when it is absent, null or empty.

    Raises:
        WebhookError: It is something else; the error names the path.
    """
    return text_at(payload, *path) or None


def sender_at(payload: Mapping[str, Any], *path: str | int) -> str:
    """Return who sent it: the one field that must be there.

    Raises:
        WebhookError: It is absent, empty or no text.
    """
    found = text_at(payload, *path)
    if not found:
        raise WebhookError(f"{_dotted(path)} is missing: nobody sent it")
    return found


def object_at(payload: Mapping[str, Any], *path: str | int) -> dict[str, Any]:
    """Return the object at a path; absent and null are an empty one.

    Raises:
        WebhookError: It is something else; the error names the path.
    """
    found = value_at(payload, *path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise WebhookError(f"{_dotted(path)} is {_kind(found)}, not an object")
    return found


def objects_at(payload: Mapping[str, Any], *path: str | int) -> list[dict[str, Any]]:
    """Return the list of objects at a path; absent and null are an empty one.

    Raises:
        WebhookError: It is no list, or holds something else; the error names the place.
    """
    found = value_at(payload, *path)
    if found is None:
        return []
    if not isinstance(found, list):
        raise WebhookError(f"{_dotted(path)} is {_kind(found)}, not a list")
    for place, item in enumerate(found):
        if not isinstance(item, dict):
            raise WebhookError(f"{_dotted((*path, place))} is {_kind(item)}, not an object")
    return found


def value_at(payload: Mapping[str, Any], *path: str | int) -> Any:
    """Return what lies at a path; None when something on the way is absent or null.

    Raises:
        WebhookError: Something on the way is neither an object nor a list.
    """
    found: Any = payload
    for place, step in enumerate(path):
        if found is None:
            return None
        if isinstance(step, int):
            if not isinstance(found, list):
                raise WebhookError(f"{_dotted(path[:place])} is {_kind(found)}, not a list")
            found = found[step] if step < len(found) else None
        else:
            if not hasattr(found, "get"):
                raise WebhookError(f"{_dotted(path[:place])} is {_kind(found)}, not an object")
            found = found.get(step)
    return found


def count_at(payload: Mapping[str, Any], *path: str | int, limit: int = 20) -> int:
    """Return a number of things that stands as number or text; what cannot be read is 0.

    Args:
        payload: What was read.
        path: Where it stands.
        limit: The largest number believed.
    """
    found = value_at(payload, *path)
    if isinstance(found, str):
        found = found.strip()
        number = int(found) if found.isdecimal() and len(found) < 10 else limit * found.isdecimal()
    else:
        number = found if isinstance(found, int) and not isinstance(found, bool) else 0
    return max(0, min(number, limit))


def unix_time(value: Any, *, milliseconds: bool = False) -> datetime | None:
    """Return the moment of a unix time given as number or text; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value) / (1000.0 if milliseconds else 1.0)
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None
    except (ValueError, OverflowError, OSError):
        return None


def iso_time(value: Any) -> datetime | None:
    """Return the moment of an ISO 8601 text; None when it is none."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def header(request: WebhookRequest, name: str) -> str:
    """Return a header of a request.

    Args:
        request: The request.
        name: In lower case.

    Raises:
        WebhookRefused: It is absent or empty; without it nobody can tell who sent this.
    """
    value = request.headers.get(name, "")
    if not value:
        raise WebhookRefused(f"the header {name} is missing")
    return value


def require_signature(valid: bool) -> None:
    """Pass when a signature was good.

    Raises:
        WebhookRefused: It was not.
    """
    if not valid:
        raise WebhookRefused("the signature does not match")


def items(value: Any) -> Iterator[Any]:
    """Yield what a vendor gave as one thing or as a list of things."""
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(step) for step in path) or "the payload"


def _kind(value: Any) -> str:
    return _name(type(value)) if value is not None else "null"


def _name(kind: type) -> str:
    known = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    return known.get(kind, "a number" if kind in (int, float) else kind.__name__)
