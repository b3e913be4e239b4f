"""VoiceMeUp's callbacks: messages to us, an MMS often in two halves.

VoiceMeUp publishes no documentation of them and signs nothing; what is read here are the
fields programs have seen. The body may be JSON or a form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.exceptions import WebhookError
from roomkit.providers._webhook import (
    fields_of,
    iso_time,
    optional_text_at,
    read_form,
    read_json,
    sender_at,
    text_at,
)
from roomkit.providers.sms.meta import WebhookMeta, inbound_of
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import InboundMessage
    from roomkit.providers.voicemeup.mms import MMSPairs
    from roomkit.providers.webhook import WebhookItem, WebhookRequest


def read_voicemeup(payload: Mapping[str, Any]) -> WebhookMeta:
    """Return what a callback says, each half of an MMS by itself; absent fields are empty.

    Raises:
        WebhookError: A field has the wrong type; the text names it.
    """
    outbound = text_at(payload, "direction").lower() not in ("inbound", "")
    url, mime_type = attachment_of(payload)
    return WebhookMeta(
        provider="voicemeup",
        sender=text_at(payload, "source_number"),
        recipient=text_at(payload, "destination_number"),
        body=text_at(payload, "message"),
        external_id=optional_text_at(payload, "sms_hash"),
        timestamp=iso_time(text_at(payload, "datetime_transmission")),
        raw=payload if isinstance(payload, dict) else dict(fields_of(payload)),
        media_urls=[{"url": url, "mime_type": mime_type or None}] if url else [],
        direction="outbound" if outbound else None,
    )


def attachment_of(payload: Mapping[str, Any]) -> tuple[str, str]:
    """Return URL and media type of the attachment; empty when there is none.

    Raises:
        WebhookError: One of the fields is no text.
    """
    url = text_at(payload, "attachment") or text_at(payload, "attachment_url")
    mime_type = text_at(payload, "attachment_mime_type") or text_at(payload, "attachment_type")
    return url, mime_type


def message_of(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message one callback brings, whatever it may be a half of.

    When its text is one of the words of ``opt_keyword``, the metadata say so under ``keyword``.

    Raises:
        KeyError: ``source_number`` is missing.
        WebhookError: It is empty, or a field has the wrong type.
    """
    if "source_number" not in fields_of(payload):
        raise KeyError("source_number")
    sender_at(payload, "source_number")
    meta = read_voicemeup(payload)
    metadata = {
        "destination_number": meta.recipient,
        "direction": text_at(payload, "direction", default="inbound"),
        "datetime_transmission": text_at(payload, "datetime_transmission"),
        "has_attachment": bool(meta.media_urls),
    }
    return inbound_of(meta, channel_id, metadata)


class VoiceMeUpWebhook(WebhookHandler):
    """Reads VoiceMeUp's callbacks for one provider and joins the halves of its MMS.

    Args:
        pairs: What remembers first halves.
    """

    def __init__(self, pairs: MMSPairs) -> None:
        self._pairs = pairs

    @property
    def signed(self) -> bool:
        """False: VoiceMeUp signs nothing. Put a secret into the endpoint's URL."""
        return False

    async def verify(self, request: WebhookRequest) -> None:
        """Return: there is nothing to verify."""

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the message; nothing for what we sent ourselves.

        The first half of an MMS comes with ``accept_not_before`` in its metadata, the whole
        with ``accept_replace`` under the same idempotency key; see ``MMSPairs``.

        Raises:
            WebhookError: A field has the wrong type, or nobody sent the message.
        """
        payload = _decoded(request.body)
        if read_voicemeup(payload).direction == "outbound":
            return []
        sender_at(payload, "source_number")
        return [self._pairs.take(payload, request.channel_id, at=request.received_at)]


def _decoded(body: bytes) -> dict[str, Any]:
    if body.lstrip()[:1] in (b"{", b"["):
        payload: dict[str, Any] = read_json(body)
        return payload
    if not body.strip():
        raise WebhookError("the body is empty")
    return dict(read_form(body))
