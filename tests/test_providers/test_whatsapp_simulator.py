"""The stand-in for the Cloud API: strict on what it takes, and what it sends arrives in a room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit import DeliveryStatus, RoomKit, TextContent, WhatsAppChannel
from roomkit.models.content import MediaContent
from roomkit.models.enums import EventType
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.simulators import WhatsAppSimulator
from tests.test_providers._endpoint import endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PERSON = "14155550100"
LINK = "https://files.test/a"


@pytest.fixture
async def sim() -> AsyncIterator[WhatsAppSimulator]:
    """The stand-in."""
    async with WhatsAppSimulator() as sim:
        yield sim


async def post(
    sim: WhatsAppSimulator,
    body: Any,
    *,
    token: str | None = None,
    path: str = "/v25.0/444/messages",
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or sim.settings['access_token']}"}
    async with httpx.AsyncClient(base_url=sim.api_base, trust_env=False) as client:
        return await client.post(path, json=body, headers=headers)


def a_body(kind: str, fields: Any, **changes: Any) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": PERSON, "type": kind, kind: fields, **changes}


def buttons(*replies: dict[str, str], text: str = "t") -> dict[str, Any]:
    given = [{"type": "reply", "reply": reply} for reply in replies]
    action = {"buttons": given}
    return a_body("interactive", {"type": "button", "body": {"text": text}, "action": action})


def a_list(rows: list[dict[str, str]], button: str = "b") -> dict[str, Any]:
    action = {"button": button, "sections": [{"title": "s", "rows": rows}]}
    return a_body("interactive", {"type": "list", "body": {"text": "t"}, "action": action})


class TestStrictness:
    """What Meta would refuse, it refuses."""

    @pytest.mark.parametrize(
        "body",
        [
            [],
            {},
            a_body("text", {"body": ""}),
            a_body("text", {"body": "x" * 4097}),
            a_body("text", {"body": "x", "preview_url": "no"}),
            a_body("text", {"body": "x"}, extra=1),
            a_body("text", {"body": "x"}, type=[]),
            a_body("text", {"body": "x"}, messaging_product="sms"),
            a_body("text", {"body": "x"}, recipient_type="group"),
            a_body("text", {"body": "x"}, to="+14155550100"),
            a_body("text", {"body": "x"}, to="14155550199"),
            a_body("text", {"body": "x"}, to=""),
            a_body("text", {"body": "x"}, context={}),
            a_body("smell", {}),
            a_body("image", {}),
            a_body("image", {"link": LINK, "id": "1"}),
            a_body("image", {"link": "data:,x"}),
            a_body("image", {"id": "unknown"}),
            a_body("image", {"link": LINK, "caption": "c" * 1025}),
            a_body("audio", {"link": LINK, "caption": "c"}),
            a_body("location", {"latitude": 91, "longitude": 0}),
            a_body("reaction", {"message_id": "m"}),
            a_body("template", {"name": "t"}),
            a_body("template", {"name": "t", "language": {"code": "de"}, "components": [{}]}),
            a_body("interactive", {"type": "carousel"}),
            buttons(),
            buttons(*({"id": str(n), "title": str(n)} for n in range(4))),
            buttons({"id": "1", "title": "t" * 21}),
            buttons({"id": "1", "title": "a"}, {"id": "2", "title": "a"}),
            buttons({"id": "1", "title": "a"}, {"id": "1", "title": "b"}),
            buttons({"id": "1", "title": "a"}, text="t" * 1025),
            a_list([{"id": str(n), "title": str(n)} for n in range(11)]),
            a_list([{"id": "1", "title": "t" * 25}]),
            a_list([{"id": "1", "title": "t"}], button="b" * 21),
            {"messaging_product": "whatsapp", "status": "sent", "message_id": "m"},
            {"messaging_product": "whatsapp", "status": "read"},
        ],
    )
    async def test_bodies(self, sim: WhatsAppSimulator, body: Any) -> None:
        """Graph's own error, and nothing is counted as sent."""
        answer = await post(sim, body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in (100, 131008, 131009, 131021, 131053, 132012)
        assert not sim.sent
        assert not sim.read

    async def test_who_and_where(self, sim: WhatsAppSimulator) -> None:
        """Token, number and path must be right; files must be there."""
        body = a_body("text", {"body": "x"})
        assert (await post(sim, body, token="other")).json()["error"]["code"] == 190
        assert (await post(sim, body, path="/v25.0/555/messages")).status_code == 404
        assert (await post(sim, body, path="/v25.0/444/media")).status_code == 400
        assert (await post(sim, body)).json()["contacts"] == [{"input": PERSON, "wa_id": PERSON}]


class TestInARoom:
    """From the vendor into a room and back."""

    async def test_a_conversation(self, sim: WhatsAppSimulator) -> None:
        """Challenge, text, repeat, button, file, status, reaction, edit, withdrawal, forgery."""
        statuses: list[DeliveryStatus] = []
        kit = RoomKit()
        provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**sim.settings))
        kit.register_channel(WhatsAppChannel("wa", provider=provider))

        @kit.on_delivery_status
        async def note(status: DeliveryStatus) -> None:
            statuses.append(status)

        async with endpoint(kit, "wa") as url:
            sim.statuses_url = url
            assert (await sim.challenge(url, challenge="a1")).text == "a1"
            assert (await sim.challenge(url, token="guess")).status == 403
            for _ in range(2):
                answer = await sim.receive(text="caf\u00e9 \u2615", message_id="wamid.A")
                assert answer.status == 200
            await sim.receive(text="Yes", button="y")
            await sim.receive(text="look", media=(b"png", "image/png"), message_id="wamid.B")
            (room,) = await kit.store.list_rooms()
            sent = await provider.send(
                await kit.send_event(room.id, "wa", TextContent(body="Hi")), to=PERSON
            )
            assert sent.provider_message_id is not None
            await sim.status(sent.provider_message_id)
            await sim.status(sent.provider_message_id, "failed", error=131026)
            await sim.reaction(message_id="wamid.A")
            await sim.edit(message_id="wamid.A", text="tea")
            await sim.revoke(message_id="wamid.B")
            unsigned = await sim.post(url, b"{}", {"content-type": "application/json"})
            assert unsigned.status == 401
            timeline = await kit.get_timeline(room.id)
        messages = [event for event in timeline if event.type is EventType.MESSAGE]
        assert [(s.status, s.error_code) for s in statuses] == [
            ("delivered", None),
            ("failed", "131026"),
        ]
        said = [event.content for event in messages]
        assert said[0] == TextContent(body="tea")
        assert messages[1].metadata["interactive_id"] == "y"
        taken = [event for event in messages if isinstance(event.content, MediaContent)]
        assert [event.metadata.get("deleted") for event in taken] == [True]

    async def test_somebody_who_hides_the_number(self, sim: WhatsAppSimulator) -> None:
        """The answer goes to the user id."""
        kit = RoomKit()
        provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**sim.settings))
        kit.register_channel(WhatsAppChannel("wa", provider=provider))
        async with endpoint(kit, "wa") as url:
            await sim.receive(url, sender="US.13491208655302741918")
            (room,) = await kit.store.list_rooms()
            (binding,) = await kit.list_bindings(room.id)
            to = binding.metadata["phone_number"]
            assert (await provider.send(await self.an_answer(kit, room.id), to=to)).success
        assert sim.sent[-1].data["recipient"] == "US.13491208655302741918"

    @staticmethod
    async def an_answer(kit: RoomKit, room_id: str) -> Any:
        return (await kit.get_timeline(room_id))[0]
