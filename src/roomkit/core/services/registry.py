"""The channels of a kit, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.exceptions import ChannelNotRegisteredError

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.channels.host import ChannelHost


class ChannelRegistry:
    """Registered channels, in the order they came."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}

    def register(self, channel: Channel, host: ChannelHost) -> None:
        """Add a channel, replacing one of the same id; breakers and limits stay as they are."""
        self.channels[channel.channel_id] = channel
        channel.set_framework(host)

    def unregister(self, channel_id: str) -> Channel:
        """Remove a channel and return it.

        Raises:
            ChannelNotRegisteredError: There is none.
        """
        channel = self.require(channel_id)
        del self.channels[channel_id]
        return channel

    def require(self, channel_id: str) -> Channel:
        """Return a channel.

        Raises:
            ChannelNotRegisteredError: There is none.
        """
        channel = self.channels.get(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(
                f"channel {channel_id!r} is not registered; call register_channel first"
            )
        return channel

    def recipient_key(self, channel_id: str) -> str | None:
        """Return the binding metadata key that holds a channel's recipient, if it has one."""
        channel = self.channels.get(channel_id)
        return channel.recipient_key if channel is not None else None
