"""Reading WhatsApp messages; with the real package where that is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from roomkit.models.content import AudioContent, LocationContent, MediaContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.sources.neonize import default_message_parser
from tests.support.fake_neonize import Message, data_url, jid, media, message_event


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


REAL_PACKAGE = """
import asyncio, inspect
from roomkit.sources import neonize as module
from neonize.aioze import events
from neonize.aioze.client import NewAClient
from neonize.proto.Neonize_pb2 import JID, Message, MessageInfo, MessageSource, Receipt
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.proto.waE2E import WAWebProtobufsE2E_pb2 as e2e
from roomkit.models.content import AudioContent, LocationContent, MediaContent, TextContent

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
