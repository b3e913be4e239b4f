"""The personal WhatsApp account: calls of the client, argument for argument."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

import pytest

import roomkit.providers.whatsapp.personal as module
from roomkit._fetch import FetchedMedia
from roomkit._scope import Delivery, delivery_scope
from roomkit.channels import WhatsAppPersonalChannel
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit.providers.whatsapp.personal import WhatsAppPersonalProvider
from roomkit.sources import SourceStatus, WhatsAppPersonalSourceProvider
from roomkit.testing.conformance import ProviderConformance
from tests.support.fake_neonize import install, running
from tests.support.sources import Collector
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.providers.base import Provider

JID = "JID(15550100,s.whatsapp.net)"
FILE = "https://files.test/a"


@pytest.fixture(autouse=True)
def neonize(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: its JIDs and its messages."""
    install(monkeypatch)
    messages = ModuleType("messages")
    messages.__dict__.update(Message=SimpleNamespace, LocationMessage=SimpleNamespace)
    path = "neonize.proto.waE2E"
    monkeypatch.setitem(sys.modules, path, ModuleType(path))
    monkeypatch.setitem(sys.modules, f"{path}.WAWebProtobufsE2E_pb2", messages)


def a_client(**methods: Any) -> AsyncMock:
    client = AsyncMock()
    for name in ("send_message", "send_image", "send_video", "send_document", "send_location"):
        getattr(client, name).return_value = SimpleNamespace(ID="WA1")
    client.build_audio_message.return_value = SimpleNamespace(
        audioMessage=SimpleNamespace(mimetype="audio/ogg")
    )
    client.configure_mock(**methods)
    return client


def a_source(client: Any, status: SourceStatus = SourceStatus.CONNECTED) -> Any:
    source = MagicMock(spec=WhatsAppPersonalSourceProvider)
    source.client, source.status = client, status
    for name in ("send_composing", "send_paused", "mark_read", "send_reaction"):
        setattr(source, name, AsyncMock(return_value=None))
    return source


def a_provider(client: Any = None, **options: Any) -> WhatsAppPersonalProvider:
    return WhatsAppPersonalProvider(a_source(a_client() if client is None else client), **options)


async def calls(content: EventContent) -> list[tuple[Any, ...]]:
    """Return the client's calls for a content: name, positional and keyword arguments."""
    client = a_client()
    result = await a_provider(client).send(an_event(content), to="+15550100")
    assert result.success, result
    return [(name, *args, kwargs) for name, args, kwargs in client.mock_calls]


def an_image(caption: str | None = None, url: str = FILE) -> MediaContent:
    return MediaContent(url=url, mime_type="image/png", caption=caption)


class TestProviderConformance(ProviderConformance):
    """A personal account is a provider."""

    async def make_provider(self) -> Provider:
        """Return one whose client takes everything."""
        ids = iter(range(1000))
        client = a_client()
        client.send_message.side_effect = lambda *_: SimpleNamespace(ID=f"WA{next(ids)}")
        return a_provider(client)

    async def make_refused(self) -> Provider:
        """Return one whose client takes nothing."""
        client = a_client()
        client.send_message.side_effect = ValueError("no such chat")
        return a_provider(client)


class TestContent:
    """Which call each kind of content is."""

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (TextContent(body="Hi"), ("send_message", JID, "Hi", {})),
            (an_image(), ("send_image", JID, FILE, {"caption": ""})),
            (an_image("look"), ("send_image", JID, FILE, {"caption": "look"})),
            (
                MediaContent(url=FILE, mime_type="video/mp4", caption="c"),
                ("send_video", JID, FILE, {"caption": "c"}),
            ),
            (VideoContent(url=FILE), ("send_video", JID, FILE, {})),
            (
                MediaContent(url=FILE, mime_type="application/pdf"),
                ("send_document", JID, FILE, {"filename": "file"}),
            ),
            (
                MediaContent(url=FILE, mime_type="text/x", filename="a.txt", caption="c"),
                ("send_document", JID, FILE, {"filename": "a.txt", "caption": "c"}),
            ),
            (
                LocationContent(latitude=1, longitude=2, label="Pier"),
                ("send_location", JID, 1.0, 2.0, {"name": "Pier"}),
            ),
            (
                EditContent(target_event_id="e", new_content=TextContent(body="new")),
                ("send_message", JID, "new", {}),
            ),
        ],
    )
    async def test_one_call(self, content: EventContent, expected: tuple[Any, ...]) -> None:
        """One content, one call."""
        assert await calls(content) == [expected]

    @pytest.mark.parametrize(
        ("mime", "voice"), [("audio/ogg", True), ("audio/opus", True), ("audio/mpeg", False)]
    )
    async def test_recordings(self, mime: str, voice: bool) -> None:
        """Ogg and Opus are voice messages, which must name their codec."""
        for content in (
            AudioContent(url=FILE, mime_type=mime),
            MediaContent(url=FILE, mime_type=mime),
        ):
            made, sent = await calls(content)
            assert made == ("build_audio_message", FILE, {"ptt": voice})
            assert sent[:2] == ("send_message", JID)
            assert sent[2].audioMessage.mimetype == "audio/ogg; codecs=opus"

    async def test_a_recording_has_no_caption(self) -> None:
        """Its words follow."""
        content = MediaContent(url=FILE, mime_type="audio/mpeg", caption="listen")
        assert [call[0] for call in await calls(content)] == [
            "build_audio_message",
            "send_message",
            "send_message",
        ]

    async def test_composites(self) -> None:
        """All texts are the caption of the first media that can have one; none is lost."""
        texts: list[EventContent] = [TextContent(body="a"), TextContent(body="b")]
        media: list[EventContent] = [
            AudioContent(url=FILE),
            an_image("own"),
            an_image(),
            an_image(),
        ]
        found = await calls(CompositeContent(parts=[*texts, *media]))
        captions = [call[-1]["caption"] for call in found if call[0] == "send_image"]
        assert captions == ["own", "a\nb", ""]
        assert await calls(CompositeContent(parts=texts)) == [("send_message", JID, "a\nb", {})]
        heading = await calls(CompositeContent(parts=[*texts, AudioContent(url=FILE)]))
        assert heading[0] == ("send_message", JID, "a\nb", {})
        bare = await calls(CompositeContent(parts=[an_image(), an_image("x")]))
        assert [call[-1]["caption"] for call in bare] == ["", "x"]

    @pytest.mark.parametrize(
        "content",
        [RichContent(body="b"), SystemContent(body="s"), DeleteContent(target_event_id="e")],
    )
    async def test_anything_else(self, content: EventContent) -> None:
        """It is named, and not tried again."""
        result = await a_provider().send(an_event(content), to="1")
        assert result.error == f"Unsupported content type: {type(content).__name__}"
        assert result.metadata["retryable"] is False

    async def test_the_bytes_of_a_data_url(self) -> None:
        """The client knows no such URLs; one that holds nothing is not sent."""
        found = await calls(an_image(url="data:image/png;base64,AAEC"))
        assert found == [("send_image", JID, b"\x00\x01\x02", {"caption": ""})]
        empty = await a_provider().send(an_event(an_image(url="data:,")), to="1")
        assert (empty.success, empty.metadata["retryable"]) == (False, False)

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/a",
            "http://localhost./a",
            "http://x.localhost/a",
            "http://2130706433/a",
            "http://0x7f000001/a",
            "http://127.1/a",
            "http://[::1]/a",
            "http://10.0.0.1:80/a",
            "http://169.254.169.254/a",
            "http://[broken/a",
            "http:///a",
        ],
    )
    async def test_private_addresses_are_refused(self, url: str) -> None:
        """The client would fetch whatever it is told to."""
        client = a_client()
        result = await a_provider(client).send(an_event(an_image(url=url)), to="1")
        assert (result.success, result.metadata["retryable"]) == (False, False)
        assert client.mock_calls == []
        assert url not in str(result.error)

    async def test_guarded_media(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the guard on, the bytes are fetched here."""

        async def fetch(url: str) -> FetchedMedia:
            assert url == FILE
            return FetchedMedia(b"png", "image/png")

        monkeypatch.setattr(module, "fetch_media", fetch)
        client = a_client()
        await a_provider(client, guard_media=True).send(an_event(an_image()), to="+15550100")
        client.send_image.assert_awaited_once_with(JID, b"png", caption="")


class TestSending:
    """Addresses, answers and failures."""

    @pytest.mark.parametrize(
        ("to", "jid"),
        [
            ("+15550100", JID),
            ("15550100", JID),
            ("15550100@s.whatsapp.net", JID),
            ("1-2@g.us", "JID(1-2,g.us)"),
        ],
    )
    async def test_addresses(self, to: str, jid: str) -> None:
        """Numbers and JIDs, groups too."""
        client = a_client()
        result = await a_provider(client).send(an_event(), to=to)
        client.send_message.assert_awaited_once_with(jid, "Hello")
        assert result.model_dump() == {
            "success": True,
            "provider_message_id": "WA1",
            "error": None,
            "metadata": {},
        }

    async def test_the_builder_of_addresses_may_be_replaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is looked up when it is needed."""
        monkeypatch.setattr(module, "_build_jid", lambda phone: f"<{phone}>")
        client = a_client()
        await a_provider(client).send(an_event(), to="1")
        client.send_message.assert_awaited_once_with("<1>", "Hello")

    @pytest.mark.parametrize("status", [SourceStatus.STOPPED, SourceStatus.RECONNECTING])
    async def test_without_a_connection(self, status: SourceStatus) -> None:
        """It is said, and may be tried again later."""
        for client in (None, a_client()):
            provider = WhatsAppPersonalProvider(a_source(client, status))
            for result in (
                await provider.send(an_event(), to="1"),
                await provider.edit_message("1", "m", TextContent(body="x")),
                await provider.delete_message("1", "m"),
            ):
                assert result.error == "WhatsApp personal source not connected"
                assert result.metadata == {"retryable": True}

    @pytest.mark.parametrize(
        ("error", "text", "metadata"),
        [
            (ValueError("no such chat"), "no such chat", {"retryable": True}),
            (ValueError(), "ValueError", {"retryable": True}),
            (TimeoutError(), "TimeoutError", {"retryable": False, "ambiguous": True}),
            (
                RuntimeError("timed out waiting for an answer"),
                "timed out waiting for an answer",
                {"retryable": False, "ambiguous": True},
            ),
        ],
    )
    async def test_failures(
        self,
        error: Exception,
        text: str,
        metadata: dict[str, Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """They are answers; a time-out leaves open whether the message arrived."""
        caplog.set_level(logging.INFO)
        client = a_client()
        client.send_message.side_effect = error
        result = await a_provider(client).send(an_event(), to="1")
        assert (result.error, result.metadata) == (text, metadata)
        assert "could not be sent" in caplog.text
        assert "chat" not in caplog.text

    async def test_cancellation_passes(self) -> None:
        """It is no failure of the client."""
        client = a_client()
        client.send_message.side_effect = asyncio.CancelledError
        with pytest.raises(asyncio.CancelledError):
            await a_provider(client).send(an_event(), to="1")

    async def test_a_composite_is_resumed(self) -> None:
        """What has arrived is not sent again by the next attempt."""
        client = a_client()
        ok = SimpleNamespace(ID="WA1")
        client.send_image.side_effect = [ok, ValueError("upload failed"), ok]
        content = CompositeContent(parts=[an_image("1"), an_image("2")])
        provider = a_provider(client)
        token = delivery_scope.set(Delivery("d-1"))
        try:
            first = await provider.send(an_event(content), to="1")
            assert first.metadata["parts_sent"] == 1
            assert (await provider.send(an_event(content), to="1")).success
        finally:
            delivery_scope.reset(token)
        assert [c.kwargs["caption"] for c in client.send_image.mock_calls] == ["1", "2", "2"]

    async def test_who_wants_to_know_is_told(self) -> None:
        """The event's id and WhatsApp's; errors of the callback stay there."""
        told: list[tuple[str, str]] = []

        async def note(event_id: str, message_id: str) -> None:
            told.append((event_id, message_id))

        def fail(event_id: str, message_id: str) -> None:
            raise ValueError("mine")

        provider, event = a_provider(), an_event()
        provider.on_sent = note
        assert (await provider.send(event, to="1")).success
        assert told == [(event.id, "WA1")]
        provider.on_sent = fail
        assert (await provider.send(event, to="1")).success

    async def test_closing_leaves_the_client_alone(self) -> None:
        """The source owns it."""
        client = a_client()
        provider = a_provider(client)
        await provider.close()
        assert client.mock_calls == []
        assert provider.name == "whatsapp-personal"


class TestSignals:
    """Typing, read marks, reactions, edits and withdrawals."""

    async def test_they_go_through_the_source(self) -> None:
        """With the client's own addresses, except for reactions."""
        source = a_source(a_client())
        provider = WhatsAppPersonalProvider(source)
        await provider.send_typing("+15550100", media="audio")
        await provider.send_typing("+15550100", is_typing=False)
        await provider.mark_read(["m1"], "+15550100", "15550100")
        await provider.send_reaction("c@g.us", "+15550100", "m1", "\U0001f44d")
        source.send_composing.assert_awaited_once_with(JID, media="audio")
        source.send_paused.assert_awaited_once_with(JID)
        source.mark_read.assert_awaited_once_with(["m1"], chat=JID, sender=JID)
        source.send_reaction.assert_awaited_once_with("c@g.us", "15550100", "m1", "\U0001f44d")

    async def test_edits_and_withdrawals(self) -> None:
        """A message of ours: the client takes the new one, or no sender for ourselves."""
        client = a_client()
        client.edit_message.return_value = SimpleNamespace(ID="WA2")
        client.revoke_message.return_value = SimpleNamespace(ID="")
        provider = a_provider(client)
        edited = await provider.edit_message("+15550100", "m1", TextContent(body="new"))
        revoked = await provider.delete_message("+15550100", "m1")
        assert (edited.success, edited.provider_message_id) == (True, "WA2")
        assert (revoked.success, revoked.provider_message_id) == (True, None)
        client.edit_message.assert_awaited_once_with(
            JID, "m1", SimpleNamespace(conversation="new")
        )
        client.revoke_message.assert_awaited_once_with(JID, "JID(,)", "m1")
        wordless = await provider.edit_message("1", "m1", an_image())
        assert wordless.error == "empty_message"

    async def test_capabilities_in_force(self) -> None:
        """Formatted text is put into words; edits and withdrawals stay."""
        found = WhatsAppPersonalChannel("wa", provider=a_provider()).capabilities()
        assert found.media_types == ["text", "media", "audio", "video", "location"]
        assert (found.supports_edit, found.supports_delete, found.supports_typing) == (True,) * 3


class TestWithTheSource:
    """On the source itself, whose client lacks what the real one lacks."""

    async def test_places_and_texts(self) -> None:
        """A place is a message made here, where the client has no call for it."""
        source = WhatsAppPersonalSourceProvider()
        provider = WhatsAppPersonalProvider(source)
        async with running(source, Collector()) as client:
            await client.tell("ConnectedEv")
            place = LocationContent(latitude=1, longitude=2, label="Pier", address="1 Quay")
            assert (await provider.send(an_event(place), to="+15550100")).success
            await provider.send_reaction("+15550100", "+15550100", "m1", "+")
            sent = [call for call in client.calls if call[0] == "send_message"]
        location = sent[0][2].locationMessage
        assert (location.degreesLatitude, location.degreesLongitude) == (1.0, 2.0)
        assert (location.name, location.address) == ("Pier", "1 Quay")
        assert sent[1][2] == ("reaction", JID, JID, "m1", "+")


REAL_PACKAGE = """
import inspect
from neonize.aioze.client import NewAClient
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import LocationMessage, Message
from neonize.utils.jid import build_jid

def takes(name, *args, **kwargs):
    inspect.signature(getattr(NewAClient, name)).bind(None, *args, **kwargs)

takes("send_message", "jid", "text")
takes("send_image", "jid", b"", caption="")
takes("send_video", "jid", b"", caption="")
takes("send_document", "jid", b"", filename="", caption="")
takes("build_audio_message", b"", ptt=True)
takes("edit_message", "jid", "id", Message(conversation="x"))
takes("revoke_message", "jid", build_jid("", ""), "id")
assert not hasattr(NewAClient, "send_location")
place = {"degreesLatitude": 1.0, "degreesLongitude": 2.0, "name": "", "address": ""}
Message(locationMessage=LocationMessage(**place))
assert build_jid("", "").Server == ""
"""


class TestRealPackage:
    """The calls above are the real client's: checked where that is installed."""

    @pytest.mark.skipif(
        importlib.util.find_spec("neonize") is None, reason="neonize is not installed"
    )
    def test_the_client_takes_these_calls(self) -> None:
        """In a process of its own, because importing it leaves pipes open."""
        done = subprocess.run(
            [sys.executable, "-c", REAL_PACKAGE], capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, done.stderr


def test_without_neonize_addresses_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the client needs no package."""
    monkeypatch.setitem(sys.modules, "neonize.utils.jid", None)
    build = module.__dict__["_build_jid"]
    assert build("+15550100") == "15550100@s.whatsapp.net"
