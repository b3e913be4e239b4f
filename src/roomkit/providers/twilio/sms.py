"""Text messages and MMS through Twilio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.twilio._messages import TwilioMessages, capabilities
from roomkit.providers.twilio.config import TwilioConfig
from roomkit.providers.twilio.webhook import TwilioWebhook, parse_twilio_webhook

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.providers.twilio._messages import Fields

__all__ = ["TwilioSMSProvider", "parse_twilio_webhook"]


class TwilioSMSProvider(TwilioMessages[TwilioConfig], SMSProvider):
    """Sends SMS and MMS.

    Args:
        config: The account and its sender.
        client: A client to use instead of one of our own; ``close`` leaves it open.
        transport: What carries our own client's requests, for tests.

    Raises:
        MissingDependencyError: httpx is not installed.
    """

    _capabilities = capabilities(read_receipts=False)

    def _reader(self) -> TwilioWebhook:
        return TwilioWebhook(self._config, parse_twilio_webhook)

    @property
    def from_number(self) -> str:
        """The configured number."""
        return self._config.from_number

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send the content of an event to one phone.

        A text of more than 1,600 characters and media beyond ten go on in further messages;
        the first one's id is the result's, ``metadata["message_ids"]`` has them all. A template
        whose id is a Content SID (``HX...``) is sent as such.

        Args:
            event: What to send.
            to: The recipient's number in E.164.
            from_: The sender's number; a configured Messaging Service goes before it.

        Returns:
            The message's SID. Errors: ``empty_message``, ``unsupported_media``,
            ``twilio_<code>``, ``auth_error``, ``rate_limit``, ``timeout``,
            ``invalid_response``, ``http_<n>``; Twilio's ``code`` and ``message`` are in the
            metadata.
        """
        config = self._config
        address: Fields = {"To": to}
        if config.messaging_service_sid:
            address["MessagingServiceSid"] = config.messaging_service_sid
        else:
            address["From"] = from_ or config.from_number
        return await self._deliver(event.content, address)
