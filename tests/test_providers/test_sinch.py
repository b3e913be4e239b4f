"""Sinch SMS and MMS: the requests, the answers, and what they mean."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from roomkit._scope import Delivery, delivery_scope
from roomkit.models.content import CompositeContent, MediaContent, TemplateContent, TextContent
from roomkit.providers.sinch import SinchConfig, SinchSMSProvider
from roomkit.simulators import SinchSimulator, error, ok
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.content import EventContent

TOKEN = "token_made_up_for_tests"
SECRET = "secret_made_up_for_tests"
URL = "https://us.sms.api.sinch.com/xms/v1/plan-1/batches"
TO = "+14155550100"
PNG = "https://files.test/a.png"
OTHER = "https://files.test/b.png"


class TestSinchSuite(VendorSuite):
    """Whatever Sinch answers, the provider has an answer."""

    secrets = (TOKEN, SECRET)
    codes: ClassVar[dict[int, str]] = {400: "sinch_syntax_constraint_violation"}
    gives_wait = False

    def make_simulator(self) -> SinchSimulator:
        return SinchSimulator(api_token=TOKEN, webhook_secret=SECRET)

    def make_provider(self, settings: dict[str, Any]) -> SinchSMSProvider:
        return SinchSMSProvider(SinchConfig(**settings))


class TestSinchConformance(ProviderConformance):
    """It is a provider like the others."""

    recipient = TO
    secrets = (TOKEN,)

    async def make_provider(self) -> SinchSMSProvider:
        ids = iter(range(1000))
        return a_provider(lambda _: httpx.Response(201, json={"id": f"b-{next(ids)}"}))

    async def make_refused(self) -> SinchSMSProvider:
        said = {"code": "syntax_invalid_json", "text": "No"}
        return a_provider(lambda _: httpx.Response(400, json=said))


def a_provider(
    answer: Callable[[httpx.Request], httpx.Response], **settings: Any
) -> SinchSMSProvider:
    """Return a provider whose requests a function answers."""
    fields = {"service_plan_id": "plan-1", "api_token": TOKEN, "from_number": "+15145550199"}
    config = SinchConfig(**(fields | settings))
    return SinchSMSProvider(config, transport=httpx.MockTransport(answer))


async def sent(content: EventContent, **settings: Any) -> list[httpx.Request]:
    """Send content and return the requests that went out."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(201, json={"id": f"b-{len(requests)}"})

    provider = a_provider(answer, **settings)
    result = await provider.send(make_event(content=content), to=TO)
    assert result.success, result.error
    await provider.close()
    return requests


class TestRequests:
    """What goes out, to the byte where programs rely on it."""

    async def test_a_text(self) -> None:
        """The recipient is a list; the token a bearer token."""
        (request,) = await sent(TextContent(body="Hello"))
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert json.loads(request.content) == {
            "from": "+15145550199",
            "to": [TO],
            "body": "Hello",
        }

    async def test_a_file(self) -> None:
        """An MMS has a type of its own, the text beside the URL."""
        content = MediaContent(url=PNG, mime_type="image/png", caption="Look")
        (request,) = await sent(content)
        assert json.loads(request.content) == {
            "from": "+15145550199",
            "to": [TO],
            "type": "mt_media",
            "body": {"url": PNG, "message": "Look"},
        }

    async def test_a_file_without_words(self) -> None:
        """Then there is no message."""
        (request,) = await sent(MediaContent(url=PNG, mime_type="image/png"))
        assert json.loads(request.content)["body"] == {"url": PNG}

    async def test_another_sender(self) -> None:
        """``from_`` takes the place of the configured number."""
        seen: list[Any] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(json.loads(request.content)["from"])
            return httpx.Response(201, json={"id": "b"})

        await a_provider(answer).send(make_event(), to=TO, from_="Acme")
        assert seen == ["Acme"]

    @pytest.mark.parametrize("region", ["us", "eu", "au", "br", "ca"])
    async def test_regions(self, region: str) -> None:
        """Each region has a host; a plan's id is escaped."""
        (request,) = await sent(TextContent(body="x"), region=region, service_plan_id="a/b")
        assert request.url.host == f"{region}.sms.api.sinch.com"
        assert request.url.raw_path == b"/xms/v1/a%2Fb/batches"


class TestParts:
    """What does not fit one batch."""

    async def test_every_file_goes_out(self) -> None:
        """One batch a file, the text with the first; further ids in the metadata [V]."""
        parts: list[EventContent] = [
            TextContent(body="Two"),
            MediaContent(url=PNG, mime_type="image/png"),
            MediaContent(url=OTHER, mime_type="image/png"),
        ]
        async with SinchSimulator() as sim:
            provider = SinchSMSProvider(SinchConfig(**sim.settings))
            content = CompositeContent(parts=parts)
            result = await provider.send(make_event(content=content), to=TO)
            await provider.close()
            assert [(m.text, m.media) for m in sim.sent] == [("Two", (PNG,)), ("", (OTHER,))]
            first, second = (m.id for m in sim.sent)
        assert result.provider_message_id == first
        assert result.metadata == {"additional_message_ids": [second]}

    @pytest.mark.parametrize("caption", [False, True], ids=["text", "caption"])
    async def test_long_texts(self, caption: bool) -> None:
        """Beyond 2,000 characters a text is several batches, with a file too."""
        text = "a" * 4500
        content: EventContent = TextContent(body=text)
        if caption:
            content = MediaContent(url=PNG, mime_type="image/png", caption=text)
        async with SinchSimulator() as sim:
            provider = SinchSMSProvider(SinchConfig(**sim.settings))
            assert (await provider.send(make_event(content=content), to=TO)).success
            await provider.close()
            assert [len(m.text) for m in sim.sent] == [2000, 2000, 500]

    async def test_the_second_attempt_sends_the_rest(self) -> None:
        """What has arrived does not arrive twice."""
        async with SinchSimulator() as sim:
            provider = SinchSMSProvider(SinchConfig(**sim.settings))
            event = make_event(body="a" * 2000 + "b" * 10)
            sim.script(ok(), error(503))
            token = delivery_scope.set(Delivery("d-1"))
            try:
                first = await provider.send(event, to=TO)
                second = await provider.send(event, to=TO)
            finally:
                delivery_scope.reset(token)
                await provider.close()
            assert (first.error, first.metadata["parts_sent"]) == ("http_503", 1)
            assert second.success
            assert [m.text[0] for m in sim.sent] == ["a", "b"]
            assert second.metadata == {"additional_message_ids": [sim.sent[1].id]}


class TestAnswers:
    """What Sinch answers, as a result."""

    async def test_success_is_bare(self) -> None:
        """The batch's id, and nothing in the metadata."""
        provider = a_provider(lambda _: httpx.Response(201, json={"id": "b-1"}))
        result = await provider.send(make_event(), to=TO)
        assert (result.success, result.provider_message_id) == (True, "b-1")
        assert result.metadata == {}

    @pytest.mark.parametrize(
        ("status", "code"), [(400, "sinch_unknown_campaign"), (403, "http_403")]
    )
    async def test_the_vendors_words_are_kept(self, status: int, code: str) -> None:
        """Code and text stand in the metadata, with a 403 too [V]."""
        said = {"code": "unknown_campaign", "text": "No such campaign"}
        provider = a_provider(lambda _: httpx.Response(status, json=said))
        result = await provider.send(make_event(), to=TO)
        assert result.error == code
        assert result.metadata == {
            "status_code": status,
            "code": "unknown_campaign",
            "message": "No such campaign",
            "retryable": False,
        }

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]"], ids=["empty", "html", "list"])
    async def test_a_refusal_without_words(self, body: bytes) -> None:
        """A 400 nobody can read is ``invalid_request``."""
        provider = a_provider(lambda _: httpx.Response(400, content=body))
        assert (await provider.send(make_event(), to=TO)).error == "invalid_request"

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"7"])
    async def test_a_success_nobody_can_read(self, body: bytes) -> None:
        """It may have been accepted, so it is never repeated by itself [V]."""
        provider = a_provider(lambda _: httpx.Response(201, content=body))
        result = await provider.send(make_event(), to=TO)
        assert result.error == "invalid_response"
        assert result.metadata == {"status_code": 201, "ambiguous": True, "retryable": False}

    async def test_a_rate_limit(self) -> None:
        """It is retryable; Sinch names no time, an HTTP header would count."""
        provider = a_provider(lambda _: httpx.Response(429, headers={"retry-after": "3"}))
        result = await provider.send(make_event(), to=TO)
        assert (result.error, result.metadata["retry_after"]) == ("rate_limit", 3.0)

    async def test_an_error_without_words(self) -> None:
        """The class stands in for an empty text [V]."""

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("", request=request)

        result = await a_provider(refuse).send(make_event(), to=TO)
        assert (result.error, result.metadata["retryable"]) == ("ConnectError", True)

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=""), "empty_message"),
            (TemplateContent(template_id="t"), "empty_message"),
            (
                MediaContent(url="data:image/png;base64,A", mime_type="image/png"),
                "unsupported_media",
            ),
        ],
        ids=["text", "template without body", "data url"],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """Nobody is asked."""
        provider = a_provider(lambda _: pytest.fail("a request went out"))
        result = await provider.send(make_event(content=content), to=TO)
        assert (result.success, result.error) == (False, code)


class TestConfig:
    """What config and constructor promise."""

    def test_defaults(self) -> None:
        """The contract's fields and defaults, and no secret in the representation."""
        config = SinchConfig(service_plan_id="plan-1", api_token=TOKEN, from_number="+1")
        assert (config.region, config.webhook_secret, config.timeout) == ("us", None, 10.0)
        assert config.api_url == URL
        assert TOKEN not in repr(config)

    def test_another_region(self) -> None:
        """Only the five there are."""
        with pytest.raises(ValueError, match="region"):
            SinchConfig(service_plan_id="p", api_token=TOKEN, from_number="+1", region="mars")

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The text names package, class and extra."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        config = SinchConfig(service_plan_id="p", api_token=TOKEN, from_number="+1")
        with pytest.raises(ImportError, match="httpx is required for SinchSMSProvider") as info:
            SinchSMSProvider(config)
        assert "roomkit[httpx]" in str(info.value)

    async def test_the_provider_knows_its_number(self) -> None:
        """``from_number`` and ``name`` come from config and class."""
        provider = a_provider(lambda _: httpx.Response(500))
        assert (provider.from_number, provider.name) == ("+15145550199", "SinchSMSProvider")
        assert provider.capabilities() is provider.capabilities()
        assert not provider.capabilities().supports_read_receipts
        await provider.close()
