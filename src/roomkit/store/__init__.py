"""Where conversations are kept: the ABC, the in-memory store and the commit they share."""

from __future__ import annotations
