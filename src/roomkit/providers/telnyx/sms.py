"""SMS and MMS through Telnyx."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, VendorHTTP, answered, base_url, refused
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._parts import PartLedger
from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.sms.meta import (
    extract_media_urls,
    extract_text_body,
    unsendable_reason,
)
from roomkit.providers.sms.segments import split_segments
from roomkit.providers.telnyx import _api
from roomkit.providers.telnyx.webhook import (
    TelnyxWebhook,
    is_telnyx_inbound,
    parse_telnyx_webhook,
)

if TYPE_CHECKING:
    import httpx

    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent
    from roomkit.providers.telnyx.config import TelnyxConfig
    from roomkit.providers.webhook import WebhookHandler

__all__ = ["TelnyxSMSProvider", "parse_telnyx_webhook"]

_is_telnyx_inbound = is_telnyx_inbound

_MOST_SEGMENTS = 10
"""More are refused with error 40302, unless the profile asks Telnyx to cut."""

_MOST_UNITS = 670
"""Characters of ten segments in UCS-2."""

_SEVEN_BITS = re.compile(r"[\n\r\x20-\x5f\x61-\x7e]*")
"""What Telnyx packs into seven bits: fewer characters than the alphabet has (page "Character
and Rate Limits"); with any other a message is UCS-2."""

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


class TelnyxSMSProvider(VendorHTTP, SMSProvider):
    """Sends SMS and MMS by Telnyx' API v2; reads and verifies its callbacks.

    A text longer than the ten segments Telnyx takes goes out as several messages.

    Args:
        config: The account.
        public_key: The account's public key (base64), to verify callbacks with.
        tolerance_seconds: How old, or how far ahead, a signature checked by
            ``verify_signature`` may be; None for any. ``webhook()`` always allows 300.
        client: An HTTP client to use instead of one of its own; it is not closed.
        transport: What carries the requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    def __init__(
        self,
        config: TelnyxConfig,
        public_key: str | None = None,
        *,
        tolerance_seconds: float | None = None,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._open(config, client=client, transport=transport)
        self._keys = [key for key in (public_key, *config.previous_public_keys) if key]
        self._tolerance = tolerance_seconds
        self._ledger = PartLedger()
        self._webhook = TelnyxWebhook(self._keys, parse_telnyx_webhook)

    @property
    def from_number(self) -> str:
        """The number messages come from unless ``send`` is told another."""
        number: str = self._config.from_number
        return number

    def capabilities(self) -> ChannelCapabilities:
        """Return what Telnyx carries: text and files; no read receipts."""
        return _CAPABILITIES

    def webhook(self) -> WebhookHandler:
        """Return the reader of Telnyx' callbacks; unsigned without a public key."""
        return self._webhook

    @answered
    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send an event's text and the files it links to.

        Args:
            event: What to send.
            to: The recipient's number in E.164.
            from_: The sender's number; None means ``from_number``.

        Returns:
            Telnyx' id of the message; of several parts the first's, all in
            ``metadata["message_ids"]``. Errors: ``empty_message``, ``unsupported_media``,
            ``invalid_request`` (with Telnyx' ``code`` and ``message`` in the metadata),
            ``auth_error``, ``rate_limit``, ``timeout``, ``invalid_response``, ``http_<n>``.
        """
        text = extract_text_body(event.content)
        media = extract_media_urls(event.content, http_only=True)
        if not text and not media:
            return refused(unsendable_reason(event.content))
        sender = from_ or self._config.from_number
        parts = [self._body(piece, media, sender, to) for piece in _pieces(text, media)]
        return await self._ledger.send(parts, self._post)

    def _body(self, text: str, media: list[str], sender: str, to: str) -> dict[str, Any]:
        """Return the request for one message."""
        body: dict[str, Any] = {"from": sender, "to": to}
        if text:
            body["text"] = text
        if media:
            body["media_urls"] = media
        if self._config.messaging_profile_id:
            body["messaging_profile_id"] = self._config.messaging_profile_id
        return body

    async def _post(self, body: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Send one message; the route takes no idempotency key."""
        url = f"{base_url(self._config.api_base, _api.API)}/v2/messages"
        reply = await self._call("post", url, json=body, headers=_api.bearer(self._config.api_key))
        data = reply.find("data")
        if not isinstance(data, dict):
            raise self._unreadable(reply)
        return ProviderResult(success=True, provider_message_id=_api.text_of(data.get("id")))

    def _refusal(self, reply: Reply) -> Refusal:
        return _api.refusal(reply)

    def verify_signature(
        self, payload: bytes, signature: str, timestamp: str | None = None
    ) -> bool:
        """Tell whether Telnyx signed ``payload`` (Ed25519 over ``<timestamp>|<payload>``).

        Args:
            payload: The raw body.
            signature: The header ``telnyx-signature-ed25519``.
            timestamp: The header ``telnyx-timestamp``; without it the answer is False.

        Raises:
            ValueError: (an InvalidInputError) The provider has no public key.
            ImportError: (a MissingDependencyError) Neither PyNaCl nor cryptography is
                installed.
        """
        keys = _api.require_keys(self._keys, type(self).__name__)
        return _api.verify(keys, payload, signature, timestamp, tolerance=self._tolerance)


def _pieces(text: str, media: list[str]) -> list[str]:
    """Return a text in messages Telnyx takes: an SMS has at most ten segments, an MMS none."""
    if media:
        return [text]
    plain = _SEVEN_BITS.fullmatch(text) is not None
    return split_segments(text, _MOST_SEGMENTS, max_units=None if plain else _MOST_UNITS)
