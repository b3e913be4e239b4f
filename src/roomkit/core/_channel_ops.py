"""RoomKit's face to channels: registered in the kit, attached to rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.core._helpers import HelpersMixin
from roomkit.models.enums import Access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.channels.base import Channel
    from roomkit.core.services.channel_desk import ChannelDesk
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import ChannelCategory, ChannelType


class ChannelOpsMixin(HelpersMixin):
    """Channels, bindings and WebSocket connections."""

    _channel_desk: ChannelDesk

    def register_channel(self, channel: Channel) -> None:
        """Add a channel to the kit, replacing one of the same id.

        Its circuit breaker and rate limit stay as they are.
        """
        self._channel_desk.register(channel)

    async def unregister_channel(self, channel_id: str) -> None:
        """Take a channel out of the kit and close it.

        Its bindings stay; what is still to be delivered to it is skipped, or with a
        durable store waits for another process that has the channel.

        Raises:
            ChannelNotRegisteredError: No such channel.
        """
        await self._channel_desk.unregister(channel_id)

    async def attach_channel(
        self,
        room_id: str,
        channel_id: str,
        channel_type: ChannelType | None = None,
        category: ChannelCategory | None = None,
        access: Access = Access.READ_WRITE,
        visibility: str = "all",
        **kwargs: Any,
    ) -> ChannelBinding:
        """Attach a channel to a room; attaching again replaces the binding.

        Args:
            room_id: The room.
            channel_id: A registered channel.
            channel_type: Default: the channel's own.
            category: Default: the channel's own.
            access: What it may do in the room.
            visibility: Who sees what it says.
            **kwargs: Further fields of ChannelBinding: ``metadata`` (its address and
                settings), ``direction``, ``muted``, ``participant_id``, ``rate_limit``,
                ``retry_policy``.

        Raises:
            RoomNotFoundError: No such room.
            ChannelNotRegisteredError: No such channel.
            InvalidMetadataError: JSON cannot carry the metadata.
        """
        await self._ready()
        return await self._channel_desk.bindings.attach(
            room_id, channel_id, channel_type, category, access, visibility, kwargs
        )

    async def detach_channel(self, room_id: str, channel_id: str) -> bool:
        """Detach a channel; False when it was not attached."""
        await self._ready()
        return await self._channel_desk.bindings.detach(room_id, channel_id)

    async def mute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Suppress what a channel says; it goes on receiving, and its effects are kept.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.set_muted(room_id, channel_id, True)

    async def unmute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Let a muted channel speak again.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.set_muted(room_id, channel_id, False)

    async def set_visibility(
        self, room_id: str, channel_id: str, visibility: str
    ) -> ChannelBinding:
        """Change who sees what a channel says.

        Args:
            visibility: ``all``, ``none``, ``transport``, ``intelligence`` or channel ids
                separated by commas.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.set_visibility(room_id, channel_id, visibility)

    async def set_access(self, room_id: str, channel_id: str, access: Access) -> ChannelBinding:
        """Change what a channel may do in a room.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.set_access(room_id, channel_id, access)

    async def update_binding_metadata(
        self, room_id: str, channel_id: str, metadata: dict[str, Any]
    ) -> ChannelBinding:
        """Merge metadata into a binding; given keys replace, the others stay.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.update_metadata(room_id, channel_id, metadata)

    def get_channel(self, channel_id: str) -> Channel | None:
        """Return a registered channel, or None."""
        return self._channel_desk.find(channel_id)

    def list_channels(self) -> list[Channel]:
        """Return the registered channels in the order they came."""
        return self._channel_desk.all()

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a channel's place in a room.

        Raises:
            ChannelNotFoundError: It is not attached.
        """
        await self._ready()
        return await self._channel_desk.bindings.require(room_id, channel_id)

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return a room's channels in the order they were attached."""
        await self._ready()
        return await self._channel_desk.bindings.all(room_id)

    async def connect_websocket(
        self,
        channel_id: str,
        connection_id: str,
        send_fn: Any,
        *,
        room_id: str | Iterable[str] | None = None,
        stream_fn: Any = None,
        on_close: Any = None,
    ) -> None:
        """Let a live connection hear a WebSocket channel's rooms.

        Args:
            channel_id: A registered WebSocketChannel.
            connection_id: Unique within it; connecting again replaces.
            send_fn: ``(connection_id, event)``, plain or async.
            room_id: The room, or rooms, it hears; None for every room of the channel.
            stream_fn: ``(connection_id, delta)`` for answers still being made.
            on_close: Called when the channel drops the connection.

        Raises:
            ChannelNotRegisteredError: No such WebSocket channel.
        """
        await self._ready()
        await self._channel_desk.connect(
            channel_id, connection_id, send_fn, room_id, stream_fn, on_close
        )

    async def disconnect_websocket(self, channel_id: str, connection_id: str) -> None:
        """Let go of a connection; harmless for one (or a channel) that is not there."""
        await self._ready()
        await self._channel_desk.disconnect(channel_id, connection_id)
