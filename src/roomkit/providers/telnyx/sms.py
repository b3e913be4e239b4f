"""SMS and MMS through Telnyx."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roomkit.models.delivery import ProviderResult
from roomkit.providers.sms._sender import VendorSMS
from roomkit.providers.sms.segments import split_segments
from roomkit.providers.telnyx import _api
from roomkit.providers.telnyx._provider import TelnyxSender
from roomkit.providers.telnyx.config import TelnyxConfig
from roomkit.providers.telnyx.webhook import (
    TelnyxWebhook,
    is_telnyx_inbound,
    parse_telnyx_webhook,
)

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

__all__ = ["TelnyxSMSProvider", "parse_telnyx_webhook"]

_is_telnyx_inbound = is_telnyx_inbound

_MOST_SEGMENTS = 10
"""More are refused with error 40302, unless the profile asks Telnyx to cut."""

_MOST_UNITS = 670
"""Characters of ten segments in UCS-2."""

_SEVEN_BITS = re.compile(r"[\n\r\x20-\x5f\x61-\x7e]*")
"""What Telnyx packs into seven bits: fewer characters than the alphabet has (page "Character
and Rate Limits"); with any other a message is UCS-2."""


class TelnyxSMSProvider(TelnyxSender[TelnyxConfig], VendorSMS[TelnyxConfig, TelnyxWebhook]):
    """Sends SMS and MMS by Telnyx' API v2; reads and verifies its callbacks.

    A text longer than the ten segments Telnyx takes goes out as several messages.

    Args:
        config: The account.
        public_key: The account's public key (base64), to verify callbacks with;
            without one they count as unsigned.
        tolerance_seconds: How old, or how far ahead, a signature checked by
            ``verify_signature`` may be; None for any. ``webhook()`` always allows 300.
        client: An HTTP client to use instead of one of its own; it is not closed.
        transport: What carries the requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    def _reader(self) -> TelnyxWebhook:
        return TelnyxWebhook(self._keys, parse_telnyx_webhook)

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
        return await self._deliver(event, to, from_)

    def _requests(self, text: str, media: list[str], sender: str, to: str) -> list[dict[str, Any]]:
        shared: dict[str, Any] = {"from": sender, "to": to}
        if media:
            shared["media_urls"] = media
        pieces = _pieces(text, media)
        return [{**shared, "text": piece} if piece else shared for piece in pieces]

    async def _post(self, request: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Send one message; the route takes no idempotency key."""
        reply = await self._ask("post", "/v2/messages", request)
        data = reply.find("data")
        if not isinstance(data, dict):
            raise self._unreadable(reply)
        return ProviderResult(success=True, provider_message_id=_api.text_of(data.get("id")))


def _pieces(text: str, media: list[str]) -> list[str]:
    """Return a text in messages Telnyx takes: an SMS has at most ten segments, an MMS none."""
    if media:
        return [text]
    plain = _SEVEN_BITS.fullmatch(text) is not None
    return split_segments(text, _MOST_SEGMENTS, max_units=None if plain else _MOST_UNITS)
