"""What a client may ask for, and what is done about it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._logging import ids, log_failure
from roomkit.asgi._ws_frames import Auth, Join, Leave, Ping, Read, Say, Typing, encode
from roomkit.asgi._ws_limits import Close
from roomkit.asgi._ws_view import Door
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import InvalidInputError, KitClosedError, NotFoundError
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, EventStatus
from roomkit.models.reasons import Reason

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.asgi._ws_frames import Frame, Request
    from roomkit.asgi._ws_hub import Hub
    from roomkit.asgi._ws_limits import Bounds
    from roomkit.asgi._ws_rooms import Rooms
    from roomkit.asgi.principal import Principal
    from roomkit.core.framework import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundResult

logger = logging.getLogger("roomkit.asgi.ws")

BLOCKED = "blocked"
"""The reason of a message refused so long ago that its own reason is forgotten."""

_REASONS = 10_000
"""Reasons that are remembered."""

_SILENT = frozenset({Access.READ_ONLY, Access.NONE})


class Client(Protocol):
    """The client that asks."""

    @property
    def principal(self) -> Principal:
        """Who it is."""
        ...

    def push(self, frame: Frame) -> bool:
        """Queue a frame it must get."""
        ...

    def push_spare(self, frame: Frame) -> bool:
        """Queue a frame it can do without."""
        ...

    async def offer(self, frame: Frame) -> None:
        """Queue a frame it must get, once there is plenty of room."""
        ...

    def expelled(self, room_id: str) -> None:
        """End the connection: the client may not be in a room."""
        ...

    def end(self, code: Close | None, reason: str = "") -> None:
        """End the connection."""
        ...


class Reasons:
    """Why messages were refused, so that a repeat is refused for the same reason.

    The timeline keeps who refused a message but not the words; the newest are kept here.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    def keep(self, key: str, reason: str) -> None:
        """Remember a reason; of too many the oldest is forgotten."""
        self._known[key] = reason
        if len(self._known) > _REASONS:
            self._known.popitem(last=False)

    def find(self, key: str) -> str:
        """Return the reason, or ``blocked``."""
        return self._known.get(key, BLOCKED)


@dataclass(frozen=True, slots=True)
class Services:
    """What all clients share.

    Attributes:
        kit: The kit.
        rooms: The rooms with clients of this process in them.
        reasons: Of refused messages.
        bounds: How much of anything a client may use.
        clock: Whose time counts.
    """

    kit: RoomKit
    rooms: Rooms
    reasons: Reasons
    bounds: Bounds
    clock: Clock


class _Refused(Exception):
    """A request is answered with an error frame; the connection stays."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


class Requests:
    """Does what one client asks for.

    Args:
        services: What all clients share.
        channel_id: The WebSocket channel.
        client: Who asks.
    """

    def __init__(self, services: Services, channel_id: str, client: Client) -> None:
        self._services = services
        self._kit = services.kit
        self._channel_id = channel_id
        self._client = client
        self._joined: dict[str, Hub] = {}

    def leave_all(self) -> None:
        """Leave every room. Idempotent."""
        for room_id in list(self._joined):
            self._quit(room_id)

    async def handle(self, request: Request) -> None:
        """Do what a frame asks for, and answer it."""
        about: dict[str, Any] = {"ref": request.ref} if isinstance(request, Say) else {}
        try:
            await self._do(request)
            return
        except _Refused as exc:
            code, detail = exc.code, exc.detail
        except InvalidInputError:
            code, detail = "invalid_content", "the content cannot be stored"
        except NotFoundError:
            code, detail = "not_found", "there is no such room or channel any more"
        except KitClosedError:
            self._client.end(Close.GOING_AWAY, "going away")
            return
        except Exception as exc:  # noqa: BLE001 - store, hooks and resolvers are foreign
            log_failure(
                logger,
                exc,
                "a client's request failed",
                extra=ids(channel_id=self._channel_id),
            )
            code, detail = "unavailable", "try again, with the same ref"
        self._client.push(encode("error", code=code, detail=detail, **about))

    async def _do(self, request: Request) -> None:
        match request:
            case Say():
                await self._say(request)
            case Join():
                await self._join(request)
            case Leave():
                self._hub(request.room_id)
                self._quit(request.room_id)
            case Typing():
                await self._type(request)
            case Read():
                await self._mark_read(request)
            case Ping():
                self._client.push(encode("pong"))
            case Auth():
                raise _Refused("already_authenticated", "auth is the first frame or none")

    def _hub(self, room_id: str) -> Hub:
        hub = self._joined.get(room_id)
        if hub is None:
            raise _Refused("not_joined", "join the room first")
        return hub

    # -- rooms -----------------------------------------------------------------------------

    def _quit(self, room_id: str) -> None:
        hub = self._joined.pop(room_id)
        hub.dismiss(self._client)
        self._services.rooms.release(hub)

    async def _join(self, request: Join) -> None:
        room_id, rooms = request.room_id, self._services.rooms
        if room_id in self._joined:
            self._quit(room_id)
        elif len(self._joined) >= self._services.bounds.max_rooms:
            raise _Refused(
                "too_many_rooms", f"at most {self._services.bounds.max_rooms} at a time"
            )
        context = await answered(self._kit.store.load_context(room_id))
        # The same answer whether the room is closed to this client, or not there at all.
        if context is None or not self._may_enter(context):
            self._client.expelled(room_id)
            return
        self._joined[room_id] = hub = rooms.take(self._channel_id, room_id)
        try:
            await hub.open()
            await self._catch_up(hub, request.after)
        except Exception:
            self._quit(room_id)
            raise

    def _may_enter(self, context: RoomContext) -> bool:
        return Door(context, self._channel_id).admits(self._client.principal)

    async def _catch_up(self, hub: Hub, after: int | None) -> None:
        """Show what came after an index, then leave the client to the hub, without a seam."""
        context = await hub.look()
        latest = context.room.event_count - 1
        cursor = latest if after is None else min(after, latest)
        while True:
            latest = context.room.event_count - 1
            if cursor < latest:
                await self._replay(hub, context, cursor)
                cursor = latest
            if hub.admit(self._client, cursor, context):
                self._client.push(encode("ready", room_id=hub.room_id, index=cursor))
                return
            # Others here have seen more meanwhile.
            context = await hub.look()

    async def _replay(self, hub: Hub, context: RoomContext, after: int) -> None:
        bounds, client = self._services.bounds, self._client
        missed = await hub.archive.missed(
            context,
            client.principal.participant_id,
            after,
            bounds.max_replay,
            bounds.max_scan,
        )
        if missed.gap is not None:
            first, last = missed.gap
            await client.offer(encode("gap", room_id=hub.room_id, **{"from": first, "to": last}))
        async with aclosing(hub.archive.events(hub.room_id, missed.indexes)) as events:
            async for event in events:
                await client.offer(hub.frame(event))

    # -- messages --------------------------------------------------------------------------

    async def _say(self, request: Say) -> None:
        hub = self._hub(request.room_id)
        binding = await self._binding(hub)
        if binding is None or binding.access in _SILENT:
            self._refuse(request, str(Reason.NO_ACCESS))
            return
        key = self._key(request.ref)
        message = InboundMessage(
            channel_id=self._channel_id,
            sender_id=self._client.principal.participant_id,
            content=request.content,
            event_type=request.event_type,
            idempotency_key=key,
        )
        result = await self._kit.process_inbound(message, room_id=request.room_id, wait=False)
        self._acknowledge(request, key, result)
        if result.event is not None and not result.blocked:
            await self._services.rooms.stored(hub)

    def _key(self, ref: str) -> str:
        """Return a key of the participant's own: nobody else's ref can be the same."""
        scoped = repr((self._channel_id, self._client.principal.participant_id, ref))
        return f"roomkit.v1:{blake2b(scoped.encode(), digest_size=16).hexdigest()}"

    def _acknowledge(self, request: Say, key: str, result: InboundResult) -> None:
        event = result.event
        repeat = result.blocked and result.reason == Reason.DUPLICATE
        stored = event is not None and event.status != EventStatus.BLOCKED
        if event is not None and stored and (repeat or not result.blocked):
            self._client.push(encode("ack", ref=request.ref, event_id=event.id, index=event.index))
        elif repeat:
            self._refuse(request, self._services.reasons.find(key))
        else:
            reason = result.reason or BLOCKED
            if event is not None:
                self._services.reasons.keep(key, reason)
            self._refuse(request, reason)

    def _refuse(self, request: Say, reason: str) -> None:
        self._client.push(encode("ack", ref=request.ref, reason=reason))

    # -- what is not stored ------------------------------------------------------------------

    async def _type(self, request: Typing) -> None:
        hub = self._hub(request.room_id)
        binding = await self._binding(hub)
        if binding is None or not binding.can_send:
            raise _Refused("no_access", "this channel cannot speak in the room")
        await self._kit.publish_typing(
            request.room_id, self._client.principal.participant_id, request.typing
        )

    async def _mark_read(self, request: Read) -> None:
        participant_id = self._client.principal.participant_id
        event = await answered(self._kit.store.get_event(request.event_id))
        hub = None if event is None else self._joined.get(event.room_id)
        if event is None or hub is None or not await hub.sees(event, participant_id):
            raise _Refused("not_found", "there is no such event in the rooms you are in")
        if event.index > hub.read_upto:
            # A channel has one mark for all its people: it only moves on.
            hub.read_upto = event.index
            await self._kit.mark_read(event.room_id, self._channel_id, event.id)
        await self._kit.publish_read_receipt(event.room_id, participant_id, event.id)

    async def _binding(self, hub: Hub) -> ChannelBinding | None:
        return (await hub.glance()).get_binding(self._channel_id)
