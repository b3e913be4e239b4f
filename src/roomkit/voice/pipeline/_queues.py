"""What waits in a pipeline: frames that came too fast, and callbacks that take their time.

Both queues are bounded and have one consumer, whose task lives only while something waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancelled_from_within
from roomkit._logging import ids, log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

logger = logging.getLogger("roomkit.voice.pipeline")

MOST_FRAMES = 50
"""Frames that wait at most; a second of audio in frames of 20 ms."""

MOST_CALLBACKS = 256
"""Awaitables of callbacks that wait at most."""

_AT_ONCE = 0.02
"""Seconds of work a burst of frames may do in place before the rest has to wait."""

_SLICE = 0.002
"""Seconds of work after which the loop gets a turn."""


def loop_runs() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Meter:
    """How much work in place the sessions of a pipeline owe the loop.

    Every frame's work adds to it; time in which nothing was done pays it back. It is read and
    written by ``FrameQueue.feed``, once a frame, so it has no methods of its own.

    Args:
        monotonic: Seconds that never run backwards.

    Attributes:
        now: ``monotonic``.
        debt: Seconds owed at ``since``.
        since: When work ended last.
    """

    __slots__ = ("debt", "now", "since")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.now = monotonic
        self.debt = 0.0
        self.since = monotonic()


class FrameQueue:
    """Frames of one session on their way into its stages, in order.

    A frame is processed in place while the stages keep up. When they do not, it waits for a
    consumer that lets the loop turn; of too many the oldest are dropped, since old audio is
    worth less than a conversation that keeps up.

    Args:
        process: Given each frame; does not raise.
        tasks: Who owns the consumer.
        meter: What all sessions owe the loop.
        dropped: Told of every frame that is dropped.
    """

    __slots__ = (
        "_busy",
        "_draining",
        "_dropped",
        "_full",
        "_meter",
        "_process",
        "_tasks",
        "_waiting",
    )

    def __init__(
        self,
        process: Callable[[VoiceSession, AudioFrame], Any],
        tasks: TaskSet,
        meter: Meter,
        dropped: Callable[[VoiceSession], None],
    ) -> None:
        self._process = process
        self._tasks = tasks
        self._meter = meter
        self._dropped = dropped
        self._waiting: deque[tuple[VoiceSession, AudioFrame]] = deque()
        self._busy = False
        self._draining = False
        self._full = False

    def feed(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Process a frame now, or after those that wait."""
        if self._waiting or self._busy:
            self._put(session, frame)
            return
        meter = self._meter
        now = meter.now()
        debt = meter.debt - (now - meter.since)
        if debt > _AT_ONCE and loop_runs():
            meter.debt, meter.since = debt, now
            self._put(session, frame)
            self._start()
            return
        self._busy = True
        try:
            self._process(session, frame)
        finally:
            self._busy = False
            meter.since = done = meter.now()
            meter.debt = (debt if debt > 0.0 else 0.0) + done - now
        if self._waiting:
            self._start()

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def _put(self, session: VoiceSession, frame: AudioFrame) -> None:
        if len(self._waiting) >= MOST_FRAMES:
            self._dropped(self._waiting.popleft()[0])
            if not self._full:
                self._full = True
                logger.warning(
                    "the stages are slower than the audio: old frames are dropped",
                    extra=ids(session_id=session.id),
                )
        self._waiting.append((session, frame))

    def _one(self, session: VoiceSession, frame: AudioFrame) -> None:
        self._busy = True
        try:
            self._process(session, frame)
        finally:
            self._busy = False

    def _start(self) -> None:
        """Let the consumer take what waits; without a loop it is taken here and now."""
        if self._draining:
            return
        if loop_runs():
            self._tasks.start(self._drain(), name="voice_frames")
            return
        while self._waiting:
            self._one(*self._waiting.popleft())

    async def _drain(self) -> None:
        self._draining = True
        try:
            await asyncio.sleep(0)
            since = self._meter.now()
            while self._waiting:
                self._one(*self._waiting.popleft())
                if self._meter.now() - since > _SLICE:
                    await asyncio.sleep(0)
                    since = self._meter.now()
        finally:
            self._draining = False
            self._waiting.clear()


class CallbackLane:
    """What callbacks of one session returned to be awaited, one after the other.

    Args:
        session_id: Whose.
        tasks: Who owns the consumer.
    """

    def __init__(self, session_id: str, tasks: TaskSet) -> None:
        self._session_id = session_id
        self._tasks = tasks
        self._waiting: deque[Awaitable[Any]] = deque()
        self._task: asyncio.Task[Any] | None = None
        self._running = False
        self._full = False

    def push(self, awaitable: Awaitable[Any]) -> None:
        """Await something after what came before; its first step runs at once if it is first.

        It is dropped when no loop runs, and when too many wait (logged once).
        """
        if not loop_runs():
            _drop(awaitable)
            return
        if len(self._waiting) >= MOST_CALLBACKS:
            _drop(awaitable)
            if not self._full:
                self._full = True
                logger.error(
                    "a callback is too slow: %d wait, further ones are dropped",
                    MOST_CALLBACKS,
                    extra=ids(session_id=self._session_id),
                )
            return
        self._waiting.append(awaitable)
        if not self._running:
            self._running = True
            self._task = self._tasks.start(self._run(), name="voice_callbacks")

    def cancel(self) -> None:
        """Drop what waits and stop what runs, unless that is the caller."""
        while self._waiting:
            _drop(self._waiting.popleft())
        task = self._task
        if task is None or task.done():
            return
        if not loop_runs() or task is not asyncio.current_task():
            task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._one(self._waiting.popleft())
        finally:
            self._running = False
            while self._waiting:
                _drop(self._waiting.popleft())

    async def _one(self, awaitable: Awaitable[Any]) -> None:
        try:
            await awaitable
        except asyncio.CancelledError:
            if not cancelled_from_within():
                raise
            logger.debug("a callback awaited something that had been cancelled")
        except Exception as exc:  # noqa: BLE001 - a callback is foreign code
            log_failure(
                logger, exc, "an audio callback failed", extra=ids(session_id=self._session_id)
            )


def _drop(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine nobody will await; a future goes on by itself."""
    if iscoroutine(awaitable):
        awaitable.close()
