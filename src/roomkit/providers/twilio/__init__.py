"""Twilio Programmable Messaging: SMS and MMS, and RCS with SMS to fall back on."""

from __future__ import annotations

from roomkit.providers.twilio.config import TwilioConfig
from roomkit.providers.twilio.rcs import (
    TwilioRCSConfig,
    TwilioRCSProvider,
    parse_twilio_rcs_webhook,
)
from roomkit.providers.twilio.sms import TwilioSMSProvider, parse_twilio_webhook

__all__ = [
    "TwilioConfig",
    "TwilioRCSConfig",
    "TwilioRCSProvider",
    "TwilioSMSProvider",
    "parse_twilio_rcs_webhook",
    "parse_twilio_webhook",
]
