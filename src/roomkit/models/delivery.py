"""What crosses the border: messages coming in, results and statuses of messages going out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from roomkit.models._copy import changed
from roomkit.models.content import EventContent
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent

TARGET_MESSAGE = "target_message_id"
"""Metadata key of an inbound edit, delete or reaction: the vendor's id of what it is about."""

ACCEPT_NOT_BEFORE = "accept_not_before"
"""Metadata key of a message a webhook held: take it in at this time at the earliest, ISO 8601."""

ACCEPT_REPLACE = "accept_replace"
"""Metadata key of a message a webhook held: it takes the place of one of the same idempotency key
that still waits."""


class ProviderResult(BaseModel, defer_build=True):
    """A provider's answer to one send.

    Attributes:
        success: Whether the vendor took the message.
        provider_message_id: The vendor's id of it.
        error: A short code, such as ``rate_limit``.
        metadata: Details; ``retryable``, ``retry_after`` (seconds) and ``ambiguous`` steer
            the retry.
    """

    success: bool
    provider_message_id: str | None = None
    error: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class InboundMessage(BaseModel, defer_build=True):
    """A message from outside, before it belongs to a room.

    Attributes:
        channel_id: The registered channel it came by.
        sender_id: The sender's raw address.
        content: What it says.
        event_type: MESSAGE, EDIT, DELETE, ...
        external_id: The vendor's id of it.
        thread_id: The vendor's thread.
        idempotency_key: Per room one event a key: set it, and a repeat changes nothing.
        metadata: Anything JSON can carry.
    """

    channel_id: str
    sender_id: str
    content: EventContent
    event_type: EventType = EventType.MESSAGE
    external_id: str | None = None
    thread_id: str | None = None
    idempotency_key: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    def cleaned(self, **fields: Any) -> InboundMessage:
        """Return this message with some fields replaced by their sanitised values."""
        return changed(self, **fields)


class InboundResult(BaseModel, defer_build=True):
    """What became of an inbound message.

    Attributes:
        event: The stored event, where there is one.
        blocked: Whether it was refused.
        reason: Why; see ``roomkit.models.reasons.Reason`` for the engine's own words.
    """

    event: RoomEvent | None = None
    blocked: bool = False
    reason: str | None = None


class AcceptResult(BaseModel, defer_build=True):
    """What became of a message given to ``RoomKit.accept``.

    Attributes:
        id: The inbox row's id, as it stands in the dead letters should it come to that.
        duplicate: Whether the channel had accepted a message of this key before; nothing was
            changed then.
    """

    id: str
    duplicate: bool = False


class DeliveryResult(BaseModel, defer_build=True):
    """What became of the delivery to one channel.

    Attributes:
        channel_id: The channel.
        success: Whether it took the event.
        provider_result: What the provider answered, where there is one.
        error: Why it failed.
    """

    channel_id: str
    success: bool
    provider_result: ProviderResult | None = None
    error: str | None = None


class DeliveryStatus(BaseModel, defer_build=True):
    """A vendor's later word about a message we sent.

    Attributes:
        provider: The vendor.
        message_id: The vendor's id of the message.
        status: Such as ``sent``, ``delivered``, ``read`` or ``failed``.
        recipient: Who the message was sent to.
        sender: Who it was sent as.
        error_code: The vendor's code of what went wrong.
        error_message: The vendor's words about what went wrong.
        timestamp: When, as the vendor writes it.
        raw: What the vendor sent.
    """

    provider: str
    message_id: str
    status: str
    recipient: str = ""
    sender: str = ""
    error_code: str | None = None
    error_message: str | None = None
    timestamp: str | None = None
    raw: dict[str, Any] = Field(default_factory=dict)
