"""Frames on their way in: a bounded queue for one session, emptied in order by one task."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancelled_from_within
from roomkit._logging import ids, log_failure
from roomkit.voice.base import VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit._aio import TaskSet
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

logger = logging.getLogger("roomkit.voice.backends")

QUEUE_FRAMES = 50
"""Frames that may wait for the callbacks of one session: a second of audio."""


async def tell(
    callbacks: Sequence[Callable[..., Any]], session: VoiceSession, *values: Any, quiet: bool
) -> int:
    """Call callbacks in order, awaiting those that are async; return how many failed.

    A failing one is logged and stops nobody.

    Args:
        callbacks: What to call.
        session: The first argument, and whose id the log line carries.
        values: The further arguments.
        quiet: Do not log: it has been logged before.
    """
    failed = 0
    for callback in callbacks:
        error: BaseException
        try:
            result = callback(session, *values)
            if isawaitable(result):
                await result
            continue
        except asyncio.CancelledError as exc:
            if not cancelled_from_within():
                raise
            error = exc
        except Exception as exc:  # noqa: BLE001 - a callback is foreign code
            error = exc
        failed += 1
        if not quiet:
            log_failure(logger, error, "a voice callback failed", extra=_ids(session))
    return failed


def _ids(session: VoiceSession) -> dict[str, Any]:
    return ids(session_id=session.id, room_id=session.room_id, channel_id=session.channel_id)


class Inlet:
    """Hands the frames of one session to callbacks, in order.

    When the callbacks are slower than the sound, the oldest waiting frame is dropped and
    counted: what is said now matters more than what was said a second ago.

    Args:
        session: Whose frames.
        callbacks: Called for the present list of callbacks.
        tasks: Who owns the task; it lives only while frames wait.
        size: Frames that may wait.

    Attributes:
        dropped: Frames nobody heard: the queue was full, or the session had ended.
        failures: Calls of callbacks that failed; the first is logged.
    """

    def __init__(
        self,
        session: VoiceSession,
        callbacks: Callable[[], Sequence[Callable[..., Any]]],
        tasks: TaskSet,
        size: int = QUEUE_FRAMES,
    ) -> None:
        self._session = session
        self._callbacks = callbacks
        self._tasks = tasks
        self._size = size
        self._waiting: deque[AudioFrame] = deque()
        self._running = False
        self.dropped = 0
        self.failures = 0

    def put(self, frame: AudioFrame) -> None:
        """Queue a frame; its callbacks may run at once."""
        if self._session.state is VoiceSessionState.ENDED:
            self.dropped += 1
            return
        if len(self._waiting) >= self._size:
            self._waiting.popleft()
            if not self.dropped:
                logger.warning(
                    "frames are dropped: the callbacks are slower than the sound",
                    extra=_ids(self._session),
                )
            self.dropped += 1
        self._waiting.append(frame)
        if not self._running:
            self._running = True
            self._tasks.start(self._drain(), name=f"voice_inbound:{self._session.id}")

    def close(self) -> None:
        """Drop what waits; what is with a callback right now ends by itself."""
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                frame = self._waiting.popleft()
                quiet = self.failures > 0
                self.failures += await tell(self._callbacks(), self._session, frame, quiet=quiet)
        finally:
            self._running = False
