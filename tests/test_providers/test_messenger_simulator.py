"""The stand-in for Messenger: strict on what it takes, and what it sends arrives in a room."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit import DeliveryStatus, MessengerChannel, RoomKit, TextContent
from roomkit.models.enums import EventType
from roomkit.providers.messenger import FacebookMessengerProvider, MessengerConfig
from roomkit.simulators import MessengerSimulator
from tests.test_providers._endpoint import endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.event import RoomEvent

TO = {"recipient": {"id": "222"}, "messaging_type": "RESPONSE"}
BUTTON = {"type": "postback", "title": "t", "payload": "p"}


@pytest.fixture
async def sim() -> AsyncIterator[MessengerSimulator]:
    """The stand-in."""
    async with MessengerSimulator() as sim:
        yield sim


async def post(sim: MessengerSimulator, body: Any, **changes: Any) -> httpx.Response:
    token = {"Authorization": f"Bearer {sim.settings['page_access_token']}"}
    options = {"headers": token, "path": "/v21.0/me/messages", **changes}
    async with httpx.AsyncClient(base_url=sim.api_base, trust_env=False) as client:
        return await client.post(
            options["path"], json=body, headers=options["headers"], params=options.get("params")
        )


def template(**payload: Any) -> dict[str, Any]:
    return {**TO, "message": {"attachment": {"type": "template", "payload": payload}}}


def generic(**element: Any) -> dict[str, Any]:
    return template(template_type="generic", elements=[element])


class TestStrictness:
    """What Meta would refuse, it refuses."""

    @pytest.mark.parametrize(
        "body",
        [
            [],
            {},
            {**TO, "message": {}},
            {**TO, "message": {"text": ""}},
            {**TO, "message": {"text": "x" * 2001}},
            {**TO, "message": {"text": "x", "attachment": {}}},
            {**TO, "message": {"text": "x", "colour": "red"}},
            {**TO, "message": {"text": "x"}, "extra": 1},
            {**TO, "messaging_type": "HELLO", "message": {"text": "x"}},
            {**TO, "messaging_type": "MESSAGE_TAG", "message": {"text": "x"}},
            {"recipient": {"id": "+1415"}, "messaging_type": "RESPONSE", "message": {"text": "x"}},
            {**TO, "reply_to": {}, "message": {"text": "x"}},
            {**TO, "message": {"text": "x", "quick_replies": []}},
            {**TO, "message": {"text": "x", "quick_replies": [{"content_type": "text"}]}},
            {**TO, "message": {"attachment": {"type": "smell", "payload": {}}}},
            {**TO, "message": {"attachment": {"type": "image", "payload": {"url": "data:,x"}}}},
            template(template_type="button", text="x", buttons=[]),
            template(template_type="button", text="x", buttons=[BUTTON] * 4),
            template(template_type="button", text="x" * 641, buttons=[BUTTON]),
            template(template_type="button", text="x", buttons=[{**BUTTON, "title": "t" * 21}]),
            template(template_type="button", text="x", buttons=[{**BUTTON, "type": "web_url"}]),
            template(template_type="unknown"),
            generic(title="bare"),
            generic(title="t" * 81, subtitle="s"),
            {"recipient": {"id": "222"}, "sender_action": "dance"},
            {**TO, "sender_action": "typing_on"},
        ],
    )
    async def test_bodies(self, sim: MessengerSimulator, body: Any) -> None:
        """Graph's own error, and nothing is counted as sent."""
        answer = await post(sim, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)
        assert not sim.sent
        assert not sim.actions

    async def test_who_and_where(self, sim: MessengerSimulator) -> None:
        """Token, proof and path must be right."""
        body = {**TO, "message": {"text": "x"}}
        token = sim.settings["page_access_token"]
        assert (await post(sim, body, headers={})).json()["error"]["code"] == 190
        wrong = await post(sim, body, headers={}, params={"access_token": "other"})
        assert wrong.status_code == 401
        fine = await post(sim, body, headers={}, params={"access_token": token})
        assert fine.status_code == 200
        proof = await post(sim, body, params={"appsecret_proof": "0" * 64})
        assert proof.json()["error"]["code"] == 100
        secret = sim.settings["app_secret"]
        good = hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
        assert (await post(sim, body, params={"appsecret_proof": good})).status_code == 200
        for path in ("/v21.0/me/messages/7", "/v21.0/999/messages", "/latest/me/messages"):
            assert (await post(sim, body, path=path)).status_code == 404
        assert (await post(sim, body, path="/v21.0/111/messages")).status_code == 200

    async def test_receipts_it_does_not_know(self, sim: MessengerSimulator) -> None:
        """Messenger reports delivery and reading; a callback needs an endpoint."""
        with pytest.raises(ValueError, match="delivered and read"):
            await sim.status("m_1", "failed")
        with pytest.raises(ValueError, match="no URL"):
            await sim.receive()


class TestInARoom:
    """From the vendor into a room and back."""

    async def test_a_conversation(self, sim: MessengerSimulator) -> None:
        """Challenge, message, repeat, postback, echo, receipt, reaction, forgery."""
        statuses: list[DeliveryStatus] = []
        kit = RoomKit()
        provider = FacebookMessengerProvider(MessengerConfig(**sim.settings))
        kit.register_channel(MessengerChannel("fb", provider=provider))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            statuses.append(status)

        async with endpoint(kit, "fb") as url:
            opened = await sim.challenge(url, challenge="a1")
            assert (opened.status, opened.text) == (200, "a1")
            assert (await sim.challenge(url, token="guess")).status == 403
            for _ in range(2):
                answer = await sim.receive(url, text="caf\u00e9 \u2615", mid="m_in")
                assert answer.status == 200
            await sim.postback(url, title="Start", payload="GO")
            await sim.echo(url, message_id="m_x", text="mine")
            (room,) = await kit.store.list_rooms()
            event = await kit.send_event(room.id, "fb", TextContent(body="Hi"))
            sent = await provider.send(event, to="222")
            assert sent.provider_message_id is not None
            await sim.status(sent.provider_message_id, "delivered", url)
            await sim.status(sent.provider_message_id, "read", url)
            await sim.reaction(url, message_id="m_in")
            await sim.edit(url, message_id="m_in", text="tea")
            forged = b'{"entry":[]}'
            unsigned = await sim.post(url, forged, {"content-type": "application/json"})
            assert unsigned.status == 401
            timeline = await kit.get_timeline(room.id)
        assert [s.status for s in statuses] == ["delivered", "read"]
        assert texts(timeline)[:2] == ["tea", "Start"]


def texts(timeline: list[RoomEvent]) -> list[str]:
    return [
        event.content.body
        for event in timeline
        if event.type is EventType.MESSAGE and isinstance(event.content, TextContent)
    ]
