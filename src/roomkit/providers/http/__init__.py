"""HTTP webhooks: messages posted to an endpoint of yours, and messages you post to us."""

from __future__ import annotations

from roomkit.providers.http.base import HTTPProvider
from roomkit.providers.http.config import HTTPProviderConfig
from roomkit.providers.http.mock import MockHTTPProvider
from roomkit.providers.http.provider import WebhookHTTPProvider
from roomkit.providers.http.webhook import (
    HTTPWebhook,
    parse_http_webhook,
    verify_http_signature,
    verify_standard_webhook,
)

__all__ = [
    "HTTPProvider",
    "HTTPProviderConfig",
    "HTTPWebhook",
    "MockHTTPProvider",
    "WebhookHTTPProvider",
    "parse_http_webhook",
    "verify_http_signature",
    "verify_standard_webhook",
]
