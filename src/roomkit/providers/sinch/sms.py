"""SMS and MMS through Sinch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal
from roomkit.exceptions import InvalidInputError
from roomkit.models.delivery import ProviderResult
from roomkit.providers._parts import others_apart
from roomkit.providers._signature import secrets_of
from roomkit.providers._text import split_text
from roomkit.providers.sinch.config import SinchConfig
from roomkit.providers.sinch.webhook import SinchWebhook, parse_sinch_webhook, signed_by_sinch
from roomkit.providers.sms._sender import VendorSMS

if TYPE_CHECKING:
    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent

__all__ = ["SinchSMSProvider", "parse_sinch_webhook"]

_LONGEST_TEXT = 2000


class SinchSMSProvider(VendorSMS[SinchConfig, SinchWebhook]):
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

    def _reader(self) -> SinchWebhook:
        return SinchWebhook(self._secrets())

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
        return others_apart(await self._deliver(event, to, from_))

    def _requests(self, text: str, media: list[str], sender: str, to: str) -> list[dict[str, Any]]:
        return [{"from": sender, "to": [to], **body} for body in _bodies(text, media)]

    async def _post(self, request: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Send one batch; Sinch takes no idempotency key."""
        headers = {
            "Authorization": f"Bearer {self._config.api_token.get_secret_value()}",
            "Content-Type": "application/json",
        }
        reply = await self._call("post", self._config.api_url, json=request, headers=headers)
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

    def _secrets(self) -> list[str]:
        return secrets_of(self._config.webhook_secret, self._config.previous_secrets)

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
        secrets = self._secrets()
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
