"""Callbacks of Telnyx, Sinch and VoiceMeUp at an endpoint we host, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import RCSChannel, RoomKit, SMSChannel
from roomkit.asgi import create_app
from roomkit.models.content import MediaContent
from roomkit.providers.sinch import SinchConfig, SinchSMSProvider, parse_sinch_webhook
from roomkit.providers.telnyx import (
    TelnyxConfig,
    TelnyxRCSConfig,
    TelnyxRCSProvider,
    TelnyxSMSProvider,
    parse_telnyx_rcs_webhook,
    parse_telnyx_webhook,
)
from roomkit.providers.voicemeup import (
    VoiceMeUpConfig,
    VoiceMeUpMMSAggregator,
    VoiceMeUpSMSProvider,
)
from roomkit.simulators import SinchSimulator, TelnyxSimulator, VoiceMeUpSimulator
from roomkit.simulators._server import serve
from roomkit.testing import make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.delivery import DeliveryStatus
    from roomkit.providers.base import Provider

PHONE = "+14155550100"
PNG = "https://files.test/a.png"
TEXT = "caf\u00e9 & cr\u00e8me + 50% \u2615"


class Endpoint:
    """A kit behind HTTP.

    Attributes:
        url: The webhook's URL.
        heard: The statuses, in the order they came.
    """

    def __init__(self, kit: RoomKit, url: str) -> None:
        self.url = url
        self.heard: list[DeliveryStatus] = []
        self._kit = kit
        kit.on_delivery_status(self._note)

    async def _note(self, status: DeliveryStatus) -> None:
        self.heard.append(status)

    async def said(self) -> list[Any]:
        """Return who said what."""
        rooms = await self._kit.store.list_rooms()
        events = [e for room in rooms for e in await self._kit.get_timeline(room.id)]
        return [
            (event.source.participant_id, getattr(event.content, "body", event.content))
            for event in events
            if event.type == "message"
        ]


@asynccontextmanager
async def endpoint(
    provider: Provider, channel: Any = SMSChannel, **options: Any
) -> AsyncIterator[Endpoint]:
    """Host the provider's webhook on a free port."""
    kit = RoomKit()
    kit.register_channel(channel("ch", provider=provider))
    app = create_app(kit, **options)
    listener = socket.create_server(("127.0.0.1", 0))
    async with app.lifespan(), serve(app, listener) as port:
        yield Endpoint(kit, f"http://127.0.0.1:{port}/webhooks/ch")


class TestTelnyx:
    """SMS and RCS, signed with Ed25519."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[TelnyxSimulator]:
        """The vendor."""
        async with TelnyxSimulator() as sim:
            yield sim

    async def test_both_ways(self, sim: TelnyxSimulator) -> None:
        """A text and a picture come in; what became of ours is heard."""
        provider = TelnyxSMSProvider(TelnyxConfig(**sim.settings), sim.public_key)
        async with endpoint(provider) as ours:
            assert (await sim.receive(ours.url, TEXT)).status == 200
            assert (await sim.receive(ours.url, "Look", media=[PNG])).status == 200
            picture = MediaContent(url=PNG, mime_type="image/jpeg", caption="Look")
            assert await ours.said() == [(PHONE, TEXT), (PHONE, picture)]
            sent = await provider.send(make_event(), to=PHONE)
            sim.webhook_url = ours.url
            assert sent.provider_message_id is not None
            for word in ("sent", "delivery_failed"):
                assert (await sim.status(sent.provider_message_id, word)).status == 204
            assert [(s.message_id, s.status, s.error_code) for s in ours.heard] == [
                (sent.provider_message_id, "sent", None),
                (sent.provider_message_id, "failed", "40001"),
            ]

    async def test_rcs(self, sim: TelnyxSimulator) -> None:
        """A tapped suggestion is a text; a read receipt a status."""
        provider = TelnyxRCSProvider(TelnyxRCSConfig(**sim.rcs_settings), sim.public_key)
        async with endpoint(provider, RCSChannel) as ours:
            tapped = {"suggestion_response": {"text": "Yes", "postback_data": "yes"}}
            assert (await sim.receive(ours.url, rcs=tapped)).status == 200
            assert await ours.said() == [(PHONE, "Yes")]
            assert (await sim.status("m-1", "read", ours.url)).status == 204
            assert [status.status for status in ours.heard] == ["read"]

    async def test_forgers(self, sim: TelnyxSimulator) -> None:
        """Another account's key, and a stale signature, are 401 and leave nothing."""
        provider = TelnyxSMSProvider(TelnyxConfig(**sim.settings), sim.public_key)
        async with endpoint(provider) as ours:
            async with TelnyxSimulator(seed=bytes(32)) as other:
                assert (await other.receive(ours.url, "x")).status == 401
            stale = int(time.time()) - 400
            assert (await sim.receive(ours.url, "x", timestamp=stale)).status == 401
            assert (await sim.receive(ours.url, raw=b"{")).status == 400
            assert await ours.said() == []

    async def test_a_repeat_changes_nothing(self, sim: TelnyxSimulator) -> None:
        """The same message twenty times at once is one event, and 200 each time."""
        provider = TelnyxSMSProvider(TelnyxConfig(**sim.settings), sim.public_key)
        async with endpoint(provider) as ours:
            repeats = (sim.receive(ours.url, "Once", message_id="m") for _ in range(20))
            answers = await asyncio.gather(*repeats)
            assert {answer.status for answer in answers} == {200}
            assert await ours.said() == [(PHONE, "Once")]


class TestSinch:
    """Signed with a secret, a nonce and the time."""

    @pytest.fixture
    async def sim(self) -> AsyncIterator[SinchSimulator]:
        """The vendor."""
        async with SinchSimulator() as sim:
            yield sim

    async def test_both_ways(self, sim: SinchSimulator) -> None:
        """A text and a picture come in; a report on a batch is heard."""
        provider = SinchSMSProvider(SinchConfig(**sim.settings))
        async with endpoint(provider) as ours:
            assert (await sim.receive(ours.url, TEXT)).status == 200
            assert (await sim.receive(ours.url, media=[PNG])).status == 200
            picture = MediaContent(url=PNG, mime_type="image/jpeg")
            assert await ours.said() == [("14155550100", TEXT), ("14155550100", picture)]
            sent = await provider.send(make_event(), to=PHONE)
            assert sent.provider_message_id is not None
            sim.webhook_url = ours.url
            assert (await sim.status(sent.provider_message_id)).status == 204
            assert (await sim.status("other", "expired", ours.url)).status == 204
            assert [(s.message_id, s.status, s.error_code) for s in ours.heard] == [
                (sent.provider_message_id, "delivered", None),
                ("other", "failed", "406"),
            ]

    async def test_forgers(self, sim: SinchSimulator) -> None:
        """Another secret, and a stale signature, are 401; the secret before still counts."""
        settings = sim.settings | {"webhook_secret": "new", "previous_secrets": ["old"]}
        async with endpoint(SinchSMSProvider(SinchConfig(**settings))) as ours:
            assert (await sim.receive(ours.url, "x")).status == 401
            async with SinchSimulator(webhook_secret="old") as before:
                assert (await before.receive(ours.url, "Hello")).status == 200
                late = int(time.time()) + 400
                assert (await before.receive(ours.url, "x", timestamp=late)).status == 401
            assert await ours.said() == [("14155550100", "Hello")]


class TestVoiceMeUp:
    """Not signed: a token in the URL stands in."""

    async def test_a_text_and_the_token(self) -> None:
        """With the token in, without it refused."""
        async with VoiceMeUpSimulator() as sim:
            provider = VoiceMeUpSMSProvider(VoiceMeUpConfig(**sim.settings))
            async with endpoint(provider, unsigned={"ch": "hard-to-guess"}) as ours:
                assert (await sim.receive(ours.url, "x")).status in (401, 403, 404)
                url = f"{ours.url}?token=hard-to-guess"
                assert (await sim.receive(url, TEXT)).status == 200
                assert (
                    await sim.receive(url, "two", as_json=True, sender="15550100")
                ).status == 200
                assert (await sim.receive(url, raw=b"")).status == 400
                assert sorted(await ours.said()) == [("14155550100", TEXT), ("15550100", "two")]


class TestKeywords:
    """STOP and its like are told, whoever the vendor is."""

    def test_they_stand_in_the_metadata(self) -> None:
        """Only there where the whole text is such a word."""
        telnyx, sinch, voicemeup = TelnyxSimulator(), SinchSimulator(), VoiceMeUpSimulator()
        for text, word in (("STOP!", "stop"), ("please stop", None)):
            callback = {
                "data": {"event_type": "message.received", "payload": telnyx.inbound(text)}
            }
            found = [
                parse_telnyx_webhook(callback, "ch"),
                parse_telnyx_rcs_webhook(callback, "ch"),
                parse_sinch_webhook(sinch.inbound(text), "ch"),
                VoiceMeUpMMSAggregator().take(voicemeup.inbound(text), "ch"),
            ]
            assert [m.metadata.get("keyword") for m in found if m] == [word] * 4
