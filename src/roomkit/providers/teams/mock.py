"""A Microsoft Teams provider for tests."""

from __future__ import annotations

from roomkit.providers._mock import MockProvider
from roomkit.providers.teams.base import TeamsProvider


class MockTeamsProvider(MockProvider, TeamsProvider):
    """Sends nothing and remembers every call.

    Args:
        results: Answers to the first calls, in order; then every call succeeds.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time ``delay`` is; the system's by default.

    Attributes:
        sent: ``{"event", "to"}`` a call.
        closed: Whether ``close`` was called.
    """
