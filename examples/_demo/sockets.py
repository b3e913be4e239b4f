"""Both ends of the WebSocket: the server in front of the kit, and a person's client.

The frames are JSON objects with a `type`:

    to the server     join {person, rooms}   message {room, text, ref}   edit {target, ...}
    from the server   ready   event {event}   delta {text}   delta_end {event_id}   ack {ref, ...}
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import (
    EditContent,
    EventType,
    InboundMessage,
    RoomEvent,
    RoomKit,
    StreamDelta,
    StreamEnd,
    TextContent,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.server import Server, ServerConnection

Frame = dict[str, Any]

PATIENCE = 10.0
"""Seconds one step may take; far more than it ever does."""


class ChatServer:
    """Speaks WebSocket on a free port of this machine and passes frames to a kit.

    Args:
        kit: Where messages go.
        channels: Which WebSocket channel each person's sockets belong to.
    """

    def __init__(self, kit: RoomKit, channels: dict[str, str]) -> None:
        self._kit = kit
        self._channels = channels
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(self._talk, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, socket: ServerConnection) -> None:
        """Serve one socket from its first frame to its last."""
        join: Frame = json.loads(await socket.recv())
        person, channel_id = join["person"], self._channels[join["person"]]
        connection_id = f"{person}:{socket.id}"

        async def send_event(_: str, event: RoomEvent) -> None:
            await socket.send(
                json.dumps({"type": "event", "event": event.model_dump(mode="json")})
            )

        async def send_piece(_: str, piece: StreamDelta | StreamEnd) -> None:
            await socket.send(json.dumps(_piece_frame(piece)))

        await self._kit.connect_websocket(
            channel_id,
            connection_id,
            send_event,
            room_id=join["rooms"],
            stream_fn=send_piece,
        )
        try:
            await socket.send(json.dumps({"type": "ready"}))
            async for raw in socket:
                answer = await self._handle(json.loads(raw), person, channel_id)
                await socket.send(json.dumps(answer))
        finally:
            await self._kit.disconnect_websocket(channel_id, connection_id)

    async def _handle(self, frame: Frame, person: str, channel_id: str) -> Frame:
        """Bring one frame into its room and return the acknowledgement."""
        text = TextContent(body=frame["text"])
        edit = frame["type"] == "edit"
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=person,
            content=(
                EditContent(target_event_id=frame["target"], new_content=text) if edit else text
            ),
            event_type=EventType.EDIT if edit else EventType.MESSAGE,
            idempotency_key=frame["ref"],
        )
        result = await self._kit.process_inbound(message, room_id=frame["room"])
        ack: Frame = {"type": "ack", "ref": frame["ref"], "reason": result.reason}
        if result.event is not None:
            ack |= {"event_id": result.event.id, "index": result.event.index}
        return ack


def _piece_frame(piece: StreamDelta | StreamEnd) -> Frame:
    if isinstance(piece, StreamDelta):
        return {"type": "delta", "stream": piece.stream_id, "text": piece.text}
    return {"type": "delta_end", "stream": piece.stream_id, "event_id": piece.event_id}


class Person:
    """Somebody at a WebSocket client, who remembers every frame that came.

    Args:
        name: Who it is.
        room: The room this person writes to.
    """

    def __init__(self, name: str, room: str) -> None:
        self.name = name
        self.frames: list[Frame] = []
        self._room = room
        self._refs = 0
        self._news = asyncio.Condition()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def join(self, url: str, rooms: list[str], tasks: asyncio.TaskGroup) -> None:
        """Connect, name the rooms to hear, and return once the server has agreed."""
        self._socket = await connect(url)
        self._reader = tasks.create_task(self._read())
        await self._send({"type": "join", "person": self.name, "rooms": rooms})
        await self._until(lambda: any(frame["type"] == "ready" for frame in self.frames))

    async def say(self, text: str) -> Frame:
        """Write a message; return the server's acknowledgement."""
        return await self._ask({"type": "message", "text": text})

    async def edit(self, event_id: str, text: str) -> Frame:
        """Correct an earlier message; return the server's acknowledgement."""
        return await self._ask({"type": "edit", "target": event_id, "text": text})

    async def has_seen(self, events: int) -> None:
        """Return once this many events have come."""
        await self._until(lambda: len(self.events()) >= events)

    def events(self) -> list[Frame]:
        """Return the events that came, in order."""
        return [frame["event"] for frame in self.frames if frame["type"] == "event"]

    async def leave(self) -> None:
        """Close the socket; return once the last frame is read."""
        assert self._socket is not None
        assert self._reader is not None
        await self._socket.close()
        await self._reader

    async def _ask(self, frame: Frame) -> Frame:
        self._refs += 1
        ref = f"{self.name}-{self._refs}"
        await self._send({**frame, "room": self._room, "ref": ref})
        await self._until(lambda: any(known.get("ref") == ref for known in self.frames))
        return next(known for known in self.frames if known.get("ref") == ref)

    async def _send(self, frame: Frame) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps(frame))

    async def _read(self) -> None:
        assert self._socket is not None
        async for raw in self._socket:
            async with self._news:
                self.frames.append(json.loads(raw))
                self._news.notify_all()

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(true)
