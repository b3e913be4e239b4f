"""Calling something again after it failed, a growing pause before each try."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from roomkit._clock import SystemClock
from roomkit.exceptions import ProviderError
from roomkit.models.channel import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._clock import Clock

__all__ = [
    "RetryPolicy",
    "is_retryable",
    "retry_delay",
    "retry_with_backoff",
    "run_with_retry",
]

MAX_RETRY_AFTER_SECONDS = 3600.0
"""The longest pause a vendor's ``retry_after`` can ask for."""

_SYSTEM_CLOCK = SystemClock()


async def retry_with_backoff[**P, T](
    fn: Callable[P, Awaitable[T]], policy: RetryPolicy, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``await fn(*args, **kwargs)``, trying again after any ``Exception``.

    There are up to ``1 + policy.max_retries`` calls. The pause before retry ``k``, counted
    from 0, is ``min(base_delay_seconds * exponential_base**k, max_delay_seconds)`` without
    jitter. A cancellation is never retried, neither of the call nor of the pause.

    Raises:
        Exception: The last call's error.
    """
    retry = 0
    while True:
        try:
            return await fn(*args, **kwargs)
        except Exception:
            if retry >= policy.max_retries:
                raise
        await asyncio.sleep(policy.delay_for(retry))
        retry += 1


async def run_with_retry[T](
    fn: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    clock: Clock | None = None,
    should_retry: Callable[[Exception], bool] | None = None,
    delay_of: Callable[[Exception, int], float] | None = None,
    on_retry: Callable[[Exception, int, float], None] | None = None,
) -> T:
    """Return ``await fn()``, trying again where that can help.

    Args:
        fn: Called anew for each try, at most ``1 + policy.max_retries`` times.
        policy: How often, and how long the pauses are.
        clock: Whose time the pauses take; the system's by default.
        should_retry: Whether an error is worth another try; by default ``is_retryable``.
        delay_of: Seconds to pause after an error, before the retry of this number (from
            0); by default ``retry_delay`` with this policy.
        on_retry: Told the error, the retry's number and the pause, before the pause.

    Raises:
        Exception: The last call's error. What the callbacks raise goes to the caller too.
    """
    clock = clock or _SYSTEM_CLOCK
    should_retry = should_retry or is_retryable
    retry = 0
    while True:
        try:
            return await fn()
        except Exception as exc:
            if retry >= policy.max_retries or not should_retry(exc):
                raise
            delay = delay_of(exc, retry) if delay_of else retry_delay(policy, exc, retry)
            if on_retry is not None:
                on_retry(exc, retry, delay)
        await clock.sleep(delay)
        retry += 1


def is_retryable(error: Exception) -> bool:
    """Return False for a ``ProviderError`` that says it is permanent, True for all others."""
    return error.retryable if isinstance(error, ProviderError) else True


def retry_delay(policy: RetryPolicy, error: BaseException | None, retry: int) -> float:
    """Return the seconds to pause after ``error``, before retry number ``retry`` (from 0).

    The policy's pause, or the longer one a vendor asked for in ``retry_after``; of the
    latter at most an hour.
    """
    delay = policy.delay_for(retry)
    asked = error.retry_after if isinstance(error, ProviderError) else None
    if asked is None or math.isnan(asked):
        return delay
    return max(delay, min(asked, MAX_RETRY_AFTER_SECONDS))
