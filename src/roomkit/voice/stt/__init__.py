"""Speech to text: the base class, a mock, and one module a recogniser."""

from __future__ import annotations
