"""Text to speech: the base class, a mock, and one module a synthesiser."""

from __future__ import annotations
