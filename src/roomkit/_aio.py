"""Small asyncio tools the engine is built on: bounds, owned tasks, closing many things.

``bounded`` is the way foreign code is awaited: its first step runs at once, and only what
really waits pays for a timer.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any

from roomkit._logging import log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable

logger = logging.getLogger("roomkit.framework")


class DeadlineExceeded(TimeoutError):
    """The time given to ``bounded`` ran out (not a timeout of the awaited code itself)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"timeout ({seconds}s)")


class _Resumed:
    """A coroutine that has already yielded once, awaited on in the same task."""

    __slots__ = ("_coro", "_yielded")

    def __init__(self, coro: Coroutine[Any, Any, Any], yielded: Any) -> None:
        self._coro = coro
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, Any]:
        coro, yielded = self._coro, self._yielded
        while True:
            try:
                sent = yield yielded
            except BaseException as exc:  # noqa: BLE001 - whatever comes belongs to the coroutine
                try:
                    yielded = coro.throw(exc)
                except StopIteration as stop:
                    return stop.value
            else:
                try:
                    yielded = coro.send(sent)
                except StopIteration as stop:
                    return stop.value


async def bounded[T](coro: Coroutine[Any, Any, T], seconds: float | None) -> T:
    """Await ``coro`` for at most ``seconds`` in the current task.

    A coroutine that never suspends costs no timer. ``None`` means no bound.

    Raises:
        DeadlineExceeded: The time ran out; the coroutine was cancelled.
    """
    try:
        yielded = coro.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    resumed: T = await resume(coro, yielded, seconds)
    return resumed


async def resume(coro: Coroutine[Any, Any, Any], yielded: Any, seconds: float | None) -> Any:
    """Go on with a coroutine whose first step suspended with ``yielded``; see ``bounded``."""
    if seconds is None:
        return await _Resumed(coro, yielded)
    try:
        async with asyncio.timeout(seconds) as limit:
            return await _Resumed(coro, yielded)
    except TimeoutError as exc:
        if limit.expired():
            raise DeadlineExceeded(seconds) from exc
        raise


class TaskSet:
    """The tasks of one owner: named, kept alive, cancelled together.

    Args:
        name: Prefix of the tasks' names.

    A task that ends with an error is logged once; the error goes no further.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        """Run ``coro`` in a task of this set, its first step at once.

        A clean context is used unless one is given, so nothing of the caller leaks in.
        """
        task: asyncio.Task[Any] = asyncio.Task(
            coro,
            loop=asyncio.get_running_loop(),
            name=name or self._name,
            context=context if context is not None else Context(),
            eager_start=True,
        )
        if task.done():
            self._check(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._check(task)

    def _check(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log_failure(logger, error, "task %s failed", task.get_name())

    async def wait(self, timeout: float | None = None, *, but: Iterable[Any] = ()) -> bool:
        """Wait until the set is empty; False when the time ran out first.

        Args:
            timeout: Seconds, or None for no bound.
            but: Tasks not waited for, such as the caller's own.
        """
        excluded = set(but)
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while waiting := self._tasks - excluded:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def cancel(self, *, but: Iterable[Any] = (), timeout: float | None = None) -> None:
        """Cancel every task and wait until all have ended; see ``cancel_and_wait``."""
        await cancel_and_wait(self._tasks - set(but), timeout)


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]], timeout: float | None = None
) -> None:
    """Cancel tasks and return when each has ended; their errors are theirs.

    Args:
        tasks: The tasks.
        timeout: Seconds to wait for tasks that refuse to end, which are then logged and left;
            None for no bound.
    """
    pending = {task for task in tasks if not task.done()}
    for task in pending:
        task.cancel()
    if pending:
        _, left = await asyncio.wait(pending, timeout=timeout)
        for task in left:
            logger.error("task %s does not end although it was cancelled", task.get_name())


async def shielded(task: asyncio.Task[Any]) -> Any:
    """Return the task's result, waiting for its end even when the caller is cancelled.

    A cancellation that came meanwhile is raised again once the task has ended; the task
    itself is never cancelled by it.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(logger, error, "task %s failed after its caller left", task.get_name())
        raise cancelled
    return task.result()


async def close_all(closers: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Call every closer in order, whatever the others do.

    Raises:
        Exception: The first error, after all have been called.
    """
    first: Exception | None = None
    for close in closers:
        try:
            await close()
        except Exception as exc:  # noqa: BLE001 - the others must be closed as well
            if first is None:
                first = exc
            else:
                log_failure(logger, exc, "closing failed as well")
    if first is not None:
        raise first


def cancelled_from_within() -> bool:
    """Return whether a CancelledError just caught was raised by the awaited code itself.

    True when nobody asked the current task to stop: foreign code awaited something that had
    been cancelled. False means the cancellation is ours and must pass.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0
