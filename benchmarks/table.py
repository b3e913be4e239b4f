"""The rows as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.model import CATALOGUE, allowed, verdict

if TYPE_CHECKING:
    from benchmarks.model import Row

HEADINGS = ("scenario", "per op", "unit", "floor", "ratio", "small", "target", "")
_WIDTHS = (52, 9, 4, 9, 7, 9, 9, 5)


def heading() -> str:
    """Return the first lines of the table."""
    return _line(HEADINGS) + "\n" + "-" * (sum(_WIDTHS) + len(_WIDTHS) - 1)


def line(row: Row) -> str:
    """Return one row of the table."""
    item = CATALOGUE[row.name]
    ratio = None if not row.floor else row.value / row.floor
    return _line(
        (
            item.title,
            _number(row.value),
            item.unit,
            _number(row.floor),
            _number(ratio),
            _number(row.small),
            _number(allowed(item, row)),
            verdict(item, row),
        )
    )


def as_json(rows: list[Row]) -> str:
    """Return all rows as a JSON list."""
    return json.dumps([_described(row) for row in rows], indent=2)


def _described(row: Row) -> dict[str, Any]:
    item = CATALOGUE[row.name]
    return {
        "name": row.name,
        "title": item.title,
        "unit": item.unit,
        "value": row.value,
        "floor": row.floor,
        "ratio": None if not row.floor else row.value / row.floor,
        "small": row.small,
        "target": allowed(item, row),
        "yardstick_us": row.yardstick,
        "verdict": verdict(item, row),
    }


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _line(cells: tuple[str, ...]) -> str:
    title, *rest = cells
    parts = [title.ljust(_WIDTHS[0])]
    parts += [cell.rjust(width) for cell, width in zip(rest, _WIDTHS[1:], strict=True)]
    return " ".join(parts).rstrip()
