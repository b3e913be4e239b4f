"""Writing sound to disk without holding up the event loop: one thread, in order, bounded."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from roomkit._logging import log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("roomkit.voice.recording")


class FileWorker:
    """Runs jobs one after the other in a thread that exists only while it is needed.

    Args:
        name: Of the thread.
        max_bytes: How much sound may wait to be written.
    """

    def __init__(self, name: str, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._waiting = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: set[Future[Any]] = set()

    def has_room(self, size: int) -> bool:
        """Return whether ``size`` more bytes may wait."""
        return self._waiting + size <= self._max_bytes

    def submit(self, job: Callable[..., Any], *args: Any, size: int = 0) -> Future[Any]:
        """Run a job after those before it; a failure is logged and kept in the future."""
        with self._lock:
            self._waiting += size
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
            future = self._pool.submit(self._run, job, args, size)
            self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)
        return future

    def _run(self, job: Callable[..., Any], args: tuple[Any, ...], size: int) -> Any:
        try:
            return job(*args)
        except Exception as exc:
            log_failure(logger, exc, "%s could not write", self._name)
            raise
        finally:
            with self._lock:
                self._waiting -= size

    def retire(self) -> None:
        """Let the thread end once its jobs are done; the next job starts another."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    async def settle(self) -> None:
        """Return when all jobs submitted so far are done."""
        await asyncio.to_thread(wait, set(self._jobs))
