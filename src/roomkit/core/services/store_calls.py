"""Calls of the store outside a commit: none is waited for longer than a bound.

A database that has stopped to answer must not keep its callers, and the rooms they hold, for
ever. Commits have a bound of their own in ``timeline``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, resume
from roomkit.exceptions import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

STORE_TIMEOUT = 30.0
"""Seconds a call of the store may take."""


async def answered[T](call: Coroutine[Any, Any, T]) -> T:
    """Return the store's answer to a call.

    Raises:
        StoreUnavailableError: It did not come within ``STORE_TIMEOUT``.
    """
    # The first step runs right here: a store that does not suspend costs no timer.
    try:
        yielded = call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    try:
        late: T = await resume(call, yielded, STORE_TIMEOUT)
    except DeadlineExceeded as exc:
        raise StoreUnavailableError(
            f"the store did not answer within {STORE_TIMEOUT:g} s"
        ) from exc
    return late
