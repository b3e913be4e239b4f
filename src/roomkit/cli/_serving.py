"""What `roomkit serve` does: finds the app, listens, and ends in order."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import signal
import socket
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.asgi import AccessLogFilter, App, create_app
from roomkit.cli._command import ExitCode, UsageError
from roomkit.cli._output import write_error, write_line
from roomkit.core.framework import RoomKit
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SERVER_LOGS = ("uvicorn.access", "uvicorn.error")
_BACKLOG = 2048
"""Connections the system keeps for us until we take them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line said; see `serve.add_arguments`."""

    target: str
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    root_path: str = ""
    log_level: str = "info"
    access_log: bool = True
    drain_timeout: float = 10.0
    leave_for: float = 0.0


def serve(settings: Settings) -> int:
    """Serve until a signal, then end in order.

    Raises:
        UsageError: The target is not there, or is nothing we can serve.
        ConfigurationError: uvicorn is missing, or the address cannot be listened on.
        StoreError: The kit's store cannot be opened.
    """
    uvicorn = require("uvicorn", user="roomkit serve", extra="serve")
    with _logging(settings.log_level):
        found = load(settings.target)
        return asyncio.run(_serve(uvicorn, settings, found))


def load(target: str) -> Any:
    """Return what ``module:attribute`` names, looking in this folder first.

    Raises:
        UsageError: There is no such module, or no such attribute in it.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise UsageError("name what to serve as MODULE:ATTRIBUTE, such as shop:kit")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        # Of a module that is there and itself misses one, the whole story is wanted.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(f"there is no module {module_name!r} here or installed") from None
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"module {module_name!r} has no {path!r}") from None
    return found


async def make(found: Any, settings: Settings) -> App:
    """Return the app for a kit, an app, or a function that returns one of them.

    Raises:
        UsageError: It is something else, or an option contradicts it.
    """
    if callable(found) and not isinstance(found, App | RoomKit):
        found = found()
        if inspect.isawaitable(found):
            found = await found
    if isinstance(found, App):
        if settings.public_url is not None:
            raise UsageError("the app was made already: give public_url to create_app, not here")
        return found
    if isinstance(found, RoomKit):
        return create_app(
            found, public_url=settings.public_url, drain_timeout=settings.drain_timeout
        )
    raise UsageError(
        f"{settings.target!r} is neither a RoomKit nor what roomkit.asgi.create_app returns, but "
        f"a {type(found).__name__}; an app of another framework is served by its own server, "
        "with ours mounted in it"
    )


async def _serve(uvicorn: Any, settings: Settings, found: Any) -> int:
    app = await make(found, settings)
    with _listening(settings.host, settings.port) as listener:
        server = uvicorn.Server(_config(uvicorn, app, settings))
        # We handle signals: uvicorn would raise them again at the end, and not end with 0.
        server.capture_signals = nullcontext
        ending = _Ending(app, server, settings.leave_for)
        with _signals(ending.ask):
            try:
                await app.startup()
                write_line(f"RoomKit serves {_url(listener, settings.root_path)}")
                sys.stdout.flush()
                await server.serve(sockets=[listener])
                await app.shutdown()
            except BaseException as error:
                await app.shutdown(drain_timeout=0)
                if not (ending.cut_short and isinstance(error, asyncio.CancelledError)):
                    raise
                write_error("roomkit serve: cut short; what a durable store keeps goes on later")
                return ExitCode.PROBLEM
    return ExitCode.OK


class _Ending:
    """Ends a server when asked: at first in order, then faster.

    Attributes:
        cut_short: Whether it was asked again while ending.
    """

    def __init__(self, app: App, server: Any, leave_for: float) -> None:
        self._app = app
        self._server = server
        self._leave_for = leave_for
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self.cut_short = False

    def ask(self) -> None:
        """Take one step towards the end."""
        if self._timer is None and self._leave_for > 0:
            self._app.leave()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._leave_for, self._stop)
        elif not self._server.should_exit:
            self._stop()
        elif not self.cut_short:
            self.cut_short = True
            self._server.force_exit = True
            if self._task is not None:
                self._task.cancel()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._app.stop_accepting()
        self._server.should_exit = True


def _config(uvicorn: Any, app: App, settings: Settings) -> Any:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=settings.access_log,
        lifespan="off",
        root_path=settings.root_path.rstrip("/"),
        # What a client says about who it is and how it came is not to be believed.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Give a listening socket, closed at the end.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or type(error).__name__}; "
            "choose others with --host and --port"
        ) from None
    with listener:
        yield listener


def _url(listener: socket.socket, root_path: str) -> str:
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}{root_path.rstrip('/')}"


@contextmanager
def _signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call ``ask`` at each signal to end."""
    loop = asyncio.get_running_loop()
    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, ask)
    except NotImplementedError:  # pragma: no cover - Windows
        for number in _SIGNALS:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ask))
        yield
        return
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def _logging(level: str) -> Iterator[None]:
    """Log to standard error, unless the program sets up logging itself; without secrets."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    cleaner = AccessLogFilter()
    for name in _SERVER_LOGS:
        logging.getLogger(name).addFilter(cleaner)
    try:
        yield
    finally:
        for name in _SERVER_LOGS:
            logging.getLogger(name).removeFilter(cleaner)
