"""A person (or bot) in one room."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from roomkit.models._copy import built, changed
from roomkit.models.enums import IdentificationStatus, ParticipantRole, ParticipantStatus
from roomkit.models.event import utc_now

if TYPE_CHECKING:
    from roomkit.models.identity import Identity


class Participant(BaseModel, defer_build=True):
    """Somebody in one room; ``identity_id`` says who they are across rooms.

    Attributes:
        id: Unique in the room; often the address they write from.
        room_id: The room.
        channel_id: The channel they first came by.
        display_name: What to call them.
        role: What they are in the room.
        status: Whether they are still there.
        identification: How sure it is who they are.
        identity_id: Who they are across rooms, when known.
        candidates: Ids of the identities they may be, when that is open.
        connected_via: The channels they have come by.
        external_id: Their id in a system of yours.
        resolved_at: Since when it is known who they are.
        resolved_by: Who or what found out.
        joined_at: Since when they take part.
        metadata: Anything JSON can carry.
    """

    id: str
    room_id: str
    channel_id: str
    display_name: str | None = None
    role: ParticipantRole = ParticipantRole.MEMBER
    status: ParticipantStatus = ParticipantStatus.ACTIVE
    identification: IdentificationStatus = IdentificationStatus.PENDING
    identity_id: str | None = None
    candidates: list[str] | None = None
    connected_via: list[str] = Field(default_factory=list)
    external_id: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    joined_at: datetime = Field(default_factory=utc_now)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def known(cls, identity: Identity, room_id: str, channel_id: str) -> Participant:
        """Return somebody whose identity is known as a new member of a room."""
        return built(
            cls,
            {
                "id": identity.id,
                "room_id": room_id,
                "channel_id": channel_id,
                "display_name": identity.display_name,
                "role": ParticipantRole.MEMBER,
                "status": ParticipantStatus.ACTIVE,
                "identification": IdentificationStatus.IDENTIFIED,
                "identity_id": identity.id,
                "candidates": None,
                "connected_via": [],
                "external_id": None,
                "resolved_at": None,
                "resolved_by": None,
                "joined_at": utc_now(),
                "metadata": {},
            },
        )

    def identified_as(self, identity: Identity | Participant) -> Participant:
        """Return this participant with their identity known."""
        known = identity.identity_id if isinstance(identity, Participant) else identity.id
        return changed(
            self,
            identification=IdentificationStatus.IDENTIFIED,
            identity_id=known,
            display_name=identity.display_name or self.display_name,
        )

    def resolved(self, identity: Identity, *, by: str, at: datetime) -> Participant:
        """Return this participant identified by somebody's decision."""
        return changed(
            self.identified_as(identity), resolved_at=at, resolved_by=by, candidates=None
        )

    def snapshot(self) -> Participant:
        """Return a shallow copy the caller may assign to."""
        return changed(self)
