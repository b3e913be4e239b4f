"""What all mocks have in common: a record, a script, a delay."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from roomkit._clock import ManualClock
from roomkit.models.delivery import ProviderResult
from roomkit.providers.email.mock import MockEmailProvider
from roomkit.providers.http import MockHTTPProvider
from roomkit.providers.messenger import MockMessengerProvider
from roomkit.providers.rcs import MockRCSProvider
from roomkit.providers.sms import MockSMSProvider
from roomkit.providers.teams import MockTeamsProvider
from roomkit.providers.whatsapp.mock import MockWhatsAppProvider
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.providers.base import Provider

MOCKS = [
    MockSMSProvider,
    MockRCSProvider,
    MockEmailProvider,
    MockMessengerProvider,
    MockTeamsProvider,
    MockWhatsAppProvider,
    MockHTTPProvider,
]
LIMITED = ProviderResult(success=False, error="rate_limit", metadata={"retry_after": 2.0})

every_mock = pytest.mark.parametrize("mock", MOCKS)


def calls_of(provider: Provider) -> list[dict[str, object]]:
    """Return what a mock remembers."""
    if isinstance(provider, MockRCSProvider):
        return provider.calls
    assert hasattr(provider, "sent")
    sent: list[dict[str, object]] = provider.sent
    return sent


@every_mock
class TestScript:
    """Answers come as scripted, to calls in their order, then success."""

    async def test_scripted_results_then_success(self, mock: type[MockSMSProvider]) -> None:
        provider = mock(results=[LIMITED, LIMITED])
        answers = [await provider.send(an_event(), "+15145550100") for _ in range(3)]
        assert [a.success for a in answers] == [False, False, True]
        assert [a.error for a in answers] == ["rate_limit", "rate_limit", None]
        assert answers[0].metadata == {"retry_after": 2.0}

    async def test_a_scripted_exception_is_raised(self, mock: type[MockSMSProvider]) -> None:
        provider = mock(results=[ConnectionError("gone")])
        with pytest.raises(ConnectionError, match="gone"):
            await provider.send(an_event(), "+15145550100")
        assert (await provider.send(an_event(), "+15145550100")).success

    async def test_failed_calls_are_remembered_too(self, mock: type[MockSMSProvider]) -> None:
        provider = mock(results=[LIMITED, TimeoutError()])
        event = an_event()
        await provider.send(event, "a")
        with pytest.raises(TimeoutError):
            await provider.send(event, "b")
        assert [call["to"] for call in calls_of(provider)] == ["a", "b"]
        assert all(call["event"] is event for call in calls_of(provider))

    async def test_a_script_may_be_endless(self, mock: type[MockSMSProvider]) -> None:
        provider = mock(results=itertools.repeat(LIMITED))
        answers = [await provider.send(an_event(), "a") for _ in range(20)]
        assert not any(answer.success for answer in answers)

    async def test_reset_forgets_and_begins_again(self, mock: type[MockSMSProvider]) -> None:
        provider = mock(results=[LIMITED])
        remembered = calls_of(provider)
        await provider.send(an_event(), "a")
        await provider.send(an_event(), "b")
        await provider.close()
        provider.reset()
        assert remembered == []
        assert not provider.closed
        assert (await provider.send(an_event(), "c")).error == "rate_limit"
        assert [call["to"] for call in remembered] == ["c"]


@every_mock
class TestDelay:
    """A slow vendor is a clock away, not a sleep."""

    async def test_the_answer_comes_after_the_delay(self, mock: type[MockSMSProvider]) -> None:
        clock = ManualClock()
        provider = mock(delay=3.0, clock=clock)
        task = asyncio.create_task(provider.send(an_event(), "a"))
        await clock.advance(2.9)
        assert not task.done()
        assert len(calls_of(provider)) == 1
        await clock.advance(0.1)
        assert (await task).success

    async def test_overlapping_calls_get_their_own_answers(
        self, mock: type[MockSMSProvider]
    ) -> None:
        clock = ManualClock()
        provider = mock(results=[LIMITED], delay=1.0, clock=clock)
        tasks = [asyncio.create_task(provider.send(an_event(), to)) for to in "ab"]
        await clock.advance(1.0)
        assert [(await task).success for task in tasks] == [False, True]

    async def test_a_waiting_call_can_be_cancelled(self, mock: type[MockSMSProvider]) -> None:
        clock = ManualClock()
        provider = mock(delay=60.0, clock=clock)
        task = asyncio.create_task(provider.send(an_event(), "a"))
        await clock.advance(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert clock.sleepers == 0

    async def test_without_a_clock_the_system_waits(self, mock: type[MockSMSProvider]) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert (await mock(delay=0.01).send(an_event(), "a")).success
        assert loop.time() - before >= 0.009


class TestAnswers:
    """An unscripted call succeeds under an id of its own."""

    @pytest.mark.parametrize("mock", [m for m in MOCKS if m is not MockRCSProvider])
    async def test_ids_are_hexadecimal_and_differ(self, mock: type[MockSMSProvider]) -> None:
        provider = mock()
        answers = [await provider.send(an_event(), "a") for _ in range(3)]
        ids = [answer.provider_message_id or "" for answer in answers]
        assert all(answer.success and answer.metadata == {} for answer in answers)
        assert len(set(ids)) == 3
        assert all(UUID(hex=i).hex == i for i in ids)

    @every_mock
    async def test_names_and_closing(self, mock: type[MockSMSProvider]) -> None:
        provider = mock()
        assert provider.name == mock.__name__
        assert not provider.closed
        await provider.close()
        await provider.close()
        assert provider.closed

    @pytest.mark.parametrize(
        "mock", [MockHTTPProvider, MockMessengerProvider, MockTeamsProvider, MockWhatsAppProvider]
    )
    async def test_plain_mocks_remember_event_and_recipient(
        self, mock: type[MockHTTPProvider]
    ) -> None:
        provider = mock()
        event = an_event()
        await provider.send(event, to="bob")
        assert provider.sent == [{"event": event, "to": "bob"}]
