"""The scenarios; ``load`` fills the catalogue in the order of the table."""

from __future__ import annotations

from importlib import import_module

_ORDER = (
    "imports",
    "messages",
    "people",
    "crowds",
    "hooks",
    "answers",
    "voice",
    "content",
    "lookups",
    "sockets",
    "footprint",
    "durable",
)


def load() -> None:
    """Fill ``benchmarks.model.CATALOGUE``; again changes nothing."""
    for name in _ORDER:
        import_module(f"{__name__}.{name}")
