"""The driver's side: starts workers, talks to them, kills them, and starts others."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.processes._worker import LINE_LIMIT

if TYPE_CHECKING:
    from types import TracebackType

    from tests.processes._worker import Config

PATIENCE = 30.0
"""Seconds anything may take that has no bound of its own."""

ROOT = Path(__file__).parents[2]


class WorkerGone(Exception):
    """The worker died before it answered."""


class WorkerFailed(Exception):
    """The worker's answer was an error.

    Args:
        kind: The class of the error.
        text: What it says.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Nursery:
    """Starts workers by forking a process that has everything imported.

    Ends with ``close``, or with this process.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.processes._nursery", str(theirs.fileno())],
                cwd=ROOT,
                env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "src")},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._ready = False

    def fork(self, config: Config) -> tuple[int, socket.socket]:
        """Return the process id of a new worker and our end of its socket."""
        if not self._ready:
            assert self._control.recv(16) == b"ready", "the nursery did not start"
            self._ready = True
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [json.dumps(config).encode()], [theirs.fileno()])
            pid = int(self._control.recv(16))
        ours.setblocking(False)
        return pid, ours

    def close(self) -> None:
        """End the nursery; workers still there end with their sockets."""
        self._control.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)


class Worker:
    """A worker process, as the driver sees it.

    Attributes:
        pid: Its process id.
        alive: Whether it answers, as far as is known.
        killed_at: When it was killed, in Unix time.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.alive = False
        self._over = False
        self.killed_at: float | None = None
        self._answers: dict[int, asyncio.Future[Config]] = {}
        self._last = 0
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()

    async def connect(self, sock: socket.socket) -> None:
        """Return once its kit is started."""
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
        started = self._answers[0] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(reader))
        async with asyncio.timeout(PATIENCE):
            await started
        self.alive = not self._over

    async def ask(self, do: str, **given: Any) -> Config:
        """Give a command and return the answer.

        Raises:
            WorkerGone: It died meanwhile.
            WorkerFailed: It answered with an error.
        """
        if not self.alive or self._writer is None:
            raise WorkerGone
        self._last += 1
        number = self._last
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"id": number, "do": do, **given}).encode() + b"\n")
        try:
            async with asyncio.timeout(4 * PATIENCE):
                told = await answer
        finally:
            self._answers.pop(number, None)
        if "error" in told:
            raise WorkerFailed(told["error"], told["text"])
        return dict(told["ok"])

    def kill(self) -> None:
        """End it with SIGKILL."""
        if not self._over:
            self.killed_at = time.time()
            os.kill(self.pid, signal.SIGKILL)
            self._lose()

    async def end(self) -> None:
        """Let it close its kit, and wait for its end."""
        if self.alive and self._writer is not None:
            self._writer.write(b'{"do": "end"}\n')
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.gone.wait()
            except TimeoutError:
                self.kill()
                raise AssertionError("a worker did not close in time") from None

    async def drop(self) -> None:
        """Let go of the socket."""
        self._lose()
        if self._listening is None or self._writer is None:
            return
        self._listening.cancel()
        self._writer.close()
        with suppress(asyncio.CancelledError):
            await self._listening
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                told = json.loads(line)
                waiting = self._answers.get(told["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
        except OSError:
            pass
        finally:
            if self.killed_at is None:
                self.killed_at = time.time()
            self._lose()
            self.gone.set()

    def _lose(self) -> None:
        self._over, self.alive = True, False
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(WorkerGone())
                # Not everybody waits for every answer.
                waiting.exception()


@dataclass
class Fleet:
    """Workers of one store, and the folder with their ledger and logs.

    Attributes:
        nursery: Where they come from.
        folder: A folder of the test's own.
        config: What each worker is given; see ``_worker.Worker``.
        workers: All there have ever been.
    """

    nursery: Nursery
    folder: Path
    config: Config
    workers: list[Worker] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        """The file all workers write into."""
        return self.folder / "ledger"

    @property
    def alive(self) -> list[Worker]:
        """The workers that answer."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def killed(self) -> dict[int, float]:
        """When each worker that is gone was killed, by process id."""
        return {w.pid: w.killed_at for w in self.workers if w.killed_at is not None}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            await worker.drop()

    async def start(self, size: int = 1, **options: Any) -> list[Worker]:
        """Start workers; options are added to their configuration."""
        return list(await asyncio.gather(*(self._start(options) for _ in range(size))))

    async def _start(self, options: Config) -> Worker:
        config = {
            **self.config,
            **options,
            "ledger": str(self.ledger),
            "log": str(self.folder / "workers.log"),
        }
        again = False
        while True:
            pid, sock = self.nursery.fork(config)
            worker = Worker(pid)
            self.workers.append(worker)
            try:
                await worker.connect(sock)
            except WorkerGone:
                # What a worker does wrong is in the log. One that was ended from outside before
                # it could say anything, seen once on a busy machine, is started anew.
                if again or self.log_text():
                    text = f"a worker did not start:\n{self.log_text()}"
                    raise AssertionError(text) from None
                again = True
            else:
                return worker

    def log_text(self) -> str:
        """Return the end of what the workers logged."""
        log = self.folder / "workers.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def any(self, other_than: Worker | None = None) -> Worker:
        """Return a live worker, another one than given if there is one.

        Raises:
            WorkerGone: None is alive.
        """
        alive = self.alive
        if not alive:
            raise WorkerGone
        others = [worker for worker in alive if worker is not other_than]
        return random.choice(others or alive)

    async def idle(self, seconds: float) -> float:
        """Wait until no worker has anything to do; return the Unix time when it was seen."""
        stats: Config = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    stats = await self.any().ask("stats")
                    waiting = [(await w.ask("stats"))["waiting"] for w in self.alive]
                    left = stats["deliveries"]["depth"] + stats["inbox"]["depth"]
                    if not left and not any(waiting):
                        return time.time()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = f"still at work after {seconds} s: {stats}\n{self.log_text()}"
            raise AssertionError(text) from None

    async def end(self) -> None:
        """Close all kits properly."""
        await asyncio.gather(*(worker.end() for worker in self.alive))
