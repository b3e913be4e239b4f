"""What carries the audio of sessions: the base class, a mock, and one module a transport."""

from __future__ import annotations
