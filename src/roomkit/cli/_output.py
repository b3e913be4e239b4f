"""How commands write: plain lines for people, JSON for programs, both to standard output.

Only errors go to standard error.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# To the end of the text: a password may hold any character, spaces and quotes as well.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://).*", re.DOTALL)


def without_addresses(text: str) -> str:
    """Return a text up to the first URL, of which only the scheme is left."""
    return _ADDRESS.sub(r"\1...", text)


def write_error(text: str) -> None:
    """Write one line to standard error, however many the text has."""
    sys.stderr.write(f"{' '.join(text.split())}\n")


def write_line(text: str = "") -> None:
    """Write one line."""
    sys.stdout.write(f"{text}\n")


def write_json(data: Mapping[str, object]) -> None:
    """Write one indented JSON document."""
    write_line(json.dumps(data, indent=2))
