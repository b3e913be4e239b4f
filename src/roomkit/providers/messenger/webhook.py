"""Reading Messenger's callbacks (Meta: "Webhooks for Messenger Platform").

One pure reader, ``read_messenger``; the parse functions are views of it.
"""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from roomkit.exceptions import WebhookError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers._graph import GraphWebhook
from roomkit.providers._webhook import (
    object_at,
    objects_at,
    optional_text_at,
    sender_at,
    text_at,
    unix_time,
    value_at,
)
from roomkit.providers.webhook import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from roomkit.models.content import EventContent
    from roomkit.providers.messenger.config import MessengerConfig
    from roomkit.providers.webhook import WebhookItem

PROVIDER = "messenger"

_MIME = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/mp4",
    "file": "application/octet-stream",
}
_LARGEST_TIME = 10**15
_LONGEST_PATH = 4096


class MessengerWebhook(GraphWebhook):
    """The endpoint's side of a page: messages, postbacks, reactions, edits, receipts."""

    def __init__(self, config: MessengerConfig) -> None:
        super().__init__(config.app_secret, config.previous_secrets, config.verify_token)

    def _items(self, payload: dict[str, Any], channel_id: str) -> list[WebhookItem]:
        return read_messenger(payload, channel_id)


def parse_messenger_webhook(payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage]:
    """Return the messages of a callback.

    Echoes of the page's own messages, receipts, and what is about earlier messages are left
    out; see ``FacebookMessengerProvider.webhook`` for a reader of all of it.

    Args:
        payload: The callback's JSON.
        channel_id: The channel it came by.

    Raises:
        WebhookError: It has the wrong shape, or a message has no sender.
    """
    found = read_messenger(payload, channel_id)
    return [item for item in found if isinstance(item, InboundMessage)]


def parse_messenger_statuses(payload: Mapping[str, Any]) -> list[DeliveryStatus]:
    """Return the receipts of a callback.

    A delivery gives one status a message. A read receipt covers everything up to its time:
    its ``message_id`` is empty and its ``timestamp`` that moment.

    Raises:
        WebhookError: It has the wrong shape.
    """
    return [item for item in read_messenger(payload, "") if isinstance(item, DeliveryStatus)]


def read_messenger(payload: Mapping[str, Any], channel_id: str) -> list[WebhookItem]:
    """Return everything a callback holds, in Meta's order; ``standby`` is left out.

    Raises:
        WebhookError: It has the wrong shape, or a message has no sender.
    """
    found: list[WebhookItem] = []
    for entry in objects_at(payload, "entry"):
        for event in objects_at(entry, "messaging"):
            found.extend(_read_event(event, channel_id))
    return found


def _read_event(event: dict[str, Any], channel_id: str) -> Iterator[WebhookItem]:
    for key, read in (
        ("message", _read_message),
        ("postback", _read_postback),
        ("reaction", _read_reaction),
        ("message_edit", _read_edit),
    ):
        if isinstance(event.get(key), dict):
            item = read(event, object_at(event, key), channel_id)
            if item is not None:
                yield item
            return
        object_at(event, key)
    yield from _read_receipts(event)


def _read_message(
    event: dict[str, Any], message: dict[str, Any], channel_id: str
) -> WebhookItem | None:
    if message.get("is_echo"):
        return None
    mid = optional_text_at(message, "mid")
    if message.get("is_deleted"):
        return Signal(
            channel_id=channel_id,
            type=EventType.DELETE,
            sender_id=sender_at(event, "sender", "id"),
            target_message_id=mid,
            idempotency_key=f"{mid}:delete",
            metadata=_metadata(event),
        )
    content = _content(message)
    if content is None:
        return None
    extras = {
        "quick_reply_payload": optional_text_at(message, "quick_reply", "payload"),
        "reply_to_mid": optional_text_at(message, "reply_to", "mid"),
        "sticker_id": _sticker(message),
    }
    return _inbound(event, channel_id, content, mid, extras)


def _read_postback(
    event: dict[str, Any], postback: dict[str, Any], channel_id: str
) -> InboundMessage:
    extras: dict[str, Any] = {
        "postback_payload": text_at(postback, "payload"),
        "referral": object_at(postback, "referral") or None,
    }
    content = TextContent(body=text_at(postback, "title"))
    return _inbound(event, channel_id, content, optional_text_at(postback, "mid"), extras)


def _read_reaction(event: dict[str, Any], reaction: dict[str, Any], channel_id: str) -> Signal:
    sender, mid = sender_at(event, "sender", "id"), text_at(reaction, "mid")
    gone = text_at(reaction, "action") == "unreact"
    word = text_at(reaction, "emoji") or text_at(reaction, "reaction")
    when = _milliseconds(event, "timestamp")
    return Signal(
        channel_id=channel_id,
        type=EventType.REACTION,
        sender_id=sender,
        target_message_id=mid,
        content=TextContent(body="" if gone else word),
        idempotency_key=f"{mid}:reaction:{sender}:{when}:{'-' if gone else '+'}{word}",
        metadata=_metadata(event),
    )


def _read_edit(event: dict[str, Any], edit: dict[str, Any], channel_id: str) -> Signal:
    mid, number = text_at(edit, "mid"), text_at(edit, "num_edit")
    return Signal(
        channel_id=channel_id,
        type=EventType.EDIT,
        sender_id=sender_at(event, "sender", "id"),
        target_message_id=mid,
        content=TextContent(body=text_at(edit, "text")),
        idempotency_key=f"{mid}:edit:{number or _milliseconds(event, 'timestamp')}",
        metadata=_metadata(event),
    )


def _read_receipts(event: dict[str, Any]) -> Iterator[DeliveryStatus]:
    delivery = object_at(event, "delivery")
    mids = delivery.get("mids")
    if mids is not None and not isinstance(mids, list):
        raise WebhookError("delivery.mids is not a list")
    for place in range(len(mids or ())):
        mid = text_at(delivery, "mids", place)
        if mid:
            yield _status(event, delivery, mid, "delivered")
    if "read" in event and event["read"] is not None:
        yield _status(event, object_at(event, "read"), "", "read")


def _status(
    event: dict[str, Any], receipt: dict[str, Any], message_id: str, status: str
) -> DeliveryStatus:
    moment = unix_time(receipt.get("watermark"), milliseconds=True)
    return DeliveryStatus(
        provider=PROVIDER,
        message_id=message_id,
        status=status,
        recipient=text_at(event, "sender", "id"),
        sender=text_at(event, "recipient", "id"),
        timestamp=moment.isoformat() if moment else None,
        raw=event,
    )


def _inbound(
    event: dict[str, Any],
    channel_id: str,
    content: EventContent,
    mid: str | None,
    extras: dict[str, Any],
) -> InboundMessage:
    known = {key: value for key, value in extras.items() if value is not None}
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender_at(event, "sender", "id"),
        content=content,
        external_id=mid,
        idempotency_key=mid,
        metadata={**_metadata(event), **known},
    )


def _metadata(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "recipient_id": text_at(event, "recipient", "id"),
        "timestamp": _milliseconds(event, "timestamp"),
    }


def _milliseconds(event: dict[str, Any], key: str) -> int:
    """Return a time in milliseconds; what is none is 0."""
    value = value_at(event, key)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        return int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and abs(value) < _LARGEST_TIME else 0


def _content(message: dict[str, Any]) -> EventContent | None:
    """Return what a message says; None when it is nothing we know."""
    text = text_at(message, "text")
    attachments = objects_at(message, "attachments")
    parts = [part for some in attachments if (part := _attachment(some)) is not None]
    if not parts:
        return TextContent(body=text) if message.get("text") is not None else None
    if len(parts) == 1 and not text:
        return parts[0]
    if len(parts) == 1 and isinstance(parts[0], MediaContent):
        only = parts[0]
        return MediaContent(url=only.url, mime_type=only.mime_type, caption=text)
    return CompositeContent(parts=[TextContent(body=text), *parts] if text else parts)


def _attachment(attachment: dict[str, Any]) -> EventContent | None:
    """Return one attachment; None when it is nothing we know, or has no usable URL."""
    kind, url = text_at(attachment, "type"), text_at(attachment, "payload", "url")
    if kind == "location":
        return _location(attachment)
    try:
        if kind == "audio":
            return AudioContent(url=url, mime_type=_mime(url, kind))
        if kind == "video":
            return VideoContent(url=url, mime_type=_mime(url, kind))
        if kind in ("image", "file"):
            return MediaContent(url=url, mime_type=_mime(url, kind))
    except ValidationError:
        return None
    title = text_at(attachment, "title") or text_at(attachment, "payload", "title")
    words = " ".join(word for word in (title, url) if word)
    return TextContent(body=words) if url else None


def _location(attachment: dict[str, Any]) -> EventContent | None:
    place = object_at(attachment, "payload", "coordinates")
    try:
        return LocationContent(
            latitude=place.get("lat"),  # type: ignore[arg-type]
            longitude=place.get("long"),  # type: ignore[arg-type]
            label=optional_text_at(attachment, "title"),
        )
    except ValidationError:
        raise WebhookError("attachments.payload.coordinates is no place on earth") from None


def _mime(url: str, kind: str) -> str:
    """Return the media type a URL's path suggests, within what the attachment says it is."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return _MIME[kind]
    guess = mimetypes.guess_type(path)[0] if len(path) < _LONGEST_PATH else None
    if guess and (kind == "file" or guess.startswith(f"{kind}/")):
        return guess
    return _MIME[kind]


def _sticker(message: dict[str, Any]) -> str | None:
    attachments = objects_at(message, "attachments")
    return optional_text_at(attachments[0], "payload", "sticker_id") if attachments else None
