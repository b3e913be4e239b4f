"""People, channels and rooms: from the quickstart to a person on several channels."""

from __future__ import annotations

from roomkit import (
    Access,
    AIChannel,
    EmailChannel,
    HookTrigger,
    Identity,
    MediaContent,
    MockAIProvider,
    MockEmailProvider,
    MockIdentityResolver,
    MockSMSProvider,
    RichContent,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
)
from roomkit.testing import SimpleChannel, assert_invariants
from tests.support.kits import ROOM, inbound, messages, observe, open_room, text, texts


class Client:
    """A live socket that remembers what it got."""

    def __init__(self) -> None:
        self.got: list[RoomEvent] = []

    async def send(self, connection_id: str, event: RoomEvent) -> None:
        self.got.append(event)


class TestQuickstart:
    """Two people on two channels talk in one room."""

    async def test_it(self) -> None:
        async with RoomKit() as kit:
            client, provider = Client(), MockSMSProvider()
            kit.register_channel(WebSocketChannel("ws"))
            kit.register_channel(SMSChannel("sms", provider=provider))
            await kit.create_room(ROOM)
            await kit.attach_channel(ROOM, "ws")
            await kit.attach_channel(ROOM, "sms", metadata={"phone_number": "+15551112222"})
            await kit.connect_websocket("ws", "tab", client.send)
            await kit.process_inbound(inbound("hi there", "sms", "+15551112222"))
            await kit.process_inbound(inbound("hello!", "ws", "agent"))
            assert texts(client.got) == ["hi there"]
            assert [(c["to"], text(c["event"])) for c in provider.sent] == [
                ("+15551112222", "hello!")
            ]
            assert texts(await messages(kit)) == ["hi there", "hello!"]
            await assert_invariants(kit.store)


class TestAcrossChannels:
    """Each channel gets what it can carry."""

    async def test_sms_websocket_and_mail(self) -> None:
        async with RoomKit() as kit:
            client, sms, mail = Client(), MockSMSProvider(), MockEmailProvider()
            kit.register_channel(WebSocketChannel("ws"))
            kit.register_channel(SMSChannel("sms", provider=sms))
            kit.register_channel(EmailChannel("mail", provider=mail))
            await kit.create_room(ROOM)
            await kit.attach_channel(ROOM, "ws")
            await kit.attach_channel(ROOM, "sms", metadata={"phone_number": "+15551112222"})
            await kit.attach_channel(ROOM, "mail", metadata={"email_address": "pat@example.org"})
            await kit.connect_websocket("ws", "tab", client.send)
            rich = RichContent(body="**Hi**", plain_text="Hi")
            await kit.process_inbound(inbound(rich, "ws", "agent"), room_id=ROOM)
            assert texts(c["event"] for c in sms.sent) == ["Hi"]
            assert mail.sent[0]["event"].content == rich
            assert mail.sent[0]["to"] == "pat@example.org"
            long = "x" * 2000
            await kit.process_inbound(inbound(long, "mail", "pat@example.org"), room_id=ROOM)
            assert texts(client.got) == [long]
            [shortened] = texts([sms.sent[1]["event"]])
            assert shortened.endswith("...")
            assert len(shortened) < len(long)
            image = MediaContent(url="https://example.org/x.png", mime_type="image/png")
            await kit.process_inbound(inbound(image, "sms", "+15551112222"), room_id=ROOM)
            assert client.got[-1].content == image
            assert (await messages(kit))[0].content == rich


class TestHandover:
    """An AI answers until a person takes over."""

    async def test_it(self) -> None:
        provider = MockAIProvider(["How can I help?", "never said"])
        async with RoomKit() as kit:
            customer, agent = SimpleChannel("customer"), SimpleChannel("agent")
            await open_room(kit, customer, AIChannel("ai", provider))
            await kit.process_inbound(inbound("hello", "customer"), room_id=ROOM)
            assert texts(customer.delivered) == ["How can I help?"]
            kit.register_channel(agent)
            await kit.attach_channel(ROOM, "agent")
            await kit.detach_channel(ROOM, "ai")
            await kit.process_inbound(inbound("a person, please", "customer"), room_id=ROOM)
            await kit.process_inbound(inbound("Pat here", "agent", "pat"), room_id=ROOM)
            assert texts(agent.delivered) == ["a person, please"]
            assert texts(customer.delivered) == ["How can I help?", "Pat here"]
            assert len(provider.calls) == 1

    async def test_a_muted_ai_listens_on(self) -> None:
        provider = MockAIProvider(["one", "two", "three"])
        async with RoomKit() as kit:
            customer = SimpleChannel("customer")
            await open_room(kit, customer, AIChannel("ai", provider))
            for body in ("first", "second", "third"):
                if body == "second":
                    await kit.mute(ROOM, "ai")
                if body == "third":
                    await kit.unmute(ROOM, "ai")
                await kit.process_inbound(inbound(body, "customer"), room_id=ROOM)
            assert texts(customer.delivered) == ["one", "three"]
            said = [message.content for message in provider.calls[-1].messages]
            assert said == ["first", "one", "second", "third"]


class TestDynamicChannels:
    """Channels come and go while people talk."""

    async def test_it(self) -> None:
        async with RoomKit() as kit:
            late = SimpleChannel("late")
            await open_room(kit, SimpleChannel("a"))
            await kit.process_inbound(inbound("before"), room_id=ROOM)
            kit.register_channel(late)
            await kit.attach_channel(ROOM, "late")
            await kit.process_inbound(inbound("during"), room_id=ROOM)
            await kit.detach_channel(ROOM, "late")
            await kit.process_inbound(inbound("after"), room_id=ROOM)
            assert texts(late.delivered) == ["during"]
            assert texts(await messages(kit)) == ["before", "during", "after"]
            await assert_invariants(kit.store)


class TestObserver:
    """A supervisor reads along; what they say reaches nobody."""

    async def test_it(self) -> None:
        async with RoomKit() as kit:
            a, b, boss = SimpleChannel("a"), SimpleChannel("b"), SimpleChannel("boss")
            await open_room(kit, a, b)
            kit.register_channel(boss)
            await kit.attach_channel(ROOM, "boss", access=Access.READ_ONLY)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            result = await kit.process_inbound(inbound("psst", "boss", "boss"), room_id=ROOM)
            assert not result.blocked
            assert texts(boss.delivered) == ["hi"]
            assert (texts(a.delivered), texts(b.delivered)) == ([], ["hi"])

    async def test_whispering_to_one_channel(self) -> None:
        async with RoomKit() as kit:
            a, b, c = SimpleChannel("a"), SimpleChannel("b"), SimpleChannel("c")
            await open_room(kit, a, b, c)
            await kit.send_event(ROOM, "a", TextContent(body="for b"), visibility="b")
            assert (texts(b.delivered), texts(c.delivered)) == (["for b"], [])


class TestIdentity:
    """A person is one participant, whatever channel they write by."""

    async def test_two_channels_one_person(self) -> None:
        pat = Identity(id="pat", display_name="Pat")
        resolver = MockIdentityResolver({"+15551112222": pat, "pat@example.org": pat})
        async with RoomKit(identity_resolver=resolver) as kit:
            kit.register_channel(SMSChannel("sms"))
            kit.register_channel(EmailChannel("mail"))
            await kit.create_room(ROOM)
            for channel_id in ("sms", "mail"):
                await kit.attach_channel(ROOM, channel_id)
            after = observe(kit, HookTrigger.AFTER_BROADCAST)
            await kit.process_inbound(inbound("hi", "sms", "+15551112222"), room_id=ROOM)
            await kit.process_inbound(inbound("ho", "mail", "pat@example.org"), room_id=ROOM)
            assert {t.event.source.participant_id for t in after} == {"pat"}
            assert [p.id for p in await kit.store.list_participants(ROOM)] == ["pat"]
