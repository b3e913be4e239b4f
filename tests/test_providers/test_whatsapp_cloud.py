"""WhatsApp Business: what is sent, and what Meta's answers mean."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from roomkit._scope import Delivery, delivery_scope
from roomkit.channels import WhatsAppChannel
from roomkit.exceptions import MissingDependencyError, ProviderDeliveryError
from roomkit.models.content import TextContent
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.simulators import WhatsAppSimulator, error
from roomkit.testing import make_event
from roomkit.testing.conformance import ProviderConformance
from tests.support.vendors import VendorSuite
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.providers.base import Provider
    from roomkit.simulators import VendorSimulator

PERSON = "14155550100"


def accepted(message_id: str = "wamid.1") -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": PERSON, "wa_id": PERSON}],
        "messages": [{"id": message_id}],
    }


def a_provider(
    answer: Callable[[httpx.Request], httpx.Response] | None = None, **settings: Any
) -> tuple[WhatsAppCloudProvider, list[httpx.Request]]:
    """Return a provider and the list its requests go to."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if answer is not None:
            return answer(request)
        return httpx.Response(200, json=accepted(f"wamid.{len(seen)}"))

    config = WhatsAppCloudConfig(
        **{"access_token": SecretStr("TOKEN"), "phone_number_id": "444", **settings}
    )
    return WhatsAppCloudProvider(config, transport=httpx.MockTransport(handle)), seen


def refusing(status: int, **answer: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, **answer)


class TestAtTheSimulator(VendorSuite):
    """The vendor's whole answer book."""

    codes = {  # noqa: RUF012
        400: "graph_131009",
        401: "graph_190",
        403: "graph_131031",
        404: "graph_100",
        429: "graph_130429",
        500: "graph_131000",
        503: "graph_131016",
    }
    secrets = ("EAAsim-system-user-token", "0123456789abcdef0123456789abcdef", "sim-verify-word")

    def make_simulator(self) -> VendorSimulator:
        """Return the Cloud API."""
        return WhatsAppSimulator()

    def make_provider(self, settings: dict[str, Any]) -> Provider:
        """Return the provider."""
        return WhatsAppCloudProvider(WhatsAppCloudConfig(**settings))

    async def test_a_wait_in_minutes(self, sim: VendorSimulator, provider: Provider) -> None:
        """Graph's own way to say when calls are taken again."""
        sim.script(error(400, retry_after=120, code="80007"))
        result = await provider.send(self.event(), to=self.recipient)
        assert result.error == "graph_80007"
        assert result.metadata["retryable"] is True
        assert result.metadata["retry_after"] == 120.0


class TestProviderConformance(ProviderConformance):
    """A WhatsApp provider is a provider."""

    secrets = ("TOKEN",)

    async def make_provider(self) -> Provider:
        """Return one whose vendor takes everything."""
        return a_provider()[0]

    async def make_refused(self) -> Provider:
        """Return one whose vendor takes nothing."""
        return a_provider(refusing(400, json={"error": {"code": 131009}}))[0]


@pytest.fixture
async def sim() -> AsyncIterator[WhatsAppSimulator]:
    """The Cloud API."""
    async with WhatsAppSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: WhatsAppSimulator) -> AsyncIterator[WhatsAppCloudProvider]:
    """The provider, at the simulator."""
    provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**sim.settings))
    yield provider
    await provider.close()


class TestRequest:
    """Exactly what goes over the wire."""

    async def test_a_text(self) -> None:
        """The body is Meta's example, the token a header, the answer's id ours."""
        provider, seen = a_provider()
        result = await provider.send(an_event(), to="+14155550100")
        assert str(seen[0].url) == "https://graph.facebook.com/v25.0/444/messages"
        assert seen[0].headers["authorization"] == "Bearer TOKEN"
        assert json.loads(seen[0].content) == {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": PERSON,
            "type": "text",
            "text": {"body": "Hello", "preview_url": False},
        }
        assert result.model_dump() == {
            "success": True,
            "provider_message_id": "wamid.1",
            "error": None,
            "metadata": {"wa_id": PERSON},
        }

    @pytest.mark.parametrize(
        ("to", "field"),
        [
            ("+1 (415) 555-0100", {"to": PERSON}),
            (PERSON, {"to": PERSON}),
            ("US.13491208655302741918", {"recipient": "US.13491208655302741918"}),
        ],
    )
    async def test_recipients(self, to: str, field: dict[str, str]) -> None:
        """A number in any spelling, or the id of somebody who hides it."""
        provider, seen = a_provider()
        await provider.send(an_event(), to=to)
        body = json.loads(seen[0].content)
        assert {key: body[key] for key in ("to", "recipient") if key in body} == field

    async def test_the_first_of_several_messages_quotes(self) -> None:
        """An answer names what it answers, once."""
        provider, seen = a_provider()
        event = make_event(body="a" * 5000, metadata={"reply_to_external_id": "wamid.0"})
        result = await provider.send(event, to=PERSON)
        contexts = [json.loads(request.content).get("context") for request in seen]
        assert contexts == [{"message_id": "wamid.0"}, None]
        assert result.metadata == {"wa_id": PERSON, "message_ids": ["wamid.1", "wamid.2"]}

    async def test_a_template(self) -> None:
        """Language, header, numbered body and button payloads in Meta's spelling."""
        provider, seen = a_provider()
        params = {"language": "de", "header": "Hi", "body": ["Ana", 7], "buttons": ["go"]}
        assert (await provider.send_template(PERSON, "order", params)).success
        assert json.loads(seen[0].content)["template"] == {
            "name": "order",
            "language": {"code": "de"},
            "components": [
                {"type": "header", "parameters": [{"type": "text", "text": "Hi"}]},
                {
                    "type": "body",
                    "parameters": [{"type": "text", "text": "Ana"}, {"type": "text", "text": "7"}],
                },
                {
                    "type": "button",
                    "index": "0",
                    "sub_type": "quick_reply",
                    "parameters": [{"type": "payload", "payload": "go"}],
                },
            ],
        }

    @pytest.mark.parametrize(
        ("params", "components"),
        [
            (None, None),
            (
                {"body": {"name": "Ana"}},
                [
                    {
                        "type": "body",
                        "parameters": [{"type": "text", "parameter_name": "name", "text": "Ana"}],
                    }
                ],
            ),
            ({"components": [{"type": "x"}], "body": ["lost"]}, [{"type": "x"}]),
            (
                {"buttons": [{"sub_type": "url", "parameters": []}]},
                [{"type": "button", "index": "0", "sub_type": "url", "parameters": []}],
            ),
            (
                {"header": {"type": "image", "image": {"link": "https://x.test"}}},
                [
                    {
                        "type": "header",
                        "parameters": [{"type": "image", "image": {"link": "https://x.test"}}],
                    }
                ],
            ),
        ],
    )
    async def test_template_parameters(
        self, params: dict[str, Any] | None, components: list[Any] | None
    ) -> None:
        """Named parameters, and whatever Meta spells itself; ``en_US`` unless said."""
        provider, seen = a_provider()
        await provider.send_template(PERSON, "order", params)
        template = json.loads(seen[0].content)["template"]
        assert template["language"] == {"code": "en_US"}
        assert template.get("components") == components

    async def test_signals(self) -> None:
        """A reaction, a read mark, and a read mark with typing."""
        provider, seen = a_provider()
        assert await provider.send_reaction(PERSON, PERSON, "wamid.0", "\U0001f44d")
        assert await provider.mark_read(["wamid.0", "wamid.1"], PERSON, PERSON)
        assert await provider.mark_read("wamid.2", typing=True)
        assert await provider.mark_read([], PERSON, PERSON) is False
        assert await provider.send_typing(PERSON) is False
        bodies = [json.loads(request.content) for request in seen]
        read = {"messaging_product": "whatsapp", "status": "read"}
        assert bodies[0]["reaction"] == {"message_id": "wamid.0", "emoji": "\U0001f44d"}
        assert bodies[0]["to"] == PERSON
        assert bodies[1] == {**read, "message_id": "wamid.1"}
        assert bodies[2] == {
            **read,
            "message_id": "wamid.2",
            "typing_indicator": {"type": "text"},
        }

    async def test_a_refused_signal_raises(self) -> None:
        """Whoever asked for it learns that it failed."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": 100}}))
        with pytest.raises(ProviderDeliveryError, match="graph_100"):
            await provider.send_reaction(PERSON, PERSON, "wamid.0", "+")

    def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what is missing, for what, and how to get it."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(
            MissingDependencyError, match="httpx is required for WhatsAppCloudProvider"
        ):
            WhatsAppCloudProvider(
                WhatsAppCloudConfig(access_token=SecretStr("t"), phone_number_id="1")
            )


class TestErrors:
    """What Meta's refusals become."""

    @pytest.mark.parametrize(
        "code", [1, 2, 4, 80007, 130429, 131000, 131016, 131048, 131056, 133004, 133016]
    )
    async def test_codes_that_pass(self, code: int) -> None:
        """These may be tried again, though they come with status 400."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": code}}))
        result = await provider.send(an_event(), to=PERSON)
        assert (result.error, result.metadata["retryable"]) == (f"graph_{code}", True)

    @pytest.mark.parametrize("code", [0, 3, 10, 100, 190, 368, 131008, 131026, 131064, 132001])
    async def test_codes_that_stay(self, code: int) -> None:
        """These fail again, whatever one does."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": code}}))
        result = await provider.send(an_event(), to=PERSON)
        assert (result.error, result.metadata["retryable"]) == (f"graph_{code}", False)

    async def test_details(self) -> None:
        """Meta's explanation, subcode and trace id are kept; 131047 asks for a template."""
        said = {
            "code": 131047,
            "message": "Re-engagement message",
            "error_data": {"details": "24 hours"},
            "error_subcode": 7,
            "fbtrace_id": "A1",
        }
        provider, _ = a_provider(refusing(400, json={"error": said}))
        assert (await provider.send(an_event(), to=PERSON)).metadata == {
            "status_code": 400,
            "details": "24 hours",
            "error_subcode": 7,
            "fbtrace_id": "A1",
            "needs_template": True,
            "message": "Re-engagement message",
            "code": 131047,
            "retryable": False,
        }

    @pytest.mark.parametrize(("attempt", "wait"), [(1, 4.0), (3, 64.0), (50, 4096.0)])
    async def test_the_pair_rate_waits_longer_each_time(self, attempt: int, wait: float) -> None:
        """Too much for one person: four to the power of the attempt, within reason."""
        provider, _ = a_provider(refusing(400, json={"error": {"code": 131056}}))
        token = delivery_scope.set(Delivery("d", attempt))
        try:
            result = await provider.send(an_event(), to=PERSON)
        finally:
            delivery_scope.reset(token)
        assert result.metadata["retry_after"] == wait

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (refusing(429, text="slow down"), "rate_limit"),
            (refusing(400, text="<html>"), "http_400"),
            (refusing(502, text="<html>"), "http_502"),
            (refusing(400, json={"error": []}), "graph_400"),
            (refusing(200, json=7), "invalid_response"),
        ],
    )
    async def test_answers_out_of_shape(
        self, answer: Callable[[httpx.Request], httpx.Response], code: str
    ) -> None:
        """Nothing raises, and the status stands in for a code that is missing."""
        provider, _ = a_provider(answer)
        assert (await provider.send(an_event(), to=PERSON)).error == code

    async def test_a_success_without_id(self) -> None:
        """An accepted message that has no id is accepted all the same."""
        provider, _ = a_provider(refusing(200, json={}))
        result = await provider.send(an_event(), to=PERSON)
        assert (result.success, result.provider_message_id, result.metadata) == (True, None, {})


class TestAtTheVendor:
    """Together with the strict stand-in."""

    async def test_outside_of_the_window_a_template_helps(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """24 hours after the last message only an approved template goes out."""
        sim.outside_window.add(PERSON)
        sim.templates = {"hello_again"}
        late = await provider.send(an_event(), to=PERSON)
        assert (late.error, late.metadata["needs_template"]) == ("graph_131047", True)
        params = {"body": ["Ana"]}
        assert (await provider.send_template(PERSON, "hello_again", params)).success
        unknown = await provider.send_template(PERSON, "nobody_knows", params)
        assert unknown.error == "graph_132001"

    async def test_signals_arrive(
        self, sim: WhatsAppSimulator, provider: WhatsAppCloudProvider
    ) -> None:
        """Reactions and read marks are what the vendor expects."""
        assert await provider.send_reaction(f"+{PERSON}", PERSON, "wamid.in1", "")
        assert await provider.mark_read("wamid.in1", typing=True)
        assert sim.sent[0].data["reaction"] == {"message_id": "wamid.in1", "emoji": ""}
        assert (sim.read, sim.typing) == (["wamid.in1"], ["wamid.in1"])


class TestInAChannel:
    """What is left of the channel's capabilities over this provider."""

    def test_capabilities_in_force(self) -> None:
        """Nothing is edited or taken back; formatted text, places and templates stay."""
        found = WhatsAppChannel("wa", provider=a_provider()[0]).capabilities()
        assert not found.supports_edit
        assert not found.supports_delete
        assert found.media_types == ["text", "rich", "media", "location", "template"]
        assert found.max_buttons == 3

    async def test_a_withdrawal_cannot_be_sent(self) -> None:
        """Should one come all the same, it is answered."""
        provider, seen = a_provider()
        assert (await provider.delete_message(PERSON, "m")).error == "delete_not_supported"
        edited = await provider.edit_message(PERSON, "m", TextContent(body="x"))
        assert (edited.error, seen) == ("edit_not_supported", [])
