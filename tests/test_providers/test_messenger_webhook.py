"""Messenger's callbacks: who is believed, and what is read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from pydantic import SecretStr

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers.messenger import (
    FacebookMessengerProvider,
    MessengerConfig,
    MessengerWebhook,
    parse_messenger_statuses,
    parse_messenger_webhook,
)
from roomkit.providers.messenger.webhook import read_messenger
from roomkit.providers.webhook import Signal, WebhookRequest
from roomkit.testing.conformance import WebhookHandlerConformance
from tests.test_providers._json_mutations import mutated

if TYPE_CHECKING:
    from roomkit.providers.webhook import WebhookHandler

SECRET = "0123456789abcdef0123456789abcdef"
BODY = (
    rb'{"object":"page","entry":[{"id":"111","time":1735689600000,"messaging":[{"sender":{"id":'
    rb'"222"},"recipient":{"id":"111"},"timestamp":1735689600000,"message":{"mid":"m_1",'
    rb'"text":"caf\u00e9 \u2615"}}]}]}'
)
SEAL = "sha256=d064a2e43d6037034e1838bd8297afd6bbd6d56ad9cb01a77d5f89c270d4c33d"
REAL_CHARACTERS = "sha256=93e22e82e8b1016c0d9881192fc4a3ed694cecf6028f029e357bbe05888a8287"
OLD_STYLE = "sha1=fe25831e56c6c7dfffb5a2907888b7506043f34c"
HEADER = "x-hub-signature-256"


def a_config(**changes: Any) -> MessengerConfig:
    given: dict[str, Any] = {
        "page_access_token": SecretStr("t"),
        "app_secret": SecretStr(SECRET),
        "verify_token": SecretStr("word"),
    }
    return MessengerConfig(**(given | changes))


def a_request(body: bytes = BODY, seal: str = SEAL, **changes: Any) -> WebhookRequest:
    request = WebhookRequest(
        method="POST",
        url="https://shop.test/webhooks/fb",
        headers={HEADER: seal, "content-type": "application/json"},
        query={},
        body=body,
        channel_id="fb",
    )
    return replace(request, **changes)


def seal_of(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def event(**fields: Any) -> dict[str, Any]:
    return {
        "sender": {"id": "222"},
        "recipient": {"id": "111"},
        "timestamp": 1735689600000,
        **fields,
    }


def page(*events: dict[str, Any]) -> dict[str, Any]:
    return {"object": "page", "entry": [{"id": "111", "messaging": list(events)}]}


def message(**fields: Any) -> dict[str, Any]:
    return page(event(message={"mid": "m_1", **fields}))


class TestConformance(WebhookHandlerConformance):
    """A handler like any other."""

    def make_handler(self) -> WebhookHandler:
        """Return one with a secret."""
        return MessengerWebhook(a_config())

    def good_request(self) -> WebhookRequest:
        """Return the worked vector."""
        return a_request()


class TestSignature:
    """X-Hub-Signature-256: the worked vectors, and everything that is not quite them."""

    provider = FacebookMessengerProvider(a_config())

    def test_the_worked_vectors(self) -> None:
        """Escaped characters were signed; real ones are another document."""
        assert self.provider.verify_signature(BODY, SEAL)
        real = json.dumps(json.loads(BODY), ensure_ascii=False, separators=(",", ":")).encode()
        assert not self.provider.verify_signature(real, SEAL)
        assert self.provider.verify_signature(real, REAL_CHARACTERS)
        assert not self.provider.verify_signature(BODY, OLD_STYLE)

    def test_every_changed_byte_counts(self) -> None:
        """One bit of the body or of the seal, anywhere, and it is no match."""
        for place in range(len(BODY)):
            changed = bytearray(BODY)
            changed[place] ^= 1
            assert not self.provider.verify_signature(bytes(changed), SEAL)
        for place in range(len(SEAL)):
            other = SEAL[:place] + chr(ord(SEAL[place]) ^ 1) + SEAL[place + 1 :]
            assert not self.provider.verify_signature(BODY, other)

    @pytest.mark.parametrize(
        "seal",
        [
            "",
            SEAL.removeprefix("sha256="),
            SEAL.upper(),
            SEAL[:-1],
            SEAL + "0",
            SEAL.replace("sha256", "sha512"),
            "sha256=" + base64.b64encode(bytes.fromhex(SEAL[7:])).decode(),
            f" {SEAL}",
            "sha256=\u00e9",
            "\ud800",
            seal_of(BODY, "f" * 32),
        ],
    )
    def test_other_seals(self, seal: str) -> None:
        """Truncated, of another algorithm or alphabet, of another app: all false, none raises."""
        assert not self.provider.verify_signature(BODY, seal)

    def test_bodies_written_again(self) -> None:
        """The same JSON in other bytes does not match; emoji and twin keys that do, do."""
        assert not self.provider.verify_signature(json.dumps(json.loads(BODY)).encode(), SEAL)
        for body in ('{"text":"\U0001f600"}'.encode(), b'{"a":1,"a":2}', b"", b"\xff\x00"):
            assert self.provider.verify_signature(body, seal_of(body))

    def test_secrets_are_rotated(self) -> None:
        """The old secret counts as long as it is named."""
        new = a_config(app_secret=SecretStr("n" * 32))
        both = a_config(app_secret=SecretStr("n" * 32), previous_secrets=[SecretStr(SECRET)])
        assert not FacebookMessengerProvider(new).verify_signature(BODY, SEAL)
        assert FacebookMessengerProvider(both).verify_signature(BODY, SEAL)
        assert FacebookMessengerProvider(both).verify_signature(BODY, seal_of(BODY, "n" * 32))

    def test_without_a_secret(self) -> None:
        """There is nothing to verify with, and the error says what to configure."""
        provider = FacebookMessengerProvider(a_config(app_secret=None))
        with pytest.raises(ValueError, match="app_secret must be provided in MessengerConfig"):
            provider.verify_signature(BODY, SEAL)
        assert not provider.webhook().signed

    @pytest.mark.parametrize("headers", [{}, {HEADER: ""}, {HEADER.upper(): SEAL}])
    async def test_the_handler_wants_the_header(self, headers: dict[str, str]) -> None:
        """Names are in lower case by then; missing or empty is refused."""
        with pytest.raises(WebhookRefused):
            await MessengerWebhook(a_config()).verify(a_request(headers=headers))


class TestChallenge:
    """The GET that opens an endpoint."""

    query = {  # noqa: RUF012
        "hub.mode": "subscribe",
        "hub.verify_token": "word",
        "hub.challenge": "1158201444",
    }

    async def test_the_right_word_is_answered(self) -> None:
        """With the challenge as plain text; it holds no message."""
        provider = FacebookMessengerProvider(a_config())
        handler = provider.webhook()
        request = a_request(b"", method="GET", headers={}, query=self.query)
        await handler.verify(request)
        assert handler.read(request) == []
        answer = handler.response(request)
        assert (answer.status, answer.body) == (200, b"1158201444")
        assert answer.content_type.startswith("text/plain")
        assert provider.verify_challenge(self.query) == "1158201444"

    @pytest.mark.parametrize(
        "changes",
        [
            {"hub.verify_token": "other"},
            {"hub.verify_token": ""},
            {"hub.verify_token": "w\u00f6rd"},
            {"hub.mode": "unsubscribe"},
        ],
    )
    async def test_anything_else_is_refused(self, changes: dict[str, str]) -> None:
        """403, and nothing of the challenge comes back."""
        handler = MessengerWebhook(a_config())
        request = a_request(b"", method="GET", headers={}, query=self.query | changes)
        with pytest.raises(WebhookRefused) as caught:
            await handler.verify(request)
        assert caught.value.status == 403
        assert handler.response(request).body == b""

    @pytest.mark.parametrize("missing", list(query))
    def test_each_part_is_needed(self, missing: str) -> None:
        """Mode, word and challenge."""
        provider = FacebookMessengerProvider(a_config())
        given = {key: value for key, value in self.query.items() if key != missing}
        assert provider.verify_challenge(given) is None

    def test_without_a_word_nobody_gets_in(self) -> None:
        """An empty or missing word is no word."""
        for token in (None, SecretStr("")):
            provider = FacebookMessengerProvider(a_config(verify_token=token))
            assert provider.verify_challenge({**self.query, "hub.verify_token": ""}) is None


class TestMessages:
    """What people say."""

    def test_a_text(self) -> None:
        """The contract's fields, exactly."""
        found = parse_messenger_webhook(json.loads(BODY), "fb")
        assert found == [
            InboundMessage(
                channel_id="fb",
                sender_id="222",
                content=TextContent(body="caf\u00e9 \u2615"),
                external_id="m_1",
                idempotency_key="m_1",
                metadata={"recipient_id": "111", "timestamp": 1735689600000},
            )
        ]

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            {"entry": None},
            {"entry": [{"messaging": None}]},
            {"entry": [{"standby": [event(message={"mid": "m", "text": "other app"})]}]},
            page(event(delivery={"mids": ["m_1"], "watermark": 1})),
            page(event(read={"watermark": 1})),
            page(event(referral={"ref": "x"}), event(pass_thread_control={})),
            message(),
            message(text="mine", is_echo=True, app_id=7),
            message(attachments=[{"type": "image", "payload": {"url": "ftp://x"}}]),
        ],
    )
    def test_what_is_no_message(self, payload: dict[str, Any]) -> None:
        """Receipts, the page's own echoes, other apps' business: nothing."""
        assert parse_messenger_webhook(payload, "fb") == []

    @pytest.mark.parametrize(
        ("kind", "url", "expected"),
        [
            ("image", "https://cdn.test/a.png?x=1", (MediaContent, "image/png")),
            ("image", "https://cdn.test/a.mp4", (MediaContent, "image/jpeg")),
            ("file", "https://cdn.test/a.pdf", (MediaContent, "application/pdf")),
            ("audio", "https://cdn.test/a", (AudioContent, "audio/mp4")),
            ("video", "https://cdn.test/a", (VideoContent, "video/mp4")),
            ("video", "https://[broken/a", (VideoContent, "video/mp4")),
        ],
    )
    def test_an_attachment(self, kind: str, url: str, expected: tuple[type, str]) -> None:
        """The media type is guessed within what the attachment says it is."""
        content = self.content(attachments=[{"type": kind, "payload": {"url": url}}])
        assert isinstance(content, expected[0])
        assert isinstance(content, MediaContent | AudioContent | VideoContent)
        assert (content.url, content.mime_type) == (url, expected[1])

    def test_a_place(self) -> None:
        """Coordinates become a location."""
        place = {"type": "location", "payload": {"coordinates": {"lat": 48.4, "long": -4.5}}}
        assert self.content(attachments=[place]) == LocationContent(latitude=48.4, longitude=-4.5)

    def test_a_shared_link(self) -> None:
        """What has no shape of its own is kept as words."""
        link = {"type": "fallback", "title": "News", "payload": {"url": "https://n.test"}}
        assert self.content(attachments=[link]) == TextContent(body="News https://n.test")

    def test_text_and_attachments(self) -> None:
        """A caption for one picture, a composite for more."""
        image = {"type": "image", "payload": {"url": "https://cdn.test/a.png"}}
        one = self.content(text="look", attachments=[image])
        assert isinstance(one, MediaContent)
        assert one.caption == "look"
        two = self.content(text="look", attachments=[image, image])
        assert isinstance(two, CompositeContent)
        assert [part.type for part in two.parts] == ["text", "media", "media"]

    def test_extras(self) -> None:
        """Quick reply, quote and sticker stand in the metadata."""
        sticker = {"type": "image", "payload": {"url": "https://x.test/a", "sticker_id": 369239}}
        payload = message(
            text="Yes",
            quick_reply={"payload": "Y"},
            reply_to={"mid": "m_0"},
            attachments=[sticker],
        )
        metadata = parse_messenger_webhook(payload, "fb")[0].metadata
        assert metadata["quick_reply_payload"] == "Y"
        assert metadata["reply_to_mid"] == "m_0"
        assert metadata["sticker_id"] == "369239"

    def test_a_button_that_was_pressed(self) -> None:
        """A postback is its label, with the payload beside it."""
        pressed = {"title": "Start", "payload": "GO", "mid": "m_2", "referral": {"ref": "ad"}}
        found = parse_messenger_webhook(page(event(postback=pressed)), "fb")[0]
        assert (found.content, found.external_id) == (TextContent(body="Start"), "m_2")
        assert found.metadata["postback_payload"] == "GO"
        assert found.metadata["referral"] == {"ref": "ad"}

    @pytest.mark.parametrize("timestamp", [None, "x", [], 10**300, True])
    def test_a_time_that_is_none(self, timestamp: Any) -> None:
        """It is 0, and the message counts."""
        payload = page({**event(message={"mid": "m", "text": "t"}), "timestamp": timestamp})
        assert parse_messenger_webhook(payload, "fb")[0].metadata["timestamp"] == 0

    @pytest.mark.parametrize(
        ("payload", "field"),
        [
            ({"entry": {}}, "entry"),
            ({"entry": [[]]}, "entry.0"),
            (page(event(message=[])), "message"),
            (page({"message": {"mid": "m", "text": "t"}}), "sender.id"),
            (message(text=["t"]), "text"),
            (message(attachments="x"), "attachments"),
            (message(attachments=[{"type": "location", "payload": {}}]), "coordinates"),
            (page(event(delivery={"mids": "m"})), "delivery.mids"),
        ],
    )
    def test_wrong_shapes(self, payload: dict[str, Any], field: str) -> None:
        """The error names the field."""
        with pytest.raises(WebhookError, match=field):
            parse_messenger_webhook(payload, "fb")

    @settings(max_examples=300, deadline=None)
    @given(
        payload=mutated(
            [
                message(
                    text="t",
                    quick_reply={"payload": "p"},
                    attachments=[
                        {"type": "image", "payload": {"url": "https://x.test/a"}},
                        {"type": "location", "payload": {"coordinates": {"lat": 1, "long": 2}}},
                    ],
                ),
                page(
                    event(postback={"title": "t", "payload": "p", "mid": "m"}),
                    event(delivery={"mids": ["m"], "watermark": 1}),
                    event(read={"watermark": 1}),
                    event(reaction={"mid": "m", "action": "react", "emoji": "+"}),
                    event(message_edit={"mid": "m", "text": "t", "num_edit": 1}),
                ),
            ]
        )
    )
    def test_whatever_comes(self, payload: dict[str, Any]) -> None:
        """Items or a WebhookError, nothing else."""
        try:
            found = read_messenger(payload, "fb")
        except WebhookError:
            return
        for item in found:
            if isinstance(item, Signal):
                item = item.to_inbound()
            assert item.model_dump()

    @staticmethod
    def content(**fields: Any) -> object:
        return parse_messenger_webhook(message(**fields), "fb")[0].content


class TestStatuses:
    """What became of our messages."""

    def test_receipts(self) -> None:
        """One status a delivered message; a read mark covers all before its time."""
        found = parse_messenger_statuses(
            page(
                event(delivery={"mids": ["m_1", "", "m_2"], "watermark": 1735689600000}),
                event(read={"watermark": 1735689601000}),
            )
        )
        assert [(s.message_id, s.status) for s in found] == [
            ("m_1", "delivered"),
            ("m_2", "delivered"),
            ("", "read"),
        ]
        assert found[2].timestamp == "2025-01-01T00:00:01+00:00"
        assert {(s.provider, s.recipient, s.sender) for s in found} == {
            ("messenger", "222", "111")
        }


class TestSignals:
    """What is about an earlier message."""

    def test_each_names_its_target(self) -> None:
        """A reaction given and taken back, an edit, a withdrawal; repeats have the same key."""
        payload = page(
            event(reaction={"mid": "m_0", "action": "react", "emoji": "\u2764"}),
            event(reaction={"mid": "m_0", "action": "unreact"}),
            event(message_edit={"mid": "m_3", "text": "new", "num_edit": 2}),
            event(message={"mid": "m_4", "is_deleted": True}),
        )
        found = read_messenger(payload, "fb")
        signals = [item for item in found if isinstance(item, Signal)]
        assert len(signals) == len(found) == 4
        assert [(s.type, s.target_message_id) for s in signals] == [
            (EventType.REACTION, "m_0"),
            (EventType.REACTION, "m_0"),
            (EventType.EDIT, "m_3"),
            (EventType.DELETE, "m_4"),
        ]
        said = [s.content.body for s in signals if isinstance(s.content, TextContent)]
        assert said == ["\u2764", "", "new"]
        assert len({s.idempotency_key for s in signals}) == 4
        assert read_messenger(payload, "fb") == found

    def test_they_are_no_messages(self) -> None:
        """The parse functions leave them out."""
        payload = page(event(reaction={"mid": "m_0", "action": "react", "emoji": "+"}))
        assert parse_messenger_webhook(payload, "fb") == []
        assert parse_messenger_statuses(payload) == []

    def test_a_batch_keeps_its_order(self) -> None:
        """Messages, statuses and signals come as Meta sent them."""
        payload = page(
            event(delivery={"mids": ["m_1"], "watermark": 1}),
            event(message={"mid": "m_2", "text": "t"}),
            event(reaction={"mid": "m_1", "action": "react", "emoji": "+"}),
        )
        kinds = [type(item) for item in read_messenger(payload, "fb")]
        assert kinds == [DeliveryStatus, InboundMessage, Signal]
