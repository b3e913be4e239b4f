"""Twilio's callbacks at an endpoint we host, signed by the simulator, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import RoomKit, SMSChannel
from roomkit.asgi import create_app
from roomkit.models.content import MediaContent, TextContent
from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
)
from roomkit.simulators import TwilioSimulator
from roomkit.simulators._server import serve
from roomkit.testing import make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.delivery import DeliveryStatus
    from roomkit.models.event import RoomEvent
    from roomkit.providers.base import Provider

PHONE = "+14155550100"
HELLO = make_event(body="Hello")


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

    async def messages(self) -> list[RoomEvent]:
        """Return every message of every room."""
        rooms = await self._kit.store.list_rooms()
        events = [e for room in rooms for e in await self._kit.get_timeline(room.id)]
        return [event for event in events if event.type == "message"]

    async def texts(self) -> list[Any]:
        """Return what the messages say."""
        return [getattr(event.content, "body", event.content) for event in await self.messages()]


@asynccontextmanager
async def endpoint(provider: Provider, public_url: str | None = None) -> AsyncIterator[Endpoint]:
    """Host the provider's webhook on a free port."""
    kit = RoomKit()
    kit.register_channel(SMSChannel("sms", provider=provider))
    app = create_app(kit, public_url=public_url)
    listener = socket.create_server(("127.0.0.1", 0))
    async with app.lifespan(), serve(app, listener) as port:
        yield Endpoint(kit, f"http://127.0.0.1:{port}/webhooks/sms")


@pytest.fixture
async def sim() -> AsyncIterator[TwilioSimulator]:
    """The vendor."""
    async with TwilioSimulator() as sim:
        yield sim


def sms(sim: TwilioSimulator, **more: Any) -> TwilioSMSProvider:
    return TwilioSMSProvider(TwilioConfig(**{**sim.settings, **more}))


class TestMessages:
    """What people write comes in once, and only from the vendor."""

    async def test_a_text_and_a_picture(self, sim: TwilioSimulator) -> None:
        """Each becomes an event of the sender; the vendor gets empty TwiML."""
        async with endpoint(sms(sim)) as ours:
            answer = await sim.receive(ours.url, text="caf\u00e9 & cr\u00e8me + 50% \u2615")
            assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
            assert answer.text.endswith("<Response/>")
            picture = ("https://files.test/a.png", "image/png")
            await sim.receive(ours.url, text="Look", media=[picture])
            first, second = await ours.messages()
        assert first.content == TextContent(body="caf\u00e9 & cr\u00e8me + 50% \u2615")
        assert first.source.participant_id == PHONE
        assert second.content == MediaContent(
            url=picture[0], mime_type="image/png", caption="Look"
        )

    async def test_by_get(self, sim: TwilioSimulator) -> None:
        """A number may be set to GET; the query of the endpoint's own is kept."""
        async with endpoint(sms(sim)) as ours:
            answer = await sim.receive(f"{ours.url}?tenant=42", text="Hi + bye", method="GET")
            assert answer.status == 200
            assert await ours.texts() == ["Hi + bye"]

    async def test_a_repeat_changes_nothing(self, sim: TwilioSimulator) -> None:
        """The same message twenty times at once is one event, and 200 each time."""
        async with endpoint(sms(sim)) as ours:
            repeats = (sim.receive(ours.url, text="Once", message_id="SM9") for _ in range(20))
            answers = await asyncio.gather(*repeats)
            assert {answer.status for answer in answers} == {200}
            assert await ours.texts() == ["Once"]

    async def test_forgers_and_old_tokens(self, sim: TwilioSimulator) -> None:
        """Another token is 401 and leaves nothing; a previous one still counts."""
        async with endpoint(sms(sim, previous_secrets=["old-token"])) as ours:
            forged = await sim.receive(ours.url, text="Free money", token="mine")
            other = await sim.receive(ours.url, text="x", signed_url=f"{ours.url}/else")
            old = await sim.receive(ours.url, text="Hello", token="old-token")
            assert [a.status for a in (forged, other, old)] == [401, 401, 200]
            assert await ours.texts() == ["Hello"]

    async def test_behind_a_proxy(self, sim: TwilioSimulator) -> None:
        """What counts is the URL the vendor called, with or without its port."""
        public = "https://hooks.example.org"
        async with endpoint(sms(sim), public_url=public) as ours:
            for host in (public, f"{public}:443"):
                signed = f"{host}/webhooks/sms"
                assert (await sim.receive(ours.url, text="x", signed_url=signed)).status == 200
            assert (await sim.receive(ours.url, text="x")).status == 401

    async def test_bodies_that_make_no_sense(self, sim: TwilioSimulator) -> None:
        """Signed and yet nobody's: 400; too long: 413; neither is kept."""
        async with endpoint(sms(sim)) as ours:
            assert (await sim.receive(ours.url, raw=b"Body=hello")).status == 400
            assert (await sim.receive(ours.url, raw=b"Body=" + b"x" * 200_000)).status == 413
            assert await ours.texts() == []


class TestStatuses:
    """What became of what we sent."""

    async def test_by_the_callback_of_the_message(self, sim: TwilioSimulator) -> None:
        """The URL given with the message is called; a failure says why."""
        async with endpoint(sms(sim)) as ours:
            provider = sms(sim, status_callback=ours.url)
            sent = (await provider.send(HELLO, PHONE)).provider_message_id or ""
            await provider.close()
            answer = await sim.status(sent, "sent")
            await sim.status(
                sent,
                "undelivered",
                error_code="30005",
                error_message="Unknown destination handset",
                RawDlrDoneDate="2611211305",
            )
            assert (answer.status, await ours.texts()) == (204, [])
        assert [status.status for status in ours.heard] == ["sent", "undelivered"]
        last = ours.heard[1]
        assert (last.message_id, last.recipient) == (sent, PHONE)
        assert (last.error_code, last.error_message) == ("30005", "Unknown destination handset")
        assert last.timestamp == "2026-11-21T13:05:00"

    async def test_which_way_rcs_went(self, sim: TwilioSimulator) -> None:
        """The sender of the status tells; a read receipt is a status too."""
        provider = TwilioRCSProvider(TwilioRCSConfig(**sim.rcs_settings))
        async with endpoint(provider) as ours:
            sent = (await provider.send(HELLO, PHONE)).provider_message_id or ""
            await sim.status(sent, "delivered", url=ours.url, by_sms=True)
            await sim.status(sent, "read", url=ours.url)
            await sim.receive(ours.url, rcs=True, button=("Yes", "confirm"))
            [pressed] = await ours.messages()
        assert [s.sender.startswith("rcs:") for s in ours.heard] == [False, True]
        assert [s.status for s in ours.heard] == ["delivered", "read"]
        assert pressed.content == TextContent(body="Yes")
        assert pressed.metadata["button_payload"] == "confirm"
        assert pressed.metadata["phone_number"] == PHONE

    async def test_the_simulator_reports_only_what_it_sent(self, sim: TwilioSimulator) -> None:
        """A wrong id or a missing endpoint is a mistake of the test that asks."""
        with pytest.raises(ValueError, match="no message of this id"):
            await sim.status("SM404")
        provider = sms(sim)
        sent = (await provider.send(HELLO, PHONE)).provider_message_id or ""
        await provider.close()
        with pytest.raises(ValueError, match="give a url"):
            await sim.status(sent)


class TestConsent:
    """The vendor keeps its own list."""

    async def test_stop_and_start(self, sim: TwilioSimulator) -> None:
        """After STOP nothing goes to that number, after START it does again."""
        provider = sms(sim)
        async with endpoint(provider) as ours:
            await sim.receive(ours.url, text="STOP")
            stopped = await provider.send(HELLO, PHONE)
            await sim.receive(ours.url, text="START")
            started = await provider.send(HELLO, PHONE)
            keywords = [event.metadata["keyword"] for event in await ours.messages()]
        assert (stopped.error, started.success) == ("twilio_21610", True)
        assert keywords == ["stop", "start"]
