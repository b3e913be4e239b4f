"""VoiceMeUp: SMS and MMS."""

from __future__ import annotations

from roomkit.providers.voicemeup.config import VoiceMeUpConfig
from roomkit.providers.voicemeup.mms import VoiceMeUpMMSAggregator
from roomkit.providers.voicemeup.sms import (
    VoiceMeUpSMSProvider,
    configure_voicemeup_mms,
    parse_voicemeup_webhook,
)

__all__ = [
    "VoiceMeUpConfig",
    "VoiceMeUpMMSAggregator",
    "VoiceMeUpSMSProvider",
    "configure_voicemeup_mms",
    "parse_voicemeup_webhook",
]
