"""Kits with rooms in them, filled through the store, and channels that only count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.model import check
from roomkit import RoomKit
from roomkit.channels.base import Channel
from roomkit.channels.websocket import WebSocketChannel
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.store.commit import CommitBatch

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundResult
    from roomkit.models.event import EventContent
    from roomkit.store.base import ConversationStore

SOURCE = EventSource(channel_id="ws", channel_type=ChannelType.WEBSOCKET, participant_id="user")
DATA = ChannelData()
_CHUNK = 1000


class CountingChannel(Channel):
    """Counts what it is given.

    Args:
        channel_id: Unique within a kit.
        capabilities: What it carries; text by default.
    """

    channel_type = ChannelType.WEBSOCKET

    def __init__(self, channel_id: str, capabilities: ChannelCapabilities | None = None) -> None:
        super().__init__(channel_id)
        self.count = 0
        self.last_index = -1
        self.out_of_order = 0
        self._own = capabilities

    def capabilities(self) -> ChannelCapabilities:
        """Return what it was said to carry."""
        return self._own if self._own is not None else super().capabilities()

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is."""
        return RoomEvent(
            room_id=context.room.id,
            source=SOURCE,
            content=message.content,
            idempotency_key=message.idempotency_key,
            channel_data=DATA,
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Count the event, and whether it came in its turn."""
        self.count += 1
        if event.index <= self.last_index:
            self.out_of_order += 1
        self.last_index = event.index
        return ChannelOutput.empty()


def message(
    sender: str = "user", *, key: str | None = None, content: EventContent | None = None
) -> InboundMessage:
    """Return a message from outside by the channel ``ws``."""
    return InboundMessage(
        channel_id="ws",
        sender_id=sender,
        content=content or TextContent(body="hello"),
        idempotency_key=key,
    )


async def fill(store: ConversationStore, room_id: str, count: int, *, keys: bool = False) -> None:
    """Put ``count`` events into a room, through the store's own way to write."""
    for start in range(0, count, _CHUNK):
        events = tuple(
            RoomEvent(
                room_id=room_id,
                source=SOURCE,
                content=TextContent(body="before"),
                idempotency_key=f"key-{number}" if keys else None,
                channel_data=DATA,
            )
            for number in range(start, min(start + _CHUNK, count))
        )
        await store.commit(CommitBatch(room_id=room_id, events=events))


class Room:
    """A kit with one room, whose channel ``ws`` messages come by.

    Attributes:
        kit: The kit.
        room_id: The room.
        said: Messages sent with ``say`` and accepted.
        before: How many events were there before them.
    """

    def __init__(self, kit: RoomKit, room_id: str) -> None:
        self.kit = kit
        self.room_id = room_id
        self.said = 0
        self.before = 0

    @classmethod
    async def make(
        cls,
        *,
        kit: RoomKit | None = None,
        history: int = 0,
        keys: bool = False,
        targets: tuple[Channel, ...] = (),
    ) -> Room:
        """Return a room with a history and with channels that messages are delivered to."""
        kit = kit or RoomKit()
        room = cls(kit, "room")
        kit.register_channel(WebSocketChannel("ws"))
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        for channel in targets:
            kit.register_channel(channel)
            await kit.attach_channel("room", channel.channel_id)
        await fill(kit.store, "room", history, keys=keys)
        await room.begin()
        return room

    async def begin(self) -> None:
        """Count from here: what was stored up to now was not said."""
        self.said = 0
        self.before = await self.kit.store.get_event_count(self.room_id)

    async def say(self) -> InboundResult:
        """Bring one message in."""
        result = await self.kit.process_inbound(message())
        self.said += 1
        return result

    async def verify(self, answers: int = 0) -> None:
        """Check that everything said (and so many answers to each) stands in order.

        Raises:
            WrongResultError: It does not.
        """
        await self.kit.drain(10.0)
        store = self.kit.store
        stored = await store.get_event_count(self.room_id)
        check(
            stored == self.before + self.said * (1 + answers),
            f"{self.said} messages said, {stored - self.before} events stored",
        )
        events = await store.list_events(self.room_id, offset=0, limit=stored)
        check([event.index for event in events] == list(range(stored)), "indexes have holes")
        check(len({event.id for event in events}) == stored, "ids are not unique")
        check(all(event.room_id == self.room_id for event in events), "wrong room")
