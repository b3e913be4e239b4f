"""Somebody who is connected to the simulator of Gemini's Live API, and what they are answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveTurn:
    """What the model does in one turn.

    Attributes:
        text: What it says; 60 ms of tone a character.
        calls: ``(name, arguments)`` of tools it calls after it has spoken; their results lead
            to the next turn.
        hold: Whether the turn goes on after its audio until it is interrupted or ``release`` is
            called.
        reason: Why the turn ends, where it was not said to its end.
    """

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    hold: bool = False
    reason: str | None = None


@dataclass(slots=True, eq=False)
class LiveCaller:
    """One connection."""

    ws: Any
    setup: dict[str, Any] | None = None
    memory: list[tuple[str, str]] = field(default_factory=list)
    loud: int = 0
    quiet: int = 0
    speaking: bool = False
    heard: bytes = b""
    turn: LiveTurn | None = None
    calls: set[str] = field(default_factory=set)
    seeding: bool = False

    @property
    def ready(self) -> bool:
        """Whether it has said what it wants."""
        return self.setup is not None

    @property
    def detection(self) -> dict[str, Any]:
        """How the end of speech is found."""
        turns = (self.setup or {}).get("realtimeInputConfig", {})
        found: dict[str, Any] = turns.get("automaticActivityDetection", {})
        return found

    @property
    def interrupts(self) -> bool:
        """Whether speech ends an answer."""
        turns = (self.setup or {}).get("realtimeInputConfig", {})
        return bool(turns.get("activityHandling") != "NO_INTERRUPTION")
