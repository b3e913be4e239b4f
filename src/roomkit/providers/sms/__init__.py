"""Text messages: the base class, a mock, phone numbers and what vendors' callbacks mean."""

from __future__ import annotations

from roomkit.providers.sms.base import SMSProvider
from roomkit.providers.sms.keywords import opt_keyword
from roomkit.providers.sms.meta import WebhookMeta, extract_sms_meta
from roomkit.providers.sms.mock import MockSMSProvider
from roomkit.providers.sms.phone import is_valid_phone, normalize_phone
from roomkit.providers.sms.segments import SegmentCount, count_segments, split_segments

__all__ = [
    "MockSMSProvider",
    "SMSProvider",
    "SegmentCount",
    "WebhookMeta",
    "count_segments",
    "extract_sms_meta",
    "is_valid_phone",
    "normalize_phone",
    "opt_keyword",
    "split_segments",
]
