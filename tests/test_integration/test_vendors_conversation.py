"""One conversation over three vendors at once, on real sockets, through a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit import (
    Access,
    AIChannel,
    EmailChannel,
    HookResult,
    HookTrigger,
    MockAIProvider,
    RetryPolicy,
    RoomKit,
    SMSChannel,
    TextContent,
    WhatsAppChannel,
)
from roomkit.asgi import create_app
from roomkit.providers.sendgrid import SendGridConfig, SendGridProvider
from roomkit.providers.twilio import TwilioConfig, TwilioSMSProvider
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.realtime import EphemeralEventType
from roomkit.simulators import (
    SendGridSimulator,
    TwilioSimulator,
    VendorSimulator,
    WebhookAnswer,
    WhatsAppSimulator,
    error,
)
from roomkit.store.memory import InMemoryStore
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import assert_invariants
from tests.support.kits import messages, texts
from tests.test_asgi.test_server import serving
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from roomkit import ConversationStore, RoomContext, RoomEvent
    from roomkit.realtime import EphemeralEvent

PUBLIC = "https://hooks.example.org/shop"
ROOM = "talk"
PHONE = "+14155550100"
WA_ID = "14155550100"
MAIL = "ana@example.org"
REPEATS = 50


class _Recorded(VendorSimulator):
    """A simulator that remembers the requests it made, byte for byte."""

    calls: list[tuple[str, bytes, dict[str, str]]]

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], **options: Any
    ) -> WebhookAnswer:
        self.__dict__.setdefault("calls", []).append((url, body, dict(headers)))
        return await super().post(url, body, headers, **options)


class Twilio(_Recorded, TwilioSimulator):
    """Twilio, with a memory."""


class WhatsApp(_Recorded, WhatsAppSimulator):
    """WhatsApp, with a memory."""


class SendGrid(_Recorded, SendGridSimulator):
    """SendGrid, with a memory."""


@dataclass
class Vendors:
    """The outside world; it goes on when our process ends."""

    sms: Twilio = field(default_factory=Twilio)
    wa: WhatsApp = field(default_factory=WhatsApp)
    mail: SendGrid = field(default_factory=SendGrid)


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    """Three vendors, each on a socket of its own."""
    world = Vendors()
    async with AsyncExitStack() as stack:
        for sim in (world.sms, world.wa, world.mail):
            await stack.enter_async_context(sim)
        yield world


class Process:
    """Our program: a kit with three vendors and an agent, and its endpoints on a port.

    Args:
        vendors: The outside world.
        store: What the kit keeps things in.
        answers: What the agent says.

    Attributes:
        kit: The kit.
        agent: The agent's model.
        gated: The texts the gate has seen.
        base: Where the endpoints are.
    """

    def __init__(self, vendors: Vendors, store: ConversationStore, *answers: str) -> None:
        self.vendors = vendors
        self.agent = MockAIProvider(list(answers))
        self.kit = RoomKit(store)
        self.gated: list[str] = []
        self.base = ""
        sms, wa = vendors.sms.settings, vendors.wa.settings
        mail = {**vendors.mail.settings, "inbound_public_key": vendors.mail.public_key}
        for channel in (
            SMSChannel("sms", provider=TwilioSMSProvider(TwilioConfig(**sms))),
            WhatsAppChannel("wa", provider=WhatsAppCloudProvider(WhatsAppCloudConfig(**wa))),
            EmailChannel("mail", provider=SendGridProvider(SendGridConfig(**mail))),
            AIChannel("agent", self.agent),
        ):
            self.kit.register_channel(channel)

        @self.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            self.gated += texts([event])
            return HookResult.allow()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """Serve the endpoints; afterwards the kit is closed, as at the end of a program."""
        app = create_app(self.kit, public_url=PUBLIC)
        async with serving(app) as port:
            self.base = f"http://127.0.0.1:{port}"
            yield self

    def url(self, channel_id: str) -> str:
        """Return an endpoint as it is reached here."""
        return f"{self.base}/webhooks/{channel_id}"

    async def open_room(self) -> None:
        """Open a room in which the customer talks to the agent by all three vendors."""
        kit = self.kit
        await kit.create_room(ROOM)
        only: dict[str, Any] = {"visibility": "agent"}
        await kit.attach_channel(ROOM, "agent")
        await kit.attach_channel(
            ROOM, "sms", access=Access.WRITE_ONLY, metadata={"phone_number": PHONE}, **only
        )
        again = {"retry_policy": RetryPolicy(base_delay_seconds=0.05), **only}
        await kit.attach_channel(ROOM, "wa", metadata={"phone_number": WA_ID}, **again)
        await kit.attach_channel(ROOM, "mail", metadata={"email_address": MAIL}, **again)

    async def text_in(self, text: str, message_id: str) -> WebhookAnswer:
        """Let the customer write an SMS."""
        return await self.vendors.sms.receive(
            self.url("sms"),
            text=text,
            sender=PHONE,
            message_id=message_id,
            signed_url=f"{PUBLIC}/webhooks/sms",
        )

    async def told(self, count: int) -> None:
        """Wait until WhatsApp and the mail have so many messages, and the kit knows it."""
        vendors = self.vendors
        await until(lambda: len(vendors.wa.sent) >= count and len(vendors.mail.sent) >= count)
        await self.kit.drain(10)

    async def said(self) -> list[str]:
        """Return the texts of the room, in order."""
        return texts(await messages(self.kit, ROOM))

    async def outcome(self, text: str) -> dict[str, Any]:
        """Return what became of the deliveries of what somebody said."""
        [event] = [one for one in await messages(self.kit, ROOM) if texts([one]) == [text]]
        return event.delivery_results

    async def fate(self, text: str, channel_id: str, status: str) -> None:
        """Wait until a delivery has a status."""

        async def there() -> bool:
            return bool((await self.outcome(text))[channel_id].get("status") == status)

        await until(there)


type MakeStore = Callable[[], ConversationStore]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Opens one store: twice the same file, or a new memory."""
    if request.param == "memory":
        return InMemoryStore
    return lambda: SQLiteStore(tmp_path / "shop.db")


async def replay(sim: _Recorded, times: int = REPEATS) -> Counter[int]:
    """Send the last request of a vendor again, many times at once; count the answers."""
    url, body, headers = sim.calls[-1]
    limits = httpx.Limits(max_connections=times)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post(url, content=body, headers=headers) for _ in range(times))
        )
    return Counter(answer.status_code for answer in answers)


class TestConversation:
    """A customer changes vendors; the conversation does not notice."""

    async def test_three_vendors(self, vendors: Vendors, make_store: MakeStore) -> None:
        """An SMS is answered by WhatsApp, a copy goes out by mail, and a mail is answered too."""
        process = Process(vendors, make_store(), "Until six.", "You are welcome.")
        async with process.running():
            await process.open_room()
            answer = await process.text_in("Are you open?", "SM1")
            assert answer.status == 200
            assert b"<Response" in answer.body
            await process.told(1)
            assert [(m.to, m.text) for m in vendors.wa.sent] == [(WA_ID, "Until six.")]
            [copy] = vendors.mail.sent
            assert (copy.to, copy.text) == (MAIL, "Until six.")
            assert not vendors.sms.sent
            told = copy.text
            own_id = copy.data["headers"]["Message-ID"].strip("<>")
            answer = await vendors.mail.receive(
                process.url("mail"),
                text=f"Thanks!\n\nOn Mon, 2 Nov 2026 at 10:00 Shop <bot@x.org> wrote:\n> {told}\n",
                sender=MAIL,
                subject="Re: A message for you",
                message_id="reply-1@example.org",
                in_reply_to=own_id,
                references=[own_id],
                attachments=[("map.png", "image/png", b"\x89PNG")],
            )
            assert answer.status == 200
            await process.told(2)
            assert process.gated == [
                "Are you open?",
                "Until six.",
                "You are welcome.",
            ]
            events = await messages(process.kit, ROOM)
            reply = next(one for one in events if one.source.channel_id == "mail")
            assert reply.content.model_dump()["caption"] == "Thanks!"
            assert "Until six." in reply.metadata["quoted"]
            assert reply.source.external_id == "reply-1@example.org"
            assert "Thanks!" in str([m.content for m in process.agent.calls[1].messages])
            assert await process.said() == ["Are you open?", "Until six.", "You are welcome."]
            await assert_invariants(process.kit.store)

    async def test_the_answer_to_a_mail(self, vendors: Vendors, make_store: MakeStore) -> None:
        """It stands in the mail's thread: headers and subject say what it answers."""
        process = Process(vendors, make_store(), "You are welcome.")
        async with process.running():
            await process.open_room()
            answer = await vendors.mail.receive(
                process.url("mail"),
                text="Thanks!",
                sender=MAIL,
                subject="Opening hours",
                message_id="second@example.org",
                in_reply_to="first@example.org",
                references=["first@example.org"],
            )
            assert answer.status == 200
            await process.told(1)
            mail = vendors.mail.sent[0].data
            assert mail["headers"]["In-Reply-To"] == "<second@example.org>"
            assert mail["headers"]["References"] == "<first@example.org> <second@example.org>"
            assert mail["subject"] == "Re: Opening hours"

    async def test_statuses_follow(self, vendors: Vendors, make_store: MakeStore) -> None:
        """A status goes up and never down, a failure stays, and each is the right delivery's."""
        process = Process(vendors, make_store(), "Yes.")
        heard: list[str] = []
        process.kit.on_delivery_status(lambda status: heard.append(status.status))
        async with process.running():
            await process.open_room()
            await process.text_in("Open?", "SM1")
            await process.told(1)
            [by_wa], [by_mail] = vendors.wa.sent, vendors.mail.sent
            before = await process.outcome("Yes.")
            assert before["wa"]["provider_message_id"] == by_wa.id
            assert before["mail"]["provider_message_id"] == by_mail.id
            for status in ("sent", "delivered", "read"):
                answer = await vendors.wa.status(by_wa.id, status, process.url("wa"))
                assert answer.status in (200, 204)
                await process.fate("Yes.", "wa", status)
            events = process.url("mail/events")
            assert (await vendors.mail.status(by_mail.id, "delivered", events)).status == 204
            await process.fate("Yes.", "mail", "delivered")
            bounce = {"event": "bounce", "status": "5.1.1", "email": MAIL}
            await vendors.mail.events(events, [{**bounce, "sg_message_id": f"{by_mail.id}.x"}])
            await process.fate("Yes.", "mail", "failed")
            # What comes late changes nothing.
            await vendors.wa.status(by_wa.id, "delivered", process.url("wa"))
            await vendors.mail.status(by_mail.id, "delivered", events)
            await until(lambda: len(heard) == 7)
            after = await process.outcome("Yes.")
            assert after["wa"]["status"] == "read"
            assert (after["mail"]["status"], after["mail"]["error"]) == ("failed", "5.1.1")
            assert set(after) == {"wa", "mail"}
            assert await process.said() == ["Open?", "Yes."]

    async def test_a_reaction(self, vendors: Vendors, make_store: MakeStore) -> None:
        """A thumb on our WhatsApp message is published for our event, and not stored."""
        process = Process(vendors, make_store(), "Yes.")
        heard: list[EphemeralEvent] = []

        async def hear(event: EphemeralEvent) -> None:
            heard.append(event)

        async with process.running():
            await process.open_room()
            await process.kit.subscribe_room(ROOM, hear)
            await process.text_in("Open?", "SM1")
            await process.told(1)
            [sent] = vendors.wa.sent
            answer = await vendors.wa.reaction(
                process.url("wa"), message_id=sent.id, emoji="\U0001f44d", sender=WA_ID
            )
            assert answer.status == 200
            await until(lambda: any(e.type is EphemeralEventType.REACTION for e in heard))
            [reaction] = [e for e in heard if e.type is EphemeralEventType.REACTION]
            [event] = [e for e in await messages(process.kit, ROOM) if texts([e]) == ["Yes."]]
            assert event.id in str(reaction.data)
            assert "\U0001f44d" in str(reaction.data)
            # One about a message nobody knows is dropped.
            await vendors.wa.reaction(process.url("wa"), message_id="wamid.none", sender=WA_ID)
            await process.kit.drain(10)
            assert await process.said() == ["Open?", "Yes."]


class TestRestart:
    """Our process ends and another begins on the same file; the vendors notice nothing."""

    async def test_it_goes_on(self, vendors: Vendors, tmp_path: Path) -> None:
        """Same room, same history; statuses of messages sent before are still theirs."""
        first = Process(vendors, SQLiteStore(tmp_path / "shop.db"), "Until six.")
        async with first.running():
            await first.open_room()
            await first.text_in("Are you open?", "SM1")
            await first.told(1)
        second = Process(vendors, SQLiteStore(tmp_path / "shop.db"), "Yes, seven too.")
        async with second.running():
            status = await vendors.wa.status(vendors.wa.sent[0].id, "read", second.url("wa"))
            assert status.status in (200, 204)
            await second.fate("Until six.", "wa", "read")
            # The vendor did not hear our answer, and sends once more what it sent before.
            assert (await second.text_in("Are you open?", "SM1")).status == 200
            assert (await second.text_in("And later?", "SM2")).status == 200
            await second.told(2)
            assert await second.said() == [
                "Are you open?",
                "Until six.",
                "And later?",
                "Yes, seven too.",
            ]
            asked = [m.content for m in second.agent.calls[0].messages]
            assert asked == ["Are you open?", "Until six.", "And later?"]
            assert [m.text for m in vendors.wa.sent] == ["Until six.", "Yes, seven too."]
            assert [m.text for m in vendors.mail.sent] == ["Until six.", "Yes, seven too."]
            await assert_invariants(second.kit.store)


class TestReplays:
    """T10: the same signed request, however often: one event."""

    async def test_fifty_at_once(self, vendors: Vendors, tmp_path: Path) -> None:
        """One event a vendor, all fifty answered 200; and after a restart still one."""
        for attempt in ("first", "after a restart"):
            store = SQLiteStore(tmp_path / "shop.db")
            process = Process(vendors, store, "Noted.")
            async with process.running():
                if attempt == "first":
                    await process.open_room()
                    await process.text_in("by sms", "SM1")
                    url = process.url("wa")
                    await vendors.wa.receive(url, text="by chat", sender=WA_ID, message_id="w1")
                    await vendors.mail.receive(
                        process.url("mail"), text="by mail", sender=MAIL, message_id="m1@x.org"
                    )
                for sim in (vendors.sms, vendors.wa, vendors.mail):
                    old, body, headers = sim.calls[-1]
                    moved = process.base + "/webhooks/" + old.rpartition("/")[2]
                    sim.calls.append((moved, body, headers))
                    assert await replay(sim) == Counter({200: REPEATS})
                await process.told(3)
                events = await messages(process.kit, ROOM)
                by = Counter(e.source.channel_id for e in events)
                assert by == {"sms": 1, "wa": 1, "mail": 1, "agent": 3}
                await assert_invariants(process.kit.store)

    async def test_in_memory(self, vendors: Vendors) -> None:
        """Without a file the same, as long as the process lives."""
        process = Process(vendors, InMemoryStore(), "Noted.")
        async with process.running():
            await process.open_room()
            await process.text_in("by sms", "SM1")
            assert await replay(vendors.sms) == Counter({200: REPEATS})
            url = process.url("wa")
            await vendors.wa.receive(url, text="by chat", sender=WA_ID, message_id="w1")
            assert await replay(vendors.wa) == Counter({200: REPEATS})
            await process.told(2)
            assert sorted(await process.said()) == ["Noted.", "Noted.", "by chat", "by sms"]


class TestOneVendorDown:
    """A vendor that cannot keeps nobody waiting but its own lane."""

    SAID = ("one", "two", "three")

    async def say(self, process: Process) -> None:
        """Let the agent say three things, without waiting for their deliveries."""
        for text in self.SAID:
            await process.kit.send_event(ROOM, "agent", TextContent(body=text))

    async def test_it_delays_its_own_lane(self, vendors: Vendors, make_store: MakeStore) -> None:
        """Throttled for a second, then down, then fine: all arrives, in order, and once."""
        process = Process(vendors, make_store())
        async with process.running():
            await process.open_room()
            vendors.wa.script(error(429, retry_after=1), error(503))
            loop = asyncio.get_running_loop()
            began = loop.time()
            saying = asyncio.create_task(self.say(process))
            await vendors.wa.arrived(1)
            await until(lambda: len(vendors.mail.sent) >= 1)
            assert not vendors.wa.sent
            await saying
            await process.told(3)
            assert loop.time() - began >= 1.0, "the vendor's wait was not kept"
            assert [m.text for m in vendors.wa.sent] == list(self.SAID)
            assert [m.text for m in vendors.mail.sent] == list(self.SAID)
            assert len(vendors.wa.requests) == 5
            assert len(vendors.mail.requests) == 3
            for text in self.SAID:
                for result in (await process.outcome(text)).values():
                    assert result["status"] == "sent"

    async def test_nothing_is_lost_over_a_restart(self, vendors: Vendors, tmp_path: Path) -> None:
        """What still waits for a vendor when the process ends is sent by the next one."""
        first = Process(vendors, SQLiteStore(tmp_path / "shop.db"))
        async with first.running():
            await first.open_room()
            vendors.wa.script(error(429, retry_after=1))
            saying = asyncio.create_task(self.say(first))
            await until(lambda: len(vendors.mail.sent) == 3)
            assert not vendors.wa.sent
            await saying
        assert not vendors.wa.sent, "the vendor's wait was not kept"
        second = Process(vendors, SQLiteStore(tmp_path / "shop.db"))
        async with second.running():
            await second.told(3)
            assert [m.text for m in vendors.wa.sent] == list(self.SAID)
            assert [m.text for m in vendors.mail.sent] == list(self.SAID)
            await assert_invariants(second.kit.store)
