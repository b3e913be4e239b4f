"""The life of a kit: bound to one event loop and one process, opened on first use, closed once."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from roomkit.exceptions import KitClosedError, WrongLoopError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.store.base import ConversationStore

_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Lifecycle:
    """Checks that a kit is used where it can work, and opens its store once.

    Args:
        store: Opened on first use; closed only by whom opened it.
        idle: Whether nothing of the kit is running, so that it may move to another loop.
        begin: Awaited on the first use on a loop, once the store is open.
    """

    def __init__(
        self,
        store: ConversationStore,
        idle: Callable[[], bool],
        begin: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._idle = idle
        self._begin = begin
        self._begun = False
        self._forks = _forks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Lock | None = None
        self._ready = False
        self.opened: bool = False
        self.closed = False

    def check(self) -> None:
        """Raise unless the kit may be used here.

        Raises:
            WrongLoopError: It lives on another event loop, or in another process.
            KitClosedError: It was closed.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop and self._forks == _forks and not self.closed:
            return
        if self.closed:
            raise KitClosedError("this RoomKit was closed; make a new one")
        if self._forks != _forks:
            raise WrongLoopError(
                "this RoomKit was made before the process forked; make one in each child"
            )
        if self._loop is not None and not (self._loop.is_closed() and self._idle()):
            raise WrongLoopError(
                "this RoomKit is in use on another event loop; one kit serves one loop - "
                "make one for each, or hand messages over with run_coroutine_threadsafe"
            )
        self._loop = loop
        self._opening = None
        self._begun = False

    async def ready(self) -> None:
        """Check, and open the store when this is the first use."""
        self.check()
        if self._begun:
            return
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._ready:
                self.opened = await self._store.open() is not False or self.opened
                self._ready = True
            if not self._begun:
                await self._begin()
                self._begun = True
