"""Calls to a server in one line: in order, many in one round trip, never cut off midway.

Whoever waits for an answer may be cancelled at any moment; the call itself then still runs to
its end in the pump's own task. So no reply is ever left on a connection for the next caller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from roomkit._aio import TaskSet

BATCH = 500
"""Calls one round trip carries at most."""


class ServerDown(Exception):
    """A server did not answer, or not usefully; whether the call took effect is unknown.

    Args:
        kind: What went wrong, without addresses or values: usually the name of an error.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)


class Pump[C]:
    """Hands calls to ``send`` in the order they came, one batch at a time.

    Args:
        send: Given a batch, returns one answer for each call, in order. An answer that is an
            exception is raised to that caller; what it raises itself, to all of the batch.
        tasks: Who owns the pump's task. It lives only while there are calls.
    """

    def __init__(
        self, send: Callable[[list[C]], Awaitable[Sequence[Any]]], tasks: TaskSet
    ) -> None:
        self._send = send
        self._tasks = tasks
        self._waiting: deque[tuple[C, asyncio.Future[Any]]] = deque()
        self._running = False
        self._last: asyncio.Future[Any] | None = None

    def submit(self, call: C) -> asyncio.Future[Any]:
        """Queue a call and return the future of its answer.

        Cancelling the future before the call was sent takes it back; afterwards it is only
        the answer that is dropped.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._last = future
        self._waiting.append((call, future))
        if not self._running:
            self._running = True
            self._tasks.start(self._run(), name="pump")
        return future

    async def call(self, call: C, timeout: float) -> Any:
        """Return the answer to a call.

        Raises:
            ServerDown: There was none within ``timeout`` seconds, or ``send`` says so.
        """
        future = self.submit(call)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise ServerDown("TimeoutError") from None

    async def call_all(self, calls: Iterable[C], timeout: float) -> list[Any]:
        """Return the answers to several calls, failures among them as exceptions.

        Raises:
            ServerDown: They were not all there within ``timeout`` seconds.
        """
        futures = [self.submit(call) for call in calls]
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.gather(*futures, return_exceptions=True)
        except TimeoutError:
            raise ServerDown("TimeoutError") from None

    async def flush(self, timeout: float) -> bool:
        """Wait until what was submitted was answered; False when the time ran out first."""
        if self._last is None or not self._running:
            return True
        done, _ = await asyncio.wait((self._last,), timeout=timeout)
        return bool(done)

    async def _run(self) -> None:
        batch: list[tuple[C, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                batch = self._next()
                if not batch:
                    continue
                answers: Sequence[Any]
                try:
                    answers = await self._send([call for call, _ in batch])
                except Exception as exc:  # noqa: BLE001 - it belongs to those who called
                    answers = [exc] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    _settle(future, answer)
        finally:
            self._running = False
            # Only a cancelled pump leaves any: its owner is closing.
            for _, future in chain(batch, self._waiting):
                _settle(future, ServerDown("closed"))
            self._waiting.clear()

    def _next(self) -> list[tuple[C, asyncio.Future[Any]]]:
        """Take the next calls somebody still waits for."""
        batch: list[tuple[C, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < BATCH:
            item = self._waiting.popleft()
            if not item[1].done():
                batch.append(item)
        return batch


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()  # looked at: one that nobody waits for is no news
    else:
        future.set_result(answer)
