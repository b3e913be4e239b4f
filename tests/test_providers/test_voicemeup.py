"""VoiceMeUp SMS and MMS: the requests, the answers, and what callbacks say."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit._scope import Delivery, delivery_scope
from roomkit.exceptions import WebhookError
from roomkit.models.content import CompositeContent, MediaContent, TemplateContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.providers.sms.meta import extract_sms_meta
from roomkit.providers.voicemeup import (
    VoiceMeUpConfig,
    VoiceMeUpMMSAggregator,
    VoiceMeUpSMSProvider,
)
from roomkit.providers.webhook import WebhookHandler, WebhookItem, WebhookRequest
from roomkit.simulators import VoiceMeUpSimulator, error, ok
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance, WebhookHandlerConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.content import EventContent
    from roomkit.models.delivery import ProviderResult

TOKEN = "token_made_up_for_tests"
TO = "+14155550100"
PNG = "https://files.test/a.png"


class TestVoiceMeUpSuite(VendorSuite):
    """Whatever VoiceMeUp answers, the provider has an answer."""

    secrets = (TOKEN,)
    codes: ClassVar[dict[int, str]] = {n: f"http_{n}" for n in (400, 401, 429)}
    gives_wait = False

    @pytest.fixture(autouse=True)
    def no_access_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The vendor's own log of requests, queries included, is none of ours."""
        monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", True)

    def make_simulator(self) -> VoiceMeUpSimulator:
        return VoiceMeUpSimulator(auth_token=TOKEN)

    def make_provider(self, settings: dict[str, Any]) -> VoiceMeUpSMSProvider:
        return VoiceMeUpSMSProvider(VoiceMeUpConfig(**settings))


class TestVoiceMeUpConformance(ProviderConformance):
    """It is a provider like the others."""

    recipient = TO
    secrets = (TOKEN,)

    async def make_provider(self) -> VoiceMeUpSMSProvider:
        ids = iter(range(1000))
        return a_provider(lambda _: queued(f"h{next(ids)}"))

    async def make_refused(self) -> VoiceMeUpSMSProvider:
        return a_provider(lambda _: an_answer("error", {"code": "no_funds", "_content": "No"}))


def an_answer(status: str, message: Any) -> httpx.Response:
    """Return an answer of the vendor."""
    details = {"response_status": status, "response_messages": {"message": message}}
    return httpx.Response(200, json={"response_details": details})


def queued(message_id: str) -> httpx.Response:
    """Return the answer to a message that was taken."""
    return an_answer("success", {"code": "queued_sms_hash", "_content": message_id})


def a_provider(
    answer: Callable[[httpx.Request], httpx.Response], **fields: Any
) -> VoiceMeUpSMSProvider:
    """Return a provider whose requests a function answers."""
    settings = {"username": "us", "auth_token": TOKEN, "from_number": "+15145550199"}
    config = VoiceMeUpConfig(**(settings | fields))
    return VoiceMeUpSMSProvider(config, transport=httpx.MockTransport(answer))


async def sent(
    content: EventContent, to: str = TO
) -> tuple[list[dict[str, list[str]]], ProviderResult]:
    """Send content; return the forms that went out, and the answer."""
    forms: list[dict[str, list[str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1.1/json/queue_sms"
        assert dict(request.url.params) == {"username": "us", "auth_token": TOKEN}
        forms.append(parse_qs(request.content.decode()))
        return queued(f"h{len(forms)}")

    provider = a_provider(answer)
    result = await provider.send(make_event(content=content), to=to)
    assert result.success, result.error
    await provider.close()
    return forms, result


class TestRequests:
    """What goes out."""

    async def test_a_text(self) -> None:
        """A form without plus signs; the account in the query."""
        (form,), result = await sent(TextContent(body="Hello & welcome"), to="++14155550100")
        assert form == {
            "source_number": ["15145550199"],
            "destination_number": ["14155550100"],
            "message": ["Hello & welcome"],
        }
        assert (result.provider_message_id, result.metadata) == ("h1", {})

    async def test_chunks(self) -> None:
        """Exactly 1,000 characters each; the last one's id, all in ``segment_ids``."""
        text = "".join(chr(97 + n % 26) for n in range(2500))
        forms, result = await sent(TextContent(body=text))
        assert [len(form["message"][0]) for form in forms] == [1000, 1000, 500]
        assert "".join(form["message"][0] for form in forms) == text
        assert result.provider_message_id == "h3"
        assert result.metadata == {"segment_ids": ["h1", "h2", "h3"]}
        assert len((await sent(TextContent(body="x" * 1000)))[0]) == 1

    async def test_a_file(self) -> None:
        """One message, the text uncut, the first file; the others are counted."""
        parts: list[EventContent] = [
            TextContent(body="x" * 1200),
            MediaContent(url=PNG, mime_type="image/png"),
            MediaContent(url="https://files.test/b.png", mime_type="image/png"),
        ]
        (form,), result = await sent(CompositeContent(parts=parts))
        assert form["attachment"] == [PNG]
        assert len(form["message"][0]) == 1200
        assert result.metadata == {"dropped_media": 1}

    async def test_a_file_without_words(self) -> None:
        """An empty message is left out."""
        (form,), _ = await sent(MediaContent(url=PNG, mime_type="image/png"))
        assert "message" not in form

    async def test_another_sender(self) -> None:
        """``from_`` takes the place of the configured number."""
        seen: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.extend(parse_qs(request.content.decode())["source_number"])
            return queued("h")

        await a_provider(answer).send(make_event(), to=TO, from_="+15145550111")
        assert seen == ["15145550111"]

    @pytest.mark.parametrize(
        ("environment", "host"),
        [("production", "clients"), ("sandbox", "dev-clients"), ("other", "clients")],
    )
    def test_environments(self, environment: str, host: str) -> None:
        """The sandbox has a host of its own."""
        config = VoiceMeUpConfig(
            username="u", auth_token=TOKEN, from_number="1", environment=environment
        )
        assert config.base_url == f"https://{host}.voicemeup.com/api/v1.1/json/"
        assert TOKEN not in repr(config)


class TestAnswers:
    """What VoiceMeUp answers, as a result."""

    @pytest.mark.parametrize(
        ("message", "code", "description"),
        [
            ({"code": "no_funds", "_content": "No money"}, "no_funds", "No money"),
            ([{"code": "no_funds", "_content": "No money"}, {}], "no_funds", "No money"),
            ({"code": "no_funds"}, "no_funds", "no_funds"),
            ({}, "unknown_error", "unknown_error"),
            (None, "unknown_error", "unknown_error"),
            (["x"], "unknown_error", "unknown_error"),
        ],
        ids=["one", "list", "no text", "empty", "null", "no objects"],
    )
    async def test_an_error(self, message: Any, code: str, description: str) -> None:
        """Its own code, and its explanation in the metadata; a repeat would not help."""
        provider = a_provider(lambda _: an_answer("error", message))
        result = await provider.send(make_event(), to=TO)
        assert (result.success, result.error) == (False, code)
        assert result.metadata == {"description": description, "retryable": False}

    @pytest.mark.parametrize("as_list", [False, True], ids=["one", "list"])
    async def test_success(self, as_list: bool) -> None:
        """The id is found in an object as in a list; the simulator plays both."""
        async with VoiceMeUpSimulator(as_list=as_list) as sim:
            provider = VoiceMeUpSMSProvider(VoiceMeUpConfig(**sim.settings))
            result = await provider.send(make_event(), to=TO)
            await provider.close()
            assert result.provider_message_id == sim.sent[0].id

    @pytest.mark.parametrize("body", [b"{}", b'{"response_details": null}'])
    async def test_success_without_an_id(self, body: bytes) -> None:
        """It is a success nobody can refer to."""
        provider = a_provider(lambda _: httpx.Response(200, content=body))
        result = await provider.send(make_event(), to=TO)
        assert (result.success, result.provider_message_id) == (True, None)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7"])
    async def test_a_success_nobody_can_read(self, body: bytes) -> None:
        """It may have been accepted, so it is never repeated by itself."""
        provider = a_provider(lambda _: httpx.Response(200, content=body))
        result = await provider.send(make_event(), to=TO)
        assert result.error == "invalid_response"
        assert result.metadata["ambiguous"] is True

    async def test_a_chunk_that_fails(self) -> None:
        """The failure says how many are through, and the next attempt sends the rest."""
        async with VoiceMeUpSimulator() as sim:
            provider = VoiceMeUpSMSProvider(VoiceMeUpConfig(**sim.settings))
            event = make_event(body="a" * 1000 + "b" * 1000 + "c")
            sim.script(ok(), error(503))
            token = delivery_scope.set(Delivery("d-1"))
            try:
                first = await provider.send(event, to=TO)
                second = await provider.send(event, to=TO)
            finally:
                delivery_scope.reset(token)
                await provider.close()
            assert (first.error, first.metadata["segments_sent"]) == ("http_503", 1)
            assert [m.text[0] for m in sim.sent] == ["a", "b", "c"]
            assert second.metadata["segment_ids"] == [m.id for m in sim.sent]

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=""), "empty_message"),
            (TemplateContent(template_id="t"), "empty_message"),
            (MediaContent(url="data:a/b;base64,A", mime_type="a/b"), "unsupported_media"),
        ],
        ids=["text", "template without body", "data url"],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """Nobody is asked."""
        provider = a_provider(lambda _: pytest.fail("a request went out"))
        assert (await provider.send(make_event(content=content), to=TO)).error == code

    def test_no_signatures(self) -> None:
        """VoiceMeUp has none."""
        with pytest.raises(NotImplementedError, match="VoiceMeUpSMSProvider does not support"):
            a_provider(lambda _: httpx.Response(500)).verify_signature(b"", "")

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The text names package and class."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        config = VoiceMeUpConfig(username="u", auth_token=TOKEN, from_number="1")
        with pytest.raises(ImportError, match="httpx is required for VoiceMeUpSMSProvider"):
            VoiceMeUpSMSProvider(config)


def read(body: bytes) -> list[WebhookItem]:
    """Return what the handler makes of a body."""
    return a_provider(lambda _: httpx.Response(500)).webhook().read(a_request(body))


def a_request(body: bytes) -> WebhookRequest:
    """Return a request as an endpoint makes it."""
    return WebhookRequest(
        "POST", "https://us.test/", {}, {}, body, channel_id="sms", received_at=1_800_000_000.0
    )


class TestHandler(WebhookHandlerConformance):
    """The provider's reader of callbacks."""

    def make_handler(self) -> WebhookHandler:
        handler = a_provider(lambda _: httpx.Response(500)).webhook()
        assert not handler.signed
        return handler

    def good_request(self) -> WebhookRequest:
        sim = VoiceMeUpSimulator()
        return a_request(sim.callback(sim.inbound("Hello", message_id="h1"))[0])


class TestCallbacks:
    """What a callback says."""

    @pytest.mark.parametrize("as_json", [False, True], ids=["form", "json"])
    def test_a_message(self, as_json: bool) -> None:
        """Sender, ids, content and exactly four words of metadata, form or JSON."""
        sim = VoiceMeUpSimulator()
        fields = sim.inbound("caf\u00e9 \u2615", attachment=PNG, message_id="h1")
        (item,) = read(sim.callback(fields, as_json=as_json)[0])
        assert isinstance(item, InboundMessage)
        assert (item.channel_id, item.sender_id) == ("sms", "14155550100")
        assert item.external_id == item.idempotency_key == "h1"
        assert item.content == MediaContent(
            url=PNG, mime_type="image/jpeg", caption="caf\u00e9 \u2615"
        )
        assert item.metadata == {
            "destination_number": "15145550199",
            "direction": "inbound",
            "datetime_transmission": "2026-01-01 00:00:00",
            "has_attachment": True,
        }

    def test_old_names(self) -> None:
        """``attachment_url`` and ``attachment_type`` count where the newer ones are absent."""
        fields = {"source_number": "1", "attachment_url": PNG, "attachment_type": "image/png"}
        (item,) = read(json.dumps(fields).encode())
        assert isinstance(item, InboundMessage)
        assert item.content == MediaContent(url=PNG, mime_type="image/png")

    def test_the_meta(self) -> None:
        """``extract_sms_meta`` reads every field; another direction is neither of both [V]."""
        fields = VoiceMeUpSimulator().inbound("Hi", attachment=PNG, message_id="h1")
        meta = extract_sms_meta("voicemeup", fields)
        assert (meta.sender, meta.recipient) == ("14155550100", "15145550199")
        assert (meta.body, meta.external_id) == ("Hi", "h1")
        assert meta.timestamp is not None
        assert meta.timestamp.isoformat() == "2026-01-01T00:00:00"
        assert meta.media_urls == [{"url": PNG, "mime_type": "image/jpeg"}]
        assert meta.is_inbound
        ours = extract_sms_meta("voicemeup", fields | {"direction": "outbound"})
        assert (ours.is_inbound, ours.is_status) == (False, False)
        assert read(json.dumps(fields | {"direction": "outbound"}).encode()) == []

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b"", "empty"),
            (b"message=x", "source_number is missing"),
            (b'{"source_number": ""}', "source_number is missing"),
            (b'{"source_number": {}}', "source_number is an object"),
            (b'{"source_number": "1", "attachment": []}', "attachment is a list"),
            (b'{"source_number"', "no JSON"),
        ],
    )
    def test_wrong(self, body: bytes, text: str) -> None:
        """The error names the field."""
        with pytest.raises(WebhookError, match=text):
            read(body)

    @settings(max_examples=300)
    @given(st.data())
    def test_any_payload(self, data: st.DataObject) -> None:
        """T8: a message, a KeyError without sender, or a WebhookError."""
        strange = st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text())
        fields = VoiceMeUpSimulator().inbound("x", attachment=PNG, message_id="h")
        payload = {
            name: data.draw(strange) if data.draw(st.integers(0, 5)) == 0 else value
            for name, value in fields.items()
            if data.draw(st.integers(0, 9))
        }
        try:
            found = VoiceMeUpMMSAggregator().take(payload, "sms")
        except WebhookError:
            return
        except KeyError:
            assert "source_number" not in payload
            return
        assert isinstance(found, InboundMessage)
