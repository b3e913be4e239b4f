"""Facebook Messenger: the base class, Meta's Send API (extra ``httpx``) and a mock."""

from __future__ import annotations

from roomkit.providers.messenger.base import MessengerProvider
from roomkit.providers.messenger.config import MessengerConfig
from roomkit.providers.messenger.facebook import FacebookMessengerProvider
from roomkit.providers.messenger.mock import MockMessengerProvider
from roomkit.providers.messenger.webhook import (
    MessengerWebhook,
    parse_messenger_statuses,
    parse_messenger_webhook,
)

__all__ = [
    "FacebookMessengerProvider",
    "MessengerConfig",
    "MessengerProvider",
    "MessengerWebhook",
    "MockMessengerProvider",
    "parse_messenger_statuses",
    "parse_messenger_webhook",
]
