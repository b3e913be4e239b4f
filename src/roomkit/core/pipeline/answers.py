"""Answers: what a channel says to an event comes back into the room, one deeper in the chain.

All answers of one reaction pass the gates in order and become part of the timeline together
with the effects the channel left; a live stream an answer was shown by ends with it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit._logging import ids
from roomkit.core.pipeline.context import Admission
from roomkit.core.pipeline.deliver import ClaimLost
from roomkit.core.pipeline.door import clean_event
from roomkit.exceptions import EventRefusedError, RoomNotFoundError
from roomkit.models.enums import ChannelCategory
from roomkit.models.reasons import Reason
from roomkit.store.commit import DeliveryFinish, DeliveryKind, RecordStatus, delivery_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.core.pipeline.admit import Gatekeeper
    from roomkit.core.pipeline.commit import Committer
    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.lanes import Entry
    from roomkit.core.pipeline.settlement import Node
    from roomkit.core.services.guard import Hold
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

logger: logging.Logger = logging.getLogger("roomkit.pipeline")


class Answers:
    """Brings answers into their rooms.

    Args:
        parts: The engine's collaborators.
        gatekeeper: Admits them.
        committer: Stores them.
        after_commit: Sees to what a commit leads to besides deliveries.
    """

    def __init__(
        self,
        parts: Parts,
        gatekeeper: Gatekeeper,
        committer: Committer,
        after_commit: Callable[[Sequence[Admission], Hold], None],
    ) -> None:
        self._parts = parts
        self._gatekeeper = gatekeeper
        self._committer = committer
        self._after_commit = after_commit

    async def respond(self, entry: Entry, binding: ChannelBinding, output: ChannelOutput) -> None:
        """Bring what a channel answered into the room, with the effects it left.

        Raises:
            Exception: The answer could not be stored; the reaction has then failed.
        """
        responses = output.response_events if output.responded and not binding.muted else ()
        if not (responses or output.tasks or output.observations):
            return
        cause = entry.event
        outbound = binding.category == ChannelCategory.INTELLIGENCE
        answers = [clean_event(r.answering(cause, outbound=outbound)) for r in responses]
        shown = [_stream_id(answer) for answer in answers]
        try:
            await self._store(answers, shown, entry, output)
        except BaseException:
            self._end_streams(shown, [])
            raise
        entry.node.tasks += tuple(output.tasks)
        entry.node.observations += tuple(output.observations)

    async def _store(
        self,
        answers: list[RoomEvent],
        shown: list[str | None],
        entry: Entry,
        output: ChannelOutput,
    ) -> None:
        room_id = entry.key[0]
        async with self._parts.guard.hold(room_id) as hold:
            stored: list[Node] = []
            # Deferred before the commit defers its lanes: a stream ends before the whole comes.
            hold.defer(lambda: self._end_streams(shown, stored))
            for last in (False, True):
                admissions = await bounded(
                    self._admit(answers, entry, hold), self._parts.limits.process
                )
                if not last and self._parts.guard.lost(room_id):
                    continue
                if await self._commit(_batches(admissions), hold, entry, output, stored):
                    return
            raise EventRefusedError(Reason.ROOM_CLOSED, room_id)

    async def _commit(
        self,
        batches: list[list[Admission]],
        hold: Hold,
        entry: Entry,
        output: ChannelOutput,
        stored: list[Node],
    ) -> bool:
        """Store answers, the end of the reaction with the last of them.

        Returns:
            False when nothing was stored, since another process closed the room meanwhile.

        Raises:
            ClaimLost: Another worker answers in our place.
        """
        tasks, observations = output.tasks, output.observations
        for number, batch in enumerate(batches):
            committed = await self._committer.commit(
                batch,
                hold,
                room_id=entry.key[0],
                parent=entry.node,
                tasks=tasks,
                observations=observations,
                open_required=number == 0,
                then=partial(self._after_commit, batch, hold),
                finishes=_finishes(entry) if number == len(batches) - 1 else (),
            )
            refused = committed.result.refused
            if refused == Reason.LEASE_LOST:
                raise ClaimLost
            if refused is not None:
                return False
            stored += committed.nodes
            tasks, observations = [], []
        entry.ended |= entry.pending() & {DeliveryKind.REACT}
        return True

    async def _admit(self, answers: list[RoomEvent], entry: Entry, hold: Hold) -> list[Admission]:
        context = await self._parts.store.load_context(entry.key[0])
        if context is None:
            raise RoomNotFoundError(f"room {entry.key[0]!r} does not exist any more")
        now = context.get_binding(entry.key[1])
        if now is None or now.muted:
            # Muted or detached while it was thinking.
            return []
        admissions: list[Admission] = []
        for answer in answers:
            admission = await self._admit_one(answer, context, entry, hold)
            if admission is not None:
                admissions.append(admission)
                # The next one comes after it, and after what its gates injected.
                context = context.grown(1 + len(admission.injected))
        return await self._gatekeeper.without_repeats(admissions)

    async def _admit_one(
        self, answer: RoomEvent, context: RoomContext, entry: Entry, hold: Hold
    ) -> Admission | None:
        root = entry.node.root
        if not context.room.is_open:
            return self._gatekeeper.refuse(answer, context, root, Reason.ROOM_CLOSED)
        admission = await self._gatekeeper.admit(answer, context, root, hold, cause=entry.event)
        if isinstance(admission, Admission):
            return admission
        logger.info(
            "an answer of channel %s was not stored: %s",
            entry.key[1],
            admission.reason,
            extra=ids(room_id=entry.key[0], channel_id=entry.key[1], event_id=answer.id),
        )
        return None

    def _end_streams(self, shown: list[str | None], nodes: list[Node]) -> None:
        """End the streams answers were shown by, before their lanes bring the whole.

        What was shown of an answer that is not part of the conversation is taken back.
        """
        streams = self._parts.streams
        events = {_stream_id(n.event): n.event.id for n in nodes if n.blocked_reason is None}
        for stream_id in shown:
            if stream_id is not None and stream_id in streams:
                event_id = events.get(stream_id)
                self._parts.tasks.start(
                    streams.end(stream_id, event_id, retracted=event_id is None)
                )


def _finishes(entry: Entry) -> tuple[DeliveryFinish, ...]:
    """Return the end of the reaction, where a store keeps a record of it."""
    kind = DeliveryKind.REACT
    if kind not in entry.pending():
        return ()
    event_id, (room_id, channel_id) = entry.event.id, entry.key
    return (
        DeliveryFinish(
            delivery_id(event_id, channel_id, kind),
            event_id,
            channel_id,
            kind,
            RecordStatus.DONE,
            owner=entry.owner,
            attempts=1 + entry.tried.get(kind, 0),
            room_id=room_id,
        ),
    )


def _stream_id(event: RoomEvent) -> str | None:
    stream_id = event.metadata.get("stream_id")
    return stream_id if isinstance(stream_id, str) else None


def _batches(admissions: list[Admission]) -> list[list[Admission]]:
    """Return admissions in batches with at most one edit or delete each; at least one batch.

    A batch carries the target of one edit: two edits of the same event in one batch would
    undo each other.
    """
    batches: list[list[Admission]] = [[]]
    edits = False
    for admission in admissions:
        if admission.target is not None:
            if edits:
                batches.append([])
            edits = True
        batches[-1].append(admission)
    return batches
