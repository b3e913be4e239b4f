"""Telnyx: SMS, MMS and RCS."""

from __future__ import annotations

from roomkit.providers.telnyx.config import TelnyxConfig
from roomkit.providers.telnyx.rcs import (
    TelnyxRCSConfig,
    TelnyxRCSProvider,
    parse_telnyx_rcs_webhook,
)
from roomkit.providers.telnyx.sms import TelnyxSMSProvider, parse_telnyx_webhook

__all__ = [
    "TelnyxConfig",
    "TelnyxRCSConfig",
    "TelnyxRCSProvider",
    "TelnyxSMSProvider",
    "parse_telnyx_rcs_webhook",
    "parse_telnyx_webhook",
]
