"""Handing audio over to a backend, until somebody stops it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancel_and_wait

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Sayings:
    """What is being handed over for one session.

    A synthesiser may say nothing more for long, or for ever: who waits for it must hear of the
    end of a playback all the same.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Hand something over; returns when that is done, or was stopped.

        It runs in one task from beginning to end, as the generators of synthesisers expect.

        Raises:
            Exception: What ``work`` raises.
        """
        task = asyncio.create_task(work, name="voice_saying")
        self._tasks.add(task)
        try:
            await asyncio.wait((task,))
        finally:
            self._tasks.discard(task)
            await cancel_and_wait((task,))
        if not task.cancelled():
            task.result()

    def stop(self) -> None:
        """Stop everything that is being handed over now; what comes later is not concerned."""
        for task in self._tasks:
            task.cancel()
