"""What became of our mail, as Elastic Email's "HTTP web notification" tells it.

Protocol: the vendor's help page "Notification settings". Each notification is a GET whose query
has the facts; nothing is signed, so the endpoint needs a secret in its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.models.delivery import DeliveryStatus
from roomkit.providers._webhook import fields_of, iso_time, text_at
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.providers.webhook import WebhookItem, WebhookRequest

_NAME = "elasticemail"
_FIELDS = frozenset(
    {
        "account", "category", "channel", "date", "from", "messageid", "postback", "status",
        "subject", "target", "to", "transaction",
    }
)  # fmt: skip
_STATUSES = {
    "sent": "sent",
    "opened": "opened",
    "clicked": "clicked",
    "error": "failed",
    "abusereport": "complained",
    "unsubscribed": "unsubscribed",
}


class ElasticEmailWebhook(WebhookHandler):
    """Reads notifications about mail we sent. The vendor does not sign them."""

    methods: ClassVar[frozenset[str]] = frozenset({"GET"})

    @property
    def signed(self) -> bool:
        """False: the vendor signs nothing."""
        return False

    async def verify(self, request: WebhookRequest) -> None:
        """Return: there is nothing to check."""

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return the status; nothing for the call by which the vendor tries the URL."""
        if not request.query.get("status"):
            return []
        return [parse_elasticemail_notification(request.query)]


def parse_elasticemail_notification(payload: Mapping[str, Any]) -> DeliveryStatus:
    """Return the status a notification tells.

    The message id is the ``transactionid`` of the send. A failure's code is the vendor's
    category, such as ``NoMailbox``.

    Args:
        payload: The parameters of the query.

    Raises:
        WebhookError: A field is of the wrong type.
    """
    texts = {name: text_at(payload, name) for name in fields_of(payload) if name in _FIELDS}
    word = texts.get("status", "")
    status = _STATUSES.get(word.lower(), word.lower() or "unknown")
    date = texts.get("date", "")
    moment = iso_time(date)
    return DeliveryStatus(
        provider=_NAME,
        message_id=texts.get("transaction", ""),
        status=status,
        recipient=texts.get("to", ""),
        sender=texts.get("from", ""),
        error_code=(texts.get("category") or None) if status == "failed" else None,
        timestamp=moment.isoformat() if moment else date or None,
        raw=dict(texts),
    )
