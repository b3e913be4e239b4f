"""Messenger: what is sent, and what Meta's answers mean."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import httpx
import pytest
from pydantic import SecretStr

from roomkit._scope import Delivery, delivery_scope
from roomkit.channels import MessengerChannel
from roomkit.exceptions import MissingDependencyError, ProviderDeliveryError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.providers.messenger import (
    FacebookMessengerProvider,
    MessengerConfig,
    MessengerProvider,
    MockMessengerProvider,
)
from roomkit.simulators import MessengerSimulator, error
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.providers.base import Provider
    from roomkit.simulators import VendorSimulator

ACCEPTED = {"recipient_id": "222", "message_id": "m_1"}
PNG = "https://files.test/a.png"


def a_provider(
    answer: Callable[[httpx.Request], httpx.Response] | None = None, **settings: Any
) -> tuple[FacebookMessengerProvider, list[httpx.Request]]:
    """Return a provider and the list its requests go to."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ACCEPTED) if answer is None else answer(request)

    config = MessengerConfig(**{"page_access_token": SecretStr("PAGE_TOKEN"), **settings})
    return FacebookMessengerProvider(config, transport=httpx.MockTransport(handle)), seen


def refusing(status: int, **answer: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, **answer)


async def messages(content: EventContent) -> list[dict[str, Any]]:
    """Return the ``message`` objects a content is sent as."""
    provider, seen = a_provider()
    result = await provider.send(an_event(content), to="222")
    assert result.success is bool(seen)
    return [json.loads(request.content)["message"] for request in seen]


class TestMockMessengerProvider:
    """Usable wherever a MessengerProvider is asked for."""

    async def test_it_sends_as_a_messenger_provider(self) -> None:
        """The mock remembers the call and has no typing signal."""
        mock = MockMessengerProvider()
        provider: MessengerProvider = mock
        event = an_event()
        assert (await provider.send(event, to="psid-1")).success
        assert mock.sent == [{"event": event, "to": "psid-1"}]
        assert await provider.send_typing("psid-1") is False


class TestAtTheSimulator(VendorSuite):
    """The vendor's whole answer book."""

    recipient = "222"
    codes = {  # noqa: RUF012
        400: "graph_100",
        401: "graph_190",
        403: "graph_200",
        404: "graph_803",
        429: "graph_613",
        500: "graph_2",
        503: "graph_2",
    }
    secrets = ("EAAsim-page-token", "0123456789abcdef0123456789abcdef", "sim-verify-word")

    def make_simulator(self) -> VendorSimulator:
        """Return Messenger."""
        return MessengerSimulator()

    def make_provider(self, settings: dict[str, Any]) -> Provider:
        """Return the provider."""
        return FacebookMessengerProvider(MessengerConfig(**settings))

    async def test_a_wait_in_minutes(self, sim: VendorSimulator, provider: Provider) -> None:
        """Graph's own way to say when calls are taken again."""
        sim.script(error(400, retry_after=180, code="4"))
        result = await provider.send(self.event(), to=self.recipient)
        assert result.error == "graph_4"
        assert result.metadata["retryable"] is True
        assert result.metadata["retry_after"] == 180.0

    async def test_everything_messenger_can_show(
        self, sim: VendorSimulator, provider: Provider
    ) -> None:
        """What we build of rich content and media is within the vendor's limits."""
        buttons = [{"text": f"Button number {n} of many", "payload": "p" * 2000} for n in range(5)]
        pages = [
            {"text": "Open", "url": "https://shop.test"},
            *buttons,
            {"text": "Call", "phone": "1"},
        ]
        cards = [
            {"title": "T" * 200, "subtitle": "S" * 200, "image_url": PNG, "buttons": pages},
            {"title": "bare"},
        ]
        replies = [f"answer {n} that is rather long" for n in range(20)]
        for content in (
            RichContent(body="b" * 5000, buttons=pages, cards=cards * 12, quick_replies=replies),
            RichContent(body="", buttons=buttons),
            RichContent(body="", quick_replies=["Yes"]),
            CompositeContent(
                parts=[
                    TextContent(body="x" * 4500),
                    MediaContent(url=PNG, mime_type="image/png", caption="c" * 2500),
                    VideoContent(url="https://files.test/v.mp4"),
                ]
            ),
        ):
            result = await provider.send(make_event(content=content), to="222")
            assert result.success, result

    async def test_outside_of_the_window_a_tag_helps(
        self, sim: VendorSimulator, provider: Provider
    ) -> None:
        """24 hours after the last message only a reason opens the door."""
        assert isinstance(sim, MessengerSimulator)
        sim.outside_window.add("222")
        late = await provider.send(self.event(), to="222")
        assert late.error == "graph_10"
        assert late.metadata["error_subcode"] == 2018278
        assert late.metadata["retryable"] is False
        tagged = make_event(metadata={"message_tag": "HUMAN_AGENT"})
        assert (await provider.send(tagged, to="222")).success
        assert sim.sent[0].data["messaging_type"] == "MESSAGE_TAG"
        assert sim.sent[0].data["tag"] == "HUMAN_AGENT"

    async def test_signals_go_out(self, sim: VendorSimulator, provider: Provider) -> None:
        """Typing and read marks are sender actions; reactions there are none."""
        assert isinstance(sim, MessengerSimulator)
        assert await provider.send_typing("222")
        assert await provider.send_typing("222", is_typing=False)
        assert await provider.mark_read(["m_1"], "222", "222")
        assert await provider.send_reaction("222", "222", "m_1", "+") is False
        assert sim.actions == [("222", "typing_on"), ("222", "typing_off"), ("222", "mark_seen")]
        sim.script(error(400))
        with pytest.raises(ProviderDeliveryError, match="graph_100"):
            await provider.send_typing("222")


class TestProviderConformance(ProviderConformance):
    """A Messenger provider is a provider."""

    recipient = "222"
    secrets = ("PAGE_TOKEN",)

    async def make_provider(self) -> Provider:
        """Return one whose vendor takes everything."""
        count = iter(range(1000))
        return a_provider(
            lambda _: httpx.Response(200, json={**ACCEPTED, "message_id": f"m_{next(count)}"})
        )[0]

    async def make_refused(self) -> Provider:
        """Return one whose vendor takes nothing."""
        return a_provider(refusing(400, json={"error": {"code": 100}}))[0]


class TestRequest:
    """Exactly what goes over the wire."""

    async def test_a_text(self) -> None:
        """The body is Meta's example, the token a header, the answer's id ours."""
        provider, (seen) = a_provider()
        result = await provider.send(an_event(), to="222")
        request = seen[0]
        assert str(request.url) == "https://graph.facebook.com/v21.0/me/messages"
        assert request.headers["authorization"] == "Bearer PAGE_TOKEN"
        assert json.loads(request.content) == {
            "recipient": {"id": "222"},
            "messaging_type": "RESPONSE",
            "message": {"text": "Hello"},
        }
        assert result.model_dump() == {
            "success": True,
            "provider_message_id": "m_1",
            "error": None,
            "metadata": {},
        }

    async def test_the_token_in_the_query(self) -> None:
        """The older style can still be had."""
        provider, seen = a_provider(auth_style="query")
        await provider.send(an_event(), to="222")
        assert seen[0].url.params["access_token"] == "PAGE_TOKEN"
        assert "authorization" not in seen[0].headers

    async def test_the_proof_of_the_app_secret(self) -> None:
        """The worked vector of the proof goes along when it is asked for."""
        secret = SecretStr("0123456789abcdef0123456789abcdef")
        provider, seen = a_provider(appsecret_proof=True, app_secret=secret)
        await provider.send(an_event(), to="222")
        assert seen[0].url.params["appsecret_proof"] == (
            "ba8ad20134854741a3a601092be902d51b22e97ca532d1c1cd9f005004d493a2"
        )

    async def test_purpose_and_quote(self) -> None:
        """An event's metadata names the purpose and what is answered; strangeness is ignored."""
        provider, seen = a_provider()
        told = {"messaging_type": "UPDATE", "reply_to_external_id": "m_0"}
        await provider.send(make_event(metadata=told), to="222")
        await provider.send(make_event(metadata={"messaging_type": 7, "message_tag": []}), to="2")
        bodies = [json.loads(request.content) for request in seen]
        assert (bodies[0]["messaging_type"], bodies[0]["reply_to"]) == ("UPDATE", {"mid": "m_0"})
        assert (bodies[1]["messaging_type"], "tag" in bodies[1]) == ("RESPONSE", False)

    async def test_a_client_may_be_replaced(self) -> None:
        """The client is read from its attribute at every call."""
        provider, _ = a_provider()
        answer = httpx.Response(200, json=ACCEPTED, request=httpx.Request("POST", "http://x"))
        client = AsyncMock()
        client.post.return_value = answer
        provider.__dict__["_client"] = client
        assert (await provider.send(an_event(), to="222")).provider_message_id == "m_1"
        assert client.post.await_args.args == ("https://graph.facebook.com/v21.0/me/messages",)

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what is missing, for what, and how to get it."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(
            MissingDependencyError, match="httpx is required for FacebookMessengerProvider"
        ) as caught:
            FacebookMessengerProvider(MessengerConfig(page_access_token=SecretStr("t")))
        assert "roomkit[httpx]" in str(caught.value)


class TestContent:
    """What each kind of content is sent as."""

    async def test_a_long_text_is_split_at_blanks(self) -> None:
        """2,000 characters a message, and all ids come back."""
        provider, seen = a_provider(
            lambda r: httpx.Response(200, json={"message_id": f"m_{len(r.content)}"})
        )
        words = " ".join(["word"] * 900)
        result = await provider.send(an_event(TextContent(body=words)), to="222")
        texts = [json.loads(r.content)["message"]["text"] for r in seen]
        assert [len(text) <= 2000 for text in texts] == [True, True, True]
        assert " ".join(texts) == words
        assert len(result.metadata["message_ids"]) == 3
        assert result.provider_message_id == result.metadata["message_ids"][0]

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (MediaContent(url=PNG, mime_type="image/png"), "image"),
            (MediaContent(url=PNG, mime_type="application/pdf"), "file"),
            (MediaContent(url=PNG, mime_type="video/mp4"), "video"),
            (AudioContent(url=PNG), "audio"),
            (VideoContent(url=PNG), "video"),
        ],
    )
    async def test_media_by_its_type(self, content: EventContent, kind: str) -> None:
        """The type of the attachment follows the media type."""
        attachment = {"type": kind, "payload": {"url": PNG, "is_reusable": False}}
        assert await messages(content) == [{"attachment": attachment}]

    async def test_a_caption_comes_second(self) -> None:
        """Attachments have no caption of their own."""
        media = MediaContent(url=PNG, mime_type="image/png", caption="look")
        assert [next(iter(m)) for m in await messages(media)] == ["attachment", "text"]

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (RichContent(body="**Hi**"), "**Hi**"),
            (RichContent(body="**Hi**", plain_text="Hi"), "Hi"),
            (TemplateContent(template_id="t", body="Hi"), "Hi"),
            (LocationContent(latitude=1.5, longitude=2.0, label="Pier"), "Pier \u2013 1.5,2"),
            (EditContent(target_event_id="e", new_content=TextContent(body="new")), "new"),
        ],
    )
    async def test_words(self, content: EventContent, text: str) -> None:
        """What has no shape of its own is sent as text."""
        assert await messages(content) == [{"text": text}]

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (TemplateContent(template_id="t"), "empty_message"),
            (DeleteContent(target_event_id="e"), "empty_message"),
            (
                MediaContent(url="data:image/png;base64,AA==", mime_type="image/png"),
                "unsupported_media",
            ),
        ],
    )
    async def test_nothing_to_send(self, content: EventContent, code: str) -> None:
        """Content without words or media of use is not tried."""
        provider, seen = a_provider()
        result = await provider.send(an_event(content), to="222")
        assert (result.error, result.metadata["retryable"], seen) == (code, False, [])

    async def test_buttons(self) -> None:
        """Up to three buttons are a template: answers, links and calls."""
        buttons = [
            {"text": "Yes", "payload": "y"},
            {"text": "See", "url": "https://shop.test"},
            {"text": "Call", "phone": "+15550100"},
        ]
        sent = await messages(RichContent(body="Well?", buttons=buttons))
        assert sent == [
            {
                "attachment": {
                    "type": "template",
                    "payload": {
                        "template_type": "button",
                        "text": "Well?",
                        "buttons": [
                            {"type": "postback", "title": "Yes", "payload": "y"},
                            {"type": "web_url", "url": "https://shop.test", "title": "See"},
                            {"type": "phone_number", "title": "Call", "payload": "+15550100"},
                        ],
                    },
                }
            }
        ]

    async def test_quick_replies_and_many_buttons(self) -> None:
        """Suggested answers hang on the last message; four buttons become such answers."""
        buttons = [{"text": name} for name in "ABCD"]
        sent = await messages(RichContent(body="Pick", buttons=buttons, quick_replies=["E"]))
        assert [reply["title"] for reply in sent[0]["quick_replies"]] == list("ABCDE")
        assert sent[0]["text"] == "Pick"

    async def test_cards(self) -> None:
        """Cards are a carousel; one of nothing but a title is a text."""
        card = {"title": "Boat", "subtitle": "red", "image_url": PNG}
        sent = await messages(RichContent(body="", cards=[card, {"title": "only"}, {}]))
        assert sent[0] == {"text": "only"}
        assert sent[1]["attachment"]["payload"]["elements"] == [
            {"title": "Boat", "subtitle": "red", "image_url": PNG}
        ]


class TestErrors:
    """What Meta's refusals become."""

    @pytest.mark.parametrize("code", [1, 2, 4, 17, 32, 341, 613, 1200, 80006])
    async def test_codes_that_pass(self, code: int) -> None:
        """These may be tried again, though they come with status 400."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": code, "message": "m"}}))
        result = await provider.send(an_event(), to="222")
        assert (result.error, result.metadata["message"]) == (f"graph_{code}", "m")
        assert result.metadata["retryable"] is True

    @pytest.mark.parametrize("code", [3, 10, 100, 190, 200, 299, 368, 551, 2022, 10903])
    async def test_codes_that_stay(self, code: int) -> None:
        """These fail again, whatever one does."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": code}}))
        result = await provider.send(an_event(), to="222")
        assert (result.error, result.metadata["retryable"]) == (f"graph_{code}", False)

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (refusing(400, json={}), "graph_400"),
            (refusing(418, json={"error": "no"}), "graph_418"),
            (refusing(400, json={"error": {"code": True, "message": 7}}), "graph_400"),
            (refusing(400, json={"error": {"code": "100"}}), "graph_100"),
            (refusing(400, text="<html>"), "http_400"),
            (refusing(429, json=[]), "http_429"),
            (refusing(200, json=[]), "invalid_response"),
        ],
    )
    async def test_answers_out_of_shape(
        self, answer: Callable[[httpx.Request], httpx.Response], code: str
    ) -> None:
        """The status stands in for a code that is missing; nothing raises."""
        provider, _ = a_provider(answer)
        assert (await provider.send(an_event(), to="222")).error == code

    @pytest.mark.parametrize(
        "usage",
        ["", "{", "[]", '{"1":[{}]}', '{"1":7}', '{"1":[{"estimated_time_to_regain_access":0}]}'],
    )
    async def test_a_usage_header_without_a_wait(self, usage: str) -> None:
        """What cannot be read is no wait; the general header then counts."""
        headers = {"x-business-use-case-usage": usage, "retry-after": "9"}
        provider, _ = a_provider(refusing(400, json={"error": {"code": 4}}, headers=headers))
        result = await provider.send(an_event(), to="222")
        assert result.metadata["retry_after"] == 9.0

    async def test_details(self) -> None:
        """Subcode and trace id are kept for Meta's support."""
        said = {"code": 100, "error_subcode": 2018001, "fbtrace_id": "A1"}
        provider, _ = a_provider(refusing(400, json={"error": said}))
        metadata = (await provider.send(an_event(), to="222")).metadata
        assert metadata == {
            "status_code": 400,
            "code": 100,
            "error_subcode": 2018001,
            "fbtrace_id": "A1",
            "retryable": False,
        }


class TestParts:
    """An event of several messages."""

    async def test_it_is_resumed_at_the_part_that_failed(self) -> None:
        """What has arrived is not sent again by the next attempt."""
        answers = iter([200, 503, 200])

        def answer(request: httpx.Request) -> httpx.Response:
            status = next(answers)
            return httpx.Response(status, json=ACCEPTED if status == 200 else {})

        provider, seen = a_provider(answer)
        event = an_event(TextContent(body="a" * 2000 + " b"))
        token = delivery_scope.set(Delivery("d-1"))
        try:
            first = await provider.send(event, to="222")
            assert (first.error, first.metadata["parts_sent"]) == ("graph_503", 1)
            assert (await provider.send(event, to="222")).success
        finally:
            delivery_scope.reset(token)
        texts = [json.loads(request.content)["message"]["text"][0] for request in seen]
        assert texts == ["a", "b", "b"]


class TestInAChannel:
    """What is left of the channel's capabilities over this provider."""

    def test_capabilities_in_force(self) -> None:
        """Nothing is taken back; templates are put into words."""
        channel = MessengerChannel("fb", provider=a_provider()[0])
        found = channel.capabilities()
        assert not found.supports_delete
        assert not found.supports_edit
        assert "template" not in found.media_types
        assert found.max_length == 2000
