"""The WhatsApp source, against a stand-in for neonize."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import MissingDependencyError
from roomkit.models.content import MediaContent, TextContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.sources import NeonizeSource, SourceStatus, WhatsAppPersonalSourceProvider
from roomkit.sources import neonize as module
from tests.support.fake_neonize import (
    EVENTS,
    EventLog,
    FakeClient,
    Message,
    data_url,
    install,
    media,
    message_event,
    running,
    started,
)
from tests.support.sources import Collector, Held, Stopper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def neonize(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where the source looks for the package."""
    install(monkeypatch)


def fails_at_once(client: FakeClient) -> None:
    client.disconnected = True
    raise OSError("already gone")


async def fails_later(client: FakeClient) -> None:
    fails_at_once(client)


def is_not_async(client: FakeClient) -> None:
    client.disconnected = True


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
            with pytest.raises(OSError, match=r"stream error|ended by itself"):
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

    @pytest.mark.parametrize("disconnect", [fails_at_once, fails_later, is_not_async])
    async def test_however_disconnecting_goes_it_ends(
        self, monkeypatch: pytest.MonkeyPatch, disconnect: Callable[[FakeClient], Any]
    ) -> None:
        monkeypatch.setattr(FakeClient, "disconnect", disconnect)
        async with running(WhatsAppPersonalSourceProvider(), Collector()) as client:
            pass
        assert client.disconnected

    async def test_what_comes_after_stop_is_ignored(self) -> None:
        emit, log = Collector(), EventLog()
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
        emit = Stopper(source)
        task = asyncio.create_task(source.start(emit))
        client = await started()
        async with asyncio.timeout(5):
            await client.tell("MessageEv", message_event(conversation="stop"))
            await task
        assert emit.taken == 1
        assert source.status is SourceStatus.STOPPED

    async def test_a_missing_package_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HAS_NEONIZE", False)
        with pytest.raises(ImportError, match="neonize is required") as caught:
            await WhatsAppPersonalSourceProvider().start(Collector())
        assert isinstance(caught.value, MissingDependencyError)
        assert "roomkit[whatsapp-personal]" in str(caught.value)


class TestMessages:
    """Messages are emitted, in order within a chat; what fails costs its own message."""

    async def test_a_message_is_emitted_and_counted(self) -> None:
        source, emit = WhatsAppPersonalSourceProvider(channel_id="wa"), Collector()
        async with running(source, emit) as client:
            await client.tell("MessageEv", message_event(conversation="hi"))
            await client.tell("MessageEv", message_event(from_me=True, conversation="mine"))
            health = await source.healthcheck()
        assert emit.taken == ["hi"]
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
        source, emit = WhatsAppPersonalSourceProvider(), Collector()
        async with running(source, emit) as client, asyncio.TaskGroup() as group:
            for event in (
                message_event("111", id="picture", imageMessage=media()),
                message_event("111", id="text", conversation="after it"),
                message_event("222", id="other", conversation="elsewhere"),
            ):
                group.create_task(client.handlers["MessageEv"](client, event))
            assert await emit.texts(1) == ["elsewhere"]
            downloaded.set()
        assert [m.external_id for m in emit.messages] == ["other", "picture", "text"]

    async def test_too_many_waiting_are_dropped_and_counted(self) -> None:
        source, emit = WhatsAppPersonalSourceProvider(), Held()
        async with running(source, emit) as client, asyncio.TaskGroup() as group:
            for n in range(1_000):
                event = message_event(conversation=str(n))
                group.create_task(client.handlers["MessageEv"](client, event))
            await emit.entered.wait()
            await client.tell("MessageEv", message_event(conversation="one too many"))
            assert (await source.healthcheck()).metadata == {"dropped": "1"}
            emit.released.set()
        assert len(emit.messages) == 1_000

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
