"""HTTP webhooks: the base class and a mock."""

from __future__ import annotations

from roomkit.providers.http.base import HTTPProvider
from roomkit.providers.http.mock import MockHTTPProvider

__all__ = ["HTTPProvider", "MockHTTPProvider"]
