"""An ASGI app on a socket of this machine, inside the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import ModuleType

_GRACE_SECONDS = 2
_SERVER_LOGGER = "uvicorn.error"


@contextlib.asynccontextmanager
async def served(
    app: Callable[[Any, Any, Any], Awaitable[None]], *, port: int = 0
) -> AsyncIterator[str]:
    """Serve an ASGI app on this machine while the context lasts, so that vendors can call it.

    For tests and examples; ``roomkit serve`` is for programs. The app's lifespan is run when it
    has one. WebSockets work, signals stay the program's own, nothing is logged of requests. At
    the end connections are closed, requests in hand get two seconds, and then the app is told
    that it ends::

        async with served(create_app(kit)) as url, TwilioSimulator() as twilio:
            await twilio.receive(f"{url}/webhooks/sms", text="hello")

    Args:
        app: What ``roomkit.asgi.create_app`` returned, or any other ASGI app.
        port: The port of 127.0.0.1; 0 takes a free one.

    Yields:
        The URL, such as ``http://127.0.0.1:40123``, without a slash at its end.

    Raises:
        MissingDependencyError: uvicorn is not installed.
        OSError: The port is taken.
        RuntimeError: The app did not start; it has logged why.
    """
    uvicorn = require("uvicorn", user="served", extra="simulators")
    config = _config(uvicorn, app, lifespan="auto", ws="auto")
    async with _running(uvicorn, config, listener(port)) as taken:
        yield f"http://127.0.0.1:{taken}"


@contextlib.asynccontextmanager
async def serve(app: Any, sock: socket.socket) -> AsyncIterator[int]:
    """Serve a simulator on a bound socket while the context lasts.

    Signals stay the program's own, and nothing is logged of requests.

    Yields:
        The port.

    Raises:
        MissingDependencyError: uvicorn is not installed.
        RuntimeError: The server did not start.
    """
    uvicorn = require("uvicorn", user="the simulators", extra="simulators")
    # A cut answer is part of the play, not an error to shout about.
    logging.getLogger(_SERVER_LOGGER).addFilter(_not_a_cut)
    async with _running(uvicorn, _config(uvicorn, app, lifespan="off", ws="none"), sock) as port:
        yield port


def listener(port: int) -> socket.socket:
    """Return a socket bound to a port of 127.0.0.1; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return probe.dup()


@contextlib.asynccontextmanager
async def _running(uvicorn: ModuleType, config: Any, sock: socket.socket) -> AsyncIterator[int]:
    """Run a server while the context lasts; give its port."""
    ready, stop = asyncio.Event(), asyncio.Event()
    server = _server(uvicorn, config, ready, stop)
    sock.setblocking(False)
    port: int = sock.getsockname()[1]
    running = asyncio.create_task(server.serve(sockets=[sock]), name=f"serving:{port}")
    starting = asyncio.create_task(ready.wait(), name=f"starting:{port}")
    try:
        await asyncio.wait((running, starting), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            raise RuntimeError(
                f"the server on port {port} did not start: its app, or what it runs in, failed"
            ) from running.exception()
        yield port
    finally:
        starting.cancel()
        stop.set()
        server.should_exit = True
        await asyncio.wait((running,))
        sock.close()


def _config(uvicorn: ModuleType, app: Any, *, lifespan: str, ws: str) -> Any:
    """Return a configuration without signals, proxies or logs."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        ws=ws,
        proxy_headers=False,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
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

        async def startup(self, sockets: Any = None) -> None:
            try:
                await super().startup(sockets=sockets)
            except SystemExit:
                # uvicorn's answer to an app that fails to start; the program is not its to end.
                self.should_exit = True

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
            await self.lifespan.shutdown()

    return Server(config)


def _not_a_cut(record: logging.LogRecord) -> bool:
    return "without completing response" not in record.getMessage()
