"""Timing: CPU time of whole rounds, the best of several, competitors taking turns."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS = 7
"""Rounds each competitor gets; the best one counts, since noise only ever adds."""

type Operation = Callable[[], Awaitable[object]]


async def race(count: int, *operations: Operation, rounds: int = ROUNDS) -> list[float]:
    """Return the CPU microseconds one call of each operation takes.

    The operations take turns, round by round, so that a slow moment of the machine hits all.
    Each round starts with a collected and frozen heap: what was filled in before is not
    traversed again and again on the operation's account.

    Args:
        count: Calls in a round.
        operations: Awaited one call after the other.
        rounds: How many rounds each gets.
    """
    best = [float("inf")] * len(operations)
    for operation in operations:
        await operation()
    for _ in range(rounds):
        for place, operation in enumerate(operations):
            gc.collect()
            gc.freeze()
            began = time.process_time()
            for _ in range(count):
                await operation()
            spent = (time.process_time() - began) * 1e6 / count
            best[place] = min(best[place], spent)
    gc.unfreeze()
    return best


def each(*operations: Operation) -> Operation:
    """Return one operation that runs several, as one step of a race."""

    async def run() -> None:
        for operation in operations:
            await operation()

    return run


async def bytes_of(build: Callable[[int], Awaitable[object]], count: int) -> float:
    """Return the bytes one of ``count`` things keeps, built by ``build(count)``.

    A first call with a few warms up what is made once.
    """
    await build(16)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = await build(count)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return (after - before) / count
