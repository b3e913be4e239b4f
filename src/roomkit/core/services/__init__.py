"""The engine's collaborators: each owns one concern and is built by RoomKit's constructor."""

from __future__ import annotations
