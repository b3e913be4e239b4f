"""SendGrid: mail out, as the vendor's contract has it."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from roomkit._scope import Delivery, delivery_scope
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
)
from roomkit.providers.sendgrid import SendGridConfig, SendGridEmailProvider, SendGridProvider
from roomkit.simulators import SendGridSimulator, error
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.event import EventContent, RoomEvent

KEY = "SG.made-up.not-a-real-key"
ANA = "ana@example.org"


def accepted(request: httpx.Request) -> httpx.Response:
    """Answer as the vendor does."""
    return httpx.Response(202, headers={"X-Message-Id": "14c5d75ce93"}, request=request)


def provider(
    answer: Callable[[httpx.Request], httpx.Response] = accepted,
    seen: list[httpx.Request] | None = None,
    **settings: Any,
) -> SendGridProvider:
    """Return a provider whose requests are kept and answered by a function."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return answer(request)

    config = SendGridConfig(**{"api_key": KEY, "from_email": "bot@in.example.com", **settings})
    return SendGridProvider(config, transport=httpx.MockTransport(handle))


async def sent(
    content: EventContent | None = None, event: RoomEvent | None = None, **settings: Any
) -> dict[str, Any]:
    """Return the document that goes to the vendor for a content."""
    seen: list[httpx.Request] = []
    vendor = provider(seen=seen, **settings)
    result = await vendor.send(event or make_event(content=content), to=ANA, subject="Hi")
    await vendor.close()
    assert result.success, result.error
    document: dict[str, Any] = json.loads(seen[0].content)
    return document


class TestAtTheSimulator(VendorSuite):
    """Everything every provider must do."""

    recipient = ANA
    secrets = (KEY,)
    unreadable_is_success = True
    codes: ClassVar = {
        400: "Bad Request",
        401: "The provided authorization grant is invalid, expired, or revoked",
        403: "The from address does not match a verified Sender Identity",
        404: "not found",
        429: "rate_limited",
    }

    def make_simulator(self) -> SendGridSimulator:
        return SendGridSimulator()

    def make_provider(self, settings: dict[str, Any]) -> SendGridProvider:
        return SendGridProvider(SendGridConfig(**settings))


class TestProvider(ProviderConformance):
    """It is a provider."""

    recipient = ANA
    secrets = (KEY,)

    async def make_provider(self) -> SendGridProvider:
        ids = iter(range(1000))

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(202, headers={"X-Message-Id": f"id{next(ids)}"}, request=request)

        return provider(answer)

    async def make_refused(self) -> SendGridProvider:
        return provider(lambda request: httpx.Response(400, request=request))


class TestRequest:
    """The request is what the contract says, field by field."""

    async def test_a_text(self) -> None:
        """One POST with a bearer, to the configured URL, and nothing that was not asked for."""
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, from_name="Bot")
        result = await vendor.send(make_event(body="Hello"), to=ANA, subject="Hi")
        await vendor.close()
        (request,) = seen
        assert str(request.url) == "https://api.sendgrid.com/v3/mail/send"
        assert request.method == "POST"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert json.loads(request.content) == {
            "personalizations": [{"to": [{"email": ANA}]}],
            "from": {"email": "bot@in.example.com", "name": "Bot"},
            "subject": "Hi",
            "content": [{"type": "text/plain", "value": "Hello"}],
        }
        assert result.provider_message_id == "14c5d75ce93"
        assert result.metadata == {}

    async def test_formatted_content_is_html(self) -> None:
        """The body is HTML whatever its format; a plain text goes before it."""
        html = {"type": "text/html", "value": "<b>Hi</b>"}
        assert (await sent(RichContent(body="<b>Hi</b>")))["content"] == [html]
        both = RichContent(body="<b>Hi</b>", format="html", plain_text="Hi")
        plain = {"type": "text/plain", "value": "Hi"}
        assert (await sent(both))["content"] == [plain, html]

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (SystemContent(body="Closed"), "Closed"),
            (TemplateContent(template_id="t1", body="Hello"), "Hello"),
            (EditContent(target_event_id="e", new_content=TextContent(body="New")), "New"),
            (LocationContent(latitude=1.5, longitude=2, label="Port"), "Port \u2013 1.5,2"),
            (
                MediaContent(url="https://x.test/a.pdf", mime_type="application/pdf", caption="A"),
                "A\nhttps://x.test/a.pdf",
            ),
            (
                CompositeContent(
                    parts=[TextContent(body="One"), AudioContent(url="https://x.test/a.ogg")]
                ),
                "One\n\nhttps://x.test/a.ogg",
            ),
        ],
    )
    async def test_the_text_of_other_content(self, content: EventContent, text: str) -> None:
        """Each has the words a reader needs; media at a URL is a link."""
        assert (await sent(content))["content"] == [{"type": "text/plain", "value": text}]

    async def test_text_beside_formatted_content(self) -> None:
        """A composite with formatted parts is one HTML, the other parts escaped."""
        parts = [TextContent(body="1 < 2\nyes"), RichContent(body="<b>Hi</b>")]
        found = (await sent(CompositeContent(parts=parts)))["content"]
        assert found == [{"type": "text/html", "value": "<p>1 &lt; 2<br>yes</p>\n<b>Hi</b>"}]

    async def test_data_urls_are_attachments(self) -> None:
        """A file in a data URL goes along in base64; the vendor always gets a body."""
        data = base64.b64encode(b"%PDF").decode()
        url = f"data:application/pdf;base64,{data}"
        content = MediaContent(url=url, mime_type="application/pdf", filename="bill.pdf")
        document = await sent(content)
        assert document["attachments"] == [
            {
                "content": data,
                "type": "application/pdf",
                "filename": "bill.pdf",
                "disposition": "attachment",
            }
        ]
        assert document["content"] == [{"type": "text/plain", "value": " "}]
        plain = MediaContent(url="data:text/csv,a%2Cb", mime_type="text/csv")
        (file,) = (await sent(plain))["attachments"]
        assert base64.b64decode(file["content"]) == b"a,b"
        assert file["filename"] == "attachment1.csv"

    async def test_a_template_of_the_vendor(self) -> None:
        """A template without a body is filled in by the vendor."""
        content = TemplateContent(template_id="d-123", parameters={"name": "Ana"})
        document = await sent(content)
        assert document["template_id"] == "d-123"
        assert document["personalizations"][0]["dynamic_template_data"] == {"name": "Ana"}
        assert "content" not in document

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TextContent(body=""), "empty_message"),
            (TemplateContent(template_id="t1"), "empty_message"),
            (MediaContent(url="data:nothing", mime_type="image/png"), "unsupported_media"),
            (
                MediaContent(url="data:image/png;base64,%%%", mime_type="image/png"),
                "unsupported_media",
            ),
        ],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """No request is made; a template without a body never says ``None``."""
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen)
        result = await vendor.send(make_event(content=content), to=ANA)
        assert (result.success, result.error) == (False, code)
        assert result.metadata == {"retryable": False}
        assert not seen

    async def test_options_that_were_asked_for(self) -> None:
        """Each of them is off by default."""
        event = make_event()
        document = await sent(
            event=event, reply_to="in@x.test", categories=["a"], custom_args=True, sandbox=True
        )
        assert document["reply_to"] == {"email": "in@x.test"}
        assert document["categories"] == ["a"]
        assert document["custom_args"] == {"event_id": event.id, "room_id": event.room_id}
        assert document["mail_settings"] == {"sandbox_mode": {"enable": True}}

    async def test_sender_and_subject(self) -> None:
        """Who sends may be said with each mail; a subject has one line."""
        seen: list[httpx.Request] = []
        vendor = provider(seen=seen, default_subject="News")
        await vendor.send(make_event(), to=ANA, from_="x@y.test", subject="a\r\nBcc: z@z.test")
        await vendor.send(make_event(metadata={"subject": "From the event"}), to=ANA)
        await vendor.send(make_event(metadata={"subject": 3}), to=ANA)
        await vendor.send(make_event(), to=ANA)
        documents = [json.loads(request.content) for request in seen]
        assert documents[0]["from"] == {"email": "x@y.test"}
        subjects = [document["subject"] for document in documents]
        assert subjects == ["a Bcc: z@z.test", "From the event", "", "News"]

    async def test_another_host(self) -> None:
        """Europe has its own URL; ``api_base`` replaces scheme, host and port only."""
        seen: list[httpx.Request] = []
        europe = "https://api.eu.sendgrid.com/v3/mail/send"
        await provider(seen=seen, base_url=europe).send(make_event(), to=ANA)
        await provider(seen=seen, api_base="http://127.0.0.1:1/").send(make_event(), to=ANA)
        assert [str(r.url) for r in seen] == [europe, "http://127.0.0.1:1/v3/mail/send"]


class TestThreads:
    """Mail that belongs together says so in its headers."""

    async def test_an_answer_names_what_it_answers(self) -> None:
        """``In-Reply-To`` and ``References`` come from the event."""
        metadata = {"in_reply_to": "b@x.test", "references": ["a@x.test", "b@x.test"]}
        document = await sent(event=make_event(metadata=metadata))
        assert document["headers"] == {
            "In-Reply-To": "<b@x.test>",
            "References": "<a@x.test> <b@x.test>",
        }

    async def test_headers_cannot_be_smuggled_in(self) -> None:
        """An id that is none is left out."""
        metadata = {"in_reply_to": "b@x.test>\r\nBcc: z@z.test", "references": ["ok@x.test", 3]}
        document = await sent(event=make_event(metadata=metadata))
        assert document["headers"] == {"References": "<ok@x.test>"}

    async def test_a_delivery_has_its_own_id(self) -> None:
        """Every attempt has the same ``Message-ID``, so that readers know a repeat."""
        event = make_event()
        token = delivery_scope.set(Delivery("d-1"))
        try:
            found = [(await sent(event=event))["headers"] for _ in range(2)]
        finally:
            delivery_scope.reset(token)
        assert found == [{"Message-ID": f"<{event.id}@in.example.com>"}] * 2


class TestRefusals:
    """What the vendor's errors become."""

    @pytest.mark.parametrize("status", [400, 503])
    async def test_the_vendors_words(self, status: int) -> None:
        """The first error's message is the code; its field goes along."""
        body = {"errors": [{"message": "The subject is required.", "field": "subject"}]}
        vendor = provider(lambda r: httpx.Response(status, json=body, request=r))
        result = await vendor.send(make_event(), to=ANA)
        assert result.error == "The subject is required."
        assert result.metadata["status_code"] == status
        assert result.metadata["field"] == "subject"
        assert result.metadata["retryable"] is (status == 503)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"null", b'{"errors":[]}', b'{"errors":"x"}', b"<html>", b"[" * 99999]
    )
    async def test_errors_without_words(self, body: bytes) -> None:
        """The status then says it."""
        vendor = provider(lambda r: httpx.Response(413, content=body, request=r))
        result = await vendor.send(make_event(), to=ANA)
        assert result.error == "http_413"
        assert result.metadata["retryable"] is False

    async def test_too_many_requests(self) -> None:
        """The wait is the time until ``X-RateLimit-Reset``; ``Retry-After`` counts otherwise."""
        headers = [{"X-RateLimit-Reset": str(int(time.time()) + 9)}, {"Retry-After": "4"}, {}]
        answers = iter(headers)
        vendor = provider(lambda r: httpx.Response(429, headers=next(answers), request=r))
        results = [await vendor.send(make_event(), to=ANA) for _ in headers]
        assert {result.error for result in results} == {"rate_limited"}
        assert results[0].metadata["retry_after"] == pytest.approx(9, abs=1.5)
        assert results[1].metadata["retry_after"] == 4.0
        assert "retry_after" not in results[2].metadata

    async def test_a_success_is_never_read(self) -> None:
        """The body of a success is empty; what stands there all the same does not matter."""
        for body in (b"", b"<html>", b"[]"):
            vendor = provider(lambda r, b=body: httpx.Response(202, content=b, request=r))
            result = await vendor.send(make_event(), to=ANA)
            assert (result.success, result.provider_message_id) == (True, None)

    async def test_a_replaced_client_counts(self) -> None:
        """A client given to the provider is used, and is not closed by it."""
        async with httpx.AsyncClient(transport=httpx.MockTransport(accepted)) as client:
            config = SendGridConfig(api_key=KEY, from_email="a@b.test")
            vendor = SendGridProvider(config, client=client)
            assert (await vendor.send(make_event(), to=ANA)).success
            await vendor.close()
            assert not client.is_closed


class TestSimulator:
    """The stand-in refuses what the vendor refuses."""

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"api_key": "wrong"}, "The provided authorization grant is invalid"),
            ({"from_email": "other@x.test"}, "The from address does not match"),
            ({"default_subject": None}, "The subject is required"),
            ({"categories": ["a", "a"]}, "At most 10 unique categories"),
        ],
    )
    async def test_it_refuses(self, settings: dict[str, Any], text: str) -> None:
        """With the vendor's own kind of error."""
        async with SendGridSimulator() as sim:
            vendor = SendGridProvider(SendGridConfig(**{**sim.settings, **settings}))
            result = await vendor.send(make_event(), to=ANA)
            await vendor.close()
            assert not result.success
            assert str(result.error).startswith(text)
            assert not sim.sent

    async def test_what_was_sent(self) -> None:
        """The mail itself is in ``data``, attachments too; the sandbox sends nothing."""
        async with SendGridSimulator() as sim:
            vendor = SendGridProvider(SendGridConfig(**sim.settings))
            media = MediaContent(url="data:text/plain,hi", mime_type="text/plain", caption="See")
            result = await vendor.send(make_event(content=media), to=ANA)
            await vendor.close()
            assert sim.sent[0].text == "See"
            assert sim.sent[0].data["attachments"][0]["filename"] == "attachment1.txt"
            assert result.provider_message_id == sim.sent[0].id
            sandbox = SendGridProvider(SendGridConfig(**{**sim.settings, "sandbox": True}))
            assert (await sandbox.send(make_event(), to=ANA)).success
            await sandbox.close()
            assert len(sim.sent) == 1

    async def test_a_script_goes_on(self) -> None:
        """After its steps it accepts again."""
        async with SendGridSimulator() as sim:
            sim.script(error(503))
            vendor = SendGridProvider(SendGridConfig(**sim.settings))
            assert (await vendor.send(make_event(), to=ANA)).error == "http_503"
            assert (await vendor.send(make_event(), to=ANA)).success
            await vendor.close()


class TestClass:
    """The class itself."""

    def test_both_names(self) -> None:
        """They are one class."""
        assert SendGridEmailProvider is SendGridProvider

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to install."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(
            ImportError, match=r"httpx is required for SendGridProvider.*\[httpx\]"
        ):
            SendGridProvider(SendGridConfig(api_key=KEY, from_email="a@b.test"))

    def test_defaults(self) -> None:
        """Those of the contract; a mistake does not show the key."""
        config = SendGridConfig(api_key=KEY, from_email="a@b.test")
        assert config.base_url == "https://api.sendgrid.com/v3/mail/send"
        assert (config.timeout, config.from_name) == (30.0, None)
        assert KEY not in repr(config)
        with pytest.raises(ValueError, match="from_email") as caught:
            SendGridConfig(api_key=KEY)
        assert KEY not in str(caught.value)
