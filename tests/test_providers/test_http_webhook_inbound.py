"""Messages posted to us over HTTP: signatures of both kinds, and what is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.providers.http import (
    HTTPProviderConfig,
    HTTPWebhook,
    parse_http_webhook,
    verify_http_signature,
    verify_standard_webhook,
)
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import WebhookSimulator
from roomkit.testing.conformance import WebhookHandlerConformance

if TYPE_CHECKING:
    from roomkit.providers.webhook import WebhookHandler

SECRET = "whsec_cm9vbWtpdC1zdGFuZGFyZC13ZWJob29rcy1rZXktMDE="
OLD_SECRET = "whsec_cm9vbWtpdC1zdGFuZGFyZC13ZWJob29rcy1rZXktMDA="
MOMENT = 1795290000
BODY = b'{"type":"message","sender_id":"u1","text":"Hi"}'
HEADERS = {
    "webhook-id": "msg_2pQ7rooms",
    "webhook-timestamp": str(MOMENT),
    "webhook-signature": "v1,ogDTYgPcJdWFnjbChOgshOfSoQKrD4Zjb3QilyVFYcc=",
}
OLD_SIGNATURE = "v1,wqjv+568D6rDOhjq+cwEhqXC55ALi2RLs5597DVBbPU="
OWN_BODY = (
    b'{"recipient_id": "user-9", "channel_id": "ch1", "room_id": "test-room", '
    b'"content": {"type": "text", "body": "h\\u00e9llo"}, "metadata": {"k": 1}}'
)
OWN_SIGNATURE = "f0e98b0752a786e7497cdae7b1bf844b54af1d616cfb91b74f3d8b93729b3c66"


def handler(**settings: Any) -> HTTPWebhook:
    """Return a reader; by default of Standard Webhooks."""
    given_settings = {"secret": SECRET, "standard_webhooks": True, **settings}
    return HTTPWebhook(HTTPProviderConfig(webhook_url="https://x.test/", **given_settings))


def request(**changes: Any) -> WebhookRequest:
    """Return the vector of Standard Webhooks, at the moment it was signed."""
    vector = WebhookRequest(
        method="POST",
        url="https://hooks.test/webhooks/http",
        headers=HEADERS,
        query={},
        body=BODY,
        channel_id="http",
        received_at=float(MOMENT),
    )
    return replace(vector, **changes)


def simulated(**options: Any) -> WebhookRequest:
    """Return a request the simulator signs."""
    body = json.dumps({"sender_id": "u1", "body": "Hi \u2615"}).encode()
    signed = WebhookSimulator(**options).signature(body, "req-1", MOMENT)
    return request(body=body, headers={name.lower(): value for name, value in signed.items()})


class TestStandardHandler(WebhookHandlerConformance):
    """Standard Webhooks: every reader's duties."""

    def make_handler(self) -> WebhookHandler:
        return handler()

    def good_request(self) -> WebhookRequest:
        return request()


class TestPlainHandler(WebhookHandlerConformance):
    """RoomKit's own signature: the same."""

    def make_handler(self) -> WebhookHandler:
        return handler(secret="shh", standard_webhooks=False)

    def good_request(self) -> WebhookRequest:
        return simulated(secret="shh")


class TestTimestampHandler(WebhookHandlerConformance):
    """With a signed timestamp: the same."""

    def make_handler(self) -> WebhookHandler:
        return handler(secret="shh", standard_webhooks=False, sign_timestamp=True)

    def good_request(self) -> WebhookRequest:
        return simulated(secret="shh", sign_timestamp=True)


class TestStandardWebhooks:
    """The worked vectors are good, everything else is not."""

    @pytest.mark.parametrize(
        ("secrets", "signature", "good"),
        [
            ([SECRET], HEADERS["webhook-signature"], True),
            ([OLD_SECRET], OLD_SIGNATURE, True),
            ([SECRET, OLD_SECRET], OLD_SIGNATURE, True),
            ([SECRET], f"{OLD_SIGNATURE} {HEADERS['webhook-signature']}", True),
            ([SECRET], f"v1a,xyz v2,abc {HEADERS['webhook-signature']}", True),
            ([SECRET], OLD_SIGNATURE, False),
            ([OLD_SECRET], HEADERS["webhook-signature"], False),
            ([SECRET], HEADERS["webhook-signature"].removeprefix("v1,"), False),
            ([SECRET], HEADERS["webhook-signature"].replace("v1", "v2"), False),
            ([SECRET], HEADERS["webhook-signature"].replace("v1", "V1"), False),
            ([SECRET], HEADERS["webhook-signature"].rstrip("="), False),
            ([SECRET], HEADERS["webhook-signature"] + "=", False),
            ([SECRET], HEADERS["webhook-signature"].replace(" ", ","), True),
            ([SECRET], "v1,x " * 5000, False),
            ([SECRET], "v1,\u00e9\u2615", False),
            ([SECRET], "", False),
            ([], HEADERS["webhook-signature"], False),
        ],
    )
    def test_signatures(self, secrets: list[str], signature: str, good: bool) -> None:
        """Any one of several is enough, on both sides."""
        headers = {**HEADERS, "webhook-signature": signature}
        assert verify_standard_webhook(BODY, headers, secrets, now=MOMENT) is good

    def test_every_changed_byte(self) -> None:
        """In the body, the id and the timestamp."""
        for place in range(len(BODY)):
            changed = bytearray(BODY)
            changed[place] ^= 1
            assert not verify_standard_webhook(bytes(changed), HEADERS, [SECRET], now=MOMENT)
        for name in ("webhook-id", "webhook-timestamp"):
            for place in range(len(HEADERS[name])):
                text = HEADERS[name]
                other = f"{text[:place]}{chr(ord(text[place]) ^ 1)}{text[place + 1 :]}"
                headers = {**HEADERS, name: other}
                assert not verify_standard_webhook(
                    BODY, headers, [SECRET], now=MOMENT, tolerance_seconds=None
                )

    @pytest.mark.parametrize(
        ("off", "good"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)]
    )
    async def test_age(self, off: int, good: bool) -> None:
        """Five minutes either way, by the host's clock."""
        late = request(received_at=float(MOMENT + off))
        if good:
            await handler().verify(late)
            return
        with pytest.raises(WebhookRefused):
            await handler().verify(late)

    @pytest.mark.parametrize("moment", ["", "-1795290000", "1795290000.0", "now", "1" * 400])
    async def test_strange_moments(self, moment: str) -> None:
        """They are refused, and nothing raises anything else."""
        with pytest.raises(WebhookRefused):
            await handler().verify(request(headers={**HEADERS, "webhook-timestamp": moment}))

    @pytest.mark.parametrize("name", sorted(HEADERS))
    async def test_missing_headers(self, name: str) -> None:
        """The refusal names the header; names in another case are not ours to see."""
        for value in ({}, {name: ""}, {name.title(): HEADERS[name]}):
            headers = {k: v for k, v in HEADERS.items() if k != name}
            with pytest.raises(WebhookRefused, match=name):
                await handler().verify(request(headers={**headers, **value}))

    async def test_both_ways(self) -> None:
        """What the simulator signs is believed, emoji and all; a copied JSON is not."""
        both = simulated(secret=SECRET, standard_webhooks=True)
        await handler().verify(both)
        copied = json.dumps(json.loads(both.body), ensure_ascii=False).encode()
        with pytest.raises(WebhookRefused):
            await handler().verify(replace(both, body=copied))

    async def test_rotation(self) -> None:
        """The old secret counts while it is listed."""
        old = request(headers={**HEADERS, "webhook-signature": OLD_SIGNATURE})
        await handler(previous_secrets=[OLD_SECRET]).verify(old)
        with pytest.raises(WebhookRefused):
            await handler().verify(old)


class TestOwnSignature:
    """RoomKit's own: the hex HMAC-SHA256 of the body."""

    def test_the_vector(self) -> None:
        """Good as given, with one byte changed anywhere it is not."""
        assert verify_http_signature(OWN_BODY, OWN_SIGNATURE, "shh")
        for place in range(len(OWN_BODY)):
            changed = bytearray(OWN_BODY)
            changed[place] ^= 1
            assert not verify_http_signature(bytes(changed), OWN_SIGNATURE, "shh")
        for place in range(len(OWN_SIGNATURE)):
            other = "0" if OWN_SIGNATURE[place] != "0" else "1"
            text = f"{OWN_SIGNATURE[:place]}{other}{OWN_SIGNATURE[place + 1 :]}"
            assert not verify_http_signature(OWN_BODY, text, "shh")

    @pytest.mark.parametrize(
        "signature",
        ["", "x", OWN_SIGNATURE.upper(), f"sha256={OWN_SIGNATURE}", OWN_SIGNATURE[:-1], "\u00e9"],
    )
    def test_what_is_refused(self, signature: str) -> None:
        """No prefix, lower case, whole; nothing raises."""
        assert verify_http_signature(OWN_BODY, signature, "shh") is False
        assert verify_http_signature(OWN_BODY, OWN_SIGNATURE, "shi") is False

    @pytest.mark.parametrize("off", [0, 301])
    async def test_a_signed_moment(self, off: int) -> None:
        """It must be fresh; a plain signature is then not enough."""
        own = handler(secret="shh", standard_webhooks=False, sign_timestamp=True)
        signed = simulated(secret="shh", sign_timestamp=True)
        late = replace(signed, received_at=float(MOMENT + off))
        if off:
            with pytest.raises(WebhookRefused):
                await own.verify(late)
            return
        await own.verify(late)
        with pytest.raises(WebhookRefused, match="x-roomkit-timestamp"):
            await own.verify(simulated(secret="shh"))

    async def test_without_a_secret(self) -> None:
        """Nothing is signed, and the handler says so."""
        own = handler(secret=None, standard_webhooks=False)
        assert own.signed is False
        await own.verify(request(headers={}))
        assert handler().signed is True
        assert own.for_kind("x") is None
        assert own.content_types == {"application/json"}


class TestReading:
    """What the document says."""

    def test_the_contract(self) -> None:
        """All fields; the id is the key too."""
        payload = {"sender_id": "u", "body": "Hi", "external_id": "e1", "metadata": {"k": 1}}
        assert parse_http_webhook(payload, "http") == InboundMessage(
            channel_id="http",
            sender_id="u",
            content=TextContent(body="Hi"),
            external_id="e1",
            idempotency_key="e1",
            metadata={"k": 1},
        )

    def test_what_is_absent_is_empty(self) -> None:
        """Null counts as absent, numbers as text."""
        found = parse_http_webhook({"sender_id": 7, "body": None, "metadata": None}, "http")
        assert (found.sender_id, found.content, found.metadata) == ("7", TextContent(body=""), {})
        assert (found.external_id, found.idempotency_key) == (None, None)

    def test_nobody_sent_it(self) -> None:
        """A missing sender is a KeyError in the helper, a WebhookError at the endpoint."""
        with pytest.raises(KeyError, match="sender_id"):
            parse_http_webhook({"body": "x"}, "http")
        with pytest.raises(WebhookError, match="sender_id"):
            handler().read(request(body=b'{"body":"x"}'))

    @pytest.mark.parametrize("name", ["sender_id", "body", "external_id", "metadata"])
    def test_wrong_types(self, name: str) -> None:
        """They are a WebhookError that names the field."""
        with pytest.raises(WebhookError, match=name):
            parse_http_webhook({"sender_id": "u", name: ["x"]}, "http")

    def test_a_repeat_has_the_same_key(self) -> None:
        """The request's id, which is signed, is the key where the document has none."""
        (standard,) = handler().read(request())
        assert isinstance(standard, InboundMessage)
        assert standard.idempotency_key == "webhook-id:msg_2pQ7rooms"
        assert standard.content == TextContent(body="Hi")
        (long,) = handler().read(request(headers={"webhook-id": "x" * 500}))
        assert isinstance(long, InboundMessage)
        assert long.idempotency_key is None

    def test_only_what_is_signed_tells_repeats(self) -> None:
        """A header anybody can change never makes an old message new."""
        signed = simulated(secret="shh", sign_timestamp=True)
        (timed,) = handler(secret="shh", standard_webhooks=False, sign_timestamp=True).read(signed)
        assert isinstance(timed, InboundMessage)
        seal = signed.headers["x-roomkit-signature"]
        assert timed.idempotency_key == f"x-roomkit-signature:{seal}"
        plain = handler(secret="shh", standard_webhooks=False)
        (found,) = plain.read(simulated(secret="shh"))
        assert isinstance(found, InboundMessage)
        assert found.idempotency_key is None

    @settings(max_examples=300, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["sender_id", "body", "text", "external_id", "metadata", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
        )
    )
    def test_any_document(self, payload: dict[str, Any]) -> None:
        """It gives a message, or one of the two documented errors."""
        try:
            assert parse_http_webhook(payload, "http").sender_id
        except WebhookError:
            assert "sender_id" in payload
        except KeyError:
            assert "sender_id" not in payload


def test_a_sender_gives_our_inbox_no_orders() -> None:
    """What reads like a wish of a reader is left out of the metadata; the rest is kept."""
    wishes = {"accept_not_before": "9999-01-01T00:00:00+00:00", "accept_replace": True}
    body = {"sender_id": "u1", "body": "Hi", "metadata": {"k": 1, **wishes}}
    [message] = handler().read(request(body=json.dumps(body).encode()))
    assert isinstance(message, InboundMessage)
    assert message.metadata == {"k": 1}
