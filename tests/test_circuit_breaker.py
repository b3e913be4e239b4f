"""The breaker: its states, the one probe, and where it takes the time from."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from roomkit._clock import ManualClock
from roomkit.core.circuit_breaker import CircuitBreaker, CircuitState

if TYPE_CHECKING:
    import pytest


def opened(clock: ManualClock, *, threshold: int = 2, recovery: float = 10.0) -> CircuitBreaker:
    """Return a breaker that has just opened."""
    breaker = CircuitBreaker(threshold, recovery, clock=clock)
    for _ in range(threshold):
        breaker.record_failure()
    return breaker


class TestTransitions:
    """Closed, open after failures in a row, half-open by time, closed by a success."""

    def test_starts_closed_and_lets_everything_through(self) -> None:
        breaker = CircuitBreaker()
        assert breaker.state is CircuitState.CLOSED
        assert all(breaker.allow_request() for _ in range(10))

    def test_opens_at_the_fifth_failure_by_default(self) -> None:
        breaker = CircuitBreaker()
        for _ in range(4):
            breaker.record_failure()
        assert breaker.is_closed
        breaker.record_failure()
        assert breaker.is_open
        assert not breaker.allow_request()

    def test_a_success_ends_the_series(self) -> None:
        breaker = CircuitBreaker(failure_threshold=2)
        for _ in range(5):
            breaker.record_failure()
            breaker.record_success()
        assert breaker.is_closed

    async def test_half_open_exactly_at_the_recovery_time(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(9.75)
        assert breaker.is_open
        await clock.advance(0.25)
        assert breaker.is_half_open
        assert breaker.allow_request()

    async def test_a_failed_probe_opens_for_the_whole_time_again(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(10)
        assert breaker.allow_request()
        breaker.record_failure()
        assert breaker.is_open
        await clock.advance(9.75)
        assert not breaker.allow_request()
        await clock.advance(0.25)
        assert breaker.allow_request()

    async def test_a_good_probe_closes_and_counts_anew(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(10)
        assert breaker.allow_request()
        breaker.record_success()
        assert breaker.is_closed
        breaker.record_failure()
        assert breaker.is_closed

    async def test_a_late_failure_while_open_starts_the_time_again(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(6)
        breaker.record_failure()
        await clock.advance(6)
        assert breaker.is_open

    def test_reset_closes(self) -> None:
        breaker = opened(ManualClock())
        breaker.reset()
        assert breaker.is_closed
        assert breaker.allow_request()
        breaker.record_failure()
        assert breaker.is_closed

    @given(st.lists(st.sampled_from(["ok", "fail", "ask", "reset", "drop", "tick"]), max_size=40))
    def test_always_in_exactly_one_state(self, steps: list[str]) -> None:
        """Property: whatever happens, one of the three flags is True, and it is the state's."""
        clock = StepClock()
        breaker = CircuitBreaker(2, 3.0, clock=clock)
        actions = {
            "ok": breaker.record_success,
            "fail": breaker.record_failure,
            "ask": breaker.allow_request,
            "reset": breaker.reset,
            "drop": breaker.record_abandoned,
            "tick": clock.tick,
        }
        for step in steps:
            actions[step]()
            flags = [breaker.is_closed, breaker.is_open, breaker.is_half_open]
            assert flags.count(True) == 1
            assert flags.index(True) == list(CircuitState).index(breaker.state)
            if breaker.is_open:
                assert breaker.retry_after > 0
                assert not breaker.allow_request()
            else:
                assert breaker.retry_after == 0


class StepClock(ManualClock):
    """A clock that a test without a loop can move."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def tick(self) -> None:
        self.seconds += 1.0

    def monotonic(self) -> float:
        return self.seconds


class TestProbe:
    """Half-open lets one request through until its result is known."""

    async def test_one_probe_under_100_racers(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(10)

        async def racer() -> bool:
            await asyncio.sleep(0)
            return breaker.allow_request()

        answers = await asyncio.gather(*(racer() for _ in range(100)))
        assert answers.count(True) == 1

    async def test_time_alone_gives_no_second_probe(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(10)
        assert breaker.allow_request()
        await clock.advance(1000)
        assert not breaker.allow_request()
        assert breaker.is_half_open

    async def test_an_abandoned_probe_can_be_taken_by_the_next(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        await clock.advance(10)
        assert breaker.allow_request()
        breaker.record_abandoned()
        assert breaker.is_half_open
        assert breaker.allow_request()
        assert not breaker.allow_request()


class TestTime:
    """Without an injected clock ``time.monotonic`` is asked at each call."""

    def test_the_time_module_is_asked_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Regression: a clock bound at construction does not see a patched one."""
        breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=60.0)
        monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
        breaker.record_failure()
        assert breaker.is_open
        monkeypatch.setattr(time, "monotonic", lambda: 1060.0)
        assert breaker.is_half_open

    async def test_retry_after_counts_down(self) -> None:
        clock = ManualClock()
        breaker = opened(clock)
        assert breaker.retry_after == 10.0
        await clock.advance(4)
        assert breaker.retry_after == 6.0
        await clock.advance(100)
        assert breaker.retry_after == 0.0

    def test_repr_names_the_state(self) -> None:
        assert repr(opened(ManualClock())) == "CircuitBreaker(open, failures=2)"
