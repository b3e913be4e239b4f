"""Prepare: from a raw message to an event in front of its room, without any room lock.

Every await has a bound, and nothing is stored but the room itself when the message is a
first contact.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit._logging import ids
from roomkit.core.pipeline.context import Arrival, Refusal, duplicate_of
from roomkit.core.pipeline.door import clean_event
from roomkit.core.pipeline.identify import Challenged
from roomkit.core.services.scope import deeper, leave_scope
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import InvalidReturnError, RoomNotFoundError
from roomkit.models._ready import make_ready
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelDirection, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.framework_event import FrameworkEventType
from roomkit.models.reasons import Reason
from roomkit.models.room import Room
from roomkit.store.commit import RoomClaim

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.core.pipeline.context import Parts
    from roomkit.core.pipeline.identify import Identifier
    from roomkit.core.services.rooms import Rooms
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage

logger: logging.Logger = logging.getLogger("roomkit.pipeline")


class Preparation:
    """The steps before the room lock."""

    def __init__(self, parts: Parts, identifier: Identifier, rooms: Rooms) -> None:
        self._parts = parts
        self._identifier = identifier
        self._rooms = rooms
        self._store = parts.store
        # Part of starting up: a first message must not hold the loop up for it.
        make_ready()

    async def arrive(
        self,
        channel: Channel,
        message: InboundMessage,
        room_id: str | None,
        organization_id: str | None,
    ) -> Arrival | Refusal | Challenged:
        """Find the message's room, parse it and identify its sender.

        Raises:
            RoomNotFoundError: The room named (or routed to) does not exist.
            Exception: Whatever the channel, router or resolver raised; reported by ON_ERROR.
        """
        key = message.idempotency_key
        room = room_id
        if room is None:
            room = await self._find_room(channel, message, organization_id)
        if room is None:
            if key is not None:
                first = await answered(
                    self._store.find_event_by_channel_key(channel.channel_id, key)
                )
                if first is not None and await self._is_of(first.room_id, organization_id):
                    return duplicate_of(first)
            room = await self._open_room(channel, message, organization_id)
        # What is known of the room already will do here, where nobody is to be identified: it
        # is looked at again, and repeats are found, under the lock.
        known = None if self._identifier.applies(channel) else self._store.peek_context(room)
        if known is not None and known.room.is_open:
            event = await self._parse(channel, message, known)
            return await self._identify(channel, message, event, known)
        context, first = await answered(self._store.look(room, key=key))
        if first is not None:
            return duplicate_of(first)
        if context is None:
            raise RoomNotFoundError(f"room {room!r} does not exist")
        if not context.room.is_open:
            return Refusal(Reason.ROOM_CLOSED)
        event = await self._parse(channel, message, context)
        return await self._identify(channel, message, event, context)

    async def _find_room(
        self, channel: Channel, message: InboundMessage, organization_id: str | None
    ) -> str | None:
        """Ask the router where the message belongs; never into another tenant's room."""
        address = channel.reply_address(message)
        # Only where it differs: routers written for an earlier release do not take it.
        more = {} if address == message.sender_id else {"channel_data": {"address": address}}
        try:
            room_id = await bounded(
                self._parts.router.route(
                    channel_id=channel.channel_id,
                    channel_type=channel.channel_type,
                    participant_id=message.sender_id,
                    **more,
                ),
                self._parts.limits.foreign,
            )
        except Exception as exc:
            await self._failed("inbound router", exc, channel)
            raise
        if room_id is None or not await self._is_of(room_id, organization_id):
            return None
        return room_id

    async def _is_of(self, room_id: str, organization_id: str | None) -> bool:
        """Return whether a room may be a tenant's; False only if it is known to be another's."""
        if organization_id is None:
            return True
        room = await answered(self._store.get_room(room_id))
        return room is None or room.organization_id in (None, organization_id)

    async def _open_room(
        self, channel: Channel, message: InboundMessage, organization_id: str | None
    ) -> str:
        """Open the room of a first contact, once per claim, over every process."""
        address = channel.reply_address(message)
        claim = RoomClaim(organization_id, channel.channel_id, address)
        arrival = _arrival_lock(claim)
        async with self._parts.guard.hold(arrival) as hold:
            known = await self._find_room(channel, message, organization_id)
            if known is not None:
                return known
            room = Room(
                organization_id=organization_id,
                created_at=self._parts.clock.now(),
                updated_at=self._parts.clock.now(),
            )
            binding = ChannelBinding(
                channel_id=channel.channel_id,
                room_id=room.id,
                channel_type=channel.channel_type,
                category=channel.category,
                capabilities=channel.capabilities(),
                attached_at=self._parts.clock.now(),
                metadata=({channel.recipient_key: address} if channel.recipient_key else {}),
            )
            opened, news = await self._rooms.open(claim, room, binding)
            for item in news:
                hold.defer(partial(self._parts.tasks.start, item()))
        logger.debug("a first contact opened a room", extra=ids(room_id=opened.room_id))
        return opened.room_id

    async def _parse(
        self, channel: Channel, message: InboundMessage, context: RoomContext
    ) -> RoomEvent:
        """Let the channel make an event of the message; it belongs to this room, whatever."""
        try:
            event = await bounded(
                channel.handle_inbound(message, context), self._parts.limits.foreign
            )
            if not isinstance(event, RoomEvent):
                raise InvalidReturnError(
                    f"{channel!r}.handle_inbound returned {type(event).__name__}, not RoomEvent"
                )
        except Exception as exc:
            await self._failed(f"channel {channel.channel_id}", exc, channel, context.room.id)
            raise
        if event.room_id != context.room.id:
            event = event.in_room(context.room.id)
        return clean_event(event)

    async def _identify(
        self, channel: Channel, message: InboundMessage, event: RoomEvent, context: RoomContext
    ) -> Arrival | Refusal | Challenged:
        if not self._identifier.applies(channel):
            return Arrival(channel, message, event, context)
        token = deeper()
        try:
            who = await self._identifier.identify(channel, message, event, context)
        except Exception as exc:
            await self._failed("identity resolver", exc, channel, context.room.id)
            raise
        finally:
            leave_scope(token)
        if isinstance(who, (Refusal, Challenged)):
            return who
        return Arrival(channel, message, who.event, context, who.joining)

    async def _failed(
        self, where: str, error: Exception, channel: Channel, room_id: str | None = None
    ) -> None:
        """Report a failure that the caller will see as well, without keeping them waiting."""
        token = deeper()
        try:
            self._parts.tasks.start(
                self._parts.errors.report(
                    where, error, room_id=room_id or "", channel_id=channel.channel_id
                ),
                name="roomkit-error-report",
                # Not a clean context: a report made while another is made must know it.
                context=copy_context(),
            )
            await self._parts.bus.emit(
                FrameworkEventType.INBOUND_FAILED,
                room_id=room_id,
                channel_id=channel.channel_id,
                data={"where": where, "error_type": type(error).__name__},
            )
        finally:
            leave_scope(token)


def _arrival_lock(claim: RoomClaim) -> str:
    """Return the name of the lock under which a first contact opens its room.

    A digest: names of locks turn up in errors and in lock servers, where no address belongs.
    """
    parts = (claim.organization_id or "", claim.channel_id, claim.sender_id)
    return f"arrival:{blake2b(repr(parts).encode(), digest_size=16).hexdigest()}"


def resumes(room: Room, event: RoomEvent, *, enabled: bool) -> bool:
    """Return whether an accepted event wakes a paused room."""
    return (
        enabled
        and room.status == RoomStatus.PAUSED
        and event.source.direction == ChannelDirection.INBOUND
    )
