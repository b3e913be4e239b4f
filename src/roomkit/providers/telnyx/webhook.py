"""Telnyx' callbacks: messages, their edits and withdrawals, and what became of ours.

Sources: the pages "Receiving Webhooks for Messaging" and "Receiving RCS Webhooks" of Telnyx'
developer documentation. SMS and MMS carry ``text`` and ``media`` beside the addresses, RCS
puts its content under ``body`` and names the agent in ``to``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._http import number
from roomkit.exceptions import WebhookError
from roomkit.models.content import LocationContent, TextContent
from roomkit.models.enums import EventType
from roomkit.providers._signature import FRESHNESS_SECONDS
from roomkit.providers._webhook import (
    fields_of,
    header,
    iso_time,
    object_at,
    objects_at,
    read_json,
    require_signature,
    text_at,
    value_at,
)
from roomkit.providers.sms.meta import (
    VendorStatus,
    WebhookMeta,
    build_inbound_content,
    inbound_of,
)
from roomkit.providers.telnyx import _api
from roomkit.providers.webhook import Signal, WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.models.content import EventContent
    from roomkit.models.delivery import InboundMessage
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

_STATUS_EVENTS = frozenset(
    f"message.{word}"
    for word in ("queued", "sending", "sent", "delivered", "failed", "finalized", "read")
)
_WORDS = {
    "delivery_failed": "failed",
    "sending_failed": "failed",
    "expired": "failed",
    "delivery_unconfirmed": "unconfirmed",
}
_PAYLOAD = ("data", "payload")


def read_telnyx(payload: Mapping[str, Any]) -> WebhookMeta:
    """Return what a callback says, message or status, SMS or RCS.

    Absent fields are empty.

    Raises:
        WebhookError: A field has the wrong type; the text names it.
    """
    message = object_at(payload, *_PAYLOAD)
    event_type = text_at(payload, "data", "event_type") or None
    timestamps = (
        text_at(message, "received_at") if event_type == "message.received" else "",
        text_at(message, "completed_at"),
        text_at(message, "sent_at"),
        text_at(message, "received_at"),
        text_at(payload, "data", "occurred_at"),
    )
    return WebhookMeta(
        provider="telnyx",
        sender=_address(_party(message, "from")),
        recipient=_address(_party(message, "to")),
        body=_words(message),
        external_id=text_at(message, "id") or None,
        timestamp=iso_time(next((text for text in timestamps if text), None)),
        raw=payload if isinstance(payload, dict) else dict(fields_of(payload)),
        media_urls=_media(message),
        direction=text_at(message, "direction") or None,
        event_type=event_type,
        vendor_status=_status(event_type, message),
    )


def is_telnyx_inbound(payload: Mapping[str, Any]) -> bool:
    """Tell whether a callback brings a message to us. Never raises."""
    data = payload.get("data") if isinstance(payload, Mapping) else None
    if not isinstance(data, dict) or data.get("event_type") != "message.received":
        return False
    message = data.get("payload")
    return isinstance(message, dict) and message.get("direction") == "inbound"


def parse_telnyx_webhook(
    payload: Mapping[str, Any], channel_id: str, *, strict: bool = True
) -> InboundMessage:
    """Return the SMS or MMS a callback brings.

    When its text is one of the words of ``opt_keyword``, the metadata say so under ``keyword``.

    Args:
        payload: The decoded body.
        channel_id: The channel it came by.
        strict: Whether to refuse what is no inbound message. Without it absent fields, the
            sender too, are empty.

    Raises:
        ValueError: (a WebhookError) It is no inbound message, nobody sent it, or a field has
            the wrong type.
    """
    meta = _checked(payload, strict)
    metadata = {
        "destination_number": meta.recipient,
        "received_at": text_at(payload, *_PAYLOAD, "received_at") or None,
    }
    return inbound_of(meta, channel_id, metadata)


def parse_telnyx_rcs_webhook(
    payload: Mapping[str, Any], channel_id: str, *, strict: bool = True
) -> InboundMessage:
    """Return the RCS message a callback brings.

    Arguments, errors and ``keyword`` are those of ``parse_telnyx_webhook``. A suggestion the
    user tapped is the text on it; what was to be posted back stands in
    ``metadata["suggestion_response"]``. A place without text or file is a LocationContent.
    """
    meta = _checked(payload, strict)
    message = object_at(payload, *_PAYLOAD)
    agent = _party(message, "to", "agent_id")
    place = _rich(message, "location")
    metadata = {
        "agent_id": text_at(agent, "agent_id"),
        "agent_name": text_at(agent, "agent_name"),
        "received_at": text_at(message, "received_at"),
        "type": text_at(message, "type") or "RCS",
        "suggestion_response": _rich(message, "suggestion_response"),
        "location": place,
    }
    return inbound_of(meta, channel_id, metadata, content=_rcs_content(meta, place))


class TelnyxWebhook(WebhookHandler):
    """Reads Telnyx' callbacks for one provider.

    Args:
        public_keys: The account's public key and those being replaced, base64.
        parse: Makes a message of an inbound callback's payload and the channel id.
    """

    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(
        self,
        public_keys: Sequence[str],
        parse: Callable[[Mapping[str, Any], str], InboundMessage] = parse_telnyx_webhook,
    ) -> None:
        self._keys = [key for key in public_keys if key]
        self._parse = parse

    @property
    def signed(self) -> bool:
        """Whether a public key is known."""
        return bool(self._keys)

    async def verify(self, request: WebhookRequest) -> None:
        """Return when Telnyx signed the request, at most 300 seconds ago; or without keys.

        Raises:
            WebhookRefused: The signature is missing, wrong or stale.
            MissingDependencyError: Neither PyNaCl nor cryptography is installed.
        """
        if not self._keys:
            return
        signature = header(request, "telnyx-signature-ed25519")
        timestamp = header(request, "telnyx-timestamp")
        valid = _api.verify(
            self._keys,
            request.body,
            signature,
            timestamp,
            tolerance=FRESHNESS_SECONDS,
            now=request.received_at,
        )
        require_signature(valid)

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the message, signal or status; nothing for other events of the account.

        Raises:
            WebhookError: A field has the wrong type, or nobody sent the message.
        """
        payload = read_json(request.body)
        meta = read_telnyx(payload)
        if meta.is_status:
            return [meta.to_status()] if meta.event_type in _STATUS_EVENTS else []
        if not is_telnyx_inbound(payload):
            return []
        signal = _signal(payload, meta, request.channel_id)
        return [signal or self._parse(payload, request.channel_id)]


def _checked(payload: Mapping[str, Any], strict: bool) -> WebhookMeta:
    """Return what a callback says, once it is sure to be a message when it has to be one."""
    if strict and not is_telnyx_inbound(payload):
        kind = text_at(payload, "data", "event_type") or "unknown"
        direction = text_at(payload, *_PAYLOAD, "direction") or "unknown"
        raise WebhookError(
            f"Not an inbound message (event_type={kind[:64]}, direction={direction[:64]}). "
            "Use extract_sms_meta() and check meta.is_inbound before parsing."
        )
    meta = read_telnyx(payload)
    if strict and not meta.sender:
        raise WebhookError("data.payload.from.phone_number is missing: nobody sent it")
    return meta


def _signal(payload: Mapping[str, Any], meta: WebhookMeta, channel_id: str) -> Signal | None:
    """Return the edit or withdrawal an RCS callback brings; None for a plain message."""
    message = object_at(payload, *_PAYLOAD)
    for field, kind in (("edit", EventType.EDIT), ("revoke", EventType.DELETE)):
        change = _rich(message, field)
        if change is None:
            continue
        if not meta.sender:
            raise WebhookError("data.payload.from.phone_number is missing: nobody sent it")
        names = ("original_message_id", "message_id", "id")
        target = next((text for name in names if (text := text_at(change, name))), None)
        inner = change.get("message")
        words = _words(inner if isinstance(inner, dict) else change)
        return Signal(
            channel_id=channel_id,
            type=kind,
            sender_id=meta.sender,
            target_message_id=target,
            content=TextContent(body=words) if kind is EventType.EDIT else None,
            idempotency_key=meta.external_id,
            metadata={"provider": "telnyx"},
        )
    return None


def _party(message: Mapping[str, Any], field: str, plain: str = "phone_number") -> dict[str, Any]:
    """Return who stands in ``from`` or ``to``: an object, a list of them, or a plain text."""
    found = value_at(message, field)
    if isinstance(found, list):
        found = found[0] if found else None
    if found is None:
        return {}
    if isinstance(found, str):
        return {plain: found}
    if not isinstance(found, dict):
        raise WebhookError(
            f"data.payload.{field} is neither text nor an object nor a list of them"
        )
    return found


def _address(party: Mapping[str, Any]) -> str:
    return text_at(party, "phone_number") or text_at(party, "agent_id")


def _rich(message: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """Return an object of an RCS message, from its body or beside the addresses."""
    body = value_at(message, "body")
    found = body.get(field) if isinstance(body, dict) else None
    if found is None:
        found = message.get(field)
    if found is not None and not isinstance(found, dict):
        raise WebhookError(f"data.payload.body.{field} is no object")
    return found or None


def _words(message: Mapping[str, Any]) -> str:
    """Return the text of a message: from its body, its own, or that of a tapped suggestion."""
    body = value_at(message, "body")
    if isinstance(body, dict):
        text = _text(body, "text")
    elif isinstance(body, str):
        text = text_at(message, "body")
    else:
        text = ""
    text = text or _text(message, "text")
    if text:
        return text
    tapped = _rich(message, "suggestion_response")
    return text_at(tapped, "text") if tapped else ""


def _text(holder: Mapping[str, Any], field: str) -> str:
    """Return a text that may be wrapped in an object with a ``body``."""
    found = holder.get(field)
    return text_at(holder, field, "body") if isinstance(found, dict) else text_at(holder, field)


def _media(message: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Return the attachments: those of an MMS, then the file of an RCS message."""
    found = [
        {"url": text_at(item, "url"), "mime_type": text_at(item, "content_type") or None}
        for item in objects_at(message, "media")
    ]
    file = object_at(_rich(message, "user_file") or {}, "payload")
    url = text_at(file, "file_uri")
    if url:
        found.append({"url": url, "mime_type": text_at(file, "mime_type") or None})
    return found


def _status(event_type: str | None, message: Mapping[str, Any]) -> VendorStatus | None:
    """Return the status of the one recipient, in our words; None leaves it to the event's."""
    if event_type == "message.read":
        return VendorStatus(status="read")
    if event_type not in _STATUS_EVENTS:
        return None
    word = text_at(_party(message, "to"), "status")
    return VendorStatus(status=_WORDS.get(word, word)) if word else None


def _rcs_content(meta: WebhookMeta, place: Mapping[str, Any] | None) -> EventContent:
    if place is not None and not meta.body and not meta.media_urls:
        # Numbers of value zero are left out of such JSON.
        latitude, longitude = (number(place.get(n, 0)) for n in ("latitude", "longitude"))
        if _on_earth(latitude, 90) and _on_earth(longitude, 180):
            return LocationContent(latitude=latitude or 0.0, longitude=longitude or 0.0)
    return build_inbound_content(meta.body, meta.media_urls)


def _on_earth(degrees: float | None, limit: float) -> bool:
    return degrees is not None and -limit <= degrees <= limit
