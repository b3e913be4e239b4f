"""Reading the Cloud API's callbacks (Meta: "Messages webhook reference").

One pure reader, ``read_whatsapp``; the parse functions are views of it. What a message says is
read in ``_contents``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers._graph import GRAPH, GraphWebhook
from roomkit.providers._webhook import (
    object_at,
    objects_at,
    optional_text_at,
    sender_at,
    text_at,
    unix_time,
    value_at,
)
from roomkit.providers.webhook import Signal
from roomkit.providers.whatsapp._contents import Said, content_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from roomkit.providers.webhook import WebhookItem
    from roomkit.providers.whatsapp.config import WhatsAppCloudConfig

logger: logging.Logger = logging.getLogger("roomkit.providers.whatsapp")

PROVIDER = "whatsapp"

_FIELD = "messages"
_TARGETS = {
    EventType.REACTION: "reaction_message_id",
    EventType.EDIT: "edited_message_id",
    EventType.DELETE: "revoked_message_id",
}


class WhatsAppWebhook(GraphWebhook):
    """The endpoint's side of a number: messages, statuses, reactions, edits, withdrawals.

    Meta sends an app everything of all its numbers: what is for another one is left out, with
    a line in the log.
    """

    def __init__(self, config: WhatsAppCloudConfig) -> None:
        super().__init__(config.app_secret, config.previous_secrets, config.verify_token)
        self._number_id = config.phone_number_id
        self._media_base = config.graph_url

    def _items(self, payload: dict[str, Any], channel_id: str) -> list[WebhookItem]:
        found = read_whatsapp(
            payload, channel_id, media_base=self._media_base, number_id=self._number_id
        )
        return [
            _signal(item)
            if isinstance(item, InboundMessage) and item.event_type in _TARGETS
            else item
            for item in found
        ]


def parse_whatsapp_webhook(
    payload: Mapping[str, Any], channel_id: str, *, include_unsupported: bool = False
) -> list[InboundMessage]:
    """Return the messages of a callback.

    A reaction has the type REACTION, an edit EDIT and a withdrawal DELETE; the id of what they
    are about is in the metadata (``reaction_message_id``, ``edited_message_id``,
    ``revoked_message_id``).

    Args:
        payload: The callback's JSON.
        channel_id: The channel it came by.
        include_unsupported: Return messages of a kind WhatsApp does not pass on too, as empty
            texts with ``errors`` in the metadata.

    Raises:
        WebhookError: It has the wrong shape, or a message has no sender.
    """
    found = read_whatsapp(payload, channel_id, include_unsupported=include_unsupported)
    return [item for item in found if isinstance(item, InboundMessage)]


def parse_whatsapp_statuses(payload: Mapping[str, Any]) -> list[DeliveryStatus]:
    """Return what a callback says about messages we sent, in Meta's own words.

    Raises:
        WebhookError: It has the wrong shape.
    """
    return [item for item in read_whatsapp(payload, "") if isinstance(item, DeliveryStatus)]


def read_whatsapp(
    payload: Mapping[str, Any],
    channel_id: str,
    *,
    media_base: str = f"{GRAPH}/v25.0",
    number_id: str | None = None,
    include_unsupported: bool = False,
) -> list[InboundMessage | DeliveryStatus]:
    """Return the messages and statuses of a callback, in Meta's order.

    Args:
        payload: The callback's JSON.
        channel_id: The channel it came by.
        media_base: What stands before a media id in the URL of a file.
        number_id: Leave out what is for another number; None takes all.
        include_unsupported: See ``parse_whatsapp_webhook``.

    Raises:
        WebhookError: It has the wrong shape, or a message has no sender.
    """
    reader = _Reader(channel_id, media_base, include_unsupported)
    found: list[InboundMessage | DeliveryStatus] = []
    for entry in objects_at(payload, "entry"):
        for change in objects_at(entry, "changes"):
            if text_at(change, "field", default=_FIELD) != _FIELD:
                continue
            value = object_at(change, "value")
            addressed = text_at(value, "metadata", "phone_number_id")
            if number_id is not None and addressed and addressed != number_id:
                logger.warning("a callback for another phone number was left out")
                continue
            found.extend(reader.messages(value))
            found.extend(_statuses(value))
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    channel_id: str
    media_base: str = field(repr=False)
    include_unsupported: bool

    def messages(self, value: dict[str, Any]) -> Iterator[InboundMessage]:
        contacts = objects_at(value, "contacts")
        for message in objects_at(value, "messages"):
            said = content_of(message, self.media_base)
            if said is None and self.include_unsupported:
                said = Said(metadata={"errors": objects_at(message, "errors")})
            if said is not None:
                yield self._inbound(value, message, contacts, said)

    def _inbound(
        self,
        value: dict[str, Any],
        message: dict[str, Any],
        contacts: list[dict[str, Any]],
        said: Said,
    ) -> InboundMessage:
        number, user_id = text_at(message, "from"), text_at(message, "from_user_id")
        contact = _contact(contacts, number, user_id)
        message_id = optional_text_at(message, "id")
        moment = unix_time(value_at(message, "timestamp"))
        metadata: dict[str, Any] = {
            "provider": PROVIDER,
            "phone_number_id": optional_text_at(value, "metadata", "phone_number_id"),
            "display_phone_number": optional_text_at(value, "metadata", "display_phone_number"),
            "profile_name": optional_text_at(contact, "profile", "name"),
            "wa_id": optional_text_at(contact, "wa_id") or number or None,
            "user_id": user_id or optional_text_at(contact, "user_id"),
            "timestamp": moment.isoformat() if moment else None,
            "message_type": text_at(message, "type"),
            **_context(message),
            **said.metadata,
        }
        return InboundMessage(
            channel_id=self.channel_id,
            sender_id=number or user_id or sender_at(message, "from"),
            content=said.content,
            event_type=said.event_type,
            external_id=message_id,
            idempotency_key=message_id,
            metadata=metadata,
        )


def _contact(contacts: list[dict[str, Any]], number: str, user_id: str) -> dict[str, Any]:
    """Return the contact that wrote; the only one when none says who it is."""
    for contact in contacts:
        known = (text_at(contact, "wa_id"), text_at(contact, "user_id"))
        if (number and known[0] == number) or (user_id and known[1] == user_id):
            return contact
    return contacts[0] if len(contacts) == 1 else {}


def _context(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message says about where it comes from."""
    context = object_at(message, "context")
    forwarded = bool(context.get("forwarded") or context.get("frequently_forwarded"))
    found: dict[str, Any] = {
        "context_id": optional_text_at(context, "id"),
        "context_from": optional_text_at(context, "from"),
        "forwarded": forwarded or None,
        "referral": object_at(message, "referral") or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _statuses(value: dict[str, Any]) -> Iterator[DeliveryStatus]:
    sender = text_at(value, "metadata", "display_phone_number")
    for status in objects_at(value, "statuses"):
        errors = objects_at(status, "errors")
        error = errors[0] if errors else {}
        moment = unix_time(value_at(status, "timestamp"))
        yield DeliveryStatus(
            provider=PROVIDER,
            message_id=text_at(status, "id"),
            status=text_at(status, "status"),
            recipient=text_at(status, "recipient_id") or text_at(status, "recipient_user_id"),
            sender=sender,
            error_code=optional_text_at(error, "code"),
            error_message=optional_text_at(error, "error_data", "details")
            or optional_text_at(error, "message")
            or optional_text_at(error, "title"),
            timestamp=moment.isoformat() if moment else None,
            raw=status,
        )


def _signal(message: InboundMessage) -> Signal:
    """Return what is about an earlier message as the engine takes it."""
    return Signal(
        channel_id=message.channel_id,
        type=message.event_type,
        sender_id=message.sender_id,
        target_message_id=message.metadata.get(_TARGETS[message.event_type]),
        content=None if message.event_type is EventType.DELETE else message.content,
        idempotency_key=message.idempotency_key,
        metadata=message.metadata,
    )
