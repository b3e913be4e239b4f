"""An event loop whose clock jumps over every wait: an hour of timeouts takes no time.

When nothing is ready the loop moves its own clock to the next timer instead of sleeping. When
there is no timer either, nothing can ever happen again: it says so instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Stuck(AssertionError):
    """Every task waits, and nothing is left that could wake one."""


class _Selector(selectors.DefaultSelector):
    """Never waits; the time it was asked to wait has then passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is left that could wake a task")
        self.now += max(0.0, timeout)
        return super().select(0)


class WarpLoop(asyncio.SelectorEventLoop):
    """The loop; for code without real input and output."""

    def __init__(self) -> None:
        self._warp = _Selector()
        super().__init__(self._warp)

    def time(self) -> float:
        """Return the seconds jumped over so far."""
        return self._warp.now


def run_warped[T](coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new WarpLoop and return its result."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(coro)


def elapsed() -> float:
    """Return the seconds the running loop has jumped over so far."""
    return asyncio.get_running_loop().time()
