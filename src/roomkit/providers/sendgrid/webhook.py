"""What SendGrid posts: mail that came in (Inbound Parse) and what became of ours (events).

Protocol: Twilio's pages "Setting Up the Inbound Parse Webhook" and "Event Webhook Reference".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._http import number
from roomkit.exceptions import WebhookError
from roomkit.models.delivery import DeliveryStatus
from roomkit.providers._signature import FRESHNESS_SECONDS
from roomkit.providers._webhook import (
    count_at,
    fields_of,
    header,
    read_json,
    require_signature,
    text_at,
    unix_time,
)
from roomkit.providers.email._inbound import (
    Mail,
    MailFile,
    carried,
    mail_to_inbound,
    read_mail,
    safe_name,
)
from roomkit.providers.email._mime import Headers, decode_text, media_type, read_multipart
from roomkit.providers.sendgrid._signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, signed_by
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.models.delivery import InboundMessage
    from roomkit.providers.email._mime import FormField
    from roomkit.providers.sendgrid.config import SendGridConfig
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

INBOUND = "inbound"
EVENTS = "events"

_NAME = "sendgrid"
_WHOLE = "email"
_MAX_MAIL = 30 * 1024 * 1024
_ATTACHMENT = re.compile(r"attachment\d{1,4}")
_STATUSES = {
    "processed": "queued",
    "deferred": "deferred",
    "delivered": "delivered",
    "bounce": "failed",
    "dropped": "failed",
    "open": "opened",
    "click": "clicked",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
    "group_resubscribe": "resubscribed",
}
_EXPLAINED = frozenset({"failed", "deferred"})


class SendGridWebhook(WebhookHandler):
    """Reads mail that came in by Inbound Parse: the kinds ``""`` and ``inbound``.

    It is signed only when a security policy is attached to Inbound Parse and its key is
    configured as ``inbound_public_key``; else the endpoint needs a secret in its URL.
    ``for_kind("events")`` reads the Event Webhook.

    Args:
        config: The account.
    """

    max_body: ClassVar[int | None] = _MAX_MAIL
    content_types: ClassVar[frozenset[str]] = frozenset({"multipart/form-data"})

    def __init__(self, config: SendGridConfig) -> None:
        self._config = config

    @property
    def signed(self) -> bool:
        """Whether the key of a security policy is configured."""
        return bool(self._config.inbound_public_key)

    def for_kind(self, kind: str) -> WebhookHandler | None:
        """Return the reader of inbound mail or of events; None for another kind."""
        if kind in ("", INBOUND):
            return self
        return SendGridEvents(self._config) if kind == EVENTS else None

    async def verify(self, request: WebhookRequest) -> None:
        """See ``WebhookHandler.verify``; nothing is checked while no key is configured."""
        if self.signed:
            _verify(request, (self._config.inbound_public_key,))

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the one mail the form holds."""
        fields = read_multipart(request.body, request.headers.get("content-type", ""))
        texts, whole, files = _decoded(fields)
        mail = _mail(texts, files) if whole is None else read_mail(whole)
        return [_inbound(mail, texts, request.channel_id, self._config.attachment_limit)]


class SendGridEvents(WebhookHandler):
    """Reads the Event Webhook: what became of mail we sent.

    Args:
        config: The account.
    """

    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(self, config: SendGridConfig) -> None:
        self._config = config

    @property
    def signed(self) -> bool:
        """Whether the webhook's public key is configured."""
        return bool(self._config.webhook_public_key)

    async def verify(self, request: WebhookRequest) -> None:
        """See ``WebhookHandler.verify``; nothing is checked while no key is configured."""
        config = self._config
        if self.signed:
            _verify(request, (config.webhook_public_key, *config.previous_public_keys))

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return a status for each event."""
        return [*parse_sendgrid_events(read_json(request.body, expect=list))]


def parse_sendgrid_inbound(
    payload: Mapping[str, Any],
    channel_id: str,
    *,
    attachments: Sequence[Mapping[str, str | None]] = (),
) -> InboundMessage:
    """Return the mail an Inbound Parse form holds.

    Args:
        payload: The form's text fields, decoded; in raw mode ``email`` is the whole mail.
        channel_id: The channel it came by.
        attachments: ``{"url", "mime_type"}`` of files that were stored somewhere.

    Raises:
        WebhookError: A field is of the wrong type, or nobody sent it.
    """
    payload = fields_of(payload)
    known = {name: value for name, value in payload.items() if isinstance(value, str | int)}
    strange = {"envelope", "email", "from", "headers", "html", "text", "to"} & set(payload)
    for name in strange - set(known):
        if payload[name] is not None:
            raise WebhookError(f"{name} is no text")
    texts = {name: text_at(known, name) for name in known}
    whole = texts.get(_WHOLE, "")
    mail = read_mail(whole.encode("utf-8", "replace")) if whole else _mail(texts, ())
    return _inbound(mail, texts, channel_id, 0, attachments)


def parse_sendgrid_events(payload: Any) -> list[DeliveryStatus]:
    """Return a status for each event of an Event Webhook, in order.

    The message id is the ``X-Message-Id`` of the send; the event's own id, for telling repeats,
    is ``raw["sg_event_id"]``.

    Args:
        payload: The list of events.

    Raises:
        WebhookError: It is no list of objects, or a field is of the wrong type.
    """
    if not isinstance(payload, list):
        raise WebhookError("the payload is not a list")
    return [_status(event, place) for place, event in enumerate(payload)]


def _verify(request: WebhookRequest, keys: tuple[str | None, ...]) -> None:
    require_signature(
        signed_by(
            keys,
            request.body,
            header(request, SIGNATURE_HEADER),
            header(request, TIMESTAMP_HEADER),
            FRESHNESS_SECONDS,
            now=request.received_at,
        )
    )


def _status(event: Any, place: int) -> DeliveryStatus:
    if not isinstance(event, dict):
        raise WebhookError(f"{place} is not an object")
    word = text_at(event, "event")
    status = _STATUSES.get(word, word or "unknown")
    code = reason = None
    if status in _EXPLAINED:
        code = text_at(event, "status") or None
        reason = text_at(event, "reason") or text_at(event, "response") or None
    moment = unix_time(event.get("timestamp"))
    return DeliveryStatus(
        provider=_NAME,
        message_id=text_at(event, "sg_message_id").partition(".")[0],
        status=status,
        recipient=text_at(event, "email"),
        error_code=code,
        error_message=reason,
        timestamp=moment.isoformat() if moment else None,
        raw=event,
    )


def _decoded(
    fields: Sequence[FormField],
) -> tuple[dict[str, str], bytes | None, list[MailFile]]:
    """Return the form's texts, each in its own charset, the whole mail of raw mode, the files."""
    plain = {f.name: f for f in fields if f.filename is None}
    whole = plain.pop(_WHOLE, None)
    charsets = _json_object(decode_text(plain["charsets"].content)) if "charsets" in plain else {}
    texts: dict[str, str] = {}
    for name, one in plain.items():
        said = charsets.get(name)
        texts[name] = decode_text(one.content, said if isinstance(said, str) else one.charset)
    files = [
        MailFile(safe_name(f.filename or ""), media_type(f.mime_type), f.content)
        for f in fields
        if f.filename is not None and _ATTACHMENT.fullmatch(f.name)
    ]
    return texts, whole.content if whole is not None else None, files


def _inbound(
    mail: Mail,
    texts: Mapping[str, str],
    channel_id: str,
    limit: int,
    attachments: Sequence[Mapping[str, str | None]] = (),
) -> InboundMessage:
    envelope = _json_object(texts.get("envelope", ""))
    sender, recipients = envelope.get("from"), envelope.get("to")
    said, media = carried(mail.files, limit)
    count = count_at(texts, "attachments", limit=9999)
    return mail_to_inbound(
        mail,
        channel_id,
        provider=_NAME,
        envelope_from=sender if isinstance(sender, str) else None,
        media=[*attachments, *media],
        envelope_to=[one for one in recipients if isinstance(one, str)]
        if isinstance(recipients, list)
        else [],
        spam_score=number(texts.get("spam_score")),
        spf=texts.get("SPF", ""),
        dkim=texts.get("dkim", ""),
        num_attachments=count or len(mail.files),
        charsets=_json_object(texts.get("charsets", "")),
        attachments=said,
    )


def _mail(texts: Mapping[str, str], files: Sequence[MailFile]) -> Mail:
    """Return the mail of a form whose vendor took it apart."""
    # What the vendor gives as fields of their own counts more than the header block.
    own = "".join(
        f"{name}: {texts[name]}\n"
        for name in ("from", "to", "cc", "subject")
        if len(texts.get(name, "").splitlines()) == 1
    )
    headers = Headers(f"{own}{texts.get('headers', '')}")
    return Mail(headers, texts.get("text", ""), texts.get("html", ""), tuple(files))


def _json_object(text: str) -> dict[str, Any]:
    """Return a form field that holds a JSON object; empty for anything else."""
    try:
        found: dict[str, Any] = read_json(text.encode("utf-8", "replace"))
    except WebhookError:
        return {}
    return found
