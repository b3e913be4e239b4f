"""Telnyx SMS and MMS: the requests, the answers, and what they mean."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import httpx
import pytest

from roomkit._scope import Delivery, delivery_scope
from roomkit.exceptions import MissingDependencyError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.providers.telnyx import TelnyxConfig, TelnyxSMSProvider
from roomkit.simulators import TelnyxSimulator, error, ok
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.models.content import EventContent

URL = "https://api.telnyx.com/v2/messages"
KEY = "KEY_made_up_for_tests"
TO = "+14155550100"
PNG = "https://files.test/a.png"
ACCEPTED = {"data": {"id": "msg-1", "type": "SMS", "to": [{"status": "queued"}]}}


class TestTelnyxSuite(VendorSuite):
    """Whatever Telnyx answers, the provider has an answer."""

    secrets = (KEY,)

    def make_simulator(self) -> TelnyxSimulator:
        return TelnyxSimulator(api_key=KEY)

    def make_provider(self, settings: dict[str, Any]) -> TelnyxSMSProvider:
        return TelnyxSMSProvider(TelnyxConfig(**settings))


class TestTelnyxConformance(ProviderConformance):
    """It is a provider like the others."""

    recipient = TO
    secrets = (KEY,)

    async def make_provider(self) -> TelnyxSMSProvider:
        ids = iter(range(1000))
        return a_provider(lambda _: httpx.Response(200, json={"data": {"id": f"msg-{next(ids)}"}}))

    async def make_refused(self) -> TelnyxSMSProvider:
        return a_provider(lambda _: httpx.Response(400, json={"errors": [{"code": "10015"}]}))


def a_provider(
    answer: Callable[[httpx.Request], httpx.Response], **settings: Any
) -> TelnyxSMSProvider:
    """Return a provider whose requests a function answers."""
    config = TelnyxConfig(**{"api_key": KEY, "from_number": "+15145550199", **settings})
    return TelnyxSMSProvider(config, transport=httpx.MockTransport(answer))


async def sent(content: EventContent, to: str = TO, **settings: Any) -> list[httpx.Request]:
    """Send content and return the requests that went out."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ACCEPTED)

    provider = a_provider(answer, **settings)
    result = await provider.send(make_event(content=content), to=to)
    assert result.success, result.error
    await provider.close()
    return requests


class TestRequests:
    """What goes out, to the byte where programs rely on it."""

    async def test_a_text(self) -> None:
        """Sender, recipient and text; the key as a bearer token."""
        (request,) = await sent(TextContent(body="Hello"))
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.content) == {"from": "+15145550199", "to": TO, "text": "Hello"}

    async def test_files_and_profile(self) -> None:
        """Files are a list of URLs, the text their caption, the profile as configured."""
        content = CompositeContent(
            parts=[
                MediaContent(url=PNG, mime_type="image/png", caption="Look"),
                VideoContent(url="https://files.test/b.mp4"),
            ]
        )
        (request,) = await sent(content, messaging_profile_id="profile-1")
        assert json.loads(request.content) == {
            "from": "+15145550199",
            "to": TO,
            "text": "Look",
            "media_urls": [PNG, "https://files.test/b.mp4"],
            "messaging_profile_id": "profile-1",
        }

    async def test_nested_files(self) -> None:
        """A file inside a composite inside a composite goes along [V]."""
        inner = CompositeContent(parts=[MediaContent(url=PNG, mime_type="image/png")])
        (request,) = await sent(CompositeContent(parts=[TextContent(body="x"), inner]))
        assert json.loads(request.content)["media_urls"] == [PNG]

    async def test_another_sender(self) -> None:
        """``from_`` takes the place of the configured number."""
        seen: list[dict[str, Any]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(json.loads(request.content))
            return httpx.Response(200, json=ACCEPTED)

        await a_provider(answer).send(make_event(), to=TO, from_="+15145550111")
        assert seen[0]["from"] == "+15145550111"

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (RichContent(body="*Hi*"), "*Hi*"),
            (TemplateContent(template_id="t", body="Hi"), "Hi"),
            (LocationContent(latitude=1.5, longitude=2.5, label="Pier"), "Pier \u2013 1.5,2.5"),
        ],
        ids=["rich", "template", "location"],
    )
    async def test_other_content(self, content: EventContent, text: str) -> None:
        """Content that is no text is said in words."""
        (request,) = await sent(content)
        assert json.loads(request.content)["text"] == text

    @pytest.mark.parametrize(
        ("text", "lengths"),
        [
            ("a" * 1530, [1530]),
            ("a" * 1531, [1530, 1]),
            ("é" * 671, [670, 1]),
            ("☕" * 671, [670, 1]),
            ("{" * 800, [760, 40]),
        ],
        ids=["ten segments", "eleven", "accents are UCS-2", "emoji", "escaped marks"],
    )
    async def test_long_texts(self, text: str, lengths: list[int]) -> None:
        """What would take more than ten segments is cut, and the simulator takes each piece."""
        async with TelnyxSimulator() as sim:
            provider = TelnyxSMSProvider(TelnyxConfig(**sim.settings))
            result = await provider.send(make_event(body=text), to=TO)
            await provider.close()
            assert result.success, result.metadata
            assert [len(message.text) for message in sim.sent] == lengths
            assert "".join(message.text for message in sim.sent) == text
            ids = [message.id for message in sim.sent]
        assert result.provider_message_id == ids[0]
        assert result.metadata == ({"message_ids": ids} if len(ids) > 1 else {})

    async def test_no_idempotency_key(self) -> None:
        """The SMS route takes none, so none is sent and none is promised."""
        token = delivery_scope.set(Delivery("delivery-1"))
        try:
            (request,) = await sent(TextContent(body="x"))
        finally:
            delivery_scope.reset(token)
        assert "idempotency-key" not in request.headers
        assert not getattr(TelnyxSMSProvider, "sends_idempotency_key", False)


class TestAnswers:
    """What Telnyx answers, as a result."""

    async def test_success_is_bare(self) -> None:
        """The id, and nothing in the metadata."""
        provider = a_provider(lambda _: httpx.Response(200, json=ACCEPTED))
        result = await provider.send(make_event(), to=TO)
        assert (result.success, result.provider_message_id) == (True, "msg-1")
        assert (result.error, result.metadata) == (None, {})

    @pytest.mark.parametrize(
        ("status", "code"), [(400, "invalid_request"), (403, "http_403"), (422, "http_422")]
    )
    async def test_the_vendors_words_are_kept(self, status: int, code: str) -> None:
        """Code and detail of the first error stand in the metadata [V]."""
        said = {"errors": [{"code": "40310", "title": "Bad", "detail": "Invalid 'to' address"}]}
        provider = a_provider(lambda _: httpx.Response(status, json=said))
        result = await provider.send(make_event(), to=TO)
        assert result.error == code
        assert result.metadata == {
            "status_code": status,
            "code": "40310",
            "message": "Invalid 'to' address",
            "retryable": False,
        }

    async def test_a_rate_limit_says_how_long(self) -> None:
        """The wait comes from ``x-ratelimit-reset``, in seconds [V]."""
        said = {"errors": [{"code": "10011", "detail": "Too many"}]}
        headers = {"x-ratelimit-reset": "12"}
        provider = a_provider(lambda _: httpx.Response(429, json=said, headers=headers))
        result = await provider.send(make_event(), to=TO)
        assert result.error == "rate_limit"
        assert result.metadata["retry_after"] == 12.0
        assert result.metadata["retryable"] is True
        assert result.metadata["code"] == "10011"

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"[]", b"null", b'"x"', b"{}", b'{"data": []}', b"[" * 100_000],
        ids=["empty", "html", "list", "null", "text", "no data", "data a list", "deep"],
    )
    async def test_a_success_nobody_can_read(self, body: bytes) -> None:
        """It may have been accepted, so it is never repeated by itself [V]."""
        provider = a_provider(lambda _: httpx.Response(200, content=body))
        result = await provider.send(make_event(), to=TO)
        assert result.error == "invalid_response"
        assert result.metadata == {"status_code": 200, "ambiguous": True, "retryable": False}

    async def test_an_error_without_words(self) -> None:
        """The class stands in for an empty text [V]."""

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("", request=request)

        result = await a_provider(refuse).send(make_event(), to=TO)
        assert result.error == "ConnectError"

    async def test_an_error_raised_by_the_transport(self) -> None:
        """An HTTPStatusError from inside the transport is mapped like an answer."""

        def refuse(request: httpx.Request) -> httpx.Response:
            response = httpx.Response(401, request=request)
            raise httpx.HTTPStatusError("401", request=request, response=response)

        result = await a_provider(refuse).send(make_event(), to=TO)
        assert result.error == "auth_error"

    async def test_a_client_put_in_its_place(self) -> None:
        """Programs may replace the client; ``post`` is called on it."""
        provider = a_provider(lambda _: httpx.Response(500))
        await provider.close()
        client = AsyncMock()
        request = httpx.Request("POST", URL)
        client.post.return_value = httpx.Response(200, json=ACCEPTED, request=request)
        vars(provider)["_client"] = client
        result = await provider.send(make_event(), to=TO)
        assert result.provider_message_id == "msg-1"
        assert client.post.call_args.kwargs["json"]["text"] == "hello"

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=""), "empty_message"),
            (TemplateContent(template_id="t"), "empty_message"),
            (
                MediaContent(url="data:image/png;base64,AA", mime_type="image/png"),
                "unsupported_media",
            ),
            (AudioContent(url="data:audio/ogg;base64,AA"), "unsupported_media"),
        ],
        ids=["text", "template without body", "data url", "recording as data"],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """Nobody is asked, and no repeat would help."""
        provider = a_provider(lambda _: pytest.fail("a request went out"))
        result = await provider.send(make_event(content=content), to=TO)
        assert (result.success, result.error) == (False, code)
        assert result.metadata == {"retryable": False}


class TestParts:
    """A long text that breaks in the middle goes on where it broke."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[TelnyxSimulator]:
        async with TelnyxSimulator() as sim:
            yield sim

    async def test_the_second_attempt_sends_the_rest(self, sim: TelnyxSimulator) -> None:
        """What has arrived does not arrive twice."""
        provider = TelnyxSMSProvider(TelnyxConfig(**sim.settings))
        event = make_event(body="a" * 1530 + "b" * 1530 + "c")
        sim.script(ok(), error(503))
        token = delivery_scope.set(Delivery("d-1"))
        try:
            first = await provider.send(event, to=TO)
            second = await provider.send(event, to=TO)
        finally:
            delivery_scope.reset(token)
            await provider.close()
        assert (first.error, first.metadata["parts_sent"]) == ("http_503", 1)
        assert first.metadata["retryable"] is True
        assert second.success
        assert [message.text[0] for message in sim.sent] == ["a", "b", "c"]
        assert second.metadata["message_ids"] == [message.id for message in sim.sent]


class TestWithoutHttpx:
    """The module imports, the constructor explains."""

    def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The text names package, class and extra."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        config = TelnyxConfig(api_key=KEY, from_number="+1")
        with pytest.raises(ImportError, match="httpx is required for TelnyxSMSProvider") as info:
            TelnyxSMSProvider(config)
        assert isinstance(info.value, MissingDependencyError)
        assert "roomkit[httpx]" in str(info.value)


class TestConfig:
    """What the config promises."""

    def test_defaults(self) -> None:
        """The contract's fields and defaults."""
        config = TelnyxConfig(api_key=KEY, from_number="+15145550199")
        assert (config.messaging_profile_id, config.timeout, config.api_base) == (None, 10.0, None)
        assert config.previous_public_keys == []
        assert KEY not in repr(config)

    async def test_the_provider_knows_its_number(self) -> None:
        """``from_number`` and ``name`` come from config and class."""
        provider = a_provider(lambda _: httpx.Response(500))
        assert provider.from_number == "+15145550199"
        assert provider.name == "TelnyxSMSProvider"
        assert not provider.capabilities().supports_read_receipts
        await provider.close()
