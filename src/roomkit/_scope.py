"""Which delivery the current task is working on.

A channel or provider asks ``current_delivery()`` for the id that stays the same over
repeats, so that a vendor with idempotency keys recognises them, and leaves the vendor's
answer there, so that the engine can record it.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult


@dataclass(slots=True)
class Delivery:
    """One attempt to bring one event to one channel.

    Attributes:
        id: The same for every attempt, also after a crash.
        attempt: 1 for the first.
        result: The vendor's answer, set by the channel.
    """

    id: str
    attempt: int = 1
    result: ProviderResult | None = None


delivery_scope: ContextVar[Delivery | None] = ContextVar("roomkit_delivery", default=None)


def current_delivery() -> Delivery | None:
    """Return the delivery being attempted by this task, or None outside of one."""
    return delivery_scope.get()
