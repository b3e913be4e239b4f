"""A personal WhatsApp account as a provider: it sends by the client of a running source."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from inspect import isawaitable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roomkit._fetch import fetch_media
from roomkit._http import refused
from roomkit._logging import brief
from roomkit._urls import is_public
from roomkit.exceptions import UnsafeURLError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._choices import is_fetchable
from roomkit.providers._parts import PartLedger
from roomkit.providers._text import leaves, plain_text
from roomkit.providers.whatsapp._data_urls import data_of
from roomkit.providers.whatsapp.base import WhatsAppProvider
from roomkit.sources.base import SourceStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent
    from roomkit.sources.neonize import WhatsAppPersonalSourceProvider

logger: logging.Logger = logging.getLogger("roomkit.providers.whatsapp")

NOT_CONNECTED = "WhatsApp personal source not connected"

_CAPABILITIES = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
    ],
    supports_reactions=True,
    supports_read_receipts=True,
    supports_edit=True,
    supports_delete=True,
    supports_typing=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
)
_USER_SERVER = "s.whatsapp.net"
_MESSAGES = "neonize.proto.waE2E.WAWebProtobufsE2E_pb2"
_JIDS = "neonize.utils.jid"
_OPUS = "audio/ogg; codecs=opus"


class WhatsAppPersonalProvider(WhatsAppProvider):
    """Sends from the account a ``WhatsAppPersonalSourceProvider`` is linked to.

    The source owns the client: closing the provider closes nothing. Numbers, JIDs of users and
    of groups (``...@g.us``) are taken as recipients.

    The client fetches media from ``http(s)`` URLs by itself. URLs that name a private address
    outright are refused; with ``guard_media`` we fetch, and only from public hosts.

    Args:
        source: The source; it must be connected when something is sent.
        guard_media: Fetch media here, checked and bounded (extra ``httpx``), instead of
            leaving it to the client. Wanted where strangers decide about the URLs.

    Attributes:
        on_sent: Told ``(event_id, message_id)`` of each message sent, a plain or an async
            function; what goes wrong in it is logged.
    """

    def __init__(
        self, source: WhatsAppPersonalSourceProvider, *, guard_media: bool = False
    ) -> None:
        self._source = source
        self._guard_media = guard_media
        self._parts = PartLedger()
        self.on_sent: Callable[[str, str], Any] | None = None

    @property
    def name(self) -> str:
        """Return ``whatsapp-personal``."""
        return "whatsapp-personal"

    def capabilities(self) -> ChannelCapabilities:
        """Return what a personal account can carry."""
        return _CAPABILITIES

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one chat; see ``Provider.send``.

        Args:
            event: What to send.
            to: A number, or a JID.

        Returns:
            ``WhatsApp personal source not connected`` while it is not, ``Unsupported content
            type: <class>`` for what the account cannot carry, else what the client says.
        """
        client = self._connected()
        if client is None:
            return _not_connected()
        parts = _parts_of(event.content)
        if parts is None:
            return refused(f"Unsupported content type: {type(event.content).__name__}")
        if not parts:
            return refused("empty_message")

        async def send_part(part: _Leaf, key: str | None) -> ProviderResult:
            result = await self._attempt(lambda: self._send_leaf(client, _build_jid(to), part))
            if result.success and result.provider_message_id:
                await self._tell(event.id, result.provider_message_id)
            return result

        return await self._parts.send(parts, send_part)

    async def edit_message(
        self, to: str, message_id: str, content: EventContent
    ) -> ProviderResult:
        """Change a text of ours; WhatsApp allows it for about 15 minutes.

        Returns:
            As ``send``; ``empty_message`` when the new content has no words.
        """
        client, text = self._connected(), plain_text(content)
        if client is None:
            return _not_connected()
        if not text:
            return refused("empty_message")

        def edit() -> Awaitable[Any]:
            message = import_module(_MESSAGES).Message(conversation=text)
            changing: Awaitable[Any] = client.edit_message(_build_jid(to), message_id, message)
            return changing

        return await self._attempt(edit)

    async def delete_message(self, to: str, message_id: str) -> ProviderResult:
        """Take a message of ours back for everybody; WhatsApp allows it for about two days.

        Returns:
            As ``send``.
        """
        client = self._connected()
        if client is None:
            return _not_connected()

        def revoke() -> Awaitable[Any]:
            # No sender at all stands for ourselves.
            ourselves = import_module(_JIDS).build_jid("", "")
            going: Awaitable[Any] = client.revoke_message(_build_jid(to), ourselves, message_id)
            return going

        return await self._attempt(revoke)

    async def send_typing(self, to: str, *, is_typing: bool = True, media: str = "text") -> None:
        """Show or hide "typing", or "recording" with ``media="audio"``.

        Raises:
            RuntimeError: The source is not connected.
        """
        jid = _build_jid(to)
        if is_typing:
            await self._source.send_composing(jid, media=media)
        else:
            await self._source.send_paused(jid)

    async def mark_read(self, message_ids: Sequence[str], chat: str, sender: str) -> None:
        """Show the sender that messages were read.

        Raises:
            RuntimeError: The source is not connected.
        """
        await self._source.mark_read(message_ids, chat=_build_jid(chat), sender=_build_jid(sender))

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> None:
        """React to a message; an empty emoji takes the reaction back.

        Raises:
            RuntimeError: The source is not connected.
        """
        # The source makes JIDs of numbers, but of bare ones.
        await self._source.send_reaction(
            chat.removeprefix("+"), sender.removeprefix("+"), message_id, emoji
        )

    async def close(self) -> None:
        """Close nothing: the source owns the client."""

    def _connected(self) -> Any:
        """Return the source's client while it is connected, else None."""
        source = self._source
        return source.client if source.status == SourceStatus.CONNECTED else None

    async def _attempt(self, act: Callable[[], Awaitable[Any]]) -> ProviderResult:
        """Await what the client does and return how it ended.

        The client makes up a new id at every call: a send whose answer did not come in time may
        have arrived, and is not repeated by itself.
        """
        try:
            response = await act()
        except Exception as exc:
            logger.error("a WhatsApp message could not be sent: %s", type(exc).__name__)
            logger.debug("sending failed", exc_info=exc)
            return _failure(exc)
        message_id = getattr(response, "ID", None)
        known = isinstance(message_id, str) and bool(message_id)
        return ProviderResult(success=True, provider_message_id=message_id if known else None)

    async def _send_leaf(self, client: Any, jid: Any, part: _Leaf) -> Any:
        if isinstance(part, TextContent):
            return await client.send_message(jid, part.body)
        if isinstance(part, LocationContent):
            return await _send_location(client, jid, part)
        file = await self._file(part.url)
        kind = part.mime_type.lower().partition("/")[0]
        if kind == "audio" or isinstance(part, AudioContent):
            return await _send_audio(client, jid, file, part.mime_type)
        if isinstance(part, VideoContent):
            return await client.send_video(jid, file)
        caption = part.caption or ""
        if kind == "image":
            return await client.send_image(jid, file, caption=caption)
        if kind == "video":
            return await client.send_video(jid, file, caption=caption)
        named: dict[str, str] = {"caption": caption} if caption else {}
        return await client.send_document(jid, file, filename=part.filename or "file", **named)

    async def _file(self, url: str) -> str | bytes:
        """Return what the client is given: a URL it may fetch, or the bytes.

        Raises:
            UnsafeURLError: It leads where it must not.
            MediaFetchError: It could not be fetched.
        """
        if not is_fetchable(url):
            data = await asyncio.to_thread(data_of, url)
            if data is None:
                raise UnsafeURLError("the data URL holds nothing")
            return data
        if self._guard_media:
            return (await fetch_media(url)).data
        _refuse_private(url)
        return url

    async def _tell(self, event_id: str, message_id: str) -> None:
        if self.on_sent is None:
            return
        try:
            told = self.on_sent(event_id, message_id)
            if isawaitable(told):
                await told
        except Exception as exc:
            logger.debug("on_sent failed", exc_info=exc)


type _Leaf = TextContent | MediaContent | AudioContent | VideoContent | LocationContent


def _build_jid_str(phone: str) -> str:
    """Return the JID of a number as text; a JID is returned as it is."""
    return phone if "@" in phone else f"{phone.lstrip('+')}@{_USER_SERVER}"


def _build_jid(phone: str) -> Any:
    """Return the client's own JID of a number or a JID in text.

    Without neonize the client is a stand-in of a test or a demonstration, which gets the text.
    """
    text = _build_jid_str(phone)
    try:
        return import_module("roomkit.sources.neonize").parse_jid(text)
    except ImportError:
        return text


def _parts_of(content: EventContent) -> list[_Leaf] | None:
    """Return what is sent, in order; None when it is nothing the account can carry."""
    if isinstance(content, EditContent):
        # What it changes never got there: the new words go out as a message of their own.
        return _parts_of(content.new_content)
    if isinstance(content, CompositeContent):
        return _composed(content)
    if isinstance(content, MediaContent):
        return _with_words(content)
    if isinstance(content, TextContent):
        return [content] if content.body else []
    if isinstance(content, AudioContent | VideoContent | LocationContent):
        return [content]
    return None


def _composed(content: CompositeContent) -> list[_Leaf]:
    """Return the parts, all texts as the caption of the first media that can have one."""
    files: list[_Leaf] = []
    texts: list[str] = []
    for leaf in leaves(content):
        if isinstance(leaf, MediaContent | AudioContent | VideoContent | LocationContent):
            files.append(leaf)
        elif isinstance(leaf, TextContent) and leaf.body:
            texts.append(leaf.body)
    words = "\n".join(texts)
    if not words:
        return [part for file in files for part in _with_words(file)]
    for place, file in enumerate(files):
        if isinstance(file, MediaContent) and not file.caption and not _is_audio(file):
            files[place] = MediaContent(
                url=file.url, mime_type=file.mime_type, filename=file.filename, caption=words
            )
            words = ""
            break
    heading: list[_Leaf] = [TextContent(body=words)] if words else []
    return [*heading, *(part for file in files for part in _with_words(file))]


def _with_words(part: _Leaf) -> list[_Leaf]:
    """Return a part, and its caption after it where the client takes none."""
    if isinstance(part, MediaContent) and part.caption and _is_audio(part):
        return [part, TextContent(body=part.caption)]
    return [part]


def _is_audio(content: MediaContent) -> bool:
    return content.mime_type.lower().startswith("audio/")


async def _send_audio(client: Any, jid: Any, file: str | bytes, mime_type: str) -> Any:
    """Send a recording, as a voice message when it is one; those name their codec."""
    voice = any(word in mime_type.lower() for word in ("ogg", "opus"))
    message = await client.build_audio_message(file, ptt=voice)
    if message.audioMessage.mimetype == "audio/ogg":
        message.audioMessage.mimetype = _OPUS
    return await client.send_message(jid, message)


async def _send_location(client: Any, jid: Any, place: LocationContent) -> Any:
    """Send a place: by the client's own call if it has one, else as a message made here."""
    label = place.label or ""
    if hasattr(client, "send_location"):
        return await client.send_location(jid, place.latitude, place.longitude, name=label)
    messages = import_module(_MESSAGES)
    location = messages.LocationMessage(
        degreesLatitude=place.latitude,
        degreesLongitude=place.longitude,
        name=label,
        address=place.address or "",
    )
    return await client.send_message(jid, messages.Message(locationMessage=location))


def _refuse_private(url: str) -> None:
    """Pass unless the URL names this machine or a private address outright."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        raise UnsafeURLError("the url cannot be read") from None
    if not host or host == "localhost" or host.endswith(".localhost"):
        raise UnsafeURLError("the host is not a public one")
    try:
        address = str(ip_address(host))
    except ValueError:
        # Names go to the client; numbers in another notation are no names.
        if host.replace(".", "").isdecimal() or host.startswith("0x"):
            raise UnsafeURLError("the host is not a public one") from None
        return
    if not is_public(address):
        raise UnsafeURLError("the host is not a public one")


def _not_connected() -> ProviderResult:
    return ProviderResult(success=False, error=NOT_CONNECTED, metadata={"retryable": True})


def _failure(error: Exception) -> ProviderResult:
    text = brief(error)
    if isinstance(error, UnsafeURLError):
        return refused(text)
    if isinstance(error, TimeoutError) or "timed out" in text.lower():
        unclear = {"retryable": False, "ambiguous": True}
        return ProviderResult(success=False, error=text, metadata=unclear)
    return ProviderResult(success=False, error=text, metadata={"retryable": True})
