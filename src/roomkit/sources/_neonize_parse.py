"""Reading WhatsApp events of neonize (only media need its client), and keeping them in order.

Field names are those of neonize's protobuf messages (and so of whatsmeow's and WhatsApp's
own). Text fields are taken only if they are text: a peer decides what is in them.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from roomkit._aio import bounded
from roomkit._logging import ids
from roomkit.models.content import (
    AudioContent,
    EventContent,
    LocationContent,
    MediaContent,
    TextContent,
)
from roomkit.models.delivery import InboundMessage

logger = logging.getLogger("roomkit.sources.neonize")

NeonizeMessageParser = Callable[
    [Any, Any], Awaitable[InboundMessage | None] | InboundMessage | None
]
"""Makes a message of ``(client, event)``, at once or awaited; None means: skip it."""

MAX_MEDIA_BYTES = 16 * 2**20
"""Larger media are not downloaded: the event would carry them whole."""

DOWNLOAD_TIMEOUT = 60.0
"""Seconds one download may take."""

RECEIPT_TYPES = {
    1: "delivered",
    2: "sender",
    3: "retry",
    4: "read",
    5: "read_self",
    6: "played",
    7: "played_self",
    8: "server_error",
    9: "inactive",
    10: "peer_msg",
    11: "history_sync",
}
"""Names of the numbers in ``Receipt.Type``."""

_GROUP_SERVER = "g.us"
_PAUSED = 2
_AUDIO = 2
# Encoding as base64 at full length would hold up the loop.
_ENCODE_IN_PLACE = 256 * 2**10
_MIME = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)


def jid_text(jid: Any) -> str:
    """Return a JID as ``user@server``."""
    return f"{jid.User}@{jid.Server}"


def default_message_parser(channel_id: str, *, self_chat: bool = False) -> NeonizeMessageParser:
    """Return a parser of text, media, voice messages, places and stickers.

    It gives None for one's own messages, other kinds of messages, a missing sender and
    whatever cannot be read. Media are downloaded into ``data:`` URLs; one that fails or is
    larger than 16 MiB becomes an empty one.

    Args:
        channel_id: The channel the messages come by.
        self_chat: Take one's own messages too, sent from another device.
    """

    async def parse(client: Any, event: Any) -> InboundMessage | None:
        try:
            return await _read_message(client, event, channel_id, self_chat)
        except Exception as exc:
            logger.error(
                "a message could not be read: %s",
                type(exc).__name__,
                extra=ids(channel_id=channel_id),
            )
            logger.debug("a message could not be read", exc_info=exc)
            return None

    return parse


async def _read_message(
    client: Any, event: Any, channel_id: str, self_chat: bool
) -> InboundMessage | None:
    info = event.Info
    source = info.MessageSource
    if (source.IsFromMe and not self_chat) or not source.Sender.User:
        return None
    content = await _read_content(client, event.Message)
    if content is None:
        return None
    return InboundMessage(
        channel_id=channel_id,
        sender_id=source.Sender.User,
        content=content,
        external_id=info.ID,
        metadata={
            "raw_jid": jid_text(source.Sender),
            "chat_jid": jid_text(source.Chat),
            "chat_id": source.Chat.User,
            "is_from_me": bool(source.IsFromMe),
            "is_group": source.Chat.Server == _GROUP_SERVER,
            "timestamp": str(info.Timestamp),
            "push_name": info.Pushname,
        },
    )


async def _read_content(client: Any, message: Any) -> EventContent | None:
    if body := _text(message.conversation):
        return TextContent(body=body)
    for field, read in _READERS:
        if message.HasField(field):
            return await read(client, message)
    return None


async def _read_extended_text(client: Any, message: Any) -> EventContent | None:
    body = _text(message.extendedTextMessage.text)
    return TextContent(body=body) if body else None


async def _read_image(client: Any, message: Any) -> EventContent:
    image = message.imageMessage
    mime = _mime(image) or "image/jpeg"
    url = await _download(client, message, image, mime, "image/jpeg")
    return MediaContent(url=url, mime_type=mime, caption=_text(image.caption))


async def _read_audio(client: Any, message: Any) -> EventContent:
    audio = message.audioMessage
    # The protobuf field is spelled in capitals.
    voice = getattr(audio, "PTT", None) is True or getattr(audio, "ptt", None) is True
    mime = "audio/ogg" if voice else _mime(audio) or "audio/ogg"
    url = await _download(client, message, audio, mime, "audio/ogg")
    seconds = audio.seconds
    known = isinstance(seconds, (int, float)) and seconds > 0
    return AudioContent(
        url=url, mime_type=mime, duration_seconds=float(seconds) if known else None
    )


async def _read_video(client: Any, message: Any) -> EventContent:
    # VideoContent takes no data URL.
    video = message.videoMessage
    mime = _mime(video) or "video/mp4"
    url = await _download(client, message, video, mime, "video/mp4")
    return MediaContent(url=url, mime_type=mime, caption=_text(video.caption))


async def _read_document(client: Any, message: Any) -> EventContent:
    document = message.documentMessage
    mime = _mime(document) or "application/octet-stream"
    url = await _download(client, message, document, mime, "application/octet-stream")
    return MediaContent(
        url=url,
        mime_type=mime,
        filename=_text(document.fileName),
        caption=_text(document.caption),
    )


async def _read_location(client: Any, message: Any) -> EventContent:
    place = message.locationMessage
    return LocationContent(
        latitude=place.degreesLatitude,
        longitude=place.degreesLongitude,
        label=_text(place.name),
        address=_text(place.address),
    )


async def _read_sticker(client: Any, message: Any) -> EventContent:
    url = await _download(client, message, message.stickerMessage, "image/webp", "image/webp")
    return MediaContent(url=url, mime_type="image/webp")


_READERS: tuple[tuple[str, Callable[[Any, Any], Awaitable[EventContent | None]]], ...] = (
    ("extendedTextMessage", _read_extended_text),
    ("imageMessage", _read_image),
    ("audioMessage", _read_audio),
    ("videoMessage", _read_video),
    ("documentMessage", _read_document),
    ("locationMessage", _read_location),
    ("stickerMessage", _read_sticker),
)


async def _download(client: Any, message: Any, part: Any, mime: str, default: str) -> str:
    """Return a message's media as a data URL; an empty one of the default type on failure."""
    try:
        announced = getattr(part, "fileLength", 0)
        if isinstance(announced, int) and announced > MAX_MEDIA_BYTES:
            raise ValueError(f"media of {announced} bytes")
        data = await bounded(_fetch(client, message), DOWNLOAD_TIMEOUT)
        if len(data) > MAX_MEDIA_BYTES:
            raise ValueError(f"media of {len(data)} bytes")
    except Exception as exc:
        logger.warning("media could not be downloaded: %s", type(exc).__name__)
        logger.debug("media could not be downloaded", exc_info=exc)
        return f"data:{default};base64,"
    if len(data) <= _ENCODE_IN_PLACE:
        return _data_url(mime, data)
    return await asyncio.to_thread(_data_url, mime, data)


async def _fetch(client: Any, message: Any) -> bytes:
    data: bytes = await client.download_any(message)
    return data


def _data_url(mime: str, data: bytes) -> str:
    return f"data:{mime.replace(' ', '')};base64,{base64.b64encode(data).decode('ascii')}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mime(part: Any) -> str | None:
    """Return the part's MIME type if it has the form of one: it becomes part of a URL."""
    value = _text(part.mimetype)
    return value if value is not None and _MIME.fullmatch(value) else None


def read_reaction(event: Any) -> dict[str, Any]:
    """Return what ``on_event("reaction", ...)`` is told of a message event."""
    info = event.Info
    source = info.MessageSource
    reaction = event.Message.reactionMessage
    return {
        "chat_id": source.Chat.User,
        "chat_jid": jid_text(source.Chat),
        "sender_id": source.Sender.User,
        "is_from_me": bool(source.IsFromMe),
        "target_message_id": reaction.key.ID,
        "emoji": reaction.text,
        "push_name": info.Pushname,
    }


def read_receipt(event: Any, sender_name: str) -> dict[str, Any]:
    """Return what ``on_event("receipt", ...)`` is told of a receipt."""
    source = event.MessageSource
    return {
        "type": RECEIPT_TYPES.get(event.Type, f"unknown({event.Type})"),
        "raw_type": event.Type,
        "chat": jid_text(source.Chat),
        "sender": jid_text(source.Sender),
        "sender_name": sender_name,
        "message_ids": list(event.MessageIDs),
        "timestamp": event.Timestamp,
    }


def read_presence(event: Any, sender_name: str) -> dict[str, Any]:
    """Return what ``on_event("presence", ...)`` is told of a chat presence."""
    source = event.MessageSource
    return {
        "chat": jid_text(source.Chat),
        "sender": jid_text(source.Sender),
        "sender_name": sender_name,
        "state": "paused" if event.State == _PAUSED else "composing",
        "media": "audio" if event.Media == _AUDIO else "text",
    }


class PushNames:
    """What senders call themselves, by address; the oldest are forgotten."""

    def __init__(self, limit: int = 1_000) -> None:
        self._limit = limit
        self._names: OrderedDict[str, str] = OrderedDict()

    def remember(self, push_name: Any, source: Any) -> None:
        """Note the sender's name of a message, under each of its addresses."""
        if not _text(push_name):
            return
        for jid in (source.Sender, getattr(source, "SenderAlt", None)):
            if jid is not None and jid.User:
                address = jid_text(jid)
                self._names[address] = push_name
                self._names.move_to_end(address)
        while len(self._names) > self._limit:
            self._names.popitem(last=False)

    def of(self, jid: Any) -> str:
        """Return the name of an address, or an empty text."""
        return self._names.get(jid_text(jid), "")


class ChatTurns:
    """Keeps what happens in one chat in order, while other chats go on.

    Args:
        limit: How many may hold or await a turn at once.
    """

    def __init__(self, limit: int = 1_000) -> None:
        self._limit = limit
        self._chats: dict[str, _Chat] = {}
        self._users = 0

    @property
    def full(self) -> bool:
        """Whether as many as allowed hold or await a turn."""
        return self._users >= self._limit

    @asynccontextmanager
    async def turn(self, chat: str) -> AsyncIterator[None]:
        """Hold a chat's turn: first come, first served."""
        entry = self._chats.setdefault(chat, _Chat())
        entry.users += 1
        self._users += 1
        try:
            async with entry.lock:
                yield
        finally:
            self._users -= 1
            entry.users -= 1
            if not entry.users:
                del self._chats[chat]


class _Chat:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
