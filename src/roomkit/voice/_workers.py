"""Models that run on this machine: one thread each, so that the event loop never waits for one.

A job that has begun cannot be taken back from native code. It is told to stop and looks at that
between two steps; whoever asked for it is free at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancelled_from_within
from roomkit._logging import log_failure
from roomkit.exceptions import ConfigurationError, ProviderError, RoomKitError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from concurrent.futures import Future

logger = logging.getLogger("roomkit.voice")

MOST_WAITING = 64
"""Jobs that may wait for one model, the running one included; more are refused."""

_LOAD_SECONDS = 120.0
_END_SECONDS = 10.0
_LONGEST_REASON = 300


class Stop:
    """Tells a running job that nobody wants its result any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Tell it."""
        self._event.set()


class ModelWorker[M]:
    """A thread that loads a model, does one job after the other with it, and lets it go.

    The thread begins with the first job and ends with ``close``.

    Args:
        name: The provider's name, for errors and for the thread.
        load: Returns the model; runs in the thread, once.
        free: Lets the model go; runs in the thread, last.
    """

    def __init__(
        self, name: str, load: Callable[[], M], free: Callable[[M], None] | None = None
    ) -> None:
        self._name = name
        self._load = load
        self._free = free
        self._model: M | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: dict[Future[Any], Stop] = {}
        self._closed = False

    @property
    def model(self) -> M | None:
        """The model, once it is loaded."""
        return self._model

    async def load(self) -> None:
        """Load the model unless it is there. A failure is told, and the next call tries anew.

        Raises:
            ConfigurationError: A file is missing, or is no such model.
            ProviderError: It took too long, or the provider is closed.
        """
        if self._model is None or self._closed:
            await self._run(lambda stop: self._loaded(), _LOAD_SECONDS)

    async def run[T](self, job: Callable[[M, Stop], T], seconds: float) -> T:
        """Return what a job gives that gets the model and may be told to stop.

        Args:
            job: Runs in the thread, after those before it.
            seconds: How long it may wait and work, loading the model aside.

        Raises:
            ConfigurationError: The model cannot be loaded.
            ProviderError: It failed, took too long, was refused because too many wait, or the
                provider is closed.
        """
        await self.load()
        return await self._run(lambda stop: job(self._loaded(), stop), seconds)

    async def pieces(
        self, job: Callable[[M, Callable[[bytes], bool]], None], seconds: float
    ) -> AsyncGenerator[bytes]:
        """Yield what a job emits, while it goes on.

        Args:
            job: Gets the model and ``emit(data)``, which returns whether to go on. What was
                emitted waits until it is read: a job emits no more than its caller can hold.
            seconds: To the first piece, and from one to the next.

        Raises:
            ConfigurationError: The model cannot be loaded.
            ProviderError: As ``run``.
        """
        await self.load()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

        def put(data: bytes | None) -> None:
            # The loop may have ended while native code was still at it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(waiting.put_nowait, data)

        def work(stop: Stop) -> None:
            def emit(data: bytes) -> bool:
                if not stop:
                    put(data)
                return not stop

            job(self._loaded(), emit)

        future, stop = self._submit(work)
        future.add_done_callback(lambda done: put(None))
        try:
            while True:
                data: bytes | None = await self._within(waiting.get(), seconds)
                if data is None:
                    break
                yield data
            await self._within(asyncio.wrap_future(future), seconds)
        finally:
            stop.set()
            future.cancel()

    def afterwards(self, job: Callable[[M], None]) -> None:
        """Do something in the thread that nobody waits for; nothing when it is closed."""
        if self._closed or self._model is None:
            return

        def work(stop: Stop) -> None:
            try:
                job(self._loaded())
            except Exception as exc:  # noqa: BLE001 - nobody waits for it
                log_failure(logger, exc, "%s could not tidy up", self._name)

        self._start(work)

    async def close(self) -> None:
        """Stop what runs, drop what waits, let the model go and end the thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for future, stop in list(self._jobs.items()):
            stop.set()
            future.cancel()
        last = pool.submit(self._let_go)
        pool.shutdown(wait=False)
        _, late = await asyncio.wait((asyncio.wrap_future(last),), timeout=_END_SECONDS)
        if late:
            logger.warning("%s: a job in native code goes on after its end", self._name)

    # -- in the thread ------------------------------------------------------------------------

    def _loaded(self) -> M:
        if self._model is None:
            try:
                self._model = self._load()
            except RoomKitError:
                raise
            except Exception as exc:
                reason = str(exc)[:_LONGEST_REASON] or type(exc).__name__
                raise ConfigurationError(
                    f"{self._name} could not load its model; check its files and settings: "
                    f"{reason}"
                ) from exc
        return self._model

    def _let_go(self) -> None:
        model, self._model = self._model, None
        if model is None or self._free is None:
            return
        try:
            self._free(model)
        except Exception as exc:  # noqa: BLE001 - it is gone either way
            log_failure(logger, exc, "%s could not let its model go", self._name)

    # -- on the event loop --------------------------------------------------------------------

    async def _run[T](self, job: Callable[[Stop], T], seconds: float) -> T:
        future, stop = self._submit(job)
        try:
            return await self._within(asyncio.wrap_future(future), seconds)
        finally:
            stop.set()
            future.cancel()

    def _submit[T](self, job: Callable[[Stop], T]) -> tuple[Future[T], Stop]:
        if self._closed:
            raise self._is_closed()
        if len(self._jobs) >= MOST_WAITING:
            raise ProviderError(
                f"{self._name} is busy: {MOST_WAITING} jobs wait for its model already",
                retryable=True,
                provider=self._name,
            )
        return self._start(job)

    def _start[T](self, job: Callable[[Stop], T]) -> tuple[Future[T], Stop]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
        stop = Stop()
        future = self._pool.submit(job, stop)
        self._jobs[future] = stop
        future.add_done_callback(lambda done: self._jobs.pop(done, None))
        return future, stop

    async def _within[T](self, waiting: Any, seconds: float) -> T:
        """Return what is waited for.

        Raises:
            ProviderError: It failed, took too long, or was dropped by ``close``.
        """
        try:
            async with asyncio.timeout(seconds) as limit:
                result: T = await waiting
                return result
        except RoomKitError:
            raise
        except asyncio.CancelledError:
            if self._closed and cancelled_from_within():
                raise self._is_closed() from None
            raise
        except Exception as exc:
            if limit.expired():
                raise ProviderError(
                    f"{self._name} did not finish within {seconds:g} seconds; give it a smaller "
                    "model, fewer calls at a time or more time",
                    retryable=True,
                    provider=self._name,
                ) from exc
            # What the engine says may quote what was to be said.
            raise ProviderError(
                f"{self._name} failed ({type(exc).__name__})", provider=self._name
            ) from exc

    def _is_closed(self) -> ProviderError:
        return ProviderError(f"{self._name} is closed; make a new one", provider=self._name)


class LocalModel[M]:
    """What recognisers and synthesisers on this machine share: a model behind a worker.

    A provider sets ``_worker`` in its constructor.
    """

    _worker: ModelWorker[M]

    async def warmup(self) -> None:
        """Load the model; the first call need not wait for it then. Again does nothing.

        Raises:
            ConfigurationError: It cannot be loaded; the text names the file.
            ProviderError: It took too long, or the provider is closed.
        """
        await self._worker.load()

    async def close(self) -> None:
        """Stop what runs, let the model go and end its thread. Idempotent.

        Whoever waits for a result gets a ProviderError, as does every later call.
        """
        await self._worker.close()


def require_file(user: str, field: str, path: str | Path, *, folder: bool = False) -> str:
    """Return the path of a model's file, which is there.

    Args:
        user: The class that needs it.
        field: The setting that names it.
        path: Where it should be.
        folder: Whether it is a folder.

    Raises:
        ConfigurationError: It was not named, or is not there.
    """
    kind = "folder" if folder else "file"
    if not str(path):
        raise ConfigurationError(f"{user} needs {field}=, the path of a {kind} of its model")
    found = Path(path)
    if not (found.is_dir() if folder else found.is_file()):
        raise ConfigurationError(
            f"{user}: there is no {kind} {str(path)!r}; download the model and set {field}= to "
            "where it is"
        )
    return str(found)
