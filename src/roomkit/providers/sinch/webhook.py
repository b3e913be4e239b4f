"""Sinch' callbacks: messages to us, and delivery reports of ours.

Sources: the pages "Webhooks" and "MMS message support" of Sinch' SMS REST API documentation.
An MMS puts an object where other messages have a text, and a report says what became of a
whole batch or of one recipient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.providers._signature import (
    FRESHNESS_SECONDS,
    fresh,
    hmac_base64,
    hmac_hex,
    matches_any,
    same,
)
from roomkit.providers._webhook import (
    fields_of,
    header,
    iso_time,
    objects_at,
    optional_text_at,
    read_json,
    require_signature,
    text_at,
    value_at,
)
from roomkit.providers.sms.meta import VendorStatus, WebhookMeta, inbound_of
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.models.delivery import InboundMessage
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

_REPORTS = frozenset(
    f"{scope}delivery_report_{kind}" for scope in ("", "recipient_") for kind in ("sms", "mms")
)
_MESSAGES = frozenset({"", "mo_text", "mo_binary", "mo_media"})
_WORDS = {
    "queued": "queued",
    "dispatched": "sent",
    "delivered": "delivered",
    "aborted": "failed",
    "cancelled": "failed",
    "failed": "failed",
    "expired": "failed",
    "rejected": "failed",
    "deleted": "failed",
    "unknown": "unknown",
}
_WORST_FIRST = ("failed", "unknown", "queued", "sent", "delivered")
_ALGORITHM = "hmacsha256"


def read_sinch(payload: Mapping[str, Any]) -> WebhookMeta:
    """Return what a callback says; absent fields are empty.

    Of a report on several recipients the worst status counts.

    Raises:
        WebhookError: A field has the wrong type; the text names it.
    """
    payload = fields_of(payload)
    raw = payload if isinstance(payload, dict) else dict(payload)
    if text_at(payload, "type").lower() in _REPORTS:
        return _report(payload, raw)
    words, media = _content(payload)
    return WebhookMeta(
        provider="sinch",
        sender=text_at(payload, "from"),
        recipient=text_at(payload, "to"),
        body=words,
        external_id=optional_text_at(payload, "id"),
        timestamp=iso_time(text_at(payload, "received_at")),
        raw=raw,
        media_urls=media,
    )


def parse_sinch_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message a callback brings.

    When its text is one of the words of ``opt_keyword``, the metadata say so under ``keyword``.

    Args:
        payload: The decoded body.
        channel_id: The channel it came by.

    Raises:
        WebhookError: (also a ValueError) Nobody sent it, it is a delivery report, or a field
            has the wrong type.
    """
    meta = read_sinch(payload)
    if meta.is_status:
        raise WebhookError(
            "Not an inbound message but a delivery report. "
            "Use extract_sms_meta() and check meta.is_inbound before parsing."
        )
    if not meta.sender:
        raise WebhookError("from is missing: nobody sent it")
    metadata = {
        name: optional_text_at(payload, name)
        for name in ("to", "received_at", "operator_id", "client_reference")
    }
    if text_at(payload, "type") == "mo_binary":
        metadata["udh"] = optional_text_at(payload, "udh")
    return inbound_of(meta, channel_id, metadata)


def signed_by_sinch(
    secrets: Sequence[str],
    payload: bytes,
    signature: str,
    timestamp: str | None = None,
    nonce: str | None = None,
) -> bool:
    """Tell whether one of the secrets made a signature.

    With ``nonce`` and ``timestamp`` the signature is base64 of HMAC-SHA256 over
    ``<payload>.<nonce>.<timestamp>`` (callbacks of messages); without them hex HMAC-SHA1 of
    the payload (callbacks of numbers), or the same in base64. Never raises.
    """
    if nonce and timestamp:
        signed = payload + f".{nonce}.{timestamp}".encode("utf-8", "surrogatepass")
        return matches_any([hmac_base64(secret, signed) for secret in secrets], signature)
    valid = False
    for secret in secrets:
        valid |= same(hmac_base64(secret, payload, "sha1"), signature)
        valid |= same(hmac_hex(secret, payload, "sha1"), signature)
    return valid


class SinchWebhook(WebhookHandler):
    """Reads Sinch' callbacks for one provider.

    Args:
        secrets: The webhook secret and those being replaced.
    """

    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = list(secrets)

    @property
    def signed(self) -> bool:
        """Whether a secret is known."""
        return bool(self._secrets)

    async def verify(self, request: WebhookRequest) -> None:
        """Return when Sinch signed the request, at most 300 seconds ago; or without secrets.

        Only the scheme with nonce and timestamp counts: the others have no protection against
        a repeat.

        Raises:
            WebhookRefused: The signature is missing, wrong or stale.
        """
        if not self._secrets:
            return
        signature = header(request, "x-sinch-webhook-signature")
        nonce = header(request, "x-sinch-webhook-signature-nonce")
        timestamp = header(request, "x-sinch-webhook-signature-timestamp")
        algorithm = request.headers.get("x-sinch-webhook-signature-algorithm", _ALGORITHM)
        if algorithm.lower() != _ALGORITHM:
            raise WebhookRefused("the signature is of another algorithm than HmacSHA256")
        if not fresh(timestamp, FRESHNESS_SECONDS, now=request.received_at):
            raise WebhookRefused("the signature is stale")
        require_signature(
            signed_by_sinch(self._secrets, request.body, signature, timestamp, nonce)
        )

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the message or status; nothing for other events.

        Raises:
            WebhookError: A field has the wrong type, or nobody sent the message.
        """
        payload = read_json(request.body)
        meta = read_sinch(payload)
        if meta.is_status:
            return [meta.to_status()]
        if text_at(payload, "type") not in _MESSAGES:
            return []
        return [parse_sinch_webhook(payload, request.channel_id)]


def _content(payload: Mapping[str, Any]) -> tuple[str, list[dict[str, str | None]]]:
    """Return the text and the attachments of a message, MMS or not."""
    mms = isinstance(value_at(payload, "body"), dict)
    words = text_at(payload, "body", "message") if mms else text_at(payload, "body")
    listed = objects_at(payload, "media")
    if mms:
        listed = [*objects_at(payload, "body", "media"), *listed]
    media = []
    for item in listed:
        if text_at(item, "status", default="Uploaded").lower() != "uploaded":
            continue
        mime = text_at(item, "content_type") or text_at(item, "mimeType")
        media.append({"url": text_at(item, "url"), "mime_type": mime or None})
    return words, media


def _report(payload: Mapping[str, Any], raw: dict[str, Any]) -> WebhookMeta:
    """Return what a delivery report says, on one recipient or on a batch."""
    entries = objects_at(payload, "statuses") or [dict(payload)]
    ranked = sorted(entries, key=lambda entry: _rank(_word(entry)))
    worst = ranked[0]
    word, moment = _word(worst), text_at(payload, "at")
    failed = word == "failed"
    return WebhookMeta(
        provider="sinch",
        sender=text_at(payload, "applied_originator"),
        recipient=text_at(payload, "recipient") or _first_recipient(worst),
        body="",
        external_id=optional_text_at(payload, "batch_id"),
        timestamp=iso_time(moment),
        raw=raw,
        direction="outbound",
        event_type=f"message.{word}",
        vendor_status=VendorStatus(
            status=word,
            error_code=text_at(worst, "code") or None if failed else None,
            error_message=text_at(worst, "status") or None if failed else None,
            timestamp=moment or None,
        ),
    )


def _word(entry: Mapping[str, Any]) -> str:
    return _WORDS.get(text_at(entry, "status").lower(), "unknown")


def _rank(word: str) -> int:
    return _WORST_FIRST.index(word)


def _first_recipient(entry: Mapping[str, Any]) -> str:
    found = value_at(entry, "recipients")
    if found is None:
        return ""
    return text_at(entry, "recipients", 0)
