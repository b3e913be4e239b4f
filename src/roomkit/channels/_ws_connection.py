"""Sending one payload to many sockets, in order for each, held up by none.

``Connection`` is what the channel knows of a socket, ``Outbox`` what a socket has in hand while
it is busy, ``Fanout`` does the sending. Rules:

- An idle socket is sent to at once, each in a task of its own that starts to run immediately;
  a send that does not wait costs no more than that task.
- Those that wait are waited for together, for a short time. One that is not done by then is
  slow: its send goes on by itself, under a deadline.
- What comes for a busy socket queues behind its send and follows in order. The queue is
  bounded: pieces of answers are dropped first, then the oldest events, or the socket itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._aio import DeadlineExceeded, TaskSet, bounded, cancel_and_wait
from roomkit._clock import SystemClock
from roomkit._logging import ids
from roomkit.models.streaming import StreamDelta, StreamEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from roomkit._clock import Clock
    from roomkit.models.event import RoomEvent

    type Payload = RoomEvent | StreamDelta | StreamEnd
    type Send = Callable[[str, Any], Awaitable[Any] | None]
    type OnClose = Callable[[str, str], Awaitable[Any] | None]

logger = logging.getLogger("roomkit.channels.websocket")

SEND_FAILED = "send_failed"
SEND_TIMEOUT = "send_timeout"
TOO_SLOW = "too_slow"

_CLOSE_SECONDS = 2.0


class Outbox:
    """What a busy socket has in hand: the send under way and what waits behind it."""

    __slots__ = ("_deltas", "_waiting", "round", "task", "timer")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.timer: _Timer | None = None
        self.round: Round | None = None
        self._waiting: deque[Payload] | None = None
        self._deltas = 0

    def __len__(self) -> int:
        return len(self._waiting) if self._waiting else 0

    def push(self, payload: Payload) -> None:
        """Put a payload at the end."""
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(payload)
        if type(payload) is StreamDelta:
            self._deltas += 1

    def pop(self) -> Payload | None:
        """Take the oldest payload; None when nothing waits."""
        if not self._waiting:
            return None
        payload = self._waiting.popleft()
        if type(payload) is StreamDelta:
            self._deltas -= 1
        return payload

    def drop_delta(self) -> bool:
        """Drop the oldest piece of an answer; False when there is none."""
        if not self._deltas or self._waiting is None:
            return False
        for place, payload in enumerate(self._waiting):
            if type(payload) is StreamDelta:
                del self._waiting[place]
                self._deltas -= 1
                return True
        return False

    def clear(self) -> None:
        """Drop everything that waits."""
        self._waiting = None
        self._deltas = 0


BUSY = Outbox()
"""Stands in for the outbox while a send has its first step, which usually is its only one."""

GONE = Outbox()
"""Stands in for the outbox of a socket that is no longer sent to."""


class Connection:
    """A socket, as far as the channel knows it. Idle it has no outbox."""

    __slots__ = ("dropped", "failures", "id", "on_close", "outbox", "rooms", "send", "stream")

    def __init__(
        self,
        connection_id: str,
        send: Send,
        stream: Send | None,
        on_close: OnClose | None,
        rooms: str | frozenset[str] | None,
    ) -> None:
        self.id = connection_id
        self.send = send
        self.stream = stream
        self.on_close = on_close
        self.rooms = rooms
        self.outbox: Outbox | None = None
        self.failures = 0
        self.dropped = 0


class Round:
    """The sends of one payload that had to wait, and whoever waits for them."""

    __slots__ = ("done", "flights", "left", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.flights: list[tuple[Connection, Outbox]] = []
        self.left = 0
        self.timer: _Timer | None = None

    def landed(self) -> None:
        """One of the sends has ended."""
        self.left -= 1
        if self.left == 0:
            if self.timer is not None:
                self.timer.cancel()
            self.release()

    def release(self) -> None:
        """Let whoever waits go on."""
        if not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True, slots=True)
class FanoutSettings:
    """The bounds of a Fanout.

    Attributes:
        queue_size: Payloads that may wait for one busy socket.
        send_timeout: Seconds one send may take.
        slow_after: Seconds to wait for the sends of a payload.
        max_failures: Failed sends in a row that end a socket.
        disconnect: End a socket whose queue is full, instead of dropping what is oldest.
    """

    queue_size: int
    send_timeout: float
    slow_after: float
    max_failures: int
    disconnect: bool


class Fanout:
    """Sends payloads to connections.

    Args:
        name: The channel's id, for logs and task names.
        settings: The bounds.
        clock: Where the time for the bounds comes from; None: the event loop.
        end: Called with a connection and the reason when its socket has to go.
    """

    def __init__(
        self,
        name: str,
        settings: FanoutSettings,
        clock: Clock | None,
        end: Callable[[Connection, str], None],
    ) -> None:
        self.dropped = 0
        self._name = name
        self._task_name = f"{name}:send"
        self._settings = settings
        self._clock = None if isinstance(clock, SystemClock) else clock
        self._end = end
        self._flying: set[asyncio.Task[Any]] = set()
        self._timers = TaskSet(f"{name}:timer")

    def send(
        self, connections: Sequence[Connection], payload: Payload, *, stream: bool = False
    ) -> asyncio.Future[None] | None:
        """Send a payload to each connection, or queue it behind what is on its way there.

        Args:
            connections: Who is to get it.
            payload: An event, or with ``stream`` a piece of an answer.
            stream: Use the connections' stream functions.

        Returns:
            None when nothing has to be waited for, else a future that is done when every send
            is, or ``slow_after`` has passed. It may be cancelled: the sends go on.
        """
        round_: Round | None = None
        for connection in connections:
            if connection.outbox is not None:
                self._queue(connection, payload)
                continue
            connection.outbox = BUSY
            task = self._attempt(
                connection, connection.stream if stream else connection.send, payload
            )
            box = connection.outbox
            if task is None:
                if box is BUSY:
                    connection.outbox = None
                elif box is not GONE:
                    self._drain(connection, box)
                continue
            if round_ is None:
                round_ = Round(asyncio.get_running_loop())
            if box is BUSY:
                box = connection.outbox = Outbox()
            elif box is GONE:
                box = Outbox()
            self._fly(connection, box, task)
            box.round = round_
            round_.flights.append((connection, box))
        return None if round_ is None else self._open(round_)

    def stop(self, connection: Connection) -> None:
        """Send nothing more to a connection; what is on its way is cancelled. Idempotent.

        A send that stops its own connection is left to end by itself, within its deadline.
        """
        box, connection.outbox = connection.outbox, GONE
        if box is None or box is BUSY or box is GONE:
            return
        box.clear()
        if box.task is not None and box.task is not _current_task():
            box.task.cancel()

    async def close(self) -> None:
        """End every send and timer; see ``end_tasks``."""
        await self._timers.cancel()
        current = asyncio.current_task()
        flying = [task for task in self._flying if task is not current]
        await end_tasks(cancel_and_wait(flying), self._name)

    def _attempt(
        self, connection: Connection, send: Send | None, payload: Payload
    ) -> asyncio.Task[Any] | None:
        """Start a send and account for it if it is done at once, else return its task."""
        if send is None:
            return None
        try:
            pending = send(connection.id, payload)
            if pending is not None:
                task = self._start(pending)
                if task is not None:
                    if not task.done():
                        return task
                    task.result()
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - a socket's own error
            self._failed(connection, exc)
            return None
        if connection.failures:
            connection.failures = 0
        return None

    def _start(self, pending: Any) -> asyncio.Task[Any] | None:
        """Run what a send returned in a task of its own, its first step at once."""
        if type(pending) is not CoroutineType:
            if not isawaitable(pending):
                return None
            pending = _await(pending)
        return asyncio.Task(
            pending,
            loop=asyncio.get_running_loop(),
            name=self._task_name,
            context=Context(),
            eager_start=True,
        )

    def _fly(self, connection: Connection, box: Outbox, task: asyncio.Task[Any]) -> None:
        """Keep a send that waits until it lands."""
        box.task = task
        self._flying.add(task)
        task.add_done_callback(partial(self._landed, connection, box))

    def _landed(self, connection: Connection, box: Outbox, task: asyncio.Task[Any]) -> None:
        self._flying.discard(task)
        box.task = None
        if box.timer is not None:
            box.timer.cancel()
            box.timer = None
        if box.round is not None:
            box.round.landed()
            box.round = None
        error = _error_of(task)
        if connection.outbox is not box:
            return
        if error is not None:
            self._failed(connection, error)
        elif connection.failures:
            connection.failures = 0
        self._drain(connection, box)

    def _drain(self, connection: Connection, box: Outbox) -> None:
        """Send what waits for a connection until one send has to wait or nothing is left."""
        while connection.outbox is box:
            payload = box.pop()
            if payload is None:
                connection.outbox = None
                return
            streaming = isinstance(payload, StreamDelta | StreamEnd)
            task = self._attempt(
                connection, connection.stream if streaming else connection.send, payload
            )
            if task is not None:
                self._fly(connection, box, task)
                box.timer = self._after(self._settings.send_timeout, self._expire, connection, box)
                return

    def _queue(self, connection: Connection, payload: Payload) -> None:
        box = connection.outbox
        if box is GONE or box is None:
            return
        if box is BUSY:
            box = connection.outbox = Outbox()
        if len(box) >= self._settings.queue_size and not self._make_room(connection, box, payload):
            return
        box.push(payload)

    def _make_room(self, connection: Connection, box: Outbox, payload: Payload) -> bool:
        """Drop something from a full queue; False when ``payload`` itself is not to be queued."""
        if not connection.dropped:
            logger.warning(
                "a connection is behind, its queue is full",
                extra=ids(channel_id=self._name, connection_id=connection.id),
            )
        if box.drop_delta():
            room = True
        elif type(payload) is StreamDelta:
            room = False
        elif self._settings.disconnect:
            self._end(connection, TOO_SLOW)
            return False
        else:
            box.pop()
            room = True
        connection.dropped += 1
        self.dropped += 1
        return room

    def _failed(self, connection: Connection, error: BaseException) -> None:
        connection.failures += 1
        logger.debug(
            "a send failed: %s",
            type(error).__name__,
            extra=ids(channel_id=self._name, connection_id=connection.id),
        )
        if connection.failures >= self._settings.max_failures and connection.outbox is not GONE:
            self._end(connection, SEND_FAILED)

    def _open(self, round_: Round) -> asyncio.Future[None]:
        round_.left = len(round_.flights)
        slow_after = min(self._settings.slow_after, self._settings.send_timeout)
        round_.timer = self._after(slow_after, self._slow, round_)
        return round_.done

    def _slow(self, round_: Round) -> None:
        """Wait no longer for a round; what is still on its way gets a deadline of its own."""
        left = max(0.0, self._settings.send_timeout - self._settings.slow_after)
        for connection, box in round_.flights:
            if box.round is round_:
                box.round = None
                box.timer = self._after(left, self._expire, connection, box)
        round_.flights.clear()
        round_.release()

    def _expire(self, connection: Connection, box: Outbox) -> None:
        if connection.outbox is box:
            connection.failures += 1
            self._end(connection, SEND_TIMEOUT)
        elif box.task is not None:
            box.task.cancel()

    def _after(self, seconds: float, call: Callable[..., None], *args: Any) -> _Timer:
        if self._clock is None:
            return asyncio.get_running_loop().call_later(seconds, call, *args)
        return self._timers.start(self._sleep_then(self._clock, seconds, partial(call, *args)))

    @staticmethod
    async def _sleep_then(clock: Clock, seconds: float, call: Callable[[], None]) -> None:
        await clock.sleep(seconds)
        call()


class _Timer(Protocol):
    """Something to be called later that can be called off."""

    def cancel(self) -> object:
        """Do not call."""


async def end_tasks(ending: Coroutine[Any, Any, None], channel_id: str) -> None:
    """Wait at most 2 seconds for cancelled tasks; those that refuse to end are left, logged."""
    try:
        await bounded(ending, _CLOSE_SECONDS)
    except DeadlineExceeded:
        logger.warning("some tasks do not end when cancelled", extra=ids(channel_id=channel_id))


async def _await(awaitable: Awaitable[Any]) -> None:
    await awaitable


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
