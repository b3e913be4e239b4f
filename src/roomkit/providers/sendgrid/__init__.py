"""Twilio SendGrid: mail out, mail in, and what became of it (extra ``httpx``)."""

from __future__ import annotations

from roomkit.providers.sendgrid.config import SendGridConfig
from roomkit.providers.sendgrid.email import SendGridEmailProvider, SendGridProvider
from roomkit.providers.sendgrid.webhook import (
    SendGridWebhook,
    parse_sendgrid_events,
    parse_sendgrid_inbound,
)

__all__ = [
    "SendGridConfig",
    "SendGridEmailProvider",
    "SendGridProvider",
    "SendGridWebhook",
    "parse_sendgrid_events",
    "parse_sendgrid_inbound",
]
