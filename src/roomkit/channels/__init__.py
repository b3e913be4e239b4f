"""Channels: factories for the kinds that send through a vendor, and what each can carry.

The classes live in their own modules (``roomkit.channels.base``, ``.transport``,
``.websocket``, ``.ai``, ...). Nothing is loaded before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._lazy import lazy_exports

if TYPE_CHECKING:
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
    from roomkit.channels._factories import (
        EmailChannel,
        HTTPChannel,
        MessengerChannel,
        RCSChannel,
        SMSChannel,
        TeamsChannel,
        WhatsAppChannel,
        WhatsAppPersonalChannel,
    )

__all__ = [
    "EMAIL_CAPABILITIES",
    "HTTP_CAPABILITIES",
    "MESSENGER_CAPABILITIES",
    "RCS_CAPABILITIES",
    "SMS_CAPABILITIES",
    "TEAMS_CAPABILITIES",
    "WHATSAPP_CAPABILITIES",
    "WHATSAPP_PERSONAL_CAPABILITIES",
    "EmailChannel",
    "HTTPChannel",
    "MessengerChannel",
    "RCSChannel",
    "SMSChannel",
    "TeamsChannel",
    "WhatsAppChannel",
    "WhatsAppPersonalChannel",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            name: f"{__name__}.{'_capabilities' if name.isupper() else '_factories'}"
            for name in __all__
        },
    )
