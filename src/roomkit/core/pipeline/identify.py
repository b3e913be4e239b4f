"""Who sent a message: the resolver, the identity hooks, and what follows for the room."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, bounded
from roomkit._ids import new_id
from roomkit._logging import ids
from roomkit.core.pipeline.context import Joining, Refusal
from roomkit.exceptions import InvalidReturnError
from roomkit.models.enums import EventType, HookTrigger, IdentificationStatus
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.identity import IdentityHookResult, IdentityResult
from roomkit.models.participant import Participant
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.core.hooks import IdentityHookRegistration
    from roomkit.core.pipeline.context import Parts
    from roomkit.identity.base import IdentityResolver
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ChannelType
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.identity import Identity

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

_Status = IdentificationStatus

_TRIGGERS = {
    _Status.AMBIGUOUS: HookTrigger.ON_IDENTITY_AMBIGUOUS,
    _Status.PENDING: HookTrigger.ON_IDENTITY_AMBIGUOUS,
    _Status.UNKNOWN: HookTrigger.ON_IDENTITY_UNKNOWN,
    _Status.REJECTED: HookTrigger.ON_IDENTITY_UNKNOWN,
}
_DEFAULT_REFUSAL = {
    HookTrigger.ON_IDENTITY_AMBIGUOUS: Reason.IDENTITY_REJECTED,
    HookTrigger.ON_IDENTITY_UNKNOWN: Reason.UNKNOWN_SENDER,
}


@dataclass(frozen=True, slots=True)
class Identified:
    """The event with its sender as far as known, and who joins the room with it."""

    event: RoomEvent
    joining: Joining | None = None


@dataclass(frozen=True, slots=True)
class Challenged:
    """The message is withheld; a question goes to its sender."""

    refusal: Refusal
    inject: InjectedEvent | None


class Identifier:
    """Identifies senders.

    Args:
        parts: The engine's collaborators.
        resolver: Looks senders up; None turns the step off.
        channel_types: Only messages of these channels are looked up; None for all.
    """

    def __init__(
        self,
        parts: Parts,
        resolver: IdentityResolver | None,
        channel_types: set[ChannelType] | None,
    ) -> None:
        self._parts = parts
        self._resolver = resolver
        self._channel_types = channel_types
        self._hooks: list[IdentityHookRegistration] = []

    def add_hook(self, hook: IdentityHookRegistration) -> None:
        """Add an identity hook; the first one that answers decides."""
        self._hooks.append(hook)

    def applies(self, channel: Channel) -> bool:
        """Return whether messages of this channel are looked up."""
        return self._resolver is not None and (
            self._channel_types is None or channel.channel_type in self._channel_types
        )

    async def identify(
        self, channel: Channel, message: InboundMessage, event: RoomEvent, context: RoomContext
    ) -> Identified | Refusal | Challenged:
        """Find out who sent a message.

        Raises:
            Exception: Whatever the resolver raised; nothing was stored.
        """
        found = await self._resolve(channel, message, context)
        if found.status == _Status.IDENTIFIED and found.identity is not None:
            return _known(event, found.identity)
        found = found.about(message.sender_id, str(channel.channel_type))
        trigger = _TRIGGERS.get(found.status)
        if trigger is None:
            return Identified(event)
        answer = await self._ask_hooks(trigger, event, context, found)
        await self._parts.announcer.observe(trigger, event, context)
        return _decide(trigger, event, found, answer)

    async def _resolve(
        self, channel: Channel, message: InboundMessage, context: RoomContext
    ) -> IdentityResult:
        if self._resolver is None:
            return IdentityResult(status=_Status.UNKNOWN)
        timeout = self._parts.limits.identity
        try:
            found = await bounded(self._resolver.resolve(message, context), timeout)
        except DeadlineExceeded:
            await self._parts.bus.emit(
                FrameworkEventType.IDENTITY_TIMEOUT,
                room_id=context.room.id,
                channel_id=channel.channel_id,
                data={"timeout": timeout},
            )
            await self._parts.errors.report(
                "identity resolver",
                DeadlineExceeded(timeout),
                room_id=context.room.id,
                channel_id=channel.channel_id,
            )
            found = IdentityResult(status=_Status.UNKNOWN)
        if not isinstance(found, IdentityResult):
            raise InvalidReturnError(
                f"the identity resolver returned {type(found).__name__}, not IdentityResult"
            )
        return found

    async def _ask_hooks(
        self, trigger: HookTrigger, event: RoomEvent, context: RoomContext, found: IdentityResult
    ) -> IdentityHookResult | None:
        """Return the first answer of the identity hooks; a failing one counts as none."""
        for hook in self._hooks:
            if hook.trigger != trigger or not hook.matches(event.source):
                continue
            try:
                answer: Any = hook.fn(event, context, found)
                if inspect.isawaitable(answer):
                    answer = await bounded(_await(answer), hook.timeout)
                if answer is not None and not isinstance(answer, IdentityHookResult):
                    raise InvalidReturnError(
                        f"expected IdentityHookResult, got {type(answer).__name__}"
                    )
            except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
                await self._parts.errors.report(
                    f"identity hook {hook.label}",
                    exc,
                    room_id=context.room.id,
                    channel_id=event.source.channel_id,
                    event_id=event.id,
                )
                continue
            if answer is not None:
                return answer
        return None

    async def settle(self, joining: Joining, event: RoomEvent) -> Settled:
        """Return what joining means for the room as it stands now (called under its lock)."""
        wanted = joining.participant
        known = await self._parts.store.get_participant(event.room_id, wanted.id)
        if known is not None:
            if not joining.identified or known.identification == _Status.IDENTIFIED:
                return Settled()
            return Settled(participants=(known.identified_as(wanted),))
        status = "identified" if joining.identified else "pending"
        joined = self._parts.timeline.system_event(
            event.room_id,
            EventType.PARTICIPANT_JOINED,
            "a participant joined",
            f"participant_joined_{status}",
            {"participant_id": wanted.id, "status": status},
        )
        logger.debug("participant joins", extra=ids(room_id=event.room_id))
        return Settled(participants=(wanted,), events=(joined,))


@dataclass(frozen=True, slots=True)
class Settled:
    """Participants to store and the system events that tell of them."""

    participants: tuple[Participant, ...] = ()
    events: tuple[RoomEvent, ...] = ()


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _known(event: RoomEvent, identity: Identity) -> Identified:
    participant = Participant.known(identity, event.room_id, event.source.channel_id)
    if event.source.participant_id != identity.id:
        event = event.said_by(identity.id)
    return Identified(event, Joining(participant, identified=True))


def _pending(
    event: RoomEvent, found: IdentityResult, answer: IdentityHookResult | None
) -> Identified:
    participant_id = event.source.participant_id or f"pending-{new_id()[:8]}"
    candidates = found.candidates
    if answer is not None and answer.candidates is not None:
        candidates = answer.candidates
    participant = Participant(
        id=participant_id,
        room_id=event.room_id,
        channel_id=event.source.channel_id,
        display_name=answer.display_name if answer is not None else None,
        candidates=[candidate.id for candidate in candidates] or None,
    )
    if event.source.participant_id is None:
        event = event.said_by(participant_id)
    return Identified(event, Joining(participant, identified=False))


def _decide(
    trigger: HookTrigger,
    event: RoomEvent,
    found: IdentityResult,
    answer: IdentityHookResult | None,
) -> Identified | Refusal | Challenged:
    """Return what a hook's answer (or none) means for the message."""
    if answer is not None:
        if answer.status == _Status.IDENTIFIED and answer.identity is not None:
            return _known(event, answer.identity)
        if answer.status == _Status.CHALLENGE_SENT:
            return Challenged(Refusal(Reason.IDENTITY_CHALLENGE), answer.inject)
        if answer.status == _Status.REJECTED:
            return Refusal(answer.reason or _DEFAULT_REFUSAL[trigger])
        if answer.status == _Status.PENDING:
            return _pending(event, found, answer)
    # An ambiguous sender joins as pending; an unknown one is let in as before.
    if trigger == HookTrigger.ON_IDENTITY_AMBIGUOUS:
        return _pending(event, found, None)
    return Identified(event)
