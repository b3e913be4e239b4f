"""One function per kind of channel that sends through a vendor.

They are named like the classes they stand for: each returns a TransportChannel set up for
its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.channels._capabilities import (
    EMAIL_CAPABILITIES,
    HTTP_CAPABILITIES,
    MESSENGER_CAPABILITIES,
    RCS_CAPABILITIES,
    SMS_CAPABILITIES,
    TEAMS_CAPABILITIES,
    WHATSAPP_CAPABILITIES,
    WHATSAPP_PERSONAL_CAPABILITIES,
)
from roomkit.channels.transport import TransportChannel
from roomkit.models.enums import ChannelType

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage


def SMSChannel(
    channel_id: str, *, provider: Any = None, from_number: str | None = None
) -> TransportChannel:
    """Return a channel for text messages; media makes them MMS.

    Args:
        channel_id: Unique within a kit.
        provider: An SMSProvider; without one deliveries go nowhere.
        from_number: The number to send from; None: the binding's ``metadata["from_"]``, else
            the provider's own.

    The recipient is the binding's ``metadata["phone_number"]``.
    """
    return TransportChannel(
        channel_id,
        ChannelType.SMS,
        provider=provider,
        capabilities=SMS_CAPABILITIES,
        recipient_key="phone_number",
        defaults={"from_": from_number},
    )


def EmailChannel(
    channel_id: str, *, provider: Any = None, from_address: str | None = None
) -> TransportChannel:
    """Return a channel for mail.

    Args:
        channel_id: Unique within a kit.
        provider: An EmailProvider; without one deliveries go nowhere.
        from_address: The address to send from; None: the binding's ``metadata["from_"]``, else
            the provider's own.

    The recipient is the binding's ``metadata["email_address"]``, the subject its
    ``metadata["subject"]``.
    """
    return TransportChannel(
        channel_id,
        ChannelType.EMAIL,
        provider=provider,
        capabilities=EMAIL_CAPABILITIES,
        recipient_key="email_address",
        defaults={"from_": from_address, "subject": None},
    )


def WhatsAppChannel(channel_id: str, *, provider: Any = None) -> TransportChannel:
    """Return a channel for WhatsApp Business; the recipient is ``metadata["phone_number"]``."""
    return TransportChannel(
        channel_id,
        ChannelType.WHATSAPP,
        provider=provider,
        capabilities=WHATSAPP_CAPABILITIES,
        recipient_key="phone_number",
    )


def WhatsAppPersonalChannel(channel_id: str, *, provider: Any = None) -> TransportChannel:
    """Return a channel for a personal WhatsApp account; recipient ``metadata["phone_number"]``.

    A first contact from a group opens a room for the group.
    """
    return TransportChannel(
        channel_id,
        ChannelType.WHATSAPP_PERSONAL,
        provider=provider,
        capabilities=WHATSAPP_PERSONAL_CAPABILITIES,
        recipient_key="phone_number",
        address_of=_chat,
    )


def MessengerChannel(channel_id: str, *, provider: Any = None) -> TransportChannel:
    """Return a channel for Messenger; the recipient is ``metadata["facebook_user_id"]``."""
    return TransportChannel(
        channel_id,
        ChannelType.MESSENGER,
        provider=provider,
        capabilities=MESSENGER_CAPABILITIES,
        recipient_key="facebook_user_id",
    )


def TeamsChannel(channel_id: str, *, provider: Any = None) -> TransportChannel:
    """Return a channel for Teams; the recipient is ``metadata["teams_conversation_id"]``.

    A first contact opens a room for its conversation, whoever of its members writes.
    """
    return TransportChannel(
        channel_id,
        ChannelType.TEAMS,
        provider=provider,
        capabilities=TEAMS_CAPABILITIES,
        recipient_key="teams_conversation_id",
        address_of=lambda message: str(
            message.metadata.get("conversation_id") or message.sender_id
        ),
    )


def HTTPChannel(channel_id: str, *, provider: Any = None) -> TransportChannel:
    """Return a channel that posts to a webhook; ``metadata["recipient_id"]`` is optional."""
    return TransportChannel(
        channel_id,
        ChannelType.WEBHOOK,
        provider=provider,
        capabilities=HTTP_CAPABILITIES,
        recipient_key="recipient_id",
    )


def RCSChannel(
    channel_id: str, *, provider: Any = None, fallback: bool = True
) -> TransportChannel:
    """Return a channel for RCS.

    Args:
        channel_id: Unique within a kit.
        provider: An RCSProvider; without one deliveries go nowhere.
        fallback: Whether the vendor may send an SMS where RCS does not reach.

    The recipient is the binding's ``metadata["phone_number"]``.
    """
    return TransportChannel(
        channel_id,
        ChannelType.RCS,
        provider=provider,
        capabilities=RCS_CAPABILITIES,
        recipient_key="phone_number",
        defaults={"fallback": fallback},
        # Twilio says `rcs:+1...`; an answer to the plain number may fall back on SMS.
        address_of=lambda message: message.sender_id.removeprefix("rcs:"),
    )


def _chat(message: InboundMessage) -> str:
    """Return the group a message was written in, else its sender."""
    metadata = message.metadata
    return str((metadata.get("is_group") and metadata.get("chat_jid")) or message.sender_id)
