"""WhatsApp's callbacks: who is believed, and what is read."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import SecretStr

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.content import LocationContent, MediaContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers.webhook import Signal, WebhookRequest
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.providers.whatsapp.webhook import (
    WhatsAppWebhook,
    parse_whatsapp_statuses,
    parse_whatsapp_webhook,
    read_whatsapp,
)
from roomkit.testing.conformance import WebhookHandlerConformance
from tests.test_providers._json_mutations import mutated

SECRET = "0123456789abcdef0123456789abcdef"
BODY = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"333","changes":[{"field":"messages",'
    b'"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"14155550199",'
    b'"phone_number_id":"444"},"contacts":[{"profile":{"name":"Ana"},"wa_id":"14155550100"}],'
    b'"messages":[{"from":"14155550100","id":"wamid.AA==","timestamp":"1735689600","type":"text",'
    b'"text":{"body":"hola"}}]}}]}]}'
)
SEAL = "sha256=b39f317307673f638f709540d0712842dbdff74a23ff3eefeb41b2a5afb896c9"
GRAPH = "https://graph.facebook.com/v25.0"


def a_config(**changes: Any) -> WhatsAppCloudConfig:
    given: dict[str, Any] = {
        "access_token": SecretStr("t"),
        "phone_number_id": "444",
        "app_secret": SecretStr(SECRET),
        "verify_token": SecretStr("word"),
    }
    return WhatsAppCloudConfig(**(given | changes))


def a_request(body: bytes = BODY, seal: str = SEAL, **changes: Any) -> WebhookRequest:
    request = WebhookRequest(
        method="POST",
        url="https://shop.test/webhooks/wa",
        headers={"x-hub-signature-256": seal, "content-type": "application/json"},
        query={},
        body=body,
        channel_id="wa",
    )
    return replace(request, **changes)


def callback(*messages: dict[str, Any], **value: Any) -> dict[str, Any]:
    known = {
        "metadata": {"display_phone_number": "14155550199", "phone_number_id": "444"},
        "messages": list(messages),
        **value,
    }
    return {"entry": [{"id": "333", "changes": [{"field": "messages", "value": known}]}]}


def a_message(kind: str = "text", **fields: Any) -> dict[str, Any]:
    known = {"from": "1", "id": "wamid.1", "timestamp": "1735689600", "type": kind}
    return {**known, **fields}


def read_one(kind: str, **fields: Any) -> InboundMessage:
    found = parse_whatsapp_webhook(callback(a_message(kind, **fields)), "wa")
    assert len(found) == 1
    return found[0]


class TestConformance(WebhookHandlerConformance):
    """A handler like any other."""

    def make_handler(self) -> WhatsAppWebhook:
        """Return one with a secret."""
        return WhatsAppWebhook(a_config())

    def good_request(self) -> WebhookRequest:
        """Return the worked vector."""
        return a_request()


class TestSignature:
    """X-Hub-Signature-256, as at Messenger."""

    provider = WhatsAppCloudProvider(a_config())

    def test_the_worked_vector(self) -> None:
        """It matches; one bit elsewhere in body or seal, anywhere, does not."""
        assert self.provider.verify_signature(BODY, SEAL)
        for place in range(len(BODY)):
            changed = bytearray(BODY)
            changed[place] ^= 1
            assert not self.provider.verify_signature(bytes(changed), SEAL)
        for place in range(len(SEAL)):
            other = SEAL[:place] + chr(ord(SEAL[place]) ^ 1) + SEAL[place + 1 :]
            assert not self.provider.verify_signature(BODY, other)

    def test_rotation_and_no_secret(self) -> None:
        """The old secret counts while it is named; without any the error says what to do."""
        both = a_config(app_secret=SecretStr("n" * 32), previous_secrets=[SecretStr(SECRET)])
        assert WhatsAppCloudProvider(both).verify_signature(BODY, SEAL)
        none = WhatsAppCloudProvider(a_config(app_secret=None))
        with pytest.raises(ValueError, match="app_secret must be provided in WhatsAppCloudConfig"):
            none.verify_signature(BODY, SEAL)
        assert not none.webhook().signed

    async def test_the_challenge(self) -> None:
        """The right word is answered with the challenge, another with 403."""
        query = {
            "hub.mode": "subscribe",
            "hub.verify_token": "word",
            "hub.challenge": "42",
        }
        handler = self.provider.webhook()
        request = a_request(b"", method="GET", query=query)
        await handler.verify(request)
        assert handler.response(request).body == b"42"
        assert self.provider.verify_challenge(query) == "42"
        with pytest.raises(WebhookRefused) as caught:
            await handler.verify(a_request(b"", method="GET", query={}))
        assert caught.value.status == 403


class TestMessages:
    """What people say, by type."""

    def test_a_text(self) -> None:
        """All of the contract's fields."""
        payload = callback(
            a_message(**{"from": "14155550100", "text": {"body": "hola"}}),
            contacts=[{"profile": {"name": "Ana"}, "wa_id": "14155550100"}],
        )
        assert parse_whatsapp_webhook(payload, "wa") == [
            InboundMessage(
                channel_id="wa",
                sender_id="14155550100",
                content=TextContent(body="hola"),
                external_id="wamid.1",
                idempotency_key="wamid.1",
                metadata={
                    "provider": "whatsapp",
                    "phone_number_id": "444",
                    "display_phone_number": "14155550199",
                    "profile_name": "Ana",
                    "wa_id": "14155550100",
                    "user_id": None,
                    "timestamp": "2025-01-01T00:00:00+00:00",
                    "message_type": "text",
                },
            )
        ]

    def test_somebody_who_hides_the_number(self) -> None:
        """The business-scoped id is the sender."""
        user = "US.13491208655302741918"
        message = a_message(text={"body": "x"}, from_user_id=user)
        del message["from"]
        contacts = [{"wa_id": "9"}, {"user_id": user, "profile": {"name": "Ana"}}]
        found = parse_whatsapp_webhook(callback(message, contacts=contacts), "wa")[0]
        assert (found.sender_id, found.metadata["user_id"]) == (user, user)
        assert (found.metadata["profile_name"], found.metadata["wa_id"]) == ("Ana", None)

    @pytest.mark.parametrize(
        ("kind", "fields", "text", "extra"),
        [
            ("button", {"text": "Yes", "payload": "y"}, "Yes", {"button_payload": "y"}),
            (
                "interactive",
                {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}},
                "Yes",
                {"interactive_id": "yes"},
            ),
            (
                "interactive",
                {
                    "type": "list_reply",
                    "list_reply": {"id": "7", "title": "T", "description": "d"},
                },
                "T",
                {"interactive_id": "7", "interactive_description": "d"},
            ),
            (
                "interactive",
                {"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": "{}"}},
                "Sent",
                {"flow_response": "{}"},
            ),
            ("order", {"text": "please", "product_items": []}, "please", {}),
            ("interactive", {}, "", {}),
            ("text", {}, "", {}),
        ],
    )
    def test_words(self, kind: str, fields: dict[str, Any], text: str, extra: Any) -> None:
        """Buttons, lists and forms give their words, and what was chosen as metadata."""
        found = read_one(kind, **{kind: fields})
        assert found.content == TextContent(body=text)
        assert extra.items() <= found.metadata.items()

    @pytest.mark.parametrize(
        ("kind", "fields", "content"),
        [
            (
                "image",
                {"id": "M1", "mime_type": "image/jpeg", "caption": "c"},
                MediaContent(url=f"{GRAPH}/M1", mime_type="image/jpeg", caption="c"),
            ),
            (
                "document",
                {"id": "M1", "filename": "a.pdf", "url": "https://x.test/a"},
                MediaContent(
                    url="https://x.test/a",
                    mime_type="application/octet-stream",
                    filename="a.pdf",
                ),
            ),
            ("sticker", {"id": "a/b"}, MediaContent(url=f"{GRAPH}/a%2Fb", mime_type="image/webp")),
            ("video", {"id": "M"}, MediaContent(url=f"{GRAPH}/M", mime_type="video/mp4")),
            ("audio", {"caption": "c"}, TextContent(body="c")),
        ],
    )
    def test_files(self, kind: str, fields: dict[str, Any], content: Any) -> None:
        """A file is where the Graph API has it; its id stands in the metadata."""
        found = read_one(kind, **{kind: fields})
        assert found.content == content
        assert found.metadata.get("media_id") == fields.get("id")

    def test_a_voice_message(self) -> None:
        """Checksum and voice mark are kept."""
        voice = {"id": "M1", "mime_type": "audio/ogg; codecs=opus", "voice": True, "sha256": "ab"}
        found = read_one("audio", audio=voice)
        assert isinstance(found.content, MediaContent)
        assert found.content.mime_type == "audio/ogg; codecs=opus"
        assert (found.metadata["voice"], found.metadata["sha256"]) == (True, "ab")

    def test_the_handlers_files_are_at_its_own_graph(self) -> None:
        """Version and host are the config's."""
        handler = WhatsAppWebhook(
            a_config(api_base="http://127.0.0.1:1", api_version="v26.0", app_secret=None)
        )
        body = b'{"entry":[{"changes":[{"value":{"messages":[%s]}}]}]}'
        image = b'{"from":"1","type":"image","image":{"id":"M1"}}'
        found = handler.read(a_request(body % image))[0]
        assert isinstance(found, InboundMessage)
        assert isinstance(found.content, MediaContent)
        assert found.content.url == "http://127.0.0.1:1/v26.0/M1"

    def test_places(self) -> None:
        """Coordinates are a location; without them its words are a text."""
        place = {"latitude": 48.4, "longitude": -4.5, "name": "Pier", "url": "https://x.test"}
        found = read_one("location", location=place)
        assert found.content == LocationContent(latitude=48.4, longitude=-4.5, label="Pier")
        assert found.metadata["location_url"] == "https://x.test"
        words = read_one("location", location={"name": "Pier", "address": "1 Quay"})
        assert words.content == TextContent(body="Pier\n1 Quay")

    def test_contacts(self) -> None:
        """Names and numbers in words, the cards in the metadata."""
        cards = [
            {"name": {"formatted_name": "Bob"}, "phones": [{"phone": "+1"}, {"phone": "+2"}]},
            {"name": {"formatted_name": "Eve"}},
        ]
        found = read_one("contacts", contacts=cards)
        assert found.content == TextContent(body="Bob +1 +2\nEve")
        assert found.metadata["contacts"] == cards

    def test_where_it_comes_from(self) -> None:
        """Quotes, forwards and advertisements."""
        found = read_one(
            "text",
            text={"body": "x"},
            context={"id": "wamid.0", "from": "2", "frequently_forwarded": True},
            referral={"source_id": "ad"},
        ).metadata
        assert (found["context_id"], found["context_from"]) == ("wamid.0", "2")
        assert (found["forwarded"], found["referral"]) == (True, {"source_id": "ad"})

    @pytest.mark.parametrize("kind", ["system", "unsupported", "", "request_welcome"])
    def test_what_nobody_passes_on(self, kind: str) -> None:
        """It is left out, unless somebody asks for it."""
        payload = callback(a_message(kind, errors=[{"code": 131051}]))
        assert parse_whatsapp_webhook(payload, "wa") == []
        found = parse_whatsapp_webhook(payload, "wa", include_unsupported=True)[0]
        assert found.content == TextContent(body="")
        assert found.metadata["errors"] == [{"code": 131051}]

    def test_other_fields_are_left_out(self) -> None:
        """Echoes of the number's own messages come under another field."""
        payload = callback(a_message(text={"body": "mine"}))
        payload["entry"][0]["changes"][0]["field"] = "smb_message_echoes"
        assert read_whatsapp(payload, "wa") == []

    def test_another_number_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """The handler of one number takes nothing that was for another, and says so."""
        caplog.set_level(logging.WARNING)
        handler = WhatsAppWebhook(a_config(phone_number_id="555"))
        assert handler.read(a_request()) == []
        assert "another phone number" in caplog.text
        assert "4155550" not in caplog.text

    async def test_the_first_message_of_a_callback(self) -> None:
        """The provider's older way to read one."""
        provider = WhatsAppCloudProvider(a_config())
        payload = callback(a_message(text={"body": "x"}))
        assert (await provider.parse_webhook(payload)).content == TextContent(body="x")
        with pytest.raises(ValueError, match="no message"):
            await provider.parse_webhook({})

    @pytest.mark.parametrize(
        ("payload", "field"),
        [
            ({"entry": {}}, "entry"),
            ({"entry": [{"changes": 7}]}, "changes"),
            (callback({"type": "text"}), "from"),
            (callback(a_message(text=[])), "text"),
            (callback(a_message("location", location={"latitude": 91})), "location"),
            (callback(a_message(), contacts={}), "contacts"),
            (callback(statuses=[{"id": []}]), "id"),
        ],
    )
    def test_wrong_shapes(self, payload: dict[str, Any], field: str) -> None:
        """The error names the field."""
        with pytest.raises(WebhookError, match=field):
            read_whatsapp(payload, "wa")

    @settings(max_examples=300, deadline=None)
    @given(
        payload=mutated(
            [
                callback(
                    a_message("image", image={"id": "M", "mime_type": "image/png", "sha256": "s"}),
                    a_message("location", location={"latitude": 1, "longitude": 2}),
                    a_message("contacts", contacts=[{"name": {}, "phones": [{"phone": "1"}]}]),
                    a_message("reaction", reaction={"message_id": "m", "emoji": "+"}),
                    contacts=[{"wa_id": "1", "profile": {"name": "n"}}],
                ),
                callback(
                    a_message(text={"body": "t"}, context={"id": "c"}),
                    a_message("interactive", interactive={"type": "x", "x": {"id": "1"}}),
                    a_message("edit", edit={"original_message_id": "o", "message": a_message()}),
                    a_message("revoke", revoke={"original_message_id": "o"}),
                    statuses=[{"id": "w", "status": "failed", "errors": [{"code": 1}]}],
                ),
            ]
        )
    )
    def test_whatever_comes(self, payload: dict[str, Any]) -> None:
        """Items or a WebhookError, nothing else."""
        try:
            found = read_whatsapp(payload, "wa", include_unsupported=True)
        except WebhookError:
            return
        for item in found:
            assert item.model_dump()


class TestSignals:
    """What is about an earlier message."""

    cases = (
        (
            a_message("reaction", reaction={"message_id": "wamid.0", "emoji": "\U0001f44d"}),
            EventType.REACTION,
            "reaction_message_id",
            "\U0001f44d",
        ),
        (
            a_message("reaction", reaction={"message_id": "wamid.0"}),
            EventType.REACTION,
            "reaction_message_id",
            "",
        ),
        (
            a_message(
                "edit",
                edit={
                    "original_message_id": "wamid.0",
                    "message": {"type": "text", "text": {"body": "new"}},
                },
            ),
            EventType.EDIT,
            "edited_message_id",
            "new",
        ),
        (
            a_message(
                "edit",
                edit={
                    "original_message_id": "wamid.0",
                    "message": {"type": "image", "image": {"id": "M", "caption": "new"}},
                },
            ),
            EventType.EDIT,
            "edited_message_id",
            "new",
        ),
        (
            a_message("revoke", revoke={"original_message_id": "wamid.0"}),
            EventType.DELETE,
            "revoked_message_id",
            "",
        ),
    )

    @pytest.mark.parametrize(("message", "kind", "key", "text"), cases)
    def test_as_messages(
        self, message: dict[str, Any], kind: EventType, key: str, text: str
    ) -> None:
        """The parse function names the target in the metadata."""
        found = parse_whatsapp_webhook(callback(message), "wa")[0]
        assert (found.event_type, found.metadata[key]) == (kind, "wamid.0")
        assert found.content == TextContent(body=text)

    @pytest.mark.parametrize(("message", "kind", "key", "text"), cases)
    def test_as_signals(
        self, message: dict[str, Any], kind: EventType, key: str, text: str
    ) -> None:
        """The handler gives the engine a signal under the message's own id."""
        handler = WhatsAppWebhook(a_config())
        body = self.encoded(callback(message))
        seal = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        found = handler.read(a_request(body, seal))[0]
        assert isinstance(found, Signal)
        assert (found.type, found.target_message_id) == (kind, "wamid.0")
        assert (found.sender_id, found.idempotency_key) == ("1", "wamid.1")
        if kind is EventType.DELETE:
            assert found.content is None
        else:
            assert found.content == TextContent(body=text)

    @staticmethod
    def encoded(payload: dict[str, Any]) -> bytes:
        return json.dumps(payload).encode()


class TestStatuses:
    """What became of our messages."""

    def test_a_failure(self) -> None:
        """Code and details of the first error, the time in ISO 8601."""
        status = {
            "id": "wamid.9",
            "status": "failed",
            "timestamp": "1735689600",
            "recipient_id": "14155550100",
            "errors": [
                {
                    "code": 131047,
                    "title": "Re-engagement message",
                    "message": "Re-engagement message",
                    "error_data": {"details": "24 hours"},
                }
            ],
        }
        assert parse_whatsapp_statuses(callback(statuses=[status])) == [
            DeliveryStatus(
                provider="whatsapp",
                message_id="wamid.9",
                status="failed",
                recipient="14155550100",
                sender="14155550199",
                error_code="131047",
                error_message="24 hours",
                timestamp="2025-01-01T00:00:00+00:00",
                raw=status,
            )
        ]

    @pytest.mark.parametrize(
        ("error", "message"), [({"message": "m", "title": "t"}, "m"), ({"title": "t"}, "t")]
    )
    def test_words_of_an_error(self, error: dict[str, Any], message: str) -> None:
        """Details before message before title; a hidden number gives way to the user id."""
        status = {"id": "w", "status": "played", "recipient_user_id": "US.1", "errors": [error]}
        found = parse_whatsapp_statuses(callback(statuses=[status]))[0]
        assert (found.error_message, found.error_code) == (message, None)
        assert (found.status, found.recipient, found.timestamp) == ("played", "US.1", None)
