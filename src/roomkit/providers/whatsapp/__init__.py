"""WhatsApp: the base class (``base``) and a mock (``mock``); import from those modules."""

from __future__ import annotations
