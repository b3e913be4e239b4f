"""SMS and MMS through VoiceMeUp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, refused
from roomkit.models.delivery import ProviderResult
from roomkit.providers.sms._sender import VendorSMS
from roomkit.providers.sms.meta import extract_media_urls
from roomkit.providers.voicemeup.config import VoiceMeUpConfig
from roomkit.providers.voicemeup.mms import DEFAULT_TIMEOUT, MMSPairs, VoiceMeUpMMSAggregator
from roomkit.providers.voicemeup.webhook import VoiceMeUpWebhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import httpx

    from roomkit._http import Reply
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

CHUNK_LENGTH = 1000
"""Characters of one text message."""

_ID_CODE = "queued_sms_hash"

_default = VoiceMeUpMMSAggregator()
_mms_buffer = _default.pending


def configure_voicemeup_mms(
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT,
    on_timeout: Callable[[InboundMessage], Awaitable[None] | None] | None = None,
) -> None:
    """Say what happens to first halves of MMS that ``parse_voicemeup_webhook`` holds.

    Args:
        timeout_seconds: How long to wait for the second half.
        on_timeout: Gets the text alone when it does not come; a function, async or not.
            Without it the text is dropped with a warning.
    """
    _default.timeout_seconds = timeout_seconds
    _default.on_timeout = on_timeout


def parse_voicemeup_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage | None:
    """Return the message a callback completes; None for the first half of an MMS.

    A first half is held in this process until the second comes; see
    ``configure_voicemeup_mms``. An endpoint had better use the provider's ``webhook()``,
    which loses nothing in a crash.

    Raises:
        KeyError: ``source_number`` is missing.
        WebhookError: It is empty, or a field has the wrong type.
    """
    return _default.take(payload, channel_id)


class VoiceMeUpSMSProvider(VendorSMS[VoiceMeUpConfig, VoiceMeUpWebhook]):
    """Sends SMS and MMS by VoiceMeUp's API v1.1; reads its callbacks.

    A text goes out in messages of 1,000 characters, an MMS with its first file only.

    Args:
        config: The account.
        mms_timeout: Seconds ``webhook()`` waits for the second half of an MMS.
        client: An HTTP client to use instead of one of its own; it is not closed.
        transport: What carries the requests, for tests.

    Raises:
        MissingDependencyError: (also an ImportError) httpx is not installed.
    """

    _ids_key = "segment_ids"

    def __init__(
        self,
        config: VoiceMeUpConfig,
        *,
        mms_timeout: float = DEFAULT_TIMEOUT,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._mms_timeout = mms_timeout
        super().__init__(config, client=client, transport=transport)

    def _reader(self) -> VoiceMeUpWebhook:
        return VoiceMeUpWebhook(MMSPairs(self._mms_timeout))

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send an event's text and the first file it links to.

        Args:
            event: What to send.
            to: The recipient's number.
            from_: The sender's number; None means ``from_number``.

        Returns:
            The id of the last message, all of them in ``metadata["segment_ids"]`` when there
            are several; ``metadata["dropped_media"]`` counts files that were left out.
            Errors: ``empty_message``, ``unsupported_media``, VoiceMeUp's own codes (with a
            ``description``), ``unknown_error``, ``timeout``, ``invalid_response``,
            ``http_<n>``. When a later message of several fails, ``segments_sent`` says how
            many are through.
        """
        result = await self._deliver(event, to, from_)
        metadata = dict(result.metadata)
        message_id = result.provider_message_id
        if not result.success and "parts_sent" in metadata:
            metadata["segments_sent"] = metadata.pop("parts_sent")
        elif result.success and metadata.get(self._ids_key):
            message_id = metadata[self._ids_key][-1]
        files = len(extract_media_urls(event.content, http_only=True))
        if result.success and files > 1:
            metadata["dropped_media"] = files - 1
        return ProviderResult(
            success=result.success,
            provider_message_id=message_id,
            error=result.error,
            metadata=metadata,
        )

    def _requests(self, text: str, media: list[str], sender: str, to: str) -> list[dict[str, Any]]:
        numbers = {"source_number": sender.lstrip("+"), "destination_number": to.lstrip("+")}
        return [numbers | form for form in _forms(text, media)]

    async def _post(self, request: dict[str, Any], part_key: str | None) -> ProviderResult:
        """Queue one message; VoiceMeUp takes no idempotency key."""
        query = {
            "username": self._config.username,
            "auth_token": self._config.auth_token.get_secret_value(),
        }
        url = f"{self._config.base_url}queue_sms"
        reply = await self._call("post", url, params=query, data=request)
        if not isinstance(reply.json, dict):
            raise self._unreadable(reply)
        messages = _messages(reply)
        if reply.find("response_details", "response_status") == "error":
            first = messages[0] if messages else {}
            code = _text(first.get("code")) or "unknown_error"
            return refused(code, description=_text(first.get("_content")) or code)
        queued = (m for m in messages if m.get("code") == _ID_CODE)
        return ProviderResult(
            success=True,
            provider_message_id=_text(next(queued, {}).get("_content")) or None,
        )

    def _refusal(self, reply: Reply) -> Refusal:
        return Refusal(f"http_{reply.status}")


def _forms(text: str, media: list[str]) -> list[dict[str, str]]:
    """Return what differs between the messages."""
    if media:
        return [{**({"message": text} if text else {}), "attachment": media[0]}]
    starts = range(0, len(text), CHUNK_LENGTH)
    return [{"message": text[start : start + CHUNK_LENGTH]} for start in starts]


def _messages(reply: Reply) -> list[dict[str, Any]]:
    """Return the messages of an answer: a list, or a single one without a list around it."""
    found = reply.find("response_details", "response_messages", "message")
    listed = found if isinstance(found, list) else [found]
    return [message for message in listed if isinstance(message, dict)]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
