"""Text messages: the base class, a mock, phone numbers and what vendors' callbacks mean."""

from __future__ import annotations

from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.sms.meta import WebhookMeta
from roomkit.providers.sms.mock import MockSMSProvider
from roomkit.providers.sms.phone import is_valid_phone, normalize_phone

__all__ = [
    "MockSMSProvider",
    "SMSProvider",
    "WebhookMeta",
    "is_valid_phone",
    "normalize_phone",
]
