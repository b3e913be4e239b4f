"""Ephemeral events between processes, over the publish/subscribe of Redis or Valkey.

What reaches this process is handed on as ``InMemoryRealtime`` does it: a bounded queue and a
task for each subscription. Nothing is kept: what is published while a process is cut off from
the server does not reach it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from roomkit._aio import TaskSet, cancelled_from_within, shielded
from roomkit._logging import log_failure
from roomkit._pump import ServerDown
from roomkit._redis import RedisLink
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.realtime.base import EphemeralEvent, RealtimeBackend
from roomkit.realtime.memory import CALLBACK_TIMEOUT, InMemoryRealtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.realtime.base import EphemeralCallback

logger: logging.Logger = logging.getLogger("roomkit.realtime")

MAX_EVENT_BYTES = 256 * 1024
"""Bytes one event may have as JSON."""

MAX_UNSENT = 1000
"""Events that may wait to be sent; one more is dropped."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds before connecting again; half of it is chance."""


class _Joining:
    """A subscription that waits for the server to confirm it."""

    __slots__ = ("callback", "done")

    def __init__(self, callback: Any) -> None:
        self.callback = callback
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class RedisRealtime(RealtimeBackend):
    """Carries typing, presence and the like to all processes on the same server and prefix.

    ``publish`` queues and returns; it never waits for the server and raises no error of it.
    Every subscriber, also in the publishing process, hears events by way of the server, each
    channel in one order for all. While the server is down events are dropped and counted; one
    warning says so, and connections are tried anew at most 2 seconds apart.

    Args:
        server: A URL such as ``redis://host:port/0``, or a ``redis.asyncio`` client, which
            stays yours to close. Not for Redis Cluster clients.
        prefix: What the names of the server's channels begin with.
        max_queue_size: Events that may wait for one subscription; one more drops the oldest.
        callback_timeout: Seconds a callback may take.
        command_timeout: Seconds one command may take, connecting included.
        ping_every: Seconds of silence after which the server is asked whether it is there.

    One event loop at a time.

    Raises:
        MissingDependencyError: The ``redis`` extra is not installed.
        ConfigurationError: The URL cannot be read.
        ValueError: ``max_queue_size`` is below 1, or a time not above 0.
    """

    def __init__(
        self,
        server: Any,
        *,
        prefix: str = "roomkit:realtime:",
        max_queue_size: int = 100,
        callback_timeout: float = CALLBACK_TIMEOUT,
        command_timeout: float = 0.8,
        ping_every: float = 5.0,
    ) -> None:
        if command_timeout <= 0 or ping_every <= 0:
            raise InvalidInputError("command_timeout and ping_every must be above 0")
        self._ping_every = ping_every
        self._local = InMemoryRealtime(max_queue_size, callback_timeout=callback_timeout)
        self._tasks = TaskSet("realtime:redis")
        self._timeout = command_timeout
        # An event sent twice would be heard twice.
        self._link = RedisLink(
            server,
            user="RedisRealtime",
            timeout=command_timeout,
            repeat=False,
            tasks=self._tasks,
        )
        self._prefix = prefix
        self._channels: dict[str, set[str]] = {}
        self._joining: dict[str, deque[_Joining]] = {}
        self._channel_of: dict[str, str] = {}
        self._pubsub: Any = None
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[Any] | None = None
        self._unsent = 0
        self._lost = 0
        self._foreign = 0
        self._down = False
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"RedisRealtime(subscriptions={self.subscription_count}, down={self._down})"

    @property
    def subscription_count(self) -> int:
        """How many subscriptions this process has now."""
        return len(self._channel_of)

    @property
    def dropped(self) -> int:
        """How many events were dropped so far because a subscription was too slow."""
        return self._local.dropped

    @property
    def lost(self) -> int:
        """How many events of this process were dropped because the server did not take them."""
        return self._lost

    @property
    def down(self) -> bool:
        """Whether the server did not take what it was last given."""
        return self._down

    # Publishing.

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Queue an event for the server; a closed backend ignores it.

        Raises:
            InvalidInputError: The event's data is not JSON, or has more than 256 KiB.
        """
        if self._closed:
            return
        payload = _encoded(event)
        if self._unsent >= MAX_UNSENT:
            self._lost += 1
            self._went_down("more wait than the Redis server takes")
            return
        self._unsent += 1
        sent = self._link.submit("PUBLISH", self._name(channel), payload)
        sent.add_done_callback(self._sent)

    def _sent(self, answer: asyncio.Future[Any]) -> None:
        self._unsent -= 1
        if answer.cancelled():
            self._lost += 1
        elif (error := answer.exception()) is not None:
            self._lost += 1
            self._failed(error)
        else:
            self._came_back()

    # Subscribing.

    async def subscribe(
        self, channel: str, callback: EphemeralCallback | Callable[[EphemeralEvent], None]
    ) -> str:
        """Have ``callback`` called with each event of ``channel`` from now on.

        Returns when the server has confirmed it. When the server is down it returns after
        ``command_timeout`` at the latest: the subscription then begins with the next
        connection.

        Raises:
            ConfigurationError: The backend was closed.
        """
        if self._closed:
            raise ConfigurationError("this realtime backend was closed; make a new one")
        # What this process has published before must not be heard.
        await self._link.flush()
        joining = _Joining(callback)
        self._joining.setdefault(channel, deque()).append(joining)
        self._start_reader()
        try:
            await self._write("subscribe", channel)
            await asyncio.wait((joining.done,), timeout=self._timeout)
        except BaseException:
            await self._take_back(channel, joining)
            raise
        if not joining.done.done():
            self._leave_line(channel, joining)
            await self._begin(channel, joining)
        return joining.done.result()

    def _leave_line(self, channel: str, joining: _Joining) -> None:
        line = self._joining.get(channel)
        if line is not None and joining in line:
            line.remove(joining)
            if not line:
                del self._joining[channel]

    async def _begin(self, channel: str, joining: _Joining) -> None:
        """Let a subscription hear what comes from here on; does not suspend."""
        if self._closed:
            joining.done.set_exception(
                ConfigurationError("this realtime backend was closed; make a new one")
            )
            joining.done.exception()
            return
        name = await self._local.subscribe(channel, joining.callback)
        self._channels.setdefault(channel, set()).add(name)
        self._channel_of[name] = channel
        joining.done.set_result(name)

    async def _take_back(self, channel: str, joining: _Joining) -> None:
        """Undo a subscription whose caller left before it got the id."""
        if joining.done.done():
            with suppress(ConfigurationError):
                await self.unsubscribe(joining.done.result())
            return
        self._leave_line(channel, joining)
        self._leave_server(channel)

    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; its callback is cancelled and not called again.

        Returns once the callback has ended, or after 5 seconds if it resists; at once when
        called from inside that callback. False when there is no such subscription.
        """
        channel = self._channel_of.pop(subscription_id, None)
        if channel is None:
            return False
        self._channels[channel].discard(subscription_id)
        if not self._channels[channel]:
            del self._channels[channel]
        self._leave_server(channel)
        return await self._local.unsubscribe(subscription_id)

    def _leave_server(self, channel: str) -> None:
        """Stop hearing a channel nobody here listens to any more."""
        if channel not in self._channels and channel not in self._joining:
            self._tasks.start(self._write("unsubscribe", channel))

    async def close(self) -> None:
        """End all subscriptions and disconnect; takes about 7 seconds at most. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._channel_of.clear()
        self._channels.clear()
        await self._local.close()
        await self._link.flush()
        await self._tasks.cancel(timeout=self._timeout)
        await self._link.close()

    # The connection that listens. Only the reader makes and drops it.

    def _name(self, channel: str) -> bytes:
        return f"{self._prefix}{channel}".encode("utf-8", "surrogatepass")

    def _start_reader(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = self._tasks.start(self._read(), name="realtime:redis:reader")

    async def _write(self, verb: str, channel: str) -> None:
        """Send SUBSCRIBE or UNSUBSCRIBE; a connection that cannot be written to is made anew.

        Without a connection there is nothing to do: the next one begins with all channels.
        """
        pubsub = self._pubsub
        if pubsub is None:
            return
        if verb == "unsubscribe" and (channel in self._channels or channel in self._joining):
            return
        send = partial(getattr(pubsub, verb), self._name(channel))
        try:
            # A command that is being written is not to be cut off: in a task of its own.
            await shielded(self._tasks.start(self._write_now(pubsub, send)))
        except asyncio.CancelledError:
            # Our close ends that task, which is no cancellation of who waits for it.
            if not cancelled_from_within():
                raise

    async def _write_now(self, pubsub: Any, send: Callable[[], Any]) -> None:
        async with self._writing:
            if pubsub is self._pubsub:
                # A failure shows where the connection is read, and is dealt with there.
                with suppress(Exception):
                    await send()

    async def _read(self) -> None:
        """Listen until the backend closes, over any number of connections."""
        pause = FIRST_PAUSE
        while True:
            pubsub = self._link.client.pubsub()
            try:
                await self._open(pubsub)
                pause = FIRST_PAUSE
                await self._listen(pubsub)
            except Exception as exc:  # noqa: BLE001 - whatever ends a connection, make a new one
                self._failed(self._link.translated(exc))
            finally:
                self._pubsub = None
                with suppress(Exception):
                    # Releases before 5.0.1 call it otherwise.
                    await (getattr(pubsub, "aclose", None) or pubsub.close)()
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # nosec B311
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _open(self, pubsub: Any) -> None:
        """Connect and ask for every channel wanted now."""
        wanted = {self._name(channel) for channel in (*self._channels, *self._joining)}
        async with asyncio.timeout(self._timeout):
            # One of our own keeps the connection listening when nobody else does.
            await pubsub.subscribe(self._name("#"), *wanted)
        self._pubsub = pubsub
        # Those that came while we connected.
        for channel in list(self._joining):
            if self._name(channel) not in wanted:
                await self._write("subscribe", channel)

    async def _listen(self, pubsub: Any) -> None:
        """Hand on what comes; raise when the connection breaks or falls silent."""
        asked = False
        while True:
            patience = self._timeout if asked else self._ping_every
            message = await pubsub.get_message(timeout=patience)
            if message is not None:
                asked = False
                self._came_back()
                await self._heard(message)
            elif asked:
                raise TimeoutError("the server fell silent")
            else:
                asked = True
                async with self._writing:
                    await pubsub.ping()

    async def _heard(self, message: dict[str, Any]) -> None:
        """Take one message in, without waiting for anybody."""
        name = message["channel"]
        if name is None:
            return
        raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")
        channel = raw.decode("utf-8", "surrogatepass").removeprefix(self._prefix)
        if message["type"] == "subscribe":
            line = self._joining.get(channel)
            if line:
                joining = line[0]
                self._leave_line(channel, joining)
                await self._begin(channel, joining)
        elif message["type"] == "message" and channel in self._channels:
            try:
                event = _decoded(message["data"])
            except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as exc:
                self._foreign += 1
                if self._foreign == 1:
                    log_failure(logger, exc, "messages that are no ephemeral events are ignored")
                return
            await self._local.publish(channel, event)

    # Outages.

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ServerDown):
            self._went_down(f"the Redis server does not answer ({error.kind})")
        else:
            # Ours, and written without addresses or secrets.
            self._went_down(str(error))

    def _went_down(self, why: str) -> None:
        if not self._down and not self._closed:
            self._down = True
            logger.warning("live events are lost: %s", why)

    def _came_back(self) -> None:
        if self._down:
            self._down = False
            logger.info("live events flow again")


def _encoded(event: EphemeralEvent) -> bytes:
    try:
        payload = json.dumps(event.to_dict(), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        # Not chained: the text may quote the data.
        raise InvalidInputError(
            f"the data of ephemeral event {event.id!r} cannot be written as JSON"
        ) from None
    if len(payload) > MAX_EVENT_BYTES:
        raise InvalidInputError(
            f"ephemeral event {event.id!r} has {len(payload)} bytes, more than {MAX_EVENT_BYTES}"
        )
    return payload


def _decoded(payload: Any) -> EphemeralEvent:
    """Read an event; whatever somebody else may have published raises one error or another."""
    if len(payload) > MAX_EVENT_BYTES:
        raise ValueError("too long")
    return EphemeralEvent.from_dict(json.loads(payload))
