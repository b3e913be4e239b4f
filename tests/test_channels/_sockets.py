"""A room's events, and sockets that can be told to stall or fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit.models.streaming import StreamDelta

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.channels.websocket import WebSocketChannel

SOURCE = EventSource(channel_id="other", channel_type=ChannelType.SMS)
CONTEXT = RoomContext(room=Room(id="r1"))
BINDING = ChannelBinding(channel_id="ws", room_id="r1", channel_type=ChannelType.WEBSOCKET)


def event(index: int = 0, room_id: str = "r1") -> RoomEvent:
    return RoomEvent(
        room_id=room_id, source=SOURCE, index=index, content=TextContent(body=f"text {index}")
    )


def piece(seq: int, room_id: str = "r1") -> StreamDelta:
    return StreamDelta(room_id, "ai", "s1", seq, f"piece {seq}")


class Socket:
    """A connection that notes what it gets; its sends wait while it is stalled."""

    def __init__(self, *, stalled: bool = False) -> None:
        self.got: list[Any] = []
        self.closed: list[tuple[str, str]] = []
        self.started = 0
        self.cancelled = 0
        self.fail: Exception | None = None
        self._flowing = asyncio.Event()
        self._change = asyncio.Event()
        if not stalled:
            self._flowing.set()

    async def send(self, connection_id: str, payload: Any) -> None:
        self.started += 1
        self._changed()
        try:
            await self._flowing.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            self._changed()
            raise
        if self.fail is not None:
            raise self.fail
        self.got.append(payload)
        self._changed()

    def send_now(self, connection_id: str, payload: Any) -> None:
        if self.fail is not None:
            raise self.fail
        self.got.append(payload)

    def on_close(self, connection_id: str, reason: str) -> None:
        self.closed.append((connection_id, reason))
        self._changed()

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def until(self, true: Callable[[Socket], bool]) -> None:
        async with asyncio.timeout(5):
            while not true(self):
                self._change = asyncio.Event()
                await self._change.wait()

    def _changed(self) -> None:
        self._change.set()

    @property
    def indexes(self) -> list[int]:
        return [e.index for e in self.got if isinstance(e, RoomEvent)]


async def say(channel: WebSocketChannel, *indexes: int, room_id: str = "r1") -> None:
    for index in indexes:
        output = await channel.deliver(event(index, room_id), BINDING, CONTEXT)
        assert output is ChannelOutput.empty()
