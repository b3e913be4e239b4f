"""What the attacks on voice share: lines that break, and a count of what is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

PATIENCE = 10.0
"""Real seconds any wait may take; far more than one ever does."""


async def until(holds: Callable[[], object]) -> None:
    """Let others run until something is so; TimeoutError when it does not come."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def open_files() -> set[str]:
    """Return the sockets this process has open, by what the system calls them."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("socket:")}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """After the block no task runs and no socket is open that was not before."""
    tasks, files = asyncio.all_tasks(), open_files()
    yield
    try:
        await until(lambda: asyncio.all_tasks() <= tasks and open_files() <= files)
    except TimeoutError:
        # A socket nobody holds any more is closed when it is collected.
        gc.collect()
        await asyncio.sleep(0)
        left = [f"{task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks() - tasks]
        more = open_files() - files
        if left or more:
            raise AssertionError(f"left behind: tasks {left}, sockets {more}") from None


class Relay:
    """A line to a server that can break in every way lines do. An async context manager.

    Args:
        base: The server's URL; ``base`` of the relay has the same scheme and path.

    Attributes:
        accepted: How many connections were asked for.
    """

    def __init__(self, base: str) -> None:
        self._to = urlsplit(base)
        self.accepted = 0
        self._refusing = False
        self._swallowing = False
        self._left = 0
        self._harm = ""
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base(self) -> str:
        """What to connect to."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._to._replace(netloc=f"127.0.0.1:{port}"))

    @property
    def lines(self) -> int:
        """How many connections are carried now."""
        return len(self._ends) // 2

    def cut(self) -> None:
        """Break every connection there is, without a word."""
        for end in list(self._ends):
            end.transport.abort()

    def refuse(self, yes: bool = True) -> None:
        """Break every new connection at once, or do so no more."""
        self._refusing = yes

    def swallow(self, yes: bool = True) -> None:
        """Let everything vanish on its way: both ends seem to be there, and are not heard."""
        self._swallowing = yes

    def stall(self) -> None:
        """Take nothing more from either end, until ``flow``."""
        self._flows.clear()

    def flow(self) -> None:
        """Carry everything again."""
        self._flows.set()
        self._swallowing = False

    def after(self, size: int, harm: str) -> None:
        """Do one of ``cut``, ``swallow`` and ``stall`` when so many more bytes have come."""
        self._left, self._harm = size, harm

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._carry(reader, writer), name="relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = {writer}
        self._ends.add(writer)
        pumps: list[asyncio.Task[None]] = []
        try:
            there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
            mine.add(back)
            self._ends.add(back)
            for source, sink in ((reader, back), (there, writer)):
                pumps.append(asyncio.create_task(self._pump(source, sink), name="relay"))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends -= mine
            # First: whoever ends the relay now cancels what is awaited below.
            for end in mine:
                end.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                self._left -= len(data)
                if self._harm and self._left < 0:
                    harm, self._harm = self._harm, ""
                    getattr(self, harm)()
                await self._flows.wait()
                if not self._swallowing:
                    sink.write(data)
                    await sink.drain()
            sink.write_eof()
            # What the other side still says comes through before the line ends.
            await asyncio.sleep(0.01)


def resident_bytes() -> int:
    """Return how much memory this process has in use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
