"""The hubs of an endpoint, and its ear in each WebSocket channel."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from roomkit._aio import bounded, close_all
from roomkit._ids import new_id
from roomkit._logging import ids, log_failure
from roomkit.asgi._ws_hub import Hub
from roomkit.asgi._ws_replay import Archive
from roomkit.asgi._ws_wire import Wire, wire_topic
from roomkit.channels.websocket import WebSocketChannel
from roomkit.exceptions import ChannelNotRegisteredError, KitClosedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.core.framework import RoomKit
    from roomkit.models.event import RoomEvent
    from roomkit.models.streaming import StreamDelta, StreamEnd

logger = logging.getLogger("roomkit.asgi.ws")

PUBLISH_TIMEOUT = 1.0
"""Seconds the realtime backend may take to queue what other processes are told."""


class Rooms:
    """The rooms with clients of this process in them.

    Args:
        kit: The kit.
        clock: Whose time counts.
        poll: Seconds after which a room is looked at unasked.
        metadata_keys: What clients get of an event's metadata.
        tasks: Owns the tasks of the hubs.
    """

    def __init__(
        self,
        kit: RoomKit,
        *,
        clock: Clock,
        poll: float,
        metadata_keys: Collection[str],
        tasks: TaskSet,
    ) -> None:
        self._kit = kit
        self._clock = clock
        self._poll = poll
        self._metadata_keys = metadata_keys
        self._tasks = tasks
        self._origin = f"roomkit.v1:{new_id()}"
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._ears: dict[str, WebSocketChannel] = {}

    def __len__(self) -> int:
        return len(self._hubs)

    # -- hubs ------------------------------------------------------------------------------

    def take(self, channel_id: str, room_id: str) -> Hub:
        """Return the hub of a room for one more client; ``release`` gives it back."""
        key = (channel_id, room_id)
        hub = self._hubs.get(key)
        if hub is None:
            hub = self._hubs[key] = Hub(
                self._kit,
                channel_id,
                room_id,
                origin=self._origin,
                archive=Archive(self._kit.store, channel_id),
                clock=self._clock,
                poll=self._poll,
                metadata_keys=self._metadata_keys,
                tasks=self._tasks,
            )
        hub.users += 1
        return hub

    def release(self, hub: Hub) -> None:
        """Give a hub back; without clients it is closed."""
        hub.users -= 1
        if hub.users == 0:
            self._hubs.pop((hub.channel_id, hub.room_id), None)
            self._tasks.start(hub.close(), name="roomkit-ws-hub-close")

    async def stored(self, hub: Hub) -> None:
        """Show what just came by the channel, here and in other processes."""
        hub.wake()
        await self._tell(hub.room_id, Wire(self._origin, hub.channel_id))

    # -- ears ------------------------------------------------------------------------------

    async def listen(self, channel_id: str) -> bool:
        """Hear what is delivered to a channel; again does nothing.

        Returns:
            False when no WebSocket channel of this id is registered.
        """
        channel = self._kit.get_channel(channel_id)
        if not isinstance(channel, WebSocketChannel):
            return False
        if self._ears.get(channel_id) is channel:
            return True
        self._ears[channel_id] = channel
        try:
            await self._kit.connect_websocket(
                channel_id,
                self._origin,
                partial(self._delivered, channel_id),
                stream_fn=partial(self._shown, channel_id),
                on_close=lambda _connection, _reason: self._deaf(channel_id, channel),
            )
        except ChannelNotRegisteredError:
            self._deaf(channel_id, channel)
            return False
        return True

    def _deaf(self, channel_id: str, channel: WebSocketChannel) -> None:
        """Forget an ear the channel has closed; the next client opens a new one."""
        if self._ears.get(channel_id) is channel:
            del self._ears[channel_id]

    async def _delivered(self, channel_id: str, _connection: str, event: RoomEvent) -> None:
        """Take note that an event was delivered to a channel, whoever is in its room."""
        hub = self._hubs.get((channel_id, event.room_id))
        if hub is not None:
            hub.told(event.id, event.index)
        await self._tell(event.room_id, Wire(self._origin, channel_id, ((event.id, event.index),)))

    async def _shown(
        self, channel_id: str, _connection: str, piece: StreamDelta | StreamEnd
    ) -> None:
        """Show a piece of an answer, here and in other processes."""
        hub = self._hubs.get((channel_id, piece.room_id))
        if hub is not None:
            await hub.show_piece(piece)
        await self._tell(piece.room_id, Wire(self._origin, channel_id, piece=piece))

    async def _tell(self, room_id: str, wire: Wire) -> None:
        """Tell the endpoints of other processes; they find out by themselves if it fails."""
        event = wire.event(room_id, self._clock.now())
        try:
            await bounded(self._kit.realtime.publish(wire_topic(room_id), event), PUBLISH_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - the realtime backend is foreign
            log_failure(logger, exc, "other processes were not told", extra=ids(room_id=room_id))

    # -- the end ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Close every hub and every ear. Idempotent."""
        hubs, self._hubs = list(self._hubs.values()), {}
        ears, self._ears = list(self._ears), {}
        await close_all([*(hub.close for hub in hubs), *(partial(self._leave, c) for c in ears)])

    async def _leave(self, channel_id: str) -> None:
        with suppress(KitClosedError):
            await self._kit.disconnect_websocket(channel_id, self._origin)
