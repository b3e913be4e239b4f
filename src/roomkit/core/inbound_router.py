"""Which room a message from outside belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from roomkit.models.enums import ChannelType, RoomStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from roomkit.store.base import ConversationStore

RECIPIENT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        ChannelType.SMS: "phone_number",
        ChannelType.MMS: "phone_number",
        ChannelType.RCS: "phone_number",
        ChannelType.WHATSAPP: "phone_number",
        ChannelType.WHATSAPP_PERSONAL: "phone_number",
        ChannelType.EMAIL: "email_address",
        ChannelType.MESSENGER: "facebook_user_id",
        ChannelType.TEAMS: "teams_conversation_id",
        ChannelType.WEBHOOK: "recipient_id",
    }
)
"""Where a binding keeps the address of the person it stands for, by channel type."""


class InboundRoomRouter(ABC):
    """Chooses the room of an inbound message. Give your own to ``RoomKit``."""

    @abstractmethod
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        channel_data: dict[str, Any] | None = None,
    ) -> str | None:
        """Return the id of the room a message belongs to, or None for a new room.

        It may be asked twice for one message: again under the lock that guards the creation
        of a room.

        Args:
            channel_id: The channel the message came by.
            channel_type: What that channel speaks.
            participant_id: The sender's address, when known.
            channel_data: What the channel knows besides: ``address``, where answers do not go
                to the sender but to a conversation of several.
        """


class DefaultInboundRoomRouter(InboundRoomRouter):
    """Finds the open room that has the channel, for this sender.

    First the oldest ACTIVE room whose binding of the channel names the sender, then the
    oldest whose binding names nobody: a binding that names another person never matches, so
    two people who write to one number do not meet. Then the sender's newest ACTIVE room: one
    they take part in, or where a channel of this type stands for them.

    Args:
        store: Where the rooms are.
        resume_paused_rooms: Look at PAUSED rooms too, after the ACTIVE ones.
        recipient_key_of: Tells, by channel id, the metadata key under which a binding names
            its person (None: such bindings name nobody by metadata); without it the key
            follows from the channel type, see ``RECIPIENT_KEYS``.
    """

    def __init__(
        self,
        store: ConversationStore,
        *,
        resume_paused_rooms: bool = False,
        recipient_key_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._store = store
        self._recipient_key_of = recipient_key_of
        self._statuses = [RoomStatus.ACTIVE.value]
        if resume_paused_rooms:
            self._statuses.append(RoomStatus.PAUSED.value)

    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        channel_data: dict[str, Any] | None = None,
    ) -> str | None:
        """Return the room's id, or None.

        Where ``channel_data`` names an ``address``, such as that of a group, bindings are
        compared with it instead of the sender, and the sender's other rooms do not count.
        """
        address = (channel_data or {}).get("address")
        room_id = await self._store.find_room_for(
            channel_id,
            address or participant_id or "",
            recipient_key=self._recipient_key(channel_id, channel_type),
            statuses=self._statuses,
        )
        if room_id is not None or not participant_id or address:
            return room_id
        for status in self._statuses:
            room = await self._store.find_latest_room(
                participant_id=participant_id, channel_type=str(channel_type), status=status
            )
            if room is not None:
                return room.id
        return None

    def _recipient_key(self, channel_id: str, channel_type: str) -> str | None:
        if self._recipient_key_of is not None:
            return self._recipient_key_of(channel_id)
        return RECIPIENT_KEYS.get(channel_type)
