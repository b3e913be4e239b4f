"""The HTTP webhook provider: messages posted to an endpoint, signed."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import AsyncMock

import httpx
import pytest

from roomkit._scope import Delivery, delivery_scope
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.models.content import LocationContent, MediaContent, RichContent, TemplateContent
from roomkit.providers.http import (
    HTTPProviderConfig,
    WebhookHTTPProvider,
    verify_http_signature,
    verify_standard_webhook,
)
from roomkit.simulators import WebhookSimulator, cut, error
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from roomkit.models.event import EventContent

SECRET = "whsec_cm9vbWtpdC1zdGFuZGFyZC13ZWJob29rcy1rZXktMDE="
OLD_SECRET = "whsec_cm9vbWtpdC1zdGFuZGFyZC13ZWJob29rcy1rZXktMDA="
URL = "https://hooks.test/in?x=1"
BODY = (
    b'{"recipient_id": "user-9", "channel_id": "ch1", "room_id": "test-room", '
    b'"content": {"type": "text", "body": "h\\u00e9llo"}, "metadata": {"k": 1}}'
)
SIGNATURE = "f0e98b0752a786e7497cdae7b1bf844b54af1d616cfb91b74f3d8b93729b3c66"


def taken(request: httpx.Request) -> httpx.Response:
    """Answer as an endpoint that takes the message."""
    return httpx.Response(200, json={"message_id": "m-1"}, request=request)


def provider(
    answer: Callable[[httpx.Request], httpx.Response] = taken,
    seen: list[httpx.Request] | None = None,
    **settings: Any,
) -> WebhookHTTPProvider:
    """Return a provider whose requests are kept and answered by a function."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return answer(request)

    options = {
        name: settings.pop(name) for name in ("allow_hosts", "resolver") if name in settings
    }
    config = HTTPProviderConfig(**{"webhook_url": URL, **settings})
    return WebhookHTTPProvider(config, transport=httpx.MockTransport(handle), **options)


@pytest.fixture
def delivery() -> Iterator[Delivery]:
    """A delivery of a kit, the tests' own."""
    token = delivery_scope.set(Delivery("d-1"))
    yield Delivery("d-1")
    delivery_scope.reset(token)


class AtTheSimulator(VendorSuite):
    """Everything every provider must do; every error status is ``http_<n>``."""

    secrets = ("bWFkZS11cC1zZWNyZXQ",)
    unreadable_is_success = True
    codes: ClassVar = {status: f"http_{status}" for status in (400, 401, 429)}
    options: ClassVar[dict[str, Any]] = {}

    def make_simulator(self) -> WebhookSimulator:
        return WebhookSimulator(**self.options)

    def make_provider(self, settings: dict[str, Any]) -> WebhookHTTPProvider:
        return WebhookHTTPProvider(HTTPProviderConfig(**settings))


class TestPlain(AtTheSimulator):
    """With RoomKit's own signature."""


class TestWithTimestamp(AtTheSimulator):
    """With a signed timestamp."""

    options: ClassVar = {"sign_timestamp": True}


class TestStandard(AtTheSimulator):
    """With Standard Webhooks."""

    options: ClassVar = {"standard_webhooks": True}


class TestUnsigned(AtTheSimulator):
    """Without a secret."""

    options: ClassVar = {"secret": None}


class TestProvider(ProviderConformance):
    """It is a provider."""

    secrets = (SECRET,)

    async def make_provider(self) -> WebhookHTTPProvider:
        ids = iter(range(1000))

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"message_id": f"m{next(ids)}"}, request=request)

        return provider(answer, secret=SECRET)

    async def make_refused(self) -> WebhookHTTPProvider:
        return provider(lambda request: httpx.Response(410, request=request))


class TestRequest:
    """The request is what the contract says."""

    async def test_the_vector(self) -> None:
        """Document, order, escapes, headers and signature, byte for byte."""
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, secret="shh", headers={"X-Tenant": "t"})
        event = make_event("test-room", "h\u00e9llo", channel_id="ch1", metadata={"k": 1})
        result = await vendor.send(event, to="user-9")
        (request,) = seen
        assert request.content == BODY
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["x-roomkit-signature"] == SIGNATURE
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-tenant"] == "t"
        assert "x-roomkit-timestamp" not in request.headers
        assert "x-roomkit-delivery" not in request.headers
        assert (result.provider_message_id, result.metadata) == ("m-1", {})

    async def test_how_the_client_is_called(self) -> None:
        """The URL by position, body and headers by name: a client may be replaced."""
        client = AsyncMock()
        client.post.return_value = httpx.Response(200, json={})
        config = HTTPProviderConfig(webhook_url=URL, secret="s", headers={"Content-Type": "a/b"})
        vendor = WebhookHTTPProvider(config, client=client)
        assert (await vendor.send(make_event(), to="u")).success
        call = client.post.call_args
        assert call.args == (URL,)
        assert isinstance(call.kwargs["content"], str)
        assert list(call.kwargs["headers"]) == ["Content-Type", "X-RoomKit-Signature"]
        assert call.kwargs["headers"]["Content-Type"] == "a/b"

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (RichContent(body="<b>Hi</b>"), "<b>Hi</b>"),
            (TemplateContent(template_id="t", body="Hi"), "Hi"),
            (LocationContent(latitude=1, longitude=2), "1,2"),
        ],
    )
    async def test_other_content(self, content: EventContent, text: str) -> None:
        """Its words are sent as text."""
        seen: list[httpx.Request] = []
        await provider(seen=seen).send(make_event(content=content), to="u")
        assert json.loads(seen[0].content)["content"] == {"type": "text", "body": text}

    @pytest.mark.parametrize(
        "content",
        [
            TemplateContent(template_id="t"),
            MediaContent(url="https://x.test/a", mime_type="image/png"),
        ],
    )
    async def test_nothing_to_say(self, content: EventContent) -> None:
        """A template without a body says nothing, least of all ``None``."""
        seen: list[httpx.Request] = []
        result = await provider(seen=seen).send(make_event(content=content), to="u")
        assert (result.error, seen) == ("empty_message", [])

    @pytest.mark.parametrize("value", [object(), {1}, float("nan"), b"x"])
    async def test_metadata_that_is_no_json(self, value: object) -> None:
        """It is refused before anything is sent."""
        seen: list[httpx.Request] = []
        event = make_event(metadata={"k": value})
        result = await provider(seen=seen).send(event, to="u")
        assert (result.error, seen) == ("serialization_error", [])
        assert result.metadata["retryable"] is False

    async def test_a_signed_timestamp(self) -> None:
        """The moment goes along and is signed before the body."""
        seen: list[httpx.Request] = []
        await provider(seen=seen, secret="shh", sign_timestamp=True).send(make_event(), to="u")
        headers = seen[0].headers
        moment = headers["x-roomkit-timestamp"]
        assert abs(int(moment) - time.time()) < 5
        found = headers["x-roomkit-signature"]
        assert verify_http_signature(seen[0].content, found, "shh", timestamp=moment)
        assert not verify_http_signature(seen[0].content, found, "shh")

    async def test_standard_webhooks(self, delivery: Delivery) -> None:
        """The delivery's id, the moment, one signature for the new secret and the old."""
        seen: list[httpx.Request] = []
        vendor = provider(
            seen=seen, secret=SECRET, previous_secrets=[OLD_SECRET], standard_webhooks=True
        )
        await vendor.send(make_event(), to="u")
        headers = seen[0].headers
        assert headers["webhook-id"] == delivery.id
        assert len(headers["webhook-signature"].split()) == 2
        for secret in (SECRET, OLD_SECRET):
            assert verify_standard_webhook(seen[0].content, headers, [secret])
        assert "x-roomkit-signature" not in headers

    @pytest.mark.parametrize(
        "secret", ["shh", "whsec_", "whsec_%%%", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_")]
    )
    def test_a_secret_that_is_none(self, secret: str) -> None:
        """Standard Webhooks have their own kind; the error says which, not what it was."""
        with pytest.raises(ConfigurationError, match="24 to 64") as caught:
            provider(secret=secret, standard_webhooks=True)
        assert "c2hvcnQ" not in str(caught.value)

    async def test_another_host(self) -> None:
        """``api_base`` replaces scheme, host and port; path and query stay."""
        seen: list[httpx.Request] = []
        await provider(seen=seen, api_base="http://127.0.0.1:1").send(make_event(), to="u")
        assert str(seen[0].url) == "http://127.0.0.1:1/in?x=1"

    @pytest.mark.parametrize("name", ["a\r\nb", "", "caf\u00e9"])
    def test_headers_are_checked(self, name: str) -> None:
        """Nothing can be smuggled in by configuration."""
        with pytest.raises(ValueError, match="header") as caught:
            HTTPProviderConfig(webhook_url=URL, secret="canary", headers={name: "x"})
        assert "canary" not in str(caught.value)


class TestAnswers:
    """Every 2xx is a success; what else there is says whether to try again."""

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", None),
            (b"<html>", None),
            (b"[1]", None),
            (b"null", None),
            (b'{"message_id": 7}', "7"),
            (b'{"message_id": {}}', None),
            (b'{"message_id": "x"}', "x"),
        ],
    )
    async def test_a_success(self, body: bytes, expected: str | None) -> None:
        """Whatever its body; an id is taken where there is one."""
        vendor = provider(lambda r: httpx.Response(204, content=body, request=r))
        result = await vendor.send(make_event(), to="u")
        assert (result.success, result.provider_message_id) == (True, expected)
        assert result.metadata == {}

    @pytest.mark.parametrize("status", [301, 302, 307, 410, 404, 422])
    async def test_for_good(self, status: int) -> None:
        """A redirect is a failure and is not followed; 410 means: stop."""
        seen: list[httpx.Request] = []
        headers = {"Location": "http://127.0.0.1:1/"}
        vendor = provider(lambda r: httpx.Response(status, headers=headers, request=r), seen)
        result = await vendor.send(make_event(), to="u")
        assert (result.error, result.metadata["retryable"]) == (f"http_{status}", False)
        assert len(seen) == 1

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_not_now(self, status: int) -> None:
        """With a ``Retry-After`` the endpoint asks to come again."""
        vendor = provider(
            lambda r: httpx.Response(status, headers={"Retry-After": "8"}, request=r)
        )
        result = await vendor.send(make_event(), to="u")
        assert result.metadata == {"status_code": status, "retryable": True, "retry_after": 8.0}

    async def test_a_gateways_time_out(self) -> None:
        """Without one nobody knows whether the endpoint took it."""
        vendor = provider(lambda r: httpx.Response(504, request=r))
        result = await vendor.send(make_event(), to="u")
        assert result.metadata["ambiguous"] is True

    async def test_a_repeat_is_known(self, delivery: Delivery) -> None:
        """The delivery's id goes along: an answer that was lost does not double a message."""
        for options in ({}, {"standard_webhooks": True}):
            async with WebhookSimulator(**options) as sim:
                vendor = WebhookHTTPProvider(HTTPProviderConfig(**sim.settings))
                event = make_event()
                sim.script(cut())
                assert (await vendor.send(event, to="u")).metadata["ambiguous"] is True
                assert (await vendor.send(event, to="u")).provider_message_id == sim.sent[0].id
                assert len(sim.sent) == 1
                await vendor.close()
        assert vendor.sends_idempotency_key is True

    async def test_the_simulator_believes_nobody(self) -> None:
        """A wrong secret is 401; its script gives the wait."""
        async with WebhookSimulator() as sim:
            vendor = WebhookHTTPProvider(HTTPProviderConfig(**{**sim.settings, "secret": "x"}))
            assert (await vendor.send(make_event(), to="u")).error == "http_401"
            sim.script(error(502, retry_after=3))
            assert (await vendor.send(make_event(), to="u")).metadata["retry_after"] == 3.0
            await vendor.close()


class TestPrivateHosts:
    """A URL that is not the operator's own is guarded when asked."""

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:9/",
            "http://[::1]/",
            "http://0x7f.1/",
            "http://169.254.169.254/latest",
            "http://user@example.org/",
            "ftp://example.org/",
        ],
    )
    async def test_private_ones(self, url: str) -> None:
        """Nothing is sent there."""

        async def resolve(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, webhook_url=url, allow_private_hosts=False, resolver=resolve)
        result = await vendor.send(make_event(), to="u")
        assert (result.error, result.metadata["retryable"]) == ("private_host", False)
        assert not seen

    async def test_a_public_one(self) -> None:
        """It is reached by the address that was looked at, under its own name."""

        async def resolve(host: str, port: int) -> list[str]:
            return ["93.184.216.34"]

        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, secret="s", allow_private_hosts=False, resolver=resolve)
        assert (await vendor.send(make_event(), to="u")).success
        (request,) = seen
        assert str(request.url) == "https://93.184.216.34/in?x=1"
        assert request.headers["host"] == "hooks.test"
        assert request.extensions["sni_hostname"] == "hooks.test"
        assert "x-roomkit-signature" in request.headers

    async def test_a_look_up_that_fails(self) -> None:
        """It says nothing about the host: try again."""

        async def resolve(host: str, port: int) -> list[str]:
            raise OSError("no network")

        vendor = provider(allow_private_hosts=False, resolver=resolve)
        result = await vendor.send(make_event(), to="u")
        assert (result.error, result.metadata["retryable"]) == ("lookup_failed", True)

    async def test_a_host_that_is_allowed(self) -> None:
        """Named hosts may be private."""
        async with WebhookSimulator() as sim:
            config = HTTPProviderConfig(**sim.settings, allow_private_hosts=False)
            host = sim.api_base.removeprefix("http://")
            vendor = WebhookHTTPProvider(config, allow_hosts=(host,))
            assert (await vendor.send(make_event(), to="u")).success
            await vendor.close()


class TestClass:
    """The class itself."""

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to install."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(ImportError, match="httpx is required for WebhookHTTPProvider"):
            WebhookHTTPProvider(HTTPProviderConfig(webhook_url=URL))

    def test_signatures_need_a_secret(self) -> None:
        """A ValueError says so; with several secrets any counts."""
        with pytest.raises(InvalidInputError, match="secret must be provided"):
            provider().verify_signature(BODY, SIGNATURE)
        vendor = provider(secret="new", previous_secrets=["shh"])
        assert vendor.verify_signature(BODY, SIGNATURE)
        assert not vendor.verify_signature(BODY, SIGNATURE, "1795290000")
