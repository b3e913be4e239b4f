"""A mail that came in, as a message: who wrote, what is new, which conversation it belongs to."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_text
from roomkit.exceptions import WebhookError
from roomkit.models.delivery import InboundMessage
from roomkit.providers.email._address import addresses, first_address
from roomkit.providers.email._html import html_to_text
from roomkit.providers.email._mime import (
    MAX_DEPTH,
    MAX_PARTS,
    Headers,
    Part,
    decode_text,
    decode_transfer,
    media_type,
    split_headers,
    split_parts,
)
from roomkit.providers.email._quoted import split_quoted
from roomkit.providers.email._thread import first_id, message_ids, thread_of
from roomkit.providers.sms.meta import build_inbound_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ANSWERS_ITSELF = frozenset({"auto_reply", "bulk", "junk", "list"})
"""Values of ``Precedence`` no automatic answer should go to (RFC 3834, section 2)."""

_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class MailFile:
    """An attachment that came in.

    Attributes:
        filename: The name its sender gave it; empty for none.
        mime_type: What it is said to be.
        content: Its bytes.
    """

    filename: str = field(repr=False)
    mime_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that came in. Its representation shows nothing of it.

    Attributes:
        headers: Its header block.
        text: Its plain text; empty for none.
        html: Its HTML; empty for none.
        files: Its attachments.
    """

    headers: Headers = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    files: tuple[MailFile, ...] = field(default=(), repr=False)


def read_mail(raw: bytes) -> Mail:
    """Return a complete mail (RFC 5322) taken apart.

    Of alternatives both the plain text and the HTML are kept; texts before and after
    attachments are joined. Mails within the mail are attachments.

    Raises:
        WebhookError: It has more than 200 parts.
    """
    block, body = split_headers(raw)
    headers = Headers(block)
    texts: list[str] = []
    pages: list[str] = []
    files: list[MailFile] = []
    for part in _leaf_parts(Part(headers, body)):
        kind, parameters = part.parameters("content-type")
        disposition, named = part.parameters("content-disposition")
        name = named.get("filename") or parameters.get("name") or ""
        content = decode_transfer(part)
        if disposition != "attachment" and not name and kind in ("", "text/plain", "text/html"):
            words = decode_text(content, parameters.get("charset", ""))
            (pages if kind == "text/html" else texts).append(words)
        else:
            files.append(MailFile(safe_name(name), media_type(kind), content))
    return Mail(headers, "\n".join(texts), "\n".join(pages), tuple(files))


def _leaf_parts(root: Part) -> Iterator[Part]:
    """Yield the parts that hold no others, in order."""
    waiting = [(root, 0)]
    seen = 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if seen > MAX_PARTS:
            raise WebhookError(f"the mail has more than {MAX_PARTS} parts")
        kind, parameters = part.parameters("content-type")
        boundary = parameters.get("boundary", "")
        if not kind.startswith("multipart/") or not 0 < len(boundary) <= 200:
            yield part
        elif depth < MAX_DEPTH:
            inner = split_parts(part.content, boundary)
            waiting.extend((one, depth + 1) for one in reversed(inner))


def safe_name(name: str) -> str:
    """Return a file's name without a path or control characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in clean_text(name) if c.isprintable())[:_LONGEST_NAME]


def carried(
    files: Sequence[MailFile], limit: int
) -> tuple[list[dict[str, Any]], list[dict[str, str | None]]]:
    """Return what there is to say about attachments, and those the message carries.

    Args:
        files: The attachments.
        limit: Bytes of all carried ones together.

    Returns:
        ``{"filename", "mime_type", "size_bytes", "carried"}`` each, and ``{"url",
        "mime_type"}`` with ``data:`` URLs, as many of the first as fit.
    """
    said: list[dict[str, Any]] = []
    media: list[dict[str, str | None]] = []
    left = limit
    for file in files:
        size = len(file.content)
        fits = 0 < size <= left
        if fits:
            left -= size
            data = base64.b64encode(file.content).decode("ascii")
            url = f"data:{file.mime_type};base64,{data}"
            media.append({"url": url, "mime_type": file.mime_type})
        said.append(
            {
                "filename": file.filename,
                "mime_type": file.mime_type,
                "size_bytes": size,
                "carried": fits,
            }
        )
    return said, media


def mail_to_inbound(
    mail: Mail,
    channel_id: str,
    *,
    provider: str,
    envelope_from: str | None = None,
    media: Sequence[Mapping[str, str | None]] = (),
    **metadata: Any,
) -> InboundMessage:
    """Return a mail as a message.

    The content is what its sender wrote; what they quote is in ``metadata["quoted"]``.

    Args:
        mail: The mail.
        channel_id: The channel it came by.
        provider: The vendor.
        envelope_from: The envelope's sender; empty for bounces, None when it is not known.
        media: Attachments the message shall carry, ``{"url", "mime_type"}`` each.
        metadata: More metadata.

    Raises:
        WebhookError: Nobody sent it.
    """
    headers = mail.headers
    author = first_address(headers.get("from"))
    sender = first_address(envelope_from or "").email or author.email
    if not sender:
        raise WebhookError("from is missing: nobody sent it")
    parts = split_quoted(mail.text if mail.text.strip() else html_to_text(mail.html))
    message_id = first_id(headers.raw("message-id"))
    in_reply_to = first_id(headers.raw("in-reply-to"))
    references = message_ids(headers.raw("references"))
    facts: dict[str, Any] = {
        "provider": provider,
        "subject": headers.get("subject"),
        "to": [one.email for one in addresses(headers.get("to"))],
        "cc": [one.email for one in addresses(headers.get("cc"))],
        "from_name": author.name,
        "html": mail.html,
        "in_reply_to": in_reply_to,
        "references": references,
        "auto_submitted": is_automatic(headers) or envelope_from == "",
        "quoted": parts.quoted,
    }
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender,
        content=build_inbound_content(parts.new, media),
        external_id=message_id,
        idempotency_key=message_id,
        thread_id=thread_of(message_id, in_reply_to, references),
        metadata={**facts, **metadata},
    )


def is_automatic(headers: Headers) -> bool:
    """Tell whether a program sent a mail (RFC 3834): nobody should answer it automatically."""
    submitted = headers.raw("auto-submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return True
    if headers.raw("precedence").strip().lower() in _ANSWERS_ITSELF:
        return True
    return "x-autoreply" in headers or "x-autorespond" in headers
