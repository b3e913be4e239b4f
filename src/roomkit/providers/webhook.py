"""How a vendor's callbacks become messages, statuses and signals: the shapes of that seam.

A provider that receives callbacks returns a ``WebhookHandler`` from ``webhook()``. Whoever
hosts the endpoint builds a ``WebhookRequest``, awaits ``verify``, hands on what ``read``
returns and answers with ``response``. Nothing here knows a web framework.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.models.content import TextContent
from roomkit.models.delivery import TARGET_MESSAGE, InboundMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import DeliveryStatus
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
        kind: Which of the vendor's callbacks the endpoint takes, where it has several; the
            second segment of the path, empty for none.
        received_at: When it came, in unix seconds.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    channel_id: str = field(default="", kw_only=True)
    kind: str = field(default="", kw_only=True)
    received_at: float = field(default_factory=time.time, kw_only=True)


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

    def to_inbound(self) -> InboundMessage:
        """Return the signal as a message, which waits in an inbox with its sender's others.

        The engine finds the event it is about by ``metadata["target_message_id"]``: an edit or
        a delete then changes it, a reaction is published, and what nobody knows is dropped.
        """
        return InboundMessage(
            channel_id=self.channel_id,
            sender_id=self.sender_id,
            content=self.content or TextContent(body=""),
            event_type=self.type,
            idempotency_key=self.idempotency_key,
            metadata={**self.metadata, TARGET_MESSAGE: self.target_message_id or ""},
        )


type WebhookItem = InboundMessage | DeliveryStatus | Signal
"""What a callback may hold."""


class WebhookHandler(ABC):
    """Reads one vendor's callbacks. Stateless: requests may be handled concurrently."""

    max_body: ClassVar[int | None] = None
    """Bytes a body may have; None leaves it to whoever hosts the endpoint."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    """The HTTP methods the vendor uses; with ``GET`` for a challenge."""

    content_types: ClassVar[frozenset[str]] = frozenset()
    """The media types of bodies, in lower case without parameters; empty for any."""

    @property
    def signed(self) -> bool:
        """Whether ``verify`` can tell the vendor from anybody else.

        False when the vendor does not sign or no secret is configured. An endpoint then asks
        for a secret of its own, or refuses.
        """
        return True

    def for_kind(self, kind: str) -> WebhookHandler | None:
        """Return the reader of one kind of the vendor's callbacks; None for an unknown one.

        Args:
            kind: The second segment of the endpoint's path; empty when there is none. By
                default that is the only kind.
        """
        return None if kind else self

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
