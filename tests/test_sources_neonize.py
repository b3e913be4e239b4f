"""The WhatsApp source, against a stand-in for neonize and, where installed, the real one."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import logging
import subprocess
import sys
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import MissingDependencyError
from roomkit.models.content import AudioContent, LocationContent, MediaContent, TextContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.sources import NeonizeSource, SourceStatus, WhatsAppPersonalSourceProvider
from roomkit.sources import neonize as module
from roomkit.sources.neonize import default_message_parser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from roomkit.sources import EmitCallback

EVENTS = (
    "PairStatusEv",
    "ConnectedEv",
    "DisconnectedEv",
    "LoggedOutEv",
    "ReceiptEv",
    "ChatPresenceEv",
    "MessageEv",
)


class FakeClient:
    """Has the methods of neonize's client that are used, and keeps what they are given."""

    made: FakeClient

    def __init__(self, name: str, *, props: Any = None) -> None:
        FakeClient.made = self
        self.name = name
        self.props = props
        self.loops = [
            sys.modules[f"neonize.aioze.{part}"].__dict__["event_global_loop"]
            for part in ("events", "client")
        ]
        self.handlers: dict[str, Callable[[Any, Any], Awaitable[None]]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.connected = asyncio.Event()
        self.disconnected = False
        self.connection: asyncio.Task[None] | None = None
        self.media: bytes | Exception = b"media"

    def qr(self, handler: Callable[[Any, Any], Awaitable[None]]) -> None:
        self.handlers["qr"] = handler

    def event(self, kind: str) -> Callable[[Callable[[Any, Any], Awaitable[None]]], None]:
        def register(handler: Callable[[Any, Any], Awaitable[None]]) -> None:
            self.handlers[kind] = handler

        return register

    async def tell(self, kind: str, event: Any = None) -> None:
        await self.handlers[kind](self, event)

    async def connect(self) -> asyncio.Task[None] | None:
        self.connected.set()
        return self.connection

    async def disconnect(self) -> None:
        self.disconnected = True

    async def download_any(self, message: Any) -> bytes:
        if isinstance(self.media, Exception):
            raise self.media
        return self.media

    async def send_presence(self, presence: str) -> None:
        self.calls.append(("send_presence", presence))

    async def send_message(self, to: Any, message: Any) -> str:
        self.calls.append(("send_message", to, message))
        return "sent"

    async def send_chat_presence(self, *args: Any) -> None:
        self.calls.append(("send_chat_presence", *args))

    async def mark_read(self, *ids: str, chat: Any, sender: Any, receipt: Any) -> None:
        self.calls.append(("mark_read", ids, chat, sender, receipt))

    async def build_reaction(self, chat: Any, sender: Any, message_id: str, emoji: str) -> Any:
        return ("reaction", chat, sender, message_id, emoji)


def fake_modules() -> dict[str, dict[str, Any]]:
    return {
        "neonize": {},
        "neonize.aioze": {},
        "neonize.aioze.events": {name: name for name in EVENTS},
        "neonize.aioze.client": {},
        "neonize.utils": {},
        "neonize.utils.jid": {"build_jid": lambda user, server: f"JID({user},{server})"},
        "neonize.utils.enum": {
            "Presence": SimpleNamespace(AVAILABLE="available"),
            "ReceiptType": SimpleNamespace(READ="read"),
            "ChatPresence": SimpleNamespace(
                CHAT_PRESENCE_COMPOSING="composing", CHAT_PRESENCE_PAUSED="paused"
            ),
            "ChatPresenceMedia": SimpleNamespace(
                CHAT_PRESENCE_MEDIA_TEXT="text", CHAT_PRESENCE_MEDIA_AUDIO="audio"
            ),
        },
        "neonize.proto": {},
        "neonize.proto.waCompanionReg": {},
        "neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2": {
            "DeviceProps": lambda os, platformType: (os, platformType)  # noqa: N803
        },
    }


@pytest.fixture
def neonize(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where the source looks for the package."""
    for name, attributes in fake_modules().items():
        stub = ModuleType(name)
        stub.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.setattr(module, "HAS_NEONIZE", True)
    monkeypatch.setattr(module, "NewAClient", FakeClient)


def jid(user: str, server: str = "s.whatsapp.net", device: int = 0) -> Any:
    return SimpleNamespace(User=user, Server=server, Device=device)


class Message(SimpleNamespace):
    """A protobuf message as far as it is used: unset text is empty, HasField knows the rest."""

    def HasField(self, name: str) -> bool:  # noqa: N802
        return name in self.__dict__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return ""


def message_event(
    sender: str = "111", chat: Any = None, *, from_me: bool = False, id: str = "M1", **fields: Any
) -> Any:
    source = SimpleNamespace(
        IsFromMe=from_me,
        Sender=jid(sender),
        SenderAlt=jid("999", "lid"),
        Chat=chat or jid(sender),
    )
    info = SimpleNamespace(MessageSource=source, Timestamp=1700000000, Pushname="Ann", ID=id)
    return SimpleNamespace(Info=info, Message=Message(**fields))


def media(**fields: Any) -> Message:
    return Message(**{"mimetype": "", "seconds": 0, "fileLength": 5, **fields})


def data_url(mime: str, data: bytes = b"media") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


class Collector:
    """An ``emit`` that keeps the messages it is given."""

    def __init__(self) -> None:
        self.messages: list[InboundMessage] = []

    async def __call__(self, message: InboundMessage) -> InboundResult:
        self.messages.append(message)
        return InboundResult()

    @property
    def texts(self) -> list[str]:
        return [m.content.body for m in self.messages if isinstance(m.content, TextContent)]


class EventLog:
    """An ``on_event`` that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))


@asynccontextmanager
async def running(
    source: WhatsAppPersonalSourceProvider, emit: EmitCallback
) -> AsyncIterator[FakeClient]:
    """Run a source, give its client, and stop it at the end; it must end cleanly."""
    task = asyncio.create_task(source.start(emit))
    try:
        yield await started()
    finally:
        await source.stop()
        async with asyncio.timeout(5):
            await task


async def started() -> FakeClient:
    """Return the client that a source just being started makes."""
    async with asyncio.timeout(5):
        while not hasattr(FakeClient, "made"):  # noqa: ASYNC110 - made in a constructor
            await asyncio.sleep(0)
        client = FakeClient.made
        await client.connected.wait()
    del FakeClient.made
    return client


class TestDefaultParser:
    """Each kind of message becomes the matching content; everything else is None."""

    async def parse(self, event: Any, **options: Any) -> InboundMessage | None:
        client = SimpleNamespace(download_any=self.download)
        parser = default_message_parser("wa", **options)
        result = parser(client, event)
        assert result is not None
        assert not isinstance(result, InboundMessage)
        return await result

    async def download(self, message: Any) -> bytes:
        return b"media"

    async def content(self, **fields: Any) -> Any:
        message = await self.parse(message_event(**fields))
        assert message is not None
        return message.content

    async def test_text_with_all_its_facts(self) -> None:
        event = message_event(chat=jid("123-456", "g.us"), conversation="hi")
        assert await self.parse(event) == InboundMessage(
            channel_id="wa",
            sender_id="111",
            content=TextContent(body="hi"),
            external_id="M1",
            metadata={
                "raw_jid": "111@s.whatsapp.net",
                "chat_jid": "123-456@g.us",
                "chat_id": "123-456",
                "is_from_me": False,
                "is_group": True,
                "timestamp": "1700000000",
                "push_name": "Ann",
            },
        )

    async def test_a_direct_chat_is_no_group(self) -> None:
        message = await self.parse(message_event(conversation="hi"))
        assert message is not None
        assert message.metadata["is_group"] is False

    async def test_extended_text(self) -> None:
        content = await self.content(extendedTextMessage=Message(text="see https://x"))
        assert content == TextContent(body="see https://x")

    async def test_plain_text_comes_first(self) -> None:
        content = await self.content(conversation="hi", imageMessage=media())
        assert content == TextContent(body="hi")

    async def test_image(self) -> None:
        content = await self.content(
            imageMessage=media(mimetype="image/png", caption="look"),
        )
        assert content == MediaContent(
            url=data_url("image/png"), mime_type="image/png", caption="look"
        )

    async def test_voice_message(self) -> None:
        """The real protobuf spells the field in capitals."""
        for spelling in ("PTT", "ptt"):
            part = media(mimetype="audio/ogg; codecs=opus", seconds=7, **{spelling: True})
            assert await self.content(audioMessage=part) == AudioContent(
                url=data_url("audio/ogg"), mime_type="audio/ogg", duration_seconds=7.0
            )

    async def test_audio_file(self) -> None:
        content = await self.content(audioMessage=media(mimetype="audio/mp4", PTT=False))
        assert content == AudioContent(url=data_url("audio/mp4"), mime_type="audio/mp4")
        assert content.duration_seconds is None

    async def test_video_is_media(self) -> None:
        content = await self.content(videoMessage=media(mimetype="video/mp4", caption="c"))
        assert content == MediaContent(
            url=data_url("video/mp4"), mime_type="video/mp4", caption="c"
        )

    async def test_document(self) -> None:
        part = media(mimetype="application/pdf", fileName="a.pdf")
        assert await self.content(documentMessage=part) == MediaContent(
            url=data_url("application/pdf"), mime_type="application/pdf", filename="a.pdf"
        )

    async def test_location(self) -> None:
        part = Message(degreesLatitude=48.2, degreesLongitude=16.4, name="Here", address="Street")
        assert await self.content(locationMessage=part) == LocationContent(
            latitude=48.2, longitude=16.4, label="Here", address="Street"
        )

    async def test_sticker(self) -> None:
        content = await self.content(stickerMessage=media())
        assert content == MediaContent(url=data_url("image/webp"), mime_type="image/webp")

    @pytest.mark.parametrize(
        ("kind", "mime"),
        [
            ("imageMessage", "image/jpeg"),
            ("audioMessage", "audio/ogg"),
            ("videoMessage", "video/mp4"),
            ("documentMessage", "application/octet-stream"),
            ("stickerMessage", "image/webp"),
        ],
    )
    async def test_what_cannot_be_downloaded_is_an_empty_placeholder(
        self, kind: str, mime: str
    ) -> None:
        async def fail(message: Any) -> bytes:
            raise OSError("gone")

        self.download = fail  # type: ignore[method-assign]
        content = await self.content(**{kind: media()})
        assert content.url == f"data:{mime};base64,"
        assert content.mime_type == mime

    async def test_what_is_too_large_is_not_downloaded(self) -> None:
        async def must_not(message: Any) -> bytes:
            raise AssertionError("downloaded")

        self.download = must_not  # type: ignore[method-assign]
        content = await self.content(documentMessage=media(fileLength=2**31))
        assert content.url == "data:application/octet-stream;base64,"

    async def test_a_wrong_announcement_of_the_size_is_noticed(self) -> None:
        async def large(message: Any) -> bytes:
            return bytes(17 * 2**20)

        self.download = large  # type: ignore[method-assign]
        content = await self.content(documentMessage=media(fileLength=1))
        assert content.url == "data:application/octet-stream;base64,"

    async def test_large_media_are_encoded_as_well(self) -> None:
        async def large(message: Any) -> bytes:
            return b"x" * 2**20

        self.download = large  # type: ignore[method-assign]
        content = await self.content(imageMessage=media(mimetype="image/png"))
        assert content.url == data_url("image/png", b"x" * 2**20)

    @pytest.mark.parametrize("mime", ["text/html,<script>", "nonsense", "image/png;base64,AAAA"])
    async def test_a_type_that_is_none_does_not_reach_the_url(self, mime: str) -> None:
        content = await self.content(imageMessage=media(mimetype=mime))
        assert content == MediaContent(url=data_url("image/jpeg"), mime_type="image/jpeg")

    async def test_parameters_of_the_type_are_kept(self) -> None:
        content = await self.content(audioMessage=media(mimetype="audio/ogg; codecs=opus"))
        assert content.mime_type == "audio/ogg; codecs=opus"
        assert content.url == data_url("audio/ogg;codecs=opus")

    @pytest.mark.parametrize(
        "event",
        [
            message_event(from_me=True, conversation="mine"),
            message_event(sender="", conversation="nobody"),
            message_event(pollCreationMessage=Message()),
            message_event(extendedTextMessage=Message()),
            message_event(locationMessage=Message(degreesLatitude=900, degreesLongitude=0)),
            SimpleNamespace(),
        ],
    )
    async def test_everything_else_is_none(self, event: Any) -> None:
        assert await self.parse(event) is None

    async def test_own_messages_count_if_asked_for(self) -> None:
        message = await self.parse(
            message_event(from_me=True, conversation="mine"), self_chat=True
        )
        assert message is not None
        assert message.metadata["is_from_me"] is True


@pytest.mark.usefixtures("neonize")
class TestRunning:
    """A start makes a client, registers what it listens to, and lasts until ``stop``."""

    async def test_the_client_is_made_as_asked_for(self) -> None:
        source = WhatsAppPersonalSourceProvider(
            "wa.db", device_name="Desk", device_platform="Safari"
        )
        assert source.client is None
        assert source.name == "neonize:wa.db"
        async with running(source, Collector()) as client:
            assert source.client is client
            assert client.name == "wa.db"
            assert client.props == ("Desk", 5)
            assert client.loops == [asyncio.get_running_loop()] * 2
            assert set(client.handlers) == {"qr", *EVENTS}
            assert source.status is SourceStatus.CONNECTING
        assert client.disconnected
        assert source.client is None
        assert (await source.healthcheck()).status is SourceStatus.STOPPED

    async def test_without_device_properties_it_runs_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2"
        monkeypatch.setitem(sys.modules, name, None)
        async with running(WhatsAppPersonalSourceProvider(), Collector()) as client:
            assert client.props is None

    async def test_a_failing_connect_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refused(FakeClient):
            async def connect(self) -> None:
                raise ConnectionError("no network")

        monkeypatch.setattr(module, "NewAClient", Refused)
        source = WhatsAppPersonalSourceProvider()
        with pytest.raises(ConnectionError, match="no network"):
            await source.start(Collector())
        assert (await source.healthcheck()).error == "no network"
        assert source.status is SourceStatus.ERROR
        assert source.client is None
        assert FakeClient.made.disconnected
        del FakeClient.made

    @pytest.mark.parametrize("error", [OSError("stream error"), None])
    async def test_a_connection_that_ends_by_itself_is_raised(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception | None
    ) -> None:
        """Newer clients give a task that lasts as long as the connection."""
        over = asyncio.Event()

        async def last() -> None:
            await over.wait()
            if error is not None:
                raise error

        class Lasting(FakeClient):
            async def connect(self) -> asyncio.Task[None]:
                self.connected.set()
                return asyncio.create_task(last())

        monkeypatch.setattr(module, "NewAClient", Lasting)
        source = WhatsAppPersonalSourceProvider()
        task = asyncio.create_task(source.start(Collector()))
        await started()
        over.set()
        async with asyncio.timeout(5):
            with pytest.raises(OSError, match="stream error|ended by itself"):
                await task
        assert source.status is SourceStatus.ERROR

    async def test_stop_ends_the_connections_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only cancelling it lets the client's own thread go."""
        connections: list[asyncio.Task[Any]] = []

        class Lasting(FakeClient):
            async def connect(self) -> asyncio.Task[Any]:
                self.connected.set()
                connections.append(asyncio.create_task(asyncio.Event().wait()))
                return connections[0]

        monkeypatch.setattr(module, "NewAClient", Lasting)
        async with running(WhatsAppPersonalSourceProvider(), Collector()):
            pass
        assert connections[0].cancelled()

    async def test_cancellation_disconnects_too(self) -> None:
        source = WhatsAppPersonalSourceProvider()
        task = asyncio.create_task(source.start(Collector()))
        client = await started()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.disconnected
        assert source.status is SourceStatus.STOPPED

    @pytest.mark.parametrize("awaitable", [True, False])
    async def test_an_error_of_disconnecting_is_swallowed(
        self, monkeypatch: pytest.MonkeyPatch, awaitable: bool
    ) -> None:
        class Stubborn(FakeClient):
            def disconnect(self) -> Any:
                if awaitable:
                    return self.fail()
                raise OSError("already gone")

            async def fail(self) -> None:
                raise OSError("already gone")

        monkeypatch.setattr(module, "NewAClient", Stubborn)
        async with running(WhatsAppPersonalSourceProvider(), Collector()):
            pass

    async def test_a_disconnect_that_is_not_async(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Plain(FakeClient):
            def disconnect(self) -> None:  # type: ignore[override]
                self.disconnected = True

        monkeypatch.setattr(module, "NewAClient", Plain)
        async with running(WhatsAppPersonalSourceProvider(), Collector()) as client:
            pass
        assert client.disconnected

    async def test_what_comes_after_stop_is_ignored(self) -> None:
        source, emit, log = WhatsAppPersonalSourceProvider(), Collector(), EventLog()
        source = WhatsAppPersonalSourceProvider(on_event=log)
        async with running(source, emit) as client:
            pass
        await client.tell("DisconnectedEv")
        await client.tell("MessageEv", message_event(conversation="late"))
        assert source.status is SourceStatus.STOPPED
        assert emit.messages == []
        assert log.events == []

    async def test_stop_from_inside_emit(self) -> None:
        source = WhatsAppPersonalSourceProvider()

        async def emit(message: InboundMessage) -> InboundResult:
            await source.stop()
            return InboundResult()

        task = asyncio.create_task(source.start(emit))
        client = await started()
        async with asyncio.timeout(5):
            await client.tell("MessageEv", message_event(conversation="stop"))
            await task
        assert source.status is SourceStatus.STOPPED


class TestMissingPackage:
    async def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "HAS_NEONIZE", False)
        with pytest.raises(ImportError, match="neonize is required") as caught:
            await WhatsAppPersonalSourceProvider().start(Collector())
        assert isinstance(caught.value, MissingDependencyError)
        assert "roomkit[whatsapp-personal]" in str(caught.value)


@pytest.mark.usefixtures("neonize")
class TestMessages:
    """Messages are emitted, in order within a chat; what fails costs its own message."""

    async def test_a_message_is_emitted_and_counted(self) -> None:
        source, emit = WhatsAppPersonalSourceProvider(channel_id="wa"), Collector()
        async with running(source, emit) as client:
            await client.tell("MessageEv", message_event(conversation="hi"))
            await client.tell("MessageEv", message_event(from_me=True, conversation="mine"))
            health = await source.healthcheck()
        assert emit.texts == ["hi"]
        assert emit.messages[0].channel_id == "wa"
        assert health.messages_received == 1
        assert health.metadata == {"skipped": "1"}

    async def test_media_are_downloaded_by_the_client(self) -> None:
        emit = Collector()
        async with running(WhatsAppPersonalSourceProvider(), emit) as client:
            client.media = b"pixels"
            await client.tell("MessageEv", message_event(imageMessage=media()))
        assert emit.messages[0].content == MediaContent(
            url=data_url("image/jpeg", b"pixels"), mime_type="image/jpeg"
        )

    async def test_a_chat_keeps_its_order_while_others_go_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        downloaded = asyncio.Event()

        class Slow(FakeClient):
            async def download_any(self, message: Any) -> bytes:
                await downloaded.wait()
                return b""

        monkeypatch.setattr(module, "NewAClient", Slow)
        emit = Collector()
        async with running(WhatsAppPersonalSourceProvider(), emit) as client:
            async with asyncio.TaskGroup() as group:
                for event in (
                    message_event("111", id="picture", imageMessage=media()),
                    message_event("111", id="text", conversation="after it"),
                    message_event("222", id="other", conversation="elsewhere"),
                ):
                    group.create_task(client.handlers["MessageEv"](client, event))
                while not emit.messages:
                    await asyncio.sleep(0)
                assert [m.external_id for m in emit.messages] == ["other"]
                downloaded.set()
        assert [m.external_id for m in emit.messages] == ["other", "picture", "text"]

    async def test_too_many_waiting_are_dropped_and_counted(self) -> None:
        opened = asyncio.Event()
        emitted = Collector()

        async def emit(message: InboundMessage) -> InboundResult:
            await opened.wait()
            return await emitted(message)

        source = WhatsAppPersonalSourceProvider()
        async with running(source, emit) as client:
            async with asyncio.TaskGroup() as group:
                for n in range(1_010):
                    event = message_event(conversation=str(n))
                    group.create_task(client.handlers["MessageEv"](client, event))
                while (await source.healthcheck()).metadata != {"dropped": "10"}:
                    await asyncio.sleep(0)
                opened.set()
        assert emitted.texts == [str(n) for n in range(1_000)]

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_a_parser_of_ones_own(self, is_async: bool) -> None:
        made = InboundMessage(channel_id="wa", sender_id="x", content=TextContent(body="own"))

        def parse(client: Any, event: Any) -> InboundMessage:
            return made

        async def parse_async(client: Any, event: Any) -> InboundMessage:
            return made

        emit = Collector()
        source = WhatsAppPersonalSourceProvider(parser=parse_async if is_async else parse)
        async with running(source, emit) as client:
            await client.tell("MessageEv", message_event())
        assert emit.messages == [made]

    async def test_failures_are_contained_and_counted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def parse(client: Any, event: Any) -> InboundMessage:
            if event.Message.conversation == "unreadable":
                raise KeyError("secret")
            return InboundMessage(
                channel_id="wa", sender_id="x", content=TextContent(body="unwanted")
            )

        async def refuse(message: InboundMessage) -> InboundResult:
            raise LookupError("secret")

        source = WhatsAppPersonalSourceProvider(parser=parse)
        with caplog.at_level(logging.INFO, "roomkit"):
            async with running(source, refuse) as client:
                await client.tell("MessageEv", message_event(conversation="unreadable"))
                await client.tell("MessageEv", message_event(conversation="unwanted"))
                await client.tell("MessageEv", SimpleNamespace())
                health = await source.healthcheck()
        assert health.metadata == {"parse_errors": "1", "emit_errors": "1", "event_errors": "1"}
        assert "secret" not in caplog.text

    async def test_reactions_are_events_and_no_messages(self) -> None:
        emit, log = Collector(), EventLog()
        reaction = Message(key=SimpleNamespace(ID="M0"), text="+1")
        async with running(WhatsAppPersonalSourceProvider(on_event=log), emit) as client:
            await client.tell("MessageEv", message_event(reactionMessage=reaction))
        assert emit.messages == []
        assert log.events == [
            (
                "reaction",
                {
                    "chat_id": "111",
                    "chat_jid": "111@s.whatsapp.net",
                    "sender_id": "111",
                    "is_from_me": False,
                    "target_message_id": "M0",
                    "emoji": "+1",
                    "push_name": "Ann",
                },
            )
        ]


@pytest.mark.usefixtures("neonize")
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
        class Shy(FakeClient):
            async def send_presence(self, presence: str) -> None:
                raise OSError("no name yet")

        monkeypatch.setattr(module, "NewAClient", Shy)
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


@pytest.mark.usefixtures("neonize")
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


@pytest.mark.usefixtures("neonize")
class TestNeonizeSource:
    """The same source with its session file in the user's home."""

    def test_the_path_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        source = NeonizeSource()
        assert source.name == f"neonize:{tmp_path}/.roomkit/wa.db"
        assert isinstance(source, WhatsAppPersonalSourceProvider)
        assert NeonizeSource(session_path="/x/y.db").name == "neonize:/x/y.db"

    async def test_the_folder_is_made_when_it_starts(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "b"
        emit = Collector()
        source = NeonizeSource(session_path=str(folder / "wa.db"), channel_id="mine")
        assert not folder.exists()
        async with running(source, emit) as client:
            assert folder.stat().st_mode & 0o777 == 0o700
            await client.tell("MessageEv", message_event(conversation="hi"))
        assert emit.messages[0].channel_id == "mine"


REAL_PACKAGE = """
import asyncio, inspect
from neonize.aioze import events
from neonize.aioze.client import NewAClient
from neonize.proto.Neonize_pb2 import JID, Message, MessageInfo, MessageSource, Receipt
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.proto.waE2E import WAWebProtobufsE2E_pb2 as e2e
from roomkit.models.content import AudioContent, LocationContent, MediaContent, TextContent
from roomkit.sources import neonize as module

assert module.HAS_NEONIZE and module.NewAClient is NewAClient
Source = module.WhatsAppPersonalSourceProvider
for name, number in Source.PLATFORMS.items():
    assert DeviceProps.PlatformType.Value(name.upper()) == number, name
names = {v.number: v.name.lower() for v in Receipt.ReceiptType.DESCRIPTOR.values}
assert names == Source.RECEIPT_TYPES, names
jid = module.parse_jid("111@g.us")
assert isinstance(jid, JID) and (jid.User, jid.Server) == ("111", "g.us")


def takes(method, *args, **kwargs):
    inspect.signature(getattr(NewAClient, method)).bind(None, *args, **kwargs)


takes("send_message", "to", "text")
takes("send_chat_presence", "jid", "state", "media")
takes("send_presence", "presence")
takes("mark_read", "a", "b", chat="c", sender="s", receipt="r")
takes("build_reaction", "chat", "sender", "id", "+1")
takes("download_any", "message")
takes("connect")
takes("disconnect")


def event(**fields):
    someone = JID(User="111", Server="s.whatsapp.net")
    source = MessageSource(Chat=someone, Sender=someone)
    info = MessageInfo(MessageSource=source, ID="M1", Pushname="Ann", Timestamp=17)
    return Message(Info=info, Message=e2e.Message(**fields))


class Client(NewAClient):
    async def connect(self):
        self.ready.set()

    async def disconnect(self):
        pass

    async def download_any(self, message):
        return b"media"


async def main():
    emitted, told = [], []

    async def emit(message):
        emitted.append(message)

    Client.ready = asyncio.Event()
    module.NewAClient = Client
    source = Source(":memory:", on_event=lambda kind, data: told.append((kind, data)))
    task = asyncio.create_task(source.start(emit))
    await Client.ready.wait()
    client = source.client
    assert events.event_global_loop is asyncio.get_running_loop()
    assert client.device_props.platformType == 1 and client.device_props.os == "RoomKit"
    handlers = client.event.list_func
    assert sorted(handlers) == [2, 3, 6, 12, 17, 18, 19], sorted(handlers)
    voice = e2e.AudioMessage(PTT=True, seconds=3, mimetype="audio/ogg; codecs=opus")
    place = e2e.LocationMessage(degreesLatitude=1.5, degreesLongitude=2.5, name="n")
    for message in (
        event(conversation="hi"),
        event(extendedTextMessage=e2e.ExtendedTextMessage(text="ext")),
        event(imageMessage=e2e.ImageMessage(mimetype="image/png", caption="c")),
        event(audioMessage=voice),
        event(documentMessage=e2e.DocumentMessage(fileName="f", mimetype="a/b")),
        event(locationMessage=place),
        event(stickerMessage=e2e.StickerMessage()),
        event(pollUpdateMessage=e2e.PollUpdateMessage()),
    ):
        await handlers[17](client, message)
    reaction = e2e.ReactionMessage(text="+1")
    reaction.key.ID = "M0"
    await handlers[17](client, event(reactionMessage=reaction))
    receipt = Receipt(MessageSource=event().Info.MessageSource, MessageIDs=["a"], Type=4)
    await handlers[18](client, receipt)
    await source.stop()
    await task
    kinds = [type(message.content) for message in emitted]
    assert kinds == [
        TextContent, TextContent, MediaContent, AudioContent, MediaContent, LocationContent,
        MediaContent,
    ], kinds
    assert emitted[3].content.mime_type == "audio/ogg"
    assert emitted[3].content.duration_seconds == 3.0
    assert emitted[4].content.filename == "f"
    assert emitted[5].content.longitude == 2.5
    assert [kind for kind, _ in told] == ["reaction", "receipt"], told
    assert told[0][1]["target_message_id"] == "M0"
    assert told[1][1]["type"] == "read" and told[1][1]["sender_name"] == "Ann"


asyncio.run(main())
"""


class TestRealPackage:
    """The stand-in above is like the real package: checked where that is installed.

    In a process of its own, because importing it leaves pipes open.
    """

    @pytest.mark.skipif(
        importlib.util.find_spec("neonize") is None, reason="neonize is not installed"
    )
    def test_names_numbers_and_messages_agree(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", REAL_PACKAGE], capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, done.stderr
