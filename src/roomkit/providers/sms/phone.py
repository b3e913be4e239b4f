"""Phone numbers in the one form vendors understand: E.164, such as ``+14185551234``.

The knowledge is in the optional package ``phonenumbers`` (extra ``phonenumbers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from types import ModuleType

_SHORTEST_INTERNATIONAL = 10
"""Shorter digits without a ``+`` are never read as an international number."""


def normalize_phone(number: str, default_region: str = "US") -> str:
    """Return ``number`` in E.164.

    A number without ``+`` is read, in this order, as the full number of ``default_region``
    (``14185551234``), as a national number of it (``418-555-1234``), and as the full number of
    another country (``33612345678``); the first valid reading counts.

    Args:
        number: As a person or a vendor wrote it.
        default_region: The ISO 3166 country code a national number belongs to.

    Raises:
        ValueError: (an InvalidInputError) It cannot be read, or no reading is valid.
        ImportError: (a MissingDependencyError) ``phonenumbers`` is not installed.
    """
    lib = require("phonenumbers", user="phone normalization", extra="phonenumbers")
    text = number.strip()
    region = default_region.upper()
    full: Any = None
    if text[:1].isdecimal() and len(text) >= _SHORTEST_INTERNATIONAL:
        full = _valid(lib, _read(lib, f"+{text}", None))
        if full is not None and full.country_code == lib.country_code_for_region(region):
            return _e164(lib, full)
    local = _read(lib, text, region)
    best = _valid(lib, local) or full
    if best is not None:
        return _e164(lib, best)
    if local is None:
        raise InvalidInputError(f"Cannot parse phone number: {number}")
    raise InvalidInputError(f"Invalid phone number: {number}")


def is_valid_phone(number: str, default_region: str = "US") -> bool:
    """Tell whether ``normalize_phone`` can read ``number``.

    Also False, never an error, when ``phonenumbers`` is not installed.
    """
    try:
        normalize_phone(number, default_region)
    except (ValueError, ImportError):
        return False
    return True


def _read(lib: ModuleType, text: str, region: str | None) -> Any:
    """Return the parsed number, or None when it is none."""
    try:
        return lib.parse(text, region)
    except lib.NumberParseException:
        return None


def _valid(lib: ModuleType, parsed: Any) -> Any:
    """Return ``parsed`` when such a number can exist, else None."""
    return parsed if parsed is not None and lib.is_valid_number(parsed) else None


def _e164(lib: ModuleType, parsed: Any) -> str:
    text: str = lib.format_number(parsed, lib.PhoneNumberFormat.E164)
    return text
