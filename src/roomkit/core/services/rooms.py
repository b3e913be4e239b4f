"""Rooms: created, paused, closed, archived and reopened, each change with its system event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._ids import new_id
from roomkit._sanitize import clean_json, clean_text
from roomkit.core.services.announcer import Announcement
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import RoomNotFoundError
from roomkit.models.enums import EventType, HookTrigger, RoomStatus
from roomkit.models.framework_event import FrameworkEventType as Told
from roomkit.models.room import Room, RoomTimers
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from roomkit._clock import Clock
    from roomkit.core.hooks import HookEngine
    from roomkit.core.services.announcer import Announcer
    from roomkit.core.services.guard import RoomGuard
    from roomkit.core.services.timeline import Timeline
    from roomkit.models.channel import ChannelBinding
    from roomkit.store.base import ConversationStore
    from roomkit.store.commit import OpenedRoom, RoomClaim

_TIMER_NEWS = {
    RoomStatus.CLOSED: ("closed", HookTrigger.ON_ROOM_CLOSED, Told.ROOM_CLOSED),
    RoomStatus.PAUSED: ("paused", HookTrigger.ON_ROOM_PAUSED, Told.ROOM_PAUSED),
}


class Rooms:
    """The life of rooms."""

    def __init__(
        self,
        store: ConversationStore,
        timeline: Timeline,
        guard: RoomGuard,
        announcer: Announcer,
        hooks: HookEngine,
        clock: Clock,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._guard = guard
        self._announcer = announcer
        self._hooks = hooks
        self._clock = clock

    async def require(self, room_id: str) -> Room:
        """Return a room.

        Raises:
            RoomNotFoundError: There is none.
        """
        room = await answered(self._store.get_room(room_id))
        if room is None:
            raise RoomNotFoundError(f"room {room_id!r} does not exist")
        return room

    async def create(
        self,
        room_id: str | None,
        metadata: dict[str, Any] | None,
        organization_id: str | None,
        timers: RoomTimers | None,
    ) -> Room:
        """Store a new room and tell about it."""
        now = self._clock.now()
        room = Room(
            id=clean_text(room_id) if room_id is not None else new_id(),
            organization_id=organization_id,
            metadata=clean_json(metadata or {}),
            created_at=now,
            updated_at=now,
            timers=timers or RoomTimers(),
        )
        stored = await answered(self._store.create_room(room))
        if self._announcer.heard(room.id, HookTrigger.ON_ROOM_CREATED, Told.ROOM_CREATED):
            await self._announcer.announce(self._created(room.id))
        return stored.snapshot()

    def _created(self, room_id: str) -> Announcement:
        data = {"room_id": room_id}
        return Announcement(
            self._timeline.system_event(
                room_id, EventType.SYSTEM, "the room was created", "room_created", data
            ),
            HookTrigger.ON_ROOM_CREATED,
            Told.ROOM_CREATED,
            data=data,
        )

    async def open(
        self, claim: RoomClaim, room: Room, binding: ChannelBinding
    ) -> tuple[OpenedRoom, list[Callable[[], Coroutine[Any, Any, None]]]]:
        """Open a room for a first contact, with its channel attached, in one transaction.

        Returns:
            The room, and the announcements to make once the arrival lock is free.
        """
        attached, told = attached_news(self._timeline, binding)
        opened = await answered(self._store.open_room(claim, room, binding, (attached,)))
        if not opened.created:
            return opened, []
        created = self._created(room.id)
        return opened, [
            lambda: self._announcer.announce(created),
            lambda: self._announcer.announce(told),
        ]

    async def update_metadata(self, room_id: str, metadata: dict[str, Any]) -> Room:
        """Merge metadata into a room."""
        async with self._guard.hold(room_id):
            room = (await self.require(room_id)).with_metadata(
                clean_json(metadata), self._clock.now()
            )
            await self._timeline.commit(CommitBatch(room_id, room=room))
        return await self.require(room_id)

    async def close(self, room_id: str) -> Room:
        """Close a room: it takes no new events; pending deliveries still go out."""
        return await self._move(
            room_id, RoomStatus.CLOSED, "room_closed", HookTrigger.ON_ROOM_CLOSED, Told.ROOM_CLOSED
        )

    async def archive(self, room_id: str) -> Room:
        """Archive a closed room and forget its hooks."""
        room = await self._move(
            room_id, RoomStatus.ARCHIVED, "room_archived", None, Told.ROOM_ARCHIVED
        )
        self._hooks.forget_room(room_id)
        return room

    async def reopen(self, room_id: str) -> Room:
        """Make a paused or closed room active again.

        The timeline says so, since it may have told of the room's closing before.
        """
        return await self._move(
            room_id, RoomStatus.ACTIVE, "room_reopened", None, Told.ROOM_REOPENED, marked=True
        )

    async def _move(
        self,
        room_id: str,
        status: RoomStatus,
        code: str,
        trigger: HookTrigger | None,
        told: Told,
        *,
        marked: bool = False,
    ) -> Room:
        data = {"room_id": room_id}
        body = f"the room is {status.value}"
        async with self._guard.hold(room_id):
            room = (await self.require(room_id)).moved_to(status, self._clock.now())
            batch = CommitBatch(room_id, room=room)
            if marked:
                notice = self._timeline.system_event(room_id, EventType.SYSTEM, body, code, data)
                batch = CommitBatch(room_id, events=(notice,), room=room)
            await self._timeline.commit(batch)
        if self._announcer.heard(room_id, trigger, told):
            event = self._timeline.system_event(room_id, EventType.SYSTEM, body, code, data)
            await self._announcer.announce(Announcement(event, trigger, told, data=data))
        return await self.require(room_id)

    async def check_timers(self, room_id: str) -> Room:
        """Pause or close a room whose silence has lasted long enough."""
        news = None
        async with self._guard.hold(room_id):
            room = await self.require(room_id)
            now = self._clock.now()
            status = room.timers.target(room.status, now)
            if status is None:
                return room
            moved = room.moved_to(status, now)
            word, trigger, told = _TIMER_NEWS[status]
            elapsed = room.timers.elapsed(now)
            threshold = (
                room.timers.closed_after_seconds
                if status == RoomStatus.CLOSED
                else room.timers.inactive_after_seconds
            )
            code = f"room_{word}_by_timer"
            body = f"the room was {word} after silence"
            event = self._timeline.system_event(
                room_id,
                EventType.SYSTEM,
                body,
                code,
                {"elapsed_seconds": elapsed, "threshold": threshold},
            )
            # One end of one silence, whichever process finds it first; a room that was opened
            # again may fall silent again without a word in between.
            key = f"timer:{word}:{room.timers.last_activity_at}:{room.updated_at}"
            event = event.cleaned(idempotency_key=key)
            batch = CommitBatch(room_id, events=(event,), room=moved)
            result = await self._timeline.commit(batch)
            if result.duplicate_of is not None:
                return await self.require(room_id)
            hooked = self._timeline.system_event(
                room_id, EventType.SYSTEM, body, code, {"elapsed_seconds": elapsed}
            )
            news = Announcement(hooked, trigger, told, data={"reason": "timer"})
        await self._announcer.announce(news)
        return await self.require(room_id)

    async def timer_round(self) -> bool:
        """Check every room that is due; False: there is nothing more to do at once."""
        await self.check_all_timers()
        return False

    async def check_all_timers(self) -> list[Room]:
        """Check every room that is due; return those that changed."""
        moved = []
        for room_id in await answered(self._store.find_due_rooms(self._clock.now())):
            before = await answered(self._store.get_room(room_id))
            if before is None:
                continue
            room = await self.check_timers(room_id)
            if room.status != before.status:
                moved.append(room)
        return moved


def attached_news(timeline: Timeline, binding: ChannelBinding) -> tuple[Any, Announcement]:
    """Return the system event and the announcement of a channel that joined a room."""
    data = {
        "channel_id": binding.channel_id,
        "access": str(binding.access),
        "visibility": binding.visibility,
    }
    event = timeline.system_event(
        binding.room_id,
        EventType.CHANNEL_ATTACHED,
        "a channel was attached",
        "channel_attached",
        data,
    )
    return event, Announcement(
        event,
        HookTrigger.ON_CHANNEL_ATTACHED,
        Told.ROOM_CHANNEL_ATTACHED,
        channel_id=binding.channel_id,
        data={"access": data["access"], "visibility": binding.visibility},
    )
