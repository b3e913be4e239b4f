"""Sinch: SMS and MMS."""

from __future__ import annotations

from roomkit.providers.sinch.config import SinchConfig
from roomkit.providers.sinch.sms import SinchSMSProvider, parse_sinch_webhook

__all__ = ["SinchConfig", "SinchSMSProvider", "parse_sinch_webhook"]
