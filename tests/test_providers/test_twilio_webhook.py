"""Twilio's callbacks: what they say, whom they come from, and what strange ones do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.content import CompositeContent, LocationContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.providers.sms.meta import extract_sms_meta, extract_twilio_meta
from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
    parse_twilio_rcs_webhook,
    parse_twilio_webhook,
)
from roomkit.providers.webhook import WebhookHandler, WebhookRequest
from roomkit.simulators.twilio import sign
from roomkit.testing.conformance import WebhookHandlerConformance

if TYPE_CHECKING:
    from collections.abc import Mapping

NOWHERE = httpx.MockTransport(lambda request: httpx.Response(500))
TOKEN = "tw-token"
URL = "https://hooks.test/webhooks/sms?tenant=42"
PHONE = "+14155550100"
OWN = "+14155550199"
PNG = "https://api.twilio.com/media/ME1"
MESSAGE = {
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "AccountSid": "AC1",
    "From": PHONE,
    "To": OWN,
    "Body": "Caf\u00e9 & cr\u00e8me + 50% \U0001f600",
    "NumMedia": "0",
    "SmsStatus": "received",
    "FromCity": "SAN FRANCISCO",
    "FromState": "CA",
    "FromCountry": "US",
}
STATUS = {
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "MessageStatus": "undelivered",
    "SmsStatus": "undelivered",
    "ErrorCode": "30005",
    "From": OWN,
    "To": PHONE,
}


def handler(**more: Any) -> WebhookHandler:
    config = {"account_sid": "AC1", "auth_token": TOKEN, "from_number": OWN, **more}
    return TwilioSMSProvider(TwilioConfig.model_validate(config), transport=NOWHERE).webhook()


def request(
    fields: Mapping[str, str] = MESSAGE, *, token: str = TOKEN, method: str = "POST", **more: Any
) -> WebhookRequest:
    """Return a signed request with these fields."""
    body = urlencode(fields).encode()
    url, seal = URL, sign(URL, fields.items(), token)
    if method == "GET":
        url, body = f"{URL}&{body.decode()}", b""
        seal = sign(url, [], token)
    asked = WebhookRequest(
        method=method,
        url=url,
        headers={
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "x-twilio-signature": seal,
        },
        query=fields if method == "GET" else {"tenant": "42"},
        body=body,
        channel_id="sms-main",
    )
    return replace(asked, **more)


class TestHandlerConformance(WebhookHandlerConformance):
    """The suite of every reader of callbacks."""

    def make_handler(self) -> WebhookHandler:
        return handler()

    def good_request(self) -> WebhookRequest:
        return request()


class TestHandlerConformanceOfStatuses(WebhookHandlerConformance):
    """The same with a status callback, through the provider of RCS."""

    def make_handler(self) -> WebhookHandler:
        config = TwilioRCSConfig(
            account_sid="AC1", auth_token=SecretStr(TOKEN), messaging_service_sid="MG1"
        )
        return TwilioRCSProvider(config, transport=NOWHERE).webhook()

    def good_request(self) -> WebhookRequest:
        return request(STATUS)


class TestHandler:
    """From a request to what it holds."""

    async def test_a_message(self) -> None:
        """It is believed and read for the channel it came by."""
        asked = request()
        await handler().verify(asked)
        [item] = handler().read(asked)
        assert isinstance(item, InboundMessage)
        assert (item.channel_id, item.sender_id) == ("sms-main", PHONE)
        assert item.content == TextContent(body=MESSAGE["Body"])
        assert item.external_id == item.idempotency_key == "SM1"

    async def test_a_status(self) -> None:
        """[V] A status callback is a status, never an empty message."""
        asked = request(STATUS)
        await handler().verify(asked)
        [item] = handler().read(asked)
        assert isinstance(item, DeliveryStatus)
        assert (item.provider, item.message_id, item.status) == ("twilio", "SM1", "undelivered")
        assert (item.sender, item.recipient, item.error_code) == (OWN, PHONE, "30005")

    async def test_by_get(self) -> None:
        """Twilio may be told to use GET: then the query is what is signed."""
        asked = request(method="GET")
        await handler().verify(asked)
        [item] = handler().read(asked)
        assert isinstance(item, InboundMessage)
        assert item.content == TextContent(body=MESSAGE["Body"])
        with pytest.raises(WebhookRefused):
            await handler().verify(replace(asked, url=asked.url + "&Body=other"))

    async def test_a_body_cannot_slip_in_by_get(self) -> None:
        """What is not signed is not read."""
        asked = request(method="GET", body=urlencode({**MESSAGE, "Body": "other"}).encode())
        await handler().verify(asked)
        [item] = handler().read(asked)
        assert isinstance(item, InboundMessage)
        assert item.content == TextContent(body=MESSAGE["Body"])

    async def test_a_json_body(self) -> None:
        """Its hash stands in the signed URL."""
        body = b'{"MessageSid":"SM1","MessageStatus":"delivered"}'
        digest = "00" * 32
        url = f"{URL}&bodySHA256={digest}"
        headers = {"content-type": "application/json", "x-twilio-signature": sign(url, [], TOKEN)}
        asked = request(body=body, url=url, headers=headers)
        with pytest.raises(WebhookRefused, match="does not match"):
            await handler().verify(asked)
        [item] = handler().read(asked)
        assert isinstance(item, DeliveryStatus)

    def test_the_answers(self) -> None:
        """A message is answered with empty TwiML (no reply), a status with nothing."""
        said = handler().response(request())
        assert (said.status, said.content_type) == (200, "text/xml")
        assert said.body.endswith(b"<Response/>")
        assert handler().response(request(STATUS)).body == b""

    def test_a_message_of_nobody(self) -> None:
        """A missing sender is an error, and the text names the field."""
        for sender in ("", "\x00"):
            with pytest.raises(WebhookError, match="From"):
                handler().read(request({**MESSAGE, "From": sender}))

    def test_whether_it_can_tell(self) -> None:
        """Without a token nothing is signed; a signing key alone is enough."""
        assert handler().signed
        assert not handler(auth_token="").signed
        assert handler(auth_token="", signing_keys={"K": "k"}).signed
        assert {"GET", "POST"} == handler().methods


class TestVerify:
    """Who is refused at the endpoint."""

    async def test_rotation(self) -> None:
        """Old and new tokens pass, others do not."""
        rotating = handler(auth_token="new", previous_secrets=[TOKEN])
        await rotating.verify(request())
        await rotating.verify(request(token="new"))
        with pytest.raises(WebhookRefused):
            await rotating.verify(request(token="other tenant"))

    async def test_names_of_headers(self) -> None:
        """Whoever hosts the endpoint lowers the names; any other spelling is none."""
        good = request()
        seal = good.headers["x-twilio-signature"]
        for headers in ({}, {"x-twilio-signature": ""}, {"X-Twilio-Signature": seal}):
            with pytest.raises(WebhookRefused, match="x-twilio-signature is missing"):
                await handler().verify(replace(good, headers=headers))

    async def test_the_path_and_the_query_count(self) -> None:
        """A request signed for another endpoint or tenant is refused."""
        for url in (URL.replace("42", "43"), URL.replace("/sms", "/mail"), URL[:-10]):
            with pytest.raises(WebhookRefused):
                await handler().verify(request(url=url))

    async def test_a_signing_key(self) -> None:
        """The header names key and algorithm; both must be right and known."""
        keyed = handler(signing_keys={"K1": "shared", "K2": "second"})

        def asked(settings: str, secret: str = "shared") -> WebhookRequest:
            seal = sign(URL, MESSAGE.items(), secret, algorithm="HMAC_SHA256")
            names = ("x-twilio-signature", "x-twilio-webhooks-signature-settings")
            return request(headers=dict(zip(names, (seal, settings), strict=True)))

        await keyed.verify(asked("key=K1,algorithm=HMAC_SHA256"))
        await keyed.verify(asked("algorithm=HMAC_SHA256, key=K2", "second"))
        by_token = request()
        for empty in ("", "key=,algorithm=", "algorithm=HMAC_SHA1"):
            headers = {**by_token.headers, "x-twilio-webhooks-signature-settings": empty}
            await keyed.verify(replace(by_token, headers=headers))
        wrong = (
            asked("key=K2,algorithm=HMAC_SHA256"),
            asked("key=K3,algorithm=HMAC_SHA256"),
            asked("key=K1,algorithm=HMAC_SHA1"),
            asked("key=K1,algorithm=none"),
            asked("key=K1"),
            asked("key=K1,algorithm=HMAC_SHA256", TOKEN),
            asked(""),
            asked("=,=,,"),
        )
        for bad in wrong:
            with pytest.raises(WebhookRefused):
                await keyed.verify(bad)


class TestParse:
    """The functions of the contract."""

    def test_a_text(self) -> None:
        """Every field of the message, and the metadata as they have always been."""
        message = parse_twilio_webhook(MESSAGE, "sms")
        assert (message.channel_id, message.sender_id) == ("sms", PHONE)
        assert message.external_id == message.idempotency_key == "SM1"
        assert message.content == TextContent(body=MESSAGE["Body"])
        assert message.metadata == {
            "to": OWN,
            "account_sid": "AC1",
            "num_media": "0",
            "from_city": "SAN FRANCISCO",
            "from_state": "CA",
            "from_country": "US",
        }

    def test_an_empty_payload(self) -> None:
        """Absent fields are empty."""
        message = parse_twilio_webhook({}, "sms")
        assert (message.sender_id, message.content) == ("", TextContent(body=""))
        assert (message.external_id, message.idempotency_key) == (None, None)
        assert message.metadata == {
            "to": "",
            "account_sid": "",
            "num_media": "0",
            "from_city": None,
            "from_state": None,
            "from_country": None,
        }

    def test_media(self) -> None:
        """One file has the text as its caption, several follow it."""
        one = {**MESSAGE, "NumMedia": "1", "MediaUrl0": PNG, "MediaContentType0": "image/png"}
        content = parse_twilio_webhook(one, "sms").content
        assert content == MediaContent(url=PNG, mime_type="image/png", caption=MESSAGE["Body"])
        two = {**one, "NumMedia": "2", "MediaUrl1": PNG + "2"}
        content = parse_twilio_webhook(two, "sms").content
        assert isinstance(content, CompositeContent)
        assert content.parts[0] == TextContent(body=MESSAGE["Body"])
        assert content.parts[2] == MediaContent(
            url=PNG + "2", mime_type="application/octet-stream"
        )

    @pytest.mark.parametrize("number", ["", "many", "-1", "1.5", "0x1", None])
    def test_a_number_of_media_that_is_none(self, number: str | None) -> None:
        """[V] Then there are none; the word itself is kept."""
        payload = {**MESSAGE, "NumMedia": number, "MediaUrl0": PNG}
        message = parse_twilio_webhook(payload, "sms")
        assert message.content == TextContent(body=MESSAGE["Body"])
        assert message.metadata["num_media"] == ("0" if number is None else number)

    @pytest.mark.parametrize("number", ["1000000000", "9" * 5000, "25"])
    def test_endless_media(self, number: str) -> None:
        """At most twenty are looked for, in no time."""
        files = {f"MediaUrl{n}": f"{PNG}{n}" for n in range(30)}
        started = time.process_time()
        meta = extract_twilio_meta({**MESSAGE, **files, "NumMedia": number})
        assert len(meta.media_urls) == 20
        assert time.process_time() - started < 1.0

    def test_extras_only_when_sent(self) -> None:
        """Buttons, places, profiles and opt-outs go into the metadata."""
        extras = {
            "ButtonText": "Yes",
            "ButtonPayload": "yes-1",
            "ProfileName": "Ana",
            "WaId": "1415",
            "OptOutType": "STOP",
            "MessageType": "button",
        }
        metadata = parse_twilio_webhook({**MESSAGE, **extras}, "sms").metadata
        assert metadata["button_text"] == "Yes"
        assert metadata["button_payload"] == "yes-1"
        assert (metadata["profile_name"], metadata["wa_id"]) == ("Ana", "1415")
        assert (metadata["opt_out_type"], metadata["keyword"]) == ("STOP", "stop")
        assert metadata["message_type"] == "button"

    def test_a_keyword(self) -> None:
        """STOP and its like are reported, for consent kept by the program."""
        assert parse_twilio_webhook({"Body": "Stop."}, "s").metadata["keyword"] == "stop"
        assert "keyword" not in parse_twilio_webhook({"Body": "Stop it"}, "s").metadata

    def test_a_button_without_a_text(self) -> None:
        """The button's words are the message."""
        payload = {"From": PHONE, "Body": "", "ButtonText": "Yes", "ButtonPayload": "y"}
        assert parse_twilio_rcs_webhook(payload, "rcs").content == TextContent(body="Yes")

    def test_a_place(self) -> None:
        """Coordinates instead of a text are a location; beside a text they are metadata."""
        place = {"From": PHONE, "Latitude": "45.5", "Longitude": "-73.5", "Label": "Office"}
        assert parse_twilio_webhook(place, "s").content == LocationContent(
            latitude=45.5, longitude=-73.5, label="Office"
        )
        both = parse_twilio_webhook({**place, "Body": "Here"}, "s")
        assert both.content == TextContent(body="Here")
        assert both.metadata["latitude"] == "45.5"

    @pytest.mark.parametrize("latitude", ["91", "nan", "inf", "north", "", "1e999"])
    def test_a_place_that_is_none(self, latitude: str) -> None:
        """Impossible coordinates leave the empty text."""
        payload = {"Latitude": latitude, "Longitude": "0"}
        assert parse_twilio_webhook(payload, "s").content == TextContent(body="")

    def test_rcs(self) -> None:
        """The sender is as the vendor names it; the number alone is beside it."""
        payload = {
            **MESSAGE,
            "From": f"rcs:{PHONE}",
            "To": "rcs:acme_agent",
            "MessagingServiceSid": "MG1",
        }
        message = parse_twilio_rcs_webhook(payload, "rcs")
        assert message.sender_id == f"rcs:{PHONE}"
        assert message.metadata == {
            "to": "rcs:acme_agent",
            "account_sid": "AC1",
            "num_media": "0",
            "channel": "rcs",
            "messaging_service_sid": "MG1",
            "phone_number": PHONE,
        }
        other = parse_twilio_rcs_webhook({**payload, "Channel": "sms"}, "rcs")
        assert other.metadata["channel"] == "sms"


class TestMeta:
    """One view of all text message vendors."""

    def test_a_message(self) -> None:
        """Sender, recipient and text; no direction, as Twilio says none."""
        meta = extract_sms_meta("Twilio", MESSAGE)
        assert (meta.provider, meta.sender, meta.recipient) == ("twilio", PHONE, OWN)
        assert (meta.body, meta.external_id) == (MESSAGE["Body"], "SM1")
        assert (meta.timestamp, meta.direction, meta.event_type) == (None, None, None)
        assert meta.raw is MESSAGE
        assert meta.is_inbound
        assert not meta.is_status

    def test_an_undelivered_one(self) -> None:
        """[V] The vendor's sample, word for word."""
        meta = extract_sms_meta("twilio", STATUS)
        assert (meta.is_inbound, meta.is_status) == (False, True)
        assert (meta.direction, meta.event_type) == ("outbound", "message.undelivered")
        status = meta.to_status()
        assert (status.status, status.message_id) == ("undelivered", "SM1")
        assert (status.recipient, status.sender) == (PHONE, OWN)
        assert (status.error_code, status.error_message) == ("30005", None)
        assert status.raw == STATUS

    @pytest.mark.parametrize(
        ("payload", "status"),
        [
            ({"MessageStatus": "read", "EventType": "READ"}, "read"),
            ({"MessageStatus": "delivered", "EventType": "READ"}, "read"),
            ({"MessageStatus": "SENT"}, "sent"),
            ({"MessageStatus": "partially_delivered"}, "partially_delivered"),
            ({"SmsStatus": "delivered"}, "delivered"),
            ({"SmsStatus": "failed", "Body": ""}, "failed"),
            ({"SmsStatus": "received"}, None),
            ({"SmsStatus": "receiving", "Body": ""}, None),
            ({"SmsStatus": "sent", "Body": "Hi"}, None),
            ({"MessageStatus": "received", "Body": "Hi"}, None),
            ({"MessageStatus": "", "SmsStatus": ""}, None),
            ({}, None),
        ],
    )
    def test_which_of_the_two(self, payload: dict[str, str], status: str | None) -> None:
        """[V] What is reported of our messages, and what is a message to us."""
        meta = extract_twilio_meta(payload)
        assert meta.is_inbound is (status is None)
        assert meta.is_status is (status is not None)
        if status is not None:
            assert meta.to_status().status == status

    @pytest.mark.parametrize(
        ("told", "timestamp"),
        [
            ("2611211305", "2026-11-21T13:05:00"),
            ("261121130507", "2026-11-21T13:05:07"),
            ("2613211305", None),
            ("26112113", None),
            ("yesterday", None),
            ("\u0662611211305", None),
        ],
    )
    def test_when(self, told: str, timestamp: str | None) -> None:
        """The carrier's time, where it is one."""
        status = extract_twilio_meta({**STATUS, "RawDlrDoneDate": told}).to_status()
        assert status.timestamp == timestamp

    def test_errors_in_words(self) -> None:
        """The vendor's explanation is kept; empty fields are none."""
        more = {"ErrorCode": "", "ErrorMessage": "Unknown handset"}
        status = extract_twilio_meta({**STATUS, **more}).to_status()
        assert (status.error_code, status.error_message) == (None, "Unknown handset")
