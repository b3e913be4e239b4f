"""Telnyx RCS: messages of an agent, their stand-ins, and what the agent may signal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from roomkit import RCSChannel
from roomkit._scope import Delivery, delivery_scope
from roomkit.models.content import CompositeContent, MediaContent, RichContent, TextContent
from roomkit.providers.rcs.base import RCSDeliveryResult
from roomkit.providers.telnyx import TelnyxRCSConfig, TelnyxRCSProvider
from roomkit.simulators import TelnyxSimulator, cut, error, ok
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent

KEY = "KEY_made_up_for_tests"
TO = "+14155550100"
PNG = "https://files.test/a.png"
AGENT = {"agent_id": "agent-simulated", "type": "RCS"}


def said(content: EventContent) -> RoomEvent:
    """Return an event with this content."""
    return make_event(content=content)


def answering(
    answer: Callable[[httpx.Request], httpx.Response], **settings: Any
) -> TelnyxRCSProvider:
    """Return a provider whose requests a function answers."""
    config = TelnyxRCSConfig(**{"api_key": KEY, "agent_id": "agent/1", **settings})
    return TelnyxRCSProvider(config, transport=httpx.MockTransport(answer))


class TestTelnyxRCSSuite(VendorSuite):
    """Whatever Telnyx answers, the provider has an answer."""

    secrets = (KEY,)
    codes: ClassVar[dict[int, str]] = {400: "telnyx_10015"}

    def make_simulator(self) -> TelnyxSimulator:
        sim = RCSOnly(api_key=KEY)
        assert sim.vendor == "telnyx"
        return sim

    def make_provider(self, settings: dict[str, Any]) -> TelnyxRCSProvider:
        return TelnyxRCSProvider(TelnyxRCSConfig(**settings))


class RCSOnly(TelnyxSimulator):
    """The simulator with the settings of the RCS provider."""

    @property
    def settings(self) -> dict[str, Any]:
        return self.rcs_settings


class TestTelnyxRCSConformance(ProviderConformance):
    """It is a provider like the others."""

    recipient = TO
    secrets = (KEY,)

    async def make_provider(self) -> TelnyxRCSProvider:
        ids = iter(range(1000))
        return answering(lambda _: httpx.Response(200, json={"data": {"id": f"r-{next(ids)}"}}))

    async def make_refused(self) -> TelnyxRCSProvider:
        return answering(lambda _: httpx.Response(400, json={"errors": [{"code": "10015"}]}))


@pytest.fixture
async def sim() -> AsyncIterator[TelnyxSimulator]:
    """The vendor; no RCS reaches +19995550100."""
    async with TelnyxSimulator(api_key=KEY, without_rcs=["+19995550100"]) as sim:
        yield sim


@pytest.fixture
async def provider(sim: TelnyxSimulator) -> AsyncIterator[TelnyxRCSProvider]:
    """The provider, at the vendor."""
    provider = TelnyxRCSProvider(TelnyxRCSConfig(**sim.rcs_settings))
    yield provider
    await provider.close()


def bodies(sim: TelnyxSimulator) -> list[dict[str, Any]]:
    """Return what was asked, in order."""
    return [request.json for request in sim.requests]


def contents(sim: TelnyxSimulator) -> list[dict[str, Any]]:
    """Return the messages the agent said, in order."""
    return [body["agent_message"]["content_message"] for body in bodies(sim)]


class TestRequests:
    """What goes out."""

    async def test_a_text(self, sim: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
        """It goes to the RCS route, not to the one of SMS [V]."""
        result = await provider.send(said(TextContent(body="Hello")), to=TO)
        assert isinstance(result, RCSDeliveryResult)
        assert (result.channel_used, result.fallback, result.metadata) == ("rcs", False, {})
        assert sim.requests[0].path == "/v2/messages/rcs"
        assert bodies(sim) == [
            {
                **AGENT,
                "to": TO,
                "messaging_profile_id": sim.rcs_settings["messaging_profile_id"],
                "agent_message": {"content_message": {"text": "Hello"}},
                "sms_fallback": {"from": "+15145550199", "text": "Hello"},
            }
        ]

    async def test_a_file_and_its_caption(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """Two messages, the file first; the second one's id in the metadata [V]."""
        content = MediaContent(url=PNG, mime_type="image/png", caption="Look")
        result = await provider.send(said(content), to=TO)
        assert contents(sim) == [{"content_info": {"file_url": PNG}}, {"text": "Look"}]
        first, second = (message.id for message in sim.sent)
        assert result.provider_message_id == first
        assert result.metadata == {"additional_message_ids": [second]}
        assert bodies(sim)[0]["mms_fallback"] == {"from": "+15145550199", "media_urls": [PNG]}

    async def test_buttons_and_quick_replies(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """They are suggestions: answers, pages and calls."""
        content = RichContent(
            body="Ready?",
            buttons=[
                {"text": "Yes", "payload": "yes"},
                {"text": "Our page, with a label too long", "url": "https://shop.test/"},
                {"text": "Call", "phone": "+14185550100"},
            ],
            quick_replies=["Later"],
        )
        assert (await provider.send(said(content), to=TO)).success
        page = {"url": "https://shop.test/", "application": "BROWSER", "webview_view_mode": "FULL"}
        label = "Our page, with a label t\u2026"
        assert contents(sim)[0]["text"] == "Ready?"
        assert contents(sim)[0]["suggestions"] == [
            {"reply": {"text": "Yes", "postback_data": "yes"}},
            {
                "action": {
                    "text": label,
                    "postback_data": "Our page, with a label too long",
                    "open_url_action": page,
                }
            },
            {
                "action": {
                    "text": "Call",
                    "postback_data": "Call",
                    "dial_action": {"phone_number": "+14185550100"},
                }
            },
            {"reply": {"text": "Later", "postback_data": "Later"}},
        ]
        fallback = bodies(sim)[0]["sms_fallback"]["text"]
        assert fallback.startswith("Ready?\n[Yes, Our page")

    async def test_more_buttons_than_fit(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """Labels beyond the eleventh are written out: none is lost."""
        content = RichContent(body="Which?", quick_replies=[f"no {n}" for n in range(13)])
        assert (await provider.send(said(content), to=TO)).success
        assert len(contents(sim)[0]["suggestions"]) == 11
        assert contents(sim)[0]["text"] == "Which?\n- no 11\n- no 12"

    async def test_buttons_without_words(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """A message needs a text: three dots stand in."""
        content = RichContent(body="", quick_replies=["Yes"])
        assert (await provider.send(said(content), to=TO)).success
        assert contents(sim)[0]["text"] == "\u2026"

    async def test_one_card(self, sim: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
        """It stands alone, after the text."""
        card = {
            "title": "Tea",
            "subtitle": "Green",
            "image_url": PNG,
            "buttons": [{"text": "Buy", "payload": "tea"}],
        }
        content = RichContent(body="Today", cards=[card])
        assert (await provider.send(said(content), to=TO)).success
        text, shown = contents(sim)
        assert text == {"text": "Today"}
        assert shown["rich_card"]["standalone_card"]["card_content"] == {
            "title": "Tea",
            "description": "Green",
            "media": {"height": "MEDIUM", "content_info": {"file_url": PNG}},
            "suggestions": [{"reply": {"text": "Buy", "postback_data": "tea"}}],
        }

    async def test_several_cards(self, sim: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
        """Up to ten are a carousel; the eleventh stands alone."""
        cards = [{"title": f"card {n}"} for n in range(11)]
        assert (await provider.send(said(RichContent(body="", cards=cards)), to=TO)).success
        first, second = contents(sim)
        assert len(first["rich_card"]["carousel_card"]["card_contents"]) == 10
        assert "standalone_card" in second["rich_card"]

    async def test_a_long_text(self, sim: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
        """It is cut at 3,072 characters."""
        assert (await provider.send(said(TextContent(body="a" * 4000)), to=TO)).success
        assert [len(message.text) for message in sim.sent] == [3072, 928]

    async def test_composite(self, sim: TelnyxSimulator, provider: TelnyxRCSProvider) -> None:
        """Files come first, then the words, then the buttons under them."""
        parts: list[EventContent] = [
            TextContent(body="One"),
            MediaContent(url=PNG, mime_type="image/png"),
            RichContent(body="Two", quick_replies=["ok"]),
        ]
        assert (await provider.send(said(CompositeContent(parts=parts)), to=TO)).success
        reply = {"reply": {"text": "ok", "postback_data": "ok"}}
        assert contents(sim) == [
            {"content_info": {"file_url": PNG}},
            {"text": "One Two", "suggestions": [reply]},
        ]


class TestFallback:
    """SMS where RCS does not reach."""

    async def test_it_says_which_way_it_took(self, provider: TelnyxRCSProvider) -> None:
        """The answer's type tells."""
        result = await provider.send(said(TextContent(body="x")), to="+19995550100")
        assert (result.success, result.channel_used, result.fallback) == (True, "sms", True)

    @pytest.mark.parametrize("config", [{}, {"fallback_from": None}], ids=["told", "no number"])
    async def test_without_it(self, sim: TelnyxSimulator, config: dict[str, Any]) -> None:
        """Told not to, or without a number to send from, nothing is asked to stand in."""
        provider = TelnyxRCSProvider(TelnyxRCSConfig(**(sim.rcs_settings | config)))
        result = await provider.send(
            said(TextContent(body="x")), to="+19995550100", fallback=bool(config)
        )
        await provider.close()
        assert (result.error, result.channel_used) == ("telnyx_40315", "rcs")
        assert result.metadata["message"] == "The number is not reachable by RCS"
        assert "sms_fallback" not in bodies(sim)[0]


class TestAnswers:
    """What Telnyx answers, as a result."""

    @pytest.mark.parametrize(
        ("body", "code", "message"),
        [
            (b'{"errors": [{"code": "40310", "detail": "No"}]}', "telnyx_40310", "No"),
            (b'{"errors": []}', "telnyx_invalid_request", ""),
            (b"<html>", "invalid_request", None),
        ],
        ids=["named", "unnamed", "no json"],
    )
    async def test_a_refusal(self, body: bytes, code: str, message: str | None) -> None:
        """The code is the vendor's, the message beside it."""
        result = await answering(lambda _: httpx.Response(400, content=body)).send(
            said(TextContent(body="x")), to=TO
        )
        assert isinstance(result, RCSDeliveryResult)
        assert (result.error, result.metadata.get("message")) == (code, message)
        assert result.metadata["retryable"] is False

    @pytest.mark.parametrize(("kind", "used"), [("RCS", "rcs"), (None, "rcs"), ("SMS", "sms")])
    async def test_the_kind_of_an_answer(self, kind: str | None, used: str) -> None:
        """RCS unless the answer says otherwise."""
        data = {"id": "m", **({"type": kind} if kind else {})}
        provider = answering(lambda _: httpx.Response(200, json={"data": data}))
        result = await provider.send(said(TextContent(body="x")), to=TO)
        assert (result.channel_used, result.fallback) == (used, used == "sms")
        assert result.provider_message_id == "m"


class TestIdempotency:
    """Repeats of one delivery are recognised by Telnyx."""

    async def test_a_send_of_unclear_outcome_is_safe(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """The connection breaks, the repeat gives the first one's id, one message exists."""
        assert provider.sends_idempotency_key
        assert RCSChannel("rcs", provider=provider).sends_idempotency_key
        sim.script(cut())
        token = delivery_scope.set(Delivery("event.rcs-channel.deliver"))
        try:
            first = await provider.send(said(TextContent(body="x")), to=TO)
            second = await provider.send(said(TextContent(body="x")), to=TO)
        finally:
            delivery_scope.reset(token)
        assert first.metadata["ambiguous"] is True
        assert second.provider_message_id == sim.sent[0].id
        assert len(sim.sent) == 1

    async def test_each_part_has_a_key(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """Two parts have two keys, the same over attempts, and spelled as Telnyx takes them."""
        content = MediaContent(url=PNG, mime_type="image/png", caption="Look")
        sim.script(ok(), error(500))
        token = delivery_scope.set(Delivery("e.c.deliver"))
        try:
            assert not (await provider.send(said(content), to=TO)).success
            assert (await provider.send(said(content), to=TO)).success
        finally:
            delivery_scope.reset(token)
        keys = [request.headers["idempotency-key"] for request in sim.requests]
        assert len(set(keys)) == 2
        assert keys[1] == keys[2]
        assert [bool(message.media) for message in sim.sent] == [True, False]

    async def test_none_outside_of_a_delivery(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """A send by hand is always new."""
        await provider.send(said(TextContent(body="x")), to=TO)
        assert "idempotency-key" not in sim.requests[0].headers


class TestCapability:
    """Whether a phone can receive RCS."""

    async def test_by_its_features(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """The documented answer lists features [V]."""
        assert await provider.check_capability(TO) is True
        assert await provider.check_capability("+19995550100") is False
        assert sim.requests[0].path == f"/v2/messaging/rcs/capabilities/agent-simulated/{TO}"

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (200, {"data": {"rcs_enabled": True}}, True),
            (200, {"data": {"rcs_enabled": False, "features": ["x"]}}, False),
            (200, {"data": {}}, False),
            (200, [], False),
            (404, {}, False),
        ],
        ids=["flag", "flag wins", "neither", "no object", "refused"],
    )
    async def test_other_answers(self, status: int, body: Any, expected: bool) -> None:
        """A flag counts where there is one; a failure is False. The path is escaped."""
        seen: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request.url.raw_path.decode())
            return httpx.Response(status, content=json.dumps(body))

        assert await answering(answer).check_capability("+1 415/0") is expected
        assert seen == ["/v2/messaging/rcs/capabilities/agent%2F1/+1%20415%2F0"]


class TestSignals:
    """What an agent may signal besides messages."""

    async def test_typing_and_reading(
        self, sim: TelnyxSimulator, provider: TelnyxRCSProvider
    ) -> None:
        """Each is an event of the agent; ``typing stopped`` does not exist."""
        assert await provider.send_typing(TO) is True
        assert await provider.send_typing(TO, is_typing=False) is False
        assert await provider.mark_read(["m-1", "m-2"], TO, TO) is True
        assert await provider.mark_read([], TO, TO) is False
        kinds = [body["agent_message"]["event"]["event_type"] for body in bodies(sim)]
        assert kinds == ["IS_TYPING", "READ"]
        assert not sim.sent

    async def test_what_it_is(self, provider: TelnyxRCSProvider) -> None:
        """Name, sender and what it can carry."""
        assert provider.sender_id == "agent-simulated"
        assert provider.name == "TelnyxRCSProvider"
        assert provider.supports_fallback
        carried = RCSChannel("rcs", provider=provider).capabilities()
        assert (carried.supports_buttons, carried.max_buttons) == (True, 11)
        assert (carried.supports_rich_text, carried.supports_edit) == (False, False)


class TestWithoutHttpx:
    """The constructor explains."""

    def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The text names package and class."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(ImportError, match="httpx is required for TelnyxRCSProvider"):
            TelnyxRCSProvider(TelnyxRCSConfig(api_key=KEY, agent_id="a"))
