"""What Twilio's callbacks say: messages of people, and what became of ours.

Both come as forms to the same endpoint; ``MessageStatus`` occurs in status callbacks only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._http import number
from roomkit.exceptions import WebhookError
from roomkit.models.content import LocationContent, TextContent
from roomkit.providers._signature import secrets_of
from roomkit.providers._webhook import (
    count_at,
    header,
    iso_time,
    optional_text_at,
    read_form,
    read_json,
    require_signature,
    sender_at,
    text_at,
)
from roomkit.providers.sms.keywords import opt_keyword
from roomkit.providers.sms.meta import (
    VendorStatus,
    WebhookMeta,
    build_inbound_content,
    inbound_of,
)
from roomkit.providers.twilio._signature import ALGORITHM, is_signed
from roomkit.providers.webhook import WebhookHandler, WebhookResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.content import EventContent
    from roomkit.models.delivery import InboundMessage
    from roomkit.providers.twilio.config import TwilioAccount
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

PROVIDER = "twilio"

_ARRIVED = frozenset({"", "received", "receiving"})
"""Statuses of messages to us."""

_MOST_MEDIA = 20
_RCS = "rcs:"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_SETTINGS = "x-twilio-webhooks-signature-settings"
_EMPTY_TWIML = WebhookResponse(
    body=b'<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml"
)
_EXTRAS = {
    "ButtonText": "button_text",
    "ButtonPayload": "button_payload",
    "Latitude": "latitude",
    "Longitude": "longitude",
    "ProfileName": "profile_name",
    "WaId": "wa_id",
    "OptOutType": "opt_out_type",
    "MessageType": "message_type",
}
"""Fields that go into the metadata when Twilio sends them."""


def read_twilio(payload: Mapping[str, Any]) -> WebhookMeta:
    """Return what a callback says, message or status.

    Args:
        payload: The form's fields.

    Raises:
        WebhookError: A field has the wrong type; the text names it.
    """
    if not isinstance(payload, Mapping):
        raise WebhookError("the payload is no mapping of fields")
    body = text_at(payload, "Body")
    status = _status_of(payload, body)
    return WebhookMeta(
        provider=PROVIDER,
        sender=text_at(payload, "From"),
        recipient=text_at(payload, "To"),
        body=body or text_at(payload, "ButtonText"),
        external_id=optional_text_at(payload, "MessageSid"),
        timestamp=None,
        raw=payload,  # type: ignore[arg-type]  # as given: a form library's own mapping may be
        media_urls=list(_media(payload)),
        direction=None if status is None else "outbound",
        event_type=None if status is None else f"message.{status.status}",
        vendor_status=status,
    )


def parse_twilio_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message a callback of SMS or MMS brings.

    A status callback gives a message without text here; ``extract_sms_meta`` and the
    provider's ``webhook()`` tell the two apart.

    Args:
        payload: The form's fields. Absent ones are empty.
        channel_id: The channel it came by.

    Raises:
        WebhookError: A field has the wrong type; the text names it.
    """
    meta = read_twilio(payload)
    metadata = {
        "from_city": _given(payload, "FromCity"),
        "from_state": _given(payload, "FromState"),
        "from_country": _given(payload, "FromCountry"),
    }
    return _message(meta, payload, channel_id, metadata)


def parse_twilio_rcs_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message a callback of RCS brings.

    The sender is as Twilio names it, ``rcs:`` in front of the number when it came by RCS; the
    metadata has the number alone as ``phone_number``. Arguments and errors are those of
    ``parse_twilio_webhook``.
    """
    meta = read_twilio(payload)
    metadata = {
        "channel": text_at(payload, "Channel", default="rcs"),
        "messaging_service_sid": text_at(payload, "MessagingServiceSid"),
        "phone_number": meta.sender.removeprefix(_RCS),
    }
    return _message(meta, payload, channel_id, metadata)


class TwilioWebhook(WebhookHandler):
    """Reads messages and status callbacks, by POST or GET, signed with the account's token.

    Twilio signs no time: a request that was seen before is told by its message's id.

    Args:
        config: The account.
        parse: Makes a message of a callback.
    """

    max_body: ClassVar[int] = 128 * 1024
    methods: ClassVar[frozenset[str]] = frozenset({"GET", "POST"})
    content_types: ClassVar[frozenset[str]] = frozenset({_FORM, _JSON})

    def __init__(
        self,
        config: TwilioAccount,
        parse: Callable[[Mapping[str, Any], str], InboundMessage] = parse_twilio_webhook,
    ) -> None:
        self._tokens = secrets_of(config.auth_token, config.previous_secrets)
        self._keys = {name: key.get_secret_value() for name, key in config.signing_keys.items()}
        self._parse = parse

    @property
    def signed(self) -> bool:
        """Whether there is a token or a signing key."""
        return bool(self._tokens or any(self._keys.values()))

    async def verify(self, request: WebhookRequest) -> None:
        """Return when the URL and the body were signed by Twilio."""
        signature = header(request, "x-twilio-signature")
        said = _settings(request.headers.get(_SETTINGS, ""))
        secrets = self._tokens
        if "key" in said:
            key = self._keys.get(said["key"])
            secrets = [key] if key else []
        algorithm = said.get("algorithm", ALGORITHM).upper()
        body = b"" if request.method == "GET" else request.body
        require_signature(is_signed(secrets, body, signature, request.url, algorithm))

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the one message or status in a request."""
        payload = _payload(request)
        meta = read_twilio(payload)
        if meta.is_status:
            return [meta.to_status()]
        sender_at(payload, "From")
        return [self._parse(payload, request.channel_id)]

    def response(self, request: WebhookRequest) -> WebhookResponse:
        """Return empty TwiML to a message (nothing is to be replied), nothing to a status."""
        return WebhookResponse() if read_twilio(_payload(request)).is_status else _EMPTY_TWIML


def _payload(request: WebhookRequest) -> Mapping[str, Any]:
    if request.method == "GET":
        return request.query
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    fields: dict[str, Any] = read_json(request.body) if kind == _JSON else read_form(request.body)
    return fields


def _settings(text: str) -> dict[str, str]:
    """Return ``key=...,algorithm=...`` as a mapping, without what is empty."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def _status_of(payload: Mapping[str, Any], body: str) -> VendorStatus | None:
    """Return what a callback reports of a message of ours; None when it brings one."""
    status = text_at(payload, "MessageStatus").lower()
    if not status and not body:
        status = text_at(payload, "SmsStatus").lower()
    if status in _ARRIVED:
        return None
    if text_at(payload, "EventType").upper() == "READ":
        status = "read"
    return VendorStatus(
        status=status,
        error_code=optional_text_at(payload, "ErrorCode"),
        error_message=optional_text_at(payload, "ErrorMessage"),
        timestamp=_receipt_time(text_at(payload, "RawDlrDoneDate")),
    )


def _receipt_time(text: str) -> str | None:
    """Return a carrier's ``YYMMDDhhmm`` as ISO 8601; the carrier does not say in which zone."""
    if not (text.isascii() and text.isdecimal() and len(text) in (10, 12)):
        return None
    year, month, day, hour, minute = (text[i : i + 2] for i in range(0, 10, 2))
    moment = f"20{year}-{month}-{day}T{hour}:{minute}:{text[10:] or '00'}"
    return None if iso_time(moment) is None else moment


def _media(payload: Mapping[str, Any]) -> list[dict[str, str | None]]:
    entries: list[dict[str, str | None]] = []
    for place in range(count_at(payload, "NumMedia", limit=_MOST_MEDIA)):
        url = text_at(payload, f"MediaUrl{place}")
        if url:
            kind = optional_text_at(payload, f"MediaContentType{place}")
            entries.append({"url": url, "mime_type": kind})
    return entries


def _message(
    meta: WebhookMeta, payload: Mapping[str, Any], channel_id: str, metadata: dict[str, Any]
) -> InboundMessage:
    """Return the message, with what Twilio says beside it; ``metadata`` is the channel's own."""
    extras = {ours: text for theirs, ours in _EXTRAS.items() if (text := text_at(payload, theirs))}
    keyword = opt_keyword(extras.get("opt_out_type", ""))
    if keyword is not None:
        extras["keyword"] = keyword
    shared = {
        "to": meta.recipient,
        "account_sid": text_at(payload, "AccountSid"),
        "num_media": text_at(payload, "NumMedia", default="0"),
    }
    found = {**shared, **metadata, **extras}
    return inbound_of(meta, channel_id, found, content=_content(meta, payload))


def _content(meta: WebhookMeta, payload: Mapping[str, Any]) -> EventContent:
    """Return the text and media, or the place that came instead of them."""
    content = build_inbound_content(meta.body, meta.media_urls)
    if not isinstance(content, TextContent) or content.body:
        return content
    latitude, longitude = (number(text_at(payload, name)) for name in ("Latitude", "Longitude"))
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return content
    return LocationContent(
        latitude=latitude,
        longitude=longitude,
        label=optional_text_at(payload, "Label"),
        address=optional_text_at(payload, "Address"),
    )


def _given(payload: Mapping[str, Any], name: str) -> str | None:
    """Return a field's text, empty or not; None when Twilio did not send it."""
    return None if payload.get(name) is None else text_at(payload, name)
