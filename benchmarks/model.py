"""What a benchmark is and what it gives; the catalogue of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAGE_YARDSTICK = 27.0
"""Microseconds the yardstick took on the machine the targets were written on."""

GROWTH = 1.15
"""How much dearer a flat operation may look when its room is large: the clock is noisy."""

NOISE = 0.25
"""What two measurements of the same thing may differ by, in the unit of a row."""

type Scale = Literal["yardstick", "floor", "none"]
"""What a target is scaled by: the yardstick, the row's own floor, or nothing."""


class WrongResultError(AssertionError):
    """A benchmark did not do its work: its time means nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a scenario measured, all in the scenario's unit.

    Attributes:
        value: What one operation of RoomKit costs.
        floor: What one operation costs in a bare loop that does only what must be done.
        small: The cost of the same operation in a small room or table, where the row
            promises that size does not matter.
    """

    value: float
    floor: float | None = None
    small: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table.

    Attributes:
        name: For ``--only``.
        title: For people.
        unit: ``us``, ``ms`` or ``B``, for one operation.
        target: What it should cost at most, in its unit, on the page's machine; None: shown
            for comparison only.
        scale: What the target is scaled by.
        page_floor: The row's floor on the page's machine, where ``scale`` is ``floor``.
        run: Measures it; raises WrongResultError when the work was not done.
    """

    name: str
    title: str
    unit: str
    target: float | None
    scale: Scale
    page_floor: float | None
    run: Callable[[], Awaitable[Figure]]


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario's figures as one process measured them."""

    name: str
    value: float
    floor: float | None
    small: float | None
    yardstick: float


CATALOGUE: dict[str, Scenario] = {}
"""All scenarios by name, in the order of the table."""


def scenario[F: Callable[[], Awaitable[Figure]]](
    name: str,
    title: str,
    *,
    target: float | None,
    unit: str = "us",
    scale: Scale = "yardstick",
    page_floor: float | None = None,
) -> Callable[[F], F]:
    """Put a function into the catalogue; see ``Scenario`` for the arguments."""

    def enter(run: F) -> F:
        CATALOGUE[name] = Scenario(name, title, unit, target, scale, page_floor, run)
        return run

    return enter


def check(done: bool, what: str) -> None:
    """Raise WrongResultError unless the work was done."""
    if not done:
        raise WrongResultError(what)


def allowed(item: Scenario, row: Row) -> float | None:
    """Return the target on the machine of ``row``, in the scenario's unit."""
    if item.target is None or item.scale == "none":
        return item.target
    if item.scale == "floor":
        if row.floor is None or item.page_floor is None:
            raise ValueError(f"{item.name} has no floor to scale by")
        return item.target * row.floor / item.page_floor
    return item.target * row.yardstick / PAGE_YARDSTICK


def verdict(item: Scenario, row: Row) -> str:
    """Return ``ok``, ``over``, ``grows`` (not flat), or nothing where there is no target."""
    limit = allowed(item, row)
    if limit is not None and row.value > limit:
        return "over"
    if row.small is not None and row.value > row.small * GROWTH + NOISE:
        return "grows"
    return "ok" if limit is not None else ""
