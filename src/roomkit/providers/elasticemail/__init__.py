"""Elastic Email: mail out, and what became of it (extra ``httpx``)."""

from __future__ import annotations

from roomkit.providers.elasticemail.config import ElasticEmailConfig
from roomkit.providers.elasticemail.email import ElasticEmailProvider
from roomkit.providers.elasticemail.webhook import (
    ElasticEmailWebhook,
    parse_elasticemail_notification,
)

__all__ = [
    "ElasticEmailConfig",
    "ElasticEmailProvider",
    "ElasticEmailWebhook",
    "parse_elasticemail_notification",
]
