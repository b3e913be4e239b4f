from __future__ import annotations

__version__ = "0.1.1"
"""The version of the package, and the one place it is written down."""
