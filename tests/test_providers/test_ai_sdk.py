"""What all providers built on an SDK share: errors, waits, streams, URLs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from roomkit.exceptions import ProviderError
from roomkit.providers.ai._sdk import (
    MAX_ERROR_TEXT,
    ErrorRules,
    accepts,
    clean_api_base,
    close_sdk,
    open_stream,
    split_data_url,
)
from roomkit.providers.ai._waits import parse_duration, wait_hint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = ErrorRules(
    provider="vendor",
    statuses=frozenset({429, 500}),
    retryable=frozenset({"busy"}),
    permanent=frozenset({"no_money"}),
    secrets=lambda: ("sk-a-long-secret", "none"),
)


class StatusError(Exception):
    """An SDK's error with an answer."""

    def __init__(self, text: str, status: int, **extra: Any) -> None:
        super().__init__(text)
        self.status_code = status
        headers = extra.pop("headers", {})
        self.response = SimpleNamespace(headers=headers)
        self.__dict__.update(extra)


class APIConnectionError(Exception):
    """Named as both SDKs name it."""


class LocalProtocolError(Exception):
    """Named as the HTTP clients name a request they cannot send."""


class TestErrors:
    """One table from an SDK's errors to ours."""

    @pytest.mark.parametrize(("status", "again"), [(429, True), (500, True), (400, False)])
    def test_the_status_decides(self, status: int, again: bool) -> None:
        """A status of the set may be tried again, others not."""
        error = RULES.error(StatusError("text", status, request_id="r1"))
        assert (error.retryable, error.status_code, error.provider) == (again, status, "vendor")
        assert (str(error), error.request_id) == ("text", "r1")

    def test_names_in_the_body_decide_where_the_status_says_nothing(self) -> None:
        """An error inside a stream has the status 200 of its beginning."""
        error = RULES.error(StatusError("x", 200, body={"error": {"type": "busy"}}))
        assert error.retryable
        assert error.error_type == "busy"

    def test_a_permanent_name_wins_over_the_status(self) -> None:
        """No waiting heals an empty account, whatever the status and the headers say."""
        exc = StatusError("x", 429, body={"type": "no_money"}, headers={"x-should-retry": "true"})
        assert not RULES.error(exc).retryable

    @pytest.mark.parametrize(("word", "again"), [("true", True), ("false", False)])
    def test_the_vendors_own_word_wins_over_the_status(self, word: str, again: bool) -> None:
        """``x-should-retry`` says it outright."""
        status = 400 if again else 500
        exc = StatusError("x", status, headers={"X-Should-Retry": word})
        assert RULES.error(exc).retryable is again

    def test_no_answer_may_be_tried_again(self) -> None:
        """A connection error is known by its class's name; others of no status are not."""
        assert RULES.error(APIConnectionError("")).retryable
        assert str(RULES.error(APIConnectionError(""))) == "APIConnectionError"
        assert not RULES.error(RuntimeError("broken")).retryable
        assert RULES.error(RuntimeError("broken")).status_code is None

    def test_a_request_that_cannot_be_sent_is_not_repeated(self) -> None:
        """A key with a line break in it fails before the network has a part."""
        exc = APIConnectionError("Connection error.")
        exc.__cause__ = LocalProtocolError("illegal header")
        assert not RULES.error(exc).retryable

    def test_secrets_are_taken_out_of_texts(self) -> None:
        """A vendor may quote a key; placeholders such as ``none`` stay words."""
        error = RULES.error(StatusError("none of sk-a-long-secret fits", 401))
        assert str(error) == "none of [secret] fits"

    def test_a_page_as_a_text_is_cut(self) -> None:
        """A proxy may answer with a whole page of HTML."""
        assert len(str(RULES.error(StatusError("x" * 100_000, 502)))) == MAX_ERROR_TEXT + 3

    def test_reading_quotes_nothing_of_the_answer(self) -> None:
        """An error of our reading names its kind only and is not retryable."""
        with pytest.raises(ProviderError) as caught, RULES.reading("the answer"):
            raise KeyError("what the model said")
        assert "what the model said" not in str(caught.value)
        assert isinstance(caught.value.__cause__, KeyError)
        assert not caught.value.retryable

    @pytest.mark.parametrize("block", [RULES.calling(), RULES.reading("it")])
    def test_a_provider_error_passes_as_it_is(self, block: Any) -> None:
        """What is ours already is not wrapped again."""
        mine = ProviderError("mine")
        with pytest.raises(ProviderError) as caught, block:
            raise mine
        assert caught.value is mine

    def test_cancellation_passes(self) -> None:
        """It is nobody's error."""
        with pytest.raises(asyncio.CancelledError), RULES.calling():
            raise asyncio.CancelledError

    def test_odd_headers_and_bodies_do_no_harm(self) -> None:
        """Fakes have anything in place of headers, and bodies may be lists."""
        exc = StatusError("x", 500, body=["?"])
        exc.response = SimpleNamespace(headers=MagicMock())
        error = RULES.error(exc)
        assert (error.retryable, error.retry_after, error.request_id) == (True, None, None)


class TestWaits:
    """How long a vendor asks to wait."""

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "2"}, 2.0),
            ({"retry-after": "1.5"}, 1.5),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
            ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
            ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "inf"}, None),
            ({}, None),
            ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
            ({"x-ratelimit-reset-tokens": "120ms", "x-ratelimit-reset-requests": "1s"}, 1.0),
            (
                {
                    "x-ratelimit-reset-tokens": "2s",
                    "x-ratelimit-remaining-tokens": "0",
                    "x-ratelimit-reset-requests": "8m",
                    "x-ratelimit-remaining-requests": "99",
                },
                2.0,
            ),
            ({"anthropic-ratelimit-tokens-reset": "2026-01-01T12:00:05Z"}, 5.0),
        ],
    )
    def test_headers(self, headers: dict[str, str], seconds: float | None) -> None:
        """Each vendor's way of saying it, unreadable ones are as if not said."""
        assert wait_hint(headers, now=NOON) == seconds

    def test_a_date_counts_from_the_vendors_own_clock(self) -> None:
        """A machine whose clock is off waits no longer for it."""
        headers = {
            "date": "Thu, 01 Jan 2026 12:00:00 GMT",
            "retry-after": "Thu, 01 Jan 2026 12:00:20 GMT",
        }
        assert wait_hint(headers) == 20.0

    def test_reset_times_mean_nothing_for_other_failures(self) -> None:
        """They stand on every answer."""
        headers = {"x-ratelimit-reset-requests": "6m0s"}
        assert wait_hint(headers, limited=False) is None

    def test_a_retry_info_in_the_body(self) -> None:
        """Google says it in the details of the error."""
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}]
        assert wait_hint({}, {"error": {"details": details}}) == 17.0
        assert wait_hint({}, {"error": {"details": "none"}}) is None

    @pytest.mark.parametrize("text", ["", "s", "1", "1x", "1s ago", "9" * 100 + "s"])
    def test_what_is_no_duration(self, text: str) -> None:
        """Anything else than numbers with units."""
        assert parse_duration(text) is None


class TestCalls:
    """Calling SDKs of many versions."""

    def test_a_keyword_a_method_lacks(self) -> None:
        """Mocks take everything, and so does what cannot be inspected."""

        def old(*, model: str, temperature: float) -> None: ...

        def new(*, model: str) -> None: ...

        assert accepts(old, "temperature")
        assert not accepts(new, "temperature")
        assert accepts(AsyncMock(), "temperature")
        assert accepts(dict, "temperature")

    async def test_closing_whatever_there_is(self) -> None:
        """``close`` or ``aclose``, awaited or not, or neither."""
        waited = SimpleNamespace(aclose=AsyncMock())
        plain = SimpleNamespace(close=MagicMock())
        for thing in (waited, plain, MagicMock(), object()):
            await close_sdk(thing)
        waited.aclose.assert_awaited_once_with()
        plain.close.assert_called_once_with()

    async def test_a_stream_is_closed_when_its_reader_fails(self) -> None:
        """And an error in closing does not hide the reader's."""

        ended: list[str] = []

        class Stream:
            async def __aiter__(self) -> AsyncIterator[int]:
                try:
                    yield 1
                    yield 2
                finally:
                    ended.append("iterator")

            async def close(self) -> None:
                ended.append("stream")
                raise OSError("already gone")

        async def read() -> None:
            async with open_stream(Stream()) as items:
                async for item in items:
                    raise KeyError(item)

        with pytest.raises(KeyError):
            await read()
        assert ended == ["iterator", "stream"]


class TestURLs:
    """URLs of configs and of images."""

    def test_an_api_base(self) -> None:
        """Scheme, host and port; paths are the vendor's."""
        assert clean_api_base("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
        assert clean_api_base(None) is None

    @pytest.mark.parametrize(
        "url", ["host:80", "http://h/v1", "http://u:p@h", "ftp://h", "http://"]
    )
    def test_what_is_none(self, url: str) -> None:
        """Anything more or less is refused."""
        with pytest.raises(ValueError, match="scheme, host and port"):
            clean_api_base(url)

    @pytest.mark.parametrize(
        ("url", "split"),
        [
            ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
            ("data:IMAGE/PNG;name=x;base64,AAAA", ("image/png", "AAAA")),
            ("data:;base64,AAAA", ("text/plain", "AAAA")),
            ("data:text/plain,hello", None),
            ("https://example.org/a.png", None),
            ("data:", None),
        ],
    )
    def test_a_data_url(self, url: str, split: tuple[str, str] | None) -> None:
        """Its type and its base64, where it has any."""
        assert split_data_url(url) == split
