"""How a vendor's callbacks become messages, statuses and signals: the shapes of that seam.

A provider that receives callbacks returns a ``WebhookHandler`` from ``webhook()``. Whoever
hosts the endpoint builds a ``WebhookRequest``, awaits ``verify``, hands on what ``read``
returns and answers with ``response``. Nothing here knows a web framework.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import DeliveryStatus, InboundMessage
    from roomkit.models.enums import EventType
    from roomkit.models.event import EventContent


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One callback as it came in. Its representation shows neither addresses nor secrets.

    Attributes:
        method: ``GET``, ``POST``, ...
        url: The URL as the vendor knows it, query included; signatures cover it.
        headers: Keys in lower case.
        query: The decoded query parameters.
        body: The raw body, byte for byte.
        channel_id: The channel the endpoint belongs to; it goes into what is read.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    channel_id: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """What to answer a vendor with.

    Attributes:
        status: The HTTP status.
        body: The body, encoded.
        content_type: The ``Content-Type`` header.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something about an earlier message, or about a person, that is no message itself.

    Attributes:
        channel_id: The channel it came by.
        type: REACTION, EDIT, DELETE, TYPING, ...
        sender_id: Who does it; the raw address.
        target_message_id: The vendor's id of the message it is about.
        content: The emoji of a reaction (empty text takes it back), the new content of an
            edit; None for the others.
        idempotency_key: Set it, and a repeat changes nothing.
        metadata: Anything JSON can carry.
    """

    channel_id: str
    type: EventType
    sender_id: str = field(repr=False)
    target_message_id: str | None = None
    content: EventContent | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)


type WebhookItem = InboundMessage | DeliveryStatus | Signal
"""What a callback may hold."""


class WebhookHandler(ABC):
    """Reads one vendor's callbacks. Stateless: requests may be handled concurrently."""

    @abstractmethod
    async def verify(self, request: WebhookRequest) -> None:
        """Return when the request really comes from the vendor, and recently.

        Compares in constant time and accepts any of several configured secrets, so that they
        can be rotated.

        Raises:
            WebhookRefused: No signature, a wrong one, or a stale one.
        """

    @abstractmethod
    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return what a verified request holds, in the vendor's order.

        The list is empty when nothing in it concerns us. A missing sender is an error, any
        other absent field is empty.

        Raises:
            WebhookError: The body has the wrong shape; the text names the field.
        """

    def response(self, request: WebhookRequest) -> WebhookResponse:
        """Return the answer once everything read was accepted; by default an empty 200."""
        return WebhookResponse()
