"""One event to one channel: transcode, limit, breaker, attempts with their timeout.

Nothing here raises but cancellation: how it went is an ``Outcome``.
"""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded, cancelled_from_within, resume
from roomkit._logging import brief, ids
from roomkit._scope import Delivery, delivery_scope
from roomkit.core.circuit_breaker import CircuitBreaker
from roomkit.core.retry import retry_delay
from roomkit.core.transcoder import DefaultContentTranscoder, adapt
from roomkit.exceptions import InvalidReturnError, ProviderDeliveryError, ProviderError
from roomkit.models.channel import ChannelOutput, RetryPolicy
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from roomkit._clock import Clock
    from roomkit.channels.base import Channel
    from roomkit.core.rate_limiter import TokenBucketRateLimiter
    from roomkit.core.router import ContentTranscoder
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

logger = logging.getLogger("roomkit.delivery")

SENT, FAILED, SKIPPED, RETRY = "sent", "failed", "skipped", "retrying"

# Refusals of ours, not failures of the vendor: they neither trip the breaker nor are retried.
_NOTHING_TO_SEND = frozenset({Reason.EMPTY_MESSAGE, Reason.NO_SESSION, "unsupported_media"})
_NOT_THE_VENDOR = _NOTHING_TO_SEND | {Reason.NO_RECIPIENT}
_NEVER_AGAIN = _NOT_THE_VENDOR | {Reason.TRANSCODING_FAILED}

_NOTHING = ChannelOutput.empty()

SHORTEST_RETRY = 0.2
"""Seconds a recorded delivery waits at least for a breaker."""

LONGEST_TURN = 5.0
"""Seconds a recorded delivery waits in its lane for the limiter; a longer turn is taken later."""


class Outcome:
    """How one delivery or reaction ended.

    Attributes:
        status: ``sent``, ``failed``, ``skipped``, or ``retrying`` when it waits in its record for
            another attempt.
        error: The reason or error code, unless sent.
        provider_message_id: The vendor's id, when it gave one.
        attempts: How often it was tried.
        output: What the channel answered.
        exception: What it raised last.
        retry_in: Seconds until the next attempt, for ``retrying``.
    """

    __slots__ = (
        "attempts",
        "error",
        "exception",
        "output",
        "provider_message_id",
        "retry_in",
        "status",
    )

    def __init__(
        self,
        status: str,
        error: str | None = None,
        provider_message_id: str | None = None,
        attempts: int = 0,
        output: ChannelOutput = _NOTHING,
        exception: BaseException | None = None,
        retry_in: float | None = None,
    ) -> None:
        self.status: str = status
        self.error: str | None = error
        self.provider_message_id: str | None = provider_message_id
        self.attempts: int = attempts
        self.output: ChannelOutput = output
        self.exception: BaseException | None = exception
        self.retry_in: float | None = retry_in

    def __repr__(self) -> str:
        return f"Outcome({self.status!r}, error={self.error!r}, attempts={self.attempts})"

    def record(self) -> dict[str, Any]:
        """Return what ``event.delivery_results`` will say of it."""
        result: dict[str, Any] = {"status": self.status, "attempts": self.attempts}
        if self.provider_message_id is not None:
            result["provider_message_id"] = self.provider_message_id
        if self.error is not None:
            result["error"] = self.error
        return result


class Adapted:
    """One event as its targets get it: transcoded once per distinct set of capabilities."""

    __slots__ = ("_made", "event", "source_binding")

    def __init__(self, event: RoomEvent, source_binding: ChannelBinding | None) -> None:
        self.event: RoomEvent = event
        self.source_binding: ChannelBinding | None = source_binding
        # The capabilities are kept with the result: an id() is only unique while it lives.
        self._made: dict[int, tuple[Any, RoomEvent | None]] | None = None

    def made(self, binding: ChannelBinding) -> tuple[Any, RoomEvent | None] | None:
        """Return what was made for a target of the same capabilities; None if nothing was."""
        return None if self._made is None else self._made.get(id(binding.capabilities))

    async def for_target(
        self, transcoder: ContentTranscoder, binding: ChannelBinding
    ) -> RoomEvent | None:
        """Return the event as this target can carry it; None when it cannot at all."""
        made = self.made(binding)
        if made is not None:
            return made[1]
        capabilities = binding.capabilities
        shared = type(transcoder) is DefaultContentTranscoder
        event = self.event
        content = await adapt(transcoder, event.content, self.source_binding or binding, binding)
        if content is None:
            result = None
        else:
            result = event if content is event.content else event.saying(content)
        if shared:
            if self._made is None:
                self._made = {}
            self._made[id(capabilities)] = (capabilities, result)
        return result


class Sender:
    """Delivers events to channels, and asks channels to react.

    Args:
        transcoder: Makes content fit.
        limiter: Paces channels with a rate limit.
        clock: Times retries and breakers.
        delivery_timeout: Seconds an attempt may take.
        reaction_timeout: Seconds a reaction may take.
    """

    def __init__(
        self,
        transcoder: ContentTranscoder,
        limiter: TokenBucketRateLimiter,
        *,
        clock: Clock | None = None,
        delivery_timeout: float | None = 30.0,
        reaction_timeout: float | None = 120.0,
    ) -> None:
        self.transcoder = transcoder
        self.limiter = limiter
        self._clock = clock
        self._delivery_timeout = delivery_timeout
        self._reaction_timeout = reaction_timeout
        self._breakers: dict[str, CircuitBreaker] = {}

    def breaker(self, channel_id: str) -> CircuitBreaker:
        """Return the channel's circuit breaker, made on first use."""
        breaker = self._breakers.get(channel_id)
        if breaker is None:
            breaker = self._breakers[channel_id] = CircuitBreaker(clock=self._clock)
        return breaker

    def forget(self, channel_id: str) -> None:
        """Forget a channel's breaker and pace."""
        self._breakers.pop(channel_id, None)
        self.limiter.forget(channel_id)

    async def react(
        self,
        channel: Channel,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        delivery_id: str | None,
        tried: int | None = None,
    ) -> Outcome:
        """Let a channel react to an event, once.

        Without a ``delivery_id`` the channel is not told that a delivery of ours is under
        way: it then contains its own failures, as for any direct call.
        """
        outcome = Outcome(SENT, attempts=1 + (tried or 0))
        delivery = Delivery(delivery_id, outcome.attempts) if delivery_id is not None else None
        token = delivery_scope.set(delivery)
        try:
            coro = channel.on_event(event, binding, context)
            outcome.output = _checked(await bounded(coro, self._reaction_timeout))
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            _fail(outcome, exc)
        except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
            _fail(outcome, exc)
        finally:
            delivery_scope.reset(token)
        if tried is not None:
            _put_off(outcome, channel, binding)
        return outcome

    async def deliver(
        self,
        channel: Channel,
        adapted: Adapted,
        binding: ChannelBinding,
        context: RoomContext,
        delivery_id: str | None,
        tried: int | None = None,
    ) -> Outcome:
        """Bring an event to a channel, with the binding's rate limit and retry policy.

        Args:
            channel: The channel.
            adapted: The event.
            binding: Its place in the room.
            context: The room.
            delivery_id: Stays the same over attempts.
            tried: How often it was tried before, where a store keeps a record of it: then
                there is one attempt, and what may be tried again comes back as ``retrying``.
                None: all attempts are made here.
        """
        made = adapted.made(binding)
        event = made[1] if made else await adapted.for_target(self.transcoder, binding)
        if event is None:
            return Outcome(FAILED, Reason.TRANSCODING_FAILED)
        breaker = self.breaker(channel.channel_id)
        if tried is not None and (wait := self._turn(channel, binding)) > LONGEST_TURN:
            return Outcome(RETRY, Reason.RATE_LIMITED, attempts=tried, retry_in=wait)
        if not breaker.allow_request():
            return _broken(breaker, tried)
        settled = False
        try:
            if binding.rate_limit is not None:
                # Waiting for its turn is not the channel's failure: no timeout here.
                await self.limiter.wait(channel.channel_id, binding.rate_limit)
            if tried is not None or binding.retry_policy is None:
                attempt = 1 + (tried or 0)
                delivery = Delivery(delivery_id, attempt) if delivery_id is not None else None
                outcome = await self._attempt(channel, event, binding, context, delivery)
                outcome.attempts = attempt
            else:
                outcome = await self._attempts(channel, event, binding, context, delivery_id)
            if outcome.status == SENT:
                breaker.record_success()
                settled = True
            elif outcome.error not in _NOT_THE_VENDOR:
                breaker.record_failure()
                settled = True
        finally:
            if not settled and not breaker.is_closed:
                # The probe of a half-open breaker taught nothing; let another one try.
                breaker.record_abandoned()
        if tried is not None:
            _put_off(outcome, channel, binding)
        return outcome

    def _turn(self, channel: Channel, binding: ChannelBinding) -> float:
        """Return the seconds until the limiter lets the next delivery through."""
        limit = binding.rate_limit
        return 0.0 if limit is None else self.limiter.delay(channel.channel_id, limit)

    async def _attempts(
        self,
        channel: Channel,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        delivery_id: str | None,
    ) -> Outcome:
        policy = binding.retry_policy
        attempt = 1
        while True:
            delivery = Delivery(delivery_id, attempt) if delivery_id is not None else None
            outcome = await self._attempt(channel, event, binding, context, delivery)
            outcome.attempts = attempt
            if outcome.status == SENT or policy is None or attempt > policy.max_retries:
                return outcome
            if not _repeatable(channel, outcome):
                return outcome
            delay = retry_delay(policy, outcome.exception, attempt - 1)
            logger.info(
                "delivery to %s failed (%s); attempt %d follows in %.1f s",
                channel.channel_id,
                type(outcome.exception).__name__,
                attempt + 1,
                delay,
                extra=ids(channel_id=channel.channel_id, event_id=event.id, attempt=attempt),
            )
            clock = self._clock
            await (clock.sleep(delay) if clock is not None else asyncio.sleep(delay))
            attempt += 1

    async def _attempt(
        self,
        channel: Channel,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        delivery: Delivery | None,
    ) -> Outcome:
        outcome = Outcome(SENT)
        token = delivery_scope.set(delivery)
        try:
            coro: Coroutine[Any, Any, Any] = channel.deliver(event, binding, context)
            if type(coro) is CoroutineType:
                try:
                    yielded = coro.send(None)
                except StopIteration as stop:
                    answer = stop.value
                else:
                    answer = await resume(coro, yielded, self._delivery_timeout)
            else:
                answer = await bounded(coro, self._delivery_timeout)
            outcome.output = _checked(answer)
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            _fail(outcome, exc)
        except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
            _fail(outcome, exc)
        finally:
            delivery_scope.reset(token)
        if delivery is not None and delivery.result is not None:
            outcome.provider_message_id = delivery.result.provider_message_id
        return outcome


def _checked(answer: Any) -> ChannelOutput:
    """Return a channel's answer; None counts as nothing to say."""
    if answer is None or answer is _NOTHING:
        return _NOTHING
    if not isinstance(answer, ChannelOutput):
        raise InvalidReturnError(f"expected ChannelOutput, got {type(answer).__name__}")
    return answer


def _fail(outcome: Outcome, error: BaseException) -> None:
    outcome.status = FAILED
    outcome.error = brief(error)
    outcome.exception = error
    if isinstance(error, ProviderDeliveryError):
        outcome.error = error.code
        if error.code in _NOTHING_TO_SEND:
            outcome.status = SKIPPED
        if error.ambiguous:
            outcome.error = Reason.AMBIGUOUS


def _broken(breaker: CircuitBreaker, tried: int | None) -> Outcome:
    """Return the outcome of a delivery an open breaker does not let through.

    A recorded one waits for it in its record, and no attempt is spent.
    """
    if tried is None:
        return Outcome(FAILED, Reason.CIRCUIT_OPEN)
    wait = max(breaker.retry_after, SHORTEST_RETRY)
    return Outcome(RETRY, Reason.CIRCUIT_OPEN, attempts=tried, retry_in=wait)


def _put_off(outcome: Outcome, channel: Channel, binding: ChannelBinding) -> None:
    """Turn a failure that may be tried again into one that waits for that."""
    policy = binding.retry_policy or RetryPolicy()
    if outcome.status != FAILED or outcome.attempts > policy.max_retries:
        return
    if outcome.error not in _NEVER_AGAIN and _repeatable(channel, outcome):
        outcome.status = RETRY
        outcome.retry_in = retry_delay(policy, outcome.exception, outcome.attempts - 1)


def _repeatable(channel: Channel, outcome: Outcome) -> bool:
    """Return whether the same attempt may be made again."""
    error = outcome.exception
    if isinstance(error, ProviderDeliveryError) and error.ambiguous:
        # The vendor may have taken it: only a key it recognises makes a repeat safe.
        return channel.sends_idempotency_key
    if isinstance(error, ProviderError):
        return error.retryable
    return outcome.status == FAILED
