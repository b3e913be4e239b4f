"""Run something again and again, each time interrupted a little later.

What survives every sweep leaves nothing half done, wherever it is cancelled or its store
fails.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit.testing.faults import FaultStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from roomkit.store.base import ConversationStore
    from roomkit.testing.faults import Fault, When

PATIENCE = 10.0
"""Seconds an interrupted coroutine may take to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended.

    Attributes:
        interrupted: Whether it was cancelled or met a fault; False in the last run.
        result: What it returned.
        error: What it raised instead.
    """

    interrupted: bool
    result: Any = None
    error: BaseException | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it ended with CancelledError."""
        return isinstance(self.error, asyncio.CancelledError)


async def sweep_cancel(
    make_coro: Callable[[], Coroutine[Any, Any, Any]],
    check: Callable[[int, Outcome], Awaitable[None]],
    *,
    limit: int = 1000,
    may_swallow: bool = False,
) -> int:
    """Run a coroutine over and over, cancelling it one turn of the loop later each time.

    Args:
        make_coro: Returns a new coroutine, with a new state of its own if it needs one.
        check: Awaited after every run with the turn and the outcome.
        limit: At most so many runs. A coroutine that waits for real time never gets further
            in more turns: give it a ManualClock.
        may_swallow: Whether a cancelled run may return as if nothing had happened.

    Returns:
        The number of runs; the last one ended by itself.

    Raises:
        AssertionError: A run swallowed its cancellation, or did not end, or the limit was
            reached; and whatever ``check`` raises.
    """
    loop = asyncio.get_running_loop()
    for turn in range(1, limit + 1):
        task = asyncio.Task(make_coro(), loop=loop, name=f"sweep:{turn}")
        for _ in range(turn):
            if task.done():
                break
            await asyncio.sleep(0)
        interrupted = task.cancel()
        outcome = await _ended(task, interrupted, turn)
        if interrupted and outcome.error is None and not may_swallow:
            raise AssertionError(f"cancelled at turn {turn}, the coroutine returned normally")
        await check(turn, outcome)
        if not interrupted:
            return turn
    raise AssertionError(f"not done after {limit} turns of the loop")


async def sweep_faults(
    make_store: Callable[[], ConversationStore | Awaitable[ConversationStore]],
    scenario: Callable[[FaultStore], Coroutine[Any, Any, Any]],
    check: Callable[[int, Outcome, FaultStore], Awaitable[None]],
    *,
    faults: Iterable[Fault] = (ConnectionError,),
    when: Iterable[When] = ("before", "after"),
    limit: int = 1000,
) -> int:
    """Run a scenario over and over on a new store, letting one call later fail each time.

    Args:
        make_store: Returns (or is awaited for) a new, empty store.
        scenario: What to do with it.
        check: Awaited after every run with the number of the failed call, the outcome and
            the store; the last run of each kind of fault has none.
        faults: The kinds of faults to try.
        when: Whether calls fail before or after their effect; both by default.
        limit: At most so many runs of a kind.

    Returns:
        The number of runs.

    Raises:
        AssertionError: A run did not end, or the limit was reached; and whatever ``check``
            raises.
    """
    loop = asyncio.get_running_loop()
    runs = 0
    for fault, moment in itertools.product(tuple(faults), tuple(when)):
        for number in range(1, limit + 1):
            made = make_store()
            store = FaultStore(await made if isawaitable(made) else made)
            store.fail_at(number, fault, moment)
            task = asyncio.Task(scenario(store), loop=loop, name=f"sweep:{number}")
            await asyncio.wait((task,), timeout=PATIENCE)
            fired = bool(store.fired)
            await check(number, await _ended(task, fired, number), store)
            runs += 1
            if not fired:
                break
        else:
            raise AssertionError(f"not done after {limit} failed calls")
    return runs


async def _ended(task: asyncio.Task[Any], interrupted: bool, turn: int) -> Outcome:
    if not task.done():
        await asyncio.wait((task,), timeout=PATIENCE)
    if not task.done():
        task.cancel()
        raise AssertionError(f"interrupted at {turn}, the coroutine did not end")
    if task.cancelled():
        return Outcome(interrupted, error=asyncio.CancelledError())
    error = task.exception()
    return Outcome(interrupted, None if error is not None else task.result(), error)
