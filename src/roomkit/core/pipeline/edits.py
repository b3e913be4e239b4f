"""Edits and deletes: whom they may concern, and what they make of their target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import DeleteType, EventType
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

_KINDS = frozenset({EventType.EDIT, EventType.DELETE})


def target_id(event: RoomEvent) -> str | None:
    """Return the id of the event an edit or delete is about; None for anything else."""
    content = event.content
    if event.type in _KINDS and isinstance(content, (EditContent, DeleteContent)):
        return content.target_event_id
    return None


def refusal(event: RoomEvent, target: RoomEvent | None) -> str | None:
    """Return why an edit or delete may not be made, or None.

    What a sender edits or deletes must be their own: the speaker the engine knows is
    compared, never a word of the payload.
    """
    if target is None or target.room_id != event.room_id:
        return Reason.TARGET_NOT_FOUND
    content = event.content
    by_sender = (
        content.edit_source in (None, "sender")
        if isinstance(content, EditContent)
        else isinstance(content, DeleteContent) and content.delete_type == DeleteType.SENDER
    )
    if by_sender and event.source.participant_id != target.source.participant_id:
        return Reason.NOT_AUTHOR
    return None


def applied(event: RoomEvent, target: RoomEvent) -> RoomEvent:
    """Return the target as an accepted edit or delete leaves it."""
    if isinstance(event.content, EditContent):
        return target.edited(event.content.new_content)
    return target.deleted()
