"""Messages that are posted to us, and whether they come from whom they should.

Two ways of signing: RoomKit's own (``X-RoomKit-Signature``: the hex HMAC-SHA256 of the body) and
Standard Webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.models.content import TextContent
from roomkit.models.delivery import ACCEPT_NOT_BEFORE, ACCEPT_REPLACE, InboundMessage
from roomkit.providers._signature import (
    FRESHNESS_SECONDS,
    fresh,
    hmac_hex,
    matches_any,
    secrets_of,
)
from roomkit.providers._webhook import (
    fields_of,
    header,
    object_at,
    optional_text_at,
    read_json,
    require_signature,
    sender_at,
    text_at,
)
from roomkit.providers.http import _standard
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.providers.http.config import HTTPProviderConfig
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

SIGNATURE_HEADER = "X-RoomKit-Signature"
TIMESTAMP_HEADER = "X-RoomKit-Timestamp"
DELIVERY_HEADER = "X-RoomKit-Delivery"

_LONGEST_KEY = 256
_WISHES = {ACCEPT_NOT_BEFORE, ACCEPT_REPLACE}


def parse_http_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message a JSON document holds.

    Its fields: ``sender_id``, ``body``, ``external_id`` (also the idempotency key) and
    ``metadata``; all but the first may be absent. A document of Standard Webhooks may say
    ``text`` for ``body``.

    Args:
        payload: The document.
        channel_id: The channel it came by.

    Raises:
        KeyError: Nobody sent it.
        WebhookError: A field is of the wrong type.
    """
    if "sender_id" not in fields_of(payload):
        raise KeyError("sender_id")
    external_id = optional_text_at(payload, "external_id")
    body = text_at(payload, "body") or text_at(payload, "text")
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender_at(payload, "sender_id"),
        content=TextContent(body=body),
        external_id=external_id,
        idempotency_key=external_id,
        metadata=object_at(payload, "metadata"),
    )


def verify_http_signature(
    payload: bytes,
    signature: str,
    secret: str,
    *,
    timestamp: str | None = None,
    tolerance_seconds: float | None = None,
) -> bool:
    """Tell whether ``payload`` was signed with ``secret``.

    Args:
        payload: The raw body.
        signature: The header ``X-RoomKit-Signature``, hexadecimal.
        secret: What both sides know.
        timestamp: The header ``X-RoomKit-Timestamp`` of a sender with ``sign_timestamp``; it is
            signed before the body, with a dot between.
        tolerance_seconds: How many seconds the timestamp may be off; None: any.
    """
    return _matches((secret,), payload, signature, timestamp, tolerance_seconds, None)


def verify_standard_webhook(
    payload: bytes,
    headers: Mapping[str, str],
    secrets: Sequence[str],
    *,
    tolerance_seconds: float | None = FRESHNESS_SECONDS,
    now: float | None = None,
) -> bool:
    """Tell whether a request follows Standard Webhooks and was signed with one of the secrets.

    Args:
        payload: The raw body.
        headers: The request's, keys in lower case.
        secrets: ``whsec_...`` each.
        tolerance_seconds: How many seconds the timestamp may be off; None: any.
        now: Unix seconds; the system's clock by default.

    Raises:
        ConfigurationError: A secret is none.
    """
    return _standard.verifies(
        [_standard.key_of(secret) for secret in secrets],
        headers.get(_standard.ID, ""),
        headers.get(_standard.TIMESTAMP, ""),
        headers.get(_standard.SIGNATURE, ""),
        payload,
        tolerance_seconds,
        now,
    )


class HTTPWebhook(WebhookHandler):
    """Reads what is posted to us, signed the way the provider signs.

    Args:
        config: The provider's.

    Raises:
        ConfigurationError: Standard Webhooks are asked for with a secret that is none.
    """

    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(self, config: HTTPProviderConfig) -> None:
        self._config = config
        self._secrets = secrets_of(config.secret, config.previous_secrets)
        if config.standard_webhooks:
            for secret in self._secrets:
                _standard.key_of(secret)

    @property
    def signed(self) -> bool:
        """Whether a secret is configured."""
        return bool(self._secrets)

    async def verify(self, request: WebhookRequest) -> None:
        """See ``WebhookHandler.verify``; nothing is checked while no secret is configured."""
        if not self._secrets:
            return
        if self._config.standard_webhooks:
            for name in (_standard.ID, _standard.TIMESTAMP, _standard.SIGNATURE):
                header(request, name)
            valid = verify_standard_webhook(
                request.body, request.headers, self._secrets, now=request.received_at
            )
        else:
            timestamp = None
            if self._config.sign_timestamp:
                timestamp = header(request, TIMESTAMP_HEADER.lower())
            valid = _matches(
                self._secrets,
                request.body,
                header(request, SIGNATURE_HEADER.lower()),
                timestamp,
                FRESHNESS_SECONDS,
                request.received_at,
            )
        require_signature(valid)

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the message.

        Without an ``external_id`` its key is what was signed and differs from message to
        message: the ``webhook-id``, or the signature of moment and body. Where only the body
        is signed there is no key, and the endpoint takes equal documents for one.
        """
        payload = read_json(request.body)
        sender_at(payload, "sender_id")
        message = parse_http_webhook(payload, request.channel_id)
        if _WISHES & message.metadata.keys():
            # What a sender says about its message is no order to our inbox.
            kept = {key: value for key, value in message.metadata.items() if key not in _WISHES}
            message = message.cleaned(metadata=kept)
        name = self._key_header()
        key = request.headers.get(name, "") if name is not None else ""
        if message.idempotency_key is None and 0 < len(key) <= _LONGEST_KEY:
            return [message.cleaned(idempotency_key=f"{name}:{key}")]
        return [message]

    def _key_header(self) -> str | None:
        """Return the header by which a repeat is known; never one a stranger could change."""
        if self._config.standard_webhooks:
            return _standard.ID
        return SIGNATURE_HEADER.lower() if self._config.sign_timestamp else None


def _matches(
    secrets: Sequence[str],
    payload: bytes,
    signature: str,
    timestamp: str | None,
    tolerance: float | None,
    now: float | None,
) -> bool:
    if timestamp is not None:
        if not fresh(timestamp, tolerance, now=now):
            return False
        payload = f"{timestamp}.".encode() + payload
    return matches_any([hmac_hex(secret, payload) for secret in secrets], signature)
