"""Channels as RoomKit's users handle them: the registry, the bindings and live connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded
from roomkit.exceptions import ChannelNotRegisteredError
from roomkit.models.framework_event import FrameworkEventType as Told

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.channels.host import ChannelHost
    from roomkit.channels.websocket import WebSocketChannel
    from roomkit.core._delivery import Sender
    from roomkit.core.services.bindings import Bindings
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.registry import ChannelRegistry

CLOSE_TIMEOUT = 10.0
"""Seconds a channel may take to close."""


class ChannelDesk:
    """Everything a user does with channels."""

    def __init__(
        self,
        registry: ChannelRegistry,
        bindings: Bindings,
        sender: Sender,
        bus: FrameworkBus,
        host: ChannelHost,
    ) -> None:
        self._registry = registry
        self.bindings = bindings
        self._sender = sender
        self._bus = bus
        self._host = host

    def register(self, channel: Channel) -> None:
        """Add a channel, replacing one of the same id."""
        self._registry.register(channel, self._host)

    async def unregister(self, channel_id: str) -> None:
        """Remove a channel, forget its breaker and pace, and close it."""
        channel = self._registry.unregister(channel_id)
        self._sender.forget(channel_id)
        try:
            await bounded(channel.close(), CLOSE_TIMEOUT)
        finally:
            await self._bus.emit(Told.CHANNEL_UNREGISTERED, channel_id=channel_id)

    def find(self, channel_id: str) -> Channel | None:
        """Return a channel, or None."""
        return self._registry.channels.get(channel_id)

    def all(self) -> list[Channel]:
        """Return every channel in the order they came."""
        return list(self._registry.channels.values())

    async def connect(
        self,
        channel_id: str,
        connection_id: str,
        send_fn: Any,
        room_id: Any,
        stream_fn: Any,
        on_close: Any,
    ) -> None:
        """Register a live connection with a WebSocket channel."""
        channel = self._socket_channel(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(f"no WebSocket channel {channel_id!r} is registered")
        channel.register_connection(
            connection_id, send_fn, room_ids=room_id, stream_fn=stream_fn, on_close=on_close
        )
        await self._bus.emit(
            Told.CHANNEL_CONNECTED, channel_id=channel_id, data={"connection_id": connection_id}
        )

    async def disconnect(self, channel_id: str, connection_id: str) -> None:
        """Let go of a live connection; harmless when it is not there."""
        channel = self._socket_channel(channel_id)
        if channel is not None:
            channel.unregister_connection(connection_id)
        await self._bus.emit(
            Told.CHANNEL_DISCONNECTED,
            channel_id=channel_id,
            data={"connection_id": connection_id},
        )

    def _socket_channel(self, channel_id: str) -> WebSocketChannel | None:
        """Return a WebSocket channel, or None. Kits without one never load its module."""
        from roomkit.channels.websocket import WebSocketChannel

        channel = self._registry.channels.get(channel_id)
        return channel if isinstance(channel, WebSocketChannel) else None
