"""Pacing and retrying, under a clock that moves only when told."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit._clock import ManualClock
from roomkit.core import rate_limiter
from roomkit.core.rate_limiter import TokenBucketRateLimiter
from roomkit.core.retry import is_retryable, retry_delay, retry_with_backoff, run_with_retry
from roomkit.exceptions import ProviderDeliveryError, ProviderError
from roomkit.models.channel import RateLimit, RetryPolicy


class SteppedClock(ManualClock):
    """A clock that a test without a loop can move."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def monotonic(self) -> float:
        return self.seconds


def allowance(limit: RateLimit, burst_seconds: float) -> list[tuple[float, float]]:
    """Return (capacity, rate a second) of each window, straight from the contract."""
    windows = (
        (limit.max_per_second, 1.0),
        (limit.max_per_minute, 60.0),
        (limit.max_per_hour, 3600.0),
    )
    rates = [given / seconds for given, seconds in windows if given is not None]
    return [(max(1.0, rate * burst_seconds), rate) for rate in rates]


rates = st.none() | st.floats(min_value=0.05, max_value=50.0)
limits = st.builds(
    RateLimit, max_per_second=rates, max_per_minute=rates, max_per_hour=rates
).filter(lambda limit: limit != RateLimit())


class TestAcquire:
    """Tokens without waiting."""

    @pytest.mark.parametrize(
        ("limit", "answers"),
        [
            (RateLimit(max_per_second=3), [True, True, True, False]),
            (RateLimit(max_per_second=1), [True, False]),
            (RateLimit(max_per_second=2.5), [True, True, False]),
            (RateLimit(max_per_second=1, max_per_minute=30), [True, False]),
            (RateLimit(max_per_second=100, max_per_minute=120), [True, True, False]),
            (RateLimit(), [True] * 1000),
        ],
    )
    def test_a_full_bucket_holds_one_second_of_the_rate(
        self, limit: RateLimit, answers: list[bool]
    ) -> None:
        limiter = TokenBucketRateLimiter(clock=SteppedClock(12345.678))
        assert [limiter.acquire("sms", limit) for _ in answers] == answers

    def test_rates_below_one_a_second_work(self) -> None:
        """Regression: such a bucket never held a whole token, so nothing was ever sent."""
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_hour=30)
        assert limiter.acquire("sms", limit)
        clock.seconds += 119.0
        assert not limiter.acquire("sms", limit)
        clock.seconds += 1.0
        assert limiter.acquire("sms", limit)

    def test_burst_seconds_scale_the_capacity(self) -> None:
        limiter = TokenBucketRateLimiter(burst_seconds=10, clock=SteppedClock())
        answers = [limiter.acquire("sms", RateLimit(max_per_second=2)) for _ in range(21)]
        assert answers == [True] * 20 + [False]

    def test_every_window_must_grant(self) -> None:
        """Two a second, but no more than 30 a minute: after the first, one each 2 s."""
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_second=2, max_per_minute=30)
        granted = 0
        for _ in range(120):
            granted += limiter.acquire("sms", limit)
            clock.seconds += 0.5
        assert granted == 30

    def test_a_refusal_spends_nothing_of_the_other_window(self) -> None:
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_second=1, max_per_minute=6)
        assert limiter.acquire("sms", limit)
        for _ in range(50):
            assert not limiter.acquire("sms", limit)
        clock.seconds += 10.0
        assert limiter.acquire("sms", limit)

    def test_channels_have_buckets_of_their_own(self) -> None:
        limiter = TokenBucketRateLimiter(clock=SteppedClock())
        limit = RateLimit(max_per_second=1)
        assert limiter.acquire("a", limit)
        assert limiter.acquire("b", limit)
        assert not limiter.acquire("a", limit)

    def test_without_a_clock_the_time_module_is_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limiter = TokenBucketRateLimiter()
        monkeypatch.setattr("time.monotonic", lambda: 50.0)
        assert limiter.acquire("sms", RateLimit(max_per_second=1))
        assert not limiter.acquire("sms", RateLimit(max_per_second=1))
        monkeypatch.setattr("time.monotonic", lambda: 51.0)
        assert limiter.acquire("sms", RateLimit(max_per_second=1))

    @given(
        limits,
        st.floats(min_value=0.1, max_value=5.0),
        st.floats(min_value=0.0, max_value=1e6),
        st.lists(st.floats(min_value=0.0, max_value=30.0), min_size=1, max_size=60),
    )
    def test_never_more_than_the_rate(
        self, limit: RateLimit, burst: float, start: float, pauses: list[float]
    ) -> None:
        """Property: over any stretch at most the capacity plus the rate times its length."""
        clock = SteppedClock(start)
        limiter = TokenBucketRateLimiter(burst, clock=clock)
        grants: list[float] = []
        for pause in pauses:
            clock.seconds += pause
            grants += [clock.seconds for _ in range(3) if limiter.acquire("sms", limit)]
        assert grants  # the bucket starts full
        for capacity, rate in allowance(limit, burst):
            for i, j in itertools.combinations_with_replacement(range(len(grants)), 2):
                allowed = capacity + rate * (grants[j] - grants[i])
                assert j - i + 1 <= allowed + 1e-4

    @given(limits, st.floats(min_value=0.0, max_value=1e6), st.integers(0, 20))
    def test_the_announced_delay_is_exact(
        self, limit: RateLimit, start: float, before: int
    ) -> None:
        """Property: nothing is granted before ``delay`` has passed, and one is then."""
        clock = SteppedClock(start)
        limiter = TokenBucketRateLimiter(clock=clock)
        for _ in range(before):
            limiter.acquire("sms", limit)
        delay = limiter.delay("sms", limit)
        if delay > 1e-3:
            clock.seconds = start + delay - 1e-3
            assert not limiter.acquire("sms", limit)
        clock.seconds = start + delay
        assert limiter.acquire("sms", limit)


class TestWait:
    """Waiting: in order, exactly as long as needed, and nobody is dropped."""

    async def test_everybody_gets_through_in_order_and_on_time(self) -> None:
        clock = ManualClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_second=2)
        done: list[tuple[int, float]] = []

        async def sender(number: int) -> None:
            await limiter.wait("sms", limit)
            done.append((number, clock.monotonic()))

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(sender(number))
            await clock.advance(10)
        assert [number for number, _ in done] == list(range(8))
        times = [at for _, at in done]
        assert times == pytest.approx([0, 0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], abs=1e-5)

    async def test_no_polling(self) -> None:
        """One sleep a token, however many wait."""
        sleeps: list[float] = []

        class Counting(ManualClock):
            async def sleep(self, seconds: float) -> None:
                sleeps.append(seconds)
                await super().sleep(seconds)

        clock = Counting()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_hour=60)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(limiter.wait("sms", limit))
            await clock.advance(180)
        assert sleeps == pytest.approx([60, 60, 60], abs=1e-5)

    async def test_a_token_is_there_at_once_when_the_bucket_has_one(self) -> None:
        clock = ManualClock()
        await TokenBucketRateLimiter(clock=clock).wait("sms", RateLimit(max_per_hour=1))
        assert clock.monotonic() == 0

    async def test_no_limit_never_waits(self) -> None:
        limiter = TokenBucketRateLimiter(clock=ManualClock())
        for _ in range(1000):
            await limiter.wait("sms", RateLimit())
        assert limiter.size == 0

    async def test_acquire_takes_nothing_from_those_who_wait(self) -> None:
        """The token falls due while its owner has not run yet."""
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_second=1)
        assert limiter.acquire("sms", limit)
        waiter = asyncio.create_task(limiter.wait("sms", limit))
        await asyncio.sleep(0)
        clock.seconds = 1.0
        assert not limiter.acquire("sms", limit)
        await clock.advance(1.5)
        await waiter

    async def test_a_cancelled_wait_takes_no_token_and_keeps_nobody_back(self) -> None:
        clock = ManualClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        limit = RateLimit(max_per_second=1)
        assert limiter.acquire("sms", limit)
        gone = [asyncio.create_task(limiter.wait("sms", limit)) for _ in range(3)]
        last = asyncio.create_task(limiter.wait("sms", limit))
        await clock.advance(0.5)
        for task in gone:
            task.cancel()
        await clock.advance(0.6)
        assert last.done()
        assert all(task.cancelled() for task in gone)

    async def test_channels_do_not_wait_for_each_other(self) -> None:
        clock = ManualClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        slow = RateLimit(max_per_hour=1)
        assert limiter.acquire("slow", slow)
        stuck = asyncio.create_task(limiter.wait("slow", slow))
        await clock.advance(0)
        await asyncio.wait_for(limiter.wait("fast", slow), 1)
        stuck.cancel()

    def test_a_limiter_outlives_an_event_loop(self) -> None:
        limiter = TokenBucketRateLimiter(burst_seconds=0.01)
        limit = RateLimit(max_per_second=500)

        async def contend() -> None:
            await asyncio.gather(*(limiter.wait("sms", limit) for _ in range(8)))

        asyncio.run(contend())
        asyncio.run(contend())

    @given(limits, st.integers(min_value=1, max_value=12))
    @settings(max_examples=40, deadline=None)
    def test_waiters_are_paced_not_dropped(self, limit: RateLimit, senders: int) -> None:
        """Property: all get through, in order, never faster than any window allows."""

        async def scenario() -> list[tuple[int, float]]:
            clock = ManualClock()
            limiter = TokenBucketRateLimiter(clock=clock)
            done: list[tuple[int, float]] = []

            async def sender(number: int) -> None:
                await limiter.wait("sms", limit)
                done.append((number, clock.monotonic()))

            tasks = [asyncio.create_task(sender(number)) for number in range(senders)]
            await clock.advance(senders * 3600 / 0.05)
            assert all(task.done() for task in tasks)
            return done

        done = asyncio.run(scenario())
        assert [number for number, _ in done] == list(range(senders))
        due = [
            max(max(0.0, (n + 1 - capacity) / rate) for capacity, rate in allowance(limit, 1.0))
            for n in range(senders)
        ]
        assert [at for _, at in done] == pytest.approx(due, abs=1e-3)


class TestBuckets:
    """The table of channels is bounded, and forgets only what makes no difference."""

    def test_full_buckets_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rate_limiter, "MAX_BUCKETS", 10)
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        for number in range(200):
            limiter.acquire(f"c{number}", RateLimit(max_per_second=1))
            clock.seconds += 1.0
        assert limiter.size <= 10

    def test_a_spent_bucket_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rate_limiter, "MAX_BUCKETS", 4)
        clock = SteppedClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        slow = RateLimit(max_per_hour=1)
        assert limiter.acquire("slow", slow)
        for number in range(100):
            clock.seconds += 1.0
            limiter.acquire(f"c{number}", RateLimit(max_per_second=1))
        assert not limiter.acquire("slow", slow)
        assert limiter.size <= 12

    def test_forget_drops_the_history(self) -> None:
        limiter = TokenBucketRateLimiter(clock=SteppedClock())
        limit = RateLimit(max_per_hour=1)
        assert limiter.acquire("sms", limit)
        limiter.forget("sms")
        limiter.forget("never seen")
        assert limiter.size == 0
        assert limiter.acquire("sms", limit)


class Flaky:
    """Fails with the given errors, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return (*args, kwargs)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses asked of asyncio, none of them waited for."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return asked


class TestRetryWithBackoff:
    """The public helper: any error, growing pauses, the last error out."""

    async def test_arguments_and_result_pass_through(self) -> None:
        assert await retry_with_backoff(Flaky(), RetryPolicy(), 1, a=2) == (1, {"a": 2})

    async def test_pauses_grow_to_the_longest(self, sleeps: list[float]) -> None:
        fn = Flaky(*[ValueError()] * 5)
        policy = RetryPolicy(max_retries=5, base_delay_seconds=1, max_delay_seconds=5)
        await retry_with_backoff(fn, policy)
        assert sleeps == [1, 2, 4, 5, 5]
        assert fn.calls == 6

    async def test_the_last_error_comes_out(self, sleeps: list[float]) -> None:
        errors = [ValueError("first"), KeyError("second"), OSError("last")]
        with pytest.raises(OSError, match="last"):
            await retry_with_backoff(Flaky(*errors), RetryPolicy(max_retries=2))
        assert len(sleeps) == 2

    async def test_no_retries_means_one_try(self, sleeps: list[float]) -> None:
        fn = Flaky(LookupError())
        with pytest.raises(LookupError):
            await retry_with_backoff(fn, RetryPolicy(max_retries=0))
        assert fn.calls == 1
        assert sleeps == []

    async def test_a_cancellation_is_not_retried(self, sleeps: list[float]) -> None:
        fn = Flaky(asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await retry_with_backoff(fn, RetryPolicy())
        assert fn.calls == 1

    async def test_a_cancelled_pause_ends_the_retries(self) -> None:
        fn = Flaky(ValueError())
        task = asyncio.create_task(retry_with_backoff(fn, RetryPolicy(base_delay_seconds=60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fn.calls == 1


class TestRunWithRetry:
    """The engine's form: a clock, a verdict on each error, a vendor's own wish."""

    async def test_pauses_take_the_clocks_time(self) -> None:
        clock = ManualClock()
        fn = Flaky(ValueError(), ValueError())
        task = asyncio.create_task(run_with_retry(fn, RetryPolicy(), clock=clock))
        await clock.advance(0.9)
        assert fn.calls == 1
        await clock.advance(0.1)
        assert fn.calls == 2
        await clock.advance(2)
        assert task.done()
        assert fn.calls == 3

    async def test_a_permanent_error_is_one_try(self) -> None:
        fn = Flaky(ProviderError("bad number", retryable=False))
        with pytest.raises(ProviderError, match="bad number"):
            await run_with_retry(fn, RetryPolicy(), clock=ManualClock())
        assert fn.calls == 1

    async def test_the_callers_verdict_counts(self) -> None:
        fn = Flaky(LookupError())
        with pytest.raises(LookupError):
            await run_with_retry(
                fn, RetryPolicy(), clock=ManualClock(), should_retry=lambda error: False
            )
        assert fn.calls == 1

    async def test_a_cancellation_is_not_retried(self) -> None:
        fn = Flaky(asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await run_with_retry(fn, RetryPolicy(), should_retry=lambda error: True)
        assert fn.calls == 1

    async def test_the_callers_delay_and_report(self) -> None:
        clock = ManualClock()
        told: list[tuple[str, int, float]] = []
        fn = Flaky(ValueError("one"), ValueError("two"))
        task = asyncio.create_task(
            run_with_retry(
                fn,
                RetryPolicy(),
                clock=clock,
                delay_of=lambda error, retry: 10.0 + retry,
                on_retry=lambda error, retry, delay: told.append((str(error), retry, delay)),
            )
        )
        await clock.advance(21)
        assert task.done()
        assert told == [("one", 0, 10.0), ("two", 1, 11.0)]

    @given(st.integers(0, 6), st.lists(st.booleans(), max_size=10))
    def test_the_number_of_tries(self, retries: int, retryable: list[bool]) -> None:
        """Property: one more than the retries, and none after a permanent error."""

        class NoWait(ManualClock):
            async def sleep(self, seconds: float) -> None:
                return

        errors = [ProviderError("x", retryable=flag) for flag in retryable]
        fn = Flaky(*errors)
        policy = RetryPolicy(max_retries=retries)

        async def attempt() -> bool:
            try:
                await run_with_retry(fn, policy, clock=NoWait())
            except ProviderError:
                return False
            return True

        succeeded = asyncio.run(attempt())
        until_permanent = retryable.index(False) + 1 if False in retryable else len(retryable) + 1
        assert fn.calls == min(retries + 1, until_permanent)
        assert succeeded == (fn.calls == len(retryable) + 1)


class TestRetryDelay:
    """The pause: the policy's, or longer when the vendor says so."""

    @pytest.mark.parametrize(
        ("error", "retry", "expected"),
        [
            (ValueError(), 0, 1.0),
            (ValueError(), 3, 8.0),
            (ValueError(), 100_000, 60.0),
            (ProviderError("x", retry_after=30.0), 0, 30.0),
            (ProviderError("x", retry_after=0.5), 2, 4.0),
            (ProviderDeliveryError("rate_limit", retry_after=90.0), 0, 90.0),
            (ProviderError("x", retry_after=float("nan")), 0, 1.0),
            (ProviderError("x", retry_after=-5.0), 0, 1.0),
            (ProviderError("x", retry_after=float("inf")), 0, 3600.0),
        ],
    )
    def test_table(self, error: Exception, retry: int, expected: float) -> None:
        assert retry_delay(RetryPolicy(), error, retry) == expected

    def test_only_a_provider_can_call_its_error_permanent(self) -> None:
        assert is_retryable(ValueError())
        assert is_retryable(ProviderDeliveryError("rate_limit"))
        assert not is_retryable(ProviderDeliveryError("invalid_number", retryable=False))
