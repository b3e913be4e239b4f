"""RCS through Twilio, with SMS where a phone has none.

Twilio chooses the way when it sends, after its answer: only a status callback tells whether SMS
stood in (``From`` is then a number without ``rcs:``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.providers.rcs.base import RCSDeliveryResult, RCSProvider
from roomkit.providers.twilio._messages import TwilioMessages, capabilities
from roomkit.providers.twilio.config import TwilioAccount
from roomkit.providers.twilio.webhook import TwilioWebhook, parse_twilio_rcs_webhook

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

__all__ = ["TwilioRCSConfig", "TwilioRCSProvider", "parse_twilio_rcs_webhook"]

_PREFIX = "rcs:"


class TwilioRCSConfig(TwilioAccount):
    """An account that sends RCS; see ``TwilioAccount`` for the other fields.

    Attributes:
        messaging_service_sid: The Messaging Service, ``MG...``, with an RCS sender among its
            senders.
    """

    messaging_service_sid: str


class TwilioRCSProvider(TwilioMessages[TwilioRCSConfig], RCSProvider):
    """Sends RCS messages.

    Args:
        config: The account and its Messaging Service.
        client: A client to use instead of one of our own; ``close`` leaves it open.
        transport: What carries our own client's requests, for tests.

    Raises:
        MissingDependencyError: httpx is not installed.
    """

    _capabilities = capabilities(read_receipts=True)

    def _reader(self) -> TwilioWebhook:
        return TwilioWebhook(self._config, parse_twilio_rcs_webhook)

    @property
    def sender_id(self) -> str:
        """The Messaging Service."""
        return self._config.messaging_service_sid

    async def send(self, event: RoomEvent, to: str, *, fallback: bool = True) -> RCSDeliveryResult:
        """Send the content of an event to one phone; see ``TwilioSMSProvider.send``.

        Args:
            event: What to send.
            to: The recipient's number in E.164. ``rcs:`` in front of it forbids SMS, too.
            fallback: Whether SMS may stand in for RCS.

        Returns:
            ``channel_used`` is ``rcs`` always: Twilio does not tell at this time.
        """
        forced = not fallback and not to.startswith(_PREFIX)
        address = {
            "MessagingServiceSid": self._config.messaging_service_sid,
            "To": f"{_PREFIX}{to}" if forced else to,
        }
        result = await self._deliver(event.content, {**address})
        return RCSDeliveryResult(**result.model_dump())
