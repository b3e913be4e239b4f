"""How commands write: plain lines for people, JSON for programs, always to standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_line(text: str = "") -> None:
    """Write one line."""
    sys.stdout.write(f"{text}\n")


def write_json(data: Mapping[str, object]) -> None:
    """Write one indented JSON document."""
    write_line(json.dumps(data, indent=2))
