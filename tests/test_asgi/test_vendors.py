"""Real vendors' callbacks through the app, with signatures worked out by their documents."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from roomkit import RoomKit
from roomkit.asgi import create_app
from roomkit.channels import MessengerChannel, SMSChannel
from roomkit.providers.messenger.config import MessengerConfig
from roomkit.providers.messenger.facebook import FacebookMessengerProvider
from roomkit.providers.telnyx.config import TelnyxConfig
from roomkit.providers.telnyx.sms import TelnyxSMSProvider
from roomkit.providers.twilio.config import TwilioConfig
from roomkit.providers.twilio.sms import TwilioSMSProvider
from roomkit.providers.voicemeup.config import VoiceMeUpConfig
from roomkit.providers.voicemeup.sms import VoiceMeUpSMSProvider
from roomkit.testing import ManualClock
from tests.test_asgi._driver import Answered, Client
from tests.test_asgi.test_webhooks import said

PUBLIC = "https://hooks.example.org"
JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")


class Served(Client):
    """A client of an app whose one channel, ``ch``, has a provider.

    Attributes:
        kit: The app's kit.
    """

    def __init__(self, provider: Any, channel: Any = SMSChannel, **options: Any) -> None:
        self.kit = RoomKit()
        self.kit.register_channel(channel("ch", provider=provider))
        super().__init__(create_app(self.kit, public_url=PUBLIC, **options))


class TestTwilio:
    """Signs the URL and the form's fields."""

    TOKEN = "tw_auth_token_0123456789abcdef01"

    @pytest.fixture
    def client(self) -> Served:
        """A client of an app with a Twilio number."""
        config = TwilioConfig(account_sid="AC1", auth_token=self.TOKEN, from_number="+14155550199")
        return Served(TwilioSMSProvider(config))

    async def call(self, client: Served, form: str, *, base: str = PUBLIC) -> Answered:
        """Send a form as Twilio does."""
        fields = "".join(k + v for k, v in sorted(parse_qsl(form, keep_blank_values=True)))
        text = f"{base}/webhooks/ch{fields}".encode()
        digest = hmac.new(self.TOKEN.encode(), text, hashlib.sha1).digest()
        headers = [FORM, ("x-twilio-signature", base64.b64encode(digest).decode())]
        return await client.request("POST", "/webhooks/ch", form.encode(), headers=headers)

    FORM = "AccountSid=AC1&Body=%C3%A9&From=%2B14155550100&MessageSid=SM1&NumMedia=0&To=%2B1415"

    async def test_a_message_is_answered_with_an_empty_response(self, client: Served) -> None:
        """Anything else Twilio would take for an answer, or for an error."""
        for _ in range(2):
            answered = await self.call(client, self.FORM)
            assert answered.status == 200
            assert b"<Response" in answered.body
            assert "xml" in answered.headers["content-type"]
        assert await said(client.kit) == ["é"]

    async def test_a_status_is_answered_204(self, client: Served) -> None:
        """There is nothing to say to it."""
        form = "AccountSid=AC1&MessageSid=SM1&MessageStatus=delivered&To=%2B14155550100"
        assert (await self.call(client, form)).status == 204

    async def test_the_signature_of_another_url_is_refused(self, client: Served) -> None:
        """Where it was signed for counts, not where it arrived."""
        assert (await self.call(client, self.FORM, base="http://hooks.test")).status == 401


class TestTelnyx:
    """Signs the body and the time with a key of its own."""

    BODY = (
        b'{"data":{"event_type":"message.received","id":"ev-1","occurred_at":'
        b'"2025-01-01T00:00:00.000+00:00","payload":{"direction":"inbound","from":'
        b'{"phone_number":"+14155550100"},"id":"msg-1","text":"Hi","to":'
        b'[{"phone_number":"+14155550199"}]},"record_type":"event"},"meta":{"attempt":1}}'
    )
    SIGNATURE = (
        "RIDQGq6OHJ4+0zBB0tB2P50k+89Ymnw97MxmQ4zd1Fv6qaq6+BhxAuiX6tbcV8z+/BncB9nGJ8n5MsaBxM+RDA=="
    )

    @pytest.mark.parametrize(("late", "expected"), [(0, 200), (299, 200), (301, 401)])
    async def test_the_apps_clock_decides_what_is_fresh(self, late: int, expected: int) -> None:
        """Freshness is on, whatever the provider's own helper does; a replay changes nothing."""
        config = TelnyxConfig(api_key="k", from_number="+14155550199")
        key = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
        clock = ManualClock(datetime(2025, 1, 1, tzinfo=UTC))
        await clock.advance(late)
        client = Served(TelnyxSMSProvider(config, key), clock=clock)
        headers = [
            JSON,
            ("telnyx-signature-ed25519", self.SIGNATURE),
            ("telnyx-timestamp", "1735689600"),
        ]
        for _ in range(2):
            answered = await client.request("POST", "/webhooks/ch", self.BODY, headers=headers)
            assert answered.status == expected
        expected_texts = ["Hi"] if expected == 200 else []
        assert await said(client.kit) == expected_texts


class TestMessenger:
    """Asks a challenge first, then signs the body."""

    BODY = (
        b'{"object":"page","entry":[{"id":"111","time":1735689600000,"messaging":[{"sender":'
        b'{"id":"222"},"recipient":{"id":"111"},"timestamp":1735689600000,"message":'
        b'{"mid":"m_1","text":"ca'
        b'f\\u00e9 \\u2615"}}]}]}'
    )
    SIGNATURE = "sha256=d064a2e43d6037034e1838bd8297afd6bbd6d56ad9cb01a77d5f89c270d4c33d"

    @pytest.fixture
    def client(self) -> Served:
        """A client of an app with a page."""
        config = MessengerConfig(
            page_access_token="t",
            app_secret="0123456789abcdef0123456789abcdef",
            verify_token="agreed",
        )
        return Served(FacebookMessengerProvider(config), MessengerChannel)

    @pytest.mark.parametrize(("word", "expected"), [("agreed", 200), ("guessed", 403)])
    async def test_the_challenge(self, client: Served, word: str, expected: int) -> None:
        """Repeated to whom knows the word."""
        query = f"hub.mode=subscribe&hub.verify_token={word}&hub.challenge=1158201444"
        answered = await client.get(f"/webhooks/ch?{query}")
        assert answered.status == expected
        assert (answered.body == b"1158201444") == (expected == 200)

    @pytest.mark.parametrize(("change", "expected"), [(b"", 200), (b" ", 401)])
    async def test_the_signature_covers_every_byte(
        self, client: Served, change: bytes, expected: int
    ) -> None:
        """A space more, and it is not what Meta signed."""
        headers = [JSON, ("x-hub-signature-256", self.SIGNATURE)]
        body = self.BODY + change
        answered = await client.request("POST", "/webhooks/ch", body, headers=headers)
        assert answered.status == expected
        texts = ["café ☕"] if expected == 200 else []
        assert await said(client.kit) == texts


class TestVoiceMeUp:
    """Signs nothing."""

    TOKEN = "a-token-nobody-guesses"
    BODY = (
        b'{"sms_log_id":"7","sms_hash":"h","direction":"inbound","source_number":"14155550100",'
        b'"destination_number":"14155550199","message":"Bonjour"}'
    )

    @pytest.mark.parametrize(
        ("options", "target", "expected"),
        [
            ({}, "/webhooks/ch", 401),
            ({"unsigned": {"ch": TOKEN}}, f"/webhooks/ch?token={TOKEN}", 200),
            ({"unsigned": {"ch": TOKEN}}, f"/webhooks/ch/{TOKEN}", 200),
            ({"unsigned": {"ch": TOKEN}}, "/webhooks/ch", 401),
        ],
        ids=["not configured", "in the query", "in the path", "missing"],
    )
    async def test_it_is_heard_with_a_token_alone(
        self, options: dict[str, Any], target: str, expected: int
    ) -> None:
        """The token is all that tells it from anybody else."""
        config = VoiceMeUpConfig(username="u", auth_token="t", from_number="+14155550199")
        client = Served(VoiceMeUpSMSProvider(config), **options)
        answered = await client.request("POST", target, self.BODY, headers=[JSON])
        assert answered.status == expected
        texts = ["Bonjour"] if expected == 200 else []
        assert await said(client.kit) == texts
