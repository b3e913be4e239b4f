"""Twilio SMS and RCS at the simulator: sends, refusals, signed callbacks into a kit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from roomkit import RoomKit, SMSChannel
from roomkit._scope import Delivery, delivery_scope
from roomkit.models.content import (
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    TemplateContent,
    TextContent,
)
from roomkit.providers.rcs.base import RCSDeliveryResult
from roomkit.providers.sms.meta import extract_sms_meta
from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
)
from roomkit.simulators import TwilioSimulator, error, ok
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.delivery import DeliveryStatus
    from roomkit.models.event import EventContent, RoomEvent

PHONE = "+14155550100"
PNG = "https://files.test/a.png"
TOKEN = "tw-canary-token"
TEMPLATE = "HX0123456789abcdef0123456789abcdef"


def said(content: EventContent) -> RoomEvent:
    return make_event(content=content)


def media(url: str = PNG, caption: str | None = None) -> MediaContent:
    return MediaContent(url=url, mime_type="image/png", caption=caption)


class TestTwilioSMS(VendorSuite):
    """What every vendor's provider does, by SMS."""

    codes: ClassVar = {400: "twilio_21211"}
    secrets = (TOKEN,)

    def make_simulator(self) -> TwilioSimulator:
        return TwilioSimulator(auth_token=TOKEN)

    def make_provider(self, settings: dict[str, Any]) -> TwilioSMSProvider:
        return TwilioSMSProvider(TwilioConfig(**settings))


class TestTwilioRCS(VendorSuite):
    """What every vendor's provider does, by RCS."""

    codes: ClassVar = {400: "twilio_21211"}
    secrets = (TOKEN,)

    def make_simulator(self) -> TwilioSimulator:
        return TwilioSimulator(auth_token=TOKEN)

    def make_provider(self, settings: dict[str, Any]) -> TwilioRCSProvider:
        service = "MG00000000000000000000000000000001"
        return TwilioRCSProvider(TwilioRCSConfig(**settings, messaging_service_sid=service))


@pytest.fixture
async def sim() -> AsyncIterator[TwilioSimulator]:
    """The vendor."""
    async with TwilioSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: TwilioSimulator) -> AsyncIterator[TwilioSMSProvider]:
    """A provider of SMS at the vendor."""
    provider = TwilioSMSProvider(TwilioConfig(**sim.settings))
    yield provider
    await provider.close()


class TestConformanceSMS(ProviderConformance):
    """The suite of every provider, by SMS."""

    secrets = ("tw-simulated-token",)

    @pytest.fixture(autouse=True)
    def _at(self, sim: TwilioSimulator) -> None:
        self.sim = sim

    async def make_provider(self) -> TwilioSMSProvider:
        return TwilioSMSProvider(TwilioConfig(**self.sim.settings))

    async def make_refused(self) -> TwilioSMSProvider:
        self.sim.script(error(400, code="21610"))
        return await self.make_provider()


class TestConformanceRCS(ProviderConformance):
    """The suite of every provider, by RCS."""

    secrets = ("tw-simulated-token",)

    @pytest.fixture(autouse=True)
    def _at(self, sim: TwilioSimulator) -> None:
        self.sim = sim

    async def make_provider(self) -> TwilioRCSProvider:
        return TwilioRCSProvider(TwilioRCSConfig(**self.sim.rcs_settings))

    async def make_refused(self) -> TwilioRCSProvider:
        self.sim.script(error(403))
        return await self.make_provider()


class TestWhatArrives:
    """The service reads what we mean."""

    async def test_media_reach_the_service(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """[V] MediaUrl is repeated; the numbered names alone would send no media."""
        content = CompositeContent(parts=[TextContent(body="Look"), media(), media(PNG + "?2")])
        result = await provider.send(said(content), PHONE)
        assert result.success
        assert sim.sent[0].media == (PNG, PNG + "?2")
        assert sim.sent[0].text == "Look"
        assert result.provider_message_id is not None
        assert result.provider_message_id.startswith("MM")

    async def test_more_than_ten_media_go_on(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """The eleventh is not lost: it comes in a second message."""
        parts: list[EventContent] = [media(f"{PNG}?{n}") for n in range(11)]
        result = await provider.send(said(CompositeContent(parts=parts)), PHONE)
        assert [len(m.media) for m in sim.sent] == [10, 1]
        assert result.metadata == {"message_ids": [m.id for m in sim.sent]}
        assert result.provider_message_id == sim.sent[0].id

    @pytest.mark.parametrize(
        "text",
        ["word " * 700, "x" * 3300, "\U0001f44d\U0001f3fd" * 900, "\u20ac" * 1700],
        ids=["words", "no blanks", "emoji", "extension"],
    )
    async def test_a_long_text_goes_on(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider, text: str
    ) -> None:
        """No message is longer than the vendor takes, and none tears a character."""
        result = await provider.send(said(TextContent(body=text)), PHONE)
        assert result.success, result.metadata
        assert len(sim.sent) > 1
        assert "".join("".join(m.text for m in sim.sent).split()) == "".join(text.split())
        assert not any(m.text.startswith("\U0001f3fd") for m in sim.sent)

    async def test_a_text_of_the_longest_length_is_one_message(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """1,600 characters are sent as they are, blanks at the ends too."""
        text = " " + "\u20ac" * 1598 + " "
        assert (await provider.send(said(TextContent(body=text)), PHONE)).success
        assert [m.text for m in sim.sent] == [text]

    async def test_what_an_sms_cannot_hold_is_removed(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """NUL and lone surrogates have no form on the wire."""
        assert (await provider.send(said(TextContent(body="a\x00b\ud800c")), PHONE)).success
        assert sim.sent[0].text == "ab?c"

    async def test_a_template_of_the_content_api(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """A Content SID goes out as such with its variables, any other template as its text."""
        filled = TemplateContent(template_id=TEMPLATE, parameters={"1": "Ana\u00e9"}, body="Hi")
        bare = TemplateContent(template_id=TEMPLATE)
        other = TemplateContent(template_id="welcome", body="Hello Ana")
        for content in (filled, bare, other):
            assert (await provider.send(said(content), PHONE)).success
        first, second, third = (m.data for m in sim.sent)
        assert first["ContentSid"] == TEMPLATE
        assert json.loads(first["ContentVariables"]) == {"1": "Ana\u00e9"}
        assert "Body" not in first
        assert "ContentVariables" not in second
        assert third["Body"] == "Hello Ana"

    async def test_edits_and_places_say_it_in_words(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """An edit is sent as its new text, a place as label and coordinates."""
        edit = EditContent(target_event_id="e", new_content=TextContent(body="at nine"))
        place = LocationContent(latitude=45.5, longitude=-73.5, label="Office")
        for content in (edit, place):
            assert (await provider.send(said(content), PHONE)).success
        assert [m.text for m in sim.sent] == ["at nine", "Office \u2013 45.5,-73.5"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (TextContent(body=""), "empty_message"),
            (TextContent(body=" \n"), "empty_message"),
            (TemplateContent(template_id="t"), "empty_message"),
            (media("data:image/png;base64,AAAA"), "unsupported_media"),
        ],
    )
    async def test_nothing_to_send(
        self,
        sim: TwilioSimulator,
        provider: TwilioSMSProvider,
        content: EventContent,
        reason: str,
    ) -> None:
        """What has neither text nor media Twilio could fetch is answered without a request."""
        result = await provider.send(said(content), PHONE)
        assert (result.success, result.error) == (False, reason)
        assert result.metadata["retryable"] is False
        assert not sim.requests

    async def test_a_broken_series_goes_on_where_it_broke(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """The next attempt of a delivery sends the missing parts only."""
        event = said(CompositeContent(parts=[media(f"{PNG}?{n}") for n in range(25)]))
        sim.script(ok(), error(429))
        scope = delivery_scope.set(Delivery("delivery-1"))
        try:
            broken = await provider.send(event, PHONE)
            whole = await provider.send(event, PHONE)
        finally:
            delivery_scope.reset(scope)
        assert (broken.error, broken.metadata["parts_sent"]) == ("rate_limit", 1)
        assert broken.metadata["message_ids"] == [sim.sent[0].id]
        assert [len(m.media) for m in sim.sent] == [10, 10, 5]
        assert whole.metadata == {"message_ids": [m.id for m in sim.sent]}


class TestRefusals:
    """Twilio's own codes, and whether a repeat helps."""

    async def test_an_opted_out_recipient(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider
    ) -> None:
        """Code and words of the refusal are kept, and it is permanent."""
        sim.script(error(400, code="21610"))
        result = await provider.send(said(TextContent(body="Hi")), PHONE)
        assert result.error == "twilio_21610"
        assert result.metadata["message"] == "Attempt to send to unsubscribed recipient"
        assert result.metadata["retryable"] is False
        assert (result.metadata["code"], result.metadata["status_code"]) == (21610, 400)

    @pytest.mark.parametrize(("status", "code"), [(403, 20003), (404, 20404), (401, 20003)])
    async def test_other_refusals_keep_the_vendors_code(
        self, sim: TwilioSimulator, provider: TwilioSMSProvider, status: int, code: int
    ) -> None:
        """[V] The body of a 401, 403 or 404 is not dropped."""
        sim.script(error(status))
        metadata = (await provider.send(said(TextContent(body="Hi")), PHONE)).metadata
        assert metadata["code"] == code
        assert metadata["message"]

    async def test_the_token_is_the_accounts(self, sim: TwilioSimulator) -> None:
        """A wrong token is ``auth_error``; nothing is sent."""
        config = TwilioConfig(**{**sim.settings, "auth_token": "wrong"})
        provider = TwilioSMSProvider(config)
        result = await provider.send(said(TextContent(body="Hi")), PHONE)
        await provider.close()
        assert result.error == "auth_error"
        assert not sim.sent

    @pytest.mark.parametrize(
        ("to", "from_", "code"),
        [
            ("", None, 21604),
            ("14155550100", None, 21211),
            ("+14155550199", None, 21266),
            (PHONE, "+15005550000", 21606),
        ],
    )
    async def test_addresses(
        self,
        sim: TwilioSimulator,
        provider: TwilioSMSProvider,
        to: str,
        from_: str | None,
        code: int,
    ) -> None:
        """What the vendor says of an address comes back as its code."""
        result = await provider.send(said(TextContent(body="Hi")), to, from_)
        assert result.error == f"twilio_{code}"
        assert not sim.sent


class TestRCS:
    """RCS is the same resource with a Messaging Service."""

    async def test_with_and_without_fallback(self, sim: TwilioSimulator) -> None:
        """``rcs:`` forbids SMS; it is not put in front twice."""
        provider = TwilioRCSProvider(TwilioRCSConfig(**sim.rcs_settings))
        event = said(TextContent(body="Hi"))
        allowed = await provider.send(event, PHONE)
        await provider.send(event, PHONE, fallback=False)
        await provider.send(event, f"rcs:{PHONE}", fallback=False)
        await provider.close()
        assert [m.to for m in sim.sent] == [PHONE, f"rcs:{PHONE}", f"rcs:{PHONE}"]
        assert all("From" not in m.data for m in sim.sent)
        assert isinstance(allowed, RCSDeliveryResult)
        assert (allowed.channel_used, allowed.fallback, allowed.metadata) == ("rcs", False, {})

    async def test_a_failure_is_an_rcs_result(self, sim: TwilioSimulator) -> None:
        """Refusals too say which way was meant."""
        config = TwilioRCSConfig(**{**sim.rcs_settings, "messaging_service_sid": "MGother"})
        provider = TwilioRCSProvider(config)
        results = [await provider.send(said(TextContent(body=t)), PHONE) for t in ("Hi", "")]
        await provider.close()
        assert [r.error for r in results] == ["twilio_21701", "empty_message"]
        assert all(isinstance(r, RCSDeliveryResult) for r in results)
        assert provider.sender_id == "MGother"
        assert provider.supports_fallback
        with pytest.raises(NotImplementedError, match="RCS capability checking"):
            await provider.check_capability(PHONE)


class TestInAKit:
    """[V] A status callback is a status, not an empty message of the recipient."""

    async def test_messages_and_statuses(self) -> None:
        """A callback with a text becomes an event, one with a status a call of the handler."""
        heard: list[DeliveryStatus] = []
        async with RoomKit() as kit:
            kit.register_channel(SMSChannel("sms"))

            @kit.on_delivery_status
            async def note(status: DeliveryStatus) -> None:
                heard.append(status)

            room = await kit.create_room()
            await kit.attach_channel(room.id, "sms", metadata={"phone_number": PHONE})
            before = len(await kit.get_timeline(room.id))
            message = {"From": PHONE, "Body": "Hello", "MessageSid": "SM1", "NumMedia": "0"}
            status = {"MessageSid": "SM2", "MessageStatus": "undelivered", "ErrorCode": "30005"}
            await kit.process_webhook(extract_sms_meta("twilio", message), "sms")
            await kit.process_webhook(extract_sms_meta("twilio", status), "sms")
            new = (await kit.get_timeline(room.id))[before:]
        assert [event.content for event in new] == [TextContent(body="Hello")]
        assert [(s.message_id, s.status, s.error_code) for s in heard] == [
            ("SM2", "undelivered", "30005")
        ]


class TestSimulator:
    """The stand-in refuses what Twilio refuses, in Twilio's words."""

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({}, 21619),
            ({"MediaUrl0": PNG}, 21619),
            ({"Body": "x" * 1601}, 21617),
            ({"Body": "\U0001f600" * 801}, 21617),
            ({"MediaUrl": [PNG] * 11}, 21623),
            ({"MediaUrl": "ftp://files.test/a"}, 21620),
            ({"Body": "x", "ContentVariables": "{}"}, 21654),
            ({"ContentSid": TEMPLATE, "ContentVariables": "{}"}, 21656),
            ({"ContentSid": TEMPLATE, "ContentVariables": "text"}, 21656),
            ({"Body": "x", "From": ""}, 21603),
            ({"Body": "x", "MessagingServiceSid": "MGother"}, 21701),
        ],
    )
    async def test_requests_it_refuses(
        self, sim: TwilioSimulator, fields: dict[str, Any], code: int
    ) -> None:
        """Numbered media names alone are no media; limits are the vendor's."""
        status, answer = await self._post(sim, {"To": PHONE, "From": "+14155550199", **fields})
        assert (status, answer["code"], answer["status"]) == (400, code, 400)
        assert answer["message"]
        assert not sim.sent

    async def test_requests_it_does_not_understand(self, sim: TwilioSimulator) -> None:
        """Another path, account or encoding."""
        whole = {"To": PHONE, "From": "+14155550199", "Body": "x"}
        elsewhere = "/2010-04-01/Accounts/AC2/Messages.json"
        assert (await self._post(sim, whole, path=elsewhere))[0] == 404
        assert (await self._post(sim, whole, token="wrong"))[1]["code"] == 20003
        assert (await self._post(sim, whole, as_json=True))[1]["code"] == 21604
        assert (await self._post(sim, whole))[0] == 201

    @staticmethod
    async def _post(
        sim: TwilioSimulator,
        fields: dict[str, Any],
        *,
        path: str | None = None,
        token: str | None = None,
        as_json: bool = False,
    ) -> tuple[int, dict[str, Any]]:
        settings = sim.settings
        url = TwilioConfig(**settings).api_url if path is None else f"{sim.api_base}{path}"
        auth = (settings["account_sid"], token or settings["auth_token"])
        body: dict[str, Any] = {"json" if as_json else "data": fields}
        async with httpx.AsyncClient(auth=auth) as client:
            reply = await client.post(url, **body)
        return reply.status_code, reply.json()
