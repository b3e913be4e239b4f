"""One room of one channel, and the clients of this process that are in it.

Whatever happens in the room only wakes the hub. It then reads the timeline from where it
stopped and shows each client what comes after the client's own place, in order: so nothing is
left out and nothing comes twice, whoever was faster. What wakes it: deliveries to the channel,
messages that came by it, other processes (through the room's ephemeral events), and a poll.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._ids import new_id
from roomkit._logging import ids, log_failure
from roomkit._sanitize import clean_json
from roomkit.asgi._ws_frames import Frame, encode
from roomkit.asgi._ws_limits import within
from roomkit.asgi._ws_view import EVERYBODY, NOBODY, Audience, Door, Speakers, event_json
from roomkit.asgi._ws_wire import read_wire, wire_topic
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import InvalidInputError, RoomNotFoundError
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.streaming import StreamDelta
from roomkit.realtime.base import EphemeralEventType

if TYPE_CHECKING:
    from collections.abc import Collection

    from roomkit._aio import TaskSet
    from roomkit._clock import Clock
    from roomkit.asgi._ws_replay import Archive
    from roomkit.asgi.principal import Principal
    from roomkit.core.framework import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.streaming import StreamEnd
    from roomkit.realtime.base import EphemeralEvent

logger = logging.getLogger("roomkit.asgi.ws")

FRESH = 1.0
"""Seconds for which what is known of a room will do to show pieces and ephemeral events."""

RETRY = 1.0
"""Seconds after which a room is read again when the store failed."""

REMEMBERED = 1000
"""Events a hub remembers as told of before, or as hidden until somebody tells of them."""

_ABOUT = {
    EphemeralEventType.READ_RECEIPT: "event_id",
    EphemeralEventType.REACTION: "target_event_id",
}
"""Ephemeral events that name an event, which must not give away one a client cannot see."""


class Listener(Protocol):
    """A client, as far as a hub knows it."""

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

    def expelled(self, room_id: str) -> None:
        """Told that it may not be in the room any more."""
        ...


class _Place:
    """How far a client has been shown a room."""

    __slots__ = ("cursor",)

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor


class Hub:
    """Shows a room to the clients that are in it.

    Args:
        kit: The kit.
        channel_id: The WebSocket channel.
        room_id: The room.
        origin: Names this endpoint in what it tells other processes.
        archive: Reads the timeline.
        clock: Whose time counts.
        poll: Seconds after which the room is looked at unasked.
        metadata_keys: What clients get of an event's metadata.
        tasks: Owns the hub's task.

    Attributes:
        users: How many clients are in the room or about to enter; counted by the endpoint.
        read_upto: The highest index a client reported as read.
    """

    def __init__(
        self,
        kit: RoomKit,
        channel_id: str,
        room_id: str,
        *,
        origin: str,
        archive: Archive,
        clock: Clock,
        poll: float,
        metadata_keys: Collection[str],
        tasks: TaskSet,
    ) -> None:
        self.room_id = room_id
        self.channel_id = channel_id
        self.archive = archive
        self.users = 0
        self.read_upto = -1
        self._kit = kit
        self._origin = origin
        self._clock = clock
        self._poll = poll
        self._metadata_keys = metadata_keys
        self._tasks = tasks
        self._hook = f"roomkit.v1:{new_id()}"
        self._opening = asyncio.Lock()
        self._subscriptions: list[str] = []
        self._task: asyncio.Task[Any] | None = None
        self._dirty = asyncio.Event()
        self._places: dict[Listener, _Place] = {}
        self._context: RoomContext | None = None
        self._checked: RoomContext | None = None
        self._looked_at = 0.0
        self._seen = -1
        self._speakers: Speakers | None = None
        self._told: dict[str, int] = {}
        self._hidden: dict[str, int] = {}
        self._late: list[tuple[str, tuple[Listener, ...]]] = []

    # -- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Listen to the room from now on; again does nothing."""
        async with self._opening:
            if self._task is not None:
                return
            self._subscriptions.append(await self._kit.subscribe_room(self.room_id, self._hear))
            realtime = self._kit.realtime
            self._subscriptions.append(
                await realtime.subscribe(wire_topic(self.room_id), self._hear_wire)
            )
            # What the application itself says through the channel is delivered to others only.
            self._kit.add_room_hook(
                self.room_id,
                HookTrigger.AFTER_BROADCAST,
                HookExecution.ASYNC,
                self._after_broadcast,
                name=self._hook,
            )
            self._task = self._tasks.start(self._run(), name="roomkit-ws-hub")

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        async with self._opening:
            if self._task is not None:
                self._task.cancel()
            self._kit.remove_room_hook(self.room_id, self._hook)
            # Straight to the backend: a kit that is closed answers nobody, and needs not.
            while self._subscriptions:
                await self._kit.realtime.unsubscribe(self._subscriptions.pop())

    # -- clients ---------------------------------------------------------------------------

    def admit(self, listener: Listener, cursor: int, context: RoomContext) -> bool:
        """Show a client what comes after an index, from now on.

        Args:
            listener: The client.
            cursor: The last index it has been shown; the last one of ``context``.
            context: The room as the client knows it.

        Returns:
            False when the hub is further: the client must catch up first.
        """
        if not self._places:
            self._seen, self._speakers = cursor, Speakers(context, self.channel_id)
            self._hidden.clear()
            self._late.clear()
        elif cursor < self._seen:
            return False
        self._places[listener] = _Place(cursor)
        self.wake()
        return True

    def dismiss(self, listener: Listener) -> None:
        """Show a client nothing more. An unknown one is fine."""
        self._places.pop(listener, None)

    def wake(self) -> None:
        """Look at the timeline soon."""
        self._dirty.set()

    def told(self, event_id: str, index: int) -> None:
        """Take note that an event was delivered to the channel: it is meant for it."""
        if index > self._seen or not self._places:
            _remember(self._told, event_id, index)
        elif event_id in self._hidden:
            # Those who were in all the time; who comes now reads that it was delivered.
            self._late.append((event_id, tuple(self._places)))
        self.wake()

    # -- the room --------------------------------------------------------------------------

    async def look(self) -> RoomContext:
        """Return the room as it stands now.

        Raises:
            RoomNotFoundError: It is gone.
        """
        store, known = self._kit.store, self._context
        if known is None:
            context = await answered(store.load_context(self.room_id))
        else:
            context = await answered(store.reload_context(known))
        if context is None:
            raise RoomNotFoundError(f"room {self.room_id!r} does not exist")
        self._context, self._looked_at = context, self._clock.monotonic()
        return context

    async def glance(self) -> RoomContext:
        """Return the room as it stood at most a second ago."""
        context = self._context
        if context is None or self._clock.monotonic() - self._looked_at > FRESH:
            return await self.look()
        return context

    async def sees(self, event: RoomEvent, participant_id: str) -> bool:
        """Return whether a participant may see an event of this room."""
        context = await self.glance()
        found = await self.archive.audience(event, context, speaks=True)
        return found.includes(participant_id)

    def frame(self, event: RoomEvent) -> Frame:
        """Return the frame that shows an event."""
        shown = event_json(event, self._metadata_keys)
        return encode("event", room_id=self.room_id, index=event.index, event=shown)

    # -- showing events --------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await within(self._clock, self._poll, self._dirty.wait())
            self._dirty.clear()
            try:
                await self._show_new()
            except RoomNotFoundError:
                self._expel(list(self._places))
            except Exception as exc:  # noqa: BLE001 - the store is foreign; clients must go on
                log_failure(
                    logger, exc, "a room could not be read", extra=ids(room_id=self.room_id)
                )
                self._dirty.set()
                await self._clock.sleep(RETRY)

    async def _show_new(self) -> None:
        """Show what has been stored since the last time."""
        known = self._checked
        context = await self.look()
        if context is not known:
            door = Door(context, self.channel_id)
            self._expel([one for one in self._places if not door.admits(one.principal)])
            self._checked = context
        while self._places and self._seen < context.room.event_count - 1:
            before = self._seen
            for event in await self.archive.page(context, before + 1):
                await self._show(event, context)
            if self._seen == before:
                break
            # A store that never suspends would let nobody else run.
            await asyncio.sleep(0)
        while self._late:
            await self._show_late(*self._late.pop(0), context)

    async def _show(self, event: RoomEvent, context: RoomContext) -> None:
        speakers = self._speakers
        if speakers is None or event.index <= self._seen:
            return
        told = event.id in self._told
        speaks = speakers.can_speak(event)
        found = await self.archive.audience(event, context, speaks=speaks, told=told)
        if speakers is not self._speakers:
            # The last client left meanwhile and another came, who has been shown it already.
            return
        self._told.pop(event.id, None)
        if not found:
            _remember(self._hidden, event.id, event.index)
        speakers.advance(event, context)
        self._seen = event.index
        frame: Frame | None = None
        for listener, place in list(self._places.items()):
            if place.cursor < event.index:
                place.cursor = event.index
                if found.includes(listener.principal.participant_id):
                    frame = frame or self.frame(event)
                    listener.push(frame)

    async def _show_late(
        self, event_id: str, listeners: tuple[Listener, ...], context: RoomContext
    ) -> None:
        """Show an event that turned out to be meant for the channel after it was passed over."""
        index = self._hidden.pop(event_id, None)
        event = None if index is None else await answered(self._kit.store.get_event(event_id))
        if event is None:
            return
        found = await self.archive.audience(event, context, speaks=False, told=True)
        frame = self.frame(event)
        for listener in listeners:
            if listener in self._places and found.includes(listener.principal.participant_id):
                listener.push(frame)

    def _expel(self, listeners: list[Listener]) -> None:
        for listener in listeners:
            self.dismiss(listener)
            listener.expelled(self.room_id)

    # -- what wakes it, and what is not stored -----------------------------------------------

    async def _after_broadcast(self, _event: RoomEvent, _context: RoomContext) -> None:
        self.wake()

    async def _hear_wire(self, event: EphemeralEvent) -> None:
        """Take in what the endpoint of another process tells."""
        wire = read_wire(event)
        if wire is None or wire.origin == self._origin or wire.channel_id != self.channel_id:
            return
        if wire.piece is not None:
            await self.show_piece(wire.piece)
            return
        for event_id, index in wire.events:
            self.told(event_id, index)
        self.wake()

    async def show_piece(self, piece: StreamDelta | StreamEnd) -> None:
        """Show a piece of an answer still being made."""
        if not self._places or not await self._receives():
            return
        room_id, stream_id = self.room_id, piece.stream_id
        if isinstance(piece, StreamDelta):
            frame = encode(
                "delta", room_id=room_id, stream_id=stream_id, seq=piece.seq, text=piece.text
            )
            for listener in list(self._places):
                listener.push_spare(frame)
            return
        frame = encode(
            "delta_end",
            room_id=room_id,
            stream_id=stream_id,
            event_id=piece.event_id,
            retracted=piece.retracted,
        )
        for listener in list(self._places):
            listener.push(frame)

    async def _hear(self, event: EphemeralEvent) -> None:
        """Show typing, presence, receipts and reactions to everybody but who they are of."""
        if not self._places or not await self._receives():
            return
        found = await self._audience_of(event)
        try:
            frame = encode(
                "ephemeral",
                room_id=self.room_id,
                kind=str(event.type),
                participant_id=event.user_id,
                data=clean_json(event.data, "data"),
                at=event.timestamp.isoformat(),
            )
        except InvalidInputError:
            logger.debug("an ephemeral event that is not JSON was left out")
            return
        for listener in list(self._places):
            participant_id = listener.principal.participant_id
            if participant_id != event.user_id and found.includes(participant_id):
                listener.push_spare(frame)

    async def _audience_of(self, event: EphemeralEvent) -> Audience:
        """Return who may hear of an ephemeral event: those who may see what it is about."""
        key = _ABOUT.get(event.type)
        if key is None:
            return EVERYBODY
        about = event.data.get(key)
        if not isinstance(about, str):
            return NOBODY
        named = await answered(self._kit.store.get_event(about))
        if named is None or named.room_id != self.room_id:
            return NOBODY
        return await self.archive.audience(named, await self.glance(), speaks=True)

    async def _receives(self) -> bool:
        binding = (await self.glance()).get_binding(self.channel_id)
        return binding is not None and binding.can_receive


def _remember(known: dict[str, int], event_id: str, index: int) -> None:
    """Keep an event in mind; of too many the oldest is forgotten."""
    if len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[event_id] = index
