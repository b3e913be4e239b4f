"""What all suites share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The first moment of every suite."""

PATIENCE = 5.0
"""Seconds a suite waits for something that must come."""


def at(seconds: float) -> datetime:
    """Return a moment, counted from ``START``."""
    return START + timedelta(seconds=seconds)


class Suite:
    """Base of the suites: async tests in any mode of pytest-asyncio."""

    pytestmark = pytest.mark.asyncio
