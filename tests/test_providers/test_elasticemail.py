"""Elastic Email: mail out as the contract has it, and notifications."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import WebhookError
from roomkit.models.content import MediaContent, RichContent, TemplateContent, TextContent
from roomkit.models.delivery import DeliveryStatus
from roomkit.providers.elasticemail import (
    ElasticEmailConfig,
    ElasticEmailProvider,
    parse_elasticemail_notification,
)
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import ElasticEmailSimulator
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance, WebhookHandlerConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.event import EventContent
    from roomkit.providers.webhook import WebhookHandler

KEY = "MADE-UP-ELASTIC-KEY"
ANA = "ana@example.org"
TAKEN = {"success": True, "data": {"transactionid": "t-1", "messageid": "m-1"}}


def answering(body: Any, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    """Return a vendor that always answers the same."""
    return lambda request: httpx.Response(status, json=body, request=request)


def provider(
    answer: Callable[[httpx.Request], httpx.Response] | None = None,
    seen: list[httpx.Request] | None = None,
    **settings: Any,
) -> ElasticEmailProvider:
    """Return a provider whose requests are kept and answered by a function."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return (answer or answering(TAKEN))(request)

    given_settings = {"api_key": KEY, "from_email": "bot@in.example.com", **settings}
    config = ElasticEmailConfig(**given_settings)
    return ElasticEmailProvider(config, transport=httpx.MockTransport(handle))


async def posted(
    content: EventContent, metadata: dict[str, Any] | None = None, **settings: Any
) -> dict[str, str]:
    """Return the form that goes to the vendor for a content."""
    seen: list[httpx.Request] = []
    vendor = provider(seen=seen, **settings)
    event = make_event(content=content, metadata=metadata or {})
    assert (await vendor.send(event, to=ANA, subject="Hi")).success
    await vendor.close()
    assert seen[0].headers["content-type"] == "application/x-www-form-urlencoded"
    return dict(parse_qsl(seen[0].content.decode(), keep_blank_values=True))


class TestAtTheSimulator(VendorSuite):
    """Everything every provider must do; every error status is ``http_<n>``."""

    recipient = ANA
    secrets = (KEY,)
    gives_wait = False
    codes: ClassVar = {status: f"http_{status}" for status in (400, 401, 429)}

    def make_simulator(self) -> ElasticEmailSimulator:
        return ElasticEmailSimulator()

    def make_provider(self, settings: dict[str, Any]) -> ElasticEmailProvider:
        return ElasticEmailProvider(ElasticEmailConfig(**settings))


class TestProvider(ProviderConformance):
    """It is a provider."""

    recipient = ANA
    secrets = (KEY,)

    async def make_provider(self) -> ElasticEmailProvider:
        ids = iter(range(1000))

        def answer(request: httpx.Request) -> httpx.Response:
            body = {"success": True, "data": {"transactionid": f"t{next(ids)}"}}
            return httpx.Response(200, json=body, request=request)

        return provider(answer)

    async def make_refused(self) -> ElasticEmailProvider:
        return provider(answering({"success": False, "error": "Incorrect apikey"}))


class TestRequest:
    """The form is what the contract says."""

    async def test_a_text(self) -> None:
        """Both bodies are always there, one of them empty."""
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, from_name="Bot")
        result = await vendor.send(make_event(body="caf\u00e9 & cr\u00e8me"), to=ANA, subject="Hi")
        (request,) = seen
        assert str(request.url) == "https://api.elasticemail.com/v2/email/send"
        assert dict(parse_qsl(request.content.decode(), keep_blank_values=True)) == {
            "apikey": KEY,
            "from": "bot@in.example.com",
            "to": ANA,
            "subject": "Hi",
            "bodyText": "caf\u00e9 & cr\u00e8me",
            "bodyHtml": "",
            "isTransactional": "true",
            "fromName": "Bot",
        }
        assert result.provider_message_id == "t-1"
        assert result.metadata == {"messageid": "m-1"}

    async def test_formatted_content(self) -> None:
        """The body is HTML as it is; a plain text goes beside it."""
        form = await posted(RichContent(body="**Hi**"))
        assert (form["bodyText"], form["bodyHtml"]) == ("", "**Hi**")
        form = await posted(RichContent(body="<b>Hi</b>", format="html", plain_text="Hi"))
        assert (form["bodyText"], form["bodyHtml"]) == ("Hi", "<b>Hi</b>")

    async def test_settings(self) -> None:
        """A campaign, another server, an address for answers, a subject for want of one."""
        form = await posted(TextContent(body="x"), is_transactional=False, reply_to="in@x.test")
        assert (form["isTransactional"], form["replyTo"]) == ("false", "in@x.test")
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, api_base="http://127.0.0.1:1", default_subject="News")
        await vendor.send(make_event(), to=ANA, from_="x@y.test")
        assert str(seen[0].url) == "http://127.0.0.1:1/v2/email/send"
        form = dict(parse_qsl(seen[0].content.decode()))
        assert (form["from"], form["subject"]) == ("x@y.test", "News")

    async def test_threads(self) -> None:
        """Headers go as custom headers, each with its name."""
        form = await posted(TextContent(body="x"), {"in_reply_to": "b@x", "references": ["a@x"]})
        assert form["headers_inreplyto"] == "In-Reply-To: <b@x>"
        assert form["headers_references"] == "References: <a@x> <b@x>"

    async def test_attachments(self) -> None:
        """A file in a data URL is uploaded beside the fields."""
        async with ElasticEmailSimulator() as sim:
            vendor = ElasticEmailProvider(ElasticEmailConfig(**sim.settings))
            media = MediaContent(url="data:image/png;base64,cG5n", mime_type="image/png")
            result = await vendor.send(make_event(content=media), to=ANA)
            await vendor.close()
            assert result.success
            assert sim.sent[0].data["attachment:attachment1.png"] == "image/png 3"
            assert sim.sent[0].data["bodyText"] == " "

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=""), "empty_message"),
            (TemplateContent(template_id="t"), "empty_message"),
            (MediaContent(url="data:;", mime_type="a/b"), "unsupported_media"),
        ],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """The vendor is not asked."""
        seen: list[httpx.Request] = []
        result = await provider(seen=seen).send(make_event(content=content), to=ANA)
        assert (result.error, seen) == (code, [])

    @pytest.mark.parametrize("to", ["a@x.test;b@x.test", "a@x.test, b@x.test", "a@x.test\nb"])
    async def test_one_recipient(self, to: str) -> None:
        """The vendor takes lists of addresses; we never do."""
        seen: list[httpx.Request] = []
        result = await provider(seen=seen).send(make_event(), to=to)
        assert (result.error, seen) == ("invalid_recipient", [])


class TestAnswers:
    """A 200 that says no, and stranger ones."""

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ({"success": False, "error": "Incorrect apikey"}, "Incorrect apikey"),
            ({"success": False, "error": None}, "unknown_error"),
            ({"error": ["x"]}, "unknown_error"),
            ({}, "unknown_error"),
            ({"success": False, "error": f"bad key {KEY}"}, "bad key ***"),
        ],
    )
    async def test_no(self, body: dict[str, Any], error: str) -> None:
        """The vendor's text is the error, without our key; it is not tried again by itself."""
        result = await provider(answering(body)).send(make_event(), to=ANA)
        assert (result.success, result.error) == (False, error)
        assert result.metadata == {"status_code": 200, "retryable": False}

    @pytest.mark.parametrize("data", [None, {}, [], "x", {"transactionid": 3}])
    async def test_yes_without_an_id(self, data: Any) -> None:
        """It is a success all the same."""
        body = {"success": True, "data": data}
        result = await provider(answering(body)).send(make_event(), to=ANA)
        assert (result.success, result.provider_message_id, result.metadata) == (True, None, {})

    @pytest.mark.parametrize("body", [[], "x", None, 3])
    async def test_no_object(self, body: Any) -> None:
        """Nobody knows whether the vendor took it."""
        result = await provider(answering(body)).send(make_event(), to=ANA)
        assert result.error == "invalid_response"
        assert result.metadata["ambiguous"] is True

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"api_key": "wrong"}, "Incorrect apikey"),
            ({"from_email": "x@y.test"}, "The from address is not verified"),
        ],
    )
    async def test_the_simulator_refuses(self, settings: dict[str, Any], error: str) -> None:
        """As the vendor: with 200 and a text."""
        async with ElasticEmailSimulator() as sim:
            config = ElasticEmailConfig(**{**sim.settings, **settings})
            vendor = ElasticEmailProvider(config)
            assert (await vendor.send(make_event(), to=ANA)).error == error
            await vendor.close()

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to install."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(ImportError, match="httpx is required for ElasticEmailProvider"):
            ElasticEmailProvider(ElasticEmailConfig(api_key=KEY, from_email="a@b.test"))


QUERY = {
    "transaction": "t-1",
    "to": ANA,
    "from": "bot@in.example.com",
    "date": "2026-11-21T10:00:00+00:00",
    "status": "Error",
    "category": "NoMailbox",
    "messageid": "m-1",
    "token": "secret",
}


def notification(**query: str) -> WebhookRequest:
    """Return a call of the vendor's."""
    return WebhookRequest(
        method="GET",
        url="https://hooks.test/webhooks/mail",
        headers={},
        query={**QUERY, **query},
        body=b"",
        channel_id="mail",
    )


class TestHandler(WebhookHandlerConformance):
    """The reader of notifications does what every reader does."""

    def make_handler(self) -> WebhookHandler:
        return provider().webhook()

    def good_request(self) -> WebhookRequest:
        return notification()

    async def test_it_is_not_signed(self) -> None:
        """The endpoint needs a secret of its own; it is a GET, and a bare one tries the URL."""
        handler = self.make_handler()
        assert (handler.signed, handler.methods) == (False, {"GET"})
        assert handler.read(replace(notification(), query={})) == []
        await handler.verify(notification())


class TestNotifications:
    """What became of mail we sent."""

    def test_a_failure(self) -> None:
        """The category is its code; the endpoint's token is not kept."""
        raw = {name: value for name, value in QUERY.items() if name != "token"}
        assert parse_elasticemail_notification(QUERY) == DeliveryStatus(
            provider="elasticemail",
            message_id="t-1",
            status="failed",
            recipient=ANA,
            sender="bot@in.example.com",
            error_code="NoMailbox",
            timestamp="2026-11-21T10:00:00+00:00",
            raw=raw,
        )

    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("Sent", "sent"),
            ("Opened", "opened"),
            ("Clicked", "clicked"),
            ("AbuseReport", "complained"),
            ("Unsubscribed", "unsubscribed"),
            ("Novel", "novel"),
            ("", "unknown"),
        ],
    )
    def test_words(self, word: str, status: str) -> None:
        """The vendor's words in ours; a moment of another form is kept as it is."""
        found = parse_elasticemail_notification({"status": word, "date": "11/21/2026 10:00 AM"})
        assert (found.status, found.error_code) == (status, None)
        assert found.timestamp == "11/21/2026 10:00 AM"

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(sorted(QUERY)),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.just([]), st.just({})),
    )
    def test_mutated_ones(self, name: str, value: Any) -> None:
        """A wrong value gives a status or a WebhookError."""
        try:
            assert parse_elasticemail_notification({**QUERY, name: value}).provider
        except WebhookError:
            assert not isinstance(value, str)
