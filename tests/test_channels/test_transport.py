"""TransportChannel: messages in, sends out, and what a provider's answers mean."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from roomkit._scope import Delivery, delivery_scope
from roomkit.channels import (
    WHATSAPP_CAPABILITIES,
    EmailChannel,
    HTTPChannel,
    RCSChannel,
    SMSChannel,
    WhatsAppChannel,
)
from roomkit.channels.transport import SenderCache, TransportChannel
from roomkit.exceptions import ProviderDeliveryError
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import (
    CompositeContent,
    DeleteContent,
    EditContent,
    MediaContent,
    TextContent,
)
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, ProviderResult
from roomkit.models.enums import (
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
    EventStatus,
    EventType,
)
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.room import Room

PHOTO = MediaContent(url="https://x.test/a.png", mime_type="image/png")
CONTEXT = RoomContext(room=Room(id="r1"))


class Provider:
    """Records sends and answers as told."""

    name = "fake"

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[tuple[RoomEvent, dict[str, Any]]] = []
        self.closed = 0

    async def send(self, event: RoomEvent, **options: Any) -> Any:
        self.calls.append((event, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed += 1


def event() -> RoomEvent:
    return RoomEvent(
        room_id="r1",
        source=EventSource(channel_id="other", channel_type=ChannelType.WEBSOCKET),
        content=TextContent(body="hi"),
    )


def binding(**metadata: Any) -> ChannelBinding:
    return ChannelBinding(
        channel_id="c1", room_id="r1", channel_type=ChannelType.SMS, metadata=metadata
    )


def message(content: Any = None, **fields: Any) -> InboundMessage:
    fields.setdefault("sender_id", "+1555")
    return InboundMessage(channel_id="c1", content=content or TextContent(body="hi"), **fields)


@pytest.fixture
def delivery():
    """The engine is delivering."""
    token = delivery_scope.set(Delivery("d1"))
    yield delivery_scope.get()
    delivery_scope.reset(token)


class TestInbound:
    """A message becomes an event of its room that keeps all the message says."""

    async def test_event_of_a_message(self) -> None:
        channel = SMSChannel("c1")
        got = await channel.handle_inbound(
            message(external_id="m1", idempotency_key="k1", metadata={"a": 1}), CONTEXT
        )
        assert got.room_id == "r1"
        assert got.type is EventType.MESSAGE
        assert got.content == TextContent(body="hi")
        assert got.idempotency_key == "k1"
        assert got.metadata == {"a": 1}
        assert got.status is EventStatus.PENDING
        assert got.source == EventSource(
            channel_id="c1",
            channel_type=ChannelType.SMS,
            direction=ChannelDirection.INBOUND,
            participant_id="+1555",
            external_id="m1",
        )

    async def test_ids_of_the_vendor_are_kept(self) -> None:
        channel = EmailChannel("c1")
        both = await channel.handle_inbound(message(external_id="m1", thread_id="t1"), CONTEXT)
        thread = await channel.handle_inbound(message(thread_id="t1"), CONTEXT)
        none = await channel.handle_inbound(message(), CONTEXT)
        assert both.channel_data == ChannelData(external_id="m1", thread_id="t1")
        assert thread.channel_data == ChannelData(thread_id="t1")
        assert none.channel_data == ChannelData()

    async def test_no_sender_is_no_participant(self) -> None:
        got = await HTTPChannel("c1").handle_inbound(message(sender_id=""), CONTEXT)
        assert got.source.participant_id is None

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (TextContent(body="x"), ChannelType.SMS),
            (PHOTO, ChannelType.MMS),
            (CompositeContent(parts=[TextContent(body="x"), PHOTO]), ChannelType.MMS),
            (CompositeContent(parts=[CompositeContent(parts=[PHOTO])]), ChannelType.SMS),
        ],
    )
    async def test_sms_with_media_is_an_mms(self, content, kind) -> None:
        got = await SMSChannel("c1").handle_inbound(message(content), CONTEXT)
        assert got.source.channel_type is kind

    async def test_media_elsewhere_changes_nothing(self) -> None:
        got = await WhatsAppChannel("c1").handle_inbound(message(PHOTO), CONTEXT)
        assert got.source.channel_type is ChannelType.WHATSAPP

    async def test_edits_and_deletes_come_as_they_are(self) -> None:
        edit = EditContent(target_event_id="e1", new_content=TextContent(body="new"))
        delete = DeleteContent(target_event_id="e1")
        channel = WhatsAppChannel("c1")
        for content, kind in ((edit, EventType.EDIT), (delete, EventType.DELETE)):
            got = await channel.handle_inbound(message(content, event_type=kind), CONTEXT)
            assert got.type is kind
            assert got.content == content

    async def test_plain_messages_of_one_sender_share_their_source(self) -> None:
        channel = SMSChannel("c1")
        first = await channel.handle_inbound(message(), CONTEXT)
        again = await channel.handle_inbound(message(), CONTEXT)
        media = await channel.handle_inbound(message(PHOTO), CONTEXT)
        other = await channel.handle_inbound(message(sender_id="+1666"), CONTEXT)
        with_id = await channel.handle_inbound(message(external_id="m1"), CONTEXT)
        assert first.source is again.source
        assert media.source is not first.source
        assert other.source.participant_id == "+1666"
        assert with_id.source is not first.source
        assert first.metadata is not again.metadata

    def test_the_senders_remembered_are_bounded(self) -> None:
        cache = SenderCache("c1")
        first, _ = cache.shared("s0", ChannelType.SMS)
        for number in range(1, 1024):
            cache.shared(f"s{number}", ChannelType.SMS)
        assert cache.shared("s0", ChannelType.SMS)[0] is first
        cache.shared("one more", ChannelType.SMS)
        assert cache.shared("s0", ChannelType.SMS)[0] is not first


class TestDeliver:
    """A delivery is one call of the provider, with the binding's address and options."""

    async def test_without_a_provider_it_is_done(self) -> None:
        output = await SMSChannel("c1").deliver(event(), binding(), CONTEXT)
        assert output is ChannelOutput.empty()

    async def test_call(self) -> None:
        provider = Provider()
        channel = SMSChannel("c1", provider=provider, from_number="+1000")
        sent = event()
        output = await channel.deliver(sent, binding(phone_number="+1555", from_="+9"), CONTEXT)
        assert output is ChannelOutput.empty()
        assert provider.calls == [(sent, {"to": "+1555", "from_": "+1000"})]
        assert provider.calls[0][0] is sent

    async def test_open_options_come_from_the_binding(self) -> None:
        provider = Provider()
        channel = EmailChannel("c1", provider=provider)
        await channel.deliver(event(), binding(email_address="a@b.c", subject="Hello"), CONTEXT)
        assert provider.calls[0][1] == {"to": "a@b.c", "from_": None, "subject": "Hello"}

    async def test_false_is_a_value(self) -> None:
        provider = Provider()
        channel = RCSChannel("c1", provider=provider, fallback=False)
        await channel.deliver(event(), binding(phone_number="+1", fallback=True), CONTEXT)
        assert provider.calls[0][1] == {"to": "+1", "fallback": False}

    async def test_own_recipient_key(self) -> None:
        provider = Provider()
        channel = TransportChannel(
            "c1", ChannelType.PUSH, provider=provider, recipient_key="device"
        )
        await channel.deliver(event(), binding(device="d1"), CONTEXT)
        assert provider.calls[0][1] == {"to": "d1"}

    async def test_missing_address_outside_of_a_delivery_is_empty(self) -> None:
        provider = Provider()
        await SMSChannel("c1", provider=provider).deliver(event(), binding(), CONTEXT)
        assert provider.calls[0][1]["to"] == ""

    @pytest.mark.parametrize("metadata", [{}, {"phone_number": ""}, {"phone_number": None}])
    async def test_the_engine_does_not_send_to_nobody(self, delivery, metadata) -> None:
        provider = Provider()
        channel = SMSChannel("c1", provider=provider)
        with pytest.raises(ProviderDeliveryError) as caught:
            await channel.deliver(event(), binding(**metadata), CONTEXT)
        assert caught.value.code == "no_recipient"
        assert caught.value.retryable is False
        assert provider.calls == []

    async def test_a_webhook_needs_no_address(self, delivery) -> None:
        provider = Provider()
        await HTTPChannel("c1", provider=provider).deliver(event(), binding(), CONTEXT)
        assert provider.calls[0][1]["to"] == ""

    async def test_the_need_of_an_address_can_be_set(self, delivery) -> None:
        provider = Provider()
        channel = TransportChannel(
            "c1", ChannelType.PUSH, provider=provider, requires_recipient=False
        )
        await channel.deliver(event(), binding(), CONTEXT)
        assert len(provider.calls) == 1

    async def test_unknown_answers_count_as_sent(self, delivery) -> None:
        for answer in (None, {"sid": 1}, "ok"):
            channel = SMSChannel("c1", provider=Provider(answer))
            assert (
                await channel.deliver(event(), binding(phone_number="+1"), CONTEXT)
                is ChannelOutput.empty()
            )
        assert delivery.result is None

    async def test_the_answer_is_left_for_the_engine(self, delivery) -> None:
        answer = ProviderResult(success=True, provider_message_id="SM1")
        channel = SMSChannel("c1", provider=Provider(answer))
        await channel.deliver(event(), binding(phone_number="+1"), CONTEXT)
        assert delivery.result is answer


class TestFailedSend:
    """Regression: a failed send was reported delivered. A provider's no is an error."""

    async def fail(self, **fields: Any) -> ProviderDeliveryError:
        channel = SMSChannel("c1", provider=Provider(ProviderResult(success=False, **fields)))
        with pytest.raises(ProviderDeliveryError) as caught:
            await channel.deliver(event(), binding(phone_number="+1"), CONTEXT)
        return caught.value

    async def test_bare_failure_may_be_repeated(self) -> None:
        error = await self.fail()
        assert (error.code, error.provider, error.retryable) == ("failed", "fake", True)
        assert (error.retry_after, error.status_code, error.ambiguous) == (None, None, False)

    async def test_details(self) -> None:
        error = await self.fail(
            error="rate_limit", metadata={"retry_after": 7, "status_code": 429, "ambiguous": True}
        )
        assert error.code == "rate_limit"
        assert error.retryable
        assert error.retry_after == 7.0
        assert error.status_code == 429
        assert error.ambiguous
        assert error.result is not None
        assert error.result.error == "rate_limit"

    async def test_unusable_details_are_ignored(self) -> None:
        error = await self.fail(metadata={"retry_after": "soon", "status_code": "bad"})
        assert error.retry_after is None
        assert error.status_code is None

    async def test_the_provider_can_rule_out_a_repeat(self) -> None:
        assert not (await self.fail(error="x", metadata={"retryable": False})).retryable

    @pytest.mark.parametrize("code", ["empty_message", "unsupported_media"])
    async def test_what_the_message_is_to_blame_for_is_never_repeated(self, code) -> None:
        assert not (await self.fail(error=code)).retryable

    async def test_the_answer_is_left_for_the_engine(self, delivery) -> None:
        error = await self.fail(error="rate_limit")
        assert delivery.result is error.result

    async def test_an_error_of_the_provider_passes(self) -> None:
        channel = SMSChannel("c1", provider=Provider(ConnectionError("down")))
        with pytest.raises(ConnectionError, match="down"):
            await channel.deliver(event(), binding(phone_number="+1"), CONTEXT)


class Speaking(Provider):
    """A provider that says what it can carry."""

    def __init__(self, can: ChannelCapabilities | None) -> None:
        super().__init__()
        self.can = can

    def capabilities(self) -> ChannelCapabilities | None:
        return self.can


class TestCapabilitiesInForce:
    """A channel promises what both it and its provider can carry, in one shared object."""

    def test_both(self) -> None:
        can = ChannelCapabilities(
            media_types=[ChannelMediaType.RICH, ChannelMediaType.TEXT, ChannelMediaType.AUDIO],
            max_length=1000,
            max_buttons=10,
            supports_buttons=True,
            supports_audio=True,
            supported_media_types=["image/png"],
        )
        channel = WhatsAppChannel("c1", provider=Speaking(can))
        assert channel.capabilities() == ChannelCapabilities(
            media_types=[ChannelMediaType.TEXT, ChannelMediaType.RICH],
            max_length=1000,
            max_buttons=3,
            supports_buttons=True,
            supported_media_types=["image/png"],
        )
        assert channel.capabilities() is channel.capabilities()

    def test_formats_both_name(self) -> None:
        def can(*formats: str) -> ChannelCapabilities:
            return ChannelCapabilities(supported_media_types=list(formats))

        for ours, theirs, both in [
            (can("a/a", "a/b"), can("a/b", "a/c"), ["a/b"]),
            (can("a/a"), can(), ["a/a"]),
            (can(), can("a/c"), ["a/c"]),
            (can("a/a"), can("a/c"), ["a/c"]),
        ]:
            channel = TransportChannel(
                "c", ChannelType.PUSH, provider=Speaking(theirs), capabilities=ours
            )
            assert channel.capabilities().supported_media_types == both

    @pytest.mark.parametrize(
        "provider", [None, Provider(), Speaking(None), MagicMock(), AsyncMock()]
    )
    def test_a_silent_provider_changes_nothing(self, provider) -> None:
        channel = WhatsAppChannel("c1", provider=provider)
        assert channel.capabilities() is WHATSAPP_CAPABILITIES

    def test_default_is_text(self) -> None:
        assert TransportChannel("c", ChannelType.PUSH).capabilities() == ChannelCapabilities()


class Signalling(Provider):
    """A provider with signals."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__(answer)
        self.signals: list[tuple[Any, ...]] = []

    def _note(self, *signal: Any) -> Any:
        self.signals.append(signal)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def send_typing(self, to: str, *, is_typing: bool = True) -> Any:
        return self._note("typing", to, is_typing)

    async def mark_read(self, message_ids: list[str], chat: str, sender: str) -> Any:
        return self._note("read", message_ids, chat, sender)

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> Any:
        return self._note("reaction", chat, sender, message_id, emoji)


async def all_signals(channel: TransportChannel, place: ChannelBinding) -> list[bool]:
    return [
        await channel.send_typing(place),
        await channel.send_typing(place, False),
        await channel.mark_read(place, ["m1", "m2"]),
        await channel.mark_read(place, "m3", sender="s"),
        await channel.send_reaction(place, "m1", "+"),
        await channel.send_reaction(place, "m1", "", sender="s"),
    ]


class TestSignals:
    """Typing, read marks and reactions reach providers that have them."""

    async def test_passed_on(self) -> None:
        provider = Signalling()
        channel = WhatsAppChannel("c1", provider=provider)
        assert all(await all_signals(channel, binding(phone_number="+1")))
        assert provider.signals == [
            ("typing", "+1", True),
            ("typing", "+1", False),
            ("read", ["m1", "m2"], "+1", "+1"),
            ("read", ["m3"], "+1", "s"),
            ("reaction", "+1", "+1", "m1", "+"),
            ("reaction", "+1", "s", "m1", ""),
        ]

    @pytest.mark.parametrize(
        "provider", [None, Provider(), Signalling(False), Signalling(NotImplementedError())]
    )
    async def test_impossible_is_false(self, provider) -> None:
        channel = WhatsAppChannel("c1", provider=provider)
        assert not any(await all_signals(channel, binding(phone_number="+1")))

    async def test_nobody_to_signal_to(self) -> None:
        provider = Signalling()
        assert not any(await all_signals(WhatsAppChannel("c1", provider=provider), binding()))
        assert provider.signals == []

    async def test_errors_pass(self) -> None:
        channel = WhatsAppChannel("c1", provider=Signalling(ConnectionError("down")))
        with pytest.raises(ConnectionError):
            await channel.send_typing(binding(phone_number="+1"))


class TestRest:
    """Closing, and what a provider says about repeats."""

    async def test_close_closes_the_provider_once(self) -> None:
        provider = Provider()
        channel = SMSChannel("c1", provider=provider)
        await channel.close()
        await channel.close()
        assert provider.closed == 1

    async def test_close_without_a_provider(self) -> None:
        channel = SMSChannel("c1")
        await channel.close()
        assert await channel.deliver(event(), binding(), CONTEXT) is ChannelOutput.empty()

    def test_idempotency_key_is_the_providers_word(self) -> None:
        keyed = Provider()
        keyed.sends_idempotency_key = True  # type: ignore[attr-defined]
        assert SMSChannel("c", provider=keyed).sends_idempotency_key
        assert not SMSChannel("c", provider=Provider()).sends_idempotency_key
        assert not SMSChannel("c", provider=MagicMock()).sends_idempotency_key

    def test_defaults_are_not_shared_with_the_caller(self) -> None:
        defaults = {"a": 1}
        channel = TransportChannel("c", ChannelType.PUSH, defaults=defaults)
        defaults["b"] = 2
        assert channel.info == {"a": 1}
