"""An ASGI app on a socket of this machine, inside the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

_GRACE_SECONDS = 2
_SERVER_LOGGER = "uvicorn.error"


@contextlib.asynccontextmanager
async def serve(app: Any, sock: socket.socket) -> AsyncIterator[int]:
    """Serve ``app`` on a bound socket while the context lasts.

    Signals stay the program's own, and nothing is logged of requests.

    Yields:
        The port.

    Raises:
        MissingDependencyError: uvicorn is not installed.
        RuntimeError: The server did not start.
    """
    uvicorn = require("uvicorn", user="the simulators", extra="simulators")
    ready, stop = asyncio.Event(), asyncio.Event()
    # A cut answer is part of the play, not an error to shout about.
    logging.getLogger(_SERVER_LOGGER).addFilter(_not_a_cut)
    server = _server(uvicorn, _config(uvicorn, app), ready, stop)
    sock.setblocking(False)
    port: int = sock.getsockname()[1]
    running = asyncio.create_task(server.serve(sockets=[sock]), name=f"simulator:{port}")
    starting = asyncio.create_task(ready.wait(), name=f"simulator-starts:{port}")
    try:
        await asyncio.wait((running, starting), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            raise RuntimeError("the simulator's server did not start") from running.exception()
        yield port
    finally:
        starting.cancel()
        stop.set()
        server.should_exit = True
        await asyncio.wait((running,))
        sock.close()


def _config(uvicorn: ModuleType, app: Any) -> Any:
    """Return a configuration without signals, proxies, sockets of browsers or logs."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        lifespan="off",
    )
    config.load()
    protocol: Any = config.http_protocol_class

    class Quiet(protocol):  # type: ignore[misc]
        """A connection whose requests are not logged, whoever listens to uvicorn's loggers."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.access_log = False

    config.http_protocol_class = Quiet
    return config


def _server(uvicorn: ModuleType, config: Any, ready: asyncio.Event, stop: asyncio.Event) -> Any:
    """Return a server that leaves signals alone, says when it is ready and stops at once."""
    base: Any = uvicorn.Server

    class Server(base):  # type: ignore[misc]
        """Runs from one event to the other."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def main_loop(self) -> None:
            await self.on_tick(0)
            ready.set()
            await stop.wait()

        async def shutdown(self, sockets: Any = None) -> None:
            # uvicorn's own waits a tenth of a second in any case; tests start many servers.
            for listener in self.servers:
                listener.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            if self.server_state.tasks:
                _, late = await asyncio.wait(self.server_state.tasks, timeout=_GRACE_SECONDS)
                for task in late:
                    task.cancel()
            await asyncio.sleep(0)

    return Server(config)


def _not_a_cut(record: logging.LogRecord) -> bool:
    return "without completing response" not in record.getMessage()
