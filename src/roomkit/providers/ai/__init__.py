"""Language models: the abstraction in ``base``, a scripted one for tests in ``mock``."""

from __future__ import annotations
