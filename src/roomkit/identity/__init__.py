"""Finding out who a sender is; ``base`` holds the abstraction, ``mock`` a scripted one."""

from __future__ import annotations
