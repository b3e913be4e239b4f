"""Twilio's requests and answers byte for byte, through a transport that looks at them."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock
from urllib.parse import parse_qsl

import httpx
import pytest
from pydantic import SecretStr

from roomkit.channels import RCSChannel, SMSChannel
from roomkit.models.content import MediaContent
from roomkit.models.enums import ChannelMediaType
from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
)
from roomkit.providers.twilio.config import TwilioAccount
from roomkit.testing import make_event

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://api.twilio.com/2010-04-01/Accounts/AC123/Messages.json"
PHONE = "+14155550100"
OWN = "+14155550199"
PNG = "https://files.test/a.png"
CREATED = {"sid": "SM123", "status": "queued", "error_code": None}
ACCOUNT: dict[str, Any] = {"account_sid": "AC123", "auth_token": "secret-token"}

type Answer = Callable[[httpx.Request], httpx.Response]


def created(request: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json=CREATED)


class Vendor:
    """Answers every request and remembers it."""

    def __init__(self, answer: Answer = created) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields of the last request, in order."""
        return parse_qsl(self.requests[-1].content.decode(), strict_parsing=True)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)


def sms(vendor: Vendor, **config: Any) -> TwilioSMSProvider:
    settings = TwilioConfig(**ACCOUNT, from_number=OWN, **config)
    return TwilioSMSProvider(settings, transport=vendor.transport)


def rcs(vendor: Vendor) -> TwilioRCSProvider:
    settings = TwilioRCSConfig(**ACCOUNT, messaging_service_sid="MG123")
    return TwilioRCSProvider(settings, transport=vendor.transport)


HELLO = make_event(body="Hello & caf\u00e9 +1")


class TestRequest:
    """What goes over the wire."""

    async def test_a_text(self) -> None:
        """One form post with basic authentication, and nothing in it but what is meant."""
        vendor = Vendor()
        result = await sms(vendor).send(HELLO, PHONE)
        request = vendor.requests[0]
        assert (request.method, str(request.url)) == ("POST", URL)
        credentials = base64.b64encode(b"AC123:secret-token").decode()
        assert request.headers["authorization"] == f"Basic {credentials}"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert dict(vendor.form) == {"To": PHONE, "From": OWN, "Body": "Hello & caf\u00e9 +1"}
        assert result.success
        assert (result.provider_message_id, result.error) == ("SM123", None)
        assert result.metadata == {}

    async def test_a_sender_for_one_message(self) -> None:
        """``from_`` goes before the configured number."""
        vendor = Vendor()
        await sms(vendor).send(HELLO, to=PHONE, from_="+15550001111")
        assert dict(vendor.form)["From"] == "+15550001111"

    async def test_a_messaging_service_goes_before_any_number(self) -> None:
        """With a service there is no From, even when the call names one."""
        vendor = Vendor()
        await sms(vendor, messaging_service_sid="MG123").send(HELLO, to=PHONE, from_="+1555")
        assert dict(vendor.form)["MessagingServiceSid"] == "MG123"
        assert "From" not in dict(vendor.form)

    async def test_media_by_both_names(self) -> None:
        """[V] The repeated MediaUrl is what the service reads; the numbered names stay."""
        vendor = Vendor()
        media = MediaContent(url=PNG, mime_type="image/png", caption="Look")
        await sms(vendor).send(make_event(content=media), PHONE)
        assert ("MediaUrl", PNG) in vendor.form
        assert ("MediaUrl0", PNG) in vendor.form
        assert b"MediaUrl0=" in vendor.requests[0].content
        assert ("Body", "Look") in vendor.form

    async def test_a_status_callback(self) -> None:
        """A configured URL is told to the service; without one there is no such field."""
        vendor = Vendor()
        await sms(vendor, status_callback="https://hooks.test/s").send(HELLO, PHONE)
        assert dict(vendor.form)["StatusCallback"] == "https://hooks.test/s"

    async def test_rcs(self) -> None:
        """The service is the sender; without fallback the address says so."""
        vendor = Vendor()
        provider = rcs(vendor)
        await provider.send(HELLO, PHONE, fallback=False)
        assert dict(vendor.form) == {
            "MessagingServiceSid": "MG123",
            "To": f"rcs:{PHONE}",
            "Body": "Hello & caf\u00e9 +1",
        }
        assert str(vendor.requests[0].url) == URL


def answering(status: int, **answer: Any) -> Answer:
    return lambda request: httpx.Response(status, **answer)


class TestAnswers:
    """What comes back, as the contract's words."""

    @pytest.mark.parametrize(
        ("answer", "code", "metadata"),
        [
            (
                answering(400, json={"code": 21211, "message": "Invalid", "status": 400}),
                "twilio_21211",
                {"message": "Invalid", "code": 21211, "status_code": 400, "retryable": False},
            ),
            (
                answering(400, json={"message": "Odd"}),
                "twilio_invalid_request",
                {"message": "Odd", "status_code": 400, "retryable": False},
            ),
            (answering(400, text="<html>"), "invalid_request", {"retryable": False}),
            (answering(400, json=[1]), "invalid_request", {"retryable": False}),
            (answering(401, text=""), "auth_error", {"retryable": False}),
            (answering(403, json={"code": 7, "message": "No"}), "http_403", {"message": "No"}),
            (answering(404, text="x"), "http_404", {"status_code": 404, "retryable": False}),
            (answering(429, json={"code": 20429}), "rate_limit", {"retryable": True}),
            (
                answering(429, headers={"retry-after": "3"}),
                "rate_limit",
                {"retryable": True, "retry_after": 3.0},
            ),
            (answering(500, text=""), "http_500", {"retryable": True}),
            (answering(504, text=""), "http_504", {"retryable": False, "ambiguous": True}),
        ],
    )
    async def test_refusals(self, answer: Answer, code: str, metadata: dict[str, Any]) -> None:
        """Code, message and what a retry needs to know, by SMS and by RCS."""
        vendor = Vendor(answer)
        for provider in (sms(vendor), rcs(vendor)):
            result = await provider.send(HELLO, PHONE)
            assert (result.success, result.error) == (False, code)
            assert result.metadata.items() >= metadata.items()

    @pytest.mark.parametrize(
        "answer",
        [
            answering(200, text="<html>It works!</html>"),
            answering(201, json=[]),
            answering(201, json={}),
            answering(201, json={"sid": ""}),
            answering(201, json={"sid": 5}),
            answering(204),
        ],
    )
    async def test_a_success_that_cannot_be_read(self, answer: Answer) -> None:
        """[V] It may have been sent: never raised, never repeated by itself."""
        result = await sms(Vendor(answer)).send(HELLO, PHONE)
        assert (result.success, result.error) == (False, "invalid_response")
        assert result.metadata["ambiguous"] is True
        assert result.metadata["retryable"] is False

    @pytest.mark.parametrize(
        ("failure", "code"),
        [
            (httpx.ReadTimeout("slow"), "timeout"),
            (httpx.ConnectTimeout("slow"), "timeout"),
            (httpx.ConnectError("no route"), "no route"),
            (httpx.ConnectError(""), "ConnectError"),
            (httpx.InvalidURL("odd"), "odd"),
        ],
    )
    async def test_no_answer(self, failure: Exception, code: str) -> None:
        """[V] An error without words has its class's name, and none escapes."""

        def fail(request: httpx.Request) -> httpx.Response:
            raise failure

        result = await sms(Vendor(fail)).send(HELLO, PHONE)
        assert (result.success, result.error) == (False, code)

    async def test_an_error_raised_by_the_client(self) -> None:
        """A client that raises for a status is read like one that returns it."""

        def fail(request: httpx.Request) -> httpx.Response:
            response = httpx.Response(400, json={"code": 21211, "message": "Invalid"})
            raise httpx.HTTPStatusError("bad", request=request, response=response)

        result = await sms(Vendor(fail)).send(HELLO, PHONE)
        assert (result.error, result.metadata["message"]) == ("twilio_21211", "Invalid")


class TestSeams:
    """What programs and their tests hold on to."""

    async def test_a_client_of_ones_own(self) -> None:
        """A given client is used and stays open."""
        client = AsyncMock()
        client.post.return_value = httpx.Response(201, json=CREATED)
        provider = TwilioSMSProvider(TwilioConfig(**ACCOUNT, from_number=OWN), client=client)
        assert (await provider.send(HELLO, PHONE)).provider_message_id == "SM123"
        assert client.post.call_args.args == (URL,)
        await provider.close()
        client.aclose.assert_not_called()

    @pytest.mark.parametrize("make", [sms, rcs])
    def test_without_httpx(
        self, make: Callable[[Vendor], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The constructor names the class and the extra; importing needs neither."""
        vendor = Vendor()
        kind = type(make(vendor)).__name__
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(ImportError, match=f"httpx is required for {kind}") as caught:
            make(vendor)
        assert "roomkit[httpx]" in str(caught.value)

    def test_the_config(self) -> None:
        """Defaults, the URL, and no token in its text."""
        config = TwilioConfig(**ACCOUNT, from_number=OWN)
        assert config.api_url == URL
        assert (config.timeout, config.messaging_service_sid) == (10.0, None)
        assert TwilioRCSConfig(**ACCOUNT, messaging_service_sid="MG1").timeout == 10.0
        assert "secret-token" not in repr(config)
        moved = TwilioConfig(**ACCOUNT, from_number=OWN, api_base="http://127.0.0.1:1/")
        assert moved.api_url == "http://127.0.0.1:1/2010-04-01/Accounts/AC123/Messages.json"

    def test_an_account_cannot_leave_its_path(self) -> None:
        """An odd account id is escaped, so that it stays one segment."""
        assert (
            "/Accounts/a%2F..%3F/Messages.json"
            in TwilioAccount(account_sid="a/..?", auth_token=SecretStr("t")).api_url
        )

    def test_names(self) -> None:
        """A provider is called after its class and knows its sender."""
        provider = sms(Vendor())
        assert (provider.name, provider.from_number) == ("TwilioSMSProvider", OWN)
        assert (rcs(Vendor()).name, rcs(Vendor()).sender_id) == ("TwilioRCSProvider", "MG123")


class TestCapabilities:
    """What Twilio carries, within its channel."""

    def test_by_sms(self) -> None:
        """Text and media of limited length; nobody tells of reading."""
        found = SMSChannel("sms", provider=sms(Vendor())).capabilities()
        assert found.media_types == [ChannelMediaType.TEXT, ChannelMediaType.MEDIA]
        assert (found.max_length, found.max_media_size_bytes) == (1600, 5 * 1024 * 1024)
        assert not found.supports_read_receipts
        assert not found.supports_edit

    def test_by_rcs(self) -> None:
        """Buttons and cards need a template of the vendor's, so they are put in words."""
        found = RCSChannel("rcs", provider=rcs(Vendor())).capabilities()
        assert ChannelMediaType.RICH not in found.media_types
        assert not found.supports_buttons
        assert not found.supports_typing
        assert found.supports_read_receipts
        assert found.max_length == 1600

    async def test_signals_there_are_none_of(self) -> None:
        """Typing, reading and reactions are refused, not invented."""
        provider = rcs(Vendor())
        assert await provider.send_typing(PHONE) is False
        assert await provider.mark_read(["SM1"], PHONE, PHONE) is False
        assert await provider.send_reaction(PHONE, PHONE, "SM1", "+") is False
