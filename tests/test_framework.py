"""The kit as its users meet it; ``SimpleChannel`` is the channel tests put into rooms."""

from __future__ import annotations

from roomkit.testing import SimpleChannel

__all__ = ["SimpleChannel"]
