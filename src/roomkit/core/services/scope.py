"""Where in the engine the current task is running: in a gate, a lane, an observer, or none.

Foreign code called by the engine may call the kit again. The scope, a context variable,
tells those calls which event they stem from (so that chains stay bounded) and which room
lock they already live under (so that they do not wait for themselves).
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.core.services.guard import Hold


class Root:
    """Counts what one message from outside has set off."""

    __slots__ = ("reentries",)

    def __init__(self) -> None:
        self.reentries = 0


@dataclass(slots=True)
class Scope:
    """What the running foreign code was called for.

    Attributes:
        root: The message from outside all of it stems from.
        depth: The chain depth of the event being handled; -1 when there is none.
        hold: The room lock it runs under, for gates only.
    """

    root: Root
    depth: int
    hold: Hold | None = None


_scope: ContextVar[Scope | None] = ContextVar("roomkit_scope", default=None)

current_scope = _scope.get
"""Return the scope of the current task, or None outside of foreign code."""

enter_scope = _scope.set
leave_scope = _scope.reset
