"""RCS messages: the base class and a mock."""

from __future__ import annotations

from roomkit.providers.rcs.base import RCSProvider
from roomkit.providers.rcs.mock import MockRCSProvider

__all__ = ["MockRCSProvider", "RCSProvider"]
