"""People in rooms: added, and identified by somebody's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core.services.announcer import Announcement
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import IdentityNotFoundError, ParticipantNotFoundError
from roomkit.models.enums import EventType, HookTrigger
from roomkit.models.participant import Participant
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.core.services.announcer import Announcer
    from roomkit.core.services.guard import RoomGuard
    from roomkit.core.services.timeline import Timeline
    from roomkit.store.base import ConversationStore


class Participants:
    """The people of rooms."""

    def __init__(
        self,
        store: ConversationStore,
        timeline: Timeline,
        guard: RoomGuard,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._guard = guard
        self._announcer = announcer
        self._clock = clock

    async def ensure(
        self, room_id: str, channel_id: str, participant_id: str, display_name: str | None
    ) -> Participant:
        """Return a participant, adding them when they are not there; safe to repeat."""
        known = await answered(self._store.get_participant(room_id, participant_id))
        if known is not None:
            return known
        async with self._guard.hold(room_id):
            # Somebody may have added, even identified them since.
            known = await answered(self._store.get_participant(room_id, participant_id))
            if known is not None:
                return known
            participant = Participant(
                id=participant_id,
                room_id=room_id,
                channel_id=channel_id,
                display_name=display_name,
                joined_at=self._clock.now(),
            )
            return (await answered(self._store.add_participant(participant))).snapshot()

    async def resolve(
        self, room_id: str, participant_id: str, identity_id: str, resolved_by: str
    ) -> Participant:
        """Link a participant to an identity by somebody's decision."""
        async with self._guard.hold(room_id):
            participant = await answered(self._store.get_participant(room_id, participant_id))
            if participant is None:
                raise ParticipantNotFoundError(
                    f"Participant {participant_id!r} is not in room {room_id!r}"
                )
            identity = await answered(self._store.get_identity(identity_id))
            if identity is None:
                raise IdentityNotFoundError(f"Identity {identity_id!r} does not exist")
            resolved = participant.resolved(identity, by=resolved_by, at=self._clock.now())
            binding = await answered(self._store.get_binding(room_id, participant.channel_id))
            body, code = "a participant was identified", "participant_identified"
            data = {"participant_id": participant_id, "identity_id": identity_id}
            event = self._timeline.system_event(
                room_id,
                EventType.PARTICIPANT_IDENTIFIED,
                body,
                code,
                {**data, "resolved_by": resolved_by},
            )
            await self._timeline.commit(
                CommitBatch(
                    room_id,
                    events=(event,),
                    participants=(resolved,),
                    bindings=() if binding is None else (binding.for_participant(identity_id),),
                )
            )
        hooked = self._timeline.system_event(
            room_id, EventType.PARTICIPANT_IDENTIFIED, body, code, data
        )
        await self._announcer.announce(Announcement(hooked, HookTrigger.ON_PARTICIPANT_IDENTIFIED))
        return resolved.snapshot()
