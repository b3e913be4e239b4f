"""How long a vendor asks to wait, from the headers and the body of its refusal. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Go's way of writing durations, which OpenAI and Google use: "6m0s", "1s", "250ms", "1.5s".
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|ns|h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(ms|us|ns|h|m|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

# ``x-ratelimit-reset-tokens`` at OpenAI, ``anthropic-ratelimit-tokens-reset`` at Anthropic.
_RESET = re.compile(r"(?P<head>x-ratelimit-|anthropic-ratelimit-)(?P<rest>[a-z-]+)", re.ASCII)


def wait_hint(
    headers: Mapping[str, str],
    body: Any = None,
    *,
    limited: bool = True,
    now: datetime | None = None,
) -> float | None:
    """Return the seconds a vendor asks to wait, or None when it does not say.

    The first of these that can be read: ``retry-after-ms``, ``Retry-After`` (seconds or a
    date), a ``RetryInfo`` in the body, the reset times of the limits that are used up.

    Args:
        headers: Of the response, keys in lower case.
        body: Its decoded JSON.
        limited: Whether a rate limit was the reason. The reset times stand on every answer
            and mean nothing for another failure.
        now: The time, for hints that are dates; by default the response's own ``Date``, so
            that a clock that is off does no harm, else the machine's.
    """
    now = now or _as_date(headers.get("date", "")) or datetime.now(UTC)
    milliseconds = _as_number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    for wait in (_moment(headers.get("retry-after", ""), now), _retry_info(body)):
        if wait is not None:
            return wait
    return _reset(headers, now) if limited else None


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as ``6m0s`` or ``17s``; None if it is none."""
    text = text.strip()
    if len(text) > 64 or _DURATION.fullmatch(text) is None:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def _moment(text: str, now: datetime) -> float | None:
    """Return the seconds until what a header says: a number, a duration or a date."""
    for wait in (_as_number(text), parse_duration(text)):
        if wait is not None:
            return wait
    date = _as_date(text)
    return None if date is None else max(0.0, (date - now).total_seconds())


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _as_date(text: str) -> datetime | None:
    """Return the moment an HTTP date or an ISO date names; without a zone it is in UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return None


def _retry_info(body: Any) -> float | None:
    """Return the delay of a google.rpc.RetryInfo among the details of an error body."""
    error = body.get("error", body) if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        wait = parse_duration(delay) if isinstance(delay, str) else None
        if wait is not None:
            return wait
    return None


def _reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return when the limits that are used up are whole again; the longest of them counts."""
    waits: list[float] = []
    spent: list[float] = []
    for key, value in headers.items():
        found = _RESET.fullmatch(key)
        if found is None or "reset" not in found["rest"]:
            continue
        wait = _moment(value, now)
        if wait is None:
            continue
        waits.append(wait)
        left = headers.get(key.replace("reset", "remaining"), "")
        if left.strip() == "0":
            spent.append(wait)
    return max(spent or waits, default=None)
