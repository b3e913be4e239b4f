"""What the WhatsApp source tells beside messages, and what it can be told."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.sources import SourceStatus, WhatsAppPersonalSourceProvider
from tests.support.fake_neonize import (
    EventLog,
    FakeClient,
    install,
    jid,
    message_event,
    running,
)
from tests.support.sources import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def neonize(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where the source looks for the package."""
    install(monkeypatch)


class TestEvents:
    """``on_event`` is told of everything else, and the status follows."""

    async def test_the_life_of_a_connection(self) -> None:
        log = EventLog()
        source = WhatsAppPersonalSourceProvider(on_event=log)
        seen: list[SourceStatus] = []
        async with running(source, Collector()) as client:
            await client.tell("qr", b"one,two")
            pairing = SimpleNamespace(ID=jid("49", device=3), Error="")
            for kind, event in (
                ("PairStatusEv", pairing),
                ("ConnectedEv", None),
                ("DisconnectedEv", None),
                ("ConnectedEv", None),
                ("LoggedOutEv", None),
            ):
                await client.tell(kind, event)
                seen.append(source.status)
            assert (await source.healthcheck()).error == "logged_out"
        assert seen == ["connecting", "connected", "reconnecting", "connected", "error"]
        assert log.events == [
            ("qr", {"codes": ["one", "two"]}),
            ("authenticated", {"jid": "49@s.whatsapp.net", "user": "49", "device": 3}),
            ("connected", {}),
            ("disconnected", {}),
            ("connected", {}),
            ("logged_out", {}),
        ]
        assert client.calls == [("send_presence", "available")] * 2

    async def test_a_failed_pairing_is_no_authentication(self) -> None:
        log = EventLog()
        async with running(WhatsAppPersonalSourceProvider(on_event=log), Collector()) as client:
            await client.tell("PairStatusEv", SimpleNamespace(ID=jid(""), Error="refused"))
        assert log.events == []

    async def test_presence_that_cannot_be_sent_does_not_matter(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(FakeClient, "send_presence")
        source = WhatsAppPersonalSourceProvider()
        async with running(source, Collector()) as client:
            await client.tell("ConnectedEv")
            assert source.status is SourceStatus.CONNECTED

    @pytest.mark.parametrize(
        ("number", "name"),
        [*WhatsAppPersonalSourceProvider.RECEIPT_TYPES.items(), (42, "unknown(42)")],
    )
    async def test_receipts(self, number: int, name: str) -> None:
        log = EventLog()
        source = SimpleNamespace(Chat=jid("5", "g.us"), Sender=jid("111"))
        receipt = SimpleNamespace(
            MessageSource=source, MessageIDs=["a", "b"], Timestamp=17, Type=number
        )
        async with running(WhatsAppPersonalSourceProvider(on_event=log), Collector()) as client:
            await client.tell("ReceiptEv", receipt)
        assert log.events == [
            (
                "receipt",
                {
                    "type": name,
                    "raw_type": number,
                    "chat": "5@g.us",
                    "sender": "111@s.whatsapp.net",
                    "sender_name": "",
                    "message_ids": ["a", "b"],
                    "timestamp": 17,
                },
            )
        ]

    async def test_presence_knows_names_from_earlier_messages(self) -> None:
        log = EventLog()
        async with running(WhatsAppPersonalSourceProvider(on_event=log), Collector()) as client:
            await client.tell("MessageEv", message_event("111", conversation="hi"))
            for sender, state, kind in (
                (jid("111"), 1, 1),
                (jid("999", "lid"), 2, 2),
                (jid("222"), 1, 1),
            ):
                source = SimpleNamespace(Chat=jid("111"), Sender=sender)
                await client.tell(
                    "ChatPresenceEv",
                    SimpleNamespace(MessageSource=source, State=state, Media=kind),
                )
        assert [(d["sender_name"], d["state"], d["media"]) for _, d in log.events] == [
            ("Ann", "composing", "text"),
            ("Ann", "paused", "audio"),
            ("", "composing", "text"),
        ]
        assert log.events[0][0] == "presence"
        assert log.events[0][1]["sender"] == "111@s.whatsapp.net"
        assert log.events[0][1]["chat"] == "111@s.whatsapp.net"

    async def test_only_so_many_names_are_kept(self) -> None:
        log = EventLog()
        async with running(WhatsAppPersonalSourceProvider(on_event=log), Collector()) as client:
            for n in range(1_000):
                event = message_event(str(n), conversation="hi")
                event.Info.MessageSource.SenderAlt = jid("")
                await client.tell("MessageEv", event)
            event = message_event("nameless", conversation="hi")
            event.Info.Pushname = ""
            await client.tell("MessageEv", event)
            await client.tell("MessageEv", message_event("one more", conversation="hi"))
            for sender in ("0", "1", "2", "nameless", "one more"):
                source = SimpleNamespace(Chat=jid("0"), Sender=jid(sender))
                await client.tell(
                    "ChatPresenceEv", SimpleNamespace(MessageSource=source, State=1, Media=1)
                )
        # The last message brought two addresses, so the two oldest had to go.
        assert [data["sender_name"] for _, data in log.events] == ["", "", "Ann", "", "Ann"]

    async def test_a_plain_function_may_listen(self) -> None:
        kinds: list[str] = []

        def listen(kind: str, data: dict[str, Any]) -> None:
            kinds.append(kind)

        source = WhatsAppPersonalSourceProvider(on_event=listen)
        async with running(source, Collector()) as client:
            await client.tell("DisconnectedEv")
        assert kinds == ["disconnected"]

    async def test_its_errors_are_contained(self) -> None:
        async def fail(kind: str, data: dict[str, Any]) -> None:
            raise LookupError

        source = WhatsAppPersonalSourceProvider(on_event=fail)
        async with running(source, Collector()) as client:
            await client.tell("ConnectedEv")
            assert source.status is SourceStatus.CONNECTED
            assert (await source.healthcheck()).metadata == {"event_errors": "1"}

    async def test_a_code_nobody_shows_is_logged_without_the_code(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "roomkit.sources.neonize"):
            async with running(WhatsAppPersonalSourceProvider(), Collector()) as client:
                await client.tell("qr", b"secret-code")
        assert "QR code" in caplog.text
        assert "secret-code" not in caplog.text


class TestSending:
    """What the account can do, once connected."""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[WhatsAppPersonalSourceProvider, FakeClient]]:
        source = WhatsAppPersonalSourceProvider()
        async with running(source, Collector()) as client:
            await client.tell("ConnectedEv")
            client.calls.clear()
            yield source, client

    async def test_text_goes_as_it_is(self) -> None:
        async with self.connected() as (source, client):
            assert await source.send("111@s.whatsapp.net", "hi") == "sent"
            assert client.calls == [("send_message", "111@s.whatsapp.net", "hi")]

    async def test_typing_recording_and_neither(self) -> None:
        async with self.connected() as (source, client):
            await source.send_composing("111")
            await source.send_composing("5@g.us", media="audio")
            await source.send_paused("111")
            assert client.calls == [
                ("send_chat_presence", "JID(111,s.whatsapp.net)", "composing", "text"),
                ("send_chat_presence", "JID(5,g.us)", "composing", "audio"),
                ("send_chat_presence", "JID(111,s.whatsapp.net)", "paused", "text"),
            ]

    async def test_read_receipts(self) -> None:
        async with self.connected() as (source, client):
            await source.mark_read(["a", "b"], chat="5@g.us", sender="111")
            assert client.calls == [
                ("mark_read", ("a", "b"), "JID(5,g.us)", "JID(111,s.whatsapp.net)", "read")
            ]

    async def test_reactions_are_built_and_sent(self) -> None:
        chat, sender = jid("5", "g.us"), jid("111")
        async with self.connected() as (source, client):
            await source.send_reaction(chat, sender, "M1", "")
            assert client.calls == [("send_message", chat, ("reaction", chat, sender, "M1", ""))]

    async def test_not_without_a_connection(self) -> None:
        source = WhatsAppPersonalSourceProvider()
        with pytest.raises(RuntimeError, match="not connected"):
            await source.send("1", "x")
        async with running(source, Collector()) as client:
            await client.tell("ConnectedEv")
            await client.tell("DisconnectedEv")
            for attempt in (
                source.send("1", "x"),
                source.send_composing("1"),
                source.send_paused("1"),
                source.mark_read(["a"], chat="1", sender="1"),
                source.send_reaction("1", "1", "a", "+1"),
            ):
                with pytest.raises(RuntimeError, match="not connected"):
                    await attempt
