"""A fuse before something that fails: after some failures in a row it is left alone a while."""

from __future__ import annotations

import time
from enum import StrEnum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit._clock import Clock


@unique
class CircuitState(StrEnum):
    """Where a breaker stands.

    CLOSED moves to OPEN when failures reach the threshold; OPEN to HALF_OPEN when the
    recovery time has passed; HALF_OPEN back to OPEN on a failure. A success, or ``reset``,
    leads from anywhere to CLOSED.

    Attributes:
        CLOSED: Requests pass; failures are counted.
        OPEN: Requests are refused.
        HALF_OPEN: One request may try whether all is well again.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts consecutive failures and refuses requests while there are too many.

    Ask ``allow_request`` before a call and record how it ended. It does no I/O and never
    waits. A breaker belongs to one process.

    Args:
        failure_threshold: Failures in a row that open it.
        recovery_timeout: Seconds after which one probe is let through.
        clock: Where time comes from; without one ``time.monotonic`` is asked at each call.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._failure_threshold = failure_threshold
        self._recovery_timeout = recovery_timeout
        self._clock = clock
        self._failure_count = 0
        self._opened_at: float | None = None
        self._probing = False

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.state.value}, failures={self._failure_count})"

    @property
    def state(self) -> CircuitState:
        """The state at this moment; an open breaker becomes half-open by the time alone."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        if self._now() - self._opened_at >= self._recovery_timeout:
            return CircuitState.HALF_OPEN
        return CircuitState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether every request is let through."""
        return self._opened_at is None

    @property
    def is_open(self) -> bool:
        """Whether every request is refused."""
        return self.state is CircuitState.OPEN

    @property
    def is_half_open(self) -> bool:
        """Whether one probe is let through, or is on its way."""
        return self.state is CircuitState.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a request may be let through; 0.0 unless the breaker is open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._recovery_timeout - self._now())

    def allow_request(self) -> bool:
        """Return whether a request may be made now.

        A half-open breaker answers True to the first caller only, until a result is
        recorded or the probe is given back with ``record_abandoned``.
        """
        if self._opened_at is None:
            return True
        if self._probing or self.state is CircuitState.OPEN:
            return False
        self._probing = True
        return True

    def record_success(self) -> None:
        """Close the breaker; a success ends every series of failures."""
        self._close()

    def record_failure(self) -> None:
        """Count a failure; at the threshold, and after a failed probe, open (again) from now."""
        self._failure_count += 1
        if self._failure_count >= self._failure_threshold:
            self._opened_at = self._now()
            self._probing = False

    def record_abandoned(self) -> None:
        """Say that an allowed request ended without a result, such as by cancellation.

        Nothing is counted; a half-open breaker lets the next caller probe. Without it a
        cancelled probe would keep the breaker half-open for ever.
        """
        self._probing = False

    def reset(self) -> None:
        """Forget all failures and close."""
        self._close()

    def _close(self) -> None:
        self._failure_count = 0
        self._opened_at = None
        self._probing = False

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock.monotonic()
