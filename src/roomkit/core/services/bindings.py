"""Channels in rooms: attached, muted, limited and detached, each with its system event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_json
from roomkit.core.services.announcer import Announcement
from roomkit.core.services.rooms import attached_news
from roomkit.core.services.store_calls import answered
from roomkit.exceptions import ChannelNotFoundError
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import Access, EventType, HookTrigger
from roomkit.models.framework_event import FrameworkEventType as Told
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock
    from roomkit.core.services.announcer import Announcer
    from roomkit.core.services.guard import RoomGuard
    from roomkit.core.services.registry import ChannelRegistry
    from roomkit.core.services.rooms import Rooms
    from roomkit.core.services.timeline import Timeline
    from roomkit.models.enums import ChannelCategory, ChannelType
    from roomkit.store.base import ConversationStore


class Bindings:
    """Attaches channels to rooms and changes how they take part."""

    def __init__(
        self,
        store: ConversationStore,
        timeline: Timeline,
        guard: RoomGuard,
        announcer: Announcer,
        registry: ChannelRegistry,
        rooms: Rooms,
        clock: Clock,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._guard = guard
        self._announcer = announcer
        self._registry = registry
        self._rooms = rooms
        self._clock = clock

    async def attach(
        self,
        room_id: str,
        channel_id: str,
        channel_type: ChannelType | None,
        category: ChannelCategory | None,
        access: Access,
        visibility: str,
        options: dict[str, Any],
    ) -> ChannelBinding:
        """Attach a channel, replacing a binding it may have."""
        if "capabilities" in options:
            raise TypeError("attach_channel() takes the capabilities from the channel itself")
        async with self._guard.hold(room_id):
            await self._rooms.require(room_id)
            channel = self._registry.require(channel_id)
            if "metadata" in options:
                options = {**options, "metadata": clean_json(options["metadata"] or {})}
            binding = ChannelBinding(
                channel_id=channel_id,
                room_id=room_id,
                channel_type=channel_type or channel.channel_type,
                category=category or channel.category,
                access=access,
                visibility=visibility,
                capabilities=channel.capabilities(),
                **{"attached_at": self._clock.now(), **options},
            )
            event, news = attached_news(self._timeline, binding)
            await self._timeline.commit(CommitBatch(room_id, events=(event,), bindings=(binding,)))
        await self._announcer.announce(news)
        return binding.snapshot()

    async def detach(self, room_id: str, channel_id: str) -> bool:
        """Detach a channel; what is still to be delivered to it is skipped."""
        async with self._guard.hold(room_id):
            if await answered(self._store.get_binding(room_id, channel_id)) is None:
                return False
            event = self._timeline.system_event(
                room_id,
                EventType.CHANNEL_DETACHED,
                "a channel was detached",
                "channel_detached",
                {"channel_id": channel_id},
            )
            await self._timeline.commit(
                CommitBatch(room_id, events=(event,), removed_bindings=(channel_id,))
            )
        await self._announcer.announce(
            Announcement(
                event,
                HookTrigger.ON_CHANNEL_DETACHED,
                Told.ROOM_CHANNEL_DETACHED,
                channel_id=channel_id,
            )
        )
        return True

    async def require(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a binding.

        Raises:
            ChannelNotFoundError: The channel is not attached to the room.
        """
        binding = await answered(self._store.get_binding(room_id, channel_id))
        if binding is None:
            raise ChannelNotFoundError(
                f"channel {channel_id!r} is not attached to room {room_id!r}"
            )
        return binding

    async def all(self, room_id: str) -> list[ChannelBinding]:
        """Return a room's bindings in the order they were attached."""
        return await answered(self._store.list_bindings(room_id))

    async def set_muted(self, room_id: str, channel_id: str, muted: bool) -> ChannelBinding:
        """Mute or unmute a channel."""
        word = "muted" if muted else "unmuted"
        trigger = HookTrigger.ON_CHANNEL_MUTED if muted else HookTrigger.ON_CHANNEL_UNMUTED
        return await self._change(
            room_id,
            channel_id,
            lambda binding: binding.with_muted(muted),
            EventType.CHANNEL_MUTED if muted else EventType.CHANNEL_UNMUTED,
            f"channel_{word}",
            lambda old: {},
            trigger,
        )

    async def set_visibility(
        self, room_id: str, channel_id: str, visibility: str
    ) -> ChannelBinding:
        """Change who sees what a channel says."""
        return await self._change(
            room_id,
            channel_id,
            lambda binding: binding.with_visibility(visibility),
            EventType.CHANNEL_UPDATED,
            "channel_visibility_changed",
            lambda old: {"old_visibility": old.visibility, "visibility": visibility},
        )

    async def set_access(self, room_id: str, channel_id: str, access: Access) -> ChannelBinding:
        """Change what a channel may do."""
        access = Access(access)
        return await self._change(
            room_id,
            channel_id,
            lambda binding: binding.with_access(access),
            EventType.CHANNEL_UPDATED,
            "channel_access_changed",
            lambda old: {"old_access": str(old.access), "access": str(access)},
        )

    async def update_metadata(
        self, room_id: str, channel_id: str, metadata: dict[str, Any]
    ) -> ChannelBinding:
        """Merge metadata into a binding."""
        cleaned = clean_json(metadata)
        return await self._change(
            room_id,
            channel_id,
            lambda binding: binding.with_metadata(cleaned),
            EventType.CHANNEL_UPDATED,
            "channel_metadata_updated",
            lambda old: {"keys": list(cleaned)},
        )

    async def _change(
        self,
        room_id: str,
        channel_id: str,
        change: Callable[[ChannelBinding], ChannelBinding],
        event_type: EventType,
        code: str,
        data: Callable[[ChannelBinding], dict[str, Any]],
        trigger: HookTrigger | None = None,
    ) -> ChannelBinding:
        async with self._guard.hold(room_id):
            old = await self.require(room_id, channel_id)
            new = change(old)
            event = self._timeline.system_event(
                room_id,
                event_type,
                "a channel was changed",
                code,
                {"channel_id": channel_id, **data(old)},
            )
            await self._timeline.commit(CommitBatch(room_id, events=(event,), bindings=(new,)))
        if trigger is not None:
            await self._announcer.announce(Announcement(event, trigger, channel_id=channel_id))
        return new.snapshot()
