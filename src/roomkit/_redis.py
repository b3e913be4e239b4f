"""One line to a Redis or Valkey server, for locks and live events.

The client library is imported when a line is made, not before. Commands in flight are never
cancelled, and every wait has an end within the line's timeout.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit._pump import Pump, ServerDown
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit._aio import TaskSet

type Command = tuple[str | bytes | int, ...]
"""One command with its arguments."""


class RedisLink:
    """Commands to one server, in order.

    Args:
        server: A URL (``redis://``, ``rediss://`` or ``unix://``), or a client of
            ``redis.asyncio``, which stays the caller's to close.
        user: The class this is for, named in errors.
        timeout: Seconds a command may take, connecting included.
        repeat: Whether commands may be sent a second time on a new connection when the first
            was lost: only where twice is as good as once.
        tasks: Who owns the tasks.

    Raises:
        MissingDependencyError: The client library is not installed.
        ConfigurationError: The URL cannot be read.
    """

    def __init__(
        self, server: Any, *, user: str, timeout: float, repeat: bool, tasks: TaskSet
    ) -> None:
        redis = require("redis.asyncio", user=user, extra="redis", dist="redis")
        self._errors = import_module("redis.exceptions")
        self._user = user
        self._timeout = timeout
        self._tries = 2 if repeat else 1
        self._pump = Pump(self._send, tasks)
        self._pool: Any = None
        if isinstance(server, str):
            self._pool = self._make_pool(redis, server)
            server = redis.Redis(connection_pool=self._pool)
        self.client = server

    def _make_pool(self, redis: Any, url: str) -> Any:
        retry = import_module("redis.asyncio.retry").Retry
        # The library's own retries would take seconds; how often to try is ours to say.
        no_retry = retry(import_module("redis.backoff").NoBackoff(), 0)
        try:
            return redis.ConnectionPool.from_url(
                url,
                socket_connect_timeout=self._timeout / 2,
                socket_timeout=self._timeout / 2,
                retry=no_retry,
                protocol=2,
            )
        except ValueError:
            # Not chained: the text may quote the URL, and that may hold a password.
            raise ConfigurationError(
                f"{self._user} cannot read its URL: give redis://host:port/number "
                "(rediss:// for TLS), special characters in the password %-encoded"
            ) from None

    async def call(self, *command: str | bytes | int) -> Any:
        """Return the answer to one command.

        Raises:
            ServerDown: No answer in time, or an error instead.
            ConfigurationError: The server does not let us in.
        """
        return await self._pump.call(command, self._timeout)

    async def call_all(self, commands: Iterable[Command]) -> list[Any]:
        """Return the answers to several commands, errors among them as exceptions."""
        return await self._pump.call_all(commands, self._timeout)

    def submit(self, *command: str | bytes | int) -> Any:
        """Send one command and return the future of its answer."""
        return self._pump.submit(command)

    async def flush(self) -> bool:
        """Wait until what was submitted so far was answered; False when it takes too long."""
        return await self._pump.flush(self._timeout)

    async def close(self) -> None:
        """Let go of the connections, unless the client was given. The tasks are not ours."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _send(self, commands: list[Command]) -> list[Any]:
        for left in reversed(range(self._tries)):
            pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            try:
                answers = await pipeline.execute(raise_on_error=False)
            except (self._errors.RedisError, OSError) as exc:
                if not left or not self._lost_connection(exc):
                    raise self.translated(exc) from exc
            else:
                return [self.translated(a) if isinstance(a, Exception) else a for a in answers]
        raise AssertionError("unreachable")

    def _lost_connection(self, error: Exception) -> bool:
        """Whether a new connection may do better; what timed out would only do so again."""
        refused = (self._errors.AuthenticationError, self._errors.BusyLoadingError)
        lost = (self._errors.ConnectionError, ConnectionError)
        return isinstance(error, lost) and not isinstance(error, refused)

    def translated(self, error: Exception) -> Exception:
        """Return our error for one of the library's; the text names neither host nor user."""
        errors = self._errors
        refused = (errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError)
        if isinstance(error, refused):
            return ConfigurationError(
                f"the Redis server refuses {self._user} ({type(error).__name__}): "
                "check the user, the password and the permissions"
            )
        return ServerDown(type(error).__name__)
