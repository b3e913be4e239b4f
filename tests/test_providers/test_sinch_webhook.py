"""Sinch' callbacks: signatures, messages, delivery reports, and anything strange."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings

from roomkit.exceptions import InvalidInputError, WebhookError, WebhookRefused
from roomkit.models.content import CompositeContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.providers.sinch import SinchConfig, SinchSMSProvider, parse_sinch_webhook
from roomkit.providers.sms.meta import extract_sms_meta
from roomkit.providers.webhook import WebhookHandler, WebhookItem, WebhookRequest
from roomkit.simulators import SinchSimulator
from roomkit.testing.conformance import WebhookHandlerConformance
from tests.test_providers._json_mutations import reshaped

SECRET = "sinch_webhook_secret"
BODY = (
    b'{"id":"01FC66621XXXXX119Z8PMV1QPQ","type":"mo_text","from":"14155550100",'
    b'"to":"14155550199","body":"Hello","received_at":"2025-01-01T00:00:00.000Z"}'
)
NONCE = "01HZX3T5Q6ABCDEF"
TIME = "1735689600"
NOW = 1735689600
SIGNED = "6FGOQ8Zm+QsQ/LQJoIJE3Sn/6snoqoH3jw1qJ70dtw8="
NUMBERS = "4a4ccb7cd0c7d84c0ea3bc4d87545eb7098550df"
LEGACY = "SkzLfNDH2EwOo7xNh1RetwmFUN8="
PREFIX = "x-sinch-webhook-signature"


def a_provider(secret: str | None = SECRET, *previous: str) -> SinchSMSProvider:
    """Return a provider that knows a webhook secret."""
    return SinchSMSProvider(
        SinchConfig(
            service_plan_id="plan-1",
            api_token="token",
            from_number="+1",
            webhook_secret=secret,
            previous_secrets=list(previous),
        )
    )


def a_request(headers: dict[str, str], body: bytes = BODY, at: float = NOW) -> WebhookRequest:
    """Return a request as an endpoint makes it."""
    return WebhookRequest(
        "POST", "https://us.test/webhooks/sms", headers, {}, body, channel_id="sms", received_at=at
    )


def signed(**other: str) -> dict[str, str]:
    """Return the vendor's headers, some of them otherwise."""
    headers = {
        PREFIX: SIGNED,
        f"{PREFIX}-nonce": NONCE,
        f"{PREFIX}-timestamp": TIME,
        f"{PREFIX}-algorithm": "HmacSHA256",
    }
    return headers | {f"{PREFIX}-{name}" if name else PREFIX: v for name, v in other.items()}


@cache
def reader() -> WebhookHandler:
    """Return one handler for all tests that only read: making a provider takes its time."""
    return a_provider().webhook()


def read(payload: Any) -> list[WebhookItem]:
    """Return what the handler makes of a decoded callback."""
    return reader().read(a_request({}, json.dumps(payload).encode()))


def flipped(text: str) -> str:
    """Return base64 of the same bytes but for one bit."""
    raw = bytearray(base64.b64decode(text))
    raw[0] ^= 1
    return base64.b64encode(raw).decode()


class TestWorkedVectors:
    """The vectors of the vendor facts, true as given and false in every other way."""

    def test_true_as_given(self) -> None:
        """Three schemes; nonce and time choose."""
        provider = a_provider()
        assert provider.verify_signature(BODY, SIGNED, TIME, nonce=NONCE) is True
        assert provider.verify_signature(BODY, NUMBERS) is True
        assert provider.verify_signature(BODY, LEGACY) is True

    def test_one_scheme_at_a_time(self) -> None:
        """With nonce and time only their scheme counts, without them never."""
        provider = a_provider()
        assert not provider.verify_signature(BODY, SIGNED)
        for signature in (NUMBERS, LEGACY):
            assert not provider.verify_signature(BODY, signature, TIME, nonce=NONCE)

    def test_every_changed_byte(self) -> None:
        """One bit of the body makes all three false."""
        provider = a_provider()
        for place in range(len(BODY)):
            body = bytearray(BODY)
            body[place] ^= 1
            changed = bytes(body)
            assert not provider.verify_signature(changed, SIGNED, TIME, nonce=NONCE)
            assert not provider.verify_signature(changed, NUMBERS)
            assert not provider.verify_signature(changed, LEGACY)

    def test_other_parts(self) -> None:
        """So does another nonce, time, signature or secret."""
        provider = a_provider()
        assert not provider.verify_signature(BODY, SIGNED, TIME, nonce=NONCE + "0")
        assert not provider.verify_signature(BODY, SIGNED, "1735689601", nonce=NONCE)
        assert not provider.verify_signature(BODY, flipped(SIGNED), TIME, nonce=NONCE)
        assert not provider.verify_signature(BODY, flipped(LEGACY))
        assert not provider.verify_signature(BODY, NUMBERS.upper())
        assert not a_provider("other").verify_signature(BODY, SIGNED, TIME, nonce=NONCE)

    @pytest.mark.parametrize("bad", ["", "x", "é" * 44, "\ud800", SIGNED[:-2], SIGNED + "A=="])
    def test_malformed(self, bad: str) -> None:
        """False, never an error."""
        provider = a_provider()
        assert provider.verify_signature(BODY, bad, TIME, nonce=NONCE) is False
        assert provider.verify_signature(BODY, bad) is False
        assert provider.verify_signature(BODY, SIGNED, bad or "-", nonce=bad or "-") is False

    def test_reserialised_json(self) -> None:
        """The same data spelled otherwise is not what was signed."""
        body = json.dumps(json.loads(BODY)).encode()
        assert not a_provider().verify_signature(body, SIGNED, TIME, nonce=NONCE)

    def test_rotation(self) -> None:
        """The secret before still counts when the config names it."""
        provider = a_provider("new", SECRET)
        assert provider.verify_signature(BODY, SIGNED, TIME, nonce=NONCE)
        assert provider.verify_signature(BODY, LEGACY)

    def test_without_a_secret(self) -> None:
        """The error says what is missing, and where."""
        with pytest.raises(
            ValueError, match="webhook_secret must be provided in SinchConfig"
        ) as e:
            a_provider(None).verify_signature(BODY, SIGNED)
        assert isinstance(e.value, InvalidInputError)


class TestHandler(WebhookHandlerConformance):
    """The provider's reader of callbacks."""

    def make_handler(self) -> WebhookHandler:
        return a_provider().webhook()

    def good_request(self) -> WebhookRequest:
        return a_request(signed())


class TestVerify:
    """Who is believed at an endpoint."""

    @pytest.mark.parametrize("late", [-300, -299, 0, 299, 300])
    async def test_fresh(self, late: int) -> None:
        """Up to 300 seconds either way."""
        await a_provider().webhook().verify(a_request(signed(), at=NOW + late))

    @pytest.mark.parametrize("late", [-301, 301])
    async def test_stale(self, late: int) -> None:
        """Not a second more."""
        with pytest.raises(WebhookRefused, match="stale"):
            await a_provider().webhook().verify(a_request(signed(), at=NOW + late))

    @pytest.mark.parametrize("moment", ["-1", "soon", "1735689600.0", "9" * 400])
    async def test_no_time(self, moment: str) -> None:
        """A time that is none is refused."""
        with pytest.raises(WebhookRefused):
            await a_provider().webhook().verify(a_request(signed(timestamp=moment)))

    @pytest.mark.parametrize("name", [PREFIX, f"{PREFIX}-nonce", f"{PREFIX}-timestamp"])
    async def test_a_missing_header(self, name: str) -> None:
        """The refusal names it."""
        headers = {key: value for key, value in signed().items() if key != name}
        with pytest.raises(WebhookRefused, match=name):
            await a_provider().webhook().verify(a_request(headers))

    async def test_another_algorithm(self) -> None:
        """Only HmacSHA256; without the header it is taken as that."""
        with pytest.raises(WebhookRefused, match="HmacSHA256"):
            await a_provider().webhook().verify(a_request(signed(algorithm="HmacSHA1")))
        headers = signed()
        del headers[f"{PREFIX}-algorithm"]
        await a_provider().webhook().verify(a_request(headers))

    @pytest.mark.parametrize("signature", [NUMBERS, LEGACY])
    async def test_schemes_without_a_time(self, signature: str) -> None:
        """They could be repeated for ever, so an endpoint does not believe them."""
        with pytest.raises(WebhookRefused):
            await a_provider().webhook().verify(a_request({"x-sinch-signature": signature}))

    async def test_emoji_and_another_plan(self) -> None:
        """Bytes are signed; a secret of somebody else's is none of ours."""
        sim = SinchSimulator(webhook_secret=SECRET)
        body, headers = sim.callback(sim.inbound("\u2615"), timestamp=NOW)
        request = a_request(headers, body)
        await a_provider().webhook().verify(request)
        with pytest.raises(WebhookRefused):
            await a_provider("other").webhook().verify(request)
        changed = body.replace("\u2615".encode(), "\u2614".encode())
        with pytest.raises(WebhookRefused):
            await a_provider().webhook().verify(replace(request, body=changed))

    async def test_without_a_secret_it_says_so(self) -> None:
        """``signed`` is False, and the endpoint has to ask for a secret of its own."""
        handler = a_provider(None).webhook()
        assert handler.signed is False
        await handler.verify(a_request({}))
        assert a_provider().webhook().signed is True


class TestMessages:
    """``parse_sinch_webhook``."""

    def test_every_field(self) -> None:
        """Sender, ids, content and exactly four words of metadata."""
        payload = json.loads(BODY) | {"operator_id": "310260", "client_reference": "r-1"}
        message = parse_sinch_webhook(payload, "sms")
        assert (message.channel_id, message.sender_id) == ("sms", "14155550100")
        assert message.external_id == message.idempotency_key == "01FC66621XXXXX119Z8PMV1QPQ"
        assert message.content == TextContent(body="Hello")
        assert message.metadata == {
            "to": "14155550199",
            "received_at": "2025-01-01T00:00:00.000Z",
            "operator_id": "310260",
            "client_reference": "r-1",
        }

    def test_mms(self) -> None:
        """The sample of the vendor facts: an object for a body [V]."""
        media = {"url": "https://cdn.example.org/a.jpg", "content_type": "image/jpeg"}
        payload = {
            "type": "mo_media",
            "id": "01F",
            "from": "14155550100",
            "to": "14155550199",
            "body": {"message": "look", "media": [media | {"status": "Uploaded", "code": 0}]},
        }
        content = parse_sinch_webhook(payload, "sms").content
        expected = MediaContent(url=media["url"], mime_type="image/jpeg", caption="look")
        assert content == expected
        payload["body"]["media"].append(media | {"status": "Failed", "code": 1})
        assert parse_sinch_webhook(payload, "sms").content == expected

    def test_media_beside_the_text(self) -> None:
        """The shape the reference read still counts."""
        media = [{"url": f"https://cdn.test/{n}.png", "mimeType": "image/png"} for n in (1, 2)]
        payload = {"id": "m", "from": "1", "to": "2", "body": "look", "media": media}
        content = parse_sinch_webhook(payload, "sms").content
        assert isinstance(content, CompositeContent)
        assert content.parts[0] == TextContent(body="look")
        assert content.parts[2] == MediaContent(url=media[1]["url"], mime_type="image/png")

    def test_binary(self) -> None:
        """The body stays as it came, the header beside it."""
        payload = {"type": "mo_binary", "id": "m", "from": "1", "body": "AAEC", "udh": "050003"}
        message = parse_sinch_webhook(payload, "sms")
        assert message.content == TextContent(body="AAEC")
        assert message.metadata["udh"] == "050003"

    def test_absent_is_empty(self) -> None:
        """Only the sender must be there."""
        message = parse_sinch_webhook({"from": "1"}, "sms")
        assert (message.content, message.external_id) == (TextContent(body=""), None)
        assert set(message.metadata.values()) == {None}
        for payload in ({}, {"from": ""}, {"from": None}):
            with pytest.raises(WebhookError, match="from is missing"):
                parse_sinch_webhook(payload, "sms")

    def test_a_report_is_no_message(self) -> None:
        """The error says what to do [V]."""
        with pytest.raises(ValueError, match="delivery report"):
            parse_sinch_webhook(SinchSimulator().report("b-1"), "sms")

    @pytest.mark.parametrize(
        "payload",
        [
            {"from": {}},
            {"from": "1", "body": ["x"]},
            {"from": "1", "body": {"media": "x"}},
            {"from": "1", "media": [7]},
            {"from": "1", "to": ["2"]},
            {"type": ["mo_text"], "from": "1"},
            {"type": "delivery_report_sms", "statuses": [7]},
            {"type": "delivery_report_sms", "statuses": [{"recipients": 7}]},
        ],
    )
    def test_wrong_types(self, payload: dict[str, Any]) -> None:
        """A wrong type is an error that names the place."""
        with pytest.raises(WebhookError, match=" is "):
            parse_sinch_webhook(payload, "sms")

    def test_other_events(self) -> None:
        """What is neither a message nor a report gives nothing."""
        assert read({"type": "mo_future", "from": "1"}) == []


class TestReports:
    """What became of our batches [V]."""

    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("Queued", "queued"),
            ("Dispatched", "sent"),
            ("Delivered", "delivered"),
            ("DELIVERED", "delivered"),
            ("Aborted", "failed"),
            ("Cancelled", "failed"),
            ("Failed", "failed"),
            ("Expired", "failed"),
            ("Rejected", "failed"),
            ("Deleted", "failed"),
            ("Unknown", "unknown"),
            ("Something", "unknown"),
        ],
    )
    @pytest.mark.parametrize("kind", ["sms", "mms"])
    def test_one_recipient(self, word: str, status: str, kind: str) -> None:
        """Every word of the vendor has one of ours; the code counts when it failed."""
        payload = {
            "type": f"recipient_delivery_report_{kind}",
            "batch_id": "b-1",
            "recipient": "14155550100",
            "code": 402,
            "status": word,
            "at": "2026-01-01T00:00:01.000Z",
        }
        meta = extract_sms_meta("sinch", payload)
        assert (meta.is_inbound, meta.is_status) == (False, True)
        failed = status == "failed"
        assert read(payload) == [
            DeliveryStatus(
                provider="sinch",
                message_id="b-1",
                status=status,
                recipient="14155550100",
                error_code="402" if failed else None,
                error_message=word if failed else None,
                timestamp="2026-01-01T00:00:01.000Z",
                raw=payload,
            )
        ]

    def test_a_batch(self) -> None:
        """Of several statuses the worst counts."""
        statuses = [
            {"code": 0, "status": "Delivered", "count": 2, "recipients": ["1", "2"]},
            {"code": 406, "status": "Expired", "count": 1, "recipients": ["3"]},
            {"code": 401, "status": "Dispatched", "count": 1},
        ]
        payload = {"type": "delivery_report_sms", "batch_id": "b-1", "statuses": statuses}
        (status,) = read(payload)
        assert isinstance(status, DeliveryStatus)
        assert (status.status, status.error_code, status.recipient) == ("failed", "406", "3")
        assert status.raw == payload

    def test_an_empty_report(self) -> None:
        """Nothing is known, and nothing breaks."""
        (status,) = read({"type": "delivery_report_mms", "batch_id": "b"})
        assert isinstance(status, DeliveryStatus)
        assert (status.status, status.recipient, status.timestamp) == ("unknown", "", None)


VALID = [
    {
        "type": "mo_media",
        "id": "1",
        "from": "1",
        "to": "2",
        "body": {"message": "x", "media": [{"url": "https://a.test/", "status": "Uploaded"}]},
        "media": [{"url": "https://a.test/", "mimeType": "a/b"}],
    },
    {
        "type": "delivery_report_sms",
        "batch_id": "b",
        "statuses": [{"code": 1, "status": "Failed", "recipients": ["1"]}],
    },
]


class TestFuzz:
    """T8: whatever comes, a message or the documented error."""

    @settings(max_examples=200)
    @given(reshaped(VALID))
    def test_any_payload(self, payload: dict[str, Any]) -> None:
        """Neither parser nor reader raises anything but WebhookError."""
        for use in (lambda p: [parse_sinch_webhook(p, "sms")], read):
            try:
                found = use(payload)
            except WebhookError:
                continue
            assert all(isinstance(item, InboundMessage | DeliveryStatus) for item in found)
