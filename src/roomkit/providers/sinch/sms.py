"""SMS and MMS through Sinch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, VendorHTTP, answered, refused
from roomkit.exceptions import InvalidInputError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._parts import PartLedger
from roomkit.providers._signature import secrets_of
from roomkit.providers._text import split_text
from roomkit.providers.sinch.webhook import SinchWebhook, parse_sinch_webhook, signed_by_sinch
from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.sms.meta import (
    extract_media_urls,
    extract_text_body,
    unsendable_reason,
)

if TYPE_CHECKING:
    import httpx

    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent
    from roomkit.providers.sinch.config import SinchConfig
    from roomkit.providers.webhook import WebhookHandler

__all__ = ["SinchSMSProvider", "parse_sinch_webhook"]

_LONGEST_TEXT = 2000
_PARTS = "message_ids"

_CAPABILITIES = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
    ],
    supports_media=True,
    supports_audio=True,
    supports_video=True,
)


class SinchSMSProvider(VendorHTTP, SMSProvider):
    """Sends SMS and MMS by Sinch' SMS REST API; reads and verifies its callbacks.

    An MMS carries one file: further files are messages of their own, and so is the text
    beyond 2,000 characters.

    Args:
        config: The service plan.
        client: An HTTP client to use instead of one of its own; it is not closed.
        transport: What carries the requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    def __init__(
        self,
        config: SinchConfig,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._open(config, client=client, transport=transport)
        self._ledger = PartLedger()
        self._webhook = SinchWebhook(secrets_of(config.webhook_secret, config.previous_secrets))

    @property
    def from_number(self) -> str:
        """The number messages come from unless ``send`` is told another."""
        number: str = self._config.from_number
        return number

    def capabilities(self) -> ChannelCapabilities:
        """Return what Sinch carries: text and files; no read receipts."""
        return _CAPABILITIES

    def webhook(self) -> WebhookHandler:
        """Return the reader of Sinch' callbacks; unsigned without a webhook secret."""
        return self._webhook

    @answered
    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send an event's text and the files it links to.

        Args:
            event: What to send.
            to: The recipient's number.
            from_: The sender's number; None means ``from_number``.

        Returns:
            The id of the batch; of several the first's, the others in
            ``metadata["additional_message_ids"]``. Errors: ``empty_message``,
            ``unsupported_media``, ``sinch_<code>``, ``invalid_request``, ``auth_error``,
            ``rate_limit``, ``timeout``, ``invalid_response``, ``http_<n>``.
        """
        text = extract_text_body(event.content)
        media = extract_media_urls(event.content, http_only=True)
        if not text and not media:
            return refused(unsendable_reason(event.content))
        envelope = {"from": from_ or self._config.from_number, "to": [to]}
        parts = [envelope | body for body in _bodies(text, media)]
        result = await self._ledger.send(parts, self._post, ids_key=_PARTS)
        if not result.success or _PARTS not in result.metadata:
            return result
        metadata = dict(result.metadata)
        metadata["additional_message_ids"] = metadata.pop(_PARTS)[1:]
        return ProviderResult(
            success=True, provider_message_id=result.provider_message_id, metadata=metadata
        )

    async def _post(self, body: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Send one batch; Sinch takes no idempotency key."""
        headers = {
            "Authorization": f"Bearer {self._config.api_token.get_secret_value()}",
            "Content-Type": "application/json",
        }
        reply = await self._call("post", self._config.api_url, json=body, headers=headers)
        if not isinstance(reply.json, dict):
            raise self._unreadable(reply)
        batch = reply.json.get("id")
        return ProviderResult(
            success=True, provider_message_id=None if batch is None else str(batch)
        )

    def _refusal(self, reply: Reply) -> Refusal | None:
        if not isinstance(reply.json, dict):
            return None
        code, text = reply.json.get("code"), reply.json.get("text")
        vendor_code = str(code) if isinstance(code, str | int) and code != "" else None
        message = text if isinstance(text, str) else None
        if reply.status == 400:
            return Refusal(
                f"sinch_{vendor_code or 'invalid_request'}",
                message=message or "",
                vendor_code=vendor_code,
            )
        return Refusal(message=message, vendor_code=vendor_code)

    def verify_signature(
        self,
        payload: bytes,
        signature: str,
        timestamp: str | None = None,
        *,
        nonce: str | None = None,
    ) -> bool:
        """Tell whether Sinch signed ``payload``.

        Args:
            payload: The raw body.
            signature: The header ``x-sinch-webhook-signature``, or ``x-sinch-signature`` of
                callbacks on numbers.
            timestamp: The header ``x-sinch-webhook-signature-timestamp``.
            nonce: The header ``x-sinch-webhook-signature-nonce``. With both, only base64 of
                HMAC-SHA256 over ``<payload>.<nonce>.<timestamp>`` is accepted; else HMAC-SHA1
                of the payload, in hex or base64.

        Raises:
            ValueError: (an InvalidInputError) The config has no webhook secret.
        """
        secrets = secrets_of(self._config.webhook_secret, self._config.previous_secrets)
        if not secrets:
            raise InvalidInputError(
                "webhook_secret must be provided in SinchConfig to verify webhook signatures"
            )
        return signed_by_sinch(secrets, payload, signature, timestamp, nonce)


def _bodies(text: str, media: list[str]) -> list[dict[str, Any]]:
    """Return what differs between the batches: the text goes with the first file."""
    pieces = split_text(text, _LONGEST_TEXT) or [text[:_LONGEST_TEXT]]
    if not media:
        return [{"body": piece} for piece in pieces]
    first: dict[str, Any] = {"url": media[0]}
    if text:
        first["message"] = pieces[0]
    files = [first, *({"url": url} for url in media[1:])]
    return [
        *({"type": "mt_media", "body": body} for body in files),
        *({"body": piece} for piece in pieces[1:]),
    ]
