"""The channel of live sockets: every event of a room goes to each connection in it.

The channel does not speak WebSocket itself. The application registers a function that sends to
one socket, and serialises in it what it is given: the event object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Literal

from roomkit._aio import TaskSet
from roomkit._logging import ids
from roomkit.channels._capabilities import WEBSOCKET_CAPABILITIES
from roomkit.channels._ws_connection import (
    Connection,
    Fanout,
    FanoutSettings,
    end_tasks,
    logger,
)
from roomkit.channels.base import Channel
from roomkit.channels.transport import SenderCache
from roomkit.exceptions import InvalidInputError
from roomkit.models.channel import ChannelOutput
from roomkit.models.enums import ChannelType
from roomkit.models.event import ChannelData, RoomEvent
from roomkit.models.streaming import StreamDelta, StreamEnd

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage

SendFn = Callable[[str, RoomEvent], Awaitable[Any] | None]
"""Sends one event to one connection: ``(connection_id, event)``, async or not."""

StreamFn = Callable[[str, StreamDelta | StreamEnd], Awaitable[Any] | None]
"""Shows a piece of an answer still being made: ``(connection_id, piece)``, async or not."""

CloseFn = Callable[[str, str], Awaitable[Any] | None]
"""Is told that the channel ended a connection: ``(connection_id, reason)``, async or not."""

_CLOSED = "closed"
_CLOSE_WAIT = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """How one connection is doing.

    Attributes:
        queued: Events and pieces waiting behind the send under way.
        dropped: How many were dropped because the queue was full.
        failures: Failed sends since the last one that succeeded.
    """

    queued: int
    dropped: int
    failures: int


class WebSocketChannel(Channel):
    """A channel with any number of live connections.

    Every connection gets its events in the order they were delivered. A connection that keeps
    up is sent to within ``deliver``; one that does not is sent to from a queue of its own and
    holds up nobody. A connection that fails is removed; ``deliver`` never raises.

    Args:
        channel_id: Unique within a kit.
        queue_size: How many events may wait for one slow connection.
        send_timeout: Seconds one send may take; then the connection is removed.
        slow_after: Seconds ``deliver`` waits for sends that do not finish at once.
        max_failures: Failed sends in a row that remove a connection.
        drop: What happens when a queue is full: ``"oldest"`` drops its oldest event and counts
            it, ``"disconnect"`` removes the connection. Either way pieces of answers still
            being made are dropped first.
        clock: Where the time for the bounds comes from; None: the event loop.

    Raises:
        InvalidInputError: A bound that makes no sense, or an unknown ``drop``.
    """

    channel_type = ChannelType.WEBSOCKET

    def __init__(
        self,
        channel_id: str,
        *,
        queue_size: int = 256,
        send_timeout: float = 10.0,
        slow_after: float = 0.05,
        max_failures: int = 3,
        drop: Literal["oldest", "disconnect"] = "oldest",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(channel_id)
        if queue_size < 1 or max_failures < 1 or send_timeout <= 0 or slow_after < 0:
            raise InvalidInputError(
                "queue_size and max_failures must be at least 1, send_timeout positive and "
                "slow_after not negative"
            )
        if drop not in ("oldest", "disconnect"):
            raise InvalidInputError("drop must be 'oldest' or 'disconnect'")
        settings = FanoutSettings(
            queue_size=queue_size,
            send_timeout=send_timeout,
            slow_after=slow_after,
            max_failures=max_failures,
            disconnect=drop == "disconnect",
        )
        self._send_timeout = send_timeout
        self._connections: dict[str, Connection] = {}
        # Who hears a room; under None those who hear every room. Tuples: a delivery takes one
        # as it is, and a room with a single connection (a customer's chat) costs little.
        self._hearers: dict[str | None, tuple[Connection, ...]] = {}
        self._streams = 0
        self._senders = SenderCache(channel_id)
        self._closers = TaskSet(f"{channel_id}:on_close")
        self._fanout = Fanout(channel_id, settings, clock, self._end)

    @property
    def info(self) -> dict[str, Any]:
        """``{"connection_count": n}``."""
        return {"connection_count": len(self._connections)}

    @property
    def connection_count(self) -> int:
        """How many connections are registered."""
        return len(self._connections)

    @property
    def dropped_total(self) -> int:
        """How many events and pieces were dropped from full queues, all connections together."""
        return self._fanout.dropped

    def capabilities(self) -> ChannelCapabilities:
        """Return the rich capabilities of a client the application writes itself."""
        return WEBSOCKET_CAPABILITIES

    def register_connection(
        self,
        connection_id: str,
        send_fn: SendFn,
        *,
        room_ids: str | Iterable[str] | None = None,
        stream_fn: StreamFn | None = None,
        on_close: CloseFn | None = None,
    ) -> None:
        """Send to a connection from now on.

        An id that is registered already is replaced: what was on its way to the old
        connection is cancelled, its queue and its error count are forgotten.

        Args:
            connection_id: Unique within the channel.
            send_fn: Sends an event. It is never called for a connection again before its
                last call has ended.
            room_ids: The room or rooms the connection hears; None: every room the channel is
                attached to.
            stream_fn: Shows pieces of answers still being made; without it the connection
                gets whole answers only.
            on_close: Called once when the channel itself ends the connection, with the reason:
                ``send_failed``, ``send_timeout``, ``too_slow``, or ``closed`` with the channel.
        """
        old = self._connections.get(connection_id)
        if old is not None:
            self._remove(old)
        connection = Connection(connection_id, send_fn, stream_fn, on_close, _rooms(room_ids))
        self._connections[connection_id] = connection
        for room_id in _heard_by(connection):
            self._hearers[room_id] = (*self._hearers.get(room_id, ()), connection)
        self._count_streams(connection, 1)

    def unregister_connection(self, connection_id: str) -> None:
        """Send no more to a connection, and cancel what is on its way. An unknown id is fine."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            self._remove(connection)

    def join_room(self, connection_id: str, room_id: str) -> bool:
        """Let a connection hear one more room; what is on its way to it stays.

        Returns:
            False when the connection is unknown.
        """
        connection = self._connections.get(connection_id)
        if connection is None:
            return False
        heard = _heard_by(connection)
        if None not in heard and room_id not in heard:
            connection.rooms = _rooms((*heard, room_id))
            self._hearers[room_id] = (*self._hearers.get(room_id, ()), connection)
        return True

    def leave_room(self, connection_id: str, room_id: str) -> bool:
        """Let a connection no longer hear a room; what is queued for it is still sent.

        Returns:
            False when the connection is unknown or did not name the room.
        """
        connection = self._connections.get(connection_id)
        heard = () if connection is None else _heard_by(connection)
        if connection is None or room_id not in heard:
            return False
        connection.rooms = _rooms(room for room in heard if room is not None and room != room_id)
        self._forget(room_id, connection)
        return True

    def connection_stats(self, connection_id: str) -> ConnectionStats | None:
        """Return how a connection is doing, or None when it is not registered."""
        connection = self._connections.get(connection_id)
        if connection is None:
            return None
        return ConnectionStats(
            queued=len(connection.outbox or ()),
            dropped=connection.dropped,
            failures=connection.failures,
        )

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is; messages of one sender share one source."""
        source, data = self._senders.shared(message.sender_id, self.channel_type)
        if message.thread_id is not None:
            data = ChannelData(thread_id=message.thread_id)
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=source,
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
            channel_data=data,
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Send the event object to every connection that hears its room.

        Returns when each send is done or ``slow_after`` has passed; cancelling it loses
        nothing. Never raises for a connection's sake.
        """
        waiting = self._fanout.send(self._hearing(event.room_id), event)
        if waiting is not None:
            await waiting
        return ChannelOutput.empty()

    async def deliver_delta(self, delta: StreamDelta | StreamEnd, binding: ChannelBinding) -> None:
        """Show a piece of an answer to the connections that take pieces; as ``deliver``."""
        if not self._streams:
            return
        hearing = [c for c in self._hearing(delta.room_id) if c.stream is not None]
        waiting = self._fanout.send(hearing, delta, stream=True)
        if waiting is not None:
            await waiting

    async def close(self) -> None:
        """End every connection, telling its ``on_close``, and every task. Idempotent."""
        for connection in list(self._connections.values()):
            self._remove(connection)
            self._tell(connection, _CLOSED)
        current = asyncio.current_task()
        try:
            await self._closers.wait(_CLOSE_WAIT, but=(current,))
        finally:
            await end_tasks(self._closers.cancel(but=(current,)), self.channel_id)
            await self._fanout.close()

    def _hearing(self, room_id: str) -> tuple[Connection, ...]:
        everywhere, here = self._hearers.get(None), self._hearers.get(room_id)
        if everywhere is None:
            return here or ()
        return everywhere + here if here else everywhere

    def _remove(self, connection: Connection) -> None:
        """Take a connection out of the books; the caller has seen that it is in them."""
        del self._connections[connection.id]
        for room_id in _heard_by(connection):
            self._forget(room_id, connection)
        self._count_streams(connection, -1)
        self._fanout.stop(connection)

    def _forget(self, room_id: str | None, connection: Connection) -> None:
        hearers = self._hearers[room_id]
        if len(hearers) == 1:
            del self._hearers[room_id]
            return
        place = hearers.index(connection)
        self._hearers[room_id] = hearers[:place] + hearers[place + 1 :]

    def _count_streams(self, connection: Connection, step: int) -> None:
        if connection.stream is not None:
            self._streams += step
            self.shows_deltas: bool = self._streams > 0

    def _end(self, connection: Connection, reason: str) -> None:
        """End a connection for the channel's own reasons."""
        logger.warning(
            "connection ended: %s",
            reason,
            extra=ids(channel_id=self.channel_id, connection_id=connection.id),
        )
        self._remove(connection)
        self._tell(connection, reason)

    def _tell(self, connection: Connection, reason: str) -> None:
        if connection.on_close is None:
            return
        try:
            pending = connection.on_close(connection.id, reason)
        except Exception as exc:  # noqa: BLE001 - the application's own callback
            self._log_on_close(connection, exc)
            return
        if isawaitable(pending):
            self._closers.start(self._wait_for(connection, pending))

    async def _wait_for(self, connection: Connection, pending: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(self._send_timeout):
                await pending
        except Exception as exc:  # noqa: BLE001 - the application's own callback
            self._log_on_close(connection, exc)

    def _log_on_close(self, connection: Connection, error: Exception) -> None:
        logger.warning(
            "on_close failed: %s",
            type(error).__name__,
            extra=ids(channel_id=self.channel_id, connection_id=connection.id),
        )


def _rooms(room_ids: str | Iterable[str] | None) -> str | frozenset[str] | None:
    """Return rooms in the smallest form: one room, which is the rule, is just its id."""
    if room_ids is None or isinstance(room_ids, str):
        return room_ids
    rooms = frozenset(room_ids)
    return next(iter(rooms)) if len(rooms) == 1 else rooms


def _heard_by(connection: Connection) -> tuple[str | None, ...] | frozenset[str]:
    """Return the keys a connection is listed under."""
    rooms = connection.rooms
    return rooms if isinstance(rooms, frozenset) else (rooms,)
