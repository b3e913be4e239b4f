"""What a message of the Cloud API says, by its type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import ValidationError

from roomkit.exceptions import WebhookError
from roomkit.models.content import LocationContent, MediaContent, TextContent
from roomkit.models.enums import EventType
from roomkit.providers._webhook import object_at, objects_at, optional_text_at, text_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.content import EventContent

_MIME = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/ogg",
    "sticker": "image/webp",
    "document": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says.

    Attributes:
        content: The content.
        event_type: MESSAGE, or what it does to an earlier one.
        metadata: What the content has no place for.
    """

    content: EventContent = field(default_factory=lambda: TextContent(body=""), repr=False)
    event_type: EventType = EventType.MESSAGE
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)


def content_of(message: dict[str, Any], media_base: str) -> Said | None:
    """Return what a message says; None for system notes and kinds nobody passes on.

    Args:
        message: One of ``messages``.
        media_base: What stands before a media id in the URL of a file.

    Raises:
        WebhookError: It has the wrong shape.
    """
    kind = text_at(message, "type")
    if kind in _MIME:
        return _media(message, kind, media_base)
    if kind == "edit":
        return _edit(message, media_base)
    read = _READERS.get(kind)
    return None if read is None else read(message)


def _text(message: dict[str, Any]) -> Said:
    return Said(TextContent(body=text_at(message, "text", "body")))


def _button(message: dict[str, Any]) -> Said:
    return Said(
        TextContent(body=text_at(message, "button", "text")),
        metadata={"button_payload": text_at(message, "button", "payload")},
    )


def _interactive(message: dict[str, Any]) -> Said:
    given = object_at(message, "interactive")
    kind = text_at(given, "type")
    if kind == "nfm_reply":
        flow = {
            "flow_response": text_at(given, kind, "response_json"),
            "flow_name": text_at(given, kind, "name"),
        }
        return Said(TextContent(body=text_at(given, kind, "body")), metadata=flow)
    chosen = object_at(given, kind) if kind else {}
    found = {
        "interactive_id": text_at(chosen, "id"),
        "interactive_description": optional_text_at(chosen, "description"),
    }
    return Said(
        TextContent(body=text_at(chosen, "title")),
        metadata={key: value for key, value in found.items() if value is not None},
    )


def _media(message: dict[str, Any], kind: str, media_base: str) -> Said:
    """Return a file. Meta gives an id; to fetch it takes the token, see ``download_media``."""
    given = object_at(message, kind)
    media_id, url = text_at(given, "id"), text_at(given, "url")
    caption = optional_text_at(given, "caption")
    known = {
        "media_id": media_id or None,
        "sha256": optional_text_at(given, "sha256"),
        "voice": given["voice"] if isinstance(given.get("voice"), bool) else None,
        "animated": True if given.get("animated") is True else None,
    }
    metadata = {key: value for key, value in known.items() if value is not None}
    if not url.startswith(("http://", "https://")):
        url = f"{media_base}/{quote(media_id, safe='')}" if media_id else ""
    if not url:
        return Said(TextContent(body=caption or ""), metadata=metadata)
    content = MediaContent(
        url=url,
        mime_type=text_at(given, "mime_type") or _MIME[kind],
        caption=caption,
        filename=optional_text_at(given, "filename"),
    )
    return Said(content, metadata=metadata)


def _location(message: dict[str, Any]) -> Said:
    given = object_at(message, "location")
    label, address = optional_text_at(given, "name"), optional_text_at(given, "address")
    if given.get("latitude") is None and given.get("longitude") is None:
        return Said(TextContent(body="\n".join(word for word in (label, address) if word)))
    try:
        content = LocationContent(
            latitude=given.get("latitude"),  # type: ignore[arg-type]
            longitude=given.get("longitude"),  # type: ignore[arg-type]
            label=label,
            address=address,
        )
    except ValidationError:
        raise WebhookError("location is no place on earth") from None
    url = optional_text_at(given, "url")
    return Said(content, metadata={} if url is None else {"location_url": url})


def _contacts(message: dict[str, Any]) -> Said:
    contacts = objects_at(message, "contacts")
    lines = []
    for contact in contacts:
        numbers = [text_at(phone, "phone") for phone in objects_at(contact, "phones")]
        words = [text_at(contact, "name", "formatted_name"), *numbers]
        lines.append(" ".join(word for word in words if word))
    body = "\n".join(line for line in lines if line)
    return Said(TextContent(body=body), metadata={"contacts": contacts})


def _order(message: dict[str, Any]) -> Said:
    order = object_at(message, "order")
    return Said(TextContent(body=text_at(order, "text")), metadata={"order": order})


def _reaction(message: dict[str, Any]) -> Said:
    return Said(
        TextContent(body=text_at(message, "reaction", "emoji")),
        EventType.REACTION,
        {"reaction_message_id": text_at(message, "reaction", "message_id")},
    )


def _edit(message: dict[str, Any], media_base: str) -> Said:
    """Return a new text; of media it is the caption that was changed."""
    given = object_at(message, "edit")
    new = object_at(given, "message")
    said = None if text_at(new, "type") == "edit" else content_of(new, media_base)
    content = said.content if said is not None else None
    body = text_at(new, "text", "body")
    if isinstance(content, TextContent):
        body = content.body
    elif isinstance(content, MediaContent):
        body = content.caption or ""
    original = text_at(given, "original_message_id")
    return Said(TextContent(body=body), EventType.EDIT, {"edited_message_id": original})


def _revoke(message: dict[str, Any]) -> Said:
    original = text_at(message, "revoke", "original_message_id")
    return Said(event_type=EventType.DELETE, metadata={"revoked_message_id": original})


_READERS: dict[str, Callable[[dict[str, Any]], Said]] = {
    "text": _text,
    "button": _button,
    "interactive": _interactive,
    "location": _location,
    "contacts": _contacts,
    "order": _order,
    "reaction": _reaction,
    "revoke": _revoke,
}
