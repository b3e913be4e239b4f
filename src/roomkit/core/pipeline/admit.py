"""Admit: everything decided about an event under its room's lock, and nothing written.

Only gates, among all foreign code, run here. An expiry or cancellation leaves no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._logging import brief
from roomkit.core.event_router import depth_observation
from roomkit.core.hooks import HookFailure
from roomkit.core.pipeline import edits
from roomkit.core.pipeline.context import Admission, Refusal, duplicate_of
from roomkit.core.pipeline.door import clean_event
from roomkit.core.services.scope import Scope, enter_scope, leave_scope
from roomkit.core.visibility import stricter
from roomkit.exceptions import InvalidInputError
from roomkit.models.enums import DeliveryMode, HookTrigger
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.core.hooks import SyncPipelineResult
    from roomkit.core.pipeline.context import Joining, Parts
    from roomkit.core.pipeline.identify import Identifier
    from roomkit.core.services.guard import Hold
    from roomkit.core.services.scope import Root
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent


class Gatekeeper:
    """Decides about events.

    Args:
        parts: The engine's collaborators.
        identifier: Settles who joins with a message.
    """

    def __init__(self, parts: Parts, identifier: Identifier) -> None:
        self._parts = parts
        self._identifier = identifier

    async def admit(
        self,
        event: RoomEvent,
        context: RoomContext,
        root: Root,
        hold: Hold,
        *,
        joining: Joining | None = None,
        cause: RoomEvent | None = None,
        is_new: bool = False,
    ) -> Admission | Refusal:
        """Return what is to be committed for an event, or why nothing is.

        Args:
            event: Sanitised, in the room of ``context``.
            context: The room as it stands under the lock.
            root: The message from outside it stems from.
            hold: The lock.
            joining: Who joins with it.
            cause: The event it answers, for an answer.
            is_new: Whether its key is known to be new to the room.
        """
        if event.idempotency_key is not None and not is_new:
            first = await self._parts.store.find_event_by_key(event.room_id, event.idempotency_key)
            if first is not None:
                return duplicate_of(first)
        admission = Admission(event, context, root)
        if joining is not None:
            settled = await self._identifier.settle(joining, event)
            admission.participants, admission.before = settled.participants, settled.events
        if (stop := self._chain_stop(event, root)) is not None:
            if root.stopped > self._parts.limits.loop_cap:
                # So many were stored as a trace; what goes on after them leaves none.
                return Refusal(stop)
            return self._stopped(admission, stop, cause)
        target = await self._target(event)
        if isinstance(target, Refusal):
            return target
        if self._parts.hooks.has_gates(event.room_id, HookTrigger.BEFORE_BROADCAST):
            event = await self._pass_gates(admission, hold)
            if admission.blocked:
                return admission
        admission.parent_channel_id = await self._parent_channel(event, context)
        if target is not None:
            admission.target = edits.applied(event, target)
        self._accept(admission, event)
        return admission

    def _stopped(self, admission: Admission, stop: str, cause: RoomEvent | None) -> Admission:
        """Block an event whose chain of answers ends here."""
        event = admission.event
        _block(admission, event, stop)
        if cause is not None and stop == Reason.CHAIN_DEPTH:
            limit = self._parts.limits.max_chain_depth
            admission.observations.append(depth_observation(event, cause, limit))
        return admission

    async def _target(self, event: RoomEvent) -> RoomEvent | Refusal | None:
        """Return the event an edit or delete is about, if it may be made."""
        wanted = edits.target_id(event)
        if wanted is None:
            return None
        target = await self._parts.store.get_event(wanted)
        refused = edits.refusal(event, target)
        return target if refused is None else Refusal(refused)

    async def _parent_channel(self, event: RoomEvent, context: RoomContext) -> str | None:
        """Return who said what this event answers; only DIRECT bindings ask for it."""
        if event.parent_event_id is None or not any(
            binding.capabilities.delivery_mode == DeliveryMode.DIRECT
            for binding in context.bindings
        ):
            return None
        parent = await self._parts.store.get_event(event.parent_event_id)
        return parent.source.channel_id if parent is not None else None

    async def without_repeats(self, admissions: Sequence[Admission]) -> list[Admission]:
        """Return admissions of one batch without what was said before under the same key.

        Answers and injected events choose their keys themselves; a single repeat among them
        would make the store refuse the whole batch, the message that led to it included.
        """
        taken: set[str] = set()
        taken_ids = {admission.event.id for admission in admissions}
        kept: list[Admission] = []
        for admission in admissions:
            key = admission.event.idempotency_key
            if key is not None:
                if key in taken:
                    continue
                taken.add(key)
            if admission.injected:
                room_id = admission.event.room_id
                admission.injected = [
                    await self._with_own_id(injected, taken_ids)
                    for injected in admission.injected
                    if await self._is_new(injected.event, room_id, taken)
                ]
            kept.append(admission)
        return kept

    async def _with_own_id(self, injected: InjectedEvent, taken: set[str]) -> InjectedEvent:
        """Return an injection under an id nobody has: a hook may use one object twice."""
        event = injected.event
        if event.id in taken or await self._parts.store.get_event(event.id) is not None:
            event = event.renewed()
        taken.add(event.id)
        return injected.carrying(event)

    async def _is_new(self, event: RoomEvent, room_id: str, taken: set[str]) -> bool:
        """Return whether an injected event's key is free; its own room's commit checks others."""
        key = event.idempotency_key
        if key is None or event.room_id != room_id:
            return True
        if key in taken or await self._parts.store.find_event_by_key(room_id, key) is not None:
            return False
        taken.add(key)
        return True

    def refuse(self, event: RoomEvent, context: RoomContext, root: Root, reason: str) -> Admission:
        """Return the admission of an event that is stored BLOCKED without asking anybody."""
        admission = Admission(event, context, root)
        _block(admission, event, reason)
        return admission

    def _chain_stop(self, event: RoomEvent, root: Root) -> str | None:
        """Return why a chain of answers ends here, or None."""
        if event.chain_depth == 0:
            return None
        if event.chain_depth >= self._parts.limits.max_chain_depth:
            root.stopped += 1
            return Reason.CHAIN_DEPTH
        root.reentries += 1
        if root.reentries <= self._parts.limits.loop_cap:
            return None
        root.stopped += 1
        return Reason.LOOP_CAP

    async def _pass_gates(self, admission: Admission, hold: Hold) -> RoomEvent:
        """Ask the gates; return the event as they leave it, or mark the admission blocked."""
        original = admission.event
        shown = original.numbered(admission.context.room.event_count + len(admission.before))
        token = enter_scope(Scope(admission.root, original.chain_depth, hold))
        hold.active = True
        try:
            result = await self._parts.hooks.run_sync_hooks(
                original.room_id, HookTrigger.BEFORE_BROADCAST, shown, admission.context
            )
        finally:
            leave_scope(token)
            await hold.seal()
        _collect(admission, result)
        if not result.allowed:
            _block(admission, original, result.reason or "", result.blocked_by or "")
            return original
        if result.event is shown:
            return original
        modified: RoomEvent = result.event
        try:
            return clean_event(modified.as_from(original))
        except InvalidInputError as exc:
            admission.failures.append(HookFailure("", brief(exc), type(exc).__name__))
            return original

    def _accept(self, admission: Admission, event: RoomEvent) -> None:
        context = admission.context
        visibility = event.visibility
        source = context.get_binding(event.source.channel_id)
        if source is not None and source.visibility != "all":
            visibility = stricter(visibility, source.visibility, context.bindings)
        index = context.room.event_count + len(admission.before)
        admission.event = event.accepted(index, visibility)


def _collect(admission: Admission, result: SyncPipelineResult) -> None:
    for injected in result.injected_events:
        try:
            event = clean_event(injected.event)
        except InvalidInputError as exc:
            result.failures.append(HookFailure("", brief(exc), type(exc).__name__))
            continue
        admission.injected.append(injected.carrying(event))
    admission.tasks = result.tasks
    admission.observations.extend(result.observations)
    admission.failures = result.failures


def _block(admission: Admission, event: RoomEvent, reason: str, by: str | None = None) -> None:
    """Mark an event as refused: it is stored as it came, and reaches nobody."""
    admission.blocked = True
    admission.reason = str(reason)
    admission.blocked_by = str(reason) if by is None else by
    admission.event = event.blocked(
        by or str(reason), admission.context.room.event_count + len(admission.before)
    )
