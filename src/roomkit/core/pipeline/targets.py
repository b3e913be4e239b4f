"""Messages about earlier messages: the vendor's id of the target becomes our event.

A vendor's reaction, edit or revoke names the message it is about by the vendor's own id.
Where that is one we sent or received by the same channel, an edit or delete goes on as such,
into the target's room, and a reaction is published. Everything else is logged and dropped:
shown as a message it would only puzzle.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roomkit._logging import ids
from roomkit.core.pipeline.context import Refusal
from roomkit.core.services.store_calls import answered
from roomkit.models.content import DeleteContent, EditContent, TextContent
from roomkit.models.delivery import TARGET_MESSAGE
from roomkit.models.enums import DeleteType, EventType
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from roomkit.core.pipeline.context import Parts
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

ABOUT_OTHERS = frozenset({EventType.EDIT, EventType.DELETE, EventType.REACTION})
"""What may name, in its metadata, the vendor's id of the message it is about."""


class Targets:
    """Finds what such messages are about."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def resolve(
        self, message: InboundMessage, room_id: str | None
    ) -> tuple[InboundMessage, str] | Refusal:
        """Return the message with our event as its target, and the target's room.

        Returns:
            A refusal ``target_event_not_found`` when nobody knows the target, ``ephemeral``
            for a reaction, which has been published then and is not stored.
        """
        target = await self._find(message)
        if target is None or (room_id is not None and target.room_id != room_id):
            logger.info(
                "%s of a message that is not known was dropped",
                message.event_type,
                extra=ids(channel_id=message.channel_id),
            )
            return Refusal(Reason.TARGET_NOT_FOUND)
        if message.event_type == EventType.REACTION:
            await self._react(message, target)
            return Refusal(Reason.EPHEMERAL)
        about: EditContent | DeleteContent
        if message.event_type == EventType.EDIT:
            said = message.content
            new = said.new_content if isinstance(said, EditContent) else said
            # The vendor's id counts, whatever event the content itself names.
            about = EditContent(target_event_id=target.id, new_content=new, edit_source="sender")
        else:
            about = DeleteContent(target_event_id=target.id, delete_type=DeleteType.SENDER)
        return message.cleaned(content=about), target.room_id

    async def _find(self, message: InboundMessage) -> RoomEvent | None:
        """Return the event sent or received by this channel under the vendor's id."""
        vendor_id = message.metadata[TARGET_MESSAGE]
        if not isinstance(vendor_id, str) or not vendor_id:
            return None
        store = self._parts.store
        sent = await answered(store.find_event_by_provider_message_id(vendor_id))
        if sent is not None and sent[1] == message.channel_id:
            return sent[0]
        return await answered(store.find_event_by_channel_key(message.channel_id, vendor_id))

    async def _react(self, message: InboundMessage, target: RoomEvent) -> None:
        emoji = message.content.body if isinstance(message.content, TextContent) else ""
        await self._parts.ephemera.reaction(
            target.room_id, message.sender_id, target.id, emoji, "add" if emoji else "remove"
        )
