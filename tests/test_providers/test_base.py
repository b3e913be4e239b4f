"""What all kinds of providers have in common."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import subprocess
import sys

import pytest

from roomkit.exceptions import WebhookError
from roomkit.models.delivery import DeliveryStatus, ProviderResult
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent, TextContent
from roomkit.providers.base import Provider
from roomkit.providers.email.base import EmailProvider
from roomkit.providers.http import HTTPProvider
from roomkit.providers.messenger import MessengerProvider
from roomkit.providers.rcs import RCSProvider
from roomkit.providers.sms import SMSProvider
from roomkit.providers.teams import ConversationReferenceStore, TeamsProvider
from roomkit.providers.webhook import (
    Signal,
    WebhookHandler,
    WebhookItem,
    WebhookRequest,
    WebhookResponse,
)
from roomkit.providers.whatsapp.base import WhatsAppProvider

ABSTRACT = [
    Provider,
    SMSProvider,
    RCSProvider,
    EmailProvider,
    MessengerProvider,
    TeamsProvider,
    WhatsAppProvider,
    HTTPProvider,
    ConversationReferenceStore,
    WebhookHandler,
]


class CourierProvider(HTTPProvider):
    """The least a provider must be."""

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        return ProviderResult(success=True)


class TestAbstraction:
    """A kind is a promise to fill in, and asks for nothing but ``send``."""

    @pytest.mark.parametrize("kind", ABSTRACT)
    def test_a_base_class_cannot_be_made(self, kind: type) -> None:
        with pytest.raises(TypeError, match="abstract"):
            kind()

    async def test_a_provider_that_only_sends_has_none_of_the_options(self) -> None:
        provider = CourierProvider()
        assert provider.name == "CourierProvider"
        assert provider.capabilities() is None
        assert provider.webhook() is None
        assert await provider.send_typing("bob") is False
        assert await provider.mark_read(["m1"], "chat", "bob") is False
        assert await provider.send_reaction("chat", "bob", "m1", "👍") is False
        await provider.close()
        await provider.close()

    def test_a_provider_without_signatures_says_so_by_its_name(self) -> None:
        with pytest.raises(
            NotImplementedError,
            match=r"^CourierProvider does not support webhook signature verification$",
        ):
            CourierProvider().verify_signature(b"{}", "abc")


class TestExports:
    """Each package gives the names of its contract, and no more."""

    @pytest.mark.parametrize(
        ("package", "names"),
        [
            ("", set()),
            (".email", set()),
            (".whatsapp", set()),
            (".rcs", {"RCSProvider", "MockRCSProvider"}),
            (".messenger", {"MessengerProvider", "MockMessengerProvider"}),
            (".http", {"HTTPProvider", "MockHTTPProvider"}),
            (
                ".teams",
                {
                    "TeamsProvider",
                    "MockTeamsProvider",
                    "ConversationReferenceStore",
                    "InMemoryConversationReferenceStore",
                },
            ),
            (
                ".sms",
                {
                    "SMSProvider",
                    "MockSMSProvider",
                    "WebhookMeta",
                    "normalize_phone",
                    "is_valid_phone",
                },
            ),
        ],
    )
    def test_names_of_a_package(self, package: str, names: set[str]) -> None:
        module = importlib.import_module(f"roomkit.providers{package}")
        listed = set(getattr(module, "__all__", ()))
        assert names <= listed if names else not listed
        assert all(getattr(module, name) is not None for name in listed)

    def test_importing_the_kinds_brings_no_optional_package(self) -> None:
        """Everything here imports with pydantic alone."""
        kinds = ("sms", "rcs", "email.mock", "messenger", "teams", "whatsapp.mock", "http")
        code = "import sys\n"
        code += "".join(f"import roomkit.providers.{kind}\n" for kind in kinds)
        code += "print(sorted({'httpx', 'phonenumbers', 'jwt', 'nacl'} & sys.modules.keys()))"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "[]"


class StatusReader(WebhookHandler):
    """Reads ``<id>=<status>`` lines signed with HMAC-SHA256."""

    async def verify(self, request: WebhookRequest) -> None:
        expected = hmac.new(b"key", request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, request.headers.get("x-signature", "")):
            raise WebhookError("x-signature")

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        pairs = [line.split("=") for line in request.body.decode().splitlines()]
        return [DeliveryStatus(provider="lines", message_id=i, status=s) for i, s in pairs]


class TestWebhookSeam:
    """A handler needs a request and nothing of a web framework."""

    async def test_a_handler_verifies_reads_and_answers(self) -> None:
        body = b"m1=delivered\nm2=failed"
        signature = hmac.new(b"key", body, hashlib.sha256).hexdigest()
        request = WebhookRequest(
            "POST", "https://example.test/in", {"x-signature": signature}, {}, body
        )
        handler = StatusReader()
        await handler.verify(request)
        items = handler.read(request)
        assert [(i.message_id, i.status) for i in items if isinstance(i, DeliveryStatus)] == [
            ("m1", "delivered"),
            ("m2", "failed"),
        ]
        assert handler.response(request) == WebhookResponse(status=200, body=b"")

    def test_a_request_shows_no_secret(self) -> None:
        """Logging a request gives away neither token, address nor text."""
        request = WebhookRequest(
            "GET",
            "https://example.test/in?token=tok-1",
            {"authorization": "tok-1"},
            {"token": "tok-1"},
            b"tok-1",
            channel_id="sms-main",
        )
        assert "tok-1" not in repr(request)
        assert "sms-main" in repr(request)

    def test_a_signal_shows_neither_person_nor_text(self) -> None:
        signal = Signal(
            channel_id="wa",
            type=EventType.REACTION,
            sender_id="+15145550100",
            target_message_id="wamid.1",
            content=TextContent(body="secret"),
        )
        assert "5145550100" not in repr(signal)
        assert "secret" not in repr(signal)
        assert "wamid.1" in repr(signal)
