"""Telnyx' callbacks: signatures, messages, statuses, edits, and anything strange."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from roomkit.exceptions import (
    InvalidInputError,
    MissingDependencyError,
    WebhookError,
    WebhookRefused,
)
from roomkit.models.content import (
    CompositeContent,
    MediaContent,
    TextContent,
)
from roomkit.providers.telnyx import (
    TelnyxConfig,
    TelnyxRCSConfig,
    TelnyxRCSProvider,
    TelnyxSMSProvider,
    parse_telnyx_rcs_webhook,
    parse_telnyx_webhook,
)
from roomkit.providers.telnyx.sms import _is_telnyx_inbound
from roomkit.providers.webhook import WebhookHandler, WebhookRequest
from roomkit.simulators import TelnyxSimulator
from roomkit.testing.conformance import WebhookHandlerConformance

PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
TIME = "1735689600"
BODY_A = b'{"data":{}}'
SIGNED_A = (
    "W+x+D7FLBUhbeVgBhDzdGZXCcCiJayUxgp7/vd4qH1f3sca9oliGsbPPD58TMTImy1TqL7HRCoPTzR+tLXkpCQ=="
)
BODY_B = (
    b'{"data":{"event_type":"message.received","id":"ev-1",'
    b'"occurred_at":"2025-01-01T00:00:00.000+00:00","payload":{"direction":"inbound",'
    b'"from":{"phone_number":"+14155550100"},"id":"msg-1","text":"Hi",'
    b'"to":[{"phone_number":"+14155550199"}]},"record_type":"event"},"meta":{"attempt":1}}'
)
SIGNED_B = (
    "RIDQGq6OHJ4+0zBB0tB2P50k+89Ymnw97MxmQ4zd1Fv6qaq6+BhxAuiX6tbcV8z+/BncB9nGJ8n5MsaBxM+RDA=="
)
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
NOW = 1735689600
PNG = "https://files.test/a.png"


def an_sms_provider(key: str | None = PUBLIC, **options: Any) -> TelnyxSMSProvider:
    """Return a provider that knows a public key."""
    previous = options.pop("previous", [])
    config = TelnyxConfig(api_key="KEY", from_number="+1", previous_public_keys=previous)
    return TelnyxSMSProvider(config, key, **options)


def an_rcs_provider(key: str | None = PUBLIC) -> TelnyxRCSProvider:
    """Return an RCS provider that knows a public key."""
    return TelnyxRCSProvider(TelnyxRCSConfig(api_key="KEY", agent_id="agent-1"), key)


def a_request(body: bytes, headers: dict[str, str], at: float = NOW) -> WebhookRequest:
    """Return a request as an endpoint makes it."""
    return WebhookRequest(
        "POST", "https://us.test/webhooks/sms", headers, {}, body, channel_id="sms", received_at=at
    )


def signed(signature: str = SIGNED_B, timestamp: str = TIME) -> dict[str, str]:
    """Return the vendor's headers."""
    return {"telnyx-signature-ed25519": signature, "telnyx-timestamp": timestamp}


def an_event(event_type: str, payload: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Return a decoded callback."""
    return {"data": {"event_type": event_type, "payload": payload, **data}}


def an_inbound(**payload: Any) -> dict[str, Any]:
    """Return a decoded inbound message."""
    fields = {"direction": "inbound", "id": "m1", "from": {"phone_number": "+14155550100"}}
    return an_event("message.received", fields | payload)


class TestWorkedVectors:
    """The vectors of the vendor facts, true as given and false in every other way."""

    @pytest.mark.parametrize(
        ("body", "signature"), [(BODY_A, SIGNED_A), (BODY_B, SIGNED_B)], ids=["A", "B"]
    )
    def test_true_as_given(self, body: bytes, signature: str) -> None:
        """Both providers accept them, old as they are: freshness is opt-in."""
        assert len(BODY_B) == 280
        assert an_sms_provider().verify_signature(body, signature, TIME) is True
        assert an_rcs_provider().verify_signature(body, signature, TIME) is True

    def test_every_changed_byte(self) -> None:
        """One bit anywhere in body, signature, time or key makes it false."""
        provider = an_sms_provider()
        for place in range(len(BODY_A)):
            body = bytearray(BODY_A)
            body[place] ^= 1
            assert not provider.verify_signature(bytes(body), SIGNED_A, TIME)
        seal = base64.b64decode(SIGNED_A)
        for place in range(len(seal)):
            changed = bytearray(seal)
            changed[place] ^= 1
            text = base64.b64encode(changed).decode()
            assert not provider.verify_signature(BODY_A, text, TIME)
        for place in range(len(TIME)):
            moved = TIME[:place] + str((int(TIME[place]) + 1) % 10) + TIME[place + 1 :]
            assert not provider.verify_signature(BODY_A, SIGNED_A, moved)
        assert not provider.verify_signature(BODY_A, SIGNED_A, "1735689601")
        assert not an_sms_provider(OTHER_KEY).verify_signature(BODY_A, SIGNED_A, TIME)

    @pytest.mark.parametrize(
        "signature",
        [
            "",
            "x",
            SIGNED_A[:-4],
            SIGNED_A + "AAAA",
            SIGNED_A[:-1],
            "é" * 88,
            "\ud800",
            " " + SIGNED_A,
        ],
    )
    def test_malformed_signatures(self, signature: str) -> None:
        """Truncated, over-long or no base64: False, never an error."""
        assert an_sms_provider().verify_signature(BODY_A, signature, TIME) is False

    @pytest.mark.parametrize(
        "timestamp", [None, "", "-1735689600", "now", "1735689600.0", "\u0661"]
    )
    def test_malformed_times(self, timestamp: str | None) -> None:
        """Without a readable time there is nothing that could be signed."""
        assert an_sms_provider().verify_signature(BODY_A, SIGNED_A, timestamp) is False

    @pytest.mark.parametrize("key", ["x", "AAAA", "é"])
    def test_a_key_that_is_none(self, key: str) -> None:
        """A key that cannot be read verifies nothing."""
        assert an_sms_provider(key).verify_signature(BODY_A, SIGNED_A, TIME) is False

    def test_reserialised_json(self) -> None:
        """The same data spelled otherwise is not what was signed."""
        body = json.dumps(json.loads(BODY_B)).encode()
        assert not an_sms_provider().verify_signature(body, SIGNED_B, TIME)

    def test_rotation(self) -> None:
        """The key before still counts when the config names it."""
        provider = an_sms_provider(OTHER_KEY, previous=[PUBLIC])
        assert provider.verify_signature(BODY_A, SIGNED_A, TIME)
        assert an_sms_provider(None, previous=[PUBLIC]).verify_signature(BODY_A, SIGNED_A, TIME)

    def test_freshness_on_request(self) -> None:
        """With ``tolerance_seconds`` an old signature is none."""
        assert not an_sms_provider(tolerance_seconds=300).verify_signature(BODY_A, SIGNED_A, TIME)

    def test_without_a_key(self) -> None:
        """The error says what is missing, and where."""
        for provider in (an_sms_provider(None), an_rcs_provider(None)):
            with pytest.raises(ValueError, match="public_key must be provided") as info:
                provider.verify_signature(BODY_A, SIGNED_A, TIME)
            assert isinstance(info.value, InvalidInputError)
            assert provider.name in str(info.value)

    def test_with_cryptography_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Either library will do."""
        monkeypatch.setitem(sys.modules, "nacl.signing", None)
        provider = an_sms_provider()
        assert provider.verify_signature(BODY_A, SIGNED_A, TIME)
        assert not provider.verify_signature(BODY_B, SIGNED_A, TIME)

    def test_without_a_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then it is an ImportError that names PyNaCl."""
        monkeypatch.setitem(sys.modules, "nacl.signing", None)
        name = "cryptography.hazmat.primitives.asymmetric.ed25519"
        monkeypatch.setitem(sys.modules, name, None)
        text = "PyNaCl is required for Telnyx signature verification"
        with pytest.raises(ImportError, match=text) as info:
            an_sms_provider().verify_signature(BODY_A, SIGNED_A, TIME)
        assert isinstance(info.value, MissingDependencyError)


class TestHandlerSMS(WebhookHandlerConformance):
    """The SMS provider's reader of callbacks."""

    def make_handler(self) -> WebhookHandler:
        return an_sms_provider().webhook()

    def good_request(self) -> WebhookRequest:
        return a_request(BODY_B, signed())


class TestHandlerRCS(WebhookHandlerConformance):
    """The RCS provider's reader of callbacks."""

    def make_handler(self) -> WebhookHandler:
        return an_rcs_provider().webhook()

    def good_request(self) -> WebhookRequest:
        sim = TelnyxSimulator()
        assert sim.public_key == PUBLIC
        return a_request(*sim.callback("message.received", sim.inbound_rcs("hi"), timestamp=NOW))


class TestVerify:
    """Who is believed at an endpoint."""

    @pytest.mark.parametrize("late", [-299, 0, 299, 300])
    async def test_fresh(self, late: int) -> None:
        """Up to 300 seconds either way."""
        await an_sms_provider().webhook().verify(a_request(BODY_B, signed(), NOW + late))

    @pytest.mark.parametrize("late", [-301, 301, 86_400])
    async def test_stale(self, late: int) -> None:
        """Not a second more, late or from the future."""
        with pytest.raises(WebhookRefused):
            await an_sms_provider().webhook().verify(a_request(BODY_B, signed(), NOW + late))

    @pytest.mark.parametrize("name", ["telnyx-signature-ed25519", "telnyx-timestamp"])
    async def test_a_missing_header(self, name: str) -> None:
        """The refusal names it."""
        headers = {key: value for key, value in signed().items() if key != name}
        with pytest.raises(WebhookRefused, match=name):
            await an_sms_provider().webhook().verify(a_request(BODY_B, headers))

    async def test_another_accounts_key(self) -> None:
        """A request signed for somebody else is refused."""
        sim = TelnyxSimulator(seed=bytes(32))
        request = a_request(*sim.callback("message.received", sim.inbound("x"), timestamp=NOW))
        with pytest.raises(WebhookRefused):
            await an_sms_provider().webhook().verify(request)
        await an_sms_provider(sim.public_key).webhook().verify(request)

    async def test_emoji_and_a_flipped_bit(self) -> None:
        """Bytes are signed, not characters."""
        sim = TelnyxSimulator()
        request = a_request(*sim.callback("message.received", sim.inbound("☕"), timestamp=NOW))
        handler = an_sms_provider().webhook()
        await handler.verify(request)
        assert "☕".encode() in request.body
        flipped = request.body.replace("☕".encode(), "☔".encode())
        with pytest.raises(WebhookRefused):
            await handler.verify(replace(request, body=flipped))

    async def test_without_a_key_it_says_so(self) -> None:
        """``signed`` is False, and the endpoint has to ask for a secret of its own."""
        handler = an_sms_provider(None).webhook()
        assert handler.signed is False
        await handler.verify(a_request(BODY_B, {}))
        assert an_sms_provider().webhook().signed is True


class TestParseSMS:
    """``parse_telnyx_webhook``."""

    def test_every_field(self) -> None:
        """Sender, ids, content and exactly two words of metadata."""
        payload = an_inbound(
            text="Hi", to=[{"phone_number": "+14155550199"}], received_at="2026-01-01T00:00:00Z"
        )
        message = parse_telnyx_webhook(payload, "sms")
        assert (message.channel_id, message.sender_id) == ("sms", "+14155550100")
        assert (message.external_id, message.idempotency_key) == ("m1", "m1")
        assert message.content == TextContent(body="Hi")
        assert message.metadata == {
            "destination_number": "+14155550199",
            "received_at": "2026-01-01T00:00:00Z",
        }

    def test_mms(self) -> None:
        """A null text is empty [V]; files are content."""
        media = [
            {"url": PNG, "content_type": "image/png"},
            {"url": "ftp://no", "content_type": ""},
        ]
        content = parse_telnyx_webhook(an_inbound(text=None, media=media), "sms").content
        assert content == MediaContent(url=PNG, mime_type="image/png")
        twice = parse_telnyx_webhook(an_inbound(text="x", media=[media[0]] * 2), "sms").content
        assert isinstance(twice, CompositeContent)
        assert len(twice.parts) == 3

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ({}, r"event_type=unknown, direction=unknown"),
            ({"data": None}, r"event_type=unknown"),
            (an_event("message.sent", {"direction": "outbound"}), r".*=message.sent, .*=outbound"),
            (an_event("message.received", {"direction": "outbound"}), r".*direction=outbound"),
        ],
        ids=["empty", "null", "sent", "outbound"],
    )
    def test_strict(self, payload: dict[str, Any], text: str) -> None:
        """What is no inbound message is refused, with a hint."""
        for parse in (parse_telnyx_webhook, parse_telnyx_rcs_webhook):
            with pytest.raises(ValueError, match=rf"^Not an inbound message \({text}") as info:
                parse(payload, "sms")
            assert "extract_sms_meta" in str(info.value)
            assert "meta.is_inbound" in str(info.value)

    def test_not_strict(self) -> None:
        """Anything of the right shape parses; absent is empty [V]."""
        payload = an_event("message.finalized", {"direction": "outbound", "text": "bye"})
        message = parse_telnyx_webhook(payload, "sms", strict=False)
        assert (message.sender_id, message.content) == ("", TextContent(body="bye"))
        assert parse_telnyx_webhook({}, "sms", strict=False).external_id is None

    def test_nobody_sent_it(self) -> None:
        """A sender is the one field that must be there."""
        for parse in (parse_telnyx_webhook, parse_telnyx_rcs_webhook):
            with pytest.raises(WebhookError, match="phone_number is missing"):
                parse(an_event("message.received", {"direction": "inbound"}), "sms")

    def test_the_private_view(self) -> None:
        """``_is_telnyx_inbound`` looks at both words."""
        assert _is_telnyx_inbound(an_inbound())
        assert not _is_telnyx_inbound(an_event("message.received", {"direction": "outbound"}))
        assert not _is_telnyx_inbound(an_event("message.sent", {"direction": "inbound"}))
        assert not _is_telnyx_inbound({"data": [1]})
