"""Content as a mail: a text, HTML, attachments."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from roomkit.models.content import AudioContent, MediaContent, RichContent, VideoContent
from roomkit.providers._text import leaf_text, leaves
from roomkit.providers.email._mime import UNKNOWN_TYPE, media_type

if TYPE_CHECKING:
    from roomkit.models.content import EventContent

_EXTENSIONS = {
    "application/pdf": ".pdf",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/plain": ".txt",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail.

    Attributes:
        filename: Its name.
        mime_type: What it is.
        content: Its bytes.
    """

    filename: str = field(repr=False)
    mime_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """What goes into a mail. Its representation shows no text.

    Attributes:
        text: The plain text; empty for none.
        html: The HTML; empty for none.
        attachments: Files, from ``data:`` URLs.
        broken: Whether there was a ``data:`` URL that could not be read.
    """

    text: str = field(repr=False)
    html: str = field(repr=False)
    attachments: tuple[Attachment, ...] = ()
    broken: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.text or self.html or self.attachments)

    @property
    def refusal(self) -> str:
        """The error code of an empty letter."""
        return "unsupported_media" if self.broken else "empty_message"


def compose(content: EventContent) -> Letter:
    """Return content as a mail.

    Formatted content is HTML, with its ``plain_text`` as the text beside it; all else is text.
    Media at ``http(s)`` becomes a link, media in a ``data:`` URL an attachment.
    """
    parts = list(leaves(content))
    files: list[Attachment] = []
    broken = False
    plain: list[str] = []
    rich = any(isinstance(part, RichContent) for part in parts)
    markup: list[str] = []
    for part in parts:
        if isinstance(part, RichContent):
            markup.append(part.body)
            plain.append(part.plain_text or "")
            continue
        words = leaf_text(part)
        if isinstance(part, MediaContent | AudioContent | VideoContent):
            if part.url.startswith("data:"):
                file = _attachment(part, len(files) + 1)
                broken = broken or file is None
                files.extend([file] if file is not None else [])
            else:
                words = "\n".join(word for word in (words, _link(part)) if word)
        plain.append(words)
        if words:
            markup.append(f"<p>{escape(words, quote=False).replace(chr(10), '<br>')}</p>")
    # An alternative text that leaves parts of the HTML out would be worse than none.
    complete = all(p or not isinstance(x, RichContent) for p, x in zip(plain, parts, strict=True))
    return Letter(
        text="\n\n".join(word for word in plain if word) if complete else "",
        html="\n".join(word for word in markup if word) if rich else "",
        attachments=tuple(files),
        broken=broken,
    )


def _link(part: MediaContent | AudioContent | VideoContent) -> str:
    name = part.filename if isinstance(part, MediaContent) else None
    return f"{name}: {part.url}" if name else part.url


def _attachment(
    part: MediaContent | AudioContent | VideoContent, number: int
) -> Attachment | None:
    """Return the file a ``data:`` URL (RFC 2397) holds; None when it cannot be read."""
    head, comma, data = part.url[len("data:") :].partition(",")
    if not comma:
        return None
    kind = media_type(part.mime_type)
    if kind == UNKNOWN_TYPE:
        kind = media_type(head.partition(";")[0])
    if head.lower().endswith(";base64"):
        try:
            content = binascii.a2b_base64(unquote_to_bytes(data), strict_mode=True)
        except (binascii.Error, ValueError):
            return None
    else:
        content = unquote_to_bytes(data)
    name = part.filename if isinstance(part, MediaContent) else None
    return Attachment(name or f"attachment{number}{_EXTENSIONS.get(kind, '')}", kind, content)
