"""SendGrid end to end: a mail comes in over HTTP, is answered in its thread, and delivered."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    EmailChannel,
    InboundMessage,
    RoomKit,
    TextContent,
    TransportChannel,
    WebSocketChannel,
)
from roomkit.asgi import create_app
from roomkit.models.enums import ChannelType
from roomkit.providers.sendgrid import SendGridConfig, SendGridProvider
from roomkit.simulators import SendGridSimulator
from roomkit.simulators._server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import ChannelBinding, ChannelOutput, RoomContext, RoomEvent

TOKEN = "a-token-nobody-guesses"
ANA = "ana@example.org"


class MailChannel(TransportChannel):
    """A mail channel that prepares each event, whatever the channel of the package does."""

    def __init__(self, provider: SendGridProvider) -> None:
        super().__init__(
            "mail",
            ChannelType.EMAIL,
            provider=provider,
            capabilities=EmailChannel("mail").capabilities(),
            recipient_key="email_address",
            defaults={"subject": None},
        )
        self.mail = provider

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Send the event in its thread."""
        return await super().deliver(self.mail.prepare(event, binding, context), binding, context)


class Office:
    """A kit with a desk and a mail address, behind an endpoint."""

    def __init__(self, kit: RoomKit, url: str, vendor: SendGridSimulator) -> None:
        self.kit = kit
        self.url = url
        self.vendor = vendor

    @property
    def endpoint(self) -> str:
        """Where mail is posted."""
        return f"{self.url}/webhooks/mail?token={TOKEN}"

    async def say(self, room_id: str, text: str) -> None:
        """Write from the desk."""
        await self.kit.process_inbound(
            InboundMessage(channel_id="desk", sender_id="bob", content=TextContent(body=text)),
            room_id=room_id,
        )


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    """An office of the test's own."""
    async with opened() as office:
        yield office


@asynccontextmanager
async def opened() -> AsyncIterator[Office]:
    async with SendGridSimulator() as vendor:
        kit = RoomKit()
        kit.register_channel(WebSocketChannel("desk"))
        kit.register_channel(MailChannel(SendGridProvider(SendGridConfig(**vendor.settings))))
        app = create_app(kit, unsigned={"mail": TOKEN})
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        async with app.lifespan(), serve(app, sock) as port:
            yield Office(kit, f"http://127.0.0.1:{port}", vendor)


class TestMail:
    """A conversation by mail."""

    async def test_one_thread(self, office: Office) -> None:
        """Question, two answers and another question are one room and one thread."""
        vendor = office.vendor
        answer = await vendor.receive(
            office.endpoint, text="Are you open?", subject="Hours", message_id="first@example.org"
        )
        assert answer.status == 200
        (room,) = await office.kit.store.list_rooms()
        await office.kit.attach_channel(room.id, "desk")
        await office.say(room.id, "At nine.")
        first = vendor.sent[0]
        assert (first.to, first.text, first.data["subject"]) == (ANA, "At nine.", "Re: Hours")
        ours = first.data["headers"].pop("Message-ID").strip("<>")
        assert first.data["headers"] == {
            "In-Reply-To": "<first@example.org>",
            "References": "<first@example.org>",
        }
        quoted = f"Thanks!\n\nOn 21 Nov 2026, Bot wrote:\n> {first.text}"
        await vendor.receive(
            office.endpoint,
            text=quoted,
            subject="Re: Hours",
            message_id="second@example.org",
            in_reply_to=ours,
            references=["first@example.org", ours],
        )
        await office.say(room.id, "Welcome.")
        timeline = await office.kit.get_timeline(room.id)
        mails = [event for event in timeline if event.source.channel_id == "mail"]
        assert [event.content.body for event in mails] == ["Are you open?", "Thanks!"]
        assert {event.channel_data.thread_id for event in mails} == {"first@example.org"}
        headers = vendor.sent[1].data["headers"]
        assert headers["In-Reply-To"] == "<second@example.org>"
        assert headers["References"] == f"<first@example.org> <{ours}> <second@example.org>"
        assert vendor.sent[1].data["subject"] == "Re: Hours"

    async def test_a_repeat(self, office: Office) -> None:
        """The vendor tries again for three days; the mail enters once."""
        for _ in range(3):
            answer = await office.vendor.receive(
                office.endpoint, text="Hello", message_id="one@example.org"
            )
            assert answer.status == 200
        (room,) = await office.kit.store.list_rooms()
        timeline = await office.kit.get_timeline(room.id)
        assert [e.source.external_id for e in timeline if e.source.external_id] == [
            "one@example.org"
        ]

    async def test_statuses(self, office: Office) -> None:
        """An event finds the mail it is about; nobody else can say so."""
        heard: list[str] = []
        office.kit.on_delivery_status(lambda status: _note(heard, status.status))
        await office.vendor.receive(office.endpoint, text="Hello")
        (room,) = await office.kit.store.list_rooms()
        await office.kit.attach_channel(room.id, "desk")
        await office.say(room.id, "Hi")
        url = f"{office.url}/webhooks/mail/events?token={TOKEN}"
        mail_id = office.vendor.sent[0].id
        assert (await office.vendor.status(mail_id, "delivered", url)).status == 204
        stored = (await office.kit.get_timeline(room.id))[-1].delivery_results["mail"]
        assert stored["status"] == "delivered"
        assert heard == ["delivered"]
        stranger = SendGridSimulator(private_key=5)
        assert (await stranger.status(mail_id, "bounce", url)).status == 401
        old = await office.vendor.status(mail_id, "bounce", url, timestamp=1735689600)
        assert old.status == 401
        assert heard == ["delivered"]

    async def test_the_door(self, office: Office) -> None:
        """No token, another type or kind: refused before anything is read."""
        bare = f"{office.url}/webhooks/mail"
        assert (await office.vendor.receive(bare, text="x")).status == 401
        other = f"{bare}/other?token={TOKEN}"
        assert (await office.vendor.receive(other, text="x")).status == 404
        headers = {"content-type": "application/json"}
        assert (await office.vendor.post(office.endpoint, b"{}", headers)).status == 415
        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert (await office.vendor.post(office.endpoint, b"--b", headers)).status == 400
        assert await office.kit.store.list_rooms() == []


async def _note(heard: list[str], status: str) -> None:
    heard.append(status)
