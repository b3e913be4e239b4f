"""Where in the engine the current task is running: in a gate, a lane, an observer, or none.

Foreign code called by the engine may call the kit again. The scope, a context variable,
tells those calls which event they stem from (so that chains stay bounded) and which room
lock they already live under (so that they do not wait for themselves).
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.core.services.guard import Hold
    from roomkit.models.event import RoomEvent


class Root:
    """Counts what one message from outside has set off: what was let in, what was stopped."""

    __slots__ = ("reentries", "stopped")

    def __init__(self) -> None:
        self.reentries: int = 0
        self.stopped: int = 0


@dataclass(slots=True)
class Scope:
    """What the running foreign code was called for.

    Attributes:
        root: The message from outside all of it stems from.
        depth: The chain depth of the event being handled; -1 when there is none.
        hold: The room lock it runs under, for gates only.
        owner: The kit's task it runs for; closing from inside does not wait for that one.
    """

    root: Root
    depth: int
    hold: Hold | None = None
    owner: asyncio.Task[Any] | None = None


_scope: ContextVar[Scope | None] = ContextVar("roomkit_scope", default=None)

current_scope: Callable[[], Scope | None] = _scope.get
"""Return the scope of the current task, or None outside of foreign code."""

enter_scope: Callable[[Scope | None], Token[Scope | None]] = _scope.set
leave_scope: Callable[[Token[Scope | None]], None] = _scope.reset


def deeper() -> Token[Scope | None]:
    """Enter the scope of foreign code called for something that has no event yet.

    Whatever it sends is one step further down the chain than what led here.

    Returns:
        The token for ``leave_scope``.
    """
    scope = _scope.get()
    if scope is None:
        return _scope.set(Scope(Root(), 0))
    return _scope.set(Scope(scope.root, scope.depth + 1, scope.hold, scope.owner))


def own_task() -> asyncio.Task[Any] | None:
    """Return the kit's task the calling foreign code runs for, or else the current one."""
    scope = _scope.get()
    if scope is not None and scope.owner is not None:
        return scope.owner
    return asyncio.current_task()


def root_of(scope: Scope | None) -> Root:
    """Return what an event sent from within ``scope`` stems from; itself, outside of any."""
    return Root() if scope is None else scope.root


def deepened(event: RoomEvent, scope: Scope | None) -> RoomEvent:
    """Return an event as part of the chain the calling foreign code belongs to."""
    if scope is None or event.chain_depth > scope.depth:
        return event
    return event.at_depth(scope.depth + 1)
