"""What a text message vendor tells us, in one shape, and content from and for such vendors.

Vendors' modules build a ``WebhookMeta``; ``RoomKit.process_webhook`` takes it from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.exceptions import InvalidInputError, WebhookError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    TextContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.providers._text import leaf_text, leaves, media_of, place_text
from roomkit.providers.sms.keywords import opt_keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from roomkit.models.content import EventContent

logger: logging.Logger = logging.getLogger("roomkit.providers.sms")

_PREFIX = "message."
_SENT_BY_US = frozenset({"message.sent", "message.finalized"})
_UNKNOWN_MIME = "application/octet-stream"

_READERS = {
    "sinch": "roomkit.providers.sinch.webhook:read_sinch",
    "telnyx": "roomkit.providers.telnyx.webhook:read_telnyx",
    "twilio": "roomkit.providers.twilio.webhook:read_twilio",
    "voicemeup": "roomkit.providers.voicemeup.webhook:read_voicemeup",
}
"""Where each vendor's reader lies; it is imported when it is used."""


@dataclass(frozen=True, slots=True)
class VendorStatus:
    """What a vendor's own words for a delivery mean; None leaves a value to the general rule.

    Attributes:
        status: Such as ``delivered`` or ``failed``.
        error_code: The vendor's code.
        error_message: The vendor's explanation.
        timestamp: ISO 8601.
    """

    status: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    timestamp: str | None = None


@dataclass
class WebhookMeta:
    """One callback of a text message vendor. Its representation shows no text or address.

    Attributes:
        provider: The vendor.
        sender: Who wrote.
        recipient: To whom.
        body: The text.
        external_id: The vendor's id of the message.
        timestamp: When, as the vendor says.
        raw: The payload as given.
        media_urls: ``{"url", "mime_type"}`` each.
        direction: ``inbound``, ``outbound``, or None when the vendor does not say.
        event_type: ``message.received``, ``message.<status>``, or None.
        vendor_status: The vendor's status in our words, where the general rule would not do.
    """

    provider: str
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    body: str = field(repr=False)
    external_id: str | None
    timestamp: datetime | None
    raw: dict[str, Any] = field(repr=False)
    media_urls: list[dict[str, str | None]] = field(default_factory=list, repr=False)
    direction: str | None = None
    event_type: str | None = None
    vendor_status: VendorStatus | None = field(default=None, kw_only=True)

    @property
    def is_inbound(self) -> bool:
        """Whether this is a message to us; so it is unless something says otherwise."""
        if self.direction == "outbound":
            return False
        return self.direction == "inbound" or self.event_type not in _SENT_BY_US

    @property
    def is_status(self) -> bool:
        """Whether this is a word about a message we sent."""
        kind = self.event_type
        return (
            self.direction == "outbound"
            and kind is not None
            and kind.startswith(_PREFIX)
            and kind != "message.received"
        )

    def to_status(self) -> DeliveryStatus:
        """Return the status this callback reports; ``unknown`` when it names none."""
        vendor = self.vendor_status or VendorStatus()
        status = vendor.status or (self.event_type or "unknown").removeprefix(_PREFIX)
        code, message = _first_error(self.raw)
        moment = self.timestamp.isoformat() if self.timestamp else None
        return DeliveryStatus(
            provider=self.provider,
            message_id=self.external_id or "",
            status=status,
            recipient=self.recipient,
            sender=self.sender,
            error_code=code if vendor.error_code is None else vendor.error_code,
            error_message=message if vendor.error_message is None else vendor.error_message,
            timestamp=moment if vendor.timestamp is None else vendor.timestamp,
            raw=self.raw,
        )

    def to_inbound(self, channel_id: str) -> InboundMessage:
        """Return the message this callback brings, for the channel it came by.

        The vendor's id is its idempotency key, so a repeated callback changes nothing. When
        the text is one of the words of ``opt_keyword``, the metadata say so under ``keyword``.

        Raises:
            ValueError: (a WebhookError) ``is_inbound`` is False.
        """
        if not self.is_inbound:
            raise WebhookError(
                "Cannot convert outbound webhook to InboundMessage: "
                f"provider={self.provider}, direction={self.direction}, "
                f"event_type={self.event_type}"
            )
        metadata = {
            "provider": self.provider,
            "recipient": self.recipient,
            "timestamp": self.timestamp.isoformat() if self.timestamp else None,
        }
        return inbound_of(self, channel_id, metadata)


def inbound_of(
    meta: WebhookMeta,
    channel_id: str,
    metadata: dict[str, Any],
    *,
    content: EventContent | None = None,
) -> InboundMessage:
    """Return the message a callback brings, with a vendor's own metadata.

    When its text is one of the words of ``opt_keyword``, the metadata say so under ``keyword``,
    unless they do already.

    Args:
        meta: What the callback says.
        channel_id: The channel it came by.
        metadata: What the vendor's reader knows besides.
        content: What was said; None: the text and the attachments.
    """
    keyword = opt_keyword(meta.body or "")
    known = dict(metadata)
    if keyword is not None:
        known.setdefault("keyword", keyword)
    if content is None:
        content = build_inbound_content(meta.body, meta.media_urls)
    return InboundMessage(
        channel_id=channel_id,
        sender_id=meta.sender,
        content=content,
        external_id=meta.external_id,
        idempotency_key=meta.external_id,
        metadata=known,
    )


def extract_sms_meta(provider: str, payload: dict[str, Any]) -> WebhookMeta:
    """Return what a callback of a text message vendor says.

    Args:
        provider: ``sinch``, ``telnyx``, ``twilio`` or ``voicemeup``, in any case.
        payload: The callback's fields, as the vendor sent them.

    Raises:
        ValueError: (an InvalidInputError) No such vendor is known.
        WebhookError: A field of the payload has the wrong type; the text names it.
    """
    vendor = provider.lower()
    if vendor not in _READERS:
        raise InvalidInputError(
            f"Unknown SMS provider: {provider}. Supported: {', '.join(sorted(_READERS))}"
        )
    return _reader(vendor)(payload)


def extract_sinch_meta(payload: dict[str, Any]) -> WebhookMeta:
    """Return what a callback of Sinch says; see ``extract_sms_meta``."""
    return _reader("sinch")(payload)


def extract_telnyx_meta(payload: dict[str, Any]) -> WebhookMeta:
    """Return what a callback of Telnyx says; see ``extract_sms_meta``."""
    return _reader("telnyx")(payload)


def extract_twilio_meta(payload: dict[str, Any]) -> WebhookMeta:
    """Return what a callback of Twilio says; see ``extract_sms_meta``."""
    return _reader("twilio")(payload)


def extract_voicemeup_meta(payload: dict[str, Any]) -> WebhookMeta:
    """Return what a callback of VoiceMeUp says; see ``extract_sms_meta``."""
    return _reader("voicemeup")(payload)


def _reader(vendor: str) -> Callable[[dict[str, Any]], WebhookMeta]:
    module, _, name = _READERS[vendor].partition(":")
    reader: Callable[[dict[str, Any]], WebhookMeta] = getattr(import_module(module), name)
    return reader


def extract_text_body(content: EventContent) -> str:
    """Return what an SMS says for ``content``; empty when it has no words.

    Composite parts, captions included, are joined by one space. An edit gives its new
    content, a location its label, address and ``latitude,longitude`` in degrees.
    """
    if isinstance(content, TextContent):
        return content.body
    return " ".join(text for leaf in leaves(content) if (text := _leaf_text(leaf)))


def extract_media_urls(content: EventContent, *, http_only: bool = False) -> list[str]:
    """Return the URLs an MMS carries for ``content``, in order, composites opened.

    Args:
        content: What to send.
        http_only: Leave out ``data:`` URLs of media, which no SMS vendor can fetch.
            Recordings and films are always taken by ``http(s)`` only.
    """
    return [
        item.url
        for item in media_of(content)
        if (isinstance(item, MediaContent) and not http_only) or _fetchable(item.url)
    ]


def unsendable_reason(content: EventContent) -> str:
    """Return the ``ProviderResult.error`` of content that has nothing an SMS can carry.

    Returns:
        ``unsupported_media`` when there is media but only as ``data:`` URLs, else
        ``empty_message``.
    """
    return "unsupported_media" if media_of(content) else "empty_message"


def build_inbound_content(
    body: str | None, media: Iterable[Mapping[str, str | None]]
) -> EventContent:
    """Return the content of a message that came with a text and attachments.

    Args:
        body: The text; None is empty.
        media: ``{"url", "mime_type"}`` each. Entries without URL are left out silently, those
            whose URL is not ``http://``, ``https://`` or ``data:`` with a warning.

    Returns:
        Text without attachments; the attachment, the text as its caption, when there is one;
        else a composite, the text first.
    """
    text = body or ""
    parts = [part for entry in media if (part := _inbound_part(entry)) is not None]
    if not parts:
        return TextContent(body=text)
    if len(parts) == 1:
        only = parts[0]
        if not text:
            return only
        return MediaContent(url=only.url, mime_type=only.mime_type, caption=text)
    return CompositeContent(parts=[TextContent(body=text), *parts] if text else [*parts])


def _inbound_part(entry: Mapping[str, str | None]) -> MediaContent | None:
    """Return one attachment, or None when it has no usable URL."""
    url = entry.get("url")
    if not url:
        return None
    try:
        return MediaContent(url=url, mime_type=entry.get("mime_type") or _UNKNOWN_MIME)
    except ValidationError:
        logger.warning("an attachment of an inbound message was left out: unusable url or type")
        return None


def _leaf_text(content: EventContent) -> str:
    """Return the words an SMS has for a content that holds no other content."""
    if isinstance(content, AudioContent):
        return ""
    if isinstance(content, LocationContent):
        return place_text(content, _degrees(content.latitude), _degrees(content.longitude))
    return leaf_text(content)


def _degrees(value: float) -> str:
    """Return an angle without exponent; seven decimals are about a centimetre."""
    text = repr(value)
    return f"{value:.7f}" if "e" in text else text


def _fetchable(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _first_error(raw: Any) -> tuple[str | None, str | None]:
    """Return code and text of ``data.payload.errors[0]``, whatever shape ``raw`` has."""
    found = raw
    for key in ("data", "payload", "errors"):
        found = found.get(key) if isinstance(found, dict) else None
    error = found[0] if isinstance(found, list) and found else None
    if not isinstance(error, dict):
        return None, None
    code, detail = error.get("code"), error.get("detail")
    return _words(code), _words(detail)


def _words(value: Any) -> str | None:
    """Return a text or a number as text; None for all else, and for endless numbers."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float):
        return None
    try:
        return str(value)
    except ValueError:
        return None
